"""Figure of batch norm's gradient: the graph of its operations, forward and backward."""

import math
from typing import TYPE_CHECKING

from npmnv2.show.figures.page import MONOSPACE, SMALLEST, Page, Point
from npmnv2.show.plots import RED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The names of `ops.batchnorm.batchnorm_backward_steps`, and where each stands.
NODES: dict[str, Point] = {
    "x": (60, 140),
    "mean": (60, 300),
    "centered": (345, 140),
    "squared": (345, 300),
    "var": (345, 450),
    "std": (700, 450),
    "inv_std": (700, 300),
    "xhat": (700, 140),
    "out": (908, 140),
}
# From where, to where, what the first gives to the gradient of the second, and where that is written.
BACKWARD: tuple[tuple[str, str, str, Point], ...] = (
    ("out", "xhat", "dout * gamma", (805, 122)),
    ("xhat", "centered", "dxhat * inv_std", (533, 122)),
    ("xhat", "inv_std", "sum(dxhat * centered)", (832, 226)),
    ("inv_std", "std", "-dinv_std / std**2", (816, 381)),
    ("std", "var", "dstd / (2 * std)", (520, 432)),
    ("var", "squared", "dvar / m", (407, 381)),
    ("squared", "centered", "2 * centered * dsquared", (487, 226)),
    ("centered", "x", "dcentered", (188, 122)),
    ("centered", "mean", "-sum(dcentered)", (194, 314)),
    ("mean", "x", "dmean / m", (127, 212)),
)
HALF_HEIGHT = 28  # of a node
APART = 7  # the two arrows of an edge, each from its middle


def batchnorm_graph() -> "Figure":
    """The operations of batch norm as a graph: values forward, gradients backward."""
    page = Page("The gradient of x adds up over every way back")
    for source, target, given, label in BACKWARD:
        page.arrow(_beside(target, source, label, -APART))
        page.arrow(_beside(source, target, label, APART), color=RED, dashed=True)
        page.text(*label, given, code=True)
    for name, (x, y) in NODES.items():
        half = _half_width(name)
        page.shape([(x + dx, y + dy) for dx, dy in ((-half, -28), (half, -28), (half, 28), (-half, 28))], "#EEF3F7")
        page.text(x, y - 5, name, bold=True, code=True)
        page.text(x, y + 18, f"d{name}", code=True)
        if [target for _, target, _, _ in BACKWARD].count(name) > 1:
            page.plus(x - half, y - HALF_HEIGHT)
    page.arrow([(24, 394), (74, 394)])
    page.arrow([(74, 424), (24, 424)], color=RED, dashed=True)
    page.plus(49, 454)
    for y, words in ((400, "forward: values"), (430, "backward: gradients"), (460, "a sum of two gradients")):
        page.text(84, y, words, align="left")
    page.text(24, 500, "m: values per channel", align="left")
    return page.figure


def _half_width(name: str) -> float:
    return (len(name) + 1) * MONOSPACE * SMALLEST / 2 + 8


def _beside(source: str, target: str, label: Point, apart: float) -> list[Point]:
    """From edge to edge of two nodes, moved by so much from their middles towards the label."""
    (x0, y0), (x1, y1) = NODES[source], NODES[target]
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    side = math.copysign(apart, apart * (dx * (label[1] - y0) - dy * (label[0] - x0)))
    x0, y0, x1, y1 = x0 - side * dy, y0 + side * dx, x1 - side * dy, y1 + side * dx
    leave, arrive = _reach(source, (x0, y0), (dx, dy)), _reach(target, (x1, y1), (-dx, -dy))
    return [(x0 + leave * dx, y0 + leave * dy), (x1 - arrive * dx, y1 - arrive * dy)]


def _reach(name: str, start: Point, direction: Point) -> float:
    """How far it is from a point in a node to its edge in a direction, and a bit more."""
    edges = (_half_width(name) + 2, HALF_HEIGHT + 2)
    ways = zip(start, NODES[name], direction, edges, strict=True)
    return min((math.copysign(half, d) + middle - at) / d for at, middle, d, half in ways if d)
