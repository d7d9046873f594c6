# depthwise: the number of rows is (H - KH + 1) // stride: one too few when a stride leaves a rest
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH = (H - KH + 1) // stride
    OW = (W - KW + 1) // stride
    out = np.zeros((N, OH, OW, C))
    for y in range(OH):
        for x in range(OW):
            for c in range(C):
                r, q = y * stride, x * stride
                out[:, y, x, c] = (xp[:, r : r + KH, q : q + KW, c] * w[:, :, c]).sum(axis=(1, 2))
    return out


def pointwise(x, w):
    return x @ w


def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C))
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w
