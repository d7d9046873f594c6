# Right: adjoint test with random directions, twice a setting, for x and for w (no step h at all).
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(0)
    settings = [
        (H, W, KH, KW, s, p)
        for H, W in ((7, 6), (5, 9))
        for KH, KW in ((3, 3), (2, 3), (3, 2), (1, 1), (4, 3), (2, 5))
        for s in (1, 2, 3)
        for p in (0, 1, 2)
    ]
    for H, W, KH, KW, s, p in settings:
        x = rng.standard_normal((3, H, W, 4))
        w = rng.standard_normal((KH, KW, 4))
        dout = rng.standard_normal(forward(x, w, s, p).shape)
        dx, dw = backward(dout, x, w, s, p)
        for _ in range(2):
            v, u = rng.standard_normal(x.shape), rng.standard_normal(w.shape)
            a, b = np.vdot(dout, forward(v, w, s, p)), np.vdot(dx, v)
            if not abs(a - b) < 1e-9 * (1 + np.abs(dx * v).sum() + abs(a)):
                return f"dx is not the adjoint of forward, stride {s}, pad {p}, filter {KH} x {KW}, image {H} x {W}"
            a, b = np.vdot(dout, forward(x, u, s, p)), np.vdot(dw, u)
            if not abs(a - b) < 1e-9 * (1 + np.abs(dw * u).sum() + abs(a)):
                return f"dw is not the adjoint of forward, stride {s}, pad {p}, filter {KH} x {KW}, image {H} x {W}"
