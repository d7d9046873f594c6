# Right: columns of the Jacobian: forward of unit images gives it whole, then backward is compared for random dout by a matrix product.
import numpy as np


def check(forward, backward):
    rng = np.random.RandomState(8)
    for N, H, W, C, KH, KW, s, p in (
        (2, 5, 6, 2, 3, 3, 1, 1),
        (2, 6, 5, 3, 3, 2, 2, 1),
        (3, 7, 4, 2, 2, 3, 2, 0),
        (1, 4, 7, 3, 2, 4, 3, 2),
        (2, 3, 5, 2, 3, 3, 1, 0),
    ):
        x, w = rng.rand(N, H, W, C) - 0.3, rng.rand(KH, KW, C) - 0.6
        Jx = np.array([forward(e.reshape(x.shape), w, s, p).ravel() for e in np.eye(x.size)])
        Jw = np.array([forward(x, e.reshape(w.shape), s, p).ravel() for e in np.eye(w.size)])
        shape = forward(x, w, s, p).shape
        dout = rng.rand(*shape) - 0.5
        dx, dw = backward(dout, x, w, s, p)
        worst = {
            "dx": np.abs(dx.ravel() - Jx @ dout.ravel()).max(),
            "dw": np.abs(dw.ravel() - Jw @ dout.ravel()).max(),
        }
        for name, error in worst.items():
            if not error <= 1e-9:
                return f"{name} is off by {error:.2g} (stride {s}, padding {p}, filter {KH}x{KW})"
    return None
