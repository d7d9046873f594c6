"""Lab 6: right solutions written in many ways, and a bank of mistakes that are really made."""

from labs.bank import Wrong, edited

PLAIN = """
def layer_cost(kind, H, W, C, M, k, s):
    OH, OW = (H - 1) // s + 1, (W - 1) // s + 1
    weights = k * k * C if kind == "depthwise" else k * k * C * M
    madds = OH * OW * weights
    return madds, weights, 4 * (H * W * C + weights + OH * OW * M)

def network_cost(rows):
    total, H, C = 0, 224, 3
    total += layer_cost("standard", H, H, C, 32, 3, 2)[0]
    H, C = 112, 32
    for t, c, n, s in rows:
        for block in range(n):
            stride = s if block == 0 else 1
            E = t * C
            if t != 1:
                total += layer_cost("pointwise", H, H, C, E, 1, 1)[0]
            total += layer_cost("depthwise", H, H, E, E, 3, stride)[0]
            H = (H - 1) // stride + 1
            total += layer_cost("pointwise", H, H, E, c, 1, 1)[0]
            C = c
    total += layer_cost("pointwise", H, H, C, 1280, 1, 1)[0]
    total += layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]
    return total
"""

CEIL = """
import math

def layer_cost(kind, H, W, C, M, k, s):
    oh, ow = math.ceil(H / s), math.ceil(W / s)
    per_pixel = {"standard": k**2 * C * M, "depthwise": k**2 * C, "pointwise": C * M, "linear": C * M}[kind]
    return oh * ow * per_pixel, per_pixel, (H * W * C + per_pixel + oh * ow * M) * 4

def network_cost(rows):
    layers = [("standard", 224, 224, 3, 32, 3, 2)]
    size, channels = 112, 32
    for t, c, n, s in rows:
        for k in range(n):
            step = s if k == 0 else 1
            small = math.ceil(size / step)
            wide = channels * t
            layers += [("pointwise", size, size, channels, wide, 1, 1)] * (t > 1)
            layers.append(("depthwise", size, size, wide, wide, 3, step))
            layers.append(("pointwise", small, small, wide, c, 1, 1))
            size, channels = small, c
    layers.append(("pointwise", size, size, channels, 1280, 1, 1))
    layers.append(("linear", 1, 1, 1280, 1000, 1, 1))
    return sum(layer_cost(*layer)[0] for layer in layers)
"""

NUMPY = """
import numpy as np

def layer_cost(kind, H, W, C, M, k, s):
    rows, cols = len(range(0, H, s)), len(range(0, W, s))
    groups = C if kind == "depthwise" else 1
    w = np.prod([k, k, C // groups, M], dtype=np.int64)
    return rows * cols * w, w, np.int64(4) * (np.prod([H, W, C]) + w + np.prod([rows, cols, M]))

def network_cost(rows):
    out = np.int64(112 * 112 * 27 * 32)
    size, c_in = 112, 32
    for t, c, n, s in rows:
        strides = np.ones(n, int)
        strides[0] = s
        for stride in strides:
            wide = t * c_in
            out += size**2 * c_in * wide * (t > 1)
            size = -(-size // stride)
            out += size**2 * wide * (9 + c)
            c_in = c
    return out + size**2 * c_in * 1280 + 1280 * 1000
"""

PADDED = """
def out(size, k, s):
    return (size + 2 * (k // 2) - k) // s + 1

def layer_cost(kind, H, W, C, M, k, s):
    pixels = out(H, k, s) * out(W, k, s)
    weights = k * k * C * (1 if kind == "depthwise" else M)
    return (pixels * weights, weights, 4 * H * W * C + 4 * weights + 4 * pixels * M)

def block(C, t, c, s, H):
    m = 0 if t == 1 else layer_cost("pointwise", H, H, C, t * C, 1, 1)[0]
    m += layer_cost("depthwise", H, H, t * C, t * C, 3, s)[0]
    H = out(H, 3, s)
    return m + layer_cost("pointwise", H, H, t * C, c, 1, 1)[0], H

def network_cost(rows):
    total, H, C = layer_cost("standard", 224, 224, 3, 32, 3, 2)[0], out(224, 3, 2), 32
    while rows:
        (t, c, n, s), *rows = rows
        while n:
            m, H = block(C, t, c, s, H)
            total, C, s, n = total + m, c, 1, n - 1
    return total + H * H * C * 1280 + 1280000
"""

FLOATS = """
def layer_cost(kind, H, W, C, M, k, s):
    h, w = float(-(-H // s)), float(-(-W // s))
    n = k * k * C * M / (M if kind == "depthwise" else 1)
    return h * w * n, n, 4 * (H * W * C + n + h * w * M)

def network_cost(rows):
    total, side, before = 112**2 * 864, 112, 32
    for t, c, n, s in rows:
        for i in range(n):
            after = side // s if i == 0 else side
            total += (side**2 * before**2 * t if t > 1 else 0) + after**2 * t * before * (9 + c)
            side, before = after, c
    return total + side**2 * before * 1280 + 1.28e6
"""

CLASSES = """
from dataclasses import dataclass

@dataclass
class Conv:
    H: int
    W: int
    C: int
    M: int
    k: int = 1
    s: int = 1
    groups: int = 1

    @property
    def shape(self):
        return -(-self.H // self.s), -(-self.W // self.s)

    @property
    def weights(self):
        return self.k**2 * self.C * self.M // self.groups

    @property
    def madds(self):
        return self.shape[0] * self.shape[1] * self.weights

def layer_cost(kind, H, W, C, M, k, s):
    conv = Conv(H, W, C, M, k, s, C if kind == "depthwise" else 1)
    numbers = H * W * C, conv.weights, conv.shape[0] * conv.shape[1] * M
    return conv.madds, conv.weights, 4 * sum(numbers)

def layers(rows):
    yield Conv(224, 224, 3, 32, 3, 2)
    H, C = 112, 32
    for t, c, n, s in rows:
        for stride in [s] + [1] * (n - 1):
            if t > 1:
                yield Conv(H, H, C, t * C)
            conv = Conv(H, H, t * C, t * C, 3, stride, t * C)
            yield conv
            H = conv.shape[0]
            yield Conv(H, H, t * C, c)
            C = c
    yield Conv(H, H, C, 1280)
    yield Conv(1, 1, 1280, 1000)

def network_cost(rows):
    return sum(layer.madds for layer in layers(rows))
"""

RIGHT = {
    "plain": PLAIN,
    "math.ceil and a list of layers": CEIL,
    "NumPy's integers": NUMPY,
    "padding written out": PADDED,
    "whole floats": FLOATS,
    "a class and a generator": CLASSES,
}


def _wrong(name, cause, *changes, of=PLAIN):
    return Wrong(name, cause, edited(of, *changes))


MADDS = "    madds = OH * OW * weights\n"
BYTES = "4 * (H * W * C + weights + OH * OW * M)"
WEIGHTS = 'k * k * C if kind == "depthwise" else k * k * C * M'

# Written while the grader was.
FIRST = [
    _wrong("an expansion at t = 1", "expansion-at-1", ("if t != 1:", "if True:")),
    _wrong("two operations", "two-operations", (MADDS, "    madds = 2 * OH * OW * weights\n")),
    _wrong("two operations, in the end", "two-operations", ("return total", "return 2 * total")),
    _wrong("moving statistics", "statistics-counted", (MADDS, MADDS + "    weights += 4 * M\n")),
    _wrong("gamma and beta", "batchnorm-counted", (MADDS, MADDS + "    weights += 2 * M\n")),
    _wrong("biases as weights", "bias-counted", (MADDS, MADDS + "    weights += M\n")),
    _wrong("biases as multiply-adds", "bias-counted", (MADDS, "    madds = OH * OW * (weights + M)\n")),
    _wrong("depthwise as standard", "depthwise-as-standard", (WEIGHTS, "k * k * C * M")),
    _wrong("input pixels", "input-pixels", (MADDS, "    madds = H * W * weights\n")),
    _wrong("floor for ceil", "floor-for-ceil", ("(H - 1) // s + 1, (W - 1) // s + 1", "H // s, W // s")),
    _wrong("a fraction of a window", "not-whole", ("(H - 1) // s + 1, (W - 1) // s + 1", "H / s, W / s")),
    _wrong(
        "no padding", "padding-forgotten", ("(H - 1) // s + 1, (W - 1) // s + 1", "(H - k) // s + 1, (W - k) // s + 1")
    ),
    _wrong("a side of the kernel", "factor-missing", ("else k * k * C * M", "else k * C * M")),
    _wrong("numbers for bytes", "bytes-a-number", (BYTES, BYTES[4:])),
    _wrong("weights are not read", "part-missing", (BYTES, "4 * (H * W * C + OH * OW * M)")),
    _wrong(
        "the head at stride 2",
        "stride-misplaced",
        (
            '    total += layer_cost("pointwise", H, H, C, 1280',
            '    H = (H - 1) // 2 + 1\n    total += layer_cost("pointwise", H, H, C, 1280',
        ),
    ),
    _wrong(
        "the early print",
        "early-strides",
        ("    for t, c, n, s in rows:\n", "    for t, c, n, s in rows:\n        s = {64: 1, 96: 2}.get(c, s)\n"),
    ),
    _wrong(
        "the early print, and an expansion",
        "expansion-at-1",
        ("    for t, c, n, s in rows:\n", "    for t, c, n, s in rows:\n        s = {64: 1, 96: 2}.get(c, s)\n"),
        ("if t != 1:", "if True:"),
    ),
    _wrong("a number from a paper", "rows-ignored", ("return total", "return 300774272")),
    _wrong("variables for multiply-adds", "rows-ignored", ("return total", "return 3538984")),
]

# Written after the grader was done. On the first run 27 of 31 were named and none misled; the other four came after.
LATER = [
    _wrong("stride in every block", "stride-repeated", ("s if block == 0 else 1", "s")),
    _wrong("no repeats", "repeats-ignored", ("range(n)", "range(1)")),
    _wrong("t times the output", "wrong-width", ("E = t * C", "E = t * c")),
    _wrong("channels not updated", "wrong-width", ("            C = c\n", "        C = c\n")),
    _wrong("no classifier", "layer-missing", ('    total += layer_cost("linear", 1, 1, 1280, 1000, 1, 1)[0]\n', "")),
    _wrong("classifier at every pixel", "pool-forgotten", ('"linear", 1, 1, 1280', '"linear", H, H, 1280')),
    _wrong("no stem", "layer-missing", ('    total += layer_cost("standard", H, H, C, 32, 3, 2)[0]\n', "")),
    _wrong("no head", "layer-missing", ('    total += layer_cost("pointwise", H, H, C, 1280, 1, 1)[0]\n', "")),
    _wrong(
        "projection before the stride",
        "stride-misplaced",
        ("            H = (H - 1) // stride + 1\n", ""),
        ("            C = c", "            H = (H - 1) // stride + 1\n            C = c"),
    ),
    _wrong(
        "weights of the network",
        "weights-for-madds",
        ("3, 2)[0]", "3, 2)[1]"),
        ("E, 1, 1)[0]", "E, 1, 1)[1]"),
        ("stride)[0]", "stride)[1]"),
        ("c, 1, 1)[0]", "c, 1, 1)[1]"),
        ("1280, 1, 1)[0]", "1280, 1, 1)[1]"),
        ("1000, 1, 1)[0]", "1000, 1, 1)[1]"),
    ),
    _wrong("M forgotten", "factor-missing", ("else k * k * C * M", "else k * k * C")),
    _wrong("only the rows of the output", "factor-missing", (MADDS, "    madds = OH * weights\n")),
    _wrong("a square image", "height-for-width", (MADDS, "    madds = OH * OH * weights\n")),
    _wrong("weights alone", "pixels-forgotten", (MADDS, "    madds = weights\n")),
    _wrong("a cube of a kernel", "factor-extra", ("else k * k * C * M", "else k * k * k * C * M")),
    _wrong("in another order", "exchanged", ("return madds, weights,", "return weights, madds,")),
    _wrong("a step of training", "backward-counted", (MADDS, "    madds = 3 * OH * OW * weights\n")),
    _wrong("weights in bytes", "bytes-for-weights", ("return madds, weights,", "return madds, 4 * weights,")),
    _wrong("bits", "unexplained", (BYTES, "32 * (H * W * C + weights + OH * OW * M)")),
    _wrong("float64", "bytes-a-number", (BYTES, "8 * (H * W * C + weights + OH * OW * M)")),
    _wrong("the output is not written", "part-missing", (BYTES, "4 * (H * W * C + weights)")),
    _wrong(
        "activations in float32, weights in bytes", "bytes-a-number", (BYTES, "4 * (H * W * C + OH * OW * M) + weights")
    ),
    _wrong("padded input", "padding-counted", (BYTES, "4 * ((H + k - 1) * (W + k - 1) * C + weights + OH * OW * M)")),
    _wrong("the output has C channels", "channels-exchanged", (BYTES, "4 * (H * W * C + weights + OH * OW * C)")),
    _wrong("the output as large as the input", "input-pixels", (BYTES, "4 * (H * W * C + weights + H * W * M)")),
    _wrong("megabytes", "not-whole", (BYTES, BYTES + " / 1e6")),
    _wrong("a dict", "wrong-type", ("return madds, weights, " + BYTES, "return dict(madds=madds)")),
    _wrong("a string", "wrong-type", ("return total", 'return f"{total:,}"')),
    _wrong("an unknown kind", "raises", ('kind == "depthwise"', 'kinds == "depthwise"')),
    _wrong("rows are emptied", "input-changed", ("    return total", "    rows.clear()\n    return total")),
    _wrong(
        "a shortcut that multiplies",
        "unexplained",
        ("            C = c\n", "            C = c\n            total += H * H * c\n"),
    ),
]
