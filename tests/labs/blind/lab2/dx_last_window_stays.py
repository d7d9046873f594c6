# dx: window by window with = where it takes +=, so that the last window to see a pixel is the only one left
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for y in range(OH):
        for q in range(OW):
            r0, c0 = y * stride, q * stride
            d = dout[:, y : y + 1, q : q + 1, :]
            dw += (d * xp[:, r0 : r0 + KH, c0 : c0 + KW]).sum(axis=0)
            dxp[:, r0 : r0 + KH, c0 : c0 + KW] = d * w
    return dxp[:, pad : pad + H, pad : pad + W], dw
