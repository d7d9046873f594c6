"""Depthwise convolution, compiled: the signatures of `ops.depthwise`, one pass over memory instead of one a tap."""

import numpy as np

from npmnv2.kernels import depthwise_loops as loops
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
    loops.forward(np.ascontiguousarray(x), np.ascontiguousarray(w), geometry.stride, geometry.dilation, top, left, out)
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
    x, w, dout = np.ascontiguousarray(x), np.ascontiguousarray(w), np.ascontiguousarray(dout)
    dx = np.empty(x.shape, x.dtype)  # (N, H, W, C)
    dw = np.empty(w.shape, w.dtype)  # (KH, KW, C)
    loops.backward_x(dout, w, stride, dilation, top, left, dx)
    loops.backward_w(dout, x, stride, dilation, top, left, dw)
    return dx, dw
