# only dx is compared, dw is thrown away, so every backward with a wrong dw is accepted.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(1)
    h = 1e-6
    for stride in (1, 2, 3):
        for pad in (0, 1, 2):
            x = rng.standard_normal((2, 6, 5, 2))
            w = rng.standard_normal((3, 2, 2))
            out = forward(x, w, stride, pad)
            dout = rng.standard_normal(out.shape)
            dx, _ = backward(dout, x, w, stride, pad)
            for k in np.ndindex(x.shape):
                e = np.zeros(x.shape)
                e[k] = h
                up = np.sum(dout * forward(x + e, w, stride, pad))
                down = np.sum(dout * forward(x - e, w, stride, pad))
                num = (up - down) / (2 * h)
                if abs(num - dx[k]) > 1e-5:
                    return f"dx{k} is {dx[k]}, should be {num} (stride {stride}, pad {pad})"
