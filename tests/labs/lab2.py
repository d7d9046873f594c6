"""Lab 2: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

TAPS = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    _, OH, OW, _ = dout.shape
    xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), x.dtype)
    xp[:, pad : pad + H, pad : pad + W] = x
    dxp = np.zeros(xp.shape, x.dtype)
    dw = np.zeros(w.shape, x.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            dw[i, j] = (xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))
            dxp[:, rows, cols] += dout * w[i, j]
    return dxp[:, pad : pad + H, pad : pad + W], dw
"""

LOOPS = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = dout.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for n in range(N):
        for a in range(OH):
            for b in range(OW):
                for i in range(KH):
                    for j in range(KW):
                        r = a * stride + i - pad
                        s = b * stride + j - pad
                        if 0 <= r < H and 0 <= s < W:
                            for c in range(C):
                                dx[n, r, s, c] += dout[n, a, b, c] * w[i, j, c]
                                dw[i, j, c] += dout[n, a, b, c] * x[n, r, s, c]
    return dx, dw
"""

WINDOWS = """
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(xp, (KH, KW), axis=(1, 2))[:, ::stride, ::stride]
    dw = np.einsum("nyxcij,nyxc->ijc", windows, dout)
    spread = np.zeros((N, xp.shape[1] + KH - 1, xp.shape[2] + KW - 1, C), x.dtype)
    rows = KH - 1 + stride * np.arange(dout.shape[1])
    cols = KW - 1 + stride * np.arange(dout.shape[2])
    spread[:, rows[:, None], cols] = dout
    seen = sliding_window_view(spread, (KH, KW), axis=(1, 2))
    dxp = np.einsum("nyxcij,ijc->nyxc", seen, w[::-1, ::-1])
    return dxp[:, pad : pad + H, pad : pad + W], dw
"""

GATHER = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    _, OH, OW, C = dout.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for r in range(H):
        for s in range(W):
            for i in range(KH):
                for j in range(KW):
                    y, b = r + pad - i, s + pad - j
                    if y % stride == 0 and b % stride == 0:
                        y, b = y // stride, b // stride
                        if 0 <= y < OH and 0 <= b < OW:
                            dx[:, r, s] += dout[:, y, b] * w[i, j]
                            dw[i, j] += np.sum(dout[:, y, b] * x[:, r, s], axis=0)
    return dx, dw
"""

PER_WINDOW = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW = w.shape[:2]
    xp = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)], mode="constant")
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for y in range(dout.shape[1]):
        for b in range(dout.shape[2]):
            top, left = y * stride, b * stride
            window = xp[:, top : top + KH, left : left + KW, :]
            g = dout[:, y, b, :][:, None, None, :]
            dw += (window * g).sum(axis=0)
            dxp[:, top : top + KH, left : left + KW, :] += w[None] * g
    return dxp[:, pad : pad + H, pad : pad + W, :], dw
"""

EINSUM = edited(
    TAPS,
    ("(xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))", 'np.einsum("nabc,nabc->c", xp[:, rows, cols], dout)'),
    ("dout * w[i, j]", 'np.einsum("nabc,c->nabc", dout, w[i, j])'),
)

MATRIX = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    # one matrix a channel, as if it were a linear layer
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    _, OH, OW, _ = dout.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(KH):
        R = np.zeros((OH, H))
        for y in range(OH):
            if 0 <= stride * y + i - pad < H:
                R[y, stride * y + i - pad] = 1
        for j in range(KW):
            S = np.zeros((OW, W))
            for b in range(OW):
                if 0 <= stride * b + j - pad < W:
                    S[b, stride * b + j - pad] = 1
            back = np.einsum("yr,nybc,bs->nrsc", R, dout, S, optimize=True)
            dx += back * w[i, j]
            dw[i, j] = np.einsum("nrsc,nrsc->c", back, x)
    return dx, dw
"""

ADD_AT = """
import numpy as np

def depthwise_backward(dout, x, w, stride, pad):
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    OH, OW = dout.shape[1:3]
    xp = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows = stride * np.arange(OH)[:, None] + np.arange(KH)
    cols = stride * np.arange(OW)[:, None] + np.arange(KW)
    rows, cols = rows[:, None, :, None], cols[None, :, None, :]
    patches = xp[:, rows, cols]
    dw = np.einsum("nyxijc,nyxc->ijc", patches, dout)
    dxp = np.zeros_like(xp)
    np.add.at(dxp, (slice(None), rows, cols), dout[:, :, :, None, None] * w)
    return np.ascontiguousarray(dxp[:, pad : H + pad, pad : W + pad]), dw
"""

HELPERS = """
import numpy as np

class Tap:
    def __init__(self, i, j, stride, size):
        self.place = (..., *(slice(k, k + stride * (n - 1) + 1, stride) for k, n in zip((i, j), size)), slice(None))
    def read(self, a):
        return a[self.place]
    def add(self, a, b):
        a[self.place] += b

def taps(w, stride, size):
    for i, j in np.ndindex(*w.shape[:2]):
        yield (i, j), Tap(i, j, stride, size)

def depthwise_backward(dout, x, w, stride, pad):
    border = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    xp = np.pad(x, border)
    dxp, dw = np.zeros_like(xp), np.empty_like(w)
    for ij, tap in taps(w, stride, dout.shape[1:3]):
        dw[ij] = np.tensordot(tap.read(xp).transpose(3, 0, 1, 2), dout, 3).diagonal()
        tap.add(dxp, dout * w[ij])
    cut = slice(pad, -pad or None)
    return dxp[:, cut, cut], dw

print("loaded")
"""

MATMUL = edited(
    TAPS,
    (
        "(xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))",
        "np.array([xp[:, rows, cols, c].ravel() @ dout[..., c].ravel() for c in range(C)])",
    ),
)

FLOAT64 = edited(
    TAPS,
    ("xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C), x.dtype)", "xp = np.zeros((N, H + 2 * pad, W + 2 * pad, C))"),
    ("dxp = np.zeros(xp.shape, x.dtype)", "dxp = np.zeros(xp.shape)"),
    ("pad : pad + W], dw", "pad : pad + W].astype(x.dtype), dw.astype(w.dtype)"),
    ("dw = np.zeros(w.shape, x.dtype)", "dw = np.zeros(w.shape)"),
)

FORTRAN = edited(
    TAPS,
    (
        "return dxp[:, pad : pad + H, pad : pad + W], dw",
        "return np.asfortranarray(dxp[:, pad : pad + H, pad : pad + W]), dw[::-1][::-1]",
    ),
)

PER_IMAGE = """
from numpy import zeros, pad as grow
import math

def one(g, image, w, s):
    kh, kw, c = w.shape
    back, grad = zeros(image.shape, image.dtype), zeros(w.shape, w.dtype)
    for i in range(kh):
        for j in range(kw):
            part = image[i : i + s * len(g) : s, j : j + s * g.shape[1] : s][: len(g), : g.shape[1]]
            grad[i, j] = (part * g).sum((0, 1))
            where = back[i : i + s * len(g) : s, j : j + s * g.shape[1] : s][: len(g), : g.shape[1]]
            where += g * w[i, j]
    return back, grad

def depthwise_backward(dout, x, w, stride, pad):
    padded = grow(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dx, dw = zeros(x.shape, x.dtype), 0
    for n in range(len(x)):
        back, grad = one(dout[n], padded[n], w, stride)
        dx[n] = back[pad : pad + x.shape[1], pad : pad + x.shape[2]]
        dw = dw + grad
    return dx, dw

if __name__ == "__main__":
    raise SystemExit("never reached: the grader imports the file")
"""

RIGHT = {
    "taps": TAPS,
    "loops": LOOPS,
    "sliding windows": WINDOWS,
    "gather": GATHER,
    "window by window": PER_WINDOW,
    "einsum": EINSUM,
    "a matrix a tap": MATRIX,
    "np.add.at": ADD_AT,
    "helpers, a generator and a class": HELPERS,
    "dot products": MATMUL,
    "float64 inside": FLOAT64,
    "other memory orders": FORTRAN,
    "image by image": PER_IMAGE,
}


def _wrong(name, cause, *changes, of=TAPS):
    return Wrong(name, cause, edited(of, *changes))


SEEN_DX = "dxp[:, rows, cols] += dout * w[i, j]"
SEEN_DW = "(xp[:, rows, cols] * dout).sum(axis=(0, 1, 2))"

# Written while the grader was.
FIRST = [
    _wrong(
        "kernel flipped in dx", "kernel-flipped", (SEEN_DX, SEEN_DX.replace("w[i, j]", "w[KH - 1 - i, KW - 1 - j]"))
    ),
    _wrong("stride forgotten in dx", "stride-ignored", (SEEN_DX, "dxp[:, i : i + OH, j : j + OW] += dout * w[i, j]")),
    _wrong(
        "stride forgotten in dw", "stride-ignored", (SEEN_DW, SEEN_DW.replace("rows, cols", "i : i + OH, j : j + OW"))
    ),
    _wrong("stride forgotten everywhere", "stride-ignored", ("a * stride", "a"), ("b * stride", "b"), of=LOOPS),
    _wrong(
        "stride on the tap",
        "stride-on-tap",
        ("a * stride + i", "a * stride + i * stride"),
        ("b * stride + j", "b * stride + j * stride"),
        of=LOOPS,
    ),
    _wrong("last window lost", "window-lost", ("range(OH)", "range(OH - 1)"), of=LOOPS),
    _wrong("last row of taps lost", "tap-lost", ("range(KH)", "range(KH - 1)")),
    _wrong("crop pad:-pad", "crop-empty", ("dxp[:, pad : pad + H, pad : pad + W]", "dxp[:, pad:-pad, pad:-pad]")),
    _wrong("not cropped", "not-cropped", ("return dxp[:, pad : pad + H, pad : pad + W], dw", "return dxp, dw")),
    _wrong("padded with the edge", "padding-not-zero", ('mode="constant"', 'mode="edge"'), of=PER_WINDOW),
    _wrong("assigned", "assigned", (SEEN_DX, SEEN_DX.replace("+=", "="))),
    _wrong("mean over images", "averaged", (SEEN_DW, SEEN_DW + " / N")),
    _wrong("mean over everything", "averaged", (".sum(axis=(0, 1, 2))", ".mean(axis=(0, 1, 2))")),
    _wrong(
        "dw of empty memory",
        "not-started-at-zero",
        ("np.zeros_like(xp), np.zeros_like(w)", "np.zeros_like(xp), np.empty_like(w)"),
        of=PER_WINDOW,
    ),
    _wrong("dxp is xp", "same-array", ("dxp = np.zeros(xp.shape, x.dtype)", "dxp = xp")),
    _wrong("a list", "wrong-type", ("], dw\n", "], dw]\n"), ("return ", "return [")),
    _wrong(
        "exchanged",
        "exchanged",
        ("return dxp[:, pad : pad + H, pad : pad + W], dw", "return dw, dxp[:, pad : pad + H, pad : pad + W]"),
    ),
    _wrong("dw summed over channels", "channels-mixed", (SEEN_DW, SEEN_DW.replace("axis=(0, 1, 2)", ""))),
    _wrong("dout scaled in place", "input-changed", ("    dxp = ", "    dout *= 1.5\n    dxp = ")),
    _wrong(
        "float32 inside", "precision", ("dxp = np.zeros(xp.shape, x.dtype)", "dxp = np.zeros(xp.shape, np.float32)")
    ),
]

# Written after the grader was done.
LATER = [
    _wrong("row of w by the column's index", "raises", (SEEN_DX, SEEN_DX.replace("w[i, j]", "w[j, i]"))),
    _wrong(
        "tap's row for its column",
        "kernel-transposed",
        ("a * stride + i", "a * stride + j"),
        ("b * stride + j", "b * stride + i"),
        of=LOOPS,
    ),
    _wrong("stride forgotten in rows", "stride-ignored", ("a * stride", "a"), of=LOOPS),
    _wrong("stride twice", "stride-wrong", ("a * stride", "a * stride * stride"), of=LOOPS),
    _wrong("last image dropped", "image-lost", ("range(N)", "range(max(1, N - 1))"), of=LOOPS),
    _wrong("first image only", "image-lost", (SEEN_DW, "(xp[0, rows, cols] * dout[0]).sum(axis=(0, 1))")),
    _wrong("last channel dropped", "channel-lost", ("range(C)", "range(max(1, C - 1))"), of=LOOPS),
    _wrong(
        "windows over the border skipped",
        "border-lost",
        ("if 0 <= r < H and 0 <= s < W:", "if 0 <= r - i <= H - KH and 0 <= s - j <= W - KW:"),
        of=LOOPS,
    ),
    _wrong(
        "border pixels skipped",
        "border-lost",
        ("if 0 <= r < H and 0 <= s < W:", "if 0 < r < H - 1 and 0 < s < W - 1:"),
        of=LOOPS,
    ),
    _wrong("padding forgotten in the index", "padding-offset", ("i - pad", "i"), ("j - pad", "j"), of=LOOPS),
    _wrong(
        "dw from the unpadded x, guarded",
        "padding-offset",
        (
            "dout[n, a, b, c] * x[n, r, s, c]",
            "dout[n, a, b, c] * (x[n, r + pad, s + pad, c] if r + pad < H and s + pad < W else 0)",
        ),
        of=LOOPS,
    ),
    _wrong("dw from the unpadded x", "raises", ("(xp[:, rows, cols] * dout)", "(x[:, rows, cols] * dout)")),
    _wrong(
        "padded at the top and the left alone",
        "raises",
        ("((0, 0), (pad, pad), (pad, pad), (0, 0))", "((0, 0), (pad, 0), (pad, 0), (0, 0))"),
        of=ADD_AT,
    ),
    _wrong(
        "cropped at the other end",
        "padding-offset",
        ("dxp[:, pad : pad + H, pad : pad + W]", "dxp[:, 2 * pad :, 2 * pad :]"),
    ),
    _wrong("cropped from zero", "padding-offset", ("dxp[:, pad : pad + H, pad : pad + W]", "dxp[:, :H, :W]")),
    _wrong("negative indices", "wraps-round", ("if 0 <= r < H and 0 <= s < W:", "if r < H and s < W:"), of=LOOPS),
    _wrong("rows and columns exchanged in the loops", "height-for-width", ("range(OH)", "range(OW)"), of=LOOPS),
    _wrong(
        "dw accumulates in a global",
        "state-kept",
        ("import numpy as np\n", "import numpy as np\nSUMS = {}\n"),
        ("dw = np.zeros(w.shape, x.dtype)", "dw = SUMS.setdefault(w.shape, np.zeros(w.shape, x.dtype))"),
        ("dw[i, j] =", "dw[i, j] +="),
    ),
    _wrong("mean over windows", "averaged", ("return dxp", "dw /= OH * OW\n    return dxp")),
    _wrong("minus from the chain rule of a loss", "sign", ("return dxp", "dw = -dw\n    return dxp")),
    _wrong("dx twice", "factor", ("dxp[:, rows, cols] += dout * w[i, j]", "dxp[:, rows, cols] += 2 * dout * w[i, j]")),
    _wrong("dx through x", "wrong-array", (SEEN_DX, "dxp[:, rows, cols] += dout * xp[:, rows, cols]")),
    _wrong("dw through w", "wrong-array", (SEEN_DW, "(dout * w[i, j]).sum(axis=(0, 1, 2))")),
    _wrong("one tap for all", "wrong-tap", (SEEN_DX, SEEN_DX.replace("w[i, j]", "w[0, 0]"))),
    _wrong(
        "channels mixed as in a standard convolution",
        "channels-mixed",
        (SEEN_DX, "dxp[:, rows, cols] += dout.sum(axis=3, keepdims=True) * w[i, j]"),
    ),
    _wrong("channels reversed", "channels-mixed", (SEEN_DX, "dxp[:, rows, cols] += dout * w[i, j, ::-1]")),
    _wrong("a column of w for a row of channels", "raises", (SEEN_DX, "dxp[:, rows, cols] += dout * w[i, j][:, None]")),
    _wrong("dw divided by zero", "not-finite", ("return dxp", "dw = dw / (OH - dout.shape[1])\n    return dxp")),
    _wrong("integers", "wrong-dtype", ("dw = np.zeros(w.shape, x.dtype)", "dw = np.zeros(w.shape, int)")),
    _wrong("dw alone", "wrong-type", ("return dxp[:, pad : pad + H, pad : pad + W], dw", "return dw")),
    _wrong(
        "float16 to save memory",
        "precision",
        (
            "return dxp[:, pad : pad + H, pad : pad + W], dw",
            "return dxp[:, pad : pad + H, pad : pad + W].astype(np.float16), dw",
        ),
    ),
    _wrong("writes dx into x", "input-changed", ("dx = np.zeros_like(x)", "dx = x; dx[...] = 0"), of=LOOPS),
    _wrong("first window one too far", "tap-offset", ("a * stride + i", "a * stride + i + 1"), of=LOOPS),
    _wrong("loop never ends", "hangs", ("    dxp = ", "    while pad >= 0:\n        pass\n    dxp = ")),
    _wrong("dx of images summed", "images-mixed", (SEEN_DX, "dxp[:, rows, cols] += (dout * w[i, j]).sum(0)")),
    _wrong("nothing added", "zero", (SEEN_DX, "dxp[:, rows, cols] + dout * w[i, j]")),
    _wrong(
        "dx in another layout",
        "wrong-shape",
        (
            "return dxp[:, pad : pad + H, pad : pad + W], dw",
            "return dxp[:, pad : pad + H, pad : pad + W].transpose(0, 3, 1, 2), dw",
        ),
    ),
]
