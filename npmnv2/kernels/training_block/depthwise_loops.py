"""The depthwise convolution of an inverted residual in training, forward: y2 from y1, or from what makes y1.

The plain version is `depthwise_conv2d_forward` of `ops/depthwise.py`, behind batch norm and ReLU6. `forward_loops` says
what comes before and after; `depthwise_backward_loops` is the way back.

A ring of four rows of relu6(bn(y1)), with zeros around the image, spares the inner loop the border. At stride 1 two
rows of four pixels are filtered at a time, at stride 2 one row.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_task
from npmnv2.kernels.products import product
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.training_block.forward_loops import add_deviations, first_mean, merge, normal
from npmnv2.kernels.training_block.records import RowScratch, Sizes, Source, new_sums
from npmnv2.kernels.windows_3x3 import four, four_by_two, next_six


@compile_inline
def clear_beside(rows, t, first, width):
    """0 in plane t, left of column `first` and from column first + width on."""
    for r in range(rows.shape[1]):
        for c in range(rows.shape[2]):
            if c < first or c >= first + width:
                for e in range(rows.shape[3]):
                    rows[t, r, c & NATURAL, e] = 0


@compile_inline
def ring_rows(row):
    """Where a row and the three below it lie in the ring: after its last comes its first."""
    return row % 4 & NATURAL, (row + 1) % 4 & NATURAL, (row + 2) % 4 & NATURAL, (row + 3) % 4 & NATURAL


@compile_inline
def _fill(sizes, ring, raw, norm, place, begin, filled, need):
    """Rows `filled` to `need` - 1 of relu6(bn(y1)) of an image to the ring, zeros for those outside of the image.

    place: the thread, the piece, and the plane of `raw` in which pixel p of the image is begin + p.
    """
    t, k, plane = place
    zero, six = ring.dtype.type(0), ring.dtype.type(6)
    for row in range(filled, need):
        q = ring_rows(row)[0]
        for c in range(sizes.W):
            to, p = (sizes.left + c) & NATURAL, (begin + row * sizes.W + c) & NATURAL
            if row < 0 or row >= sizes.H:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = zero
            else:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = normal(raw[plane, p, e], norm, k, e, sizes.expands, zero, six)


@compile_inline
def _two_rows(ring, w, y, place, q, ox, p, below):
    """Eight pixels at stride 1: four from pixel p of an image of y on, and the four below them.

    place: the thread, the piece, and the image; q: the rows of the ring.
    """
    t, k, image = place
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        w00, w01, w02 = w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e]
        w10, w11, w12 = w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e]
        w20, w21, w22 = w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e]
        upper = lower = (zero, zero, zero, zero)
        a = next_six(ring, t, q[0], ox, e)
        upper = four(a, w00, w01, w02, upper)
        a = next_six(ring, t, q[1], ox, e)
        upper, lower = four(a, w10, w11, w12, upper), four(a, w00, w01, w02, lower)
        a = next_six(ring, t, q[2], ox, e)
        upper, lower = four(a, w20, w21, w22, upper), four(a, w10, w11, w12, lower)
        a = next_six(ring, t, q[3], ox, e)
        lower = four(a, w20, w21, w22, lower)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = upper
        y[image, below, e], y[image, below + 1, e], y[image, below + 2, e], y[image, below + 3, e] = lower


@compile_inline
def _one_row(ring, w, y, place, q, ox, p):
    """Four pixels at stride 1."""
    t, k, image = place
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        v = (zero, zero, zero, zero)
        v = four(next_six(ring, t, q[0], ox, e), w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e], v)
        v = four(next_six(ring, t, q[1], ox, e), w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e], v)
        v = four(next_six(ring, t, q[2], ox, e), w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e], v)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = v


@compile_inline
def _one_row_by_two(ring, w, y, place, q, xx, p):
    """Four pixels at stride 2."""
    t, k, image = place
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        v = (zero, zero, zero, zero)
        v = four_by_two(ring, t, q[0], xx, e, w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e], v)
        v = four_by_two(ring, t, q[1], xx, e, w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e], v)
        v = four_by_two(ring, t, q[2], xx, e, w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e], v)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = v


@compile_inline
def _pixel(ring, w, y, place, q, xx, p):
    """One pixel: the plain version of the three above, and what images of under four columns get."""
    t, k, image = place
    for e in range(y.shape[2]):
        v = ring[t, q[0], xx, e] * w[k, 0, 0, e]
        v += ring[t, q[0], xx + 1, e] * w[k, 0, 1, e]
        v += ring[t, q[0], xx + 2, e] * w[k, 0, 2, e]
        v += ring[t, q[1], xx, e] * w[k, 1, 0, e]
        v += ring[t, q[1], xx + 1, e] * w[k, 1, 1, e]
        v += ring[t, q[1], xx + 2, e] * w[k, 1, 2, e]
        v += ring[t, q[2], xx, e] * w[k, 2, 0, e]
        v += ring[t, q[2], xx + 1, e] * w[k, 2, 1, e]
        v += ring[t, q[2], xx + 2, e] * w[k, 2, 2, e]
        y[image, p, e] = v


@compile_inline
def _filter(sizes, ring, w, y, place, oy, rows):
    """Rows oy to oy + rows - 1 of an image of y2. place: as in `_two_rows`."""
    OW, stride = sizes.OW, sizes.stride
    if OW >= 4:
        q = ring_rows(stride * oy - sizes.top)
        for start in range(0, OW, 4):
            ox = min(start, OW - 4) & NATURAL  # the last block steps back: some are done twice, alike
            p = (oy * OW + ox) & NATURAL
            if rows == 2:
                _two_rows(ring, w, y, place, q, ox, p, (p + OW) & NATURAL)
            elif stride == 1:
                _one_row(ring, w, y, place, q, ox, p)
            else:
                _one_row_by_two(ring, w, y, place, q, (2 * ox) & NATURAL, p)
    else:
        for r in range(rows):
            q = ring_rows(stride * oy + r - sizes.top)
            for ox in range(OW):
                _pixel(ring, w, y, place, q, (stride * ox) & NATURAL, ((oy + r) * OW + ox) & NATURAL)


@compile_task
def _depthwise_tasks(t, sizes, source, w, scratch, y, sums):
    """The tasks of thread t of `_depthwise`."""
    (x, norm, we, _), (ring, raw), (center, tile, total) = source, scratch, sums
    H, W, tasks, step = sizes.H, sizes.W, y.shape[0], 2 if sizes.stride == 1 else 1
    clear_beside(ring, t, sizes.left, W)
    for number in range(t * tasks // ring.shape[0], (t + 1) * tasks // ring.shape[0]):
        task, k, n = number & NATURAL, (number // sizes.N) & NATURAL, (number % sizes.N) & NATURAL
        filled = -sizes.top  # the first row that is not in the ring yet
        for oy in range(0, sizes.OH, step):
            rows = min(step, sizes.OH - oy)
            need = sizes.stride * (oy + rows - 1) - sizes.top + 3
            plane, begin = k, n * H * W  # of raw, and where the image begins in it
            if sizes.recompute:
                first, last = max(filled, 0), min(need, H)
                plane, begin = t, -first * W
                if first < last:
                    pixels = x[0, (n * H + first) * W : (n * H + last) * W]
                    product(pixels, we[k], True, raw[t, : (last - first) * W])
            _fill(sizes, ring, raw, norm, (t, k, plane), begin, filled, need)
            filled = need
            _filter(sizes, ring, w, y, (t, k, task), oy, rows)
            made = (task, oy * sizes.OW, (oy + rows) * sizes.OW, task)
            if oy == 0:
                first_mean(y, made, center)
            add_deviations(y, made, center, tile, total)


def _depthwise(sizes, source, w, scratch, y, mean, var):
    """y = depthwise(relu6(bn(y1)), w) and the statistics of y. A task is an image of a piece.

    source: a `records.Source`; w: (pieces, 3, 3, E); scratch: a `records.RowScratch`; y: (pieces*N, OH*OW, E);
    mean, var: (pieces, E) in float64.
    """
    sizes, sums = Sizes(*sizes), new_sums(y.shape[0], y)
    source, scratch = Source(*source), RowScratch(*scratch)
    for t in prange(scratch.ring.shape[0]):
        _depthwise_tasks(np.int64(t), sizes, source, w, scratch, y, sums)
    merge(sums, sizes.N * y.shape[1], mean, var)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
