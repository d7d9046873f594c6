"""Depthwise convolution, compiled: the signatures of `ops.depthwise`, one pass over memory instead of one a tap.

Formulas, parameters and errors are there. This one takes float32 and float64 only; any memory layout is accepted, a
contiguous one is not copied. Either cache serves the backward of both. If a value of `w`, or of `dout` in the backward,
is not finite NumPy computes all again: the zeros of the padding, times it, are NaN.
"""

import numpy as np

from npmnv2 import ops
from npmnv2.kernels.arrays import contiguous, empty, geometry_of
from npmnv2.kernels.depthwise import loops
from npmnv2.kernels.depthwise.loops_3x3 import forward_3x3_stride1, forward_3x3_stride2
from npmnv2.kernels.depthwise.loops_3x3_backward import backward_3x3_stride1, backward_3x3_stride2
from npmnv2.ops.depthwise import DepthwiseCache
from npmnv2.shapes import Geometry, Padding
from npmnv2.validate import Array, check_array, check_dout, check_length


def depthwise_conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, DepthwiseCache]:
    """Slide one spatial filter over each channel: the compiled twin of `ops.depthwise_conv2d_forward`.

    Moves the least there is: x read once, out written once, ``(N*H*W + N*OH*OW) * C`` values, where NumPy's tap loop
    reads x and out again for each of the KH*KW taps. No padded copy is made.

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
    forward = forward_3x3_stride1 if geometry.stride == 1 else forward_3x3_stride2
    if _is_fast(w, geometry):
        is_finite = forward(contiguous(x), contiguous(w), top, left, out)
    else:
        is_finite = loops.forward(contiguous(x), contiguous(w), geometry.stride, geometry.dilation, top, left, out)
    if not is_finite:
        return ops.depthwise_conv2d_forward(x, w, stride, padding, dilation)
    return out, DepthwiseCache(x, w, geometry)


def depthwise_conv2d_backward(dout: Array, cache: DepthwiseCache) -> tuple[Array, Array]:
    """Push a gradient back through one filter per channel: compiled twin of `ops.depthwise_conv2d_backward`.

    At 3x3, stride 1 and 2, one kernel for both: dout and x are read once, dx is written once.

    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((3, 3, 1))
    >>> out, cache = depthwise_conv2d_forward(x, w, padding=1)
    >>> dx, dw = depthwise_conv2d_backward(np.ones_like(out), cache)
    >>> dx[0, :, :, 0].astype(int).tolist()       # how many windows saw each pixel
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    x, w, geometry = cache
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C", like=x, compiled=True)
    N, H, _, C = x.shape
    check_dout(dout, (N, geometry.OH, geometry.OW, C), x, compiled=True)
    (top, _), (left, _) = geometry.pads
    stride, dilation = geometry.stride, geometry.dilation
    x, w, dout = contiguous(x), contiguous(w), contiguous(dout)
    dx = empty(x.shape, x.dtype)  # (N, H, W, C)
    dw = np.empty(w.shape, w.dtype)  # (KH, KW, C)
    if _is_fast(w, geometry):
        backward = backward_3x3_stride1 if stride == 1 else backward_3x3_stride2
        is_finite = backward(dout, x, w, top, left, _tasks(N, H), dx, dw)
    else:
        loops.backward_x(dout, w, stride, dilation, top, left, dx)
        is_finite = loops.backward_w(dout, x, stride, dilation, top, left, dw)
    return (dx, dw) if is_finite else ops.depthwise_conv2d_backward(dout, cache)


def _is_fast(w: Array, geometry: Geometry) -> bool:
    return w.shape[:2] == (3, 3) and geometry.stride <= 2 and geometry.dilation == 1


def _tasks(N: int, H: int) -> int:
    """Into how many shares the backward cuts an image, by shape alone: 16 or so a batch, 3 rows or more on average."""
    return max(1, min(-(-16 // max(N, 1)), H // 3 // 2 * 2))
