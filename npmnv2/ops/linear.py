"""The fully connected layer: the pointwise convolution of an image that has been pooled to one pixel, plus a bias."""

from typing import NamedTuple

import numpy as np

from npmnv2.validate import Array, check_array, check_dout, check_length


class LinearCache(NamedTuple):
    """What `linear_backward` needs: both factors, by reference. The bias is not kept: nothing is multiplied by it."""

    x: Array  # (N, C)
    w: Array  # (C, M)


def linear_forward(x: Array, w: Array, b: Array) -> tuple[Array, LinearCache]:
    """Multiply by a matrix and add a bias: ``out[n, m] = sum_c x[n, c] * w[c, m] + b[m]``.

    Parameters
    ----------
    x : ndarray of shape (N, C)
    w : ndarray of shape (C, M)
        In the dtype of `x`. (PyTorch stores the transpose, (M, C).)
    b : ndarray of shape (M,)
        In the dtype of `x`.

    Returns
    -------
    out : ndarray of shape (N, M)
    cache : LinearCache

    Raises
    ------
    TypeError
        If `x` is not a float array, or `w` or `b` has another dtype.
    ValueError
        If `w` has not as many rows as `x` has columns, or `b` not as many values as `w` has columns.

    Notes
    -----
    N*C*M multiply-adds. At batch 1 each weight is used once, so reading w sets the time.

    Examples
    --------
    >>> x, w, b = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 10.0]]), np.array([0.5, 0.0])
    >>> linear_forward(x, w, b)[0].tolist()
    [[1.5, 20.0]]
    """
    x = check_array(x, "x", "N C")
    w = check_array(w, "w", "C M", like=x)
    b = check_array(b, "b", "M", like=x)
    check_length(w, "w", 0, x.shape[1], "the columns of x")
    check_length(b, "b", 0, w.shape[1], "the columns of w")
    out = x @ w + b
    return out, LinearCache(x, w)


def linear_backward(dout: Array, cache: LinearCache) -> tuple[Array, Array, Array]:
    """Push a gradient back through ``x @ w + b``.

    ::

        dx = dout @ w.T        dw = x.T @ dout        db = sum_n dout

    Parameters
    ----------
    dout : ndarray of shape (N, M)
    cache : LinearCache

    Returns
    -------
    dx : ndarray of shape (N, C)
    dw : ndarray of shape (C, M)
    db : ndarray of shape (M,)

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Notes
    -----
    2 * N*C*M multiply-adds.

    References
    ----------
    .. [1] docs/derivations/activations.md, "Linear layer".

    Examples
    --------
    >>> x, w, b = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 10.0]]), np.array([0.5, 0.0])
    >>> dx, dw, db = linear_backward(np.array([[1.0, 3.0]]), linear_forward(x, w, b)[1])
    >>> dx.tolist(), dw.tolist(), db.tolist()
    ([[1.0, 30.0]], [[1.0, 3.0], [2.0, 6.0]], [1.0, 3.0])
    """
    x, w = cache
    dout = check_dout(dout, (x.shape[0], w.shape[1]), x)
    wide = np.promote_types(dout.dtype, np.float64)  # a batch may be long: the sum is taken in float64
    # forward was: out = x @ w + b
    return dout @ w.T, x.T @ dout, dout.sum(axis=0, dtype=wide).astype(dout.dtype)
