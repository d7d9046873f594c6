"""Batch normalisation, compiled: the signatures of `ops.batchnorm`, with the ReLU6 that follows done on the way.

Parameters, results and errors are there. Memory traffic sets the time of batch norm, so a kernel is worth what it does
not read twice. NumPy makes a full array for every operation of the formula; here in float32 a forward moves 12 bytes a
value (x read for the statistics and to normalise, out written), a backward 20 (x and dout read for two sums and for dx,
dx written), inference 8. ReLU6 is free: clipped on the way, its mask worked out again from x. So is `xhat` in the
backward, two operations instead of a third array.

Statistics are taken a chunk of rows at a time, each about its own mean while it is in cache, and merged in float64 in a
fixed order (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37,
1983). The sum over a chunk is taken in the dtype of x: where that is too large for it, or a value is not finite, NumPy
computes all again.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npmnv2 import ops
from npmnv2.kernels.arrays import contiguous, empty
from npmnv2.kernels.batchnorm import loops
from npmnv2.ops.batchnorm import BatchNormCache
from npmnv2.validate import Array, check_array, check_dout, check_length, check_number


def batchnorm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, BatchNormCache]:
    """Normalise by the statistics of this batch: the compiled twin of `ops.batchnorm_forward`.

    >>> x = np.array([[1.0], [3.0]])
    >>> out, cache = batchnorm_forward(x, np.ones(1), np.zeros(1), eps=0.0)
    >>> out.ravel().tolist(), cache.mean.item(), cache.var.item()
    ([-1.0, 1.0], 2.0, 1.0)
    """
    return _forward(x, gamma, beta, eps, False)


def batchnorm_relu6_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, BatchNormCache]:
    """`batchnorm_forward`, then ReLU6, with no array in between: the compiled twin of `ops.batchnorm_relu6_forward`."""
    return _forward(x, gamma, beta, eps, True)


def batchnorm_backward(dout: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """The gradient in closed form: the compiled twin of `ops.batchnorm_backward`.

    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> out, cache = batchnorm_forward(x, np.ones(1), np.zeros(1))
    >>> dx, dgamma, dbeta = batchnorm_backward(np.array([[1.0], [0.0], [2.0]]), cache)
    >>> dbeta.item(), bool(abs(dx.sum()) < 1e-12)
    (3.0, True)
    """
    return _backward(dout, cache, False)


def batchnorm_relu6_backward(dout: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """The gradient through ReLU6 and batch norm: the compiled twin of `ops.batchnorm_relu6_backward`."""
    return _backward(dout, cache, True)


def batchnorm_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """Normalise by fixed statistics: the compiled twin of `ops.batchnorm_inference`.

    >>> x, one = np.array([[5.0]]), np.ones(1)
    >>> batchnorm_inference(x, 2 * one, 10 * one, mean=3 * one, var=4 * one, eps=0.0).item()   # 2 * (5 - 3) / 2 + 10
    12.0
    """
    return _inference(x, gamma, beta, mean, var, eps, False)


def batchnorm_relu6_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """`batchnorm_inference`, then ReLU6, in the same pass: the compiled twin of `ops.batchnorm_relu6_inference`."""
    return _inference(x, gamma, beta, mean, var, eps, True)


def _forward(x: Array, gamma: Array, beta: Array, eps: float, clip: bool) -> tuple[Array, BatchNormCache]:
    _check(x, gamma, beta, eps)
    if x.size == 0:
        raise ValueError(f"x must hold at least one value a channel to average; its shape was {x.shape}")
    rows = _rows(x)
    mean64 = np.empty(rows.shape[1])  # (C,)
    var64 = np.empty(rows.shape[1])  # (C,)
    if not loops.statistics(rows, loops.chunk_rows(rows.shape[1]), mean64, var64):
        forward = ops.batchnorm_relu6_forward if clip else ops.batchnorm_forward
        return forward(x, gamma, beta, eps)
    mean, var = mean64.astype(x.dtype), var64.astype(x.dtype)
    inv_std = (1 / np.sqrt(var64 + eps)).astype(x.dtype)  # (C,)
    out = empty(x.shape, x.dtype)  # (..., C)
    loops.normalise(
        rows, mean, inv_std, contiguous(gamma), contiguous(beta), clip, loops.chunk_rows(rows.shape[1]), _rows(out)
    )
    return out, BatchNormCache(x, gamma, beta, float(eps), mean, inv_std, var)


def _backward(dout: Array, cache: BatchNormCache, clip: bool) -> tuple[Array, Array, Array]:
    x, gamma, beta = cache.x, cache.gamma, cache.beta
    _check(x, gamma, beta, cache.eps)
    dout = check_dout(dout, x.shape, x, compiled=True)
    mean, inv_std = _check_vector(cache.mean, "cache.mean", x), _check_vector(cache.inv_std, "cache.inv_std", x)
    rows, drows, gamma, beta = _rows(x), _rows(dout), contiguous(gamma), contiguous(beta)
    dgamma, dbeta = np.empty(gamma.shape, x.dtype), np.empty(gamma.shape, x.dtype)  # (C,)
    dx = empty(x.shape, x.dtype)  # (..., C)
    norm = mean, inv_std, gamma, beta
    loops.backward(drows, rows, norm, clip, loops.chunk_rows(rows.shape[1]), dgamma, dbeta, _rows(dx))
    return dx, dgamma, dbeta


def _inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, clip: bool) -> Array:
    _check(x, gamma, beta, eps)
    mean, var = _check_vector(mean, "mean", x), _check_vector(var, "var", x)
    if (var < 0).any():
        raise ValueError(f"var must not be negative; its smallest value was {var.min()}")
    scale = contiguous(gamma) / np.sqrt(var + eps).astype(x.dtype)  # (C,), the product that `ops` takes first as well
    one = _ones(scale.size, x.dtype)  # (C,)
    out = empty(x.shape, x.dtype)  # (..., C)
    rows = _rows(x)
    loops.normalise(rows, mean, scale, one, contiguous(beta), clip, loops.chunk_rows(rows.shape[1]), _rows(out))
    return out


@lru_cache(maxsize=64)
def _ones(channels: int, dtype: np.dtype[Any]) -> Array:
    return np.ones(channels, dtype)


def _check(x: Array, gamma: Array, beta: Array, eps: float) -> None:
    check_array(x, "x", "... C", compiled=True)
    if x.ndim < 2:
        raise ValueError(f"x must have at least 2 axes (... C); its shape was {x.shape}")
    _check_vector(gamma, "gamma", x)
    _check_vector(beta, "beta", x)
    check_number(eps, "eps", 0)


def _check_vector(value: Array, name: str, x: Array) -> Array:
    check_array(value, name, "C", like=x, compiled=True)
    check_length(value, name, 0, x.shape[-1], "the channels of x")
    return contiguous(value)


def _rows(x: Array) -> Array:
    """`x` as contiguous (rows, C), see `arrays.plain`; a view where it is that already."""
    return contiguous(x).reshape(-1, x.shape[-1])
