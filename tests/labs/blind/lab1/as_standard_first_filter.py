# as_standard: the diagonal is right, but every channel gets the filter of channel 0
import numpy as np


def depthwise(xp, w, stride):
    n, h, wid, c = xp.shape
    kh, kw, _ = w.shape
    oh = (h - kh) // stride + 1
    ow = (wid - kw) // stride + 1
    out = np.empty((n, oh, ow, c), dtype=xp.dtype)
    for y in range(oh):
        for x in range(ow):
            patch = xp[:, y * stride : y * stride + kh, x * stride : x * stride + kw, :]
            out[:, y, x, :] = np.sum(patch * w, axis=(1, 2))
    return out


def pointwise(x, w):
    return np.dot(x, w)


def as_standard(wd):
    kh, kw, c = wd.shape
    full = np.zeros((kh, kw, c, c), dtype=wd.dtype)
    for i in range(kh):
        for j in range(kw):
            full[i, j] = np.eye(c) * wd[i, j, 0]
    return full
