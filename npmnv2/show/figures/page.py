"""What a figure is drawn on: a slide, and the few shapes that the figures are made of.

A slide is 960x540 points (16:9; as large as a slide of PowerPoint), x to the right and y down. Text has 26 points,
which are 10.5 pixels on a phone where the slide is 390 wide. Matplotlib lays out nothing: every place is given, and
texts stand on their baseline and are one line each, so that a figure depends neither on the fonts of a machine nor on
the version of Matplotlib.
"""

import math
from typing import Any, NamedTuple

WIDTH, HEIGHT = 960, 540  # points
TITLE, TEXT = 30, 26  # sizes of text, points
MONOSPACE = 0.602  # the width of a letter of a monospaced font, by its size
DARK, GREY, LIGHT = "#222222", "#777777", "#E4E4E4"

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # x, y, width, height
Span = tuple[int, int]  # from the first to before the second


class Grid(NamedTuple):
    """Cells of an image in rows and columns; `right` and `down` are the steps from one cell to the next."""

    x: float
    y: float
    rows: int
    columns: int
    right: Point
    down: Point

    def corner(self, row: float, column: float) -> Point:
        """Where the cell begins; halves are centres.

        Examples
        --------
        >>> Grid(100, 50, 2, 2, (10, 0), (5, 8)).corner(1, 0.5)
        (110.0, 58.0)
        """
        return (
            self.x + column * self.right[0] + row * self.down[0],
            self.y + column * self.right[1] + row * self.down[1],
        )

    def outline(self, rows: Span, columns: Span) -> list[Point]:
        """The four corners of some of its cells together."""
        (top, bottom), (left, right) = rows, columns
        return [self.corner(*at) for at in ((top, left), (top, right), (bottom, right), (bottom, left))]


class Page:
    """A slide with its message as the title, a sentence of one line or two.

    Attributes
    ----------
    figure : matplotlib Figure
    """

    def __init__(self, title: str) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=96, facecolor="white")
        self._axes: Any = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        self._axes.set_axis_off()
        for number, line in enumerate(title.splitlines()):
            self.text(WIDTH / 2, 42 + 36 * number, line, size=TITLE, bold=True)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = TEXT,
        align: str = "center",
        bold: bool = False,
        code: bool = False,
    ) -> None:
        """One line that stands on y; `code` is monospaced."""
        self._axes.text(
            x,
            y,
            words,
            fontsize=size,
            ha=align,
            va="baseline",
            color=DARK,
            fontweight="bold" if bold else "normal",
            family="monospace" if code else "sans-serif",
            parse_math=False,
        )

    def shape(self, corners: list[Point], color: str = "white", width: float = 1.5) -> None:
        """A polygon with a dark edge."""
        self._add([[*corners, corners[0]]], facecolor=color, edgecolor=DARK, linewidth=width)

    def bars(self, boxes: list[Box], color: str, hatch: str = "") -> None:
        """Rectangles (x, y, width, height) without edges, (x, y) the upper left corner; the hatch is white."""
        outlines = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in boxes]
        self._add(outlines, facecolor=color, edgecolor="white", hatch=hatch, linewidth=0)

    def grid(self, grid: Grid, color: str = "white") -> None:
        """The cells of an image, empty."""
        self._cells(grid, (0, grid.rows), (0, grid.columns), color, 1.5, GREY)

    def cells(self, grid: Grid, rows: Span, columns: Span, color: str) -> None:
        """Some cells of an image, filled and with a thick edge: the edge shows them where the colour does not."""
        self._cells(grid, rows, columns, color, 2.5, DARK)

    def _cells(self, grid: Grid, rows: Span, columns: Span, color: str, edge: float, inner: str) -> None:
        self.shape(grid.outline(rows, columns), color, edge)
        across = [[grid.corner(row, columns[0]), grid.corner(row, columns[1])] for row in range(rows[0] + 1, rows[1])]
        down = [[grid.corner(rows[0], k), grid.corner(rows[1], k)] for k in range(columns[0] + 1, columns[1])]
        if across or down:
            self.lines(across + down, color=inner, width=0.8)

    def lines(self, lines: list[list[Point]], *, color: str = DARK, width: float = 1.5, dashed: bool = False) -> None:
        """Each straight from point to point."""
        style = (0, (4, 2)) if dashed else "-"
        self._add(lines, fill=False, edgecolor=color, linewidth=width, linestyle=style, capstyle="butt")

    def arrow(self, points: list[Point], *, color: str = DARK, width: float = 1.8, dashed: bool = False) -> None:
        """A line with a head at its last point."""
        (x0, y0), (x, y) = points[-2:]
        length = math.hypot(x - x0, y - y0)
        dx, dy = (x - x0) / length, (y - y0) / length  # the direction of the head
        long, half = 5 + 3 * width, 2 + 1.6 * width
        base_x, base_y = x - long * dx, y - long * dy
        self.lines([[*points[:-1], (base_x, base_y)]], color=color, width=width, dashed=dashed)
        head = [(x, y), (base_x - half * dy, base_y + half * dx), (base_x + half * dy, base_y - half * dx), (x, y)]
        self._add([head], facecolor=color, linewidth=0)

    def _add(self, outlines: list[list[Point]], **look: Any) -> None:
        """Lines or, where they come back to their beginning, polygons, all as one shape, over what was drawn before."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        points, codes = [], []
        for outline in outlines:
            is_closed = len(outline) > 2 and outline[0] == outline[-1]
            points += outline
            codes += [Path.MOVETO, *[Path.LINETO] * (len(outline) - 2), Path.CLOSEPOLY if is_closed else Path.LINETO]
        self._axes.add_patch(PathPatch(Path(points, codes), joinstyle="miter", clip_on=False, **look))
