"""Figures of costs: where multiply-adds and bytes sit, what limits a layer, what a block in parts holds."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.show.figures.page import GREY, LIGHT, WIDTH, Page, Point
from npmnv2.show.plots import BLUE, KINDS, ORANGE
from npmnv2.show.roofline import Roofline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT, STEP = 62, 11.2  # points: where the first bar begins, and from bar to bar
TALLEST = 128  # points
# Measured: `python -m npmnv2 summary --time --threads 1` prints both for the machine it runs on. The copy reads and
# writes 64 MB, more than the caches of this processor hold.
PROCESSOR, MACHINE = "AMD EPYC", Roofline(1, 106.6e9, {1 << 26: 44.0e9})
LAYERS = ("fc", "b1.0.dw", "b1.1.dw", "head")  # that are marked on the roof; the middle ones have stride 2 and 1
SPLIT, PARTS = "b1.0", (1, 2, 3, 6)  # the block that holds most, and in how many parts


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


def roofline() -> "Figure":
    """The limit of one machine by operations a byte, its ridge, and what it allows four layers."""
    peak, speed = MACHINE.flop_per_s / 1e9, MACHINE.copy_speed(1 << 26) / 1e9
    page = Page("Bytes limit depthwise layers, at stride 1 barely")
    left, right = 0.25, 32
    page.lines([[_at(left, 120), _at(left, 10), _at(right, 10)]])
    for intensity in (0.25, 0.5, 1, 2, 4, 8, 16, 32):
        page.text(_at(intensity, 10)[0], 426, f"{intensity:g}")
    for tick in (10, 20, 40, 80):
        page.text(_at(left, tick)[0] - 10, _at(left, tick)[1] + 9, str(tick), align="right")
    page.text(_at(left, 10)[0] + 12, 92, "GFLOP/s", align="left")
    page.text(WIDTH / 2, 458, "FLOP a byte (a multiply-add is 2 FLOP)")
    ridge = peak / speed
    x, y = _at(ridge, peak)
    page.text(x, y - 14, f"ridge: {ridge:.1f} FLOP a byte")
    page.lines([[_at(left, left * speed), (x, y), _at(right, peak)]], width=4)
    page.text(_at(right, peak)[0], y - 20, f"products: {peak:.0f}", align="right")
    layers = {layer.name: layer for layer in cost.mobilenet_v2()}
    for name in LAYERS:
        _mark(page, layers[name])
    page.text(82, 190, f"copies: {speed:.0f} GB/s", align="left")
    page.text(WIDTH / 2, 494, f"Line: measured, one thread of an {PROCESSOR}, float32")
    page.text(WIDTH / 2, 528, "(products; copies of 64 MB). Diamonds: what it allows")
    return page.figure


def _mark(page: Page, layer: cost.LayerCost) -> None:
    """A layer on the roof, and what it is: right of it or, where the roof is level, well below."""
    limit = MACHINE.limit(2 * layer.madds, layer.bytes)
    speed = 2 * layer.madds / limit.seconds / 1e9
    x, y = _at(2 * layer.madds / layer.bytes, speed)
    page.shape([(x - 11, y), (x, y - 11), (x + 11, y), (x, y + 11)], KINDS[layer.kind][0], 2)
    what = f"stride {layer.stride}" if layer.kind == "depthwise" else layer.kind
    words = f"{layer.name}, {what}: at most {speed:.0f}"
    if limit.by == "flop":
        page.text(WIDTH - 30, y + 72, words, align="right")
    else:
        page.text(x + 20, y + 26, words, align="left")


def _at(intensity: float, speed: float) -> Point:
    """A place on the logarithmic axes of the roofline, of FLOP a byte and GFLOP a second."""
    return 70 + 120 * math.log2(intensity / 0.25), 390 - 80 * math.log2(speed / 10)


def memory_in_parts() -> "Figure":
    """What a block holds at once, whole and in parts: the ends stay, the middle shrinks."""
    block = [layer for layer in cost.mobilenet_v2() if layer.name.startswith(f"{SPLIT}.")]
    steps = [cost.memory.inverted_residual(block, parts) for parts in PARTS]
    page = Page("In t parts the wide middle takes 1/t of its memory")
    bottom, scale, width = 404, 300 / steps[0].bytes, 120
    for k, (parts, step) in enumerate(zip(PARTS, steps, strict=True)):
        x = 90 + 220 * k
        ends, inside = scale * (step.input + step.output), scale * step.inside
        page.bars([(x, bottom - ends, width, ends)], BLUE)
        page.bars([(x, bottom - ends - inside, width, inside)], ORANGE, "//")
        page.text(x + width / 2, bottom - ends - inside - 12, f"{step.bytes / 1e6:.1f} MB", bold=True)
        page.text(x + width / 2, bottom + 34, f"t = {parts}")
    page.lines([[(60, bottom), (WIDTH - 60, bottom)]])
    for x, color, hatch, words in ((90, ORANGE, "//", "its wide middle"), (420, BLUE, "", "its input and output")):
        page.bars([(x, 462, 34, 22)], color, hatch)
        page.text(x + 46, 482, words, align="left")
    H, W, C = block[0].in_shape
    page.text(WIDTH / 2, 526, f"By the formula: block {SPLIT} of MobileNetV2, float32, {H}x{W}x{C} in")
    return page.figure
