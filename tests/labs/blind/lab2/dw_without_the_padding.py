# dw: its window lies in x and not in the padded image, so every tap sees a pixel pad rows and columns too far
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    dxp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), x.dtype)
    dw = np.zeros_like(w)
    for i in range(KH):
        for j in range(KW):
            for y in range(OH):
                for q in range(OW):
                    r, s = stride * y + i, stride * q + j
                    dxp[:, r, s] += dout[:, y, q] * w[i, j]
                    if r < H and s < W:
                        dw[i, j] += (dout[:, y, q] * x[:, r, s]).sum(axis=0)
    return dxp[:, pad : H + pad, pad : W + pad], dw
