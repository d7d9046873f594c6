"""Blocks: convolution + batch norm + ReLU6, V1's separable pair, V2's inverted residual with its linear bottleneck.

Batch norm's settings (`eps`, `momentum`, `running_var`, see `layers.BatchNorm`) are passed through as `**bn`.
"""

import importlib
from typing import Any

import numpy as np

from npmnv2.backends import current_backend
from npmnv2.layers import BatchNorm, BatchNormReLU6, DepthwiseConv2d, Layer, PointwiseConv2d
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
        """The same, backwards."""
        return self.conv.backward(self.bn.backward(dout))

    def backward_parameters(self, dout: Array) -> None:
        """The same, without the gradient of x."""
        self.conv.backward_parameters(self.bn.backward(dout))


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
        """The same, backwards."""
        # forward was: pw(dw(x))
        return self.dw.backward(self.pw.backward(dout))


class InvertedResidual(Layer):
    """The block of MobileNetV2: widen, filter in space, project back to something thin; add the input if it fits.

    ::

        expand   1x1, C -> t*C    batch norm, ReLU6      (left out when t = 1)
        dw       3x3 depthwise    batch norm, ReLU6      (carries the stride)
        project  1x1, t*C -> M    batch norm             (linear: ReLU would destroy information in few channels)
        out = x + project         only at stride 1 and C = M

    *Residual*: the block computes not its output but what to add to its input. The way of x around the convolutions is
    the *shortcut*. *Bottleneck*: a place with few channels, here the two ends of the block; it is *linear* because
    `project` has no ReLU6. "Inverted" because a ResNet bottleneck is wide at its ends and thin inside; here the
    shortcut joins the thin ends.

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
    t : int
        Expansion factor.
    rng : numpy.random.Generator
    padding : int or "same"
        Of the depthwise convolution: 1 as PyTorch, "same" as TensorFlow.
    dtype : float32 or float64
    **bn
        `eps`, `momentum`, `running_var` of `layers.BatchNorm`.

    Raises
    ------
    ValueError
        By the forward, if `padding` changes the size of an image that is to be added.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2", arXiv:1801.04381, section 3.4 and table 1.

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
        padding: Padding = 1,
        dtype: Any = np.float32,
        **bn: Any,
    ) -> None:
        super().__init__()
        wide = t * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.t = t
        if t != 1:
            self.expand = ConvBNReLU6(PointwiseConv2d(in_channels, wide, rng=rng, dtype=dtype), wide, dtype=dtype, **bn)
        dw = DepthwiseConv2d(wide, 3, stride=stride, padding=padding, rng=rng, dtype=dtype)
        self.dw = ConvBNReLU6(dw, wide, dtype=dtype, **bn)
        project = PointwiseConv2d(wide, out_channels, rng=rng, dtype=dtype)
        self.project = ConvBN(project, out_channels, dtype=dtype, **bn)

    def forward(self, x: Array) -> Array:
        """Expand, filter, project; add x if it has the shape."""
        if (weights := self._deferred(x)) is not None:
            return self._forward_deferred(weights, x)
        self._cache = None
        out = self.expand(x) if self.t != 1 else x
        out = self.dw(out)
        out = self.project(out)
        if self.residual and out.shape != x.shape:  # a single pixel would be broadcast
            raise ValueError(f"padding must keep the image's size, to add x; x was {x.shape}, the rest {out.shape}")
        return x + out if self.residual else out

    def backward(self, dout: Array) -> Array:
        """The same, backwards: x was used twice if it was added, so its gradient is a sum of two."""
        if self._cache is not None:
            return self._backward_deferred(dout)
        dx = self.project.backward(dout)
        dx = self.dw.backward(dx)
        dx = self.expand.backward(dx) if self.t != 1 else dx
        # forward was: x + out
        return dout + dx if self.residual else dx

    # -- the same in training mode, as one compiled call each way: docs/training_speed.md

    def _parts(self) -> list[ConvBN]:
        return [self.expand, self.dw, self.project] if self.t != 1 else [self.dw, self.project]

    def _inside(self) -> list[Layer]:
        return [layer for part in self._parts() for layer in (part, part.conv, part.bn)]

    def _deferred(self, x: Array) -> Any:
        """What the kernels take, if they can train this block on x and nobody looks at what happens inside."""
        if current_backend() != "numba" or not all(map(_unwatched, self._inside())):
            return None
        kernels, dw = _kernels(), self.dw.conv
        we = self.expand.conv.w.value if self.t != 1 else None
        norms = tuple(kernels.Norm(part.bn.gamma.value, part.bn.beta.value, part.bn.eps) for part in self._parts())
        weights = kernels.Weights(we, dw.w.value, self.project.conv.w.value, norms)
        return weights if kernels.is_possible(x, weights, dw.stride, dw.padding, self.residual) else None

    def _forward_deferred(self, weights: Any, x: Array) -> Array:
        for layer in self._inside():
            layer._cache = None  # which may be there from a forward one by one
        dw = self.dw.conv
        out, cache = _kernels().forward(x, weights, dw.stride, dw.padding, self.residual)
        for part, (shape, mean, var, _) in zip(self._parts(), cache.statistics, strict=True):
            part.bn._update_statistics(shape, mean, var)
        self._cache = cache
        return out

    def _backward_deferred(self, dout: Array) -> Array:
        dx, gradients = _kernels().backward(dout, self._cache)
        if self.t != 1:
            self.expand.conv.w.grad = gradients.we
        self.dw.conv.w.grad, self.project.conv.w.grad = gradients.wd, gradients.wp
        for part, dgamma, dbeta in zip(self._parts(), gradients.gammas, gradients.betas, strict=True):
            part.bn.gamma.grad, part.bn.beta.grad = dgamma, dbeta
        self._cache = None
        return dx


def _kernels() -> Any:
    return importlib.import_module("npmnv2.kernels.deferred")  # here, not above: it imports Numba


def _unwatched(layer: Layer) -> bool:
    return layer.training and layer._record is None
