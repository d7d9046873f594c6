# the adjoint test is made with a direction of ones, so only the sum of dx and the sum of dw are compared and every
# exchange of elements is accepted.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(7)
    for stride, pad in [(1, 0), (1, 1), (2, 0), (2, 1), (3, 1)]:
        for KH, KW in [(3, 3), (2, 3), (3, 1)]:
            x = rng.normal(size=(2, 8, 7, 3))
            w = rng.normal(size=(KH, KW, 3))
            dout = rng.normal(size=forward(x, w, stride, pad).shape)
            dx, dw = backward(dout, x, w, stride, pad)

            v = np.ones_like(x)
            left = np.sum(dout * forward(v, w, stride, pad))
            right = np.sum(dx * v)
            if not np.isclose(left, right):
                return f"dx: {right} where {left} is expected"

            v = np.ones_like(w)
            left = np.sum(dout * forward(x, v, stride, pad))
            right = np.sum(dw * v)
            if not np.isclose(left, right):
                return f"dw: {right} where {left} is expected"
    return None
