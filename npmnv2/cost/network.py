"""What a network costs: its layers one by one, read from the table of its architecture, and their sums."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from npmnv2.cost.layer import LayerCost, convolution, linear, separable
from npmnv2.models.efficientnet_lite import check_same
from npmnv2.models.efficientnet_lite import plan as plan_lite
from npmnv2.models.efficientnet_lite import resolve_strides as strides_lite
from npmnv2.models.mobilenet_v1 import plan as plan_v1
from npmnv2.models.mobilenet_v1 import resolve_paddings
from npmnv2.models.mobilenet_v1 import resolve_strides as strides_v1
from npmnv2.models.mobilenet_v2 import Plan
from npmnv2.models.mobilenet_v2 import plan as plan_v2
from npmnv2.models.mobilenet_v2 import resolve_strides as strides_v2
from npmnv2.models.network import check_padding
from npmnv2.shapes import Padding
from npmnv2.validate import check_int

Resolution = int | tuple[int, int]  # the side of a square, or height and width


def mobilenet_v2(
    width_mult: float = 1.0,
    resolution: Resolution = 224,
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
        As in `npmnv2.mobilenet_v2`; but there the classes come first, here the width and the resolution do.
    resolution : int or (int, int)
        Height and width of the image, in pixels; one number is both.

    Returns
    -------
    list of LayerCost

    Raises
    ------
    ValueError
        For a width, resolution, number of classes or padding that makes no network.
    TypeError
        If the width is not a number, or one of the others not an integer.

    Examples
    --------
    >>> layers = mobilenet_v2()
    >>> sum(l.madds for l in layers), sum(l.weights for l in layers), sum(l.parameters for l in layers), len(layers)
    (300774272, 3469760, 3504872, 53)
    >>> sum(l.madds for l in mobilenet_v2(resolution=(256, 128))), mobilenet_v2(resolution=(256, 128))[-2].out_shape
    (196868096, (8, 4, 1280))
    """
    plan, stride = plan_v2(width_mult, strides), strides_v2(strides)[0]
    return inverted_residuals(plan, resolution, num_classes, stride, in_channels, padding)


def efficientnet_lite(
    width_mult: float = 1.0,
    resolution: Resolution = 224,
    num_classes: int = 1000,
    *,
    depth_mult: float = 1.0,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    padding: Padding = "same",
) -> list[LayerCost]:
    """The cost of every layer of an EfficientNet-Lite with weights, in order, named as in the model.

    Parameters, result and errors are those of `mobilenet_v2`, and the depth multiplier of `npmnv2.efficientnet_lite`.

    Examples
    --------
    >>> total(efficientnet_lite()).madds, total(efficientnet_lite()).parameters                     # Lite0
    (385187552, 4652008)
    >>> lite2 = efficientnet_lite(1.1, 260, depth_mult=1.2)
    >>> total(lite2).madds, total(lite2).parameters
    (859736272, 6092072)
    """
    check_same(padding)
    plan, stride = plan_lite(width_mult, strides, depth_mult), strides_lite(strides)[0]
    return inverted_residuals(plan, resolution, num_classes, stride, in_channels, padding)


def inverted_residuals(
    plan: Plan, resolution: Resolution, num_classes: int, stride: int, in_channels: int, padding: Padding
) -> list[LayerCost]:
    """The cost of every layer of a plan: stem, blocks, head and classifier; the builders' plans or another.

    Parameters
    ----------
    plan : Plan
        Of `models.mobilenet_v2.plan`, say.
    resolution, num_classes, in_channels, padding
        As in `mobilenet_v2`.
    stride : int
        Of the stem.

    Examples
    --------
    >>> sum(layer.madds for layer in inverted_residuals(plan_v2(1.0), 224, 1000, 2, 3, 1))
    300774272
    """
    stem, blocks, head = plan
    layers = _stem(stem, resolution, stride, in_channels, padding)
    for b in blocks:
        wide = b.t * b.in_channels
        H, W, _ = layers[-1].out_shape
        if b.t != 1:
            layers.append(convolution("pointwise", H, W, b.in_channels, wide, name=f"{b.name}.expand"))
        dw = convolution("depthwise", H, W, wide, wide, b.kernel, b.stride, padding, name=f"{b.name}.dw")
        layers.append(dw)
        residual = b.stride == 1 and b.in_channels == b.out_channels
        shortcut = f"{b.name}.{'dw' if b.t == 1 else 'expand'}" if residual else ""
        H, W, _ = layers[-1].out_shape
        project = convolution(
            "pointwise", H, W, wide, b.out_channels, name=f"{b.name}.project", relu6=False, shortcut=shortcut
        )
        layers.append(project)
    H, W, _ = layers[-1].out_shape
    layers.append(convolution("pointwise", H, W, blocks[-1].out_channels, head, name="head"))
    return [*layers, linear(head, check_int(num_classes, "num_classes"), name="fc")]


def mobilenet_v1(
    width_mult: float = 1.0,
    resolution: Resolution = 224,
    num_classes: int = 1000,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    padding: Padding = 1,
) -> list[LayerCost]:
    """The cost of every layer of a MobileNetV1 with weights, in order, named as in the model.

    Parameters, result and errors are those of `mobilenet_v2`.

    Examples
    --------
    >>> total(mobilenet_v1()).madds, total(mobilenet_v1()).weights
    (568740352, 4209088)
    """
    stem, blocks = plan_v1(width_mult, strides)
    of_stem, of_blocks = resolve_paddings(padding)
    layers = _stem(stem, resolution, strides_v1(strides)[0], in_channels, of_stem)
    for b in blocks:
        H, W, _ = layers[-1].out_shape
        layers += separable(H, W, b.in_channels, b.out_channels, 3, b.stride, of_blocks, name=b.name)
    return [*layers, linear(blocks[-1].out_channels, check_int(num_classes, "num_classes"), name="fc")]


def mobilenet_v1_conv(
    width_mult: float = 1.0,
    resolution: Resolution = 224,
    num_classes: int = 1000,
    *,
    strides: str | Sequence[int] = "imagenet",
    in_channels: int = 3,
    padding: Padding = 1,
) -> list[LayerCost]:
    """The cost of every layer of the convolutional twin of MobileNetV1, in order, named as in the model.

    Parameters, result and errors are those of `mobilenet_v2`.

    Examples
    --------
    >>> total(mobilenet_v1_conv()).madds, total(mobilenet_v1_conv()).weights
    (4867293184, 29281120)
    """
    stem, blocks = plan_v1(width_mult, strides)
    of_stem, of_blocks = resolve_paddings(padding)
    layers = _stem(stem, resolution, strides_v1(strides)[0], in_channels, of_stem)
    for b in blocks:
        H, W, C = layers[-1].out_shape
        layers.append(convolution("standard", H, W, C, b.out_channels, 3, b.stride, of_blocks, name=b.name))
    return [*layers, linear(blocks[-1].out_channels, check_int(num_classes, "num_classes"), name="fc")]


def _stem(channels: int, resolution: Resolution, stride: int, in_channels: int, padding: Padding) -> list[LayerCost]:
    sides = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    if len(sides) != 2:
        raise TypeError(f"resolution must be an integer; was {resolution}, where two are height and width")
    H, W = (check_int(side, "resolution") for side in sides)
    C = check_int(in_channels, "in_channels")
    check_padding(padding)  # any other would change the sizes, and a shortcut would no longer fit
    return [convolution("standard", H, W, C, channels, 3, stride, padding, name="stem")]


NETWORKS: dict[str, Callable[..., list[LayerCost]]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_conv": mobilenet_v1_conv,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite": efficientnet_lite,
}


class Total(NamedTuple):
    """The costs of several layers together, as `LayerCost` names them."""

    madds: int
    backward_madds: int
    weights: int
    parameters: int
    variables: int
    weight_bytes: int
    activation_bytes: int
    bytes: int
    backward_bytes: int

    @property
    def intensity(self) -> float:
        """Multiply-adds a byte, forward."""
        return self.madds / self.bytes

    @property
    def backward_intensity(self) -> float:
        """Multiply-adds a byte, backward."""
        return self.backward_madds / self.backward_bytes


def total(layers: Iterable[LayerCost]) -> Total:
    """Add up the costs of layers: of a network, a block, or all layers of a kind.

    Bytes are those of layers run one after the other: what one writes and the next reads is counted twice.

    Parameters
    ----------
    layers : iterable of LayerCost

    Returns
    -------
    Total

    Examples
    --------
    >>> depthwise = total(layer for layer in mobilenet_v2() if layer.kind == "depthwise")
    >>> depthwise.madds, depthwise.weights, round(depthwise.intensity, 2)
    (20716416, 64224, 0.85)
    """
    layers = list(layers)
    return Total(*(sum(getattr(layer, what) for layer in layers) for what in Total._fields))


class Field(NamedTuple):
    """What one output pixel of a layer sees of the image."""

    name: str
    size: int  # side of the receptive field, in pixels of the image
    stride: int  # how far apart, in pixels of the image, the fields of neighbouring outputs are
    start: tuple[int, int]  # first row and column seen by output (0, 0); negative lies in the padding


def receptive_fields(layers: Sequence[LayerCost]) -> list[Field]:
    """How much of the image each convolution sees, and in which steps.

    ::

        size   = size before   + (K - 1) * stride before
        stride = stride before * stride of the layer
        start  = start before  - padding * stride before

    A shortcut sees less than the branch it goes round, so it changes nothing. A linear layer behind a global pool sees
    all of the image, and is left out.

    Parameters
    ----------
    layers : sequence of LayerCost
        In the order they run.

    Returns
    -------
    list of Field
        One a convolution.

    References
    ----------
    .. [1] Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019.

    Examples
    --------
    >>> receptive_fields(mobilenet_v1())[-1][:3]                   # the authors of [1] find the same 315
    ('b13.pw', 315, 32)
    """
    size, stride, row, column = 1, 1, 0, 0
    fields = []
    for layer in layers:
        if layer.kind == "linear":
            continue
        (top, _), (left, _) = layer.pads
        size += (layer.kernel - 1) * stride
        row, column = row - top * stride, column - left * stride
        stride *= layer.stride
        fields.append(Field(layer.name, size, stride, (row, column)))
    return fields
