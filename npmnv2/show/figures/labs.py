"""Figures of the labs: the example that is done by hand, one row and one channel, with three pixels and two windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from npmnv2 import ops
from npmnv2.shapes import conv_geometry, taps
from npmnv2.show.figures.page import WIDTH, Page
from npmnv2.show.plots import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X, W, DOUT = (1, 2, 3), (1, 2), (10, 100)  # the example of labs 2 and 3
MIDDLE = 1  # the pixel that is in both windows
BOX = 330  # points: where the boxes of pixels and weights begin
TALLEST = 206  # points, of a bar
LINES = {0: (BLUE, False), 1: (GREEN, True)}  # of a product, by its weight: colour, and whether it is dashed
SEGMENTS = {0: (BLUE, ""), 1: (ORANGE, "//")}  # of a bar, by window: colour and hatch


class Product(NamedTuple):
    """One product of the forward: which pixel, by which weight, goes to which window."""

    window: int
    weight: int
    pixel: int


def products() -> list[Product]:
    """Those of the example, window by window.

    Examples
    --------
    >>> [tuple(product) for product in products()]
    [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)]
    """
    geometry = conv_geometry(1, len(X), 1, len(W))
    pixels = range(len(X))
    return sorted(
        Product(window, weight, pixel)
        for _, weight, (_, _, columns) in taps(geometry)
        for window, pixel in enumerate(pixels[columns])
    )


def gradients(dout: Sequence[int]) -> tuple[list[int], list[int]]:
    """dx and dw of the example, for this gradient of its two windows.

    Examples
    --------
    >>> gradients([10, 100])
    ([10, 120, 200], [210, 320])
    """
    x, w = np.array(X, float).reshape(1, 1, -1, 1), np.array(W, float).reshape(1, -1, 1)
    _, cache = ops.depthwise_conv2d_forward(x, w)
    dx, dw = ops.depthwise_conv2d_backward(np.array(dout, float).reshape(1, 1, -1, 1), cache)
    return dx.ravel().astype(int).tolist(), dw.ravel().astype(int).tolist()


def four_products() -> "Figure":
    """The four products of the example as lines, and beside each pixel and each weight what it receives."""
    page = Page("What takes part twice receives twice")
    terms, (dx, dw) = products(), gradients(DOUT)
    heights, windows, weights = (142, 230, 318), (186, 274), (424, 490)
    start, end = BOX + 154, 716  # where the lines of the products start and end
    for x, y, name in ((756, 150, "dout"), (BOX + 77, 104, "x"), (BOX + 77, 388, "w")):
        page.text(x, y, name, code=True)
    for y, name in ((104, "dx"), (388, "dw")):
        page.text(BOX - 14, y, name, align="right", code=True)

    for window, weight, pixel in terms:
        (x0, y0), (x1, y1) = (start, heights[pixel]), (end, windows[window])
        color, dashed = LINES[weight]
        page.lines([[(x0, y0), (x1, y1)]], color=color, width=4, dashed=dashed)
        middle = (x0 + x1) / 2, (y0 + y1) / 2
        page.bars([(middle[0] - 38, middle[1] - 17, 76, 34)], "white")
        page.text(middle[0], middle[1] + 9, f"w[{weight}]", code=True)
    for pixel, y in enumerate(heights):
        factors = [(DOUT[term.window], W[term.weight]) for term in terms if term.pixel == pixel]
        _receives(page, y, f"x[{pixel}] = {X[pixel]}", factors, dx[pixel])
    for weight, y in enumerate(weights):
        factors = [(DOUT[term.window], X[term.pixel]) for term in terms if term.weight == weight]
        _receives(page, y, f"w[{weight}] = {W[weight]}", factors, dw[weight])
        color, dashed = LINES[weight]
        page.lines([[(start, y), (start + 96, y)]], color=color, width=4, dashed=dashed)
    for window, y in enumerate(windows):
        _box(page, end, y, 80)
        page.text(end + 40, y + 9, str(DOUT[window]))
        page.text(end + 94, y + 9, f"window {window}", align="left")
    page.shape([(650, 443), (686, 443), (686, 471), (650, 471)], ORANGE)
    page.text(700, 466, "takes part twice", align="left")
    return page.figure


def _receives(page: Page, y: float, name: str, factors: Sequence[tuple[int, int]], total: int) -> None:
    """What a pixel or a weight receives, and its box, filled if it takes part twice."""
    page.text(BOX - 14, y + 9, f"{_sum(factors)} = {total}", align="right")
    _box(page, BOX, y, 154, ORANGE if len(factors) == 2 else "white")
    page.text(BOX + 77, y + 9, name, code=True)


def _box(page: Page, x: float, y: float, width: float, color: str = "white") -> None:
    """Begins at x; y is its middle."""
    page.shape([(x, y - 24), (x + width, y - 24), (x + width, y + 24), (x, y + 24)], color)


def _sum(factors: Sequence[tuple[int, int]]) -> str:
    """A sum of products in words.

    Examples
    --------
    >>> _sum([(10, 2), (100, 1)])
    '10·2 + 100·1'
    """
    return " + ".join(f"{a}·{b}" for a, b in factors)


def ones_hide() -> "Figure":
    """The gradient of the middle pixel, as it is and with the elements of dout exchanged: for two dout, one of ones."""
    page = Page("A dout of ones hides an exchange")
    bottom, width = 348.0, 96
    for x, dout in ((WIDTH / 4, DOUT), (3 * WIDTH / 4, (1, 1))):
        page.text(x, 96, f"dout = {dout[0]}, {dout[1]}", code=True)
        pair = {"right": dout, "exchanged": dout[::-1]}
        totals = {name: gradients(given)[0][MIDDLE] for name, given in pair.items()}
        for middle, (name, given) in zip((x - 112, x + 112), pair.items(), strict=True):
            factors = [(given[window], W[weight]) for window, weight, pixel in products() if pixel == MIDDLE]
            top = bottom
            for window, (a, b) in enumerate(factors):
                height = a * b * TALLEST / max(totals.values())
                top -= height
                page.bars([(middle - width / 2, top, width, height)], *SEGMENTS[window])
            page.text(middle, top - 10, str(totals[name]), bold=True)
            page.text(middle, bottom + 34, name)
            page.text(middle, bottom + 70, _sum(factors))
        page.lines([[(x - 216, bottom), (x + 216, bottom)]])
    for x, (window, look) in zip((206, 506), SEGMENTS.items(), strict=True):
        page.bars([(x, 454, 22, 22)], *look)
        page.text(x + 34, 474, f"from window {window}", align="left")
    page.text(WIDTH / 2, 520, "Gradient of the middle pixel; each pair to its own scale")
    return page.figure
