"""Numerical gradients, and how far two gradients are apart: four ways to find out whether one is right. Only NumPy.

`compare.py` does the work with them: three lines there check an operation or a layer.

1. *Finite differences*: nudge every input up and down and watch the output. Exact for a linear function but for
   rounding, so a **large** step is right there (1e-2 gives about 1e-13; the customary 1e-6 only 1e-9).
2. *Complex step*: for a function that is smooth, ``f(x + ih) = f(x) + ih f'(x) + O(h^2)``; the imaginary part is the
   derivative with no subtraction at all, so h can be 1e-30 and the error is rounding alone.
3. *Adjoint identity*: a backward pass is the transpose of the derivative, so ``<dout, J v> = <J^T dout, v>`` for every
   v. One forward and one backward check it at any size, where nudging each of a million inputs would never end.
4. *One direction*: the same identity with J v from a difference, all inputs moved at once along a random v. Two
   forwards at any size, and for what is not linear too: a whole network.

The upstream gradient `dout` is random, never ones: through batch norm the true dx of ones is zero, and a backward that
returned zeros would pass.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[..., Any]


def relative_error(a: Array, b: Array) -> float:
    """The largest difference between two arrays, relative to the largest value in either.

    ::

        max |a - b| / max(max |a|, max |b|)

    Relative to the largest value, not elementwise: an element that is 0 up to rounding has no relative error worth the
    name. NaN anywhere, or different shapes, give infinity, so that no comparison passes by accident. Taken in float64:
    in uint8, 0 - 255 would be 1.

    Parameters
    ----------
    a, b : ndarray
        Of the same shape.

    Returns
    -------
    float
        0 for equal arrays (two arrays of zeros, or empty ones, too).

    Examples
    --------
    >>> round(relative_error(np.array([1.0, 100.0]), np.array([1.0, 101.0])), 4)         # 1 / 101
    0.0099
    """
    a, b = (np.asarray(value) for value in (a, b))
    if a.shape != b.shape:
        return float("inf")
    a, b = (value.astype(np.promote_types(value.dtype, np.float64)) for value in (a, b))
    if a.size == 0:
        return 0.0
    difference = float(np.abs(a - b).max())
    if not np.isfinite(difference):
        return float("inf")
    scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return difference / scale if scale else 0.0


def numerical_gradient(f: Function, x: Array, dout: Array, step: float = 1e-2) -> Array:
    """The gradient of ``sum(f(x) * dout)`` by central differences.

    ::

        dx[k] = sum( dout * (f(x + step * e_k) - f(x - step * e_k)) ) / (2 * step)

    Parameters
    ----------
    f : callable
        From an array to an array of the shape of `dout`.
    x : ndarray of float64
        Not modified: a copy is nudged, one element at a time.
    dout : ndarray
        Upstream gradient; random, not ones.
    step : float
        1e-2 for a linear `f` (exact but for rounding), about 1e-5 for a curved one.

    Returns
    -------
    ndarray, the shape of x

    Notes
    -----
    2 * x.size evaluations of f.

    Examples
    --------
    >>> dx = numerical_gradient(lambda x: 3 * x, np.array([5.0]), np.array([2.0]))
    >>> dx.round(9).item()                        # 3 * 2, up to the rounding of the two values of f, hence round
    6.0
    """
    x = x.astype(np.float64)  # a copy, which the loop may change
    dx = np.empty_like(x)
    for k in np.ndindex(x.shape):
        original = x[k]
        x[k] = original + step
        up = np.array(f(x))  # np.array copies: f may return x itself, which changes on the next line
        x[k] = original - step
        down = np.array(f(x))
        x[k] = original
        dx[k] = np.sum((up - down) * dout) / (2 * step)
    return dx


def complex_step_gradient(f: Function, x: Array, dout: Array, step: float = 1e-30) -> Array:
    """The gradient of ``sum(f(x) * dout)`` by the complex step: exact to rounding for a smooth `f`.

    ::

        dx[k] = sum( dout * imag(f(x + i * step * e_k)) ) / step

    Parameters
    ----------
    f : callable
        Must accept complex128 and be analytic where it is evaluated: sums, products, powers, exp, sqrt. No ``abs``, no
        ``max`` of the complex values themselves.
    x : ndarray of float64
        Not modified.
    dout : ndarray
        Upstream gradient; random, not ones.
    step : float
        Any tiny number: nothing is subtracted, so nothing cancels.

    Returns
    -------
    ndarray, the shape of x

    References
    ----------
    .. [1] Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.

    Examples
    --------
    >>> complex_step_gradient(np.exp, np.array([0.0]), np.array([1.0])).item()
    1.0
    """
    z = x.astype(np.complex128)  # a copy
    dx = np.empty(x.shape, np.float64)
    for k in np.ndindex(x.shape):
        original = z[k]
        z[k] = original + 1j * step
        dx[k] = np.sum(np.asarray(f(z)).imag * dout) / step
        z[k] = original
    return dx


def directional_derivative(
    f: Function, inputs: Sequence[Array], v: Sequence[Array], dout: Array, step: float = 1e-6
) -> float:
    """The derivative of ``sum(f(*inputs) * dout)`` in the direction v, by one central difference.

    ::

        <dout, J v> = sum( dout * (f(inputs + step * v) - f(inputs - step * v)) ) / (2 * step)

    Parameters
    ----------
    f : callable
        From the arrays to an array of the shape of `dout`.
    inputs : sequence of ndarray of float64
        Not modified.
    v : sequence of ndarray
        The direction, one array for each input, of its shape.
    dout : ndarray
        Upstream gradient; random, not ones.
    step : float
        About 1e-6; less if `f` has kinks that a value might cross on the way.

    Returns
    -------
    float

    Notes
    -----
    2 evaluations of f, at any size.

    Examples
    --------
    >>> x, w = np.array([2.0]), np.array([3.0])                 # of x * w, if both grow alike: 2 + 3
    >>> round(directional_derivative(lambda x, w: x * w, [x, w], [np.ones(1), np.ones(1)], np.ones(1)), 6)
    5.0
    """
    up = np.array(f(*(value + step * d for value, d in zip(inputs, v, strict=True))))
    down = np.array(f(*(value - step * d for value, d in zip(inputs, v, strict=True))))
    return float(np.sum((up - down) * dout)) / (2 * step)


def adjoint_error(dout: Array, Jv: Array, JT_dout: Sequence[Array], v: Sequence[Array]) -> float:
    """How far ``<dout, J v>`` is from ``<J^T dout, v>``, relative to the sizes that meet in the sums.

    For a function linear in one argument, J v is the forward of v itself, so one forward and one backward suffice.

    Parameters
    ----------
    dout : ndarray
        Random upstream gradient.
    Jv : ndarray, the shape of dout
        The derivative of the forward in the direction v.
    JT_dout : sequence of ndarray
        What the backward returned for `dout`.
    v : sequence of ndarray
        The direction, one array for each of JT_dout.

    Returns
    -------
    float
        ``|a - b| / (sum|dout * Jv| + sum|JT_dout * v|) * sqrt(dout.size)``, where a and b are the two sides. Divided by
        the sums of the absolute values, not by a or b: terms that cancel leave a small a, and rounding is as large as
        the terms are. Times sqrt(n): n roundings go up and down at random and grow to about sqrt(n) of them, while
        the sums grow with n. Without the factor, more terms would make any error look smaller; with it, one tolerance
        serves every size. Infinity if a value is not finite, or a shape not its partner's.

    Examples
    --------
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]])
    >>> adjoint_error(np.ones((1, 1)), x @ w, [np.ones((1, 1)) @ w.T], [x])
    0.0
    """
    pairs = [(dout, Jv), *zip(JT_dout, v, strict=True)]
    if any(np.shape(a) != np.shape(b) for a, b in pairs):
        return float("inf")
    left = float(np.sum(dout * Jv, dtype=np.float64))
    right = sum(float(np.sum(g * d, dtype=np.float64)) for g, d in zip(JT_dout, v, strict=True))
    size = float(np.abs(dout * Jv).sum(dtype=np.float64))
    size += sum(float(np.abs(g * d).sum(dtype=np.float64)) for g, d in zip(JT_dout, v, strict=True))
    if not np.isfinite(size):
        return float("inf")
    return abs(left - right) * float(np.sqrt(max(dout.size, 1))) / size if size else 0.0


def away_from_kinks(x: Array, kinks: Sequence[float] = (0.0, 6.0), margin: float = 0.05) -> Array:
    """Move values that lie within `margin` of a kink out of its way, since no difference across a kink is a derivative.

    Parameters
    ----------
    x : ndarray
    kinks : sequence of float
        ReLU6's by default.
    margin : float
        More than the step of the differences.

    Returns
    -------
    ndarray
        A copy of x in which no value is nearer than `margin` to a kink.

    Raises
    ------
    TypeError
        If `x` is not a float array: an integer cannot move by less than 1.
    ValueError
        If `margin` is not positive, or two kinks are so close that leaving one is entering the other.

    Examples
    --------
    >>> away_from_kinks(np.array([-1.0, 0.01, 3.0, 5.99])).tolist()
    [-1.0, 0.05, 3.0, 5.95]
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        raise TypeError(f"x must be an array of floats; was {kind(x)}")
    if not margin > 0:
        raise ValueError(f"margin must be positive; was {margin!r}")
    if any(not abs(a - b) >= 2 * margin for a, b in itertools.combinations(kinks, 2)):
        raise ValueError(f"kinks must lie at least 2 * margin, {2 * margin:g}, apart; was {kinks!r}")
    x = x.copy()
    for kink in kinks:
        near = np.abs(x - kink) < margin
        x[near] = kink + np.where(x[near] >= kink, margin, -margin)
    return x


def kind(value: object) -> str:
    """What a value is, for an error.

    Examples
    --------
    >>> kind(np.zeros(2)), kind([0.0])
    ('float64 array', 'list')
    """
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
