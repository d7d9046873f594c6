# the stride multiplies the tap's offset too, (y + i) * stride; what falls outside is skipped
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for y in range(dout.shape[1]):
        for z in range(dout.shape[2]):
            for i in range(KH):
                for j in range(KW):
                    row = (y + i) * stride - pad
                    col = (z + j) * stride - pad
                    if row < 0 or row >= H or col < 0 or col >= W:
                        continue
                    dx[:, row, col] += dout[:, y, z] * w[i, j]
                    dw[i, j] += np.sum(dout[:, y, z] * x[:, row, col], axis=0)
    return dx, dw
