"""Lab 7: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

GIVEN = """
import numpy as np

def relu6(x):
    return np.clip(x, 0, 6)

def depthwise(x, w):
    N, H, W, C = x.shape
    xp = np.zeros((N, H + 2, W + 2, C), x.dtype)
    xp[:, 1:-1, 1:-1] = x
    out = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + H, j : j + W] * w[i, j]
    return out

def block_whole(x, we, wd, wp):
    wide = relu6(x @ we)
    filtered = relu6(depthwise(wide, wd))
    return filtered @ wp
"""

SPLIT = (
    GIVEN
    + """
def block_in_parts(x, we, wd, wp, t):
    out = np.zeros((*x.shape[:3], wp.shape[1]), x.dtype)
    for k in np.array_split(np.arange(we.shape[1]), t):
        out += block_whole(x, we[:, k], wd[:, :, k], wp[k])
    return out
"""
)

SLICES = (
    GIVEN
    + """
def block_in_parts(x, we, wd, wp, t):
    N, H, W, C = x.shape
    E, M = wp.shape
    step = -(-E // t)
    out = np.zeros((N, H, W, M), x.dtype)
    for start in range(0, E, step):
        part = slice(start, start + step)
        wide = relu6(x @ we[:, part])
        filtered = relu6(depthwise(wide, wd[:, :, part]))
        out += filtered @ wp[part]
    return out
"""
)

SUM = (
    GIVEN
    + """
def block_in_parts(x, we, wd, wp, t):
    # the sizes by hand: E % t parts have one channel more
    E = we.shape[1]
    ends = [(k + 1) * E // t for k in range(t)]
    return sum(block_whole(x, we[:, b:e], wd[..., b:e], wp[b:e]) for b, e in zip([0] + ends, ends))
"""
)

WINDOWS = """
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

def block_in_parts(x, we, wd, wp, t):
    E = we.shape[1]
    size = (E + t - 1) // t
    xp = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])  # zeros stay zeros, for there is no bias
    total = 0
    first = 0
    while first < E:
        last = min(first + size, E)
        windows = sliding_window_view(np.minimum(np.maximum(xp @ we[:, first:last], 0), 6), (3, 3), axis=(1, 2))
        filtered = np.einsum("nyxeij,ije->nyxe", windows, wd[:, :, first:last])
        total = total + np.minimum(np.maximum(filtered, 0), 6) @ wp[first:last]
        first = last
    return total
"""

NINEFOLD = WINDOWS.replace(
    'np.einsum("nyxeij,ije->nyxe", windows, wd[:, :, first:last])',
    "(windows * wd[:, :, first:last].transpose(2, 0, 1)).sum(axis=(-1, -2))",
)

IN_PLACE = """
import numpy as np

class Parts:
    def __init__(self, x, size):
        N, H, W, _ = x.shape
        self.x, self.size = x, (H, W)
        self.wide = np.zeros((N, H + 2, W + 2, size), x.dtype)
        self.filtered = np.empty((N, H, W, size), x.dtype)

    def part(self, we, wd, n):
        H, W = self.size
        inside = self.wide[:, 1:-1, 1:-1, :n]
        np.clip(self.x @ we, 0, 6, out=inside)
        f = self.filtered[..., :n]
        f[...] = 0
        for i in range(3):
            for j in range(3):
                f += self.wide[:, i : H + i, j : W + j, :n] * wd[i, j]
        return np.clip(f, 0, 6, out=f)

def block_in_parts(x, we, wd, wp, t):
    E, M = wp.shape
    cuts = np.linspace(0, E, t + 1).astype(int)
    memory = Parts(x, np.diff(cuts).max())
    out = np.zeros(x.shape[:-1] + (M,), dtype=x.dtype)
    for a, b in zip(cuts[:-1], cuts[1:]):
        out += memory.part(we[:, a:b], wd[:, :, a:b], b - a) @ wp[a:b]
    return out
"""

CHANNELS = (
    GIVEN
    + """
def block_in_parts(x, we, wd, wp, t):
    # one channel at a time: a part of a part
    out = np.zeros(x.shape[:3] + wp.shape[1:], x.dtype)
    for e in range(we.shape[1]):
        plane = relu6((x @ we[:, e])[..., None])
        out += relu6(depthwise(plane, wd[:, :, e : e + 1])) * wp[e]
    return out
"""
)

LOOPS = """
import numpy as np

def block_in_parts(x, we, wd, wp, t):
    N, H, W, C = x.shape
    E, M = wp.shape
    out = np.zeros((N, H, W, M), x.dtype)
    for e in range(E):
        wide = np.zeros((N, H + 2, W + 2))
        wide[:, 1 : H + 1, 1 : W + 1] = np.clip(x @ we[:, e], 0, 6)
        for n in range(N):
            for y in range(H):
                for z in range(W):
                    filtered = np.sum(wide[n, y : y + 3, z : z + 3] * wd[:, :, e])
                    out[n, y, z] += min(max(filtered, 0), 6) * wp[e]
    return out
"""

RIGHT = {
    "array_split": SPLIT,
    "slices": SLICES,
    "a sum of blocks": SUM,
    "windows and einsum": WINDOWS,
    "windows, nine times a part": NINEFOLD,
    "in place, in a class": IN_PLACE,
    "one channel at a time": CHANNELS,
    "loops over pixels": LOOPS,
}


def _wrong(name, cause, *changes, of=SLICES):
    return Wrong(name, cause, edited(of, *changes))


LAST = "        out += filtered @ wp[part]\n"
END = LAST + "    return out\n"
WIDE, FILTERED = "relu6(x @ we[:, part])", "relu6(depthwise(wide, wd[:, :, part]))"
LOOP = "    for start in range(0, E, step):\n"

# Written while the grader was.
FIRST = [
    _wrong("the whole", "middle-whole", ("-(-E // t)", "E")),
    _wrong(
        "everything is expanded first",
        "middle-whole",
        (LOOP, "    all = relu6(x @ we)\n" + LOOP),
        (WIDE, "all[..., part]"),
    ),
    _wrong(
        "the parts in a list",
        "parts-kept",
        (LOOP, "    kept = []\n" + LOOP),
        (LAST, "        kept.append(filtered)\n    out += np.concatenate(kept, axis=-1) @ wp\n"),
    ),
    _wrong("t channels a part", "parts-of-t", ("-(-E // t)", "t")),
    _wrong(
        "the last part takes the rest",
        "parts-uneven",
        ("-(-E // t)", "E // t"),
        (LOOP, "    for k in range(t):\n        start = k * step\n"),
        ("slice(start, start + step)", "slice(start, E if k == t - 1 else start + step)"),
    ),
    _wrong("= for +=", "assigned", ("out += filtered @", "out = filtered @")),
    _wrong(
        "the remainder is lost",
        "remainder-lost",
        ("-(-E // t)", "E // t"),
        ("range(0, E, step)", "range(0, step * t, step)"),
    ),
    _wrong("returned in the loop", "part-lost", (END, LAST + "        return out\n")),
    _wrong("the last part is lost", "part-lost", ("range(0, E, step)", "range(0, E, step)[: max(1, t - 1)]")),
    _wrong("a mean of the parts", "averaged", (END, LAST + "    return out / t\n")),
    _wrong("rows of wp in another order", "parts-mismatched", ("@ wp[part]", "@ wp[::-1][part]")),
    _wrong("filters in another order", "parts-mismatched", ("wd[:, :, part]", "wd[..., ::-1][..., part]")),
    _wrong("no ReLU6 after expand", "activation-missing", (WIDE, "x @ we[:, part]")),
    _wrong("no ReLU6 after depthwise", "activation-missing", (FILTERED, "depthwise(wide, wd[:, :, part])")),
    _wrong("ReLU for ReLU6", "relu-for-relu6", ("np.clip(x, 0, 6)", "np.maximum(x, 0)")),
    _wrong(
        "ReLU6 after projecting", "relu6-after-sum", (END, LAST + "    return relu6(out)\n"), (FILTERED, FILTERED[6:-1])
    ),
    _wrong(
        "ReLU6 of every part",
        "activation-at-the-end",
        ("out += filtered @ wp[part]", "out += relu6(filtered @ wp[part])"),
    ),
    _wrong(
        "the border is the edge",
        "padding-not-zero",
        ("[(0, 0), (1, 1), (1, 1), (0, 0)])", '[(0, 0), (1, 1), (1, 1), (0, 0)], "edge")'),
        of=WINDOWS,
    ),
    _wrong(
        "the input channels are cut",
        "inputs-cut",
        ("E, M = wp.shape", "E, M = C, wp.shape[1]"),
        (WIDE, "relu6(x[..., part] @ we[part])"),
        ("wd[:, :, part]", "wd"),
        ("@ wp[part]", "@ wp"),
    ),
    _wrong("np.empty", "not-started-at-zero", ("np.zeros((N, H, W, M)", "np.empty((N, H, W, M)")),
    _wrong("x clipped in place", "input-changed", (LOOP, "    np.clip(x, -1, 1, out=x)\n" + LOOP)),
]

# Written after the first part. On the first run 21 of 30 were named as expected, and four misled; then `parts.py` and
# `held.py` were mended.
LATER = [
    _wrong("parts overlap", "counted-twice", ("start + step)", "start + step + 1)")),
    _wrong(
        "the last part begins early",
        "counted-twice",
        ("slice(start, start + step)", "slice(min(start, E - step), min(start, E - step) + step)"),
    ),
    _wrong(
        "x in parts",
        "inputs-cut",
        ("np.arange(we.shape[1])", "np.arange(x.shape[3])"),
        ("block_whole(x, we[:, k], wd[:, :, k], wp[k])", "block_whole(x[..., k], we[k], wd, wp)"),
        of=SPLIT,
    ),
    _wrong(
        "the results in a list",
        "parts-kept",
        ("    return sum(block", "    return np.sum([block"),
        ("zip([0] + ends, ends))", "zip([0] + ends, ends)], axis=0)"),
        of=SUM,
    ),
    _wrong(
        "a mean of the results",
        "averaged",
        ("    return sum(block", "    return np.mean([block"),
        ("zip([0] + ends, ends))", "zip([0] + ends, ends)], axis=0)"),
        of=SUM,
    ),
    _wrong("the shortcut added", "shortcut-extra", (END, LAST + "    return x + out\n")),
    _wrong(
        "wide as a whole, filled part by part",
        "parts-kept",
        (LOOP, "    wide = np.zeros((N, H, W, E), x.dtype)\n" + LOOP),
        ("wide = " + WIDE, "wide[..., part] = " + WIDE),
        ("depthwise(wide, wd[:, :, part])", "depthwise(wide[..., part], wd[:, :, part])"),
    ),
    _wrong(
        "only the expansion in parts",
        "middle-whole",
        (LOOP, "    wide = np.zeros((N, H, W, E), x.dtype)\n" + LOOP),
        ("wide = " + WIDE, "wide[..., part] = " + WIDE),
        ("        filtered = ", "    filtered = "),
        ("wd[:, :, part]", "wd"),
        (LAST, "    out += filtered @ wp\n"),
    ),
    _wrong(
        "out in parts",
        "middle-whole",
        ("np.arange(we.shape[1])", "np.arange(wp.shape[1])"),
        ("out += block_whole(x, we[:, k], wd[:, :, k], wp[k])", "out[..., k] = block_whole(x, we, wd, wp[:, k])"),
        of=SPLIT,
    ),
    _wrong("a flipped kernel", "kernel-flipped", ("* w[i, j]", "* w[2 - i, 2 - j]")),
    _wrong("a transposed kernel", "kernel-transposed", ("* w[i, j]", "* w[j, i]")),
    _wrong(
        "np.roll",
        "wraps-round",
        ("    xp = np.zeros((N, H + 2, W + 2, C), x.dtype)\n    xp[:, 1:-1, 1:-1] = x\n", ""),
        ("xp[:, i : i + H, j : j + W]", "np.roll(x, (1 - i, 1 - j), axis=(1, 2))"),
    ),
    _wrong(
        "no padding",
        "wrong-shape",
        ("xp[:, 1:-1, 1:-1] = x", "xp = x; H, W = H - 2, W - 2"),
        ("np.zeros_like(x)", "np.zeros((N, H, W, C))"),
        of=SUM,
    ),
    _wrong("float32 inside", "precision", ("wide = " + WIDE, "wide = " + WIDE + ".astype(np.float32)")),
    _wrong("always the first rows of wp", "parts-mismatched", ("@ wp[part]", "@ wp[:step]")),
    _wrong("the first columns of we", "parts-mismatched", ("we[:, part]", "we[:, : len(range(E)[part])]")),
    _wrong("the rows of wp from the first", "parts-mismatched", ("@ wp[part]", "@ wp[: len(range(E)[part])]")),
    _wrong("np.split", "raises", ("np.array_split", "np.split"), of=SPLIT),
    _wrong(
        "ReLU6 of the running sum",
        "activation-at-the-end",
        ("out += filtered @ wp[part]", "out = relu6(out + filtered @ wp[part])"),
    ),
    _wrong(
        "ReLU6 at the end of it all",
        "activation-at-the-end",
        ("    return total", "    return np.minimum(np.maximum(total, 0), 6)"),
        of=WINDOWS,
    ),
    _wrong(
        "ReLU6 once, at the end",
        "relu6-after-sum",
        ("np.minimum(np.maximum(filtered, 0), 6) @", "filtered @"),
        ("return total", "return np.clip(total, 0, 6)"),
        of=WINDOWS,
    ),
    _wrong(
        "the memory is not cleared",
        "not-reset",
        ("        f[...] = 0\n", ""),
        ("self.filtered = np.empty", "self.filtered = np.zeros"),
        of=IN_PLACE,
    ),
    _wrong("t times as much", "factor", (END, LAST + "    return t * out\n")),
    _wrong("out and the middle", "wrong-type", (END, LAST + "    return out, filtered\n")),
    _wrong("nothing returned", "wrong-type", (END, LAST)),
    _wrong("out has the shape of x", "raises", ("np.zeros((N, H, W, M), x.dtype)", "np.zeros_like(x)")),
    _wrong("ReLU1", "unexplained", ("np.clip(x, 0, 6)", "np.clip(x, 0, 1)")),
    _wrong(
        "the depthwise with one filter for all",
        "parts-mismatched",
        ("wd[:, :, part]", "np.repeat(wd[:, :, :1], wide.shape[3], axis=2)"),
    ),
    _wrong("the first part is lost", "part-lost", (LOOP, "    for start in range(0 if t == 1 else step, E, step):\n")),
    _wrong("minus", "sign", ("out += filtered", "out -= filtered")),
    # A third part, of which none was misled on the first run; the one that passed shows that a case was missing.
    _wrong(
        "E / t rounded",
        "remainder-lost",
        ("-(-E // t)", "round(E / t)"),
        (LOOP, "    for k in range(t):\n        start = k * step\n"),
    ),
    _wrong(
        "t parts of E // t",
        "remainder-lost",
        ("-(-E // t)", "E // t"),
        (LOOP, "    for k in range(t):\n        start = k * step\n"),
    ),
    _wrong("the last part twice", "counted-twice", (END, LAST + "    return out + filtered @ wp[part]\n")),
    _wrong(
        "the results stacked",
        "parts-kept",
        (LOOP, "    outs = []\n" + LOOP),
        (LAST, "        outs.append(filtered @ wp[part])\n    out = np.stack(outs).sum(0)\n"),
    ),
    _wrong(
        "all expanded parts in a list",
        "parts-kept",
        (LOOP, "    wides = [relu6(x @ we[:, s : s + step]) for s in range(0, E, step)]\n" + LOOP),
        (WIDE, "wides[start // step]"),
    ),
    _wrong(
        "memory for one part that is the whole",
        "middle-whole",
        ("np.linspace(0, E, t + 1).astype(int)", "np.array([0, E])"),
        of=IN_PLACE,
    ),
    _wrong("divided by E", "factor", (END, LAST + "    return out / E\n")),
    _wrong("height for width", "wrong-shape", (END, LAST + "    return out.transpose(0, 2, 1, 3)\n")),
    _wrong(
        "out lives on",
        "state-kept",
        ("def block_in_parts(x, we, wd, wp, t):\n", "KEPT = {}\n\ndef block_in_parts(x, we, wd, wp, t):\n"),
        ("= np.zeros((N, H, W, M), x.dtype)", "= KEPT.setdefault((N, H, E, M), np.zeros((N, H, W, M), x.dtype))"),
    ),
    _wrong("a border of ones", "unexplained", ("xp = np.zeros((N, H + 2", "xp = np.ones((N, H + 2")),
    # A fourth, with taps that are wrong; `taps.py` was written for the first five of them.
    _wrong("a column of taps is lost", "tap-lost", ("for j in range(3)", "for j in range(2)")),
    _wrong("the border on two sides", "padding-offset", ("xp[:, 1:-1, 1:-1] = x", "xp[:, 2:, 2:] = x")),
    _wrong("the border on the other two", "padding-offset", ("xp[:, 1:-1, 1:-1] = x", "xp[:, :-2, :-2] = x")),
    _wrong("the border in rows alone is shifted", "padding-offset", ("xp[:, 1:-1, 1:-1] = x", "xp[:, 2:, 1:-1] = x")),
    _wrong(
        "the border gets no value",
        "border-lost",
        (
            "    return out\n\ndef block_whole",
            "    out[:, [0, -1]] = out[:, :, [0, -1]] = 0\n    return out\n\ndef block_whole",
        ),
    ),
    _wrong(
        "= for += among the taps",
        "assigned",
        ("out += xp[:, i : i + H, j : j + W] * w[i, j]", "out[...] = xp[:, i : i + H, j : j + W] * w[i, j]"),
    ),
    _wrong("the middle tap twice", "unexplained", ("* w[i, j]", "* w[i, j] * (1 + (i == j == 1))")),
    _wrong(
        "the first tap is lost",
        "tap-lost",
        ("            out += xp", "            if i + j == 0:\n                continue\n            out += xp"),
    ),
]
