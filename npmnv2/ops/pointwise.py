"""Pointwise (1x1) convolution: one tap, so channels are mixed and space is not. In NHWC it is literally ``x @ w``."""

from typing import NamedTuple

from npmnv2.validate import Array, check_array, check_dout, check_length


class PointwiseCache(NamedTuple):
    """What `pointwise_conv2d_backward` needs: both factors, by reference. The output is not kept."""

    x: Array  # (N, H, W, C)
    w: Array  # (C, M)


def pointwise_conv2d_forward(x: Array, w: Array) -> tuple[Array, PointwiseCache]:
    """Multiply the channels of every pixel by one matrix.

    ::

        out[n, y, x, m] = sum_c  x[n, y, x, c] * w[c, m]

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
        Images, float32 or float64. N may be 0.
    w : ndarray of shape (C, M)
        In the dtype of `x`.

    Returns
    -------
    out : ndarray of shape (N, H, W, M)
        In the dtype of `x`.
    cache : PointwiseCache
        For `pointwise_conv2d_backward`.

    Raises
    ------
    ValueError
        If a rank is wrong or `w` has not as many rows as `x` has channels.
    TypeError
        If `x` is not a float array, or `w` has another dtype.

    See Also
    --------
    conv2d_forward : the same at every tap of a kernel, summed.
    depthwise_conv2d_forward : space alone.
    linear_forward : the same for an image of one pixel, and a bias.

    Notes
    -----
    N*H*W * C*M multiply-adds: most of a MobileNet. Reads N*H*W*C and writes N*H*W*M values, so the work per value is
    C*M / (C + M): unlike the depthwise convolution it is bound by arithmetic once the channels are wide.

    All pixels are rows of one tall matrix, and the product is written that way: for a 4-D `x`, ``x @ w`` would be one
    small product for each of the N*H image rows.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, section 3.1.

    Examples
    --------
    >>> x, w = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[1.0, 10.0, 0.0], [0.0, 1.0, 1.0]])
    >>> pointwise_conv2d_forward(x, w)[0].tolist()
    [[[[0.0, 1.0, 1.0], [2.0, 23.0, 3.0]]]]
    """
    x = check_array(x, "x", "N H W C")
    w = check_array(w, "w", "C M", like=x)
    check_length(w, "w", 0, x.shape[3], "the channels of x")
    N, H, W, C = x.shape
    C, M = w.shape

    out = x.reshape(-1, C) @ w  # (N*H*W, M)
    return out.reshape(N, H, W, M), PointwiseCache(x, w)


def pointwise_conv2d_backward(dout: Array, cache: PointwiseCache) -> tuple[Array, Array]:
    """Push a gradient back through a matrix product.

    ::

        dw[c, m]       = sum_nyx  x[n, y, x, c] * dout[n, y, x, m]        dw = x.T @ dout
        dx[n, y, x, c] = sum_m    dout[n, y, x, m] * w[c, m]              dx = dout @ w.T

    Parameters
    ----------
    dout : ndarray of shape (N, H, W, M)
        dL/d(out), in the dtype of the forward input.
    cache : PointwiseCache
        The second value of `pointwise_conv2d_forward`. Not modified.

    Returns
    -------
    dx : ndarray of shape (N, H, W, C)
    dw : ndarray of shape (C, M)
        Summed over N, H, W.

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Notes
    -----
    2 * N*H*W * C*M multiply-adds, twice the forward. Derived in docs/derivations/convolutions.md, "Pointwise
    convolution".

    Examples
    --------
    >>> x, w = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[1.0, 10.0, 0.0], [0.0, 1.0, 1.0]])
    >>> out, cache = pointwise_conv2d_forward(x, w)
    >>> dx, dw = pointwise_conv2d_backward(np.ones_like(out), cache)
    >>> dx.tolist(), dw.tolist()
    ([[[[11.0, 2.0], [11.0, 2.0]]]], [[2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    """
    x, w = cache
    N, H, W, C = x.shape
    C, M = w.shape
    dout = check_dout(dout, (N, H, W, M), x)

    rows = x.reshape(-1, C)  # (N*H*W, C)
    dout_rows = dout.reshape(-1, M)  # (N*H*W, M)
    # forward was: out = x.reshape(-1, C) @ w
    dw = rows.T @ dout_rows
    dx = dout_rows @ w.T
    return dx.reshape(N, H, W, C), dw
