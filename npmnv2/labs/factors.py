"""Takes the wrong count of a layer apart into its factors, and says which is missing or too many.

A count is a product of sizes, and the sizes of a case are chosen so that products tell theirs: H, W, C, M and k are
different primes. So the student's number is looked for among the products of powers of them (times a small factor, with
biases or without), and the bytes among the sums of three such parts. Of the formulas that give the number exactly, the
one with the fewest differences from the right one is taken. If two that mean different things are equally near, nothing
is named.
"""

from itertools import product
from typing import NamedTuple

from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding

POWERS = {"standard": (1, 1), "depthwise": (1, 0), "pointwise": (1, 1), "linear": (1, 1)}  # of C and of M in weights


class Layer(NamedTuple):
    """A layer of a case."""

    kind: str
    H: int
    W: int
    C: int
    M: int
    k: int
    s: int

    @property
    def OH(self) -> int:
        return (self.H - 1) // self.s + 1

    @property
    def OW(self) -> int:
        return (self.W - 1) // self.s + 1

    @property
    def weights(self) -> int:
        c, m = POWERS[self.kind]
        return self.k**2 * self.C**c * self.M**m

    def cost(self) -> tuple[int, int, int]:
        """`(madds, weights, bytes)`: no biases, float32, every array once."""
        pixels = self.OH * self.OW
        return pixels * self.weights, self.weights, 4 * (self.H * self.W * self.C + self.weights + pixels * self.M)

    def pixels(self) -> dict[int, tuple[str, str, str]]:
        """Numbers of pixels that somebody might count: (how they are written, the cause, what is said)."""
        p = self.k // 2
        listed = [
            (self.OH * self.OW, "OH*OW", "", ""),
            (
                self.H * self.W,
                "H*W",
                "input-pixels",
                "the filter is applied once for each pixel of the output, not of the input.",
            ),
            (
                (self.H // self.s) * (self.W // self.s),
                "(H // s)*(W // s)",
                "floor-for-ceil",
                "the window with its middle in the last row counts as well.",
            ),
            (
                max(0, (self.H - self.k) // self.s + 1) * max(0, (self.W - self.k) // self.s + 1),
                "(windows that fit)",
                "padding-forgotten",
                f"with a padding of {p} there are as many windows as pixels at stride 1.",
            ),
            (
                max(0, (self.H + p - self.k) // self.s + 1) * max(0, (self.W + p - self.k) // self.s + 1),
                "(windows that fit, padded on one side)",
                "padding-forgotten",
                f"the padding of {p} is on both sides.",
            ),
            (self.OH**2, "OH*OH", "height-for-width", "the image is not a square."),
            (self.OW**2, "OW*OW", "height-for-width", "the image is not a square."),
            (self.OH, "OH", "factor-missing", "the factor OW is missing."),
            (self.OW, "OW", "factor-missing", "the factor OH is missing."),
            (1, "", "pixels-forgotten", "every weight is used once for each pixel of the output."),
        ]
        found: dict[int, tuple[str, str, str]] = {}
        for value, written, cause, says in listed:
            found.setdefault(value, (written, cause, says))
        return found


class Reading(NamedTuple):
    """A formula that gives the student's number."""

    differences: int
    cause: str
    says: str


def explain(wrong: Wrong) -> Finding:
    """The one cause why `(madds, weights, bytes)` of a layer are wrong: that of the first which is."""
    layer = Layer(*wrong.arguments)
    place = wrong.places[0]
    name, mine, right = (
        ("madds", "weights", "bytes")[place],
        int(wrong.results[place]),
        int(wrong.right[place]),
    )
    if sorted(map(int, wrong.results)) == sorted(map(int, wrong.right)):
        return Finding("exchanged", "The three numbers are right, but not in the order (madds, weights, bytes).")
    if mine == 0:
        return Finding("zero", f"{name} must be {right:,}; yours is 0.")
    found = _bytes(layer, mine) if name == "bytes" else _product(layer, name, mine)
    nearest = [reading for reading in found if reading.differences == min(r.differences for r in found)]
    if len({reading.cause for reading in nearest}) != 1:
        return Finding("unexplained", f"{name} must be {right:,}; yours is {mine:,}, {mine / right:.6g} times as many.")
    return Finding(nearest[0].cause, f"{name} must be {right:,}; yours is {mine:,}: {nearest[0].says}")


# -- multiply-adds and weights


def _product(layer: Layer, name: str, mine: int) -> list[Reading]:
    """Every product of powers of the sizes that is this number, but the right one."""
    c, m = POWERS[layer.kind]
    alone = layer.kind == "depthwise"  # M is C there
    found = []
    for count, (written, *pixels) in (layer.pixels() if name == "madds" else {1: ("", "", "")}).items():
        for more, *extra in _extras(layer, name, count):
            for C, M, k, factor in product(range(4), range(1 if alone else 4), range(4), (1, 2, 3, 4, 8)):
                if factor * count * layer.C**C * layer.M**M * layer.k**k + more != mine or (layer.k == 1 and k != 2):
                    continue
                powers = "k" * (k if layer.k > 1 else 0) + "C" * C + "M" * M
                yours = "*".join(filter(None, [f"{factor}" * (factor > 1), written, *powers])) or "1"
                differences = [
                    tuple(pixels),
                    tuple(extra),
                    _factor(name, factor),
                    *_power("C", C - c, alone),
                    *_power("M", M - m, alone),
                    *_power("k", k - 2, alone),
                ]
                plus = f" + {more}" if more else ""
                found += _reading(f"{yours}{plus}", [d for d in differences if d[0]])
    return found


def _reading(yours: str, differences: list[tuple[str, ...]]) -> list[Reading]:
    if not differences:
        return []
    cause, says = differences[0]
    return [Reading(len(differences), cause, f"it is {yours}; {says}")]


def _extras(layer: Layer, name: str, pixels: int) -> list[tuple[int, str, str]]:
    """What is added to a product: nothing, biases, batch norm."""
    if name == "madds":
        return [(0, "", ""), (pixels * layer.M, "bias-counted", "an addition alone is no multiply-add.")]
    return [
        (0, "", ""),
        (layer.M, "bias-counted", "there is no bias: a batch norm follows."),
        (2 * layer.M, "batchnorm-counted", "gamma and beta are trained, but are no weights of this layer."),
        (4 * layer.M, "statistics-counted", "batch norm's two parameters and two moving statistics are no weights."),
    ]


def _factor(name: str, factor: int) -> tuple[str, str]:
    if factor == 1:
        return "", ""
    if name == "madds" and factor == 2:
        return "two-operations", "a multiplication and its addition are one multiply-add, not two operations."
    if name == "madds" and factor == 3:
        return "backward-counted", "three times as many is a step of training; this is the forward alone."
    if name == "weights" and factor in (4, 8):
        return "bytes-for-weights", f"weights are counted, not their bytes ({factor} each)."
    return "factor", f"there is a factor {factor} too much."


def _power(size: str, more: int, alone: bool) -> list[tuple[str, str]]:
    """Too many factors of a size, or too few."""
    if more > 0 and alone and size == "C":
        return [("depthwise-as-standard", "in a depthwise convolution an output channel sees one input channel.")]
    if more > 0:
        return [("factor-extra", f"there is a factor {size} too much.")] * more
    return [("factor-missing", f"a factor {size} is missing.")] * -more


# -- bytes


def _bytes(layer: Layer, mine: int) -> list[Reading]:
    """Every sum of an input, weights and an output, each times some bytes, that is this number, but the right one."""
    found = []
    parts = _inputs(layer), _weights(layer), _outputs(layer)
    for chosen in product(*(part.items() for part in parts)):
        values, said = [value for value, _ in chosen], [text for _, text in chosen]
        for each in product((0, 1, 2, 4, 8), repeat=3):
            if sum(n * value for n, value in zip(each, values, strict=True)) != mine:
                continue
            if any(cause and not n for n, (_, cause, _) in zip(each, said, strict=True)):
                continue  # what is not there is not wrong
            differences: list[tuple[str, ...]] = [*_of_numbers(each), *((c, why) for _, c, why in said if c)]
            yours = " + ".join(f"{n}*({written})" for n, (written, _, _) in zip(each, said, strict=True) if n)
            found += _reading(yours, differences)
    return found


def _inputs(layer: Layer) -> dict[int, tuple[str, str, str]]:
    p = layer.k // 2
    found = {layer.H * layer.W * layer.C: ("H*W*C", "", "")}
    padded = (layer.H + 2 * p) * (layer.W + 2 * p) * layer.C
    found.setdefault(padded, ("padded input", "padding-counted", "the zeros of the border are not in memory."))
    few = layer.OH * layer.OW * layer.C
    found.setdefault(few, ("OH*OW*C", "output-pixels", "the input has H*W pixels."))
    found.setdefault(layer.H * layer.W * layer.M, ("H*W*M", "channels-exchanged", "the input has C channels."))
    return found


def _weights(layer: Layer) -> dict[int, tuple[str, str, str]]:
    found = {layer.weights: ("weights", "", "")}
    found.setdefault(layer.weights + layer.M, ("weights + M", "bias-counted", "there is no bias."))
    return found


def _outputs(layer: Layer) -> dict[int, tuple[str, str, str]]:
    found = {}
    for pixels, (written, cause, says) in layer.pixels().items():
        if pixels > 1 or layer.H == 1:
            found[pixels * layer.M] = (f"{written}*M", cause, says and "the output has OH*OW pixels.")
    few = layer.OH * layer.OW * layer.C
    found.setdefault(few, ("OH*OW*C", "channels-exchanged", "the output has M channels."))
    return found


def _of_numbers(each: tuple[int, ...]) -> list[tuple[str, str]]:
    """How many bytes a number of each part has, and which parts are not there."""
    there = {n for n in each if n}
    found = []
    if len(there) == 1 and there != {4}:
        found.append(("bytes-a-number", f"a float32 has 4 bytes; yours has {max(there)}."))
        each = tuple(4 * bool(n) for n in each)
    for n, part in zip(each, ("input is read", "weights are read", "output is written"), strict=True):
        name = part.split(maxsplit=1)[0]
        if n == 0:
            found.append(("part-missing", f"the {part} as well."))
        elif n == 8:
            found.append(("counted-twice", f"the {part} once."))
        elif n != 4:
            found.append(("bytes-a-number", f"a float32 of the {name} has 4 bytes; yours has {n}."))
    return found
