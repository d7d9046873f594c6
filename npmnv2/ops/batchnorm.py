"""Batch normalisation: training, its gradient twice (step by step, then in closed form), and inference.

Channels are the last axis, so the affine part is ``xhat * gamma + beta`` with no reshape. Training and inference
are two functions, not one with a flag: they compute different things and have different gradients.
"""

from typing import NamedTuple

import numpy as np

from npmnv2.validate import Array, check_array, check_dout, check_length, check_number


class BatchNormCache(NamedTuple):
    """What the backward passes need.

    `xhat` is not kept: it is ``(x - mean) * inv_std``, two cheap operations on an `x` that is here anyway, and would
    cost as much memory as `x`.
    """

    x: Array  # (..., C)
    gamma: Array  # (C,)
    beta: Array  # (C,)
    eps: float
    mean: Array  # (C,), of this batch
    inv_std: Array  # (C,), 1 / sqrt(var + eps)
    var: Array  # (C,), of this batch, biased: divided by the count, not by the count minus 1


def batchnorm_forward(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, BatchNormCache]:
    """Normalise each channel by the statistics of this batch, then scale and shift it.

    With m = N*H*W values per channel::

        mean    = sum(x) / m
        var     = sum((x - mean)^2) / m
        inv_std = 1 / sqrt(var + eps)
        xhat    = (x - mean) * inv_std
        out     = xhat * gamma + beta

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C), or (..., C)
        Statistics are taken over every axis but the last.
    gamma, beta : ndarray of shape (C,)
        Scale and shift, in the dtype of `x`.
    eps : float
        Keeps the division finite; 1e-5 in PyTorch, 1e-3 in TensorFlow and Keras, and the difference matters
        (docs/layouts.md).

    Returns
    -------
    out : ndarray, the shape and dtype of `x`
    cache : BatchNormCache
        Its `mean` and `var` are the batch statistics (`var` biased), for running averages.

    Raises
    ------
    ValueError
        If `x` holds no values to average, a length differs from C, or `eps` is negative.
    TypeError
        If `x` is not a float array, or a parameter has another dtype.

    Notes
    -----
    No multiply-adds by the papers' convention. Reads x twice and writes out once: memory traffic sets the time. Sums
    are accumulated in float64: a float32 sum of 100,352 values (batch 8 at 112x112) loses two to three digits. The
    statistics of float32 values are right up to 1e38. Beyond a standard deviation of 1.8e19, `var` as the cache keeps
    it is infinite, which no longer matters here but makes `batchnorm_inference` give `beta`.

    References
    ----------
    .. [1] Ioffe and Szegedy, "Batch normalization", arXiv:1502.03167, algorithm 1.

    Examples
    --------
    >>> x = np.array([[1.0], [3.0]])
    >>> out, cache = batchnorm_forward(x, np.ones(1), np.zeros(1), eps=0.0)
    >>> out.ravel().tolist(), cache.mean.item(), cache.var.item()
    ([-1.0, 1.0], 2.0, 1.0)
    """
    x, gamma, beta = _check(x, gamma, beta, eps)
    if x.size == 0:
        raise ValueError(f"x must hold at least one value a channel to average; its shape was {x.shape}")

    mean, var = _statistics(x)  # (C,), in float64
    inv_std = (1 / np.sqrt(var + eps)).astype(x.dtype)
    xhat = (x - mean.astype(x.dtype)) * inv_std
    out = xhat * gamma + beta
    return out, BatchNormCache(x, gamma, beta, float(eps), mean.astype(x.dtype), inv_std, var.astype(x.dtype))


def batchnorm_backward_steps(dout: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """The gradient of `batchnorm_forward`, one operation a line: the slow form, to be read first.

    The forward, broken into single operations, stands beside its mirror image; read the backward from its first line
    down and the forward from its last line up. `batchnorm_backward` is the closed form that this collapses into, and
    a test holds the two together.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : BatchNormCache

    Returns
    -------
    dx : ndarray, the shape of x
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    References
    ----------
    .. [1] docs/derivations/batchnorm.md, "Step by step".

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> out, cache = batchnorm_forward(x, np.ones(1), np.zeros(1))
    >>> dx, dgamma, dbeta = batchnorm_backward_steps(np.array([[1.0], [0.0], [2.0]]), cache)
    >>> dbeta.item(), bool(abs(dx.sum()) < 1e-12)         # a shift of x changes nothing, so dx sums to 0
    (3.0, True)
    """
    x, gamma = cache.x, cache.gamma
    dout = check_dout(dout, x.shape, x)
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]  # values per channel

    # the forward, one operation a line
    mean = x.sum(axis=axes) / m  # (C,)
    centered = x - mean  # (..., C)
    squared = centered * centered  # (..., C)
    var = squared.sum(axis=axes) / m  # (C,)
    std = np.sqrt(var + cache.eps)  # (C,)
    inv_std = 1 / std  # (C,)
    xhat = centered * inv_std  # (..., C)

    # forward was: out = xhat * gamma + beta
    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dxhat = dout * gamma
    # forward was: xhat = centered * inv_std
    dcentered = dxhat * inv_std
    dinv_std = (dxhat * centered).sum(axis=axes)
    # forward was: inv_std = 1 / std
    dstd = -dinv_std / std**2
    # forward was: std = np.sqrt(var + cache.eps)
    dvar = dstd / (2 * std)
    # forward was: var = squared.sum(axis=axes) / m
    dsquared = dvar / m  # the same for every value: (C,), broadcast
    # forward was: squared = centered * centered
    dcentered = dcentered + 2 * centered * dsquared
    # forward was: centered = x - mean
    dx = dcentered
    dmean = -dcentered.sum(axis=axes)
    # forward was: mean = x.sum(axis=axes) / m
    dx = dx + dmean / m
    return dx, dgamma, dbeta


def batchnorm_backward(dout: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """The gradient of `batchnorm_forward` in closed form: two sums, then one pass.

    ::

        dbeta  = sum(dout)
        dgamma = sum(dout * xhat)
        dx     = gamma * inv_std * (dout - dbeta / m - xhat * dgamma / m)

    The forward ignores the mean of a channel, so the backward removes from `dout` its part along the constant direction
    (``dbeta / m``). With eps = 0 it ignores the scale too, and the part along `xhat` (``xhat * dgamma / m``) is removed
    as well: a projection. With eps > 0 a little of that part stays.
    In particular a constant `dout` gives dx = 0, which is why no test may use one.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : BatchNormCache
        The second value of `batchnorm_forward`. Not modified.

    Returns
    -------
    dx : ndarray, the shape of x
    dgamma, dbeta : ndarray of shape (C,)
        Summed over every axis but the last.

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Notes
    -----
    Reads x and dout twice and writes dx once. When eps > 0 the formula still holds exactly: inv_std carries the eps.

    References
    ----------
    .. [1] docs/derivations/batchnorm.md, "Closed form".

    Examples
    --------
    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> out, cache = batchnorm_forward(x, np.ones(1), np.zeros(1))
    >>> dout = np.array([[1.0], [0.0], [2.0]])
    >>> np.allclose(batchnorm_backward(dout, cache)[0], batchnorm_backward_steps(dout, cache)[0])
    True
    """
    dout = check_dout(dout, cache.x.shape, cache.x)
    xhat = (cache.x - cache.mean) * cache.inv_std
    return closed_form(dout, xhat, cache)


def closed_form(dout: Array, xhat: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """dx, dgamma and dbeta, as `batchnorm_backward` says; xhat: the shape of x, the same as there."""
    m = xhat.size // xhat.shape[-1]  # values per channel

    dbeta = _sum(dout).astype(dout.dtype)
    dgamma = _sum(dout * xhat).astype(dout.dtype)
    dx = (cache.gamma * cache.inv_std) * (dout - dbeta / m - xhat * (dgamma / m))
    return dx, dgamma, dbeta


def batchnorm_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """Normalise by fixed statistics, usually running averages: an affine map, the same for every batch.

    ::

        inv_std = 1 / sqrt(var + eps)
        out     = (x - mean) * inv_std * gamma + beta

    Parameters
    ----------
    x : ndarray of shape (..., C)
    gamma, beta, mean, var : ndarray of shape (C,)
        In the dtype of `x`; `var` not negative.
    eps : float
        The one the statistics were trained with.

    Returns
    -------
    out : ndarray, the shape and dtype of `x`

    Raises
    ------
    TypeError
        If `x` is not a float array, or another argument has another dtype.
    ValueError
        If a length differs from C, or `var` or `eps` is negative.

    Notes
    -----
    Because it is affine it can be folded into the convolution before it: see docs/derivations/batchnorm.md, "Folding".

    References
    ----------
    .. [1] Ioffe and Szegedy, arXiv:1502.03167, algorithm 2, step 11.

    Examples
    --------
    >>> x, one = np.array([[5.0]]), np.ones(1)
    >>> batchnorm_inference(x, 2 * one, 10 * one, mean=3 * one, var=4 * one, eps=0.0).item()   # 2 * (5 - 3) / 2 + 10
    12.0
    """
    x, gamma, beta = _check(x, gamma, beta, eps)
    mean, var = _check_statistics(x, mean, var)
    scale = gamma / np.sqrt(var + eps).astype(x.dtype)  # (C,), inv_std * gamma: one product per value instead of two
    return (x - mean) * scale + beta


def batchnorm_inference_backward(
    dout: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """The gradient of `batchnorm_inference` for x, gamma and beta; the statistics are constants.

    ::

        dbeta  = sum(dout)
        dgamma = sum(dout * (x - mean) * inv_std)
        dx     = dout * gamma * inv_std

    This is what frozen batch norm uses in fine-tuning. Nothing is removed from `dout`, unlike in training: here the
    statistics do not depend on x.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    x, gamma, mean, var, eps
        The forward's arguments.

    Returns
    -------
    dx : ndarray, the shape of x
    dgamma, dbeta : ndarray of shape (C,)

    Raises
    ------
    TypeError
        If `x` is not a float array, or another argument has another dtype.
    ValueError
        If a length differs from C, `dout` has not the shape of `x`, or `var` or `eps` is negative.

    Examples
    --------
    >>> x, one = np.array([[5.0]]), np.ones(1)
    >>> dx, dgamma, dbeta = batchnorm_inference_backward(x, x, 2 * one, 3 * one, 4 * one, eps=0.0)
    >>> dx.item(), dgamma.item(), dbeta.item()
    (5.0, 5.0, 5.0)
    """
    x, gamma, _ = _check(x, gamma, gamma, eps)
    mean, var = _check_statistics(x, mean, var)
    dout = check_dout(dout, x.shape, x)
    inv_std = 1 / np.sqrt(var + eps).astype(x.dtype)  # (C,)
    # forward says: out = (x - mean) * inv_std * gamma + beta
    dbeta = _sum(dout).astype(dout.dtype)
    dgamma = _sum(dout * (x - mean) * inv_std).astype(dout.dtype)
    dx = dout * (gamma * inv_std)
    return dx, dgamma, dbeta


def _statistics(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of every channel, (C,), as float64 (complex128 if x is complex)."""
    m = x.size // x.shape[-1]  # values per channel
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _sum(x) / m
        rounded = mean.astype(x.dtype)
        centered = x - rounded
        var = _sum(centered * centered) / m - (mean - rounded) ** 2  # E[(x-r)^2] - (E[x]-r)^2
        if not np.isfinite(var).all():  # a square beyond 3e38 is too large for float32: everything in float64
            wide = x.astype(mean.dtype)
            mean = _sum(wide) / m
            centered = wide - mean
            var = _sum(centered * centered) / m
    return mean, np.where(var.real < 0, 0, var)  # which it may be by rounding


def _sum(x: Array, rows: int = 128) -> Array:
    """The sum over every axis but the last, (C,), as float64 (complex128 if x is complex).

    So many rows at a time it is a product with ones, which is several times as fast as a sum and rounds as rarely as
    so few rows can; the sums of the rows are then added up in float64.
    """
    wide = np.promote_types(x.dtype, np.float64)
    pixels = x.reshape(-1, x.shape[-1])  # (R, C)
    whole = len(pixels) // rows * rows
    parts = np.ones(rows, x.dtype) @ pixels[:whole].reshape(-1, rows, x.shape[-1])  # (R // rows, C)
    return parts.sum(axis=0, dtype=wide) + pixels[whole:].sum(axis=0, dtype=wide)


def _check(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    x = check_array(x, "x", "... C")
    gamma = check_array(gamma, "gamma", "C", like=x)
    beta = check_array(beta, "beta", "C", like=x)
    check_length(gamma, "gamma", 0, x.shape[-1], "the channels of x")
    check_length(beta, "beta", 0, x.shape[-1], "the channels of x")
    check_number(eps, "eps", 0)
    return x, gamma, beta


def _check_statistics(x: Array, mean: Array, var: Array) -> tuple[Array, Array]:
    mean = check_array(mean, "mean", "C", like=x)
    var = check_array(var, "var", "C", like=x)
    check_length(mean, "mean", 0, x.shape[-1], "the channels of x")
    check_length(var, "var", 0, x.shape[-1], "the channels of x")
    check_variance(var)
    return mean, var


def check_variance(var: Array) -> None:
    """Raise ValueError if a variance is negative. (A complex one, of the complex step, is judged by its real part.)

    Examples
    --------
    >>> check_variance(np.array([1.0, -1.0]))
    Traceback (most recent call last):
        ...
    ValueError: var must not be negative; its smallest value was -1.0
    """
    if (var.real < 0).any():
        raise ValueError(f"var must not be negative; its smallest value was {var.real.min()}")
