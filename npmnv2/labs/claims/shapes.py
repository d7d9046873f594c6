"""Claims about what stands where, which layer sees what, and which sizes come out."""

import numpy as np

from npmnv2 import cost, ops
from npmnv2.labs.claims.claim import Verdict
from npmnv2.models import efficientnet_lite as build_lite
from npmnv2.models import mobilenet_v2 as build_v2
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.shapes import conv_geometry

BLOCK = "b1.1"  # the second block of the row with 24 channels: with a shortcut


def _block(name: str = BLOCK) -> list[cost.LayerCost]:
    """The layers of a block of MobileNetV2."""
    return [layer for layer in cost.mobilenet_v2() if layer.name.startswith(f"{name}.")]


def _blocks() -> list[list[cost.LayerCost]]:
    return [_block(b.name) for b in plan()[1]]


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def widens_the_image() -> Verdict:
    """Whether rows and columns grow inside a block."""
    grows = any(layer.out_shape[0] > layer.in_shape[0] for block in _blocks() for layer in block)
    block = _block()
    ways = ", ".join(_sizes(layer.out_shape) for layer in block)
    return Verdict(grows, f"A block makes {ways} of {_sizes(block[0].in_shape)}: the channels in the middle are many.")


def narrows_first() -> Verdict:
    """Channels before and after the first 1x1 of a block."""
    block = _block()
    C, wide, M = block[0].in_shape[2], block[0].out_shape[2], block[-1].out_shape[2]
    return Verdict(wide < C, f"From {C} to {wide} channels, and at the end back to {M}: so it is called inverted.")


def middle_channels() -> Verdict:
    """On how many channels the 3x3 of a block runs."""
    depthwise = next(layer for layer in _block() if layer.kind == "depthwise")
    C = _block()[0].in_shape[2]
    return Verdict(
        depthwise.in_shape[2], f"The expansion makes {depthwise.in_shape[2]} of {C} channels, and the 3x3 keeps them."
    )


def middle_is_separable() -> Verdict:
    """What stands between the two 1x1."""
    kinds = [layer.kind for layer in _block()]
    return Verdict(
        kinds[1:-1] == ["depthwise", "pointwise"], f"A block is {', '.join(kinds)}: between the two stands one layer."
    )


def returns_to_its_input() -> Verdict:
    """Channels into and out of every block."""
    same = [b.name for b in plan()[1] if b.in_channels == b.out_channels]
    return Verdict(
        len(same) == len(plan()[1]),
        f"So it is in {len(same)} of {len(plan()[1])} blocks; the first of a row changes them.",
    )


def never_grows() -> Verdict:
    """Rows and columns through the network."""
    sides = [layer.out_shape[0] for layer in cost.mobilenet_v2()]
    falls = [side for k, side in enumerate(sides) if k == 0 or side != sides[k - 1]]
    return Verdict(
        falls == sorted(falls, reverse=True), f"The side of the image is in turn {', '.join(map(str, falls))}."
    )


def ends_with_pool_and_softmax() -> Verdict:
    """Layers with weights after the last block."""
    after = [layer for layer in cost.mobilenet_v2() if "." not in layer.name][1:]
    weights, whole = cost.total(after).weights, cost.total(cost.mobilenet_v2()).weights
    names = " and ".join(f"{layer.name} ({layer.in_shape[2]} to {layer.out_shape[2]})" for layer in after)
    return Verdict(
        not after, f"There are {names} with {weights / whole:.0%} of all weights; the mean stands between them."
    )


def projection_keeps_the_size() -> Verdict:
    """Rows and columns before and after each projection."""
    changed = [block[-1].name for block in _blocks() if block[-1].in_shape[:2] != block[-1].out_shape[:2]]
    last = _block()[-1]
    return Verdict(
        not changed,
        f"One makes {_sizes(last.out_shape)} of {_sizes(last.in_shape)}; {len(changed)} of {len(_blocks())} change the "
        "size.",
    )


def who_mixes_what() -> Verdict:
    """One input value is changed: which outputs of a depthwise and of a pointwise convolution follow."""
    rng = np.random.default_rng(0)
    x, wd, wp = rng.normal(size=(1, 5, 5, 3)), rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 3))
    other = x.copy()
    other[0, 2, 2, 1] += 1
    dw = ops.depthwise_conv2d_forward(x, wd, padding=1)[0] != ops.depthwise_conv2d_forward(other, wd, padding=1)[0]
    pw = ops.pointwise_conv2d_forward(x, wp)[0] != ops.pointwise_conv2d_forward(other, wp)[0]
    (dw_pixels, dw_channels), (pw_pixels, pw_channels) = (
        (int(changed.any(axis=3).sum()), int(changed.any(axis=(0, 1, 2)).sum())) for changed in (dw, pw)
    )
    return Verdict(
        dw_channels > 1 and pw_pixels > 1,
        f"One input value reaches {dw_pixels} pixels in {dw_channels} channel by the depthwise, {pw_pixels} pixel in "
        f"{pw_channels} channels by the pointwise one.",
    )


def standard_in_v1() -> Verdict:
    """Kinds of the layers of V1."""
    layers = cost.mobilenet_v1()
    found = [layer.name for layer in layers if layer.kind == "standard"]
    block = [layer.kind for layer in layers if layer.name.startswith("b1.")]
    return Verdict(
        any("." in name for name in found),
        f"A block is {' and '.join(block)}; the standard convolutions of the whole network are: {', '.join(found)}.",
    )


def two_pointwise() -> Verdict:
    """What two 1x1 in a row see."""
    pointwise = cost.convolution("pointwise", 28, 28, 8, 8)
    standard = cost.convolution("standard", 28, 28, 8, 8)
    fields = [cost.receptive_fields(layers)[-1].size for layers in ([pointwise, pointwise], [standard])]
    return Verdict(
        fields[0] == fields[1],
        f"An output of two 1x1 sees {fields[0]}x{fields[0]} pixels, that of a 3x3 {fields[1]}x{fields[1]}: some layer "
        "must look to the side, and that is the depthwise one.",
    )


def v1_with_shortcuts() -> Verdict:
    """The layers of a block, in V1 and V2."""
    v1 = [layer.kind for layer in cost.mobilenet_v1() if layer.name.startswith("b2.")]
    v2 = [layer.kind for layer in _block()]
    part = cost.total(layer for layer in cost.mobilenet_v2() if layer.name.endswith("expand")).madds
    share = part / cost.total(cost.mobilenet_v2()).madds
    return Verdict(
        v1 == v2,
        f"V1's block is {', '.join(v1)}, V2's {', '.join(v2)}; the expansions alone have {share:.0%} of V2's "
        "multiply-adds, and the projection is linear.",
    )


def v1_was_first() -> Verdict:
    """Depthwise layers of V1, and the dates in the papers' numbers."""
    first, second = "1704.04861", "1801.04381"
    found = sum(layer.kind == "depthwise" for layer in cost.mobilenet_v1())
    return Verdict(
        found > 0 and first < second, f"V1, arXiv:{first}, has {found} depthwise layers; V2 is arXiv:{second}."
    )


def stride_fits() -> Verdict:
    """A 3x3 of stride 2 and padding 1 on 224 pixels."""
    side, stride, padding = 224, 2, 1
    found = conv_geometry(side, side, 3, 3, stride, padding).OH
    left = side + 2 * padding - 3
    return Verdict(
        found == 112,
        f"{left} / {stride} is not whole; the floor of it, plus one, is {found}: the last row of padding is not seen.",
    )


def padded_pointwise() -> Verdict:
    """A 1x1 with a padding of 1."""
    side = 14
    found = conv_geometry(side, side, 1, 1, padding=1).OH
    return Verdict(
        found == side + 2, f"{side}x{side} pixels become {found}x{found}, with a border that sees only zeros."
    )


def border_windows() -> Verdict:
    """Windows of a 3x3 with padding 1 on 7x7 pixels that see some of the padding, in per cent."""
    seen = ops.depthwise_conv2d_forward(np.ones((1, 7, 7, 1)), np.ones((3, 3, 1)), padding=1)[0]
    most = int(seen.max())
    border, whole = int((seen < most).sum()), seen.size
    return Verdict(100 * border / whole, f"{border} of {whole} windows see fewer than {most} pixels of the image.")


def last_stride_of_v1() -> Verdict:
    """The last depthwise layer of V1."""
    layers = cost.mobilenet_v1()
    last = [layer for layer in layers if layer.kind == "depthwise"][-1]
    return Verdict(
        last.stride == 2,
        f"It makes {_sizes(last.out_shape)} of {_sizes(last.in_shape)}, as the table's own sizes say: its stride is "
        f"{last.stride}.",
    )


def shortcut_alone() -> Verdict:
    """A block whose projection gives zeros."""
    block = InvertedResidual(8, 8, stride=1, t=6, rng=np.random.default_rng(0), dtype=np.float64)
    block.project.bn.gamma.value[:] = 0
    x = np.random.default_rng(1).normal(size=(2, 5, 5, 8))
    off = float(np.abs(block(x) - x).max())
    return Verdict(
        off == 0, f"The output differs from the input by {off:g}: what the block adds is zero, the input stays."
    )


def lite_has_the_same_block() -> Verdict:
    """The classes of the blocks of two small builds."""
    kinds = [
        {type(layer).__name__ for name, layer in model.children().items() if name.startswith("b")}
        for model in (build_v2(10, 0.1), build_lite(10, 0.1))
    ]
    number = sum(name.startswith("b") for name in build_lite(10, 0.1).children())
    return Verdict(kinds[0] == kinds[1], f"All its {number} blocks are {', '.join(kinds[1])}, as those of MobileNetV2.")
