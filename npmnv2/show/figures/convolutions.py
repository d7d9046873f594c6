"""Figures of the convolutions: what a tap sees, and which inputs an output value sees."""

from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.shapes import conv_geometry, taps
from npmnv2.show.figures.page import HEADING, LIGHT, WIDTH, Grid, Page, Span
from npmnv2.show.plots import KINDS, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 4  # of the image whose taps are drawn
PIXEL, TAP = (1, 2), (0, 2)  # which output pixel's window, and which tap

# The two orders of the loops, as they run: xp is a padded image, stride 1.
WINDOW_LOOP = """\
for y, x in np.ndindex(OH, OW):
  for i, j in np.ndindex(KH, KW):
    out[y, x] += xp[y+i, x+j] @ w[i, j]
"""
TAP_LOOP = """\
for i, j in np.ndindex(KH, KW):
  tap = xp[i:i+OH, j:j+OW]
  out += tap @ w[i, j]
"""

CHANNELS = 192  # in and out, of the convolutions that are compared: what the blocks of row 2 are wide
DRAWN = 4  # of them


def tap_and_window() -> "Figure":
    """A window, which makes one output pixel, above a tap, which sees the whole padded image, shifted."""
    page = Page("A tap sees the whole image, shifted")
    g = conv_geometry(SIDE, SIDE, 3, 3, padding=1)
    (y, x), (i, j) = PIXEL, TAP
    seen = {(row, column): at for row, column, at in taps(g)}
    _, rows, columns = seen[TAP]
    window = (y, y + g.KH), (x, x + g.KW)
    pixels = g.OH * g.OW

    page.text(936, 92, "dashed: the image, grey: its padding", align="right")
    _loops(page, 92, "Window: for each output pixel, all the taps", window, ((0, 3), (0, 3)), ((y, y + 1), (x, x + 1)))
    _names(page, 92, f"xp[{y}:{y + g.KH}, {x}:{x + g.KW}]", "w", f"out[{y}, {x}]")
    page.program(450, 150, WINDOW_LOOP)
    page.text(450, 242, f"{pixels} x {len(seen)} = {pixels * len(seen)} steps, each on 1 pixel", align="left")

    shifted = (rows.start, rows.stop), (columns.start, columns.stop)
    _loops(
        page, 326, "Tap: for each kernel position, all the pixels", shifted, ((i, i + 1), (j, j + 1)), ((0, 4), (0, 4))
    )
    _names(page, 326, f"xp[{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]", f"w[{i}, {j}]", "out")
    page.program(450, 384, TAP_LOOP)
    page.text(450, 476, f"{len(seen)} steps, each on all {pixels} pixels", align="left")
    return page.figure


def _loops(page: Page, y: float, heading: str, *cells: tuple[Span, Span]) -> None:
    """The padded image, the kernel and the output, each with the cells of one step."""
    page.text(24, y, heading, size=HEADING, align="left", bold=True)
    xp, w, out = (
        Grid(24, y + 16, SIDE + 2, SIDE + 2, (25, 0), (0, 25)),
        Grid(220, y + 53.5, 3, 3, (25, 0), (0, 25)),
        Grid(335, y + 41, SIDE, SIDE, (25, 0), (0, 25)),
    )
    page.grid(xp, LIGHT)
    image = xp.outline((1, SIDE + 1), (1, SIDE + 1))
    page.grid(Grid(*image[0], SIDE, SIDE, (25, 0), (0, 25)))
    page.grid(w)
    page.grid(out)
    for grid, (rows, columns) in zip((xp, w, out), cells, strict=True):
        page.cells(grid, rows, columns, ORANGE)
    page.lines([[*image, image[0]]], dashed=True, width=2)
    page.text(197, y + 97, "@", code=True)
    page.text(315, y + 82, "+=", code=True)
    page.arrow([(301, y + 91), (329, y + 91)])


def _names(page: Page, y: float, *names: str) -> None:
    for x, name in zip((99, 257.5, 385), names, strict=True):
        page.text(x, y + 190, name, code=True)


def connectivity() -> "Figure":
    """Which inputs one output value sees, in each of the three convolutions, and what that costs a pixel."""
    page = Page("Depthwise sees the window, pointwise sees the channels")
    kinds = ("standard", "depthwise", "pointwise")
    layers = [cost.convolution(kind, 1, 1, CHANNELS, CHANNELS) for kind in kinds]  # of one output pixel
    for x, layer in zip((WIDTH / 6, WIDTH / 2, 5 * WIDTH / 6), layers, strict=True):
        page.text(x, 84, layer.kind.capitalize(), size=HEADING, bold=True)
        _connected(page, x, layer)
        page.text(x, 360, f"sees {layer.kernel}x{layer.kernel} pixels" if layer.kernel > 1 else "sees 1 pixel")
        page.text(x, 384, f"of all {CHANNELS} channels" if layer.groups == 1 else "of its own channel")
        page.text(x, 424, f"{layer.madds:,} MAdds", size=HEADING, bold=True)
    pair = layers[1].madds + layers[2].madds
    gain = f"{layers[0].madds / pair:.1f}"
    drawn = f"{CHANNELS} channels in and out, {DRAWN} of them drawn."
    page.text(WIDTH / 2, 472, f"Depthwise and pointwise together: {pair:,}, which is {gain} times fewer than standard.")
    page.text(WIDTH / 2, 506, f"MAdds: multiply-adds for one output pixel; {drawn}")
    return page.figure


def _connected(page: Page, x: float, layer: cost.LayerCost) -> None:
    """Four channels as sheets, input left and output right, with the cells that one output value sees."""
    color, _ = KINDS[layer.kind]
    sheets = [
        [Grid(left, 120 + 56 * channel, 5, 5, (17, 0), (6, 8)) for channel in range(DRAWN)]
        for left in (x - 142, x + 22)
    ]
    own = 1  # the channel of the output value
    inputs = range(DRAWN) if layer.groups == 1 else [own]
    window = (5 - layer.kernel) // 2, (5 + layer.kernel) // 2
    to = sheets[1][own].corner(2.5, 2.5)
    for side, name in zip(sheets, ("x", "out"), strict=True):
        page.text(side[0].x + 42, 112, name, code=True)
        for sheet in side:
            page.grid(sheet)
    for channel in inputs:
        page.cells(sheets[0][channel], window, window, color)
    page.cells(sheets[1][own], (2, 3), (2, 3), color)
    for channel in inputs:
        page.arrow([sheets[0][channel].corner(2.5, 2.5), (to[0] - 10, to[1])], width=1.5)
