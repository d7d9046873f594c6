# depthwise: the kernel is turned round, as in the convolution of a signal processing course
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for n in range(N):
        for y in range(OH):
            for x in range(OW):
                for i in range(KH):
                    for j in range(KW):
                        r = y * stride + (KH - 1 - i)
                        q = x * stride + (KW - 1 - j)
                        out[n, y, x] += xp[n, r, q] * w[i, j]
    return out


def pointwise(x, w):
    N, H, W, C = x.shape
    return (x.reshape(-1, C) @ w).reshape(N, H, W, -1)


def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    d = np.arange(C)
    w[:, :, d, d] = wd
    return w
