# right: tables of indices and np.add.at, which adds as often as an index comes
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    OH, OW = dout.shape[1:3]
    r = (stride * np.arange(OH)[:, None] + np.arange(KH))[:, None, :, None]
    q = (stride * np.arange(OW)[:, None] + np.arange(KW))[None, :, None, :]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    np.add.at(dxp, (slice(None), r, q), dout[:, :, :, None, None] * w)
    dw = np.einsum("nyxijc,nyxc->ijc", xp[:, r, q], dout)
    return dxp[:, pad : pad + H, pad : pad + W], dw
