"""Figures of the convolutions: what a tap sees, where its gradient goes, and which inputs an output value sees."""

from typing import TYPE_CHECKING, Any

from npmnv2 import cost
from npmnv2.shapes import conv_geometry, taps
from npmnv2.show.figures.page import LIGHT, WIDTH, Grid, Page, Span
from npmnv2.show.plots import BLUE, GREEN, KINDS, ORANGE, PINK, RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 4  # of the image whose taps are drawn, and of the output
PIXEL, TAP = (1, 2), (0, 2)  # which output pixel's window, and which tap
TWO_TAPS = (0, 0), (1, 1)  # whose views overlap
CELL = 72  # points, of a pixel of the image with pixel 12

CHANNELS = 192  # in and out, of the convolutions that are compared: what the blocks of row 2 are wide
DRAWN = 4  # of them


def tap_and_window() -> "Figure":
    """A window, which makes one output pixel, above a tap, which sees a shifted view of the padded image."""
    page = Page("A tap sees one shifted view, as large as the output")
    g = conv_geometry(SIDE, SIDE, 3, 3, padding=1)
    (y, x), (i, j) = PIXEL, TAP
    window = (y, y + g.KH), (x, x + g.KW)
    view = _view(TAP, padding=1)
    positions, pixels = g.KH * g.KW, g.OH * g.OW

    _step(page, 66, f"Window: all {positions} taps, 1 pixel of out", window, ((0, 3), (0, 3)), ((y, y + 1), (x, x + 1)))
    _names(page, 66, _slice("xp", *window), "w", f"out[{y}, {x}]")
    page.text(530, 164, f"the sum of {positions} products", align="left")
    page.text(530, 204, f"{pixels} such steps", align="left")

    _step(page, 288, f"Tap: 1 tap, all {pixels} pixels of out", view, ((i, i + 1), (j, j + 1)), ((0, SIDE), (0, SIDE)))
    _names(page, 288, _slice("xp", *view), f"w[{i}, {j}]", "out")
    page.text(530, 386, "out += tap @ w[i, j]", align="left", code=True)
    page.text(530, 426, f"{positions} such steps", align="left")
    page.text(24, 528, "Grey: the padding. Dashed: the image.", align="left")
    return page.figure


def _step(page: Page, y: float, heading: str, *cells: tuple[Span, Span]) -> None:
    """The padded image, the kernel and the output, each with the cells of one step."""
    page.text(24, y + 28, heading, align="left", bold=True)
    xp, w, out = (
        Grid(52, y + 42, SIDE + 2, SIDE + 2, (22, 0), (0, 22)),
        Grid(254, y + 75, 3, 3, (22, 0), (0, 22)),
        Grid(388, y + 64, SIDE, SIDE, (22, 0), (0, 22)),
    )
    page.grid(xp, LIGHT)
    image = xp.outline((1, SIDE + 1), (1, SIDE + 1))
    page.grid(Grid(*image[0], SIDE, SIDE, xp.right, xp.down))
    page.grid(w)
    page.grid(out)
    for grid, (rows, columns) in zip((xp, w, out), cells, strict=True):
        page.cells(grid, rows, columns, ORANGE)
    page.lines([[*image, image[0]]], dashed=True, width=2)
    page.arrow([(332, y + 108), (376, y + 108)])


def _names(page: Page, y: float, *names: str) -> None:
    for x, name in zip((118, 287, 432), names, strict=True):
        page.text(x, y + 202, name, code=True)


def _view(tap: tuple[int, int], padding: int = 0) -> tuple[Span, Span]:
    """The rows and columns that a tap of a 3x3 kernel sees."""
    side = SIDE + 2 - 2 * padding
    g = conv_geometry(side, side, 3, 3, padding=padding)
    rows, columns = next(seen[1:] for i, j, seen in taps(g) if (i, j) == tap)
    return (rows.start, rows.stop), (columns.start, columns.stop)


def _slice(name: str, rows: Span, columns: Span) -> str:
    return f"{name}[{rows[0]}:{rows[1]}, {columns[0]}:{columns[1]}]"


def backward_of_a_tap() -> "Figure":
    """Two taps, each of which adds to the pixels that it saw; some pixels both saw."""
    page = Page("Where two views overlap, gradients add up")
    views = [_view(tap) for tap in TWO_TAPS]
    both = Grid(640, 106, SIDE + 2, SIDE + 2, (42, 0), (0, 42))
    page.grid(both)
    for y, (i, j), view, color in zip((66, 262), TWO_TAPS, views, (ORANGE, BLUE), strict=True):
        dout = Grid(110, y + 28, SIDE, SIDE, (22, 0), (0, 22))
        dxp = Grid(300, y + 6, SIDE + 2, SIDE + 2, (22, 0), (0, 22))
        page.cells(dout, (0, SIDE), (0, SIDE), color)
        page.arrow([(214, y + 72), (284, y + 72)])
        page.grid(dxp)
        page.cells(dxp, *view, color)
        page.cells(both, *view, color)
        page.text(24, y + 170, f"{_slice('dxp', *view)} += dout * w[{i}, {j}]", align="left", code=True)
    (top, bottom), (left, right) = ((max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(*views, strict=True))
    page.cells(both, (top, bottom), (left, right), RED)
    middles = [both.corner(row + 0.5, column + 0.5) for row in range(top, bottom) for column in range(left, right)]
    pluses = [[(x - dx, y - dy), (x + dx, y + dy)] for x, y in middles for dx, dy in ((9, 0), (0, 9))]
    page.lines(pluses, color="white", width=3)
    page.text(766, 392, "dxp", code=True)
    page.text(766, 432, f"{len(middles)} pixels get two terms")
    page.text(24, 484, "Depthwise:", align="left")
    page.text(24, 522, "Standard:", align="left")
    page.text(190, 484, "dxp[seen] += dout * w[i, j]", align="left", code=True)
    page.text(190, 522, "dxp[seen] += dout @ w[i, j].T", align="left", code=True)
    return page.figure


def pixel_12() -> "Figure":
    """One pixel of a 5x5 image, the windows of stride 2 that it lies in, and the terms of its gradient."""
    g = conv_geometry(5, 5, 3, 3, stride=2)
    row, column = divmod(12, g.W)
    lies_in = [
        ((y, x), (row - g.stride * y, column - g.stride * x))
        for y in range(g.OH)
        for x in range(g.OW)
        if 0 <= row - g.stride * y < g.KH and 0 <= column - g.stride * x < g.KW
    ]
    page = Page(f"At stride {g.stride} pixel 12 lies in {len(lies_in)} windows")
    image = Grid(24, 106, g.H, g.W, (CELL, 0), (0, CELL))
    looks: list[dict[str, Any]] = [
        {"color": color, "dashed": k % 2 == 1, "width": 3} for k, color in enumerate((BLUE, RED, GREEN, PINK))
    ]
    page.grid(image)
    page.cells(image, (row, row + 1), (column, column + 1), ORANGE)
    for k, ((y, x), _) in enumerate(lies_in):
        inset = 4 + 4 * k  # from the window's edge, so that each is seen and none meets a number
        left, top = (at + inset for at in image.corner(g.stride * y, g.stride * x))
        right, bottom = (at - inset for at in image.corner(g.stride * y + g.KH, g.stride * x + g.KW))
        page.lines([[(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]], **looks[k])
    for number in range(g.H * g.W):
        middle = image.corner(number // g.W + 0.5, number % g.W + 0.5)
        page.text(middle[0], middle[1] + 9, str(number))
    page.text(404, 116, "Forward: each window reads it", align="left", bold=True)
    page.text(404, 312, "Backward: it gets each one's term", align="left", bold=True)
    for k, ((y, x), (i, j)) in enumerate(lies_in):
        forward = f"out[{y}, {x}] += x[{row}, {column}] * w[{i}, {j}]"
        backward = f"dx[{row}, {column}] += dout[{y}, {x}] * w[{i}, {j}]"
        for words, at in ((forward, 153 + 36 * k), (backward, 349 + 36 * k)):
            page.lines([[(404, at - 9), (434, at - 9)]], **looks[k])
            page.text(444, at, words, align="left", code=True)
    page.text(24, 516, "So dx grows by +=. With = only the last term would be left.", align="left")
    return page.figure


def connectivity() -> "Figure":
    """Which inputs one output value sees, in each of the three convolutions, and what that costs a pixel."""
    kinds = ("standard", "depthwise", "pointwise")
    layers = [cost.convolution(kind, 1, 1, CHANNELS, CHANNELS) for kind in kinds]  # of one output pixel
    standard, depthwise, pointwise = (layer.madds for layer in layers)
    gain = f"{standard / (depthwise + pointwise):.1f}"
    page = Page(f"Depthwise sees a window, pointwise the channels:\ntogether {gain} times fewer MAdds than standard")
    for x, layer in zip((WIDTH / 6, WIDTH / 2, 5 * WIDTH / 6), layers, strict=True):
        page.text(x, 124, layer.kind.capitalize(), bold=True)
        _connected(page, x, layer)
        page.text(x, 392, f"{layer.kernel}x{layer.kernel} pixels" if layer.kernel > 1 else "1 pixel")
        page.text(x, 424, f"of all {CHANNELS} channels" if layer.groups == 1 else "of its own channel")
        page.text(x, 460, f"{layer.madds:,} MAdds", bold=True)
    page.text(WIDTH / 2, 500, "MAdds: multiply-adds for one output pixel,")
    page.text(WIDTH / 2, 530, f"{CHANNELS} channels in and out, {DRAWN} of them drawn.")
    return page.figure


def _connected(page: Page, x: float, layer: cost.LayerCost) -> None:
    """Four channels as sheets, input left and output right, with the cells that one output value sees."""
    color, _ = KINDS[layer.kind]
    sheets = [
        [Grid(left, 164 + 50 * channel, 5, 5, (17, 0), (6, 8)) for channel in range(DRAWN)]
        for left in (x - 142, x + 22)
    ]
    own = 1  # the channel of the output value
    inputs = range(DRAWN) if layer.groups == 1 else [own]
    window = (5 - layer.kernel) // 2, (5 + layer.kernel) // 2
    to = sheets[1][own].corner(2.5, 2.5)
    for side, name in zip(sheets, ("x", "out"), strict=True):
        page.text(side[0].x + 42, 154, name, code=True)
        for sheet in side:
            page.grid(sheet)
    for channel in inputs:
        page.cells(sheets[0][channel], window, window, color)
    page.cells(sheets[1][own], (2, 3), (2, 3), color)
    for channel in inputs:
        page.arrow([sheets[0][channel].corner(2.5, 2.5), (to[0] - 10, to[1])], width=1.5)
