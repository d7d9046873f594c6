"""Figure of where a network's multiply-adds and bytes sit."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.show.figures.page import GREY, LIGHT, WIDTH, Page
from npmnv2.show.plots import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, STEP = 62, 11.2  # points: where the first bar begins, and from bar to bar
TALLEST = 128  # points


def where_cost_sits() -> "Figure":
    """The multiply-adds and the bytes of every layer of MobileNetV2 1.0 at 224x224, from the first to the last."""
    layers = cost.mobilenet_v2()
    madds, bytes_ = [layer.madds for layer in layers], [layer.bytes for layer in layers]
    of_madds, of_bytes = (_share(layers, values, "depthwise") for values in (madds, bytes_))
    page = Page(f"Depthwise is {of_madds} % of multiply-adds, {of_bytes} % of bytes")
    _row(page, 66, "Multiply-adds, millions", layers, madds, (0, 10, 20))
    _row(page, 284, "Bytes read and written, millions", layers, bytes_, (0, 3, 6))
    image = "x".join(map(str, layers[0].in_shape[:2]))
    page.text(WIDTH / 2, 526, f"MobileNetV2 1.0, float32, one image of {image}")
    return page.figure


def _row(
    page: Page, y: float, heading: str, layers: Sequence[cost.LayerCost], values: Sequence[int], ticks: Sequence[int]
) -> None:
    """One bar a layer; under them the side of the images that they write; right the share of each kind."""
    page.text(LEFT, y + 26, heading, align="left", bold=True)
    bottom, right = y + 174, LEFT + STEP * len(layers)
    scale = TALLEST / max(values)
    for number, (side, first, end) in enumerate(_bands(layers)):
        if number % 2 == 0:
            page.bars([(LEFT + first * STEP, y + 38, (end - first) * STEP, bottom - y - 38)], LIGHT)
        page.text(LEFT + (first + end) / 2 * STEP, bottom + 28, side)
    page.text(right + 14, bottom + 28, "side in pixels", align="left")
    for tick in ticks:
        height = bottom - tick * 1e6 * scale
        page.lines([[(LEFT, height), (right, height)]], color=GREY, width=0.6)
        page.text(LEFT - 8, height + 9, str(tick), align="right")
    kinds = [kind for kind in KINDS if any(layer.kind == kind for layer in layers)]
    for number, kind in enumerate(kinds):
        heights = [(k, values[k] * scale) for k, layer in enumerate(layers) if layer.kind == kind]
        page.bars([(LEFT + (k + 0.1) * STEP, bottom - h, 0.8 * STEP, h) for k, h in heights], *KINDS[kind])
        at, bold = y + 56 + 34 * number, kind == "depthwise"
        page.bars([(right + 14, at - 20, 22, 22)], *KINDS[kind])
        page.text(right + 42, at, kind, align="left", bold=bold)
        page.text(948, at, f"{_share(layers, values, kind) or '< 1'} %", align="right", bold=bold)


def _share(layers: Sequence[cost.LayerCost], values: Sequence[int], kind: str) -> int:
    """What the layers of a kind have of the sum, in percent."""
    return round(100 * sum(v for v, layer in zip(values, layers, strict=True) if layer.kind == kind) / sum(values))


def _bands(layers: Sequence[cost.LayerCost]) -> list[tuple[str, int, int]]:
    """The side of the output, the first layer that has it, and the first after them."""
    found, first = [], 0
    for side, group in groupby(layers, lambda layer: layer.out_shape[0]):
        end = first + len(list(group))
        found.append((str(side) if side > 1 else "", first, end))
        first = end
    return found
