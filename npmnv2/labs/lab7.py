"""Lab 7: an inverted residual whose wide middle is computed in t parts."""

from typing import Any

import numpy as np

from npmnv2.labs import held, parts
from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.validate import Array

_NAME = "block_in_parts"
_BASE = {"N": 1, "H": 8, "W": 7, "C": 2, "E": 15, "M": 4, "t": 1}


def _case(adds: str, dtype: str = "float64", **sizes: int) -> Case:
    return Case(_NAME, adds, {**_BASE, **sizes}, dtype)


# No two sizes that could be taken for each other are equal. In 4 parts of 11 channels, a remainder is no last part.
CASES = (
    _case("one part, one channel everywhere", C=1, E=1, M=1),
    _case("more channels"),
    _case("three parts of equal size", t=3),
    _case("as many parts as channels", E=5, t=5),
    _case("parts of different sizes", E=11, t=4),
    _case("two images", N=2, E=13, t=3),
    _case("float32", "float32", N=2, E=11, t=4),
    _case("memory: the wide middle is never whole", H=17, W=13, E=97, M=3, t=held.PARTS),
)
COUNTED = CASES[-1]


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(x, we, wd, wp, t)`: before each ReLU6 there are values below 0, between 0 and 6, and above 6."""
    s = case.sizes
    shapes = (s["N"], s["H"], s["W"], s["C"]), (s["C"], s["E"]), (3, 3, s["E"]), (s["E"], s["M"])
    x, we, wd, wp = (rng.normal(size=shape) for shape in shapes)
    we = we * _scale(x @ we)
    wd = wd * _scale(parts.filtered(np.clip(x @ we, 0, 6), wd))
    return (*(a.astype(case.dtype) for a in (x, we, wd, wp)), s["t"])


def _scale(values: Array) -> Array:
    """(E,): what makes the largest value of every channel 8, whatever its sign was."""
    axes = (0, 1, 2)
    least, most = values.min(axes), values.max(axes)
    return 8 / np.where(most > -least, most, least)


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(out,)`."""
    x, we, wd, wp, _ = given
    return (parts.hidden(x, we, wd) @ wp,)


LAB = Lab(
    7,
    "In t parts",
    "the wide middle need never be whole",
    45,
    (Function(_NAME, ("x", "we", "wd", "wp", "t"), ("out",)),),
    CASES,
    arguments,
    right,
    counted=COUNTED,
    par=17 * 13 * 97 * (2 + 3 * 3 + 3),
    least=97 * (17 * 13 * (2 + 3) + (3 * 17 - 2) * (3 * 13 - 2)),  # no product with the padding
    explain=parts.explain,
    held=held.explain,
)
