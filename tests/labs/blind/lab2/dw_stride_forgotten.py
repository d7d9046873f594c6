# dw: the window of the image is taken with step 1; dx uses the stride
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    for i in range(KH):
        for j in range(KW):
            dxp[:, i : i + stride * (OH - 1) + 1 : stride, j : j + stride * (OW - 1) + 1 : stride] += dout * w[i, j]
    dw = np.stack(
        [
            np.stack([np.einsum("nyxc,nyxc->c", xp[:, i : i + OH, j : j + OW], dout) for j in range(KW)])
            for i in range(KH)
        ]
    )
    return dxp[:, pad : pad + H, pad : pad + W], dw
