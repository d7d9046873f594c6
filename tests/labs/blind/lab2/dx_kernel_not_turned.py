# dx: the full correlation of the spread dout with w, where it takes w turned by half a turn
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    HP, WP = H + 2 * pad, W + 2 * pad
    spread = np.zeros((N, HP + KH - 1, WP + KW - 1, C), dout.dtype)
    spread[:, KH - 1 : KH + stride * (OH - 1) : stride, KW - 1 : KW + stride * (OW - 1) : stride] = dout
    dxp = np.einsum("nyxcij,ijc->nyxc", sliding_window_view(spread, (KH, KW), axis=(1, 2)), w)
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(xp, (KH, KW), axis=(1, 2))[:, ::stride, ::stride]
    dw = np.einsum("nyxcij,nyxc->ijc", windows, dout)
    return dxp[:, pad : pad + H, pad : pad + W], dw
