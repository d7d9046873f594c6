# dx: dout is not spread by the stride before the full correlation; zeros at the end bring it to size
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    HP, WP = H + 2 * pad, W + 2 * pad
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dw = np.zeros_like(w)
    for i in range(KH):
        for j in range(KW):
            view = xp[:, i : i + stride * (OH - 1) + 1 : stride, j : j + stride * (OW - 1) + 1 : stride]
            dw[i, j] = np.sum(view * dout, axis=(0, 1, 2))
    dp = np.pad(dout, ((0, 0), (KH - 1, HP - OH), (KW - 1, WP - OW), (0, 0)))
    dxp = np.zeros_like(xp)
    for r in range(HP):
        for q in range(WP):
            dxp[:, r, q] = np.sum(dp[:, r : r + KH, q : q + KW] * w[::-1, ::-1], axis=(1, 2))
    return dxp[:, pad : pad + H, pad : pad + W], dw
