"""MobileNetV1: thirteen rows of a table, and two networks made from it.

`mobilenet_v1` reads every row as a separable block. `mobilenet_v1_conv` reads the same row as one standard convolution:
the paper's "Conv MobileNet", which shows what separating space and channels saves and costs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.models.network import Network, check_arguments, check_padding, choose_strides, classifier
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBNReLU6, SeparableConv
from npmnv2.nn.layers import Conv2d
from npmnv2.shapes import Padding
from npmnv2.validate import check_dtype, check_number


class Row(NamedTuple):
    """One row of the architecture: a 3x3 convolution of stride `s` to `c` channels, separable or standard."""

    c: int
    s: int


# Howard et al., arXiv:1704.04861, table 1, two of its lines a row here. It prints "s2" for its last depthwise
# convolution, from 7x7x1024 to 7x7x1024: a misprint for s1, as its own sizes and the authors' code show.
ROWS = (
    Row(c=64, s=1),
    Row(c=128, s=2),
    Row(c=128, s=1),
    Row(c=256, s=2),
    Row(c=256, s=1),
    Row(c=512, s=2),
    Row(c=512, s=1),
    Row(c=512, s=1),
    Row(c=512, s=1),
    Row(c=512, s=1),
    Row(c=512, s=1),
    Row(c=1024, s=2),
    Row(c=1024, s=1),
)
STEM = 32  # channels of the first convolution
LEAST = 8  # no layer gets thinner than this: min_depth in the authors' code

# The stride of the stem and of the thirteen rows, as in `mobilenet_v2.STRIDES`.
STRIDES = {
    "imagenet": (2, *(row.s for row in ROWS)),  # 224x224 -> 7x7, as published
    "cifar": (1, 1, 1, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1),  # 32x32 -> 4x4
    "digits": (1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1),  # 8x8 -> 2x2
}


class BlockPlan(NamedTuple):
    """One row with its width multiplier applied: what `plan` yields."""

    name: str
    in_channels: int
    out_channels: int
    stride: int


def plan(width_mult: float = 1.0, strides: str | Sequence[int] = "imagenet") -> tuple[int, list[BlockPlan]]:
    """Read the table: the channels of the stem, and the 13 blocks.

    Channels are ``max(int(width_mult * c), 8)``, the authors' rule for V1 [1]_. V2's rule, multiples of 8, came later;
    at the published widths, 0.25, 0.5, 0.75 and 1, the two agree.

    Parameters
    ----------
    width_mult : float
        Width multiplier, more than 0.
    strides : str or sequence of 14 int
        A key of `STRIDES`, or the strides of the stem and the thirteen rows.

    Returns
    -------
    stem : int
    blocks : list of BlockPlan
        Named ``b1`` to ``b13``, as the authors number them: their ``Conv2d_0`` is the stem.

    Raises
    ------
    ValueError
        If `width_mult` is not positive or `strides` does not name or hold fourteen strides.

    References
    ----------
    .. [1] tensorflow/models, research/slim/nets/mobilenet_v1.py, `depth = lambda d: max(int(d * depth_multiplier),
           min_depth)`.

    Examples
    --------
    >>> stem, blocks = plan(0.75)
    >>> stem, len(blocks), blocks[1]
    (24, 13, BlockPlan(name='b2', in_channels=48, out_channels=96, stride=2))
    """
    width_mult = check_number(width_mult, "width_mult", 0, 100, "()")
    row_strides = resolve_strides(strides)[1:]
    stem = max(int(width_mult * STEM), LEAST)
    blocks, channels = [], stem
    for k, (row, s) in enumerate(zip(ROWS, row_strides, strict=True), 1):
        out_channels = max(int(width_mult * row.c), LEAST)
        blocks.append(BlockPlan(f"b{k}", channels, out_channels, s))
        channels = out_channels
    return stem, blocks


class MobileNetV1(Network):
    """The network as a sequence of named layers; made by `mobilenet_v1`, which says what the arguments mean.

    The layers are ``stem``, ``b1`` to ``b13`` with ``dw`` and ``pw`` inside, ``pool``, ``dropout``, ``fc``.

    Attributes
    ----------
    config : dict
        The arguments it was built with.
    """


class ConvMobileNet(Network):
    """The convolutional twin of MobileNetV1; made by `mobilenet_v1_conv`.

    The layers are ``stem``, ``b1`` to ``b13``, ``pool``, ``dropout``, ``fc``.

    Attributes
    ----------
    config : dict
        The arguments it was built with.
    """


def mobilenet_v1(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    dropout: float = 0.001,
    padding: Padding = 1,
    eps: float = 1e-5,
    momentum: float = 0.1,
    running_var: str = "unbiased",
    dtype: Any = np.float32,
    seed: int = 0,
) -> MobileNetV1:
    """Build a MobileNetV1 with random weights.

    The arguments are those of `mobilenet_v2`, with the same defaults but for the dropout. For the authors' own
    conventions: ``padding="same", eps=1e-3, momentum=0.0003`` and 1001 classes.

    Parameters
    ----------
    num_classes : int
    width_mult : float
        Width multiplier; published are 0.25, 0.5, 0.75 and 1.0. See `plan` for the rounding.
    strides : str or sequence of 14 int
        ``"imagenet"`` as published, ``"cifar"`` for 32x32, ``"digits"`` for 8x8, or the strides of the stem and rows.
    in_channels : int
    dropout : float
        The share dropped before the classifier; the authors keep 0.999.
    padding : 1, "same" or "keras_v1"
        Of the 3x3 convolutions: 1 as PyTorch, "same" as TensorFlow. They differ at stride 2. "keras_v1" as Keras's
        MobileNetV1: "same" in the stem, "even" of `shapes.resolve_padding` in the blocks, which differs from "same"
        where a strided layer sees an odd size.
    eps, momentum, running_var
        Of every batch norm, see `layers.BatchNorm`.
    dtype : float32 or float64
    seed : int
        The same seed gives the same weights and the same dropout masks, in either dtype.

    Returns
    -------
    MobileNetV1

    Raises
    ------
    ValueError, TypeError
        For an argument that makes no network.

    Notes
    -----
    At width 1.0 and 224x224: 4,231,976 trainable parameters and 568,740,352 multiply-adds. The activation is ReLU6, see
    `blocks.SeparableConv`.

    References
    ----------
    .. [1] Howard et al., "MobileNets: Efficient convolutional neural networks for mobile vision applications",
           arXiv:1704.04861.

    Examples
    --------
    >>> model = mobilenet_v1()
    >>> sum(p.value.size for p in model.parameters()), sum(v.size for v in model.state_dict().values())
    (4231976, 4253864)
    """
    return MobileNetV1(*_build(dict(locals()), SeparableConv))


def mobilenet_v1_conv(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    dropout: float = 0.001,
    padding: Padding = 1,
    eps: float = 1e-5,
    momentum: float = 0.1,
    running_var: str = "unbiased",
    dtype: Any = np.float32,
    seed: int = 0,
) -> ConvMobileNet:
    """Build the convolutional twin of MobileNetV1: the same table, a standard 3x3 convolution for every row.

    Parameters
    ----------
    num_classes, width_mult, strides, in_channels, dropout, padding, eps, momentum, running_var, dtype, seed
        As in `mobilenet_v1`.

    Returns
    -------
    ConvMobileNet

    Raises
    ------
    ValueError, TypeError
        For an argument that makes no network.

    Notes
    -----
    At width 1.0 and 224x224: 4,867,293,184 multiply-adds, 8.6 times as many as `mobilenet_v1`, and 29,281,120 weights,
    7.0 times as many. The paper trained it for one comparison: 71.7 % top-1 against 70.6 %.

    References
    ----------
    .. [1] Howard et al., arXiv:1704.04861, table 4, "Conv MobileNet".

    Examples
    --------
    >>> model = mobilenet_v1_conv(10, 0.25)
    >>> model(np.zeros((1, 32, 48, 3), np.float32)).shape
    (1, 10)
    """
    return ConvMobileNet(*_build(dict(locals()), _standard))


def _standard(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    rng: np.random.Generator,
    padding: Padding,
    dtype: Any,
    **bn: Any,
) -> Layer:
    """What `SeparableConv` replaces."""
    conv = Conv2d(in_channels, out_channels, 3, stride=stride, padding=padding, rng=rng, dtype=dtype)
    return ConvBNReLU6(conv, out_channels, dtype=dtype, **bn)


def _build(arguments: dict[str, Any], block: Callable[..., Layer]) -> tuple[dict[str, Layer], dict[str, Any]]:
    """The layers, with `block` for every row, and the configuration."""
    config = dict(arguments, dtype=check_dtype(arguments["dtype"]).name)  # the arguments, as given
    num_classes, in_channels, seed = (arguments[name] for name in ("num_classes", "in_channels", "seed"))
    of_stem, of_blocks = resolve_paddings(arguments["padding"])
    check_arguments(num_classes, in_channels, of_stem, seed)
    options = {name: arguments[name] for name in ("dtype", "eps", "momentum", "running_var")}
    options["rng"] = np.random.default_rng(seed)
    stem, blocks = plan(arguments["width_mult"], arguments["strides"])

    layers: dict[str, Layer] = {}
    layers["stem"] = _standard(
        in_channels, stem, stride=resolve_strides(arguments["strides"])[0], padding=of_stem, **options
    )
    for b in blocks:
        layers[b.name] = block(b.in_channels, b.out_channels, stride=b.stride, padding=of_blocks, **options)
    last = blocks[-1].out_channels
    layers |= classifier(last, num_classes, arguments["dropout"], seed, options["rng"], arguments["dtype"])
    return layers, config


def resolve_paddings(padding: Padding) -> tuple[Padding, Padding]:
    """The padding of the stem and that of the blocks, from the argument of the builders.

    Raises
    ------
    ValueError
        If it is none of the three.

    Examples
    --------
    >>> resolve_paddings("same"), resolve_paddings("keras_v1")
    (('same', 'same'), ('same', 'even'))
    """
    check_padding(padding, "keras_v1")
    return ("same", "even") if padding == "keras_v1" else (padding, padding)


def resolve_strides(strides: str | Sequence[int]) -> tuple[int, ...]:
    """The stride of the stem and of the thirteen rows, from a name in `STRIDES` or from the caller.

    Examples
    --------
    >>> resolve_strides("imagenet")
    (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    """
    return choose_strides(strides, STRIDES, 1 + len(ROWS))
