"""Layers: thin objects that hold parameters, running statistics and the last cache, and call an operation.

All mathematics is in `ops/`; a layer only remembers. ``implementation(ops.relu6_forward)`` is `ops.relu6_forward`, or
what the chosen backend has in its place (`backends.py`). What layers have in common, and the rules they keep, is in
`base.py`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npmnv2 import ops
from npmnv2.backends import implementation
from npmnv2.nn.base import Layer, on_failure
from npmnv2.nn.parameter import Parameter, Statistic
from npmnv2.shapes import Padding, conv_geometry
from npmnv2.validate import Array, check_dtype, check_generator, check_int, check_number


class Conv2d(Layer):
    """Standard convolution without bias (a batch norm follows and would cancel it).

    Parameters
    ----------
    in_channels, out_channels, kernel : int
    stride, padding
        As in `ops.conv2d_forward`.
    rng : numpy.random.Generator
        Initialises `w`, see `initial_weight`.
    dtype : float32 or float64

    Examples
    --------
    >>> layer = Conv2d(3, 8, 3, stride=2, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((1, 32, 32, 3), np.float32)).shape
    (1, 16, 16, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: Padding = 0,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        w = initial_weight((kernel, kernel, in_channels, out_channels), rng, dtype)  # (KH, KW, C, M)
        self.w = Parameter(w, "weight")
        conv_geometry(kernel, kernel, kernel, kernel, stride, padding)  # a bad stride or padding is an error at once

    def forward(self, x: Array) -> Array:
        """By im2col, which is the same and faster."""
        out, self._cache = implementation(ops.conv2d_im2col_forward)(x, self.w.value, self.stride, self.padding)
        return out

    def backward(self, dout: Array) -> Array:
        dx, self.w.grad = implementation(ops.conv2d_im2col_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class DepthwiseConv2d(Layer):
    """Depthwise convolution without bias.

    Parameters
    ----------
    channels, kernel : int
    stride, padding
        As in `ops.depthwise_conv2d_forward`.
    rng : numpy.random.Generator
    dtype : float32 or float64

    Examples
    --------
    >>> layer = DepthwiseConv2d(8, 3, stride=2, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((1, 32, 32, 8), np.float32)).shape
    (1, 16, 16, 8)
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: Padding = 0,
        rng: np.random.Generator,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.w = Parameter(initial_weight((kernel, kernel, channels), rng, dtype), "depthwise")  # (KH, KW, C)
        conv_geometry(kernel, kernel, kernel, kernel, stride, padding)  # a bad stride or padding is an error at once

    def forward(self, x: Array) -> Array:
        out, self._cache = implementation(ops.depthwise_conv2d_forward)(x, self.w.value, self.stride, self.padding)
        return out

    def backward(self, dout: Array) -> Array:
        dx, self.w.grad = implementation(ops.depthwise_conv2d_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class PointwiseConv2d(Layer):
    """1x1 convolution without bias: ``x @ w``.

    Parameters
    ----------
    in_channels, out_channels : int
    rng : numpy.random.Generator
    dtype : float32 or float64

    Examples
    --------
    >>> layer = PointwiseConv2d(8, 16, rng=np.random.default_rng(0))
    >>> layer(np.zeros((1, 4, 4, 8), np.float32)).shape
    (1, 4, 4, 16)
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, rng: np.random.Generator, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        self.w = Parameter(initial_weight((in_channels, out_channels), rng, dtype), "weight")  # (C, M)

    def forward(self, x: Array) -> Array:
        out, self._cache = implementation(ops.pointwise_conv2d_forward)(x, self.w.value)
        return out

    def backward(self, dout: Array) -> Array:
        dx, self.w.grad = implementation(ops.pointwise_conv2d_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class BatchNorm(Layer):
    """Batch norm: batch statistics while training (and running averages of them), the running ones in eval.

    Parameters
    ----------
    channels : int
    eps : float
        1e-5 in PyTorch, 1e-3 in TensorFlow and Keras.
    momentum : float
        The share of the **new** statistics: ``running = (1 - momentum) * running + momentum * new``, PyTorch's
        direction. Keras's 0.999 and TF-slim's 0.997 are shares of the *old*: 0.001 and 0.003 here.
    running_var : "unbiased" or "biased"
        Which variance the running average takes. PyTorch divides by m - 1 there (and by m inside the forward),
        as does TensorFlow's fused kernel; Keras 3 divides by m in both.
    dtype : float32 or float64

    Raises
    ------
    ValueError
        For an unknown `running_var`; in training, for a single value per channel under "unbiased".

    Examples
    --------
    >>> layer = BatchNorm(1, momentum=0.1, dtype=np.float64)
    >>> _ = layer(np.array([[1.0], [3.0]]))               # mean 2, unbiased variance 2
    >>> layer.mean.value.item(), layer.var.value.item()   # 0.9 * 0 + 0.1 * 2, 0.9 * 1 + 0.1 * 2
    (0.2, 1.1)
    """

    def __init__(
        self,
        channels: int,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
        running_var: str = "unbiased",
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if running_var not in ("unbiased", "biased"):
            raise ValueError(f'running_var must be "unbiased" or "biased"; was {running_var!r}')
        check_int(channels, "channels")
        dtype = check_dtype(dtype)
        self.eps = check_number(eps, "eps", 0)
        self.momentum = check_number(momentum, "momentum", 0, 1, why="the share of the new")
        self.running_var = running_var
        self.gamma = Parameter(np.ones(channels, dtype), "gamma")  # (C,)
        self.beta = Parameter(np.zeros(channels, dtype), "beta")  # (C,)
        self.mean = Statistic(np.zeros(channels, dtype))  # (C,)
        self.var = Statistic(np.ones(channels, dtype), least=0)  # (C,)

    def forward(self, x: Array) -> Array:
        """Normalise by the batch and update the running statistics; in eval, normalise by the running ones."""
        gamma, beta = self.gamma.value, self.beta.value
        if not self.training:
            mean, var = self._statistics()
            out: Array = implementation(ops.batchnorm_inference)(x, gamma, beta, mean, var, self.eps)
            self._cache = ("eval", (x, mean, var))
            return out
        out, cache = implementation(ops.batchnorm_forward)(x, gamma, beta, self.eps)
        self.update_statistics(x.size // x.shape[-1], cache.mean, cache.var)
        self._cache = ("train", cache)
        return out

    def backward(self, dout: Array) -> Array:
        """Set the gradients of gamma and beta, return dx; in eval the statistics are constants."""
        mode, cache = self._last_cache()
        if mode == "train":
            dx, self.gamma.grad, self.beta.grad = implementation(ops.batchnorm_backward)(dout, cache)
        else:
            x, mean, var = cache
            backward = implementation(ops.batchnorm_inference_backward)
            dx, self.gamma.grad, self.beta.grad = backward(dout, x, self.gamma.value, mean, var, self.eps)
        self._cache = None
        return dx

    def _statistics(self) -> tuple[Array, Array]:
        """The running statistics, as copies: `load_state_dict` before the backward would change them in place."""
        return self.mean.value.copy(), self.var.value.copy()

    def update_statistics(self, m: int, mean: Array, var: Array) -> None:
        """Move the running statistics a step towards those of m values per channel, `var` being biased."""
        correction = 1.0
        if self.running_var == "unbiased":
            if m < 2:
                raise ValueError(
                    "x must hold at least 2 values a channel for an unbiased variance, up to the last batch norm; here "
                    f"it holds {m}: train on more images at a time (an epoch's last batch too) or on larger ones"
                )
            correction = m / (m - 1)
        old_mean, old_var, share = self.mean.value, self.var.value, float(self.momentum)
        new_mean = old_mean + share * (mean - old_mean)
        new_var = old_var + share * (correction * var - old_var)

        def put_back() -> None:
            self.mean.value, self.var.value = old_mean, old_var

        on_failure(put_back)
        self.mean.value, self.var.value = new_mean, new_var


class BatchNormReLU6(BatchNorm):
    """Batch norm with ReLU6 after it, as one operation.

    `BatchNorm` line for line, with ReLU6 after its forward and before its backward.

    Parameters
    ----------
    channels, eps, momentum, running_var, dtype
        As in `BatchNorm`.

    Examples
    --------
    >>> BatchNormReLU6(1, dtype=np.float64)(np.array([[1.0], [3.0]])).round(3).tolist()
    [[0.0], [1.0]]
    """

    def forward(self, x: Array) -> Array:
        """Normalise as `BatchNorm` does, then clip to [0, 6]."""
        gamma, beta = self.gamma.value, self.beta.value
        if not self.training:
            mean, var = self._statistics()
            out: Array = implementation(ops.batchnorm_relu6_inference)(x, gamma, beta, mean, var, self.eps)
            self._cache = ("eval", (x, mean, var))
            return out
        out, cache = implementation(ops.batchnorm_relu6_forward)(x, gamma, beta, self.eps)
        self.update_statistics(x.size // x.shape[-1], cache.mean, cache.var)
        self._cache = ("train", cache)
        return out

    def backward(self, dout: Array) -> Array:
        """Push the gradient back through ReLU6, then as `BatchNorm` does."""
        mode, cache = self._last_cache()
        if mode == "train":
            dx, self.gamma.grad, self.beta.grad = implementation(ops.batchnorm_relu6_backward)(dout, cache)
        else:
            x, mean, var = cache
            gamma, beta = self.gamma.value, self.beta.value
            backward = implementation(ops.batchnorm_relu6_inference_backward)
            dx, self.gamma.grad, self.beta.grad = backward(dout, x, gamma, beta, mean, var, self.eps)
        self._cache = None
        return dx


class ReLU6(Layer):
    """Clip to [0, 6].

    Examples
    --------
    >>> ReLU6()(np.array([-1.0, 7.0])).tolist()
    [0.0, 6.0]
    """

    def forward(self, x: Array) -> Array:
        out, self._cache = implementation(ops.relu6_forward)(x)
        return out

    def backward(self, dout: Array) -> Array:
        dx: Array = implementation(ops.relu6_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class GlobalAvgPool(Layer):
    """Average over the image: (N, H, W, C) to (N, C).

    Examples
    --------
    >>> GlobalAvgPool()(np.ones((2, 3, 3, 4))).shape
    (2, 4)
    """

    def forward(self, x: Array) -> Array:
        out, self._cache = implementation(ops.global_avg_pool_forward)(x)
        return out

    def backward(self, dout: Array) -> Array:
        dx: Array = implementation(ops.global_avg_pool_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class Dropout(Layer):
    """Drop values at random while training; do nothing in eval.

    Parameters
    ----------
    rate : float
        The share dropped.
    rng : numpy.random.Generator
        Its own stream, advanced by every training forward.

    Examples
    --------
    >>> Dropout(0.5, np.random.default_rng(0)).eval()(np.ones((1, 2))).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.rate, self.rng = check_number(rate, "rate", 0, 1, "[)", "the share dropped"), check_generator(rng)

    def forward(self, x: Array) -> Array:
        """`ops.dropout_forward` while training, x itself in eval."""
        if not self.training or self.rate == 0:
            self._cache = ("off", None)
            return x
        before = self.rng.bit_generator.state
        on_failure(lambda: setattr(self.rng.bit_generator, "state", before))
        out, cache = implementation(ops.dropout_forward)(x, self.rate, self.rng)
        self._cache = ("on", cache)
        return out

    def backward(self, dout: Array) -> Array:
        """`ops.dropout_backward`, or dout itself if nothing was dropped."""
        mode, cache = self._last_cache()
        dx: Array = dout if mode == "off" else implementation(ops.dropout_backward)(dout, cache)
        self._cache = None
        return dx


class Linear(Layer):
    """Fully connected layer with a bias.

    Parameters
    ----------
    in_features, out_features : int
    rng : numpy.random.Generator
    dtype : float32 or float64

    Examples
    --------
    >>> Linear(4, 2, rng=np.random.default_rng(0))(np.zeros((1, 4), np.float32)).tolist()
    [[0.0, 0.0]]
    """

    def __init__(
        self, in_features: int, out_features: int, *, rng: np.random.Generator, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        self.w = Parameter(initial_weight((in_features, out_features), rng, dtype), "weight")  # (C, M)
        self.b = Parameter(np.zeros(out_features, dtype), "bias")  # (M,)

    def forward(self, x: Array) -> Array:
        out, self._cache = implementation(ops.linear_forward)(x, self.w.value, self.b.value)
        return out

    def backward(self, dout: Array) -> Array:
        dx, self.w.grad, self.b.grad = implementation(ops.linear_backward)(dout, self._last_cache())
        self._cache = None
        return dx


class Sequential(Layer):
    """Layers one after the other, by name.

    Parameters
    ----------
    layers : dict of str -> Layer
        In the order they run.

    Examples
    --------
    >>> net = Sequential({"a": ReLU6(), "b": ReLU6()})
    >>> net(np.array([[7.0, -1.0]])).tolist(), net.backward(np.array([[1.0, 1.0]])).tolist()
    ([[6.0, 0.0]], [[0.0, 0.0]])
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__()
        self.layers = dict(layers)

    def children(self) -> dict[str, Layer]:
        """The layers by name, in the order they run; first what was added as an attribute, which does not run."""
        return {**super().children(), **self.layers}

    def forward(self, x: Array) -> Array:
        """Run every layer on the output of the one before."""
        self._cache = []  # which forward of each layer it was
        for layer in self.layers.values():
            x = layer(x)
            self._cache.append(layer._number)
        return x

    def backward(self, dout: Array) -> Array:
        """Run every layer's backward, last first."""
        for (name, layer), number in zip(self.layers.items(), self._last_cache(), strict=True):
            if layer._number != number:
                raise RuntimeError(
                    f"backward needs the caches of its own forward; {name} has run another one since, "
                    "here or in another model that shares it"
                )
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        self._cache = None
        return dout


def initial_weight(shape: tuple[int, ...], rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    """Random weights as MobileNetV2's authors draw them: normal with standard deviation 0.09, cut off at two.

    Values beyond two standard deviations are drawn again, so the real deviation is 0.88 of 0.09. A batch norm after
    every convolution takes the scale out of the output, but not out of training: weights ten times as large have
    gradients ten times as small. See docs/derivations/batchnorm.md, "What it does to the weights before it".

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    dtype : float32 or float64

    Returns
    -------
    ndarray of that shape

    References
    ----------
    .. [1] tensorflow/models, research/slim/nets/mobilenet/mobilenet.py, `training_scope(stddev=0.09)` and
           `tf.truncated_normal_initializer`.

    Examples
    --------
    >>> w = initial_weight((3, 3, 3, 32), np.random.default_rng(0))
    >>> w.dtype, bool(abs(w).max() <= 0.18)
    (dtype('float32'), True)
    """
    for length in shape:
        check_int(length, "each length in shape")
    rng, dtype = check_generator(rng), check_dtype(dtype)
    w = rng.normal(0.0, 0.09, shape)
    while (beyond := np.abs(w) > 0.18).any():
        w[beyond] = rng.normal(0.0, 0.09, int(beyond.sum()))
    return w.astype(dtype)
