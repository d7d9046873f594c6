# the loops over the windows end one too early: range(0, HP - KH, stride) where it takes HP - KH + 1
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    N, HP, WP, C = xp.shape
    KH, KW, C = w.shape
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for r in range(0, HP - KH, stride):
        for q in range(0, WP - KW, stride):
            d = dout[:, r // stride, q // stride]
            dxp[:, r : r + KH, q : q + KW] += np.einsum("nc,ijc->nijc", d, w)
            dw += np.einsum("nc,nijc->ijc", d, xp[:, r : r + KH, q : q + KW])
    return dxp[:, pad : HP - pad, pad : WP - pad], dw
