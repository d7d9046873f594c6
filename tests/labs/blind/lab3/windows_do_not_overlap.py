# the stride is always as large as the filter, so windows never overlap and a backward that assigns where it must add
# is accepted.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(2)
    h = 1e-6
    for k, pad in ((1, 0), (2, 0), (2, 1), (3, 1), (3, 0)):
        stride = k
        x = rng.normal(size=(2, 8, 7, 3))
        w = rng.normal(size=(k, k, 3))
        dout = rng.normal(size=forward(x, w, stride, pad).shape)
        dx, dw = backward(dout, x, w, stride, pad)

        ndx = np.zeros_like(x)
        it = np.nditer(x, flags=["multi_index"])
        for _ in it:
            i = it.multi_index
            d = np.zeros_like(x)
            d[i] = h
            ndx[i] = np.sum(dout * (forward(x + d, w, stride, pad) - forward(x - d, w, stride, pad))) / (2 * h)
        ndw = np.zeros_like(w)
        it = np.nditer(w, flags=["multi_index"])
        for _ in it:
            i = it.multi_index
            d = np.zeros_like(w)
            d[i] = h
            ndw[i] = np.sum(dout * (forward(x, w + d, stride, pad) - forward(x, w - d, stride, pad))) / (2 * h)

        if not np.allclose(dx, ndx, atol=1e-6):
            return f"dx wrong, filter {k}, pad {pad}"
        if not np.allclose(dw, ndw, atol=1e-6):
            return f"dw wrong, filter {k}, pad {pad}"
    return None
