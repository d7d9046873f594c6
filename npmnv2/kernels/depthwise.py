"""Depthwise convolution, compiled: the signatures of `ops.depthwise`, one pass over memory instead of one a tap."""

import numpy as np

from npmnv2.kernels import depthwise_loops as loops
from npmnv2.kernels.depthwise_3x3 import backward_w_3x3, backward_x_3x3_stride2, forward_3x3
from npmnv2.ops.depthwise import DepthwiseCache
from npmnv2.shapes import Padding, conv_geometry
from npmnv2.validate import Array, check_array, check_dout, check_length


def depthwise_conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, DepthwiseCache]:
    """Slide one spatial filter over each channel: the compiled twin of `ops.depthwise_conv2d_forward`."""
    x = check_array(x, "x", "N H W C", compiled=True)
    w = check_array(w, "w", "KH KW C", like=x, compiled=True)
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    check_length(w, "w", 2, C, "the channels of x")
    geometry = conv_geometry(H, W, KH, KW, stride, padding, dilation)
    out = np.empty((N, geometry.OH, geometry.OW, C), x.dtype)  # (N, OH, OW, C)
    (top, _), (left, _) = geometry.pads
    _run_forward(_plain(x), _plain(w), geometry.stride, geometry.dilation, top, left, out)
    return out, DepthwiseCache(x, w, geometry)


def depthwise_conv2d_backward(dout: Array, cache: DepthwiseCache) -> tuple[Array, Array]:
    """Push a gradient back: the compiled twin of `ops.depthwise_conv2d_backward`."""
    x, w, geometry = cache
    x = check_array(x, "x", "N H W C", compiled=True)
    w = check_array(w, "w", "KH KW C", like=x, compiled=True)
    N, H, W, C = x.shape
    dout = check_dout(dout, (N, geometry.OH, geometry.OW, C), x, compiled=True)
    (top, _), (left, _) = geometry.pads
    stride, dilation = geometry.stride, geometry.dilation
    x, w, dout = _plain(x), _plain(w), _plain(dout)
    dx = np.empty(x.shape, x.dtype)  # (N, H, W, C)
    dw = np.empty(w.shape, w.dtype)  # (KH, KW, C)
    _run_backward_x(dout, w, stride, dilation, top, left, dx)
    _run_backward_w(dout, x, stride, dilation, top, left, dw)
    return dx, dw


def _plain(value: Array) -> Array:
    """`value` contiguous, aligned and writable: a read-only array is another type to Numba, compiled anew."""
    return np.require(value, requirements=["C", "A", "W"])


def _run_forward(x: Array, w: Array, stride: int, dilation: int, top: int, left: int, out: Array) -> None:
    if w.shape[:2] == (3, 3) and dilation == 1:
        forward_3x3(x, w, stride, top, left, out)
    else:
        loops.forward(x, w, stride, dilation, top, left, out)


def _run_backward_x(dout: Array, w: Array, stride: int, dilation: int, top: int, left: int, dx: Array) -> None:
    if w.shape[:2] == (3, 3) and dilation == 1 and stride == 1:
        turned = np.ascontiguousarray(w[::-1, ::-1])
        forward_3x3(dout, turned, 1, 2 - top, 2 - left, dx)  # dx[y] gathers dout[y + top - i]: a correlation again
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
