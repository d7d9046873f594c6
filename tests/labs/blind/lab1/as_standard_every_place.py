# as_standard: the filter of channel c is written for every output channel, not for output channel c alone
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, _ = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out


def pointwise(x, w):
    return x @ w


def as_standard(wd):
    C = wd.shape[2]
    return np.repeat(wd[:, :, :, np.newaxis], C, axis=3)
