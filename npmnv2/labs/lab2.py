"""Lab 2: the backward of a depthwise convolution."""

from typing import Any

import numpy as np

from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.labs.product import Axis, Product
from npmnv2.ops.depthwise import depthwise_conv2d_backward, depthwise_conv2d_forward
from npmnv2.shapes import conv_geometry
from npmnv2.validate import Array

_BASE = {"N": 1, "H": 11, "W": 5, "C": 1, "KH": 4, "KW": 2, "stride": 1, "pad": 0}
_NAME = "depthwise_backward"


def _case(adds: str, dtype: str = "float64", **sizes: int) -> Case:
    return Case(_NAME, adds, {**_BASE, **sizes}, dtype)


# No two sizes that could be taken for each other are equal, and no window fits exactly where there is a stride.
CASES = (
    _case("one image, one channel, stride 1, no padding"),
    _case("three channels", C=3),
    _case("two images", N=2),
    _case("stride 2", stride=2),
    _case("padding", pad=1),
    _case("stride 2 and padding", stride=2, pad=1),
    _case("wider than high", H=5, W=11, KH=2, KW=4),
    _case("images, channels, stride 3 and padding together", N=2, C=3, stride=3, pad=2),
    _case("float32", "float32", N=2, C=3, stride=2, pad=1),
)
COUNTED = _case("", N=1, H=7, W=5, C=2, KH=3, KW=3, pad=1)


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(dout, x, w, stride, pad)`: nothing but random numbers, so that no wrong sum is right by luck."""
    s = case.sizes
    g = conv_geometry(s["H"], s["W"], s["KH"], s["KW"], s["stride"], s["pad"])
    shapes = (s["N"], g.OH, g.OW, s["C"]), (s["N"], s["H"], s["W"], s["C"]), (s["KH"], s["KW"], s["C"])
    return (*(rng.normal(size=shape).astype(case.dtype) for shape in shapes), s["stride"], s["pad"])


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(dx, dw)`."""
    dout, x, w, stride, pad = given
    return depthwise_conv2d_backward(dout, depthwise_conv2d_forward(x, w, stride, pad)[1])


def products(case: Case) -> tuple[Product, ...]:
    """One term for every image, window, tap and channel, but where the tap looks over the border."""
    s = case.sizes
    g = conv_geometry(s["H"], s["W"], s["KH"], s["KW"], s["stride"], s["pad"])
    n, y, x, i, j, c = (k.ravel() for k in np.indices((s["N"], g.OH, g.OW, s["KH"], s["KW"], s["C"])))
    row, col = s["stride"] * y + i - s["pad"], s["stride"] * x + j - s["pad"]
    pixel, window, tap = (n, row, col, c), (n, y, x, c), (i, j, c)
    inside = (row >= 0) & (row < s["H"]) & (col >= 0) & (col < s["W"])
    dx, dw = (np.stack([*r, *window, *k], 1)[inside] for r, k in ((pixel, tap), (tap, pixel)))
    of = {"x": ("n", "row", "col", "c"), "w": ("i", "j", "c"), "dout": ("n", "y", "x", "c")}

    def product(result: str, output: int, coded: tuple[str, int], terms: Array) -> Product:
        other = coded[0]
        mine = result[1:]
        kinds = {mine: "r", "dout": "u", other: "c"}
        columns = tuple(f"{kinds[a]}.{axis}" for a in (mine, "dout", other) for axis in of[a])
        p, t = kinds["x"], kinds["w"]
        return Product(
            result,
            output,
            ("dout", 0),
            coded,
            columns,
            terms,
            (
                Axis("rows", f"{p}.row", "u.y", f"{t}.i", s["H"], g.OH, s["KH"], s["stride"], s["pad"]),
                Axis("columns", f"{p}.col", "u.x", f"{t}.j", s["W"], g.OW, s["KW"], s["stride"], s["pad"]),
            ),
            (
                ("images-mixed", "u.n", f"{p}.n"),
                ("channels-mixed", "u.c", f"{p}.c"),
                ("channels-mixed", "u.c", f"{t}.c"),
            ),
            (
                ("image", "u.n"),
                ("channel", "u.c"),
                ("window", "u.y"),
                ("window", "u.x"),
                ("tap", f"{t}.i"),
                ("tap", f"{t}.j"),
                ("pixel", f"{p}.row"),
                ("pixel", f"{p}.col"),
            ),
            (
                ("N", s["N"]),
                ("C", s["C"]),
                ("OH*OW", g.OH * g.OW),
                ("N*OH*OW", s["N"] * g.OH * g.OW),
                ("KH*KW", s["KH"] * s["KW"]),
                ("H*W", s["H"] * s["W"]),
                ("stride", s["stride"]),
            ),
        )

    return product("dx", 0, ("w", 2), dx), product("dw", 1, ("x", 1), dw)


LAB = Lab(
    2,
    "The same loop backwards",
    "every product sends the gradient to both of its factors",
    50,
    (Function(_NAME, ("dout", "x", "w", "stride", "pad"), ("dx", "dw")),),
    CASES,
    arguments,
    right,
    products,
    COUNTED,
    par=2 * 7 * 5 * 3 * 3 * 2,
    least=sum(len(p.terms) for p in products(COUNTED)),
)
