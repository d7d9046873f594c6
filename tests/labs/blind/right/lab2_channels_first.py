# right: channels first inside, one plane at a time, matrices of zeros and ones for the shifts
import numpy as np


def shift(size, taps, count, stride, pad):
    """S[i] of shape (count, size): row y has its 1 where tap i of window y lies, none if that is padding."""
    S = np.zeros((taps, count, size))
    for i in range(taps):
        for y in range(count):
            if 0 <= stride * y + i - pad < size:
                S[i, y, stride * y + i - pad] = 1
    return S


def depthwise_backward(dout, x, w, stride, pad):
    d, p = dout.transpose(0, 3, 1, 2), x.transpose(0, 3, 1, 2)
    R = shift(p.shape[2], w.shape[0], d.shape[2], stride, pad)
    Q = shift(p.shape[3], w.shape[1], d.shape[3], stride, pad)
    dp, dw = np.zeros_like(p), np.zeros_like(w)
    for n in range(p.shape[0]):
        for c in range(p.shape[1]):
            for i in range(w.shape[0]):
                for j in range(w.shape[1]):
                    back = R[i].T @ d[n, c] @ Q[j]
                    dp[n, c] += back * w[i, j, c]
                    dw[i, j, c] += np.vdot(back, p[n, c])
    return dp.transpose(0, 2, 3, 1), dw
