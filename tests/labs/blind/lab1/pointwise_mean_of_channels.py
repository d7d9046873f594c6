# pointwise: divides by the number of channels
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for c in range(C):
        for i in range(KH):
            for j in range(KW):
                plane = xp[:, i : i + H - KH + 1, j : j + W - KW + 1, c]
                out[..., c] += plane[:, ::stride, ::stride] * w[i, j, c]
    return out


def pointwise(x, w):
    out = 0
    for c in range(x.shape[3]):
        out = out + x[..., c : c + 1] * w[c]
    return out / x.shape[3]


def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w
