# dx: both borders are cut off at the top and the left ([2 * pad:]) and none at the bottom and the right
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    KH, KW, C = w.shape
    OH, OW = dout.shape[1], dout.shape[2]
    xp = np.pad(x, ((0,) * 2, (pad,) * 2, (pad,) * 2, (0,) * 2))
    dxp = 0 * xp
    dw = 0 * w
    for i in range(KH):
        for j in range(KW):
            a, b = i + stride * OH, j + stride * OW
            dw[i, j] = (xp[:, i:a:stride, j:b:stride][:, :OH, :OW] * dout).sum((0, 1, 2))
            dxp[:, i:a:stride, j:b:stride][:, :OH, :OW] += w[i, j] * dout
    return dxp[:, 2 * pad :, 2 * pad :], dw
