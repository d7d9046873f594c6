"""Dropout: zero some values at random while training, and scale the others so that the mean stays."""

from typing import NamedTuple

import numpy as np

from npmnv2.validate import Array, check_array, check_dout, check_generator, check_number


class DropoutCache(NamedTuple):
    """What `dropout_backward` needs: the mask, already scaled. The input is not kept: nothing else depends on it."""

    scale: Array  # the shape of x: 0 or 1 / (1 - rate)


def dropout_forward(x: Array, rate: float, rng: np.random.Generator) -> tuple[Array, DropoutCache]:
    """Zero each value with probability `rate` and divide the others by ``1 - rate``.

    ::

        out = x * scale,    scale = 0 with probability rate, else 1 / (1 - rate)

    The expected value of out is x, so inference simply leaves the layer out.

    Parameters
    ----------
    x : ndarray of any shape with at least one axis
    rate : float
        The share that is *dropped*, 0 <= rate < 1. (TF-slim's ``dropout_keep_prob=0.8`` is ``rate=0.2``; reading the
        one as the other is a mistake found in published code.)
    rng : numpy.random.Generator
        Where the randomness comes from, always said.

    Returns
    -------
    out : ndarray, the shape and dtype of `x`
    cache : DropoutCache

    Raises
    ------
    TypeError
        If `x` is not a float array, `rate` not a number, or `rng` not a generator: a seed is none.
    ValueError
        If `x` has no axis, or `rate` is not in [0, 1).

    References
    ----------
    .. [1] Srivastava et al., "Dropout", JMLR 15, 2014. (The scaling at training time is the "inverted" form.)

    Examples
    --------
    >>> out, _ = dropout_forward(np.ones((1, 4)), 0.5, np.random.default_rng(0))
    >>> out.tolist()
    [[2.0, 0.0, 0.0, 0.0]]
    """
    x = check_array(x, "x", "...")
    check_number(rate, "rate", 0, 1, "[)", "the share dropped")
    rng = check_generator(rng)
    kept = np.asarray(rng.random(x.shape) >= rate)
    scale = kept.astype(x.dtype) / x.dtype.type(1 - rate)
    out = x * scale
    return out, DropoutCache(scale)


def dropout_backward(dout: Array, cache: DropoutCache) -> Array:
    """Send the gradient back through the same mask: ``dx = dout * scale``.

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : DropoutCache

    Returns
    -------
    dx : ndarray, the shape of x

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> out, cache = dropout_forward(np.ones((1, 4)), 0.5, np.random.default_rng(0))
    >>> dropout_backward(np.full((1, 4), 3.0), cache).tolist()
    [[6.0, 0.0, 0.0, 0.0]]
    """
    dout = check_dout(dout, cache.scale.shape, cache.scale)
    # forward was: out = x * scale
    return dout * cache.scale
