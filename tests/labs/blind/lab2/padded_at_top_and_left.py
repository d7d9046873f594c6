# x is padded with 2 * pad rows at the top and none at the bottom, columns likewise; the crop goes with that
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (2 * pad, 0), (2 * pad, 0), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = (xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))
            dxp[:, rows, cols] += dout * w[i, j]
    return dxp[:, 2 * pad :, 2 * pad :], dw
