"""ReLU and ReLU6. Both have kinks, and what the gradient is there is stated and tested, not left to chance."""

from typing import NamedTuple

import numpy as np

from npmnv2.validate import Array, check_array, check_dout


class ActivationCache(NamedTuple):
    """What the backward needs: the *output*, not the input.

    Both give the same mask, but the output stays in memory anyway as the next layer's input; keeping the input would
    keep a second array of that size alive.
    """

    out: Array  # the shape of x


def relu6(x: Array) -> Array:
    """Clip to [0, 6], NaN stays NaN; a complex number by its real part (for the complex step of `gradcheck`).

    Examples
    --------
    >>> relu6(np.array([-1.0, 3.0, 7.0])).tolist()
    [0.0, 3.0, 6.0]
    """
    if np.iscomplexobj(x):
        return np.where((x.real <= 0) | (x.real >= 6), np.clip(x.real, 0, 6), x)
    return np.clip(x, 0, 6)


def relu6_mask(value: Array) -> Array:
    """Where ReLU6 lets a gradient through: strictly between 0 and 6. Its input and its output give the same mask.

    A NaN is neither at most 0 nor at least 6, and so it passes. ``.real`` changes nothing for real numbers; complex
    ones, which `gradcheck` uses, cannot be compared, and their real part is the value.

    Examples
    --------
    >>> relu6_mask(np.array([-1.0, 0.0, 3.0, 6.0, 7.0])).tolist()
    [False, False, True, False, False]
    """
    return ~((value.real <= 0) | (value.real >= 6))


def let_through(dout: Array, mask: Array) -> Array:
    """`dout` where the mask is true, 0 elsewhere.

    As a product, which NumPy computes fifty times as fast as `np.where` if the mask has no pattern; where 0 times
    something is not 0, because it is infinite or NaN, by `np.where` after all.

    Examples
    --------
    >>> let_through(np.array([1.0, 2.0, np.inf]), np.array([True, False, False])).tolist()
    [1.0, 0.0, 0.0]
    """
    with np.errstate(invalid="ignore", over="ignore"):  # infinity times 0, which is looked for here
        dx = dout * mask
        finite = np.isfinite(dx.sum())
    return dx if finite else np.where(mask, dout, dout.dtype.type(0))


def relu_forward(x: Array) -> tuple[Array, ActivationCache]:
    """Set negative values to zero: ``out = max(x, 0)``.

    Parameters
    ----------
    x : ndarray of any shape with at least one axis

    Returns
    -------
    out : ndarray, the shape and dtype of `x`
    cache : ActivationCache

    Raises
    ------
    TypeError
        If `x` is not a float array.
    ValueError
        If `x` is a single number, without an axis, or an axis other than the first has length 0.

    Notes
    -----
    No multiply-adds; reads x and writes out once.

    Examples
    --------
    >>> relu_forward(np.array([-1.0, 0.0, 7.0]))[0].tolist()
    [0.0, 0.0, 7.0]
    """
    x = check_array(x, "x", "...")
    out = np.where(x.real <= 0, x.dtype.type(0), x)  # not np.maximum: this also serves the complex step; NaN passes
    return out, ActivationCache(out)


def relu_backward(dout: Array, cache: ActivationCache) -> Array:
    """Let the gradient through where x was positive; at x = 0 it is defined to be 0.

    ::

        dx = dout  where x > 0,    0  where x <= 0

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : ActivationCache

    Returns
    -------
    dx : ndarray, the shape of x

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> out, cache = relu_forward(np.array([-1.0, 0.0, 7.0]))
    >>> relu_backward(np.array([5.0, 5.0, 5.0]), cache).tolist()
    [0.0, 0.0, 5.0]
    """
    out = cache.out
    dout = check_dout(dout, out.shape, out)
    # forward says: out = max(x, 0)
    return let_through(dout, ~(out.real <= 0))


def relu6_forward(x: Array) -> tuple[Array, ActivationCache]:
    """Clip to [0, 6]: ``out = min(max(x, 0), 6)``.

    The upper bound keeps activations in a small fixed range, which is what low-precision arithmetic wants.

    Parameters
    ----------
    x : ndarray of any shape with at least one axis

    Returns
    -------
    out : ndarray, the shape and dtype of `x`
    cache : ActivationCache

    Raises
    ------
    TypeError
        If `x` is not a float array.
    ValueError
        If `x` is a single number, without an axis, or an axis other than the first has length 0.

    Notes
    -----
    No multiply-adds; reads x and writes out once.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2", arXiv:1801.04381, section 4: "robustness when used with low-precision
           computation".

    Examples
    --------
    >>> relu6_forward(np.array([-1.0, 3.0, 7.0]))[0].tolist()
    [0.0, 3.0, 6.0]
    """
    x = check_array(x, "x", "...")
    out = relu6(x)
    return out, ActivationCache(out)


def relu6_backward(dout: Array, cache: ActivationCache) -> Array:
    """Let the gradient through where x was strictly between 0 and 6; at the kinks 0 and 6 it is defined to be 0.

    ::

        dx = dout  where 0 < x < 6,    0  where x <= 0 or x >= 6

    PyTorch and TensorFlow choose the same. (A NaN is on neither side of a kink, so there `dout` passes.)

    Parameters
    ----------
    dout : ndarray, the shape and dtype of the forward's output
    cache : ActivationCache

    Returns
    -------
    dx : ndarray, the shape of x

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> out, cache = relu6_forward(np.array([-1.0, 0.0, 3.0, 6.0, 7.0]))
    >>> relu6_backward(np.array([5.0, 5.0, 5.0, 5.0, 5.0]), cache).tolist()
    [0.0, 0.0, 5.0, 0.0, 0.0]
    """
    out = cache.out
    dout = check_dout(dout, out.shape, out)
    # forward says: out = min(max(x, 0), 6)
    return let_through(dout, relu6_mask(out))
