"""The depthwise convolution of an inverted residual in training, backward: from dz2 to dz1.

The plain version is `depthwise_conv2d_backward` of `ops/depthwise.py`, between the backward of a batch norm and that of
the ReLU6 before it. `backward_loops` says what comes before and after.

One row of the image at a time. Row y lies under tap row i of the windows of row oy of the output, where
``stride * oy = y + top - i``, and column x likewise: pixels whose x + left have the same remainder by the stride lie
under the same taps. So a row of dz1 is made of tiles of such pixels, out of a ring of rows of dy2. For dwd a tile is
the taps of one row of the kernel: each adds up what it saw of the row of relu6(bn(y1)), times dy2.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_by_kernel, compile_function, compile_inline, compile_kernel, compile_task
from npmnv2.kernels.products import product, product_of_columns
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import CHANNELS, PIXELS, add_products, let_through, neighbours, places, put, zeros
from npmnv2.kernels.training_block.backward_loops import merge_gradients, through_norm
from npmnv2.kernels.training_block.depthwise_loops import clear_beside
from npmnv2.kernels.training_block.forward_loops import begin_tile, end_tile, normal
from npmnv2.kernels.training_block.records import (
    RING,
    DeferredGradient,
    DepthwiseGradients,
    RowGradientScratch,
    Sizes,
    Source,
    beside_of,
    new_sums,
)


class Shape(NamedTuple):
    """What the loops over a row need to know, of flat arrays."""

    K: int
    stride: int
    beside: int  # columns of zeros left of dy2 in the ring
    columns: int  # of a row of the ring
    W: int
    left: int  # columns of zeros left of relu6(bn(y1)) in its row
    E: int
    clips: bool


def _row_of(known_K, known_s):
    """The loops over a row for one kernel and stride, or of None for any, and for rows that fill no tile."""
    any_kernel = known_K is None

    @compile_function
    def row(ring, first, y, hidden, w, dz, to, shape):
        """A row of dz1, dz[to] and on. y: its number + top; hidden: its relu6(bn(y1)); ring: of dy2, from `first`."""
        any_K, any_s, beside, columns, W, left, E, clips = shape
        K, s = (any_K, any_s) if any_kernel else (known_K, known_s)
        for channel in range(0, E, CHANNELS):
            e = min(channel, E - CHANNELS)
            for tap in range(s):  # the pixels x, x + s, ... lie under the taps tap, tap + s, ...
                x = (tap - left) % s  # `column`: where dy2 of the window that sees x by `tap` lies in the ring
                count, column = (W - x + s - 1) // s, beside + (x + left - tap) // s
                for p in range(0, count, PIXELS):
                    pixel = min(p, count - PIXELS)
                    at = places(p, count - 1, E, PIXELS) if any_kernel else neighbours(pixel, E, PIXELS)
                    seen = places(p, count - 1, s * E, PIXELS) if any_kernel else neighbours(pixel, s * E, PIXELS)
                    tile = zeros(ring, at, CHANNELS)
                    for i in range(y % s, K, s):
                        line = first + ((y - i) // s % RING * columns + column) * E + e
                        for j in range(tap, K, s):
                            tile = add_products(tile, ring, at, line - (j - tap) // s * E, w, (i * K + j) * E + e)
                    if clips:
                        tile = let_through(tile, hidden, seen, (left + x) * E + e)
                    put(tile, dz, seen, to + x * E + e)

    return row


def _taps_of(K, s):
    """What adds to one row of dwd, dw[to] and on, what its K taps saw: a row of `hidden` and one of dy2."""

    @compile_function
    def add_taps(hidden, ring, line, part, dw, to, shape, OW):
        E = shape.E
        at, other = neighbours(0, E, K), neighbours(s, E, K)  # of one pixel of dy2, and of the next
        to_part = neighbours(0, CHANNELS, K)
        for channel in range(0, E, CHANNELS):
            e = min(channel, E - CHANNELS)
            even, odd = zeros(ring, at, CHANNELS), zeros(ring, at, CHANNELS)
            for x in range(0, OW - 1, 2):
                even = add_products(even, hidden, at, s * x * E + e, ring, line + x * E + e)
                odd = add_products(odd, hidden, other, s * x * E + e, ring, line + (x + 1) * E + e)
            if OW % 2 == 1:
                even = add_products(even, hidden, at, s * (OW - 1) * E + e, ring, line + (OW - 1) * E + e)
            put(even, part, to_part, 0)
            put(odd, part, to_part, K * CHANNELS)
            for j in range(K):
                for c in range(channel - e, CHANNELS):  # those before it have been added
                    v = part[(j * CHANNELS + c) & NATURAL] + part[((K + j) * CHANNELS + c) & NATURAL]
                    dw[(to + j * E + e + c) & NATURAL] += v

    return add_taps


_row_any, _row, _add_taps = _row_of(None, None), compile_by_kernel(_row_of), compile_by_kernel(_taps_of)


@compile_inline
def _fill_ring(sizes, dy, ring, place, beside, filled, need):
    """Rows `filled` to `need` - 1 of dy2 of an image to the ring, zeros for those outside of the output.

    dy: dz2, y2 and its norm; place: the thread, the piece, the image.
    """
    (dz, y, norm), (t, k, image) = dy, place
    for row in range(filled, need):
        q = (row % RING) & NATURAL
        for c in range(sizes.OW):
            to, p = (beside + c) & NATURAL, (row * sizes.OW + c) & NATURAL
            if row < 0 or row >= sizes.OH:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = 0
            else:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = through_norm(dz[image, p, e], y[image, p, e], norm, k, e)


@compile_inline
def _fill_hidden(sizes, hidden, y1, norm, place, begin):
    """A row of relu6(bn(y1)), which begins in pixel `begin`. place: the thread, the piece, and the plane of y1."""
    t, k, plane = place
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    for c in range(sizes.W):
        to, p = (sizes.left + c) & NATURAL, (begin + c) & NATURAL
        for e in range(hidden.shape[3]):
            hidden[t, 0, to, e] = normal(y1[plane, p, e], norm, k, e, sizes.expands, zero, six)


@compile_inline
def _sum_row(dz, y, norm, tile, places_of, W):
    """Sum up a row of dz and of dz * (y - mean), four pixels at a time, and what is left one by one.

    places_of: the plane, the first pixel of dz, and of y, the piece, the task.
    """
    plane, target, source, k, task = places_of
    fours = W - W % 4
    for column in range(0, fours, 4):
        p, q = (target + column) & NATURAL, (source + column) & NATURAL
        for e in range(dz.shape[2]):
            mean = norm[k, 0, e]
            g0, g1, g2, g3 = dz[plane, p, e], dz[plane, p + 1, e], dz[plane, p + 2, e], dz[plane, p + 3, e]
            d0, d1 = y[plane, q, e] - mean, y[plane, q + 1, e] - mean
            d2, d3 = y[plane, q + 2, e] - mean, y[plane, q + 3, e] - mean
            tile[task, 0, e] += (g0 + g1) + (g2 + g3)
            tile[task, 1, e] += (g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3)
    for column in range(fours, W):
        p, q = (target + column) & NATURAL, (source + column) & NATURAL
        for e in range(dz.shape[2]):
            tile[task, 0, e] += dz[plane, p, e]
            tile[task, 1, e] += dz[plane, p, e] * (y[plane, q, e] - norm[k, 0, e])


@compile_task
def _depthwise_tasks(t, sizes, dy, source, w, scratch, out, sums):
    """The tasks of thread t of `_depthwise`."""
    (ring, y1, hidden, part, dz1), (dz, y, norm2), (norm, x, we, wt) = scratch, dy, source
    (_, dx, dwe, dw), (_, tile, total) = out, sums
    H, W, OH, OW, s, K, E = sizes.H, sizes.W, sizes.OH, sizes.OW, sizes.stride, sizes.K, sizes.E
    beside, columns = beside_of(sizes), ring.shape[2]
    shape = Shape(K, s, beside, columns, W, sizes.left, E, sizes.expands)
    first = t * RING * columns * E  # where the ring begins in `flat_ring`
    flat_ring, flat_hidden, flat_part = ring.reshape(-1), hidden[t].reshape(-1), part[t]
    flat_dz1, flat_dw = dz1.reshape(-1), dw.reshape(-1)
    clear_beside(ring, t, beside, OW)
    clear_beside(hidden, t, sizes.left, W)
    for number in range(t * y.shape[0] // ring.shape[0], (t + 1) * y.shape[0] // ring.shape[0]):
        task, k, n = number & NATURAL, (number // sizes.N) & NATURAL, (number % sizes.N) & NATURAL
        slot, weights = (n * sizes.pieces + k) & NATURAL, w[k].reshape(-1)  # slot: all pieces of an image side by side
        begin, sent, held = n * H * W, 0, 0  # where the image begins; its pixels that have left dz1, and that are in it
        dw[slot] = 0
        filled = (sizes.top - K + 1) // s  # the first row of dy2 that is not in the ring yet: the first that saw row 0
        for row in range(H):
            need = (row + sizes.top) // s + 1
            _fill_ring(sizes, (dz, y, norm2), ring, (t, k, task), beside, filled, need)
            filled = max(filled, need)
            plane, start, to = k, begin + row * W, begin + row * W  # of y1 and dz1, and where the row begins in either
            if sizes.recompute:
                plane, start, to = t, 0, held
                product(x[0, begin + row * W : begin + row * W + W], we[k], True, y1[t, :W])
            _fill_hidden(sizes, hidden, y1, norm, (t, k, plane), start)
            given = (
                flat_ring,
                first,
                row + sizes.top,
                flat_hidden,
                weights,
                flat_dz1,
                (plane * dz1.shape[1] + to) * E,
                shape,
            )
            if W // s < PIXELS:  # of the pixels under the same taps
                _row_any(*given)
            else:
                _row(K, s, given)
            begin_tile(tile, task)
            _sum_row(dz1, y1, norm, tile, (plane, to, start, k, task), W)
            end_tile(tile, total, task)
            for i in range((row + sizes.top) % s, K, s):
                oy = (row + sizes.top - i) // s
                if 0 <= oy < OH:
                    line, place = first + (oy % RING * columns + beside) * E, (slot * K + i) * K * E
                    _add_taps(K, s, (flat_hidden, flat_ring, line, flat_part, flat_dw, place, shape, OW))
            held += W
            if sizes.recompute and (held + W > dz1.shape[1] or row + 1 == H):
                pixels, made = x[0, begin + sent : begin + sent + held], dz1[t, :held]
                product(made, wt[k], True, dx[k, begin + sent : begin + sent + held])
                product_of_columns(pixels, made, sent == 0, dwe[slot])
                sent, held = sent + held, 0


def _depthwise(sizes, dy, source, w, scratch, out, sums):
    """Backward of ``y2 = depthwise(h, w)``, h = relu6(bn(y1)). A task is an image of a piece.

    It makes dz1, the gradient of h that ReLU6 lets through, whose batch norm's backward waits for its sums. Without an
    expansion nothing normalises or clips, and dz1 is the gradient of x. With `recompute` the gradient goes on from
    here, in out.dx and out.dwe, as far as the sums do not matter.

    dy: of (pieces*N, OH*OW, E); w: (pieces, K, K, E); sums: (pieces, 2, E) in float64, of dz1 and dz1 * (y1 - mean).
    y1 and dz1 are used by their names in `scratch` only, which is what `compile_task` asks.
    """
    made = new_sums(dy.y.shape[0], dy.y)
    sizes, dy, source = Sizes(*sizes), DeferredGradient(*dy), Source(*source)
    scratch, out = RowGradientScratch(*scratch), DepthwiseGradients(*out)
    for t in prange(scratch.ring.shape[0]):
        _depthwise_tasks(np.int64(t), sizes, dy, source, w, scratch, out, made)
    merge_gradients(made, sums)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
