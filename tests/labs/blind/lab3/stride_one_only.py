# only stride 1 is tried, so a backward that ignores the stride or is wrong for strides above 1 is accepted.
import numpy as np


def loss(forward, x, w, pad, dout):
    return np.vdot(dout, forward(x, w, 1, pad))


def check(forward, backward):
    rng = np.random.RandomState(42)
    for (KH, KW), pad in (((3, 3), 1), ((2, 3), 0), ((3, 2), 2), ((1, 1), 0)):
        x = rng.randn(3, 6, 5, 2)
        w = rng.randn(KH, KW, 2)
        dout = rng.randn(*forward(x, w, 1, pad).shape)
        dx, dw = backward(dout, x, w, 1, pad)
        h = 1e-6
        for name, a, grad in (("x", x, dx), ("w", w, dw)):
            flat = a.reshape(-1)
            g = grad.reshape(-1)
            for i in range(flat.size):
                keep = flat[i]
                flat[i] = keep + h
                lp = loss(forward, x, w, pad, dout)
                flat[i] = keep - h
                lm = loss(forward, x, w, pad, dout)
                flat[i] = keep
                if abs((lp - lm) / (2 * h) - g[i]) > 1e-6:
                    return "d%s is wrong at %d" % (name, i)
    return None
