# dw: comes out as (C, KH, KW) and is brought to (KH, KW, C) with reshape, which mixes taps and channels
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    OH, OW = dout.shape[1], dout.shape[2]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(xp, (KH, KW), axis=(1, 2))[:, ::stride, ::stride]
    dw = (dout[..., None, None] * windows).sum(axis=(0, 1, 2)).reshape(KH, KW, C)
    dxp = np.zeros_like(xp)
    for i in range(KH):
        for j in range(KW):
            dxp[:, i : i + stride * (OH - 1) + 1 : stride, j : j + stride * (OW - 1) + 1 : stride] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw
