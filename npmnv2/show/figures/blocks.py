"""Figures of the block and of the network: widths against the classic block's, shapes and costs, parts, 17 blocks."""

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from npmnv2 import cost
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.show.figures.page import GREY, LIGHT, WIDTH, Page
from npmnv2.show.plots import BLUE, KINDS, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLOCK = "b2.1"  # a block with a shortcut, of MobileNetV2 1.0
# He et al., "Deep residual learning for image recognition", arXiv:1512.03385, table 1, conv2_x of ResNet-50.
CLASSIC = (256, 64, 64, 256)
PARTS = 3  # in which the middle of that block is drawn
IN_PARTS = "b4.0"  # the block that is drawn in them: of stride 1, and without a shortcut
TENSOR = "#CFE3F1"  # light, for what is no message
SHAPES = "//"  # the hatch of the blocks that change the shape


def inverted_residual() -> "Figure":
    """A residual bottleneck of ResNet beside an inverted residual: channels as heights, and the shortcut."""
    page = Page("Inverted: the shortcut joins the narrow ends")
    (block,) = (b for b in plan()[1] if b.name == BLOCK)
    wide = block.t * block.in_channels
    inverted = (block.in_channels, wide, wide, block.out_channels)
    panels = (
        ("Classic: ResNet-50", CLASSIC, "standard", ORANGE),
        ("Inverted: MobileNetV2", inverted, "depthwise", BLUE),
    )
    for x, (heading, channels, kind, color) in zip((WIDTH / 4, 3 * WIDTH / 4), panels, strict=True):
        page.text(x, 94, heading, bold=True)
        places = [x + step for step in (-180, -60, 60, 180)]
        _widths(page, places, channels, color)
        for step, kernel in zip((-120, 0, 120), ("1x1", "3x3", "1x1"), strict=True):
            page.text(x + step, 456, kernel)
        page.text(x, 486, kind)
    page.lines([[(WIDTH / 2, 76), (WIDTH / 2, 490)]], color=GREY, width=0.8)
    page.text(WIDTH / 2, 526, f"Height: channels. MobileNetV2: a block of its row {BLOCK[1]}.")
    return page.figure


def _widths(page: Page, places: list[float], channels: tuple[int, ...], color: str) -> None:
    """Four bars about one middle line, arrows between them, the shortcut above them."""
    middle, scale, above = 280, 0.8, 120
    for place, number in zip(places, channels, strict=True):
        half = number * scale / 2
        page.shape(
            [(place + dx, middle + dy) for dx, dy in ((-18, -half), (18, -half), (18, half), (-18, half))], color
        )
        page.text(place, middle + half + 30, str(number), bold=True)
    for a, b in pairwise(places):
        page.arrow([(a + 22, middle), (b - 22, middle)])
    start, end = (middle - channels[k] * scale / 2 - 4 for k in (0, -1))
    page.arrow([(places[0], start), (places[0], above), (places[-1], above), (places[-1], end)], width=3)
    page.text(sum(places) / 4, above + 32, "shortcut")


def block_shapes() -> "Figure":
    """The shapes of the arrays and kernels through one block, and what its convolutions cost."""
    network = cost.mobilenet_v2()
    layers = [layer for layer in network if layer.name.startswith(f"{BLOCK}.")]
    middle, all_ = layers[1].madds / 1e6, cost.total(layers).madds / 1e6
    page = Page(f"The 3x3 costs {middle:.1f} of {all_:.0f} million multiply-adds")
    shapes = [layers[0].in_shape, *(layer.out_shape for layer in layers)]
    scale, gap = 1.1, 107  # points a channel or a pixel; points between two arrays
    starts = [90 - shapes[0][2] * scale / 2]
    for _, _, C in shapes[:-1]:
        starts.append(starts[-1] + C * scale + gap)
    for start, (H, W, C) in zip(starts, shapes, strict=True):
        _cuboid(page, start, 146, H * scale, W * scale, C * scale)
        page.text(start + C * scale / 2, 112, f"{H}x{W}x{C}", bold=True)
    for k, layer in enumerate(layers):
        end, start = starts[k] + shapes[k][2] * scale, starts[k + 1]
        page.arrow([(end + 20, 158), (start - 8, 158)], width=2.5)
        _convolution(page, (end + start) / 2, layer, 140 / layers[0].madds)
    image = "x".join(map(str, network[0].in_shape[:2]))
    page.text(WIDTH / 2, 526, f"A block of row {BLOCK[1]} of MobileNetV2 1.0, {image}. Boxes to scale.")
    return page.figure


def _cuboid(page: Page, x: float, y: float, height: float, depth: float, width: float) -> None:
    """An array: channels to the right, height down, width into the page, where lengths are halved."""
    depth /= 2 * 2**0.5
    page.shape([(x, y), (x + depth, y - depth), (x + width + depth, y - depth), (x + width, y)], TENSOR)
    right = x + width
    page.shape(
        [(right, y), (right + depth, y - depth), (right + depth, y - depth + height), (right, y + height)], TENSOR
    )
    page.shape([(x, y), (right, y), (right, y + height), (x, y + height)], "white")


def _convolution(page: Page, x: float, layer: cost.LayerCost, scale: float) -> None:
    """What stands under an arrow: kind, the kernel's shape, and the cost as a bar."""
    C, M = layer.in_shape[2], layer.out_shape[2]
    kernel = f"({layer.kernel}, {layer.kernel}, {C})" if layer.kind == "depthwise" else f"({C}, {M})"
    page.text(x, 220, f"{layer.kernel}x{layer.kernel} {layer.kind}")
    page.text(x, 254, f"w: {kernel}")
    bottom, height = 478, layer.madds * scale
    page.bars([(x - 40, bottom - height, 80, height)], *KINDS[layer.kind])
    page.text(x, bottom - height - 8, f"{layer.madds / 1e6:.1f} million", bold=True)


def network() -> "Figure":
    """The 17 blocks of MobileNetV2: channels as heights, the resolution below, and which have no shortcut."""
    stem, blocks, head = plan()
    layers = cost.mobilenet_v2()
    image = "x".join(map(str, layers[0].in_shape[:2]))
    sides = {layer.name.rpartition(".")[0]: layer.out_shape[0] for layer in layers}
    changing = [block.stride > 1 or block.in_channels != block.out_channels for block in blocks]
    page = Page(f"{sum(changing)} of {len(blocks)} blocks change the shape and have no shortcut")
    left, step, bottom, scale = 60, 50.5, 420, 0.9
    end = left + step * len(blocks)
    k = 0
    for number, (side, group) in enumerate(groupby(sides[block.name] for block in blocks)):
        n = len(list(group))
        x = left + k * step
        if number % 2 == 0:
            page.bars([(x, 70, n * step, bottom - 70)], LIGHT)
        page.text(x + n * step / 2, bottom + 30, str(side))
        k += n
    for k, block in enumerate(blocks):
        height = block.out_channels * scale
        color, hatch = (ORANGE, SHAPES) if changing[k] else (BLUE, "")
        page.bars([(left + (k + 0.1) * step, bottom - height, 0.8 * step, height)], color, hatch)
        if changing[k]:
            page.text(left + (k + 0.5) * step, bottom - height - 8, str(block.out_channels), bold=True)
    page.lines([[(left, bottom), (end, bottom)]])
    for y, is_changing, words in ((110, True, "no shortcut"), (150, False, "shortcut")):
        color, hatch = (ORANGE, SHAPES) if is_changing else (BLUE, "")
        page.bars([(130, y - 20, 34, 22)], color, hatch)
        page.text(176, y, words, align="left")
    page.text(WIDTH / 2, 490, "Bars: channels out of a block. Below: the side in pixels.")
    page.text(WIDTH / 2, 526, f"MobileNetV2 1.0, {image}. Not drawn: stem ({stem}), head ({head}).")
    return page.figure


def in_parts() -> "Figure":
    """The block in parts: the part of the middle that is there, between the ends, and outlines where others will be."""
    page = Page("Only one part of the wide middle is there at a time")
    (block,) = (b for b in plan()[1] if b.name == IN_PARTS)
    C, M, size = block.in_channels, block.out_channels, block.t * block.in_channels // PARTS
    middle, scale, there = 276, 0.85, 1
    height, top = size * scale, 276 - PARTS * size * scale / 2
    columns = {"x": (90, C), "wide": (350, 0), "filtered": (620, 0), "out": (866, M)}
    for name, (x, channels) in columns.items():
        if channels:
            page.shape(_bar(x, middle - channels * scale / 2, channels * scale), BLUE)
            page.text(x, middle - channels * scale / 2 - 12, str(channels), bold=True)
        else:
            outlines = [_bar(x, top + k * height, height) for k in range(PARTS) if k != there]
            page.lines([[*outline, outline[0]] for outline in outlines], color=GREY, dashed=True)
            page.shape(_bar(x, top + there * height, height), ORANGE, 3)
            page.text(x, middle + 10, str(size), bold=True)
        page.text(x, 474, name, code=True)
    ends = [x for x, _ in columns.values()]
    for (a, b), words in zip(pairwise(ends), ("its columns", "its filters", "its rows"), strict=True):
        page.arrow([(a + 36, middle), (b - 36, middle)], width=2.5)
        page.text((a + b) / 2, middle - 20, words)
    for x, name in zip(ends, ("we", "wd", "wp"), strict=False):
        page.text(x + 135, middle + 40, f"of {name}")
    page.text(WIDTH / 2, 526, f"Height: channels. Dashed: the {PARTS - 1} parts that are not there.")
    return page.figure


def _bar(x: float, y: float, height: float) -> list[tuple[float, float]]:
    return [(x - 30, y), (x + 30, y), (x + 30, y + height), (x - 30, y + height)]
