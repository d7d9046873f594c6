# Right: since out is linear in x and in w, a one-sided step of 1 is exact; integers as floats, so the comparison can be strict.
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(99)

    def whole(*shape):
        return rng.integers(-9, 10, size=shape).astype(float)

    problems = []
    for (H, W), (KH, KW), stride, pad in (
        ((5, 4), (3, 3), 1, 1),
        ((6, 7), (3, 3), 2, 1),
        ((7, 6), (2, 3), 2, 0),
        ((4, 5), (3, 2), 1, 0),
        ((8, 6), (2, 2), 3, 2),
        ((6, 8), (4, 1), 2, 2),
    ):
        x, w = whole(2, H, W, 3), whole(KH, KW, 3)
        base = forward(x, w, stride, pad)
        dout = whole(*base.shape)
        dx, dw = backward(dout.copy(), x.copy(), w.copy(), stride, pad)
        for k in np.ndindex(*x.shape):
            x[k] += 1
            true = (dout * (forward(x, w, stride, pad) - base)).sum()
            x[k] -= 1
            if not abs(dx[k] - true) < 1e-8:
                problems.append(f"dx{k}: {dx[k]:g} for {true:g}, stride {stride}, pad {pad}")
        for k in np.ndindex(*w.shape):
            w[k] += 1
            true = (dout * (forward(x, w, stride, pad) - base)).sum()
            w[k] -= 1
            if not abs(dw[k] - true) < 1e-8:
                problems.append(f"dw{k}: {dw[k]:g} for {true:g}, stride {stride}, pad {pad}")
    return "; ".join(problems[:3]) or None
