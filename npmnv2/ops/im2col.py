"""Standard convolution as one matrix product: the fast plain twin of `conv.py`.

The tap loop of `conv2d_forward` multiplies KH*KW thin matrices. Copying all taps side by side first ("image to
columns") makes it one wide product, which BLAS does far better::

    cols (N*OH*OW, KH*KW*C) @ w (KH*KW*C, M)

The price is memory: every pixel is stored once for each window it lies in, KH*KW times for stride 1.
"""

import numpy as np

from npmnv2.ops.conv import Conv2dCache
from npmnv2.ops.padding import PadCache, pad_backward, pad_forward
from npmnv2.shapes import Geometry, Padding, conv_geometry, taps
from npmnv2.validate import Array, check_array, check_dout, check_length


def im2col(x: Array, geometry: Geometry) -> Array:
    """Copy the pixels of every window into one row.

    ::

        cols[(n, y, x), (i, j, c)] = xp[n, s*y + d*i, s*x + d*j, c]

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    geometry : Geometry
        From `shapes.conv_geometry`.

    Returns
    -------
    cols : ndarray of shape (N*OH*OW, KH*KW*C)

    Raises
    ------
    TypeError
        If `x` is not a float array.
    ValueError
        If `x` has not 4 axes, or one other than N has length 0.

    Notes
    -----
    No multiply-adds; writes KH*KW/stride^2 times the bytes of x.

    References
    ----------
    .. [1] Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing",
           2006, section 3.

    Examples
    --------
    >>> from npmnv2.shapes import conv_geometry
    >>> im2col(np.arange(6.0).reshape(1, 2, 3, 1), conv_geometry(2, 3, 2, 2)).tolist()
    [[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0]]
    """
    xp, _ = pad_forward(x, geometry.pads)
    N, C = x.shape[0], x.shape[3]
    KH, KW, OH, OW = geometry.KH, geometry.KW, geometry.OH, geometry.OW
    cols = np.empty((N, OH, OW, KH, KW, C), x.dtype)  # (N, OH, OW, KH, KW, C)
    for i, j, seen in taps(geometry):
        cols[:, :, :, i, j, :] = xp[seen]
    return cols.reshape(N * OH * OW, KH * KW * C)


def conv2d_im2col_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, Conv2dCache]:
    """`conv2d_forward`, computed as one matrix product.

    Parameters, results, errors and multiply-adds are those of `conv2d_forward`; a test holds the two together. The
    cache is the same too, so either backward takes it. The columns are not kept: they are KH*KW times the input.

    See Also
    --------
    conv2d_forward : the same result, tap by tap, to be read.

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> conv2d_im2col_forward(x, w)[0][0, :, :, 0].tolist()
    [[8.0, 12.0], [20.0, 24.0]]
    """
    x = check_array(x, "x", "N H W C")
    w = check_array(w, "w", "KH KW C M", like=x)
    check_length(w, "w", 2, x.shape[3], "the channels of x")
    N, H, W, C = x.shape
    KH, KW, C, M = w.shape
    geometry = conv_geometry(H, W, KH, KW, stride, padding, dilation)

    cols = im2col(x, geometry)
    out = cols @ w.reshape(KH * KW * C, M)  # (N*OH*OW, M)
    return out.reshape(N, geometry.OH, geometry.OW, M), Conv2dCache(x, w, geometry)


def conv2d_im2col_backward(dout: Array, cache: Conv2dCache) -> tuple[Array, Array]:
    """`conv2d_backward`, computed as two matrix products.

    ::

        dw    = cols.T @ dout
        dcols = dout @ w.T,    added back tap by tap where im2col had copied from

    Parameters, results, errors and multiply-adds are those of `conv2d_backward`.

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_im2col_forward(x, w)
    >>> conv2d_im2col_backward(np.ones_like(out), cache)[0][0, :, :, 0].astype(int).tolist()
    [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    x, w, geometry = cache
    N, H, W, C = x.shape
    KH, KW, C, M = w.shape
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, M), x)

    # forward was: out = cols @ w.reshape(KH * KW * C, M)
    dw = (im2col(x, geometry).T @ dout.reshape(-1, M)).reshape(KH, KW, C, M)
    dcols = dout.reshape(-1, M) @ w.reshape(KH * KW * C, M).T  # (N*OH*OW, KH*KW*C)

    dcols = dcols.reshape(N, geometry.OH, geometry.OW, KH, KW, C)
    pad_cache = PadCache(x.shape, geometry.pads, x)
    dxp = np.zeros(pad_cache.xp_shape, dout.dtype)  # (N, H + top + bottom, W + left + right, C)
    for i, j, seen in taps(geometry):
        # forward was: cols[:, :, :, i, j, :] = xp[seen]
        dxp[seen] += dcols[:, :, :, i, j, :]
    return pad_backward(dxp, pad_cache), dw
