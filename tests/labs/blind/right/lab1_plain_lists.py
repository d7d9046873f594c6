# right: Python's own numbers and lists, made an array at the end
import numpy as np


def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, _ = w.shape
    image, kernel = xp.tolist(), w.tolist()

    def at(n, y, x, c):
        taps = ((i, j) for i in range(KH) for j in range(KW))
        return sum(image[n][stride * y + i][stride * x + j][c] * kernel[i][j][c] for i, j in taps)

    ys, xs = range((H - KH) // stride + 1), range((W - KW) // stride + 1)
    out = [[[[at(n, y, x, c) for c in range(C)] for x in xs] for y in ys] for n in range(N)]
    return np.array(out, dtype=xp.dtype)


def pointwise(x, w):
    columns = list(zip(*w.tolist(), strict=True))

    def pixel(values):
        return [sum(a * b for a, b in zip(values, column, strict=True)) for column in columns]

    return np.array([[[pixel(p) for p in row] for row in image] for image in x.tolist()], dtype=x.dtype)


def as_standard(wd):
    return np.array(
        [
            [[[v if m == c else 0.0 for m in range(len(tap))] for c, v in enumerate(tap)] for tap in row]
            for row in wd.tolist()
        ],
        dtype=wd.dtype,
    )
