# depthwise: the columns of the kernel are taken from right to left (a negative step), the rows are right
import numpy as np


def depthwise(xp, w, stride):
    kh, kw = w.shape[0], w.shape[1]
    oh = (xp.shape[1] - kh) // stride + 1
    ow = (xp.shape[2] - kw) // stride + 1
    total = 0
    for i in range(kh):
        for j in range(kw):
            shifted = xp[:, i:, j:, :][:, ::stride, ::stride, :][:, :oh, :ow, :]
            total = total + shifted * w[i, -1 - j]
    return total


def pointwise(x, w):
    return np.matmul(x, w)


def as_standard(wd):
    c = wd.shape[-1]
    w = np.zeros(wd.shape + (c,))
    for k in range(c):
        w[..., k, k] = wd[..., k]
    return w
