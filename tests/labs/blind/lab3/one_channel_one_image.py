# x has one image and one channel only, so mistakes that mix channels or drop images are accepted (the two hide behind
# one habit: N = C = 1).
import numpy as np


def check(forward, backward):
    rng = np.random.default_rng(5)
    h = 1e-6
    for H, W, KH, KW, stride, pad in [
        (5, 4, 3, 2, 1, 0),
        (4, 6, 3, 3, 1, 1),
        (7, 6, 3, 3, 2, 1),
        (6, 8, 2, 3, 2, 0),
        (8, 7, 2, 2, 3, 1),
    ]:
        x = rng.normal(size=(1, H, W, 1))
        w = rng.normal(size=(KH, KW, 1))
        out = forward(x, w, stride, pad)
        dout = rng.normal(size=out.shape)
        dx, dw = backward(dout, x, w, stride, pad)
        for i in range(H):
            for j in range(W):
                xp, xm = x.copy(), x.copy()
                xp[0, i, j, 0] += h
                xm[0, i, j, 0] -= h
                num = ((forward(xp, w, stride, pad) - forward(xm, w, stride, pad)) * dout).sum() / (2 * h)
                if abs(num - dx[0, i, j, 0]) > 1e-6:
                    return f"dx[{i}, {j}] is wrong (stride {stride}, pad {pad})"
        for i in range(KH):
            for j in range(KW):
                wp, wm = w.copy(), w.copy()
                wp[i, j, 0] += h
                wm[i, j, 0] -= h
                num = ((forward(x, wp, stride, pad) - forward(x, wm, stride, pad)) * dout).sum() / (2 * h)
                if abs(num - dw[i, j, 0]) > 1e-6:
                    return f"dw[{i}, {j}] is wrong (stride {stride}, pad {pad})"
    return None
