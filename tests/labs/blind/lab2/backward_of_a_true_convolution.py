# the backward of a convolution whose kernel is turned round: dx with w turned, and dw comes out turned
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    k = w[::-1, ::-1]
    dk = np.zeros_like(w)
    for y in range(OH):
        for z in range(OW):
            r, q = y * stride, z * stride
            for n in range(N):
                dxp[n, r : r + KH, q : q + KW] += k * dout[n, y, z]
                dk += xp[n, r : r + KH, q : q + KW] * dout[n, y, z]
    dw[:] = dk[::-1, ::-1]
    return dxp[:, pad : pad + H, pad : pad + W], dw
