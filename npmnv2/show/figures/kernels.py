"""The figure of the kernels: a tile and a panel, of a product and of a depthwise convolution."""

from typing import TYPE_CHECKING

from npmnv2.show.figures.page import GREY, WIDTH, Grid, Page, Span
from npmnv2.show.plots import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS, CHANNELS = 7, 16  # of a tile with AVX-512, `kernels.tuning`; to import that would load Numba
C, CHANNEL = 8, 3  # input channels of the product, and which of them
K, TAP = 3, 1  # columns of the depthwise window, and which of them, in its first row
SIDE = 11  # of a cell: one value
CELL = 20  # of a cell in memory: 16 values

Shape = tuple[int, int]


def tile_and_panel() -> "Figure":
    """A product beside a depthwise convolution: what is read, the panel of weights, the tile; below how it lies."""
    page = Page("One loop over tiles, one operator changed")
    page.lines([[(WIDTH / 2, 66), (WIDTH / 2, 488)]], color=GREY, width=0.8)
    rows, channel = (TAP, TAP + PIXELS), (CHANNEL, CHANNEL + 1)
    _half(page, 0, "Product: 1 value a pixel", (PIXELS, C), (C, CHANNEL), ((0, PIXELS), channel))
    x_shape, seen = (PIXELS + K - 1, CHANNELS), (rows, (0, CHANNELS))
    _half(page, WIDTH / 2, "Depthwise: 16 values a pixel", x_shape, (K * K, TAP), seen)
    page.text(WIDTH / 4, 392, "tile += x[:, [c]] * w[c]", code=True)
    page.text(3 * WIDTH / 4, 392, "tile += x[i, j:j+7] * w[i, j]", code=True)
    page.text(WIDTH / 4, 434, "w lies panel after panel:")
    page.text(3 * WIDTH / 4, 434, "x lies row after row:")
    _memory(page, WIDTH / 4, C, channel, BLUE)
    _memory(page, 3 * WIDTH / 4, PIXELS + K - 1, rows, ORANGE)
    page.text(
        WIDTH / 2,
        526,
        f"{PIXELS} pixels (AVX2: {PIXELS - 1}) stay in registers. A cell of a strip is {CHANNELS} values.",
    )
    return page.figure


def _half(page: Page, left: float, heading: str, x_shape: Shape, w_row: Shape, seen: tuple[Span, Span]) -> None:
    """x on the left, the panel of w above the tile. w_row: how many rows w has, and which is used; seen: what of x."""
    (rows, columns), (w_rows, row) = x_shape, w_row
    (first, _), top, across = seen[0], 240, left + 284
    page.text(left + WIDTH / 4, 92, heading, bold=True)
    x = Grid(across - 24 - columns * SIDE, top - first * SIDE, rows, columns, (SIDE, 0), (0, SIDE))
    w = Grid(across, top - 18 - w_rows * SIDE, w_rows, CHANNELS, (SIDE, 0), (0, SIDE))
    tile = Grid(across, top, PIXELS, CHANNELS, (SIDE, 0), (0, SIDE))
    page.grid(x)
    page.cells(x, *seen, ORANGE)
    page.grid(w)
    page.cells(w, (row, row + 1), (0, CHANNELS), BLUE)
    page.cells(tile, (0, PIXELS), (0, CHANNELS), GREEN)
    page.text(across - 14, 164, "panel of w", align="right")
    page.text(x.x + columns * SIDE / 2, top + PIXELS * SIDE + 34, "x")
    page.text(across + CHANNELS * SIDE / 2, top + PIXELS * SIDE + 34, "tile")


def _memory(page: Page, middle: float, cells: int, used: Span, color: str) -> None:
    """Twice so many cells one after the other, a gap between, some of the first half used."""
    width = cells * CELL
    for start in (middle - 5 - width, middle + 5):
        page.grid(Grid(start, 450, 1, cells, (CELL, 0), (0, CELL)))
    page.cells(Grid(middle - 5 - width, 450, 1, cells, (CELL, 0), (0, CELL)), (0, 1), used, color)
