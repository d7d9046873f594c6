"""Average pooling, over windows and over the whole image."""

from typing import NamedTuple

import numpy as np

from npmnv2.ops.padding import PadCache, pad_backward, pad_forward
from npmnv2.shapes import Geometry, Padding, conv_geometry, is_int, taps
from npmnv2.validate import Array, check_array, check_dout


class GlobalAvgPoolCache(NamedTuple):
    """What `global_avg_pool_backward` needs: a shape. No pixel is kept, because an average is linear."""

    x_shape: tuple[int, ...]
    like: Array  # holds no value, only the dtype that the gradient must have


class AvgPool2dCache(NamedTuple):
    """What `avg_pool2d_backward` needs: sizes. No pixel is kept, because an average is linear."""

    x_shape: tuple[int, ...]
    geometry: Geometry
    like: Array  # holds no value, only the dtype that the gradient must have


def global_avg_pool_forward(x: Array) -> tuple[Array, GlobalAvgPoolCache]:
    """Average every channel over the image, which makes the classifier independent of the image's size.

    ::

        out[n, c] = sum_yx x[n, y, x, c] / (H*W)

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)

    Returns
    -------
    out : ndarray of shape (N, C)
    cache : GlobalAvgPoolCache

    Raises
    ------
    TypeError
        If `x` is not a float array.
    ValueError
        If `x` has not 4 axes, or one other than N has length 0.

    Notes
    -----
    N*H*W*C additions, in float64 as batch norm's; no multiply-adds by the papers' convention.

    References
    ----------
    .. [1] Lin, Chen and Yan, "Network in network", arXiv:1312.4400, section 3.2.

    Examples
    --------
    >>> global_avg_pool_forward(np.arange(4.0).reshape(1, 2, 2, 1))[0].tolist()
    [[1.5]]
    """
    x = check_array(x, "x", "N H W C")
    wide = np.promote_types(x.dtype, np.float64)  # an image may be large: the sum is taken in float64
    return x.mean(axis=(1, 2), dtype=wide).astype(x.dtype), GlobalAvgPoolCache(x.shape, np.empty(0, x.dtype))


def global_avg_pool_backward(dout: Array, cache: GlobalAvgPoolCache) -> Array:
    """Share the gradient out equally: ``dx[n, y, x, c] = dout[n, c] / (H*W)``.

    Parameters
    ----------
    dout : ndarray of shape (N, C)
    cache : GlobalAvgPoolCache

    Returns
    -------
    dx : ndarray of shape (N, H, W, C)

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> _, cache = global_avg_pool_forward(np.arange(4.0).reshape(1, 2, 2, 1))
    >>> global_avg_pool_backward(np.array([[8.0]]), cache).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    N, H, W, C = cache.x_shape
    dout = check_dout(dout, (N, C), cache.like)
    # forward says: out = x.mean(axis=(1, 2))
    dx = np.empty((N, H, W, C), dout.dtype)  # (N, H, W, C)
    dx[:] = (dout / (H * W))[:, None, None, :]
    return dx


def avg_pool2d_forward(
    x: Array, size: int, stride: int | None = None, padding: Padding = 0
) -> tuple[Array, AvgPool2dCache]:
    """Average over `size x size` windows, counting real pixels only.

    ::

        out[n, y, x, c] = sum_ij xp[n, s*y + i, s*x + j, c] / count[y, x]

    where count is the number of pixels of the window that lie inside the image, as TensorFlow and ONNX divide. (PyTorch
    counts the padding too: that is `pad_forward`, then this with ``padding=0``.)

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    size : int
        Side of the window, in pixels.
    stride : int, optional
        Step between windows; `size` by default, so that windows tile the image.
    padding
        As in `conv2d_forward`; less than `size` on every side, so that no window is all padding.

    Returns
    -------
    out : ndarray of shape (N, OH, OW, C)
    cache : AvgPool2dCache

    Raises
    ------
    TypeError
        If `x` is not a float array, or `size` or `stride` not an integer.
    ValueError
        If `x` has not 4 axes, `size` or `stride` is below 1, `padding` is not below `size`, or the padded image is
        smaller than the window.

    Notes
    -----
    N*OH*OW*C * size^2 additions.

    Examples
    --------
    >>> avg_pool2d_forward(np.arange(4.0).reshape(1, 2, 2, 1), 2)[0].item()
    1.5
    """
    x = check_array(x, "x", "N H W C")
    if not is_int(size):
        raise TypeError(f"size must be an integer; was {size!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1; was {size}")
    N, H, W, C = x.shape
    geometry = conv_geometry(H, W, size, size, size if stride is None else stride, padding)
    if max(max(side) for side in geometry.pads) >= size:
        raise ValueError(f"padding must be less than size, {size}; was {padding!r}")

    xp, _ = pad_forward(x, geometry.pads)
    out = np.zeros((N, geometry.OH, geometry.OW, C), x.dtype)  # (N, OH, OW, C)
    for _i, _j, seen in taps(geometry):
        out += xp[seen]
    count = _count(geometry, x)
    out /= count
    return out, AvgPool2dCache(x.shape, geometry, np.empty(0, x.dtype))


def avg_pool2d_backward(dout: Array, cache: AvgPool2dCache) -> Array:
    """Share the gradient of every window out among its pixels.

    ::

        dxp[n, s*y + i, s*x + j, c] += dout[n, y, x, c] / count[y, x]

    Parameters
    ----------
    dout : ndarray of shape (N, OH, OW, C)
    cache : AvgPool2dCache

    Returns
    -------
    dx : ndarray of shape (N, H, W, C)

    Raises
    ------
    ValueError, TypeError
        If `dout` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> _, cache = avg_pool2d_forward(np.arange(4.0).reshape(1, 2, 2, 1), 2)
    >>> avg_pool2d_backward(np.full((1, 1, 1, 1), 8.0), cache).ravel().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    N, _, _, C = cache.x_shape
    geometry = cache.geometry
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, C), cache.like)

    pad_cache = PadCache(cache.x_shape, geometry.pads, cache.like)
    dxp = np.zeros(pad_cache.xp_shape, dout.dtype)  # (N, H + top + bottom, W + left + right, C)
    # forward was: out /= count
    dsum = dout / _count(geometry, dout)
    for _i, _j, seen in taps(geometry):
        # forward was: out += xp[seen]
        dxp[seen] += dsum
    return pad_backward(dxp, pad_cache)


def _count(geometry: Geometry, like: Array) -> Array:
    """How many pixels of each window lie inside the image: the pool of an image of ones."""
    ones, _ = pad_forward(np.ones((1, geometry.H, geometry.W, 1), like.dtype), geometry.pads)
    count = np.zeros((1, geometry.OH, geometry.OW, 1), like.dtype)  # (1, OH, OW, 1)
    for _i, _j, seen in taps(geometry):
        count += ones[seen]
    return count
