# depthwise: of the windows with stride 1 it keeps numbers s - 1, 2 s - 1, ... and not numbers 0, s, ...
import numpy as np


def depthwise(xp, w, stride):
    dense = np.zeros((xp.shape[0], xp.shape[1] - w.shape[0] + 1, xp.shape[2] - w.shape[1] + 1, xp.shape[3]))
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            dense += xp[:, i : i + dense.shape[1], j : j + dense.shape[2]] * w[i, j]
    return dense[:, stride - 1 :: stride, stride - 1 :: stride]


def pointwise(x, w):
    return x @ w


def as_standard(wd):
    w = np.zeros(wd.shape + wd.shape[-1:])
    for c in range(wd.shape[-1]):
        w[..., c, c] = wd[..., c]
    return w
