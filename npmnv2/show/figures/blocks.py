"""Figures of the block: its widths against those of the classic one, and its shapes."""

from itertools import pairwise
from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.show.figures.page import GREY, HEADING, WIDTH, Page
from npmnv2.show.plots import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCK = "b2.1"  # a block with a shortcut, of MobileNetV2 1.0
# He et al., "Deep residual learning for image recognition", arXiv:1512.03385, table 1, conv2_x of ResNet-50.
CLASSIC = (256, 64, 64, 256)
TENSOR = "#CFE3F1"  # light, for what is no message


def inverted_residual() -> "Figure":
    """A residual bottleneck of ResNet beside an inverted residual: channels as heights, and the shortcut."""
    page = Page("The shortcut joins the thin ends, not the wide ones")
    (block,) = (b for b in plan()[1] if b.name == BLOCK)
    wide = block.t * block.in_channels
    inverted = (block.in_channels, wide, wide, block.out_channels)
    new = f"Inverted: MobileNetV2, {BLOCK}"
    panels = (
        ("Classic: ResNet-50", CLASSIC, "standard", ("ReLU", "ReLU", "+, then ReLU"), ORANGE),
        (new, inverted, "depthwise", ("ReLU6", "ReLU6", "linear, +"), BLUE),
    )
    for x, (heading, channels, kind, activations, color) in zip((WIDTH / 4, 3 * WIDTH / 4), panels, strict=True):
        page.text(x, 92, heading, size=HEADING, bold=True)
        places = [x + step for step in (-180, -60, 60, 180)]
        _widths(page, places, channels, color)
        for step, kernel, activation in zip((-120, 0, 120), ("1x1", f"3x3 {kind}", "1x1"), activations, strict=True):
            page.text(x + step, 450, kernel)
            page.text(x + step, 478, activation)
    page.lines([[(WIDTH / 2, 76), (WIDTH / 2, 490)]], color=GREY, width=0.8)
    page.text(WIDTH / 2, 524, "The height of a bar is the number of channels.")
    return page.figure


def _widths(page: Page, places: list[float], channels: tuple[int, ...], color: str) -> None:
    """Four bars about one middle line, arrows between them, the shortcut above them."""
    middle, scale, above = 276, 0.9, 126
    for place, number in zip(places, channels, strict=True):
        half = number * scale / 2
        page.shape(
            [(place + dx, middle + dy) for dx, dy in ((-18, -half), (18, -half), (18, half), (-18, half))], color
        )
        page.text(place, middle + half + 24, str(number), size=HEADING, bold=True)
    for a, b in pairwise(places):
        page.arrow([(a + 22, middle), (b - 22, middle)])
    start, end = (middle - channels[k] * scale / 2 - 4 for k in (0, -1))
    page.arrow([(places[0], start), (places[0], above), (places[-1], above), (places[-1], end)], width=3)
    page.text(sum(places) / 4, above + 24, "shortcut")


def block_shapes() -> "Figure":
    """The shapes of the arrays and kernels through one block, and what its convolutions cost."""
    page = Page("A block is wide inside and thin at both ends")
    network = cost.mobilenet_v2()
    layers = [layer for layer in network if layer.name.startswith(f"{BLOCK}.")]
    shapes = [layers[0].in_shape, *(layer.out_shape for layer in layers)]
    scale, gap = 0.7, 106
    widths = [shape[2] * scale for shape in shapes]
    left = (WIDTH - sum(widths) - gap * len(layers) - 30) / 2
    starts = [left + sum(widths[:k]) + gap * k for k in range(len(shapes))]
    for start, width, (H, W, C) in zip(starts, widths, shapes, strict=True):
        _cuboid(page, start, 190, width)
        page.text(start + width / 2 + 15, 148, f"{H}x{W}x{C}", size=HEADING, bold=True)
    for k, layer in enumerate(layers):
        end, start = starts[k] + widths[k], starts[k + 1]
        page.arrow([(end + 36, 240), (start - 6, 240)], width=2.5)
        _convolution(page, (end + start) / 2 + 15, layer)
    x, end = starts[0] + widths[0] / 2 + 15, starts[-1] + widths[-1] / 2 + 15
    page.arrow([(x, 124), (x, 94), (end, 94), (end, 124)], width=3)
    page.text(WIDTH / 2, 86, "shortcut: the block's input is added to its output")
    image = "x".join(map(str, network[0].in_shape[:2]))
    meaning = "height x width x channels; MAdds: multiply-adds"
    page.text(WIDTH / 2, 522, f"{BLOCK} of MobileNetV2 1.0 at {image}: {meaning}")
    return page.figure


def _cuboid(page: Page, x: float, y: float, width: float) -> None:
    """An array: channels to the right, height down, width into the page."""
    height, depth = 110, 30
    page.shape([(x, y), (x + depth, y - depth), (x + width + depth, y - depth), (x + width, y)], TENSOR)
    page.shape(
        [
            (x + width, y),
            (x + width + depth, y - depth),
            (x + width + depth, y - depth + height),
            (x + width, y + height),
        ],
        TENSOR,
    )
    page.shape([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], "white")


def _convolution(page: Page, x: float, layer: cost.LayerCost) -> None:
    """What stands under an arrow: name, kind, the kernel's shape, cost and what follows."""
    C, M = layer.in_shape[2], layer.out_shape[2]
    kernel = f"({layer.kernel}, {layer.kernel}, {C})" if layer.kind == "depthwise" else f"({C}, {M})"
    page.text(x, 342, layer.name.rpartition(".")[2], size=HEADING, bold=True, code=True)
    for y, words in (
        (370, f"{layer.kernel}x{layer.kernel} {layer.kind}"),
        (396, f"w: {kernel}"),
        (422, "batch norm, ReLU6" if layer.relu6 else "batch norm, linear"),
        (448, f"{layer.madds / 1e6:.1f} million MAdds"),
    ):
        page.text(x, y, words)
