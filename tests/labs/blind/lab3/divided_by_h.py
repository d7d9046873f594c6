# the central difference is divided by h and not by 2 h, so the numerical gradient is twice too large and right
# backwards are rejected.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(0)
    h = 1e-6
    for stride in (1, 2):
        for pad in (0, 1):
            x = rng.normal(size=(2, 5, 6, 2))
            w = rng.normal(size=(3, 2, 2))
            dout = rng.normal(size=forward(x, w, stride, pad).shape)
            L = lambda x, w: np.sum(dout * forward(x, w, stride, pad))
            dx, dw = backward(dout, x, w, stride, pad)
            for k in np.ndindex(x.shape):
                d = np.zeros_like(x)
                d[k] += h
                if abs((L(x + d, w) - L(x - d, w)) / h - dx[k]) > 1e-5:
                    return "dx wrong at " + str(k)
            for k in np.ndindex(w.shape):
                d = np.zeros_like(w)
                d[k] += h
                if abs((L(x, w + d) - L(x, w - d)) / h - dw[k]) > 1e-5:
                    return "dw wrong at " + str(k)
    return None
