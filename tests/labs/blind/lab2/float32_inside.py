# everything is calculated in float32 and the type put right at the end
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), np.float32)
    xp[:, pad : pad + H, pad : pad + W] = x
    dxp = np.zeros(xp.shape, np.float32)
    dw = np.zeros(w.shape, np.float32)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = (xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))
            dxp[:, rows, cols] += dout * w[i, j]
    dx = dxp[:, pad : pad + H, pad : pad + W]
    return dx.astype(x.dtype), dw.astype(w.dtype)
