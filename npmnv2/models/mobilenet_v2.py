"""MobileNetV2: seven rows of a table, and the builder that reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.models.network import Network, check_arguments, choose_strides, classifier
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBNReLU6, InvertedResidual, check_variant
from npmnv2.nn.layers import Conv2d, PointwiseConv2d
from npmnv2.shapes import Padding, make_divisible
from npmnv2.validate import check_dtype, check_number


class Row(NamedTuple):
    """One row of the architecture: `n` blocks of expansion `t` with `c` channels, the first of stride `s`."""

    t: int
    c: int
    n: int
    s: int


# Sandler et al., arXiv:1801.04381, table 2. The text of section 4 says 19 blocks; the table, and every
# implementation, has 17.
ROWS = (
    Row(t=1, c=16, n=1, s=1),
    Row(t=6, c=24, n=2, s=2),
    Row(t=6, c=32, n=3, s=2),
    Row(t=6, c=64, n=4, s=2),
    Row(t=6, c=96, n=3, s=1),
    Row(t=6, c=160, n=3, s=2),
    Row(t=6, c=320, n=1, s=1),
)
STEM, HEAD = 32, 1280  # channels of the first and the last convolution

# The stride of the stem and of the seven rows. A small image cannot be halved five times, so a variant for small
# images is another line here; nothing else changes.
STRIDES = {
    "imagenet": (2, *(row.s for row in ROWS)),  # 224x224 -> 7x7, as published: the rows' own
    "cifar": (1, 1, 1, 2, 2, 1, 2, 1),  # 32x32 -> 4x4
    "digits": (1, 1, 1, 2, 1, 1, 2, 1),  # 8x8 -> 2x2
}


class BlockPlan(NamedTuple):
    """One inverted residual, with its width multiplier applied: what `plan` yields."""

    name: str
    in_channels: int
    out_channels: int
    stride: int
    t: int
    kernel: int = 3  # side of the depthwise one


Plan = tuple[int, list[BlockPlan], int]  # the channels of the stem, the blocks, the channels of the head


def plan(width_mult: float = 1.0, strides: str | Sequence[int] = "imagenet") -> Plan:
    """Read the table: the channels of the stem, the 17 blocks, the channels of the head.

    Channels are ``make_divisible(width_mult * c)``; the head stays at 1280 for widths below 1 (section 4.1 of the
    paper: "for multipliers less than one, we apply width multiplier to all layers except the very last convolutional
    layer").

    Parameters
    ----------
    width_mult : float
        Width multiplier, more than 0.
    strides : str or sequence of 8 int
        A key of `STRIDES`, or the strides of the stem and the seven rows.

    Returns
    -------
    stem : int
    blocks : list of BlockPlan
        Named ``b<row>.<repeat>``.
    head : int

    Raises
    ------
    ValueError
        If `width_mult` is not positive or `strides` does not name or hold eight strides.

    Examples
    --------
    >>> stem, blocks, head = plan(1.4)
    >>> stem, len(blocks), head, blocks[1]
    (48, 17, 1792, BlockPlan(name='b1.0', in_channels=24, out_channels=32, stride=2, t=6, kernel=3))
    """
    width_mult = check_number(width_mult, "width_mult", 0, 100, "()")
    stem = make_divisible(width_mult * STEM)
    blocks = read_rows(ROWS, resolve_strides(strides)[1:], [3] * len(ROWS), stem, width_mult)
    return stem, blocks, make_divisible(max(width_mult, 1.0) * HEAD)


def read_rows(
    rows: Sequence[Row], strides: Sequence[int], sides: Sequence[int], channels: int, width_mult: float
) -> list[BlockPlan]:
    """The blocks of a table of rows, the width multiplier applied.

    Parameters
    ----------
    rows : sequence of Row
    strides : sequence of int
        One a row, in the place of its own `s`.
    sides : sequence of int
        Of the depthwise kernel, one a row.
    channels : int
        Of the stem, which the first block takes.
    width_mult : float

    Returns
    -------
    list of BlockPlan

    Examples
    --------
    >>> for block in read_rows([Row(t=1, c=16, n=1, s=1), Row(t=6, c=24, n=2, s=2)], [1, 2], [3, 5], 32, 0.5):
    ...     print(*block)
    b0.0 32 8 1 1 3
    b1.0 8 16 2 6 5
    b1.1 16 16 1 6 5
    """
    blocks = []
    for r, (row, s, kernel) in enumerate(zip(rows, strides, sides, strict=True)):
        for repeat in range(row.n):
            out_channels = make_divisible(width_mult * row.c)
            stride = s if repeat == 0 else 1
            blocks.append(BlockPlan(f"b{r}.{repeat}", channels, out_channels, stride, row.t, kernel))
            channels = out_channels
    return blocks


class MobileNetV2(Network):
    """The network as a sequence of named layers; made by `mobilenet_v2`, which says what the arguments mean.

    The layers are called as the paper's table counts them: ``stem``, ``b0.0`` to ``b6.0`` (row, repeat) with
    ``expand``, ``dw`` and ``project`` inside, ``head``, ``pool``, ``dropout``, ``fc``.

    Attributes
    ----------
    config : dict
        The arguments it was built with.
    """


def mobilenet_v2(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    dropout: float = 0.2,
    linear: bool = True,
    shortcut: bool | str = True,
    padding: Padding = 1,
    eps: float = 1e-5,
    momentum: float = 0.1,
    running_var: str = "unbiased",
    dtype: Any = np.float32,
    seed: int = 0,
) -> MobileNetV2:
    """Build a MobileNetV2 with random weights.

    The defaults are torchvision's conventions. For Keras: ``padding="same", eps=1e-3, momentum=0.001,
    running_var="biased", dropout=0``; for TF-slim ``padding="same", eps=1e-3, momentum=0.003`` and 1001 classes (its
    fused batch norm averages the unbiased variance). docs/layouts.md has the whole table.

    Parameters
    ----------
    num_classes : int
    width_mult : float
        Width multiplier; published are 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4.
    strides : str or sequence of 8 int
        ``"imagenet"`` as published, ``"cifar"`` for 32x32, ``"digits"`` for 8x8, or the strides of the stem and rows.
    in_channels : int
    dropout : float
        The share dropped before the classifier.
    linear, shortcut
        Of every block, see `blocks.InvertedResidual`; the published network has the defaults.
    padding : 1 or "same"
        Of the 3x3 convolutions: 1 as PyTorch, "same" as TensorFlow. They differ at stride 2.
    eps, momentum, running_var
        Of every batch norm, see `layers.BatchNorm`.
    dtype : float32 or float64
    seed : int
        The same seed gives the same weights and the same dropout masks, in either dtype.

    Returns
    -------
    MobileNetV2

    Raises
    ------
    ValueError, TypeError
        For an argument that makes no network.

    Notes
    -----
    At width 1.0 and 224x224: 3,504,872 trainable parameters (3,538,984 with the running statistics) and 300,774,272
    multiply-adds.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", arXiv:1801.04381.

    Examples
    --------
    >>> model = mobilenet_v2()
    >>> sum(p.value.size for p in model.parameters()), sum(v.size for v in model.state_dict().values())
    (3504872, 3538984)
    """
    config = dict(locals(), dtype=check_dtype(dtype).name)  # the arguments, as given
    check_arguments(num_classes, in_channels, padding, seed)
    check_variant(linear, shortcut)
    layers = make_layers(
        config, plan(width_mult, strides), resolve_strides(strides)[0], linear=linear, shortcut=shortcut
    )
    return MobileNetV2(layers, config)


def make_layers(config: Mapping[str, Any], plan: Plan, stride: int, **variant: Any) -> dict[str, Layer]:
    """The layers of a plan: stem, inverted residuals, head, classifier.

    Parameters
    ----------
    config : mapping
        The builder's arguments.
    plan : Plan
    stride : int
        Of the stem.
    **variant
        `linear` and `shortcut` of `blocks.InvertedResidual`.

    Returns
    -------
    dict of str -> Layer
        By their names, in the order they run.
    """
    num_classes, in_channels, dropout, seed = (config[n] for n in ("num_classes", "in_channels", "dropout", "seed"))
    padding, dtype = config["padding"], config["dtype"]
    bn = {name: config[name] for name in ("eps", "momentum", "running_var")}
    rng = np.random.default_rng(seed)
    stem, blocks, head = plan

    layers: dict[str, Layer] = {}
    conv = Conv2d(in_channels, stem, 3, stride=stride, padding=padding, rng=rng, dtype=dtype)
    layers["stem"] = ConvBNReLU6(conv, stem, dtype=dtype, **bn)
    common = {**variant, "padding": padding, "rng": rng, "dtype": dtype, **bn}
    for b in blocks:
        layers[b.name] = InvertedResidual(
            b.in_channels, b.out_channels, stride=b.stride, t=b.t, kernel=b.kernel, **common
        )
    last = PointwiseConv2d(blocks[-1].out_channels, head, rng=rng, dtype=dtype)
    layers["head"] = ConvBNReLU6(last, head, dtype=dtype, **bn)
    return layers | classifier(head, num_classes, dropout, seed, rng, dtype)


def resolve_strides(strides: str | Sequence[int]) -> tuple[int, ...]:
    """The stride of the stem and of the seven rows, from a name in `STRIDES` or from the caller.

    Examples
    --------
    >>> resolve_strides("digits")
    (1, 1, 1, 2, 1, 1, 2, 1)
    """
    return choose_strides(strides, STRIDES, 1 + len(ROWS))
