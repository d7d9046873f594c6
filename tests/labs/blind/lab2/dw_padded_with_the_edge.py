# dw: the image is padded with its edge values, where the forward pads with zeros
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def depthwise_backward(dout, x, w, stride, pad):
    KH, KW, C = w.shape
    N, H, W, C = x.shape
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    windows = sliding_window_view(xp, (KH, KW), axis=(1, 2))[:, ::stride, ::stride]
    dw = np.einsum("nyxc,nyxcij->ijc", dout, windows)
    dxp = np.zeros_like(xp)
    for i in range(KH):
        for j in range(KW):
            dxp[:, i : i + stride * (OH - 1) + 1 : stride, j : j + stride * (OW - 1) + 1 : stride] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw
