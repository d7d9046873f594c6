"""Figure of batch norm's gradient: the graph of its operations, forward and backward."""

import math
from typing import TYPE_CHECKING

from npmnv2.show.figures.page import MONOSPACE, TEXT, Page, Point
from npmnv2.show.plots import ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The names of `ops.batchnorm.batchnorm_backward_steps`, and where each stands.
NODES: dict[str, Point] = {
    "x": (70, 150),
    "mean": (70, 420),
    "centered": (340, 150),
    "squared": (340, 290),
    "var": (340, 420),
    "std": (740, 420),
    "inv_std": (740, 290),
    "xhat": (740, 150),
    "out": (900, 150),
}
# Where gradients go, from and to, and what is written there: what is added up.
BACKWARD: dict[tuple[str, str], tuple[str, Point] | None] = {
    ("out", "xhat"): None,
    ("xhat", "centered"): ("dxhat * inv_std", (556, 126)),
    ("xhat", "inv_std"): None,
    ("inv_std", "std"): None,
    ("std", "var"): None,
    ("var", "squared"): None,
    ("squared", "centered"): ("2 * centered * dsquared", (538, 230)),
    ("centered", "x"): ("dcentered", (178, 126)),
    ("centered", "mean"): None,
    ("mean", "x"): ("dmean / m", (157, 224)),
}
HALF_HEIGHT = 24  # of a node
APART = 7  # each of the two arrows of an edge, from the line between the nodes


def batchnorm_graph() -> "Figure":
    """The operations of batch norm as a graph: values forward, gradients backward, and what is added up."""
    page = Page("Gradients meet at centered and at x, and add up")
    for label in BACKWARD.values():
        if label:
            words, place = label
            page.text(*place, words, code=True)
    return _draw(page)


def batchnorm_ways() -> "Figure":
    """The same without the terms, for a lab in which they are to be found."""
    return _draw(Page("Three ways lead from out back to x"))


def _draw(page: Page) -> "Figure":
    for source, target in BACKWARD:
        page.arrow(_beside(target, source))
        page.arrow(_beside(source, target), color=RED, dashed=True)
    for name, (x, y) in NODES.items():
        half, high = _half_width(name), HALF_HEIGHT
        does_meet = [target for _, target in BACKWARD].count(name) > 1
        corners = [(x + dx, y + dy) for dx, dy in ((-half, -high), (half, -high), (half, high), (-half, high))]
        page.shape(corners, ORANGE if does_meet else "white", 3 if does_meet else 1.5)
        page.text(x, y + 9, name, bold=does_meet, code=True)
    page.arrow([(24, 506), (84, 506)])
    page.text(94, 515, "values", align="left")
    page.arrow([(274, 506), (214, 506)], color=RED, dashed=True)
    page.text(284, 515, "gradients", align="left")
    page.shape([(450, 492), (486, 492), (486, 520), (450, 520)], ORANGE, 3)
    page.text(498, 515, "a sum of two gradients", align="left")
    return page.figure


def _half_width(name: str) -> float:
    return len(name) * MONOSPACE * TEXT / 2 + 10


def _beside(source: str, target: str) -> list[Point]:
    """From edge to edge of two nodes, right of the line between their middles as one goes: there and back lie apart."""
    (x0, y0), (x1, y1) = NODES[source], NODES[target]
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    x0, y0, x1, y1 = x0 - APART * dy, y0 + APART * dx, x1 - APART * dy, y1 + APART * dx
    leave, arrive = _reach(source, (x0, y0), (dx, dy)), _reach(target, (x1, y1), (-dx, -dy))
    return [(x0 + leave * dx, y0 + leave * dy), (x1 - arrive * dx, y1 - arrive * dy)]


def _reach(name: str, start: Point, direction: Point) -> float:
    """How far it is from a point in a node to its edge in a direction, and a bit more."""
    edges = (_half_width(name) + 2, HALF_HEIGHT + 2)
    ways = zip(start, NODES[name], direction, edges, strict=True)
    return min((math.copysign(half, d) + middle - at) / d for at, middle, d, half in ways if d)
