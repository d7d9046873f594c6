"""Figures of what a trained network shows, and the tables they are drawn from.

The tables lie in the folder `trained` beside this file: whoever has not the weights can draw them anew all the same.
`benchmarks/trained.py` measures them, and says what the columns are.
"""

import csv
from importlib import resources
from typing import TYPE_CHECKING

from npmnv2.show.figures.page import DARK, GREY, LIGHT, WIDTH, Grid, Page
from npmnv2.show.plots import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, PITCH = 12, 70  # points: of a weight, and from filter to filter
LEFT, STEP = 78, 25  # of ReLU6: where the first bar begins, and from bar to bar


def table(name: str) -> list[dict[str, str]]:
    """A table of a trained network, a row a dictionary.

    Parameters
    ----------
    name : str
        filters, drawn, relu6, rank, left, taken_away or rounding, see `benchmarks/trained.py`.

    Raises
    ------
    ValueError
        For a name that is none.

    Examples
    --------
    >>> table("relu6")[0]["layer"]
    'stem'
    """
    files = {file.name: file for file in (resources.files(__package__) / "trained").iterdir()}
    if f"{name}.csv" not in files:
        names = ", ".join(sorted(file.removesuffix(".csv") for file in files))
        raise ValueError(f"name must be one of {names}; was {name}")
    text = files[f"{name}.csv"].read_text(encoding="utf-8")
    _, *lines = text.splitlines()  # the first line is the command that wrote it
    return list(csv.DictReader(lines))


def column(name: str, column: str, **where: str) -> list[float]:
    """The numbers of a column, of those rows that have these words in other columns.

    Examples
    --------
    >>> column("filters", "kernel", layer="b0.0.dw")
    [3.0]
    """
    return [float(row[column]) for row in table(name) if all(row[key] == words for key, words in where.items())]


def trained_filters() -> "Figure":
    """The first filters of four depthwise layers, two of stride 2 and the two after them."""
    page = Page("Where the stride is 2, filters are smoother")
    rows, strides = table("drawn"), {row["layer"]: row["stride"] for row in table("filters")}
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    for layer, y in zip(layers, (100, 188, 306, 394), strict=True):
        page.text(20, y + 26, layer, align="left", bold=True)
        page.text(20, y + 56, f"stride {strides[layer]}", align="left")
        filters = [[float(w) for w in row["weights"].split()] for row in rows if row["layer"] == layer]
        for channel, weights in enumerate(filters):
            _filter(page, 186 + PITCH * channel, y + 3, weights)
    page.text(20, 88, "5x5", align="left")
    page.text(20, 294, "3x3", align="left")
    page.bars([(186, 488, 22, 22)], BLUE)
    page.text(218, 508, "positive", align="left")
    page.bars([(346, 488, 22, 22)], ORANGE)
    page.text(378, 508, "negative", align="left")
    page.text(940, 508, "each over its largest weight", align="right")
    return page.figure


def _filter(page: Page, x: float, y: float, weights: list[float]) -> None:
    """The weights as squares: the side of a filter is 60 points, whatever its kernel."""
    side = round(len(weights) ** 0.5)
    cell = 5 * CELL / side
    for k, weight in enumerate(weights):
        at = x + k % side * cell, y + k // side * cell
        if round(abs(weight), 1) > 0:
            page.bars([(*at, cell, cell)], _tint(BLUE if weight > 0 else ORANGE, round(abs(weight), 1)))
    grid = Grid(x, y, 1, 1, (5 * CELL, 0), (0, 5 * CELL))
    outline = grid.outline((0, 1), (0, 1))
    page.lines([[*outline, outline[0]]], color=GREY, width=0.8)


def _tint(color: str, share: float) -> str:
    """So much of the colour on white.

    Examples
    --------
    >>> _tint("#0072B2", 0), _tint("#0072B2", 1)
    ('#ffffff', '#0072b2')
    """
    parts = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in parts)


def trained_relu6() -> "Figure":
    """The shares of ReLU6 outputs at 0, between, and at 6, layer by layer."""
    page = Page("The deeper, the more ReLU6 outputs are 0; few are 6")
    rows = table("relu6")
    top, bottom = 110, 400
    height, right = bottom - top, LEFT + STEP * len(rows)
    for tick in (0, 50, 100):
        page.text(LEFT - 10, bottom - tick / 100 * height + 9, str(tick), align="right")
    page.text(20, 92, "% of the outputs", align="left")
    page.bars([(LEFT, top, STEP * len(rows), height)], LIGHT)
    for k, row in enumerate(rows):
        x, low, high = LEFT + (k + 0.1) * STEP, height * float(row["at_0"]), height * float(row["at_6"])
        page.bars([(x, bottom - low, 0.8 * STEP, low)], BLUE, "//" if row["layer"].endswith(".dw") else "")
        page.bars([(x, top, 0.8 * STEP, high)], ORANGE)
    page.lines([[(LEFT, bottom), (right, bottom)]])
    for block, first, end in _blocks([row["layer"] for row in rows]):
        page.text(LEFT + (first + end) / 2 * STEP, bottom + 32, block)
        page.lines([[(LEFT + end * STEP, bottom), (LEFT + end * STEP, bottom + 12)]])
    for x, color, hatch, words in (
        (LEFT, BLUE, "", "0"),
        (180, BLUE, "//", "0, behind a depthwise"),
        (570, LIGHT, "", "between"),
        (800, ORANGE, "", "6"),
    ):
        page.bars([(x, 452, 22, 22)], color, hatch)
        page.text(x + 32, 472, words, align="left")
    page.text(WIDTH / 2, 518, "EfficientNet-Lite0, six photographs; layers in their order")
    return page.figure


def _blocks(layers: list[str]) -> list[tuple[str, int, int]]:
    """The row of the blocks, its first layer and the first after it; stem and head have no row."""
    rows = [layer.partition(".")[0] if "." in layer else "" for layer in layers]
    found = []
    for row in dict.fromkeys(rows):
        if row:
            first = rows.index(row)
            found.append((row, first, first + rows.count(row)))
    return found


def trained_shortcuts() -> "Figure":
    """What is left of the first labels' probabilities without a block's shortcut, and without its convolutions."""
    page = Page("Without one shortcut all is lost;\nwithout the convolutions beside it, little")
    (whole,) = column("taken_away", "mean", what="nothing")
    blocks = [row["layer"] for row in table("taken_away") if row["what"] == "shortcut"]
    parts = {what: column("taken_away", "mean", what=what) for what in COLORS}
    left, step, bottom, scale = 78, 92, 398, 4.9  # points; of scale, a percent
    page.text(20, 132, "Probability of the whole network's first label, %", align="left")
    for tick in (0, 20, 40):
        page.text(left - 10, bottom - tick * scale + 9, str(tick), align="right")
        page.lines([[(left, bottom - tick * scale), (left + step * 9, bottom - tick * scale)]], color=LIGHT, width=1)
    for k, block in enumerate(blocks):
        page.text(left + (k + 0.5) * step, bottom + 32, block)
        for j, (what, (color, hatch)) in enumerate(COLORS.items()):
            value = 100 * parts[what][k]
            x = left + (k + 0.1 + 0.4 * j) * step
            page.bars([(x, bottom - value * scale, 0.4 * step, value * scale)], color, hatch)
            if what == "shortcut":
                page.text(x + 0.2 * step, bottom - value * scale - 8, f"{value:.0f}")
    height = bottom - 100 * whole * scale
    page.lines([[(left, height), (left + step * len(blocks), height)]], color=DARK, width=2, dashed=True)
    page.text(left + 8, height - 12, f"nothing taken away: {100 * whole:.0f}", align="left")
    page.bars([(78, 454, 22, 22)], *COLORS["shortcut"])
    page.text(110, 474, "block without its shortcut", align="left")
    page.bars([(500, 454, 22, 22)], *COLORS["convolutions"])
    page.text(532, 474, "its shortcut alone", align="left")
    page.text(WIDTH / 2, 520, "EfficientNet-Lite0, mean of six photographs")
    return page.figure


COLORS = {"shortcut": (ORANGE, ""), "convolutions": (BLUE, "//")}
