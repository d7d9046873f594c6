"""Standard and pointwise convolution, compiled: the signatures of `ops`; what is computed, and how, says `loops.py`.

Formulas, parameters and errors are in `ops`; these take float32 and float64 only. The layers call the standard one, by
the names of its twins in `ops` that use im2col. Both are the two sides of `benchmarks/separable.py`, which compares a
separable convolution with a standard one that is as fast as we can write it.
"""

import numba
import numpy as np

from npmnv2 import ops
from npmnv2.kernels.arrays import contiguous, empty, geometry_of
from npmnv2.kernels.conv import loops
from npmnv2.kernels.tiles import HALF
from npmnv2.kernels.tuning import CONVOLUTION
from npmnv2.ops.conv import Conv2dCache
from npmnv2.ops.pointwise import PointwiseCache
from npmnv2.runtime.blas import limit_blas
from npmnv2.shapes import Geometry, Padding
from npmnv2.validate import Array, check_array, check_dout, check_length

POINT = loops.Window(1, 1, 1, 1, 0, 0, 1)


def conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, Conv2dCache]:
    """Slide M filters over the image: the compiled twin of `ops.conv2d_forward`.

    >>> import numpy as np
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_forward(x, w)
    >>> out[0, :, :, 0].tolist()                  # 0 + 1 + 3 + 4 = 8, ...
    [[8.0, 12.0], [20.0, 24.0]]
    """
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C M", like=x, compiled=True)
    N, H, W, C = x.shape
    KH, KW, _, M = w.shape
    check_length(w, "w", 2, C, "the channels of x")
    geometry = geometry_of(H, W, KH, KW, stride, padding, dilation)
    out = empty((N, geometry.OH, geometry.OW, M), x.dtype)  # (N, OH, OW, M)
    _convolve(contiguous(x), contiguous(w).reshape(-1, M), _window(w, geometry), out)
    return out, Conv2dCache(x, w, geometry)


def pointwise_conv2d_forward(x: Array, w: Array) -> tuple[Array, PointwiseCache]:
    """Mix the channels of each pixel: the compiled twin of `ops.pointwise_conv2d_forward`.

    >>> import numpy as np
    >>> x, w = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[1.0, 10.0, 0.0], [0.0, 1.0, 1.0]])
    >>> pointwise_conv2d_forward(x, w)[0].tolist()
    [[[[0.0, 1.0, 1.0], [2.0, 23.0, 3.0]]]]
    """
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "C M", like=x, compiled=True)
    check_length(w, "w", 0, x.shape[3], "the channels of x")
    N, H, W, C = x.shape
    M = w.shape[1]
    out = empty((N, H, W, M), x.dtype)  # (N, H, W, M)
    _convolve(
        contiguous(x).reshape(1, -1, 1, C), contiguous(w), POINT, out.reshape(1, -1, 1, M), x.nbytes > CONVOLUTION.fits
    )
    return out, PointwiseCache(x, w)


def conv2d_backward(dout: Array, cache: Conv2dCache) -> tuple[Array, Array]:
    """Push a gradient back through the filters: the compiled twin of `ops.conv2d_backward`.

    dx is a convolution again. A pixel of x was seen through tap i by the windows at ``oy = (y + top - i) / s``, if that
    is whole. So for each of the s*s remainders of (y + top) and (x + left), every s-th tap takes part, the last one
    first, with its matrix transposed, at stride 1; the s*s small images lie interleaved in dx.

    With KW * C <= 16 it is `loops._backward_x`, with a dilation the one of `ops`.

    >>> import numpy as np
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_forward(x, w)
    >>> dx, dw = conv2d_backward(np.ones_like(out), cache)
    >>> dx[0, :, :, 0].astype(int).tolist()       # how many windows saw each pixel
    [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    """
    x, w, geometry = cache
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C M", like=x, compiled=True)
    _, KW, C, M = w.shape
    check_dout(dout, (x.shape[0], geometry.OH, geometry.OW, M), x, compiled=True)
    if geometry.dilation != 1:
        with limit_blas(1):
            return ops.conv2d_im2col_backward(dout, cache)
    dout, window = contiguous(dout), _window(w, geometry)
    dx = empty(x.shape, x.dtype)  # (N, H, W, C)
    dw = empty(w.shape, x.dtype)  # (KH, KW, C, M)
    _weights(dout, contiguous(x), window, dw.reshape(-1, M))
    if KW * C <= 16:
        wt = _widened(contiguous(w.reshape(-1, M).T))
        loops.backward_x(dout, wt, window, empty((len(x), geometry.OW, wt.shape[1]), x.dtype), dx)
    else:
        _image(dout, w, geometry, dx)
    return dx, dw


def _window(w: Array, geometry: Geometry) -> loops.Window:
    (KH, KW), (top, _), (left, _) = w.shape[:2], *geometry.pads
    columns = geometry.stride * (geometry.OW - 1) + geometry.dilation * (KW - 1) + 1
    return loops.Window(KH, KW, geometry.stride, geometry.dilation, top, left, columns)


def _image(dout: Array, w: Array, geometry: Geometry, dx: Array) -> None:
    """dx, as `conv2d_backward` says: for each remainder of the position a convolution of dout with some of the taps."""
    _, H, W, _ = dx.shape
    KH, KW = w.shape[:2]
    (top, _), (left, _) = geometry.pads
    s = geometry.stride
    for first_y in range(min(s, H)):
        i = _last_tap(KH, first_y + top, s)
        for first_x in range(min(s, W)):
            j = _last_tap(KW, first_x + left, s)
            part = dx if s == 1 else empty(dx[:, first_y::s, first_x::s].shape, dx.dtype)
            if i < 0 or j < 0:
                part[...] = 0
            else:
                taps = w[i % s : i + 1 : s, j % s : j + 1 : s][::-1, ::-1]  # (i // s + 1, j // s + 1, C, M)
                above, before = (i - first_y - top) // s, (j - first_x - left) // s
                down, across = taps.shape[:2]
                window = loops.Window(down, across, 1, 1, above, before, part.shape[2] + across - 1)
                _convolve(dout, contiguous(taps.swapaxes(2, 3)).reshape(-1, dx.shape[3]), window, part)
            if s > 1:
                dx[:, first_y::s, first_x::s] = part


def pointwise_conv2d_backward(dout: Array, cache: PointwiseCache) -> tuple[Array, Array]:
    """Push a gradient back through a matrix product: the compiled twin of `ops.pointwise_conv2d_backward`.

    >>> import numpy as np
    >>> x, w = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[1.0, 10.0, 0.0], [0.0, 1.0, 1.0]])
    >>> out, cache = pointwise_conv2d_forward(x, w)
    >>> dx, dw = pointwise_conv2d_backward(np.ones_like(out), cache)
    >>> dx.tolist(), dw.tolist()
    ([[[[11.0, 2.0], [11.0, 2.0]]]], [[2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    """
    x, w = cache
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "C M", like=x, compiled=True)
    check_dout(dout, (*x.shape[:3], w.shape[1]), x, compiled=True)
    dout = contiguous(dout)
    dx, _ = pointwise_conv2d_forward(dout, contiguous(w.T))
    dw = empty(w.shape, x.dtype)  # (C, M)
    M, C = dout.shape[3], x.shape[3]
    _weights(dout.reshape(1, -1, 1, M), contiguous(x).reshape(1, -1, 1, C), POINT, dw, x.nbytes > CONVOLUTION.fits)
    return dx, dw


def _convolve(x: Array, w: Array, window: loops.Window, out: Array, copies: bool = True) -> None:
    """Fill `out`. w: (KH*KW*C, M)."""
    M = out.shape[3]
    if out.size == 0:
        return
    if M % HALF > 0:
        wider = empty((*out.shape[:3], M + -M % HALF), out.dtype)
        _convolve(x, _widened(w), window, wider, copies)
        out[...] = wider[..., :M]
        return
    threads, rows = numba.get_num_threads(), out.shape[0] * out.shape[1]
    bands = min(rows, -(-_bands(x, window, out, CONVOLUTION.band) // threads) * threads)
    scratch = _scratch(threads, bands, x, window, out) if copies else empty((threads, 0), x.dtype)
    loops.forward(x, w, window, bands, scratch, out)


def _weights(dout: Array, x: Array, window: loops.Window, dw: Array, copies: bool = True) -> None:
    """Fill `dw`, (KH*KW*C, M). The bands and their groups, which decide the order of the sums, depend on shapes alone.

    Of few weights 8 groups of bands add up all, each for itself. Of many, or with fewer bands, the taps are shared out.
    """
    if dout.size == 0:
        dw[...] = 0
        return
    dout = _widened(dout)
    bands = _bands(x, window, dout, max(CONVOLUTION.band, dw.nbytes) // 2)
    groups = min(8, bands) if dw.size <= 1 << 16 else 1
    tasks = groups if groups == 8 else groups * numba.get_num_threads()
    parts = empty((groups, dw.shape[0], dout.shape[3]), dw.dtype)
    scratch = _scratch(tasks, bands, x, window, dout) if copies else empty((tasks, 0), x.dtype)
    loops.backward_w(dout, x, window, bands, scratch, parts)
    parts[..., : dw.shape[1]].sum(axis=0, out=dw)


def _bands(x: Array, window: loops.Window, out: Array, size: int) -> int:
    """Into how many bands the rows of all images are cut, so that what a band reads and writes has about this size."""
    N, OH, OW, M = out.shape
    row = (window.stride * window.columns * x.shape[3] + OW * M) * x.itemsize
    return max(1, min(N * OH, -(-N * OH * row // size)))


def _scratch(tasks: int, bands: int, x: Array, window: loops.Window, out: Array) -> Array:
    """Memory in which each task copies the rows that a band sees."""
    N, OH, OW, _ = out.shape
    rows = -(-N * OH // bands)
    images = min(N, 1 + -(-(rows - 1) // OH))  # that a band may be of
    height = window.stride * rows + images * (window.dilation * (window.KH - 1) + 1)
    return empty((tasks, height * window.columns * x.shape[3]), x.dtype)


def _widened(values: Array) -> Array:
    """With zeros up to a multiple of 8 columns, which tiles need."""
    columns = values.shape[-1]
    if columns % HALF == 0:
        return values
    wider = np.zeros((*values.shape[:-1], columns + -columns % HALF), values.dtype)
    wider[..., :columns] = values
    return wider


def _last_tap(taps: int, position: int, stride: int) -> int:
    """The last of the taps through which the pixel at this padded position is seen; -1 if there is none."""
    last = taps - 1 - (taps - 1 - position) % stride
    return last if last >= 0 else -1
