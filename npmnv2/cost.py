"""What a layer costs, from its shape alone: parameters, multiply-adds, bytes. Nothing here runs a model.

One multiply-add (MAdd) is one multiplication and its addition, counted in convolutions and linear layers only; no bias,
batch norm, activation or pooling. It is the papers' convention. Other counters print other numbers for the same
network (docs/layouts.md), so every figure of this package says which it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

from npmnv2.models.mobilenet_v2 import plan, resolve_strides
from npmnv2.shapes import Padding, conv_geometry
from npmnv2.validate import check_int


class LayerCost(NamedTuple):
    """The cost of one convolution or linear layer, for one image."""

    name: str
    kind: str  # "standard", "depthwise", "pointwise" or "linear"
    in_shape: tuple[int, int, int]  # (H, W, C)
    out_shape: tuple[int, int, int]  # (OH, OW, M)
    stride: int
    madds: int
    weights: int  # numbers in the kernel
    batchnorm: int  # channels of the batch norm that follows, 0 if none
    bias: int

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, bias, and batch norm's gamma and beta."""
        return self.weights + self.bias + 2 * self.batchnorm

    @property
    def variables(self) -> int:
        """Parameters and batch norm's running mean and variance: what a checkpoint stores."""
        return self.parameters + 2 * self.batchnorm

    @property
    def bytes(self) -> int:
        """Least float32 traffic: read the input and the weights once, write the output once."""
        h, w, c = self.in_shape
        oh, ow, m = self.out_shape
        return 4 * (h * w * c + oh * ow * m + self.weights + self.bias)

    @property
    def intensity(self) -> float:
        """Multiply-adds per byte. Few mean that memory, not arithmetic, sets the time."""
        return self.madds / self.bytes


def convolution(
    kind: str,
    H: int,
    W: int,
    C: int,
    M: int,
    kernel: int = 3,
    stride: int = 1,
    padding: Padding = 1,
    *,
    name: str = "",
    batchnorm: bool = True,
) -> LayerCost:
    """The cost of one convolution.

    ::

        standard    OH*OW * K*K * C*M multiply-adds,   K*K * C*M weights
        depthwise   OH*OW * K*K * C                    K*K * C
        pointwise   OH*OW *       C*M                        C*M

    Parameters
    ----------
    kind : "standard", "depthwise" or "pointwise"
    H, W, C : int
        Input size and channels.
    M : int
        Output channels; C for a depthwise one.
    kernel, stride, padding
        Not used by a pointwise convolution.
    name : str
    batchnorm : bool
        Whether a batch norm follows, which adds two parameters and two statistics per channel.

    Returns
    -------
    LayerCost

    Raises
    ------
    ValueError
        For an unknown kind, a depthwise M other than C, or sizes that do not fit.
    TypeError
        If a size is not an integer.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, equations (2) to (5).

    Examples
    --------
    >>> standard = convolution("standard", 14, 14, 512, 512)        # V1, table 3, first row
    >>> depthwise, pointwise = convolution("depthwise", 14, 14, 512, 512), convolution("pointwise", 14, 14, 512, 512)
    >>> standard.madds, depthwise.madds + pointwise.madds
    (462422016, 52283392)
    """
    if kind not in ("standard", "depthwise", "pointwise"):
        raise ValueError(f'kind must be "standard", "depthwise" or "pointwise"; was {kind!r}')
    H, W, C, M = check_int(H, "H"), check_int(W, "W"), check_int(C, "C"), check_int(M, "M")
    kernel = check_int(kernel, "kernel")
    if kind == "depthwise" and M != C:
        raise ValueError(f"M must be C, {C}, for a depthwise convolution; was {M}")
    if kind == "pointwise":
        OH, OW, weights, each, stride = H, W, C * M, C * M, 1
    else:
        geometry = conv_geometry(H, W, kernel, kernel, stride, padding)
        OH, OW, stride = geometry.OH, geometry.OW, geometry.stride
        weights = each = kernel * kernel * (C if kind == "depthwise" else C * M)
    return LayerCost(
        name=name,
        kind=kind,
        in_shape=(H, W, C),
        out_shape=(OH, OW, M),
        stride=stride,
        madds=OH * OW * each,
        weights=weights,
        batchnorm=M if batchnorm else 0,
        bias=0,
    )


def mobilenet_v2(
    width_mult: float = 1.0,
    resolution: int = 224,
    num_classes: int = 1000,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    padding: Padding = 1,
) -> list[LayerCost]:
    """The cost of every layer of a MobileNetV2 with weights, in order, named as in the model.

    Parameters
    ----------
    width_mult, num_classes, strides, in_channels, padding
        As in `npmnv2.mobilenet_v2`.
    resolution : int
        Height and width of the image, in pixels.

    Returns
    -------
    list of LayerCost

    Raises
    ------
    ValueError
        For a width, resolution or number of classes that makes no network.
    TypeError
        If the width is not a number, or one of the others not an integer.

    Examples
    --------
    >>> layers = mobilenet_v2()
    >>> sum(l.madds for l in layers), sum(l.weights for l in layers), sum(l.parameters for l in layers), len(layers)
    (300774272, 3469760, 3504872, 53)
    """
    resolution, num_classes = check_int(resolution, "resolution"), check_int(num_classes, "num_classes")
    in_channels = check_int(in_channels, "in_channels")
    stem, blocks, head = plan(width_mult, strides)
    stem_stride = resolve_strides(strides)[0]
    layers = [convolution("standard", resolution, resolution, in_channels, stem, 3, stem_stride, padding, name="stem")]
    for b in blocks:
        wide = b.t * b.in_channels
        size = layers[-1].out_shape[0]
        if b.t != 1:
            layers.append(convolution("pointwise", size, size, b.in_channels, wide, name=f"{b.name}.expand"))
        layers.append(convolution("depthwise", size, size, wide, wide, 3, b.stride, padding, name=f"{b.name}.dw"))
        size = layers[-1].out_shape[0]
        layers.append(convolution("pointwise", size, size, wide, b.out_channels, name=f"{b.name}.project"))
    size = layers[-1].out_shape[0]
    layers.append(convolution("pointwise", size, size, blocks[-1].out_channels, head, name="head"))
    fc = head * num_classes
    layers.append(
        LayerCost(
            name="fc",
            kind="linear",
            in_shape=(1, 1, head),
            out_shape=(1, 1, num_classes),
            stride=1,
            madds=fc,
            weights=fc,
            batchnorm=0,
            bias=num_classes,
        )
    )
    return layers
