"""Depthwise convolution: every tap is one number per channel, so space is mixed and channels are not.

Read this file beside `conv.py`: the same names, the same lines in the same order. In the forward one operator differs,
``*`` for ``@``. So it does in dx; in dw one letter does, ``c`` for ``m``. Why, and what `np.einsum` is, stands there.
"""

from typing import NamedTuple

import numpy as np

from npmnv2.ops.padding import pad_backward, pad_forward
from npmnv2.shapes import Geometry, Padding, conv_geometry, taps
from npmnv2.validate import Array, check_array, check_dout, check_length


class DepthwiseCache(NamedTuple):
    """What `depthwise_conv2d_backward` needs: the forward's arguments; see `Conv2dCache`."""

    x: Array  # (N, H, W, C)
    w: Array  # (KH, KW, C)
    geometry: Geometry


def depthwise_conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, DepthwiseCache]:
    """Slide one spatial filter over each channel; channels never mix.

    For every image n, output pixel (y, x) and channel c, with stride s, dilation d and the zero-padded input xp::

        out[n, y, x, c] = sum_ij  xp[n, s*y + d*i, s*x + d*j, c] * w[i, j, c]

    It is the standard convolution whose tap matrices are diagonal: ``w_standard[i, j] = diag(w[i, j])``. Parameters and
    errors are those of `conv2d_forward`, but for `w`, one filter per channel: of shape (KH, KW, C).

    Returns
    -------
    out : ndarray of shape (N, OH, OW, C)
    cache : DepthwiseCache

    See Also
    --------
    conv2d_forward : every output channel sees every input channel.
    pointwise_conv2d_forward : channels alone; the two together are a separable convolution.
    grouped_conv2d_forward : this one, with one group per channel.

    Notes
    -----
    N*OH*OW * KH*KW * C multiply-adds, M times fewer than the standard convolution with M filters. At least
    N*(H*W + OH*OW)*C values move for them: about one byte a multiply-add in float32 at 3x3, stride 1, so memory
    traffic, not arithmetic, sets the time.

    References
    ----------
    .. [1] Howard et al., "MobileNets", arXiv:1704.04861, section 3.1, equation (3).

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1))
    >>> out, cache = depthwise_conv2d_forward(x, w)
    >>> out[0, :, :, 0].tolist()                  # 0 + 1 + 3 + 4 = 8, ...
    [[8.0, 12.0], [20.0, 24.0]]
    """
    x = check_array(x, "x", "N H W C")
    w = check_array(w, "w", "KH KW C", like=x)
    check_length(w, "w", 2, x.shape[3], "the channels of x")
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    geometry = conv_geometry(H, W, KH, KW, stride, padding, dilation)

    xp, _ = pad_forward(x, geometry.pads)
    out = np.zeros((N, geometry.OH, geometry.OW, C), x.dtype)  # (N, OH, OW, C)
    for i, j, seen in taps(geometry):
        tap = xp[seen]  # a view: (N, OH, OW, C)
        out += tap * w[i, j]
    return out, DepthwiseCache(x, w, geometry)


def depthwise_conv2d_backward(dout: Array, cache: DepthwiseCache) -> tuple[Array, Array]:
    """Push a gradient back through one spatial filter per channel.

    ::

        dw[i, j, c]                      = sum_nyx xp[n, s*y + d*i, s*x + d*j, c] * dout[n, y, x, c]
        dxp[n, s*y + d*i, s*x + d*j, c] += w[i, j, c] * dout[n, y, x, c]

    Parameters, results and errors are those of `conv2d_backward`, with `dout` (N, OH, OW, C) and `dw` (KH, KW, C).

    Notes
    -----
    2 * N*OH*OW * KH*KW * C multiply-adds, twice the forward.

    References
    ----------
    .. [1] docs/derivations/convolutions.md, "Depthwise convolution".

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((3, 3, 1))
    >>> out, cache = depthwise_conv2d_forward(x, w, padding=1)
    >>> dx, dw = depthwise_conv2d_backward(np.ones_like(out), cache)
    >>> dx[0, :, :, 0].astype(int).tolist()       # how many windows saw each pixel
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    x, w, geometry = cache
    N, H, W, C = x.shape
    KH, KW, C = w.shape
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, C), x)

    xp, pad_cache = pad_forward(x, geometry.pads)
    dxp = np.zeros(xp.shape, dout.dtype)  # (N, H + top + bottom, W + left + right, C)
    dw = np.zeros(w.shape, dout.dtype)  # (KH, KW, C)
    for i, j, seen in taps(geometry):
        tap = xp[seen]
        # forward was: out += tap * w[i, j]
        dw[i, j] = np.einsum("nyxc,nyxc->c", tap, dout)
        dxp[seen] += dout * w[i, j]
    return pad_backward(dxp, pad_cache), dw
