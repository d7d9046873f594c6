"""The depthwise convolution of an inverted residual in training, backward: from dz2 to dz1.

The plain version is `depthwise_conv2d_backward` of `ops/depthwise.py`, between the backward of a batch norm and that of
the ReLU6 before it. `backward_loops` says what comes before and after.

Rows and columns are taken in pairs of rows and blocks of four columns, which give rows of dz1 and the nine sums of dwd
at once. At stride 1 pixel c is column c of `hidden` and sees columns c, c + 1 and c + 2 of the ring of dy2 through taps
2, 1 and 0: output ox is column ox + 2 - left. At stride 2 a pair begins where its first pixel is under taps 0 and 2:
pixel c is column c + left, output ox is column ox + 1.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_task
from npmnv2.kernels.products import product, product_of_columns
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.training_block.backward_loops import let_through, merge_gradients, through_norm
from npmnv2.kernels.training_block.depthwise_loops import clear_beside, ring_rows
from npmnv2.kernels.training_block.forward_loops import begin_tile, end_tile, normal
from npmnv2.kernels.training_block.records import (
    DeferredGradient,
    DepthwiseGradients,
    RowGradientScratch,
    Sizes,
    Source,
    new_sums,
)
from npmnv2.kernels.windows_3x3 import add_nine, four, next_four, next_six, three


@compile_inline
def _store_four(spread, t, r, xx, e, v):
    spread[t, r, xx, e], spread[t, r, xx + 1, e], spread[t, r, xx + 2, e], spread[t, r, xx + 3, e] = v


@compile_inline
def _eight_pixels(ring, hidden, spread, w, dw, place, q, bounds):
    """At stride 1: spread[t, :, xx ... xx + 3] = the gradient that ReLU6 lets through, and dw[slot] += nine sums.

    q: the rows of the ring; upper, lower: the sums of either row, of which a and b are the pixels in `hidden`.
    `depthwise/loops_3x3_backward.py` has the same sums, and the plain version.
    """
    t, k, slot, xx = place
    zero, low, high = ring.dtype.type(0), bounds[0], bounds[1]
    for e in range(ring.shape[3]):
        a, b = next_four(hidden, t, 0, xx, e), next_four(hidden, t, 1, xx, e)
        upper = lower = (zero, zero, zero, zero)
        g0 = g1 = g2 = (zero, zero, zero)
        d = next_six(ring, t, q[0], xx, e)
        upper, g2 = four(d, w[k, 2, 2, e], w[k, 2, 1, e], w[k, 2, 0, e], upper), three(d, a, g2)
        d = next_six(ring, t, q[1], xx, e)
        upper, g1 = four(d, w[k, 1, 2, e], w[k, 1, 1, e], w[k, 1, 0, e], upper), three(d, a, g1)
        lower, g2 = four(d, w[k, 2, 2, e], w[k, 2, 1, e], w[k, 2, 0, e], lower), three(d, b, g2)
        d = next_six(ring, t, q[2], xx, e)
        upper, g0 = four(d, w[k, 0, 2, e], w[k, 0, 1, e], w[k, 0, 0, e], upper), three(d, a, g0)
        lower, g1 = four(d, w[k, 1, 2, e], w[k, 1, 1, e], w[k, 1, 0, e], lower), three(d, b, g1)
        d = next_six(ring, t, q[3], xx, e)
        lower, g0 = four(d, w[k, 0, 2, e], w[k, 0, 1, e], w[k, 0, 0, e], lower), three(d, b, g0)
        _store_four(spread, t, 0, xx, e, let_through(upper, a, zero, low, high))
        _store_four(spread, t, 1, xx, e, let_through(lower, b, zero, low, high))
        add_nine(dw, slot, g0, g1, g2, e)


@compile_inline
def _eight_pixels_by_two(ring, hidden, spread, w, dw, place, q, bounds):
    """The same at stride 2: even rows and columns lie under kernel rows and columns 0 and 2, odd ones under 1.

    They see three columns of two rows of the ring: c and d.
    """
    t, k, slot, xx = place
    zero, low, high, column = ring.dtype.type(0), bounds[0], bounds[1], xx // 2
    for e in range(ring.shape[3]):
        c0, c1, c2 = ring[t, q[0], column, e], ring[t, q[0], column + 1, e], ring[t, q[0], column + 2, e]
        d0, d1, d2 = ring[t, q[1], column, e], ring[t, q[1], column + 1, e], ring[t, q[1], column + 2, e]
        a, b = next_four(hidden, t, 0, xx, e), next_four(hidden, t, 1, xx, e)
        w00, w01, w02 = w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e]
        w10, w11, w12 = w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e]
        w20, w21, w22 = w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e]
        upper = (
            d1 * w00 + d0 * w02 + c1 * w20 + c0 * w22,
            d1 * w01 + c1 * w21,
            d2 * w00 + d1 * w02 + c2 * w20 + c1 * w22,
            d2 * w01 + c2 * w21,
        )
        lower = (d1 * w10 + d0 * w12, d1 * w11, d2 * w10 + d1 * w12, d2 * w11)
        _store_four(spread, t, 0, xx, e, let_through(upper, a, zero, low, high))
        _store_four(spread, t, 1, xx, e, let_through(lower, b, zero, low, high))
        g0 = (a[0] * d0 + a[2] * d1, a[1] * d1 + a[3] * d2, a[0] * d1 + a[2] * d2)
        g1 = (b[0] * d0 + b[2] * d1, b[1] * d1 + b[3] * d2, b[0] * d1 + b[2] * d2)
        g2 = (a[0] * c0 + a[2] * c1, a[1] * c1 + a[3] * c2, a[0] * c1 + a[2] * c2)
        add_nine(dw, slot, g0, g1, g2, e)


@compile_inline
def _fill_ring(sizes, dz, y, norm, ring, place, filled, need):
    """Rows `filled` to `need` - 1 of dy2 of an image to the ring, zeros for those outside of the output."""
    t, k, image = place
    beside = 2 - sizes.left if sizes.stride == 1 else 1
    for row in range(filled, need):
        q = ring_rows(row)[0]
        for c in range(sizes.OW):
            to, p = (beside + c) & NATURAL, (row * sizes.OW + c) & NATURAL
            if row < 0 or row >= sizes.OH:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = 0
            else:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = through_norm(dz[image, p, e], y[image, p, e], norm, k, e)


@compile_inline
def _fill_hidden(sizes, hidden, raw, norm, place, row, begin):
    """The two rows of relu6(bn(y1)) from `row` on; place: the thread, the piece, and the plane of raw, as forward."""
    t, k, plane = place
    zero, six, beside = hidden.dtype.type(0), hidden.dtype.type(6), 0 if sizes.stride == 1 else sizes.left
    for r in range(2):
        for c in range(sizes.W):
            to, p = (beside + c) & NATURAL, (begin + (row + r) * sizes.W + c) & NATURAL
            if 0 <= row + r < sizes.H:
                for e in range(hidden.shape[3]):
                    hidden[t, r, to, e] = normal(raw[plane, p, e], norm, k, e, sizes.expands, zero, six)
            else:
                for e in range(hidden.shape[3]):
                    hidden[t, r, to, e] = zero


@compile_inline
def _store_row(spread, y, norm, dz, tile, row, pixels, place):
    """dz = a row of `spread` without its padding; it is summed up with that of y1.

    row: (thread, row, first column, columns) in spread; pixels: (plane, first pixel of y, and of dz); place: (piece,
    task). Four pixels at a time, and what is left one by one: the plain version.
    """
    (t, r, beside, W), (plane, source, target), (k, task) = row, pixels, place
    E = spread.shape[3]
    fours = W - W % 4
    for column in range(0, fours, 4):
        c, q, p = (beside + column) & NATURAL, (source + column) & NATURAL, (target + column) & NATURAL
        for e in range(E):
            mean = norm[k, 0, e]
            g0, g1, g2, g3 = next_four(spread, t, r, c, e)
            d0, d1 = y[plane, q, e] - mean, y[plane, q + 1, e] - mean
            d2, d3 = y[plane, q + 2, e] - mean, y[plane, q + 3, e] - mean
            dz[plane, p, e], dz[plane, p + 1, e], dz[plane, p + 2, e], dz[plane, p + 3, e] = g0, g1, g2, g3
            tile[task, 0, e] += (g0 + g1) + (g2 + g3)
            tile[task, 1, e] += (g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3)
    for column in range(fours, W):
        c, q, p = (beside + column) & NATURAL, (source + column) & NATURAL, (target + column) & NATURAL
        for e in range(E):
            g = spread[t, r, c, e]
            dz[plane, p, e] = g
            tile[task, 0, e] += g
            tile[task, 1, e] += g * (y[plane, q, e] - norm[k, 0, e])


@compile_task
def _depthwise_tasks(t, sizes, dy, source, w, scratch, out, sums):
    """The tasks of thread t of `_depthwise`."""
    ring, raw, hidden, spread, dz1 = scratch
    (dz, y, norm2), (x, norm, we, wt), (dx, dw, dwe), (_, tile, total) = dy, source, out, sums
    H, W, stride, top, left = sizes.H, sizes.W, sizes.stride, sizes.top, sizes.left
    zero, six, nan = w.dtype.type(0), w.dtype.type(6), w.dtype.type(np.nan)
    bounds = (zero, six) if sizes.expands else (nan, nan)
    # rows above the image where the pairs begin, columns of zeros left of it in `hidden`, rows of dy that a pair sees
    above, beside, seen = (0, 0, 4) if stride == 1 else (top, left, 2)
    clear_beside(ring, t, 2 - left if stride == 1 else 1, sizes.OW)
    clear_beside(hidden, t, beside, W)
    for number in range(t * y.shape[0] // ring.shape[0], (t + 1) * y.shape[0] // ring.shape[0]):
        task, k, n = number & NATURAL, (number // sizes.N) & NATURAL, (number % sizes.N) & NATURAL
        slot = (n * sizes.pieces + k) & NATURAL  # of its sums: all pieces of an image side by side
        begin, sent, held = n * H * W, 0, 0  # where the image begins; its pixels that have left dz1, and that are in it
        dw[slot] = zero
        filled = top - 2 if stride == 1 else -1  # the first row of dy that is not in the ring yet
        for row in range(-above, H, 2):
            oy = row + top - 2 if stride == 1 else (row + top) // 2 - 1  # the first row of dy that is seen
            _fill_ring(sizes, dz, y, norm2, ring, (t, k, task), filled, oy + seen)
            filled = oy + seen
            first, last = max(row, 0) * W, min(row + 2, H) * W  # the pixels of the pair
            plane, start, to = k, begin, begin  # of raw and dz1, and where the image begins in either
            if sizes.recompute:
                plane, start, to = t, -first, held - first
                product(x[0, begin + first : begin + last], we[k], True, raw[t, : last - first])
            _fill_hidden(sizes, hidden, raw, norm, (t, k, plane), row, start)
            q = ring_rows(oy)
            for column in range(0, hidden.shape[2], 4):
                place = (t, k, slot, column & NATURAL)
                if stride == 1:
                    _eight_pixels(ring, hidden, spread, w, dw, place, q, bounds)
                else:
                    _eight_pixels_by_two(ring, hidden, spread, w, dw, place, q, bounds)
            begin_tile(tile, task)
            for r in range(max(-row, 0), min(2, H - row)):
                p = (row + r) * W
                _store_row(spread, raw, norm, dz1, tile, (t, r, beside, W), (plane, start + p, to + p), (k, task))
            end_tile(tile, total, task)
            held += last - first
            if sizes.recompute and (held + 2 * W > dz1.shape[1] or row + 2 >= H):
                pixels, rows = x[0, begin + sent : begin + sent + held], dz1[t, :held]
                product(rows, wt[k], True, dx[k, begin + sent : begin + sent + held])
                product_of_columns(pixels, rows, sent == 0, dwe[slot])
                sent, held = sent + held, 0


def _depthwise(sizes, dy, source, w, scratch, out, sums):
    """Backward of ``y2 = depthwise(h, w)``, h = relu6(bn(y1)). A task is an image of a piece.

    It makes dz1, the gradient of h that ReLU6 lets through, whose batch norm's backward waits for its sums. Without an
    expansion nothing normalises or clips, and dz1 is the gradient of x. With `recompute` the gradient goes on from
    here, in out.dx and out.dwe, as far as the sums do not matter.

    dy: a `records.DeferredGradient`, but of (pieces*N, OH*OW, E); source: a `records.Source`; w: (pieces, 3, 3, E);
    scratch: a `records.RowGradientScratch`; out: a `records.DepthwiseGradients`; sums: (pieces, 2, E) in float64, of
    dz1 and dz1 * (y1 - mean). Where scratch.raw is y1 and scratch.dz is dx they are used by these names only, which is
    what `compile_task` asks.
    """
    made = new_sums(dy.y.shape[0], dy.y)
    sizes, dy, source = Sizes(*sizes), DeferredGradient(*dy), Source(*source)
    scratch, out = RowGradientScratch(*scratch), DepthwiseGradients(*out)
    for t in prange(scratch.ring.shape[0]):
        _depthwise_tasks(np.int64(t), sizes, dy, source, w, scratch, out, made)
    merge_gradients(made, sums)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
