"""Depthwise convolution, compiled: the signatures of `ops.depthwise`, one pass over memory instead of one a tap."""

import numpy as np

from npmnv2.kernels import depthwise_loops as loops
from npmnv2.kernels.depthwise_3x3 import backward_w_3x3, backward_x_3x3_stride2, forward_3x3, forward_3x3_stride1
from npmnv2.kernels.wrapping import empty, geometry_of, plain
from npmnv2.ops.depthwise import DepthwiseCache
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_array, check_dout, check_length


def depthwise_conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, DepthwiseCache]:
    """Slide one spatial filter over each channel: the compiled twin of `ops.depthwise_conv2d_forward`.

    The formula, the parameters and the errors are there. This one takes float32 and float64 only; any memory layout is
    accepted, a contiguous one is not copied. Its cache serves `ops.depthwise_conv2d_backward` too, and the other way
    round.

    Notes
    -----
    Moves the least there is: x read once, out written once, ``(N*H*W + N*OH*OW) * C`` values, where NumPy's tap loop
    reads x and out again for each of the KH*KW taps. No padded copy is made. At 3x3, four pixels are computed at a time
    (`depthwise_3x3`).

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1))
    >>> out, cache = depthwise_conv2d_forward(x, w)
    >>> out[0, :, :, 0].tolist()                  # 0 + 1 + 3 + 4 = 8, ...
    [[8.0, 12.0], [20.0, 24.0]]
    """
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C", like=x, compiled=True)
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    check_length(w, "w", 2, C, "the channels of x")
    geometry = geometry_of(H, W, KH, KW, stride, padding, dilation)
    (top, _), (left, _) = geometry.pads
    out = empty((N, geometry.OH, geometry.OW, C), x.dtype)  # (N, OH, OW, C)
    _run_forward(plain(x), plain(w), geometry.stride, geometry.dilation, top, left, out)
    return out, DepthwiseCache(x, w, geometry)


def depthwise_conv2d_backward(dout: Array, cache: DepthwiseCache) -> tuple[Array, Array]:
    """Push a gradient back through one filter a channel: the compiled twin of `ops.depthwise_conv2d_backward`.

    A value of `dout` that is not finite differs in one place: NumPy multiplies it with the zeros of the padding, which
    gives NaN in dw; here the padding is not there.

    Notes
    -----
    Two kernels. dx gathers: each of its pixels adds up what the windows over it send, so no two threads write the same
    one; it reads dout and writes dx once. dw reads x and dout once, in at least 16 partial sums cut by the shape alone
    and added in order: the same bits at any number of threads.

    Examples
    --------
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((3, 3, 1))
    >>> out, cache = depthwise_conv2d_forward(x, w, padding=1)
    >>> dx, dw = depthwise_conv2d_backward(np.ones_like(out), cache)
    >>> dx[0, :, :, 0].astype(int).tolist()       # how many windows saw each pixel
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    x, w, geometry = cache
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C", like=x, compiled=True)
    N, _, _, C = x.shape
    check_dout(dout, (N, geometry.OH, geometry.OW, C), x, compiled=True)
    (top, _), (left, _) = geometry.pads
    stride, dilation = geometry.stride, geometry.dilation
    x, w, dout = plain(x), plain(w), plain(dout)
    dx = empty(x.shape, x.dtype)  # (N, H, W, C)
    dw = empty(w.shape, w.dtype)  # (KH, KW, C)
    _run_backward_x(dout, w, stride, dilation, top, left, dx)
    _run_backward_w(dout, x, stride, dilation, top, left, dw)
    return dx, dw


def _run_forward(x: Array, w: Array, stride: int, dilation: int, top: int, left: int, out: Array) -> None:
    if w.shape[:2] == (3, 3) and dilation == 1 and stride == 1:
        forward_3x3_stride1(x, w, top, left, out)
    elif w.shape[:2] == (3, 3) and dilation == 1:
        forward_3x3(x, w, stride, top, left, out)
    else:
        loops.forward(x, w, stride, dilation, top, left, out)


def _run_backward_x(dout: Array, w: Array, stride: int, dilation: int, top: int, left: int, dx: Array) -> None:
    if w.shape[:2] == (3, 3) and dilation == 1 and stride == 1:
        turned = np.ascontiguousarray(w[::-1, ::-1])
        forward_3x3_stride1(dout, turned, 2 - top, 2 - left, dx)  # dx[y] gathers dout[y + top - i]: a correlation again
    elif w.shape[:2] == (3, 3) and dilation == 1 and stride == 2:
        backward_x_3x3_stride2(dout, w, top, left, dx)
    else:
        loops.backward_x(dout, w, stride, dilation, top, left, dx)


def _run_backward_w(dout: Array, x: Array, stride: int, dilation: int, top: int, left: int, dw: Array) -> None:
    if dw.shape[:2] == (3, 3) and dilation == 1:
        backward_w_3x3(dout, x, stride, top, left, _band(dout.shape[0], dout.shape[1]), dw)
    else:
        loops.backward_w(dout, x, stride, dilation, top, left, dw)


def _band(N: int, OH: int) -> int:
    """Output rows a partial sum of dw: 16 sums for the whole batch at least, but no sum shorter than 4 rows.

    Depends on the shape alone, never on the number of threads: where the sums are cut decides the last bits of dw.
    """
    bands = -(-16 // max(N, 1))
    return max(4, -(-OH // bands))
