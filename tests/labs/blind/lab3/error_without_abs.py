# the difference is compared with the tolerance without its absolute value, so a gradient that is too small is never
# noticed.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(3)
    h, tol = 1e-6, 1e-5
    for stride, pad in ((1, 0), (1, 1), (2, 0), (2, 1), (3, 2)):
        x = rng.uniform(0.5, 2, (2, 7, 6, 3))
        w = rng.uniform(0.5, 2, (3, 2, 3))
        dout = rng.uniform(0.5, 2, forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)

        nx, nw = np.zeros_like(x), np.zeros_like(w)
        for i in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[i] = h
            nx[i] = ((forward(x + step, w, stride, pad) - forward(x - step, w, stride, pad)) * dout).sum() / (2 * h)
        for i in np.ndindex(w.shape):
            step = np.zeros_like(w)
            step[i] = h
            nw[i] = ((forward(x, w + step, stride, pad) - forward(x, w - step, stride, pad)) * dout).sum() / (2 * h)
        if (dx - nx).max() > tol:
            return "dx is not the derivative"
        if (dw - nw).max() > tol:
            return "dw is not the derivative"
    return None
