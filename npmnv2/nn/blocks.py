"""Blocks: convolution + batch norm + ReLU6, V1's separable pair, V2's inverted residual with its linear bottleneck.

Batch norm's settings (`eps`, `momentum`, `running_var`, see `layers.BatchNorm`) are passed through as `**bn`.
"""

from typing import Any

import numpy as np

from npmnv2.nn.base import Layer
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, DepthwiseConv2d, PointwiseConv2d
from npmnv2.shapes import Padding
from npmnv2.validate import Array


class ConvBN(Layer):
    """A convolution and its batch norm, with nothing after it: the *linear* end of a bottleneck.

    Parameters
    ----------
    conv : Layer
        A standard, depthwise or pointwise convolution.
    channels : int
        Its output channels.
    dtype : float32 or float64
    **bn
        `eps`, `momentum`, `running_var` of `layers.BatchNorm`.

    Examples
    --------
    >>> block = ConvBN(PointwiseConv2d(4, 8, rng=np.random.default_rng(0)), 8)
    >>> block(np.ones((2, 3, 3, 4), np.float32)).shape
    (2, 3, 3, 8)
    """

    _norm: type[BatchNorm] = BatchNorm

    def __init__(self, conv: Layer, channels: int, *, dtype: Any = np.float32, **bn: Any) -> None:
        super().__init__()
        self.conv: Any = conv  # a Layer with a Parameter `w`
        self.bn = self._norm(channels, dtype=dtype, **bn)

    def forward(self, x: Array) -> Array:
        """Convolve, normalise."""
        return self.bn(self.conv(x))

    def backward(self, dout: Array) -> Array:
        return self.conv.backward(self.bn.backward(dout))


class ConvBNReLU6(ConvBN):
    """A convolution, its batch norm and ReLU6.

    Parameters
    ----------
    conv, channels, dtype, **bn
        As in `ConvBN`.

    Examples
    --------
    >>> block = ConvBNReLU6(PointwiseConv2d(4, 8, rng=np.random.default_rng(0)), 8)
    >>> out = block(np.random.default_rng(1).normal(size=(2, 3, 3, 4)).astype(np.float32))
    >>> bool(out.min() >= 0), bool(out.max() <= 6)
    (True, True)
    """

    _norm = BatchNormReLU6


class SeparableConv(Layer):
    """The block of MobileNetV1: what a standard convolution does at once, in two steps.

    ::

        dw   3x3 depthwise    batch norm, ReLU6      (space alone; carries the stride)
        pw   1x1, C -> M      batch norm, ReLU6      (channels alone)

    The paper's figure 3 says ReLU. The authors' code, which trained the published checkpoints, says ReLU6, and so does
    this block.

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
    rng : numpy.random.Generator
    padding : int or "same"
        Of the depthwise convolution: 1 as PyTorch, "same" as TensorFlow.
    dtype : float32 or float64
    **bn
        `eps`, `momentum`, `running_var` of `layers.BatchNorm`.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, section 3.1 and figure 3.
    .. [2] tensorflow/models, research/slim/nets/mobilenet_v1.py, `mobilenet_v1_arg_scope(activation_fn=tf.nn.relu6)`.

    Examples
    --------
    >>> block = SeparableConv(8, 16, stride=2, rng=np.random.default_rng(0))
    >>> list(block.children()), block(np.ones((2, 5, 7, 8), np.float32)).shape
    (['dw', 'pw'], (2, 3, 4, 16))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        rng: np.random.Generator,
        padding: Padding = 1,
        dtype: Any = np.float32,
        **bn: Any,
    ) -> None:
        super().__init__()
        dw = DepthwiseConv2d(in_channels, 3, stride=stride, padding=padding, rng=rng, dtype=dtype)
        self.dw = ConvBNReLU6(dw, in_channels, dtype=dtype, **bn)
        pw = PointwiseConv2d(in_channels, out_channels, rng=rng, dtype=dtype)
        self.pw = ConvBNReLU6(pw, out_channels, dtype=dtype, **bn)

    def forward(self, x: Array) -> Array:
        """Filter each channel, then mix the channels."""
        return self.pw(self.dw(x))

    def backward(self, dout: Array) -> Array:
        # forward was: self.pw(self.dw(x))
        return self.dw.backward(self.pw.backward(dout))


class InvertedResidual(Layer):
    """The block of MobileNetV2: widen, filter in space, project back to something narrow; add the input if it fits.

    ::

        expand   1x1, C -> t*C    batch norm, ReLU6      (left out when t = 1)
        dw       3x3 depthwise    batch norm, ReLU6      (carries the stride; 5x5 in some of EfficientNet-Lite)
        project  1x1, t*C -> M    batch norm             (linear: ReLU would destroy information in few channels)
        out = x + project         only at stride 1 and C = M

    *Residual*: the block computes not its output but what to add to its input. The way of x around the convolutions is
    the *shortcut*. *Bottleneck*: a place with few channels, here the two ends of the block; it is *linear* because
    `project` has no ReLU6. "Inverted" because a ResNet bottleneck is wide at its ends and narrow inside; here the
    shortcut joins the narrow ends.

    `linear` and `shortcut` are what the paper's figure 6 varies. The published network has the defaults.

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
    t : int
        Expansion factor.
    rng : numpy.random.Generator
    kernel : int
        Side of the depthwise kernel; a padding of ``kernel // 2`` or "same" keeps the size at stride 1.
    linear : bool
        Whether `project` ends without ReLU6.
    shortcut : bool or "expansion"
        True: x is added to the output, "between bottlenecks". ``"expansion"``: the widened image is added to what the
        depthwise convolution makes of it, at stride 1. False: nothing is added.
    padding : int or "same"
        Of the depthwise convolution: 1 as PyTorch, "same" as TensorFlow.
    dtype : float32 or float64
    **bn
        `eps`, `momentum`, `running_var` of `layers.BatchNorm`.

    Raises
    ------
    ValueError
        For an unknown `shortcut`; by the forward, if `padding` changes the size of an image that is to be added.
    TypeError
        If `linear` is not a bool.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2", arXiv:1801.04381, section 3.4 and table 1; section 6.4 and figure 6. The paper
           does not say where its shortcut between expansions begins and ends; here it spans the depthwise convolution.

    Examples
    --------
    >>> block = InvertedResidual(8, 8, stride=1, t=6, rng=np.random.default_rng(0))
    >>> block.residual, list(block.children()), block(np.ones((2, 5, 5, 8), np.float32)).shape
    (True, ['expand', 'dw', 'project'], (2, 5, 5, 8))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        t: int,
        rng: np.random.Generator,
        kernel: int = 3,
        linear: bool = True,
        shortcut: bool | str = True,
        padding: Padding = 1,
        dtype: Any = np.float32,
        **bn: Any,
    ) -> None:
        super().__init__()
        check_variant(linear, shortcut)
        wide = t * in_channels
        self.t = t
        self.residual = shortcut is True and stride == 1 and in_channels == out_channels  # x is added
        self.wide_residual = shortcut == "expansion" and stride == 1  # the widened image is
        if t != 1:
            self.expand = ConvBNReLU6(PointwiseConv2d(in_channels, wide, rng=rng, dtype=dtype), wide, dtype=dtype, **bn)
        dw = DepthwiseConv2d(wide, kernel, stride=stride, padding=padding, rng=rng, dtype=dtype)
        self.dw = ConvBNReLU6(dw, wide, dtype=dtype, **bn)
        project = PointwiseConv2d(wide, out_channels, rng=rng, dtype=dtype)
        self.project = (ConvBN if linear else ConvBNReLU6)(project, out_channels, dtype=dtype, **bn)

    def forward(self, x: Array) -> Array:
        """Expand, filter, project; add x if it has the shape."""
        wide = self.expand(x) if self.t != 1 else x
        out = self.dw(wide)
        out = add_shortcut(wide, out) if self.wide_residual else out
        out = self.project(out)
        return add_shortcut(x, out) if self.residual else out

    def backward(self, dout: Array) -> Array:
        """What was used twice, because it was added, has a gradient that is a sum of two."""
        dwide = self.project.backward(dout)
        # forward says: out = wide + dw(wide)
        dwide = dwide + self.dw.backward(dwide) if self.wide_residual else self.dw.backward(dwide)
        dx = self.expand.backward(dwide) if self.t != 1 else dwide
        # forward says: x + out
        return dout + dx if self.residual else dx


def add_shortcut(x: Array, out: Array) -> Array:
    """x + out, which must have one shape.

    Examples
    --------
    >>> add_shortcut(np.ones((1, 2, 2, 1)), np.ones((1, 1, 1, 1)))
    Traceback (most recent call last):
        ...
    ValueError: padding must keep the image's size, to add x; x was (1, 2, 2, 1), the rest (1, 1, 1, 1)
    """
    if out.shape != x.shape:  # a single pixel would be broadcast
        raise ValueError(f"padding must keep the image's size, to add x; x was {x.shape}, the rest {out.shape}")
    return x + out


def check_variant(linear: object, shortcut: object) -> None:
    """Raise the error that names the argument, if there is no such inverted residual.

    Examples
    --------
    >>> check_variant(True, "bottleneck")
    Traceback (most recent call last):
        ...
    ValueError: shortcut must be True, False or "expansion"; was 'bottleneck'
    """
    if not isinstance(linear, bool):
        raise TypeError(f"linear must be True or False; was {linear!r}")
    if not isinstance(shortcut, bool) and not (isinstance(shortcut, str) and shortcut == "expansion"):
        raise ValueError(f'shortcut must be True, False or "expansion"; was {shortcut!r}')
