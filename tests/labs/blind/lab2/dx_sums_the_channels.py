# dx: every channel receives the sum over the channels, as in the backward of a standard convolution
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    cols = np.lib.stride_tricks.sliding_window_view(xp, (KH, KW), axis=(1, 2))[:, ::stride, ::stride]
    dw = np.tensordot(dout, cols, axes=((0, 1, 2), (0, 1, 2)))  # (C, C, KH, KW)
    dw = np.stack([dw[c, c] for c in range(C)], axis=-1)
    dxp = np.zeros_like(xp)
    for y in range(OH):
        for q in range(OW):
            spread = np.einsum("nc,ijc->nij", dout[:, y, q], w)
            dxp[:, y * stride : y * stride + KH, q * stride : q * stride + KW] += spread[..., None]
    return dxp[:, pad : pad + H, pad : pad + W], dw
