"""EfficientNet-Lite: MobileNetV2's block, seven other rows with a column `k`, and a multiplier for the depth.

What makes it an EfficientNet is how the rows were found, by a search, and how they are scaled: width, depth and
resolution together. "Lite" is what was left out again: no squeeze-and-excitation, ReLU6 instead of swish, and a stem
and a head that keep their width. What remains is MobileNetV2 with another table.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.models.mobilenet_v2 import STRIDES as STRIDES_V2
from npmnv2.models.mobilenet_v2 import Plan, make_layers, read_rows
from npmnv2.models.mobilenet_v2 import Row as RowV2
from npmnv2.models.network import Network, check_arguments, choose_strides
from npmnv2.shapes import Padding
from npmnv2.validate import check_dtype, check_number


class Row(NamedTuple):
    """One row of the architecture: as a row of MobileNetV2, and the side `k` of its depthwise kernel."""

    t: int
    c: int
    n: int
    s: int
    k: int


# tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py, `_DEFAULT_BLOCKS_ARGS`. It is table 1
# of Tan and Le, arXiv:1905.11946, where the rows stand as stages 2 to 8.
ROWS = (
    Row(t=1, c=16, n=1, s=1, k=3),
    Row(t=6, c=24, n=2, s=2, k=3),
    Row(t=6, c=40, n=2, s=2, k=5),
    Row(t=6, c=80, n=3, s=2, k=3),
    Row(t=6, c=112, n=3, s=1, k=5),
    Row(t=6, c=192, n=4, s=2, k=5),
    Row(t=6, c=320, n=1, s=1, k=3),
)
STEM, HEAD = 32, 1280  # channels of the first and the last convolution, at every width

# The stride of the stem and of the seven rows, as in `mobilenet_STRIDES_V2`.
STRIDES = {**STRIDES_V2, "imagenet": (2, *(row.s for row in ROWS))}


class Variant(NamedTuple):
    """A published network: its multipliers, the side of its image, the share it drops before the classifier."""

    width_mult: float
    depth_mult: float
    resolution: int
    dropout: float


# The same file, `efficientnet_lite_params`.
VARIANTS = {
    "lite0": Variant(1.0, 1.0, 224, 0.2),
    "lite1": Variant(1.0, 1.1, 240, 0.2),
    "lite2": Variant(1.1, 1.2, 260, 0.3),
    "lite3": Variant(1.2, 1.4, 280, 0.3),
    "lite4": Variant(1.4, 1.8, 300, 0.3),
}


def plan(width_mult: float = 1.0, strides: str | Sequence[int] = "imagenet", depth_mult: float = 1.0) -> Plan:
    """Read the table: the channels of the stem, the blocks, the channels of the head.

    A row has ``make_divisible(width_mult * c)`` channels and ``ceil(depth_mult * n)`` blocks. Stem and head keep their
    width; the first and the last row keep their one block.

    Parameters
    ----------
    width_mult, depth_mult : float
        Multipliers: the width more than 0, the depth more than 0.25, at which every row has a single block.
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
        If a multiplier is too small or `strides` does not name or hold eight strides.

    Examples
    --------
    >>> stem, blocks, head = plan(1.1, depth_mult=1.2)             # Lite2
    >>> stem, len(blocks), head, blocks[4]
    (32, 21, 1280, BlockPlan(name='b2.0', in_channels=24, out_channels=48, stride=2, t=6, kernel=5))
    """
    width_mult = check_number(width_mult, "width_mult", 0, 100, "()")
    depth_mult = check_number(depth_mult, "depth_mult", 0.25, 100, "()", "at less every row has a single block")
    rows = [RowV2(row.t, row.c, n, row.s) for row, n in zip(ROWS, repeats(depth_mult), strict=True)]
    return STEM, read_rows(rows, resolve_strides(strides)[1:], [row.k for row in ROWS], STEM, width_mult), HEAD


def repeats(depth_mult: float) -> list[int]:
    """The blocks of each row.

    Examples
    --------
    >>> repeats(1.0), repeats(1.1)
    ([1, 2, 2, 3, 3, 4, 1], [1, 3, 3, 4, 4, 5, 1])
    """
    first, *between, last = ROWS
    return [first.n, *(math.ceil(depth_mult * row.n) for row in between), last.n]


class EfficientNetLite(Network):
    """The network as a sequence of named layers; made by `efficientnet_lite`, which says what the arguments mean.

    The layers are called as those of MobileNetV2: ``stem``, ``b0.0`` to ``b6.0`` (row, repeat) with ``expand``, ``dw``
    and ``project`` inside, ``head``, ``pool``, ``dropout``, ``fc``.

    Attributes
    ----------
    config : dict
        The arguments it was built with.
    """


def efficientnet_lite(
    num_classes: int = 1000,
    width_mult: float = 1.0,
    depth_mult: float = 1.0,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    dropout: float = 0.2,
    padding: Padding = "same",
    eps: float = 1e-3,
    momentum: float = 0.01,
    running_var: str = "unbiased",
    dtype: Any = np.float32,
    seed: int = 0,
) -> EfficientNetLite:
    """Build an EfficientNet-Lite with random weights: Lite0, unless the multipliers say another.

    The defaults are the authors' conventions. `VARIANTS` has the multipliers, the resolution and the dropout of the
    published networks. `weights.pretrained` gives a Lite0 that was trained on ImageNet.

    Parameters
    ----------
    num_classes : int
    width_mult, depth_mult : float
        Multipliers of the channels and of the blocks of a row, see `plan`.
    strides : str or sequence of 8 int
        ``"imagenet"`` as published, ``"cifar"`` for 32x32, ``"digits"`` for 8x8, or the strides of the stem and rows.
    in_channels : int
    dropout : float
        The share dropped before the classifier. The authors also drop whole blocks while they train (stochastic depth);
        this network does not.
    padding : "same"
        As TensorFlow. The 1 of the other networks would shrink an image under a 5x5 kernel.
    eps, momentum, running_var
        Of every batch norm, see `layers.BatchNorm`.
    dtype : float32 or float64
    seed : int
        The same seed gives the same weights and the same dropout masks, in either dtype.

    Returns
    -------
    EfficientNetLite

    Raises
    ------
    ValueError, TypeError
        For an argument that makes no network.

    Notes
    -----
    Lite0 at 224x224: 4,652,008 trainable parameters (4,694,024 with the running statistics) and 385,187,552
    multiply-adds.

    References
    ----------
    .. [1] Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", arXiv:1905.11946.
    .. [2] tensorflow/tpu, models/official/efficientnet/lite, README.md and efficientnet_lite_builder.py.

    Examples
    --------
    >>> model = efficientnet_lite()
    >>> sum(p.value.size for p in model.parameters()), sum(v.size for v in model.state_dict().values())
    (4652008, 4694024)
    """
    config = dict(locals(), dtype=check_dtype(dtype).name)  # the arguments, as given
    check_same(padding)
    check_arguments(num_classes, in_channels, padding, seed)
    layers = make_layers(config, plan(width_mult, strides, depth_mult), resolve_strides(strides)[0])
    return EfficientNetLite(layers, config)


def check_same(padding: object) -> None:
    """Raise ValueError unless it is the one padding that the network can have.

    Examples
    --------
    >>> check_same(1)
    Traceback (most recent call last):
        ...
    ValueError: padding must be "same", which keeps the size at k = 3 and at k = 5; was 1
    """
    if not isinstance(padding, str) or padding != "same":
        raise ValueError(f'padding must be "same", which keeps the size at k = 3 and at k = 5; was {padding!r}')


def resolve_strides(strides: str | Sequence[int]) -> tuple[int, ...]:
    """The stride of the stem and of the seven rows, from a name in `STRIDES` or from the caller.

    Examples
    --------
    >>> resolve_strides("imagenet")
    (2, 1, 2, 2, 2, 1, 2, 1)
    """
    return choose_strides(strides, STRIDES, 1 + len(ROWS))
