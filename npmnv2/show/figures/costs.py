"""Figure of where a network's multiply-adds and bytes sit."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.show.figures.page import GREY, HEADING, LIGHT, WIDTH, Page
from npmnv2.show.plots import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, STEP = 52, 12.4  # points: where the first bar begins, and from bar to bar
TALLEST = 142  # points


def where_cost_sits() -> "Figure":
    """The multiply-adds and the bytes of every layer of MobileNetV2 1.0 at 224x224, from the first to the last."""
    layers = cost.mobilenet_v2()
    madds, bytes_ = [layer.madds for layer in layers], [layer.bytes for layer in layers]
    of_madds, of_bytes = (_share(layers, values, "depthwise") for values in (madds, bytes_))
    page = Page(f"Depthwise is {of_madds:.0f} % of the multiply-adds, {of_bytes:.0f} % of the bytes")
    _row(page, 80, "Multiply-adds, millions", layers, madds, (0, 10, 20))
    _row(page, 298, "Bytes read and written, millions", layers, bytes_, (0, 2, 4, 6))
    for label, first, end in _bands(layers):
        page.text(LEFT + (first + end) / 2 * STEP, 507, label)
    image = "x".join(map(str, layers[0].in_shape[:2]))
    meaning = "under the bars the side of the output, in pixels"
    page.text(WIDTH / 2, 531, f"MobileNetV2 1.0, one image of {image}; {meaning}")
    return page.figure


def _row(
    page: Page, y: float, heading: str, layers: Sequence[cost.LayerCost], values: Sequence[int], ticks: Sequence[int]
) -> None:
    """One bar a layer; above them the share of the layers that write images of one size; right that of each kind."""
    page.text(LEFT, y, heading, size=HEADING, align="left", bold=True)
    bottom, right = y + 186, LEFT + STEP * len(layers)
    scale = TALLEST / max(values)
    for number, (label, first, end) in enumerate(_bands(layers)):
        if number % 2 == 0:
            page.bars([(LEFT + first * STEP, y + 12, (end - first) * STEP, bottom - y - 12)], LIGHT)
        if label != "fc":  # too thin; its share is that of the linear layers
            share = 100 * sum(values[first:end]) / sum(values)
            page.text(LEFT + (first + end) / 2 * STEP, y + 32, f"{share:.0f} %")
    for tick in ticks:
        height = bottom - tick * 1e6 * scale
        page.lines([[(LEFT, height), (right, height)]], color=GREY, width=0.6)
        page.text(LEFT - 6, height + 6, str(tick), align="right")
    kinds = [kind for kind in KINDS if any(layer.kind == kind for layer in layers)]
    for number, kind in enumerate(kinds):
        heights = [(k, values[k] * scale) for k, layer in enumerate(layers) if layer.kind == kind]
        page.bars([(LEFT + (k + 0.1) * STEP, bottom - h, 0.8 * STEP, h) for k, h in heights], *KINDS[kind])
        at = y + 46 + 32 * number
        page.bars([(722, at - 15, 24, 18)], *KINDS[kind])
        page.text(754, at, kind, align="left")
        page.text(944, at, f"{_share(layers, values, kind):.1f} %", align="right")


def _share(layers: Sequence[cost.LayerCost], values: Sequence[int], kind: str) -> float:
    """What the layers of a kind have of the sum, in percent."""
    return 100 * sum(v for v, layer in zip(values, layers, strict=True) if layer.kind == kind) / sum(values)


def _bands(layers: Sequence[cost.LayerCost]) -> list[tuple[str, int, int]]:
    """The side of the output, the first layer that has it, and the first after them; the linear layer has none."""
    found, first = [], 0
    for side, group in groupby(layers, lambda layer: "fc" if layer.kind == "linear" else str(layer.out_shape[0])):
        end = first + len(list(group))
        found.append((side, first, end))
        first = end
    return found
