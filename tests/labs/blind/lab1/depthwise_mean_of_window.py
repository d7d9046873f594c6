# depthwise: the mean over the window is taken where the sum is wanted
import numpy as np


def depthwise(xp, w, stride):
    kh, kw = w.shape[:2]
    out = []
    for top in range(0, xp.shape[1] - kh + 1, stride):
        line = []
        for left in range(0, xp.shape[2] - kw + 1, stride):
            window = xp[:, top : top + kh, left : left + kw]
            line.append(np.mean(window * w[None], axis=(1, 2)))
        out.append(np.stack(line, axis=1))
    return np.stack(out, axis=1)


def pointwise(x, w):
    return x @ w


def as_standard(wd):
    kh, kw, c = wd.shape
    big = np.zeros((kh, kw, c, c))
    for m in range(c):
        big[:, :, m, m] = wd[:, :, m]
    return big
