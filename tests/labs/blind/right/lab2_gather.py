# right: the gather form: every pixel looks for the windows that see it, and is written once
import numpy as np


def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = dout.shape
    dx, dw = np.empty_like(x), np.empty_like(w)

    def windows(position, taps, count):
        found = []
        for tap in range(taps):
            window, rest = divmod(position + pad - tap, stride)
            if rest == 0 and 0 <= window < count:
                found.append((window, tap))
        return found

    for r in range(H):
        for q in range(W):
            total = np.zeros((N, C), x.dtype)
            for y, i in windows(r, KH, OH):
                for z, j in windows(q, KW, OW):
                    total += dout[:, y, z] * w[i, j]
            dx[:, r, q] = total
    for i, j in np.ndindex(KH, KW):
        total = np.zeros(C, w.dtype)
        for r in range(H):
            for q in range(W):
                for y, a in windows(r, KH, OH):
                    for z, b in windows(q, KW, OW):
                        if (a, b) == (i, j):
                            total += (dout[:, y, z] * x[:, r, q]).sum(axis=0)
        dw[i, j] = total
    return dx, dw
