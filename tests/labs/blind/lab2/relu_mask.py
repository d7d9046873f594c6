# the gradient goes through the mask of a ReLU that this forward does not have
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    views = {}
    out = 0
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            views[i, j] = (slice(None), rows, cols)
            out = out + xp[views[i, j]] * w[i, j]
    dout = dout * (out > 0)
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for (i, j), view in views.items():
        dxp[view] += dout * w[i, j]
        dw[i, j] = (dout * xp[view]).sum(axis=(0, 1, 2))
    return dxp[:, pad : pad + H, pad : pad + W], dw
