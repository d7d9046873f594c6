# dout is all ones, so a backward that mixes up, flips or ignores the elements of dout is accepted.
import numpy as np


def numerical_gradient(f, a, h=1e-6):
    grad = np.zeros_like(a)
    for idx in np.ndindex(*a.shape):
        old = a[idx]
        a[idx] = old + h
        plus = f()
        a[idx] = old - h
        minus = f()
        a[idx] = old
        grad[idx] = (plus - minus) / (2 * h)
    return grad


def check(forward, backward):
    rng = np.random.default_rng(0)
    for stride, pad, H, W in [(1, 0, 5, 6), (1, 1, 4, 5), (2, 1, 6, 7), (2, 0, 6, 5), (3, 1, 7, 5)]:
        x = rng.normal(size=(2, H, W, 3))
        w = rng.normal(size=(3, 2, 3))
        dout = np.ones_like(forward(x, w, stride, pad))
        dx, dw = backward(dout, x, w, stride, pad)

        def loss():
            return (forward(x, w, stride, pad) * dout).sum()

        if np.abs(dx - numerical_gradient(loss, x)).max() > 1e-6:
            return f"dx is wrong for stride {stride}, pad {pad}"
        if np.abs(dw - numerical_gradient(loss, w)).max() > 1e-6:
            return f"dw is wrong for stride {stride}, pad {pad}"
    return None
