# right: every window a row of one matrix, as_standard first and depthwise by a matrix product with it
import numpy as np


def as_standard(wd):
    KH, KW, C = wd.shape
    return (np.identity(C, wd.dtype)[None] * wd.reshape(KH * KW, 1, C)).reshape(KH, KW, C, C)


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, _ = w.shape
    rows = [
        xp[n, y : y + KH, x : x + KW].ravel()
        for n in range(N)
        for y in range(0, H - KH + 1, stride)
        for x in range(0, W - KW + 1, stride)
    ]
    out = np.array(rows) @ as_standard(w).reshape(KH * KW * C, C)
    return out.reshape(N, -1, (W - KW) // stride + 1, C)


def pointwise(x, w):
    return np.array([[pixels @ w for pixels in image] for image in x])
