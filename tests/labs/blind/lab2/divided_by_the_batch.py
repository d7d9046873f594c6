# dout is divided by the number of images first, which is the loss's business and has been done
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    OH, OW = dout.shape[1:3]
    grad = dout / N
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for y in range(OH):
        for q in range(OW):
            win = np.s_[:, stride * y : stride * y + KH, stride * q : stride * q + KW, :]
            g = grad[:, y, q][:, None, None, :]
            dxp[win] += g * w
            dw += np.sum(g * xp[win], axis=0)
    return dxp[:, pad : pad + H, pad : pad + W, :], dw
