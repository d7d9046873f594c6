"""The inverted residual in training, forward: what is wide is kept as the convolutions made it, before its batch norm.

The plain version is `forward` of `nn.blocks.InvertedResidual`, layer by layer; docs/training_speed.md derives this one
from it. Normalised values would be written only to be read again. So `y1` behind the expansion and `y2` behind the
depthwise convolution are stored raw, and who reads one normalises and clips it on the way, in a tile that stays in
cache::

    y1 = x @ we                                  the statistics of y1 are summed up while its tiles are in cache
    y2 = depthwise(relu6(bn(y1)), wd)            and those of y2
    y3 = relu6(bn(y2)) @ wp

`depthwise` has a file of its own, `depthwise_loops`. Where x has few channels not even `y1` is stored: `depthwise`
computes rows of it when it needs them, and `center` makes of x what the statistics follow from.

A task owns a group of pixels and one or some pieces. How many there are, and in which order what they sum up is added,
follows from the shape alone (`cutting`), so the bits do not depend on the number of threads. Kernels that need scratch
loop over threads: thread t owns a run of tasks, and plane t of the scratch. What it does is a function of its own,
which takes its records apart before its loops: an array fetched in a loop costs LLVM the promise of `compile_task`. The
kernel makes the records anew before its parallel loop, as ``Cut(*cut)``: Numba looks there for the class of what such a
loop takes.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.products import product, product_of_columns
from npmnv2.kernels.scalars import NATURAL, merge_moments, relu6
from npmnv2.kernels.training_block.records import Cut, Deferred, new_sums


@compile_scalar
def normal(y, norm, k, e, clip, zero, six):
    """relu6(bn(y)), or without `clip` bn(y): norm[k] holds the mean, the scale gamma * inv_std and the shift beta."""
    v = (y - norm[k, 0, e]) * norm[k, 1, e] + norm[k, 2, e]
    return relu6(v, zero, six) if clip else v


@compile_inline
def first_mean(y, place, center):
    """center[task] = the mean of rows first ... last - 1 of y[k]: the deviations from it are what is summed up."""
    k, first, last, task = place
    for e in range(y.shape[2]):
        center[task, e] = 0
    for r in range(first, last):
        for e in range(y.shape[2]):
            center[task, e] += y[k, r & NATURAL, e]
    for e in range(y.shape[2]):
        center[task, e] /= last - first


@compile_inline
def begin_tile(tile, task):
    """The sums of a tile begin at 0."""
    for e in range(tile.shape[2]):
        tile[task, 0, e] = 0
        tile[task, 1, e] = 0


@compile_inline
def end_tile(tile, total, task):
    """Add the sums of a tile to those of its task, in float64."""
    for e in range(tile.shape[2]):
        total[task, 0, e] += tile[task, 0, e]
        total[task, 1, e] += tile[task, 1, e]


@compile_inline
def add_deviations(y, place, center, tile, total):
    """Add to total[task] the deviations of these rows and their squares, four rows at a time."""
    k, first, last, task = place
    E = y.shape[2]
    begin_tile(tile, task)
    fours = last - (last - first) % 4
    for row in range(first, fours, 4):
        r = row & NATURAL
        for e in range(E):
            d0, d1 = y[k, r, e] - center[task, e], y[k, r + 1, e] - center[task, e]
            d2, d3 = y[k, r + 2, e] - center[task, e], y[k, r + 3, e] - center[task, e]
            tile[task, 0, e] += (d0 + d1) + (d2 + d3)
            tile[task, 1, e] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for row in range(fours, last):
        r = row & NATURAL
        for e in range(E):
            d = y[k, r, e] - center[task, e]
            tile[task, 0, e] += d
            tile[task, 1, e] += d * d
    end_tile(tile, total, task)


@compile_task
def merge(sums, P, mean, var):
    """Mean and biased variance of every channel from the sums of the groups, in order. Task k * groups + g."""
    pieces, E = mean.shape
    groups = sums.total.shape[0] // pieces
    for k in range(pieces):
        for e in range(E):
            mean[k, e] = 0
            var[k, e] = 0
        for g in range(groups):
            before, now, task = g * P // groups, (g + 1) * P // groups - g * P // groups, k * groups + g
            for e in range(E):
                mean[k, e], var[k, e] = merge_moments(
                    mean[k, e], var[k, e], before, now,
                    sums.center[task, e], sums.total[task, 0, e], sums.total[task, 1, e],
                )  # fmt: skip
        for e in range(E):
            var[k, e] /= P
            if var[k, e] < 0:  # by rounding
                var[k, e] = 0


@compile_task
def _expand_task(task, x, w, size, groups, y, sums):
    """One task of `_expand`."""
    (center, tile, total), k, g, P = sums, task // groups, task % groups, y.shape[1]
    begin, end = g * P // groups, (g + 1) * P // groups
    for first in range(begin, end, size):
        last = min(first + size, end)
        product(x[0, first:last], w[k], True, y[k, first:last])
        if first == begin:
            first_mean(y, (k, first, last, task), center)
        add_deviations(y, (k, first, last, task), center, tile, total)


def _expand(x, w, size, groups, y, mean, var):
    """y[k] = x @ w[k] and the statistics of y. A task is (piece, group of pixels), of which a tile has `size`.

    x: (1, P, C); w: (pieces, C, E); y: (pieces, P, E); mean, var: (pieces, E) in float64.
    """
    pieces, P, _ = y.shape
    sums = new_sums(pieces * groups, y)
    for task in prange(pieces * groups):
        _expand_task(np.int64(task), x, w, size, groups, y, sums)
    merge(sums, P, mean, var)


@compile_task
def _center_tasks(t, x, mean, scratch, centered, gram):
    """The tasks of thread t of `_center`."""
    rows, (threads, size, _), (P, C), groups = scratch, scratch.shape, x.shape, gram.shape[0]
    for task in range(t * groups // threads, (t + 1) * groups // threads):
        g = task & NATURAL
        begin, end = g * P // groups, (g + 1) * P // groups
        for first in range(begin, end, size):
            last = min(first + size, end)
            for row in range(last - first):
                r, p = row & NATURAL, (first + row) & NATURAL
                for c in range(C):
                    d = x[p, c] - mean[c]
                    centered[p, c] = d
                    rows[t, r, c] = d
            tile = rows[t, : last - first]
            product_of_columns(tile, tile, first == begin, gram[g])


def _center(x, mean, scratch, centered, gram):
    """x - mean, and gram[g] = the products of its channels with each other, summed up over the pixels of group g.

    x, centered: (P, C); mean: (C,); in float64 gram: (groups, C, C), and the scratch, (threads, tile, C).
    """
    for t in prange(scratch.shape[0]):
        _center_tasks(np.int64(t), x, mean, scratch, centered, gram)


@compile_task
def _project_tasks(t, h, w, cut, scratch, parts):
    """The tasks of thread t of `_project`."""
    (y, norm), rows = h, scratch
    (pieces, P, E), (threads, size, _), tasks = y.shape, rows.shape, parts.shape[0] * cut.groups
    zero, six = y.dtype.type(0), y.dtype.type(6)
    for task in range(t * tasks // threads, (t + 1) * tasks // threads):
        share, g = (task // cut.groups) & NATURAL, task % cut.groups
        begin, end = g * P // cut.groups, (g + 1) * P // cut.groups
        for piece in range(share * cut.pieces, min(share * cut.pieces + cut.pieces, pieces)):
            k = piece & NATURAL
            for first in range(begin, end, size):
                last = min(first + size, end)
                for row in range(last - first):
                    r, p = row & NATURAL, (first + row) & NATURAL
                    for e in range(E):
                        rows[t, r, e] = normal(y[k, p, e], norm, k, e, True, zero, six)
                is_first = piece == share * cut.pieces
                product(rows[t, : last - first], w[k], is_first, parts[share, first:last])


def _project(h, w, cut, scratch, parts):
    """parts[share] = what the pieces of a share add to h @ w, h = relu6(bn(y2)). A task is (share, group of pixels).

    w: (pieces, E, M); scratch: (threads, tile, E), a tile of h; parts: (shares, P, M).
    """
    h, cut = Deferred(*h), Cut(*cut)
    for t in prange(scratch.shape[0]):
        _project_tasks(np.int64(t), h, w, cut, scratch, parts)


def _normalise(y, norm, x, shortcut, chunk, out):
    """out = bn(y), + x with a shortcut. A task is `chunk` pixels.

    y, out: (P, M); x likewise, but without a shortcut nobody reads it; norm: (1, 3, M).
    """
    P, M = y.shape
    zero, six = y.dtype.type(0), y.dtype.type(6)
    for task in prange((P + chunk - 1) // chunk):
        for r in range(task * chunk, min(P, task * chunk + chunk)):
            if shortcut:
                for m in range(M):
                    out[r, m] = x[r, m] + normal(y[r, m], norm, 0, m, False, zero, six)
            else:
                for m in range(M):
                    out[r, m] = normal(y[r, m], norm, 0, m, False, zero, six)


def _add_up(parts, chunk, out):
    """out = the sum of the groups, in their order, the pieces side by side. A task is `chunk` rows.

    parts: (groups, pieces, P, M); out: (P, pieces*M).
    """
    groups, pieces, P, M = parts.shape
    for task in prange((P + chunk - 1) // chunk):
        for row in range(task * chunk, min(P, task * chunk + chunk)):
            r = row & NATURAL
            for k in range(pieces):
                to = (k * M) & NATURAL
                for m in range(M):
                    out[r, to + m] = parts[0, k, r, m]
                for g in range(1, groups):
                    for m in range(M):
                        out[r, to + m] += parts[g, k, r, m]


def _transpose(w, out):
    """out[k] = w[k] transposed. w: (pieces, A, B); out: (pieces, B, A). A task is 16 rows of out, a cache line of w."""
    pieces, A, B = w.shape
    blocks = (B + 15) // 16
    for task in prange(pieces * blocks):
        k, first = (task // blocks) & NATURAL, (task % blocks * 16) & NATURAL
        for i in range(min(16, B - first)):
            for j in range(A):
                out[k, first + i, j] = w[k, j, first + i]


center = compile_kernel(_center, contract=True, inline=True)
expand = compile_kernel(_expand, contract=True, inline=True)
project = compile_kernel(_project, contract=True, inline=True)
normalise = compile_kernel(_normalise, contract=True, inline=True)
add_up = compile_kernel(_add_up)
transpose = compile_kernel(_transpose)
