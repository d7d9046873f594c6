"""Lab 1: the convolutions of MobileNet as one loop over taps with one operator changed."""

from typing import Any

import numpy as np

from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.labs.product import Axis, Product
from npmnv2.ops.depthwise import depthwise_conv2d_forward
from npmnv2.ops.pointwise import pointwise_conv2d_forward
from npmnv2.validate import Array

_DEPTHWISE = {"N": 1, "H": 11, "W": 5, "C": 1, "KH": 4, "KW": 2, "stride": 1}
_POINTWISE = {"N": 1, "H": 1, "W": 1, "C": 3, "M": 5}


def _depthwise(adds: str, dtype: str = "float64", **sizes: int) -> Case:
    return Case("depthwise", adds, {**_DEPTHWISE, **sizes}, dtype)


def _pointwise(adds: str, dtype: str = "float64", **sizes: int) -> Case:
    return Case("pointwise", adds, {**_POINTWISE, **sizes}, dtype)


# No two sizes that could be taken for each other are equal, and no window fits exactly where there is a stride.
CASES = (
    _depthwise("one image, one channel, stride 1"),
    _depthwise("three channels", C=3),
    _depthwise("two images", N=2),
    _depthwise("stride 2", stride=2),
    _depthwise("wider than high", H=5, W=11, KH=2, KW=4),
    _depthwise("images, channels and stride 3 together", N=2, C=3, stride=3),
    _depthwise("float32", "float32", N=2, C=3, stride=2),
    _pointwise("one pixel"),
    _pointwise("rows and columns", H=7, W=2),
    _pointwise("two images, wider than high", N=2, H=4, W=7),
    _pointwise("float32", "float32", N=2, H=7, W=4),
    Case("as_standard", "one channel", {"KH": 4, "KW": 2, "C": 1}),
    Case("as_standard", "three channels", {"KH": 4, "KW": 2, "C": 3}),
    Case("as_standard", "float32", {"KH": 4, "KW": 2, "C": 3}, "float32"),
)
COUNTED = _depthwise("", H=7, W=5, C=2, KH=3, KW=3)


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(xp, w, stride)`, `(x, w)` or `(wd,)`."""
    s = case.sizes
    if case.function == "depthwise":
        shapes = [(s["N"], s["H"], s["W"], s["C"]), (s["KH"], s["KW"], s["C"])]
    elif case.function == "pointwise":
        shapes = [(s["N"], s["H"], s["W"], s["C"]), (s["C"], s["M"])]
    else:
        shapes = [(s["KH"], s["KW"], s["C"])]
    arrays = [rng.normal(size=shape).astype(case.dtype) for shape in shapes]
    return (*arrays, s["stride"]) if case.function == "depthwise" else tuple(arrays)


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(out,)`, or the `(w,)` of `as_standard`."""
    if case.function == "depthwise":
        return (depthwise_conv2d_forward(*given)[0],)
    if case.function == "pointwise":
        return (pointwise_conv2d_forward(*given)[0],)
    return (given[0][:, :, :, None] * np.eye(case.sizes["C"], dtype=case.dtype),)


def products(case: Case) -> tuple[Product, ...]:
    """One term for every product that the formulas of the handout add up."""
    return ({"depthwise": _depthwise_terms, "pointwise": _pointwise_terms}.get(case.function, _standard_terms)(case),)


def _depthwise_terms(case: Case) -> Product:
    s = case.sizes
    OH, OW = _windows(s)
    n, y, x, i, j, c = (k.ravel() for k in np.indices((s["N"], OH, OW, s["KH"], s["KW"], s["C"])))
    terms = np.stack([n, y, x, c, i, j, c, n, s["stride"] * y + i, s["stride"] * x + j, c], 1)
    return Product(
        "out",
        0,
        ("w", 1),
        ("xp", 0),
        ("r.n", "r.y", "r.x", "r.c", "u.i", "u.j", "u.c", "c.n", "c.row", "c.col", "c.c"),
        terms,
        (
            Axis("rows", "c.row", "r.y", "u.i", s["H"], OH, s["KH"], s["stride"], 0),
            Axis("columns", "c.col", "r.x", "u.j", s["W"], OW, s["KW"], s["stride"], 0),
        ),
        (("images-mixed", "r.n", "c.n"), ("channels-mixed", "r.c", "c.c"), ("channels-mixed", "r.c", "u.c")),
        (
            ("image", "r.n"),
            ("channel", "r.c"),
            ("window", "r.y"),
            ("window", "r.x"),
            ("tap", "u.i"),
            ("tap", "u.j"),
            ("pixel", "c.row"),
            ("pixel", "c.col"),
        ),
        (("KH*KW", s["KH"] * s["KW"]), ("N", s["N"]), ("C", s["C"]), ("OH*OW", OH * OW), ("stride", s["stride"])),
    )


def _pointwise_terms(case: Case) -> Product:
    s = case.sizes
    n, y, x, c, m = (k.ravel() for k in np.indices((s["N"], s["H"], s["W"], s["C"], s["M"])))
    return Product(
        "out",
        0,
        ("w", 1),
        ("x", 0),
        ("r.n", "r.y", "r.x", "r.m", "u.c", "u.m", "c.n", "c.y", "c.x", "c.c"),
        np.stack([n, y, x, m, c, m, n, y, x, c], 1),
        (),
        (
            ("images-mixed", "r.n", "c.n"),
            ("pixels-mixed", "r.y", "c.y"),
            ("pixels-mixed", "r.x", "c.x"),
            ("channels-mixed", "r.m", "u.m"),
            ("channels-mixed", "c.c", "u.c"),
        ),
        (("image", "r.n"), ("channel", "c.c"), ("channel", "r.m"), ("pixel", "r.y"), ("pixel", "r.x")),
        (("C", s["C"]), ("M", s["M"]), ("N", s["N"]), ("H*W", s["H"] * s["W"])),
    )


def _standard_terms(case: Case) -> Product:
    s = case.sizes
    i, j, c = (k.ravel() for k in np.indices((s["KH"], s["KW"], s["C"])))
    return Product(
        "w",
        0,
        ("wd", 0),
        ("", -1),
        ("r.i", "r.j", "r.c", "r.m", "u.i", "u.j", "u.c"),
        np.stack([i, j, c, c, i, j, c], 1),
        (),
        (
            ("not-diagonal", "r.c", "r.m"),
            ("channels-mixed", "r.c", "u.c"),
            ("wrong-tap", "r.i", "u.i"),
            ("wrong-tap", "r.j", "u.j"),
        ),
        (("tap", "r.i"), ("tap", "r.j"), ("channel", "r.c")),
        (("C", s["C"]), ("KH*KW", s["KH"] * s["KW"])),
    )


def _windows(s: dict[str, int]) -> tuple[int, int]:
    return (s["H"] - s["KH"]) // s["stride"] + 1, (s["W"] - s["KW"]) // s["stride"] + 1


LAB = Lab(
    1,
    "One loop, three operators",
    "depthwise mixes space, pointwise channels, standard both",
    35,
    (
        Function("depthwise", ("xp", "w", "stride"), ("out",)),
        Function("pointwise", ("x", "w"), ("out",)),
        Function("as_standard", ("wd",), ("w",)),
    ),
    CASES,
    arguments,
    right,
    products,
    COUNTED,
    par=5 * 3 * 9 * 2,
    least=5 * 3 * 9 * 2,
)
