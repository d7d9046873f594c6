"""The depthwise convolution of an inverted residual in training, forward: y2 from y1, or from what makes y1.

The plain version is `depthwise_conv2d_forward` of `ops/depthwise.py`, behind batch norm and ReLU6. `forward_loops` says
what comes before and after; `depthwise_backward_loops` is the way back.

A ring of rows of relu6(bn(y1)), with zeros around the image, spares the inner loop the border. A row of y2 is made by
tiles: some neighbours by 16 channels, of which the last step back, so that some are computed twice, alike.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_by_kernel, compile_function, compile_inline, compile_kernel, compile_task
from npmnv2.kernels.products import product
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import CHANNELS, PIXELS, add_products, neighbours, places, put, zeros
from npmnv2.kernels.training_block.forward_loops import add_deviations, first_mean, merge, normal
from npmnv2.kernels.training_block.records import RING, RowScratch, Sizes, Source, new_sums


class Shape(NamedTuple):
    """What the loops over a row need to know, of flat arrays."""

    K: int
    stride: int
    columns: int  # of a row of the ring
    OW: int
    E: int


def _filter_row_of(known_K, known_s):
    """The loops over a row for one kernel and stride, or of None for any, and for rows that fill no tile."""
    any_kernel = known_K is None

    @compile_function
    def filter_row(ring, first, row, w, piece, y, to, shape):
        """A row of y2, y[to] and on: its windows begin in `row` of the ring that begins at `first`; w at `piece`."""
        any_K, any_s, columns, OW, E = shape
        K, s = (any_K, any_s) if any_kernel else (known_K, known_s)
        for channel in range(0, E, CHANNELS):
            e = min(channel, E - CHANNELS)
            for p in range(0, OW, PIXELS):
                pixel = min(p, OW - PIXELS)
                at = places(p, OW - 1, s * E, PIXELS) if any_kernel else neighbours(pixel, s * E, PIXELS)
                tile = zeros(ring, at, CHANNELS)
                for i in range(K):
                    line = first + ((row + i) % RING * columns) * E + e
                    for j in range(K):
                        tile = add_products(tile, ring, at, line + j * E, w, piece + (i * K + j) * E + e)
                out = places(p, OW - 1, E, PIXELS) if any_kernel else neighbours(pixel, E, PIXELS)
                put(tile, y, out, to + e)

    return filter_row


_filter_any, _filter = _filter_row_of(None, None), compile_by_kernel(_filter_row_of)


@compile_inline
def clear_beside(rows, t, first, width):
    """0 in plane t, left of column `first` and from column first + width on."""
    for r in range(rows.shape[1]):
        for c in range(rows.shape[2]):
            if c < first or c >= first + width:
                for e in range(rows.shape[3]):
                    rows[t, r, c & NATURAL, e] = 0


@compile_inline
def _fill(sizes, ring, y1, norm, place, begin, filled, need):
    """Rows `filled` to `need` - 1 of relu6(bn(y1)) of an image to the ring, zeros for those outside of the image.

    place: the thread, the piece, and the plane of y1 in which pixel p of the image is begin + p.
    """
    t, k, plane = place
    zero, six = ring.dtype.type(0), ring.dtype.type(6)
    for row in range(filled, need):
        q = (row % RING) & NATURAL
        for c in range(sizes.W):
            to, p = (sizes.left + c) & NATURAL, (begin + row * sizes.W + c) & NATURAL
            if row < 0 or row >= sizes.H:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = zero
            else:
                for e in range(ring.shape[3]):
                    ring[t, q, to, e] = normal(y1[plane, p, e], norm, k, e, sizes.expands, zero, six)


@compile_task
def _depthwise_tasks(t, sizes, source, w, scratch, y, sums):
    """The tasks of thread t of `_depthwise`."""
    (norm, x, we, _), (ring, y1), (center, tile, total) = source, scratch, sums
    H, W, K, E, tasks = sizes.H, sizes.W, sizes.K, sizes.E, y.shape[0]
    shape = Shape(K, sizes.stride, ring.shape[2], sizes.OW, E)
    flat, rows, weights = y.reshape(-1), ring.reshape(-1), w.reshape(-1)
    first = t * RING * ring.shape[2] * E
    clear_beside(ring, t, sizes.left, W)
    for number in range(t * tasks // ring.shape[0], (t + 1) * tasks // ring.shape[0]):
        task, k, n = number & NATURAL, (number // sizes.N) & NATURAL, (number % sizes.N) & NATURAL
        filled = -sizes.top  # the first row that is not in the ring yet
        for oy in range(sizes.OH):
            row = sizes.stride * oy - sizes.top
            plane, begin = k, n * H * W  # of y1, and where the image begins in it
            if sizes.recompute:
                low, high = max(filled, 0), min(row + K, H)
                plane, begin = t, -low * W
                if low < high:
                    product(x[0, (n * H + low) * W : (n * H + high) * W], we[k], True, y1[t, : (high - low) * W])
            _fill(sizes, ring, y1, norm, (t, k, plane), begin, filled, row + K)
            filled = row + K
            pixel = oy * sizes.OW
            to = (task * sizes.OH * sizes.OW + pixel) * E
            given = rows, first, row, weights, k * K * K * E, flat, to, shape
            if sizes.OW < PIXELS:
                _filter_any(*given)
            else:
                _filter(K, sizes.stride, given)
            made = (task, pixel, pixel + sizes.OW, task)
            if oy == 0:
                first_mean(y, made, center)
            add_deviations(y, made, center, tile, total)


def _depthwise(sizes, source, w, scratch, y, mean, var):
    """y = depthwise(relu6(bn(y1)), w) and the statistics of y. A task is an image of a piece.

    w: (pieces, K, K, E); y: (pieces*N, OH*OW, E); mean, var: (pieces, E) in float64.
    """
    sizes, sums = Sizes(*sizes), new_sums(y.shape[0], y)
    source, scratch = Source(*source), RowScratch(*scratch)
    for t in prange(scratch.ring.shape[0]):
        _depthwise_tasks(np.int64(t), sizes, source, w, scratch, y, sums)
    merge(sums, sizes.N * y.shape[1], mean, var)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
