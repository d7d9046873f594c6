# the loop over the columns is called x, so that the image x is a number from then on
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for y in range(OH):
        for x in range(OW):
            r, q = y * stride, x * stride
            d = dout[:, y, x].reshape(N, 1, 1, C)
            dxp[:, r : r + KH, q : q + KW] += d * w
            dw += (d * xp[:, r : r + KH, q : q + KW]).sum(axis=0)
    return dxp[:, pad : pad + x.shape[1], pad : pad + x.shape[2]], dw
