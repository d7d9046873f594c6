"""Lab 1: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

TAPS = """
import numpy as np

def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for i in range(KH):
        for j in range(KW):
            rows = slice(i, i + stride * (OH - 1) + 1, stride)
            cols = slice(j, j + stride * (OW - 1) + 1, stride)
            out += xp[:, rows, cols] * w[i, j]
    return out

def pointwise(x, w):
    return x @ w

def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    for c in range(C):
        w[:, :, c, c] = wd[:, :, c]
    return w
"""

LOOPS = """
import numpy as np

def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, _ = w.shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    out = np.zeros((N, OH, OW, C), xp.dtype)
    for n in range(N):
        for y in range(OH):
            for x in range(OW):
                for c in range(C):
                    for i in range(KH):
                        for j in range(KW):
                            out[n, y, x, c] += xp[n, stride * y + i, stride * x + j, c] * w[i, j, c]
    return out

def pointwise(x, w):
    N, H, W, C = x.shape
    out = np.zeros((N, H, W, w.shape[1]), x.dtype)
    for n in range(N):
        for r in range(H):
            for s in range(W):
                for m in range(w.shape[1]):
                    for c in range(C):
                        out[n, r, s, m] += x[n, r, s, c] * w[c, m]
    return out

def as_standard(wd):
    KH, KW, C = wd.shape
    w = np.zeros((KH, KW, C, C), wd.dtype)
    for i in range(KH):
        for j in range(KW):
            w[i, j] = np.diag(wd[i, j])
    return w
"""

WINDOWS = """
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

def depthwise(xp, w, stride):
    windows = sliding_window_view(xp, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nyxcij,ijc->nyxc", windows, w)

def pointwise(x, w):
    return np.einsum("nyxc,cm->nyxm", x, w)

def as_standard(wd):
    return wd[:, :, :, None] * np.eye(wd.shape[2], dtype=wd.dtype)
"""

OTHERS = """
import numpy as np

def depthwise(xp, w, stride):
    N, H, W, C = xp.shape
    KH, KW, C = w.shape
    rows = np.arange(0, H - KH + 1, stride)[:, None] + np.arange(KH)
    cols = np.arange(0, W - KW + 1, stride)[:, None] + np.arange(KW)
    patches = xp[:, rows[:, None, :, None], cols[None, :, None, :]]
    return (patches * w).sum(axis=(3, 4))

def pointwise(x, w):
    return np.tensordot(x, w, 1)

def as_standard(wd):
    w = np.zeros(wd.shape + wd.shape[-1:], wd.dtype)
    c = np.arange(wd.shape[-1])
    w[..., c, c] = wd
    return w
"""

ROWS = edited(
    TAPS,
    ("return x @ w", "return (x.reshape(-1, x.shape[3]) @ w).reshape(*x.shape[:3], -1)"),
)

CHANNELS = """
import numpy as np

def depthwise(xp, w, stride):
    planes = []
    for c in range(xp.shape[3]):
        image, k = xp[..., c], w[..., c]
        oh = (image.shape[1] - k.shape[0]) // stride + 1
        ow = (image.shape[2] - k.shape[1]) // stride + 1
        planes.append(sum(
            k[i, j] * image[:, i:, j:][:, ::stride, ::stride][:, :oh, :ow]
            for i in range(k.shape[0]) for j in range(k.shape[1])
        ))
    return np.stack(planes, axis=-1)

def pointwise(x, w):
    return np.stack([sum(x[..., c] * w[c, m] for c in range(w.shape[0])) for m in range(w.shape[1])], -1)

def as_standard(wd):
    return np.einsum("ijc,cm->ijcm", wd, np.identity(wd.shape[2], wd.dtype))
"""

RIGHT = {
    "taps": TAPS,
    "loops": LOOPS,
    "sliding windows": WINDOWS,
    "index arrays": OTHERS,
    "rows of pixels": ROWS,
    "channel by channel": CHANNELS,
}


def _wrong(name, cause, *changes, of=TAPS):
    return Wrong(name, cause, edited(of, *changes))


# Written while the grader was.
FIRST = [
    _wrong("kernel flipped", "kernel-flipped", ("* w[i, j]", "* w[KH - 1 - i, KW - 1 - j]")),
    _wrong("stride forgotten", "stride-ignored", ("xp[:, rows, cols]", "xp[:, i : i + OH, j : j + OW]")),
    _wrong(
        "channels summed",
        "channels-mixed",
        ("xp[:, rows, cols] * w[i, j]", "(xp[:, rows, cols] * w[i, j]).sum(-1, keepdims=True)"),
    ),
    _wrong("assigned", "assigned", ("out +=", "out =")),
    _wrong("last tap lost", "tap-lost", ("range(KW)", "range(KW - 1)")),
    _wrong("last window lost", "wrong-shape", ("(H - KH) // stride + 1, (W", "(H - KH) // stride, (W")),
    _wrong("pointwise by w.T", "raises", ("x @ w", "x @ w.T")),
    _wrong("diagonal over taps", "raises", ("w[:, :, c, c] = wd[:, :, c]", "w[c, c] = wd[:, :, c]")),
    _wrong(
        "every channel to every channel",
        "not-diagonal",
        ("w[:, :, c, c] =", "w[:, :, c, :] ="),
        ("wd[:, :, c]", "wd[:, :, c, None]"),
    ),
]

# Written after the grader was done.
LATER = [
    _wrong(
        "stride on the tap",
        "raises",
        ("xp[n, stride * y + i, stride * x + j, c]", "xp[n, stride * (y + i), stride * (x + j), c]"),
        of=LOOPS,
    ),
    _wrong("stride in rows alone", "stride-ignored", ("stride * x + j", "x + j"), of=LOOPS),
    _wrong(
        "the tap's row for its column",
        "raises",
        ("xp[n, stride * y + i, stride * x + j, c]", "xp[n, stride * y + j, stride * x + i, c]"),
        of=LOOPS,
    ),
    _wrong(
        "mean over the window", "averaged", ("return out\n\ndef pointwise", "return out / (KH * KW)\n\ndef pointwise")
    ),
    _wrong("first image for all", "images-mixed", ("xp[:, rows, cols]", "xp[:1, rows, cols]")),
    _wrong("first channel's filter for all", "channels-mixed", ("w[i, j]\n", "w[i, j, 0]\n")),
    _wrong("ceil for floor", "raises", ("(H - KH) // stride + 1", "-(-(H - KH) // stride) + 1")),
    _wrong(
        "the window's index for its pixel",
        "stride-ignored",
        ("stride * y + i, stride * x + j, c", "y + i, x + j, c"),
        of=LOOPS,
    ),
    _wrong(
        "as_standard is full of wd",
        "not-diagonal",
        ("wd[:, :, :, None] * np.eye(wd.shape[2], dtype=wd.dtype)", "np.repeat(wd[:, :, :, None], wd.shape[2], 3)"),
        of=WINDOWS,
    ),
    _wrong(
        "as_standard reversed",
        "channels-mixed",
        ("wd[:, :, :, None] * np.eye(wd.shape[2], dtype=wd.dtype)", "wd[:, :, ::-1, None] * np.eye(wd.shape[2])"),
        of=WINDOWS,
    ),
    _wrong(
        "as_standard by reshape",
        "raises",
        (
            "wd[:, :, :, None] * np.eye(wd.shape[2], dtype=wd.dtype)",
            "np.diag(wd.ravel()).reshape(*wd.shape, -1).reshape(*wd.shape, wd.shape[2])",
        ),
        of=WINDOWS,
    ),
    _wrong(
        "pointwise with the last channel lost",
        "channel-lost",
        (
            "for c in range(C):\n                        out[n, r",
            "for c in range(C - 1):\n                        out[n, r",
        ),
        of=LOOPS,
    ),
    _wrong("pointwise assigns", "assigned", ("out[n, r, s, m] +=", "out[n, r, s, m] ="), of=LOOPS),
    _wrong("pointwise as NCHW", "wrong-shape", ("x @ w", "np.einsum('nchw,cm->nmhw', x, w)")),
    _wrong("pointwise by reshaped w", "reordered", ("x @ w", "x @ w.ravel().reshape(w.shape, order='F')")),
    _wrong(
        "pointwise sums pixels",
        "pixels-mixed",
        ("x @ w", "np.broadcast_to((x @ w).sum((1, 2), keepdims=True), (*x.shape[:3], w.shape[1]))"),
    ),
    _wrong("pointwise in float32", "precision", ("x @ w", "(x.astype(np.float32) @ w.astype(np.float32))")),
]
