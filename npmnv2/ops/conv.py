"""Standard convolution: every tap is a matrix, so space and channels are mixed at once.

Read this file beside `depthwise.py`: the same names, the same lines in the same order. What differs is what happens
to the channels, and each time it is one sign or one letter::

    out += tap @ w[i, j]                        out += tap * w[i, j]
    dxp[seen] += dout @ w[i, j].T               dxp[seen] += dout * w[i, j]
    dw[i, j] = einsum("nyxc,nyxm->cm", ...)     dw[i, j] = einsum("nyxc,nyxc->c", ...)

(A diagonal matrix is its own transpose, so `.T` has no counterpart.) `np.einsum` multiplies arrays and sums over every
letter that is missing after the arrow: ``"nyxc,nyxm->cm"`` is ``sum_nyx tap[n, y, x, c] * dout[n, y, x, m]`` for every
c and m. With ``optimize=True`` it hands that sum to BLAS as a matrix product; without a second letter there is none.
"""

from typing import NamedTuple

import numpy as np

from npmnv2.ops.padding import pad_backward, pad_forward
from npmnv2.shapes import Geometry, Padding, conv_geometry, taps
from npmnv2.validate import Array, check_array, check_dout, check_length


class Conv2dCache(NamedTuple):
    """What `conv2d_backward` needs: the forward's arguments.

    The padded image is not kept: padding again costs one copy, keeping it would cost the memory of a second input
    for as long as the network runs. `x` and `w` are kept by reference, so do not write to them before the backward.
    """

    x: Array  # (N, H, W, C)
    w: Array  # (KH, KW, C, M)
    geometry: Geometry


def conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, Conv2dCache]:
    """Slide M filters over the image; each sees every channel of its window.

    For every image n, output pixel (y, x) and filter m, with stride s, dilation d and the zero-padded input xp::

        out[n, y, x, m] = sum_ijc  xp[n, s*y + d*i, s*x + d*j, c] * w[i, j, c, m]

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
        Images, float32 or float64. N may be 0.
    w : ndarray of shape (KH, KW, C, M)
        Filters, in the dtype of `x`.
    stride : int
        Pixels from one window to the next.
    padding : int, ((top, bottom), (left, right)) or "same"
        Zeros around the image; ``"same"`` as TensorFlow computes it (`shapes.same_padding`).
    dilation : int
        Pixels from one tap to the next.

    Returns
    -------
    out : ndarray of shape (N, OH, OW, M)
        In the dtype of `x`.
    cache : Conv2dCache
        For `conv2d_backward`.

    Raises
    ------
    ValueError
        If a shape does not fit: rank, channels of `w`, kernel larger than the padded image, stride or dilation below 1.
    TypeError
        If `x` is not a float array, or `w` has another dtype.

    See Also
    --------
    depthwise_conv2d_forward : each channel by itself, the diagonal of `w`'s matrices.
    pointwise_conv2d_forward : one tap, channels alone.
    grouped_conv2d_forward : the channels in groups; contains this one and the depthwise one.
    conv2d_im2col_forward : the same result as one matrix product.

    Notes
    -----
    N*OH*OW * KH*KW * C*M multiply-adds. The tap loop reads x and writes out once per tap; `conv2d_im2col_forward`
    is the fast twin.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, section 3.1, equation (1) (there N is our M, M our C).

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_forward(x, w)
    >>> out[0, :, :, 0].tolist()                  # 0 + 1 + 3 + 4 = 8, ...
    [[8.0, 12.0], [20.0, 24.0]]
    """
    x = check_array(x, "x", "N H W C")
    w = check_array(w, "w", "KH KW C M", like=x)
    check_length(w, "w", 2, x.shape[3], "the channels of x")
    N, H, W, C = x.shape
    KH, KW, C, M = w.shape
    geometry = conv_geometry(H, W, KH, KW, stride, padding, dilation)

    xp, _ = pad_forward(x, geometry.pads)
    out = np.zeros((N, geometry.OH, geometry.OW, M), x.dtype)  # (N, OH, OW, M)
    for i, j, seen in taps(geometry):
        tap = xp[seen]  # a view: (N, OH, OW, C)
        out += tap @ w[i, j]
    return out, Conv2dCache(x, w, geometry)


def conv2d_backward(dout: Array, cache: Conv2dCache) -> tuple[Array, Array]:
    """Push a gradient back through the filters of a standard convolution.

    Each product of the forward sends `dout` to both of its factors::

        dw[i, j, c, m]                   = sum_nyx xp[n, s*y + d*i, s*x + d*j, c] * dout[n, y, x, m]
        dxp[n, s*y + d*i, s*x + d*j, c] += sum_m   w[i, j, c, m] * dout[n, y, x, m]

    `dx` is `dxp` with the padding cut off.

    Parameters
    ----------
    dout : ndarray of shape (N, OH, OW, M)
        dL/d(out), in the dtype of the forward input.
    cache : Conv2dCache
        The second value of `conv2d_forward`. Not modified.

    Returns
    -------
    dx : ndarray of shape (N, H, W, C)
        dL/dx, summed over every window that saw the pixel; 0 where no window did.
    dw : ndarray of shape (KH, KW, C, M)
        dL/dw, summed (not averaged) over N, OH, OW.

    Raises
    ------
    ValueError
        If `dout.shape` is not the shape the forward returned.
    TypeError
        If `dout.dtype` differs from the forward dtype.

    Notes
    -----
    2 * N*OH*OW * KH*KW * C*M multiply-adds, twice the forward. `conv2d_im2col_backward` is the fast twin, the more so
    before NumPy 2.4, where `einsum` takes several times as long for this sum.

    References
    ----------
    .. [1] docs/derivations/convolutions.md, "Standard convolution".

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_forward(x, w)
    >>> dx, dw = conv2d_backward(np.ones_like(out), cache)
    >>> dx[0, :, :, 0].astype(int).tolist()       # how many windows saw each pixel
    [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    x, w, geometry = cache
    N, H, W, C = x.shape
    KH, KW, C, M = w.shape
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, M), x)

    xp, pad_cache = pad_forward(x, geometry.pads)
    dxp = np.zeros(xp.shape, dout.dtype)  # (N, H + top + bottom, W + left + right, C)
    dw = np.zeros(w.shape, dout.dtype)  # (KH, KW, C, M)
    for i, j, seen in taps(geometry):
        tap = xp[seen]
        # forward was: out += tap @ w[i, j]
        dw[i, j] = np.einsum("nyxc,nyxm->cm", tap, dout, optimize=True)
        dxp[seen] += dout @ w[i, j].T
    return pad_backward(dxp, pad_cache), dw
