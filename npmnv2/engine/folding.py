"""A network for inference only: every batch norm folded, so that what is left is convolutions with a bias.

`folded` turns a model into plain data: a list of blocks, each a few convolutions one after the other and, in V2, a
shortcut around them. `FoldedNetwork` runs that list, twenty lines that show all there is to run; `onnx_export` writes
it to a file. Whatever else executes networks can start from the same list.
"""

from typing import Any, NamedTuple

from npmnv2 import ops
from npmnv2.backends import implementation
from npmnv2.models.as_built import is_as_written
from npmnv2.models.network import Network
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBN, ConvBNReLU6, InvertedResidual, SeparableConv, add_shortcut
from npmnv2.nn.exact import difference, operations_are_ours
from npmnv2.nn.layers import BatchNormReLU6, Conv2d, DepthwiseConv2d, Dropout, GlobalAvgPool, Linear
from npmnv2.ops.activation import relu6
from npmnv2.ops.fold import fold_batchnorm
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_array, check_plain

BLOCKS = (ConvBN, ConvBNReLU6, SeparableConv, InvertedResidual)
ENDS = [GlobalAvgPool, Dropout, Linear]


class FoldedConv(NamedTuple):
    """One convolution with its batch norm folded in: ``out = conv(x, w) + bias``, clipped to [0, 6] if `relu6`."""

    name: str  # of the layer it was made from: "b1.0.dw"
    kind: str  # "standard", "depthwise" or "pointwise"
    w: Array  # (KH, KW, C, M), (KH, KW, C) or (C, M)
    bias: Array  # (M,), or (C,)
    stride: int
    padding: Padding
    relu6: bool

    def __call__(self, x: Array) -> Array:
        """Convolve, add the bias, clip: (N, H, W, C) to (N, OH, OW, M)."""
        if self.kind == "standard":  # by im2col, as the model's own layer
            out, _ = implementation(ops.conv2d_im2col_forward)(x, self.w, self.stride, self.padding)
        elif self.kind == "depthwise":
            out, _ = implementation(ops.depthwise_conv2d_forward)(x, self.w, self.stride, self.padding)
        else:
            out, _ = implementation(ops.pointwise_conv2d_forward)(x, self.w)
        out += self.bias
        return relu6(out) if self.relu6 else out


class FoldedBlock(NamedTuple):
    """Convolutions one after the other, and whether the block's input is added to what comes out."""

    name: str  # of the block it was made from: "stem", "b1.0"
    convs: tuple[FoldedConv, ...]
    residual: bool

    def __call__(self, x: Array) -> Array:
        """Run the convolutions, add x."""
        out = x
        for conv in self.convs:
            out = conv(out)
        return add_shortcut(x, out) if self.residual else out


class FoldedNetwork(NamedTuple):
    """A classifier of images for inference only; made by `folded`.

    All arrays are its own: training the model it was made from changes nothing here.
    """

    blocks: tuple[FoldedBlock, ...]
    w: Array  # (C, num_classes), of the linear layer after the average over the image
    b: Array  # (num_classes,)
    in_channels: int

    def __call__(self, x: Array) -> Array:
        """Classify images.

        Parameters
        ----------
        x : ndarray of shape (N, H, W, in_channels)
            As for the model.

        Returns
        -------
        logits : ndarray of shape (N, num_classes)

        Raises
        ------
        ValueError, TypeError
            If `x` has another rank, number of channels or dtype than the model takes.
        """
        x = self.check(x)
        for block in self.blocks:
            x = block(x)
        pooled, _ = implementation(ops.global_avg_pool_forward)(x)
        logits, _ = implementation(ops.linear_forward)(pooled, self.w, self.b)
        return logits

    def check(self, x: Array) -> Array:
        """Return `x` if it is images that the network takes, raise the error that says why not."""
        x = check_plain(x, "x")
        if x.ndim != 4 or x.shape[3] != self.in_channels:
            raise ValueError(f"x must have shape (N, H, W, {self.in_channels}); was {x.shape}")
        if x.dtype != self.w.dtype:
            raise TypeError(f"x must have the network's dtype, {self.w.dtype}; was {x.dtype}")
        return check_array(x, "x", "N H W C")


def folded(model: Network) -> FoldedNetwork:
    """The same classifier with every batch norm folded into the convolution before it, see `ops.fold_batchnorm`.

    ``folded(model)(x)`` is ``model.eval()(x)`` to rounding, whatever mode the model is in. It keeps no caches, has no
    backward and leaves dropout out.

    Parameters
    ----------
    model : Network
        From `mobilenet_v1`, `mobilenet_v1_conv`, `mobilenet_v2` or `weights.load_model`. Not modified.

    Returns
    -------
    FoldedNetwork

    Raises
    ------
    TypeError
        If it is not a network.
    ValueError
        If a part of it is none that can be folded: replaced, added, or wrapped by somebody. It is named.

    Examples
    --------
    >>> import numpy as np, npmnv2
    >>> model = npmnv2.mobilenet_v2(num_classes=10, width_mult=0.35, strides="digits", in_channels=1)
    >>> net = folded(model)
    >>> [conv.name for conv in net.blocks[1].convs], net.blocks[1].residual
    (['b0.0.dw', 'b0.0.project'], False)
    >>> [conv.name for conv in net.blocks[2].convs], net.blocks[2].residual
    (['b1.0.expand', 'b1.0.dw', 'b1.0.project'], True)
    >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    >>> bool(np.allclose(net(x), model.eval()(x), atol=1e-5))
    True
    """
    if not isinstance(model, Network):
        raise TypeError(f"model must be a network, as mobilenet_v2() makes it; was {type(model).__name__}")
    *parts, _, _, (_, fc) = _checked(model)
    blocks = tuple(FoldedBlock(name, _convs(name, layer), getattr(layer, "residual", False)) for name, layer in parts)
    network = FoldedNetwork(blocks, fc.w.value.copy(), fc.b.value.copy(), model.config["in_channels"])
    if (problem := _misfit(network)) is not None:
        raise ValueError(f"{CANNOT}: {problem}")
    return network


CANNOT = "model must be made of the layers that can be folded, unchanged"
OPERATIONS = (
    "conv2d_im2col_forward", "depthwise_conv2d_forward", "pointwise_conv2d_forward", "batchnorm_inference",
    "batchnorm_relu6_inference", "global_avg_pool_forward", "linear_forward",
)  # fmt: skip


def _checked(model: Network) -> list[tuple[str, Any]]:
    """The parts of a network: blocks, then pool, dropout and classifier; or the error that names what is another."""
    parts = list(model.layers.items())
    kinds = [type(layer) for _, layer in parts]
    problem = None if is_as_written(model) else "the network runs in another way than its builder's"
    if not operations_are_ours(OPERATIONS):
        problem = "an operation of npmnv2.ops was replaced"
    for name in model.children().keys() - model.layers.keys():
        problem = f"the network has an attribute `{name}` of its own"
    if kinds[-3:] != ENDS:
        problem = "its end is not pool, dropout and a linear layer"
    for name, layer in parts[:-3]:
        if type(layer) not in BLOCKS:
            problem = problem or f"{name} is a {type(layer).__name__}"
    for name, layer in parts:
        problem = problem or difference(layer, name)
        if problem is None and getattr(layer, "wide_residual", False):
            problem = f'{name} has shortcut="expansion"'
    if problem is not None:
        raise ValueError(f"{CANNOT}: {problem}; run the model itself")
    return parts


def _misfit(network: FoldedNetwork) -> str | None:
    """Which array does not fit the one before it: the loops of an engine check nothing."""
    channels, dtype = network.in_channels, network.w.dtype
    for block in network.blocks:
        first, moved = channels, 1
        for conv in block.convs:
            takes = conv.w.shape[0] if conv.kind == "pointwise" else conv.w.shape[2]
            if takes != channels or conv.bias.shape != conv.w.shape[-1:]:
                return f"{conv.name} takes {takes} channels, where there are {channels}"
            if conv.w.dtype != dtype or conv.bias.dtype != dtype:
                return f"{conv.name} is {conv.w.dtype}, the classifier {dtype}"
            channels, moved = conv.w.shape[-1], moved * conv.stride
        if block.residual and (channels != first or moved != 1):
            return f"{block.name} adds an image of {first} channels to one of {channels}, at stride {moved}"
    if network.w.shape[0] != channels or network.b.shape != network.w.shape[1:] or network.b.dtype != dtype:
        return f"the classifier takes {network.w.shape[0]} channels, where there are {channels}"
    return None


ORDER = ("expand", "dw", "project", "pw")  # in which the convolutions of a block run


def _convs(name: str, layer: Layer) -> tuple[FoldedConv, ...]:
    """The convolutions of a block, folded, in the order they run."""
    if isinstance(layer, ConvBN):
        return (_fold(name, layer),)
    parts = layer.children()
    return tuple(_fold(f"{name}.{part}", parts[part]) for part in ORDER if part in parts)  # type: ignore[arg-type]


def _fold(name: str, layer: ConvBN) -> FoldedConv:
    conv, bn = layer.conv, layer.bn
    norm = bn.gamma.value, bn.beta.value, bn.mean.value, bn.var.value, bn.eps
    w, bias = fold_batchnorm(conv.w.value, *norm)
    stride, padding = (conv.stride, conv.padding) if isinstance(conv, Conv2d | DepthwiseConv2d) else (1, 0)
    kind = {4: "standard", 3: "depthwise", 2: "pointwise"}[w.ndim]
    return FoldedConv(name, kind, w, bias, stride, padding, isinstance(bn, BatchNormReLU6))
