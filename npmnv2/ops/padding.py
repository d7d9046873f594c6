"""Zeros around an image, and their backward: cutting the border off again."""

from typing import NamedTuple

import numpy as np

from npmnv2.shapes import Padding, Pads, resolve_padding
from npmnv2.validate import Array, check_array, check_dout


class PadCache(NamedTuple):
    """What `pad_backward` needs: sizes only. No pixel is kept, because padding is linear and has no weights."""

    x_shape: tuple[int, ...]
    pads: Pads
    like: Array  # holds no value, only the dtype that the gradient must have

    @property
    def xp_shape(self) -> tuple[int, int, int, int]:
        """The shape of the padded image."""
        N, H, W, C = self.x_shape
        (top, bottom), (left, right) = self.pads
        return N, top + H + bottom, left + W + right, C


def pad_forward(x: Array, padding: Padding) -> tuple[Array, PadCache]:
    """Put zeros around every image.

    ::

        xp[n, top + y, left + x, c] = x[n, y, x, c],    0 elsewhere

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    padding : int or ((top, bottom), (left, right))
        Pixels of zeros on each side. ``"same"`` needs a kernel to be the same for, so it belongs to the convolutions.

    Returns
    -------
    xp : ndarray of shape (N, top + H + bottom, left + W + right, C)
        `x` itself, not a copy, if there is nothing to add.
    cache : PadCache

    Raises
    ------
    TypeError
        If `x` is not a float array, or the pairs of `padding` not of integers.
    ValueError
        If `x` has not 4 axes, or `padding` is negative, ``"same"``, or neither a number nor two pairs.

    Notes
    -----
    No multiply-adds; reads x and writes xp once.

    Examples
    --------
    >>> xp, _ = pad_forward(np.ones((1, 1, 2, 1)), ((0, 1), (1, 0)))
    >>> xp[0, :, :, 0].tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    x = check_array(x, "x", "N H W C")
    N, H, W, C = x.shape
    if isinstance(padding, str):
        raise ValueError(f"padding must be an int or ((top, bottom), (left, right)) here; was {padding!r}")
    pads = resolve_padding(padding, H, W, 1, 1)
    (top, _), (left, _) = pads
    cache = PadCache(x.shape, pads, np.empty(0, x.dtype))  # not x[:0], a view, which would keep x in memory
    if pads == ((0, 0), (0, 0)):
        return x, cache
    xp = np.zeros(cache.xp_shape, x.dtype)  # (N, H + top + bottom, W + left + right, C)
    xp[:, top : top + H, left : left + W] = x
    return xp, cache


def pad_backward(dxp: Array, cache: PadCache) -> Array:
    """Cut the border off: the zeros were constants, so no gradient belongs to them.

    Parameters
    ----------
    dxp : ndarray of shape (N, top + H + bottom, left + W + right, C)
    cache : PadCache

    Returns
    -------
    dx : ndarray of shape (N, H, W, C)
        A contiguous copy (or `dxp` itself if there was no padding), so that the larger `dxp` can be freed.

    Raises
    ------
    ValueError, TypeError
        If `dxp` has not the shape and dtype of the forward's output.

    Examples
    --------
    >>> _, cache = pad_forward(np.ones((1, 1, 2, 1)), 1)
    >>> pad_backward(np.arange(12.0).reshape(1, 3, 4, 1), cache).ravel().tolist()
    [5.0, 6.0]
    """
    N, H, W, C = cache.x_shape
    (top, _), (left, _) = cache.pads
    dxp = check_dout(dxp, cache.xp_shape, cache.like)
    if cache.pads == ((0, 0), (0, 0)):
        return dxp
    # forward was: xp[:, top : top + H, left : left + W] = x
    return np.ascontiguousarray(dxp[:, top : top + H, left : left + W])
