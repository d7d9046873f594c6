"""The inverted residual while it is trained, forward: batch norm and ReLU6 wait until somebody reads what they follow.

Normalised values would be written only to be read again. So the wide arrays of a block, `y1` behind the expansion and
`y2` behind the depthwise convolution, are kept as the convolutions made them, and who reads one normalises and clips it
on the way, in a tile that stays in cache::

    y1 = x @ we                                  the statistics of y1 are summed up while its tiles are in cache
    y2 = depthwise(relu6(bn(y1)), wd)            and those of y2
    y3 = relu6(bn(y2)) @ wp

Where ``x`` is thin enough not even `y1` is kept: `depthwise` (in a file of its own, `depthwise_loops`) expands a few
rows at a time (`inside`), `center_thin` makes of x what the statistics follow from. docs/training_speed.md derives it
and says where it pays. The wide channels are cut into pieces, which only `project` mixes, and the pieces are the first
axis: `y1` is (pieces, N*H*W, E), E channels in a piece, and a tile of it is a matrix as it lies there. ``norm[k]``
holds what normalises a piece, see `normal`.

A task owns a group of pixels and one or some pieces. How many there are, and in which order what they sum up is added,
follows from the shape alone, so the bits do not depend on the number of threads. Kernels that need room to work in loop
over threads: thread b owns a run of tasks, and plane b of the rooms. What it does is a function of its own, named after
the tasks.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel, compile_scalar, compile_task

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_apart
def product(x, at, first, last, w, k, out, plane, to):
    """out[plane, to ...] = x[at, first ... last - 1] @ w[k]. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(x[at, first:last], w[k], out[plane, to : to + last - first])


@compile_apart
def _squared(z, b, rows, out):
    """out[b] = z.T @ z, of the rows of z[b]."""
    np.dot(z[b, :rows].T, z[b, :rows], out[b])


@compile_scalar
def normal(y, norm, k, e, clip, zero, six):
    """relu6(bn(y)): norm[k] holds the mean, the scale gamma * inv_std and the shift beta. NaN stays NaN."""
    v = (y - norm[k, 0, e]) * norm[k, 1, e] + norm[k, 2, e]
    if clip:
        v = zero if v <= zero else v
        v = six if v >= six else v
    return v


@compile_inline
def center(y, k, first, last, task, shift):
    """shift[task] = the mean of these rows of y[k]: the deviations from it are what `sum_up` adds."""
    for e in range(y.shape[2]):
        shift[task, e] = 0
    for r in range(first, last):
        for e in range(y.shape[2]):
            shift[task, e] += y[k, r & NATURAL, e]
    for e in range(y.shape[2]):
        shift[task, e] /= last - first


@compile_inline
def begin_sums(rough, task):
    """rough[task] = 0: a tile begins. Two sums of it for each channel, in the dtype of the arrays."""
    for e in range(rough.shape[2]):
        rough[task, 0, e] = 0
        rough[task, 1, e] = 0


@compile_inline
def end_sums(rough, task, total):
    """Add the sums of a tile to those of its task, in float64."""
    for e in range(rough.shape[2]):
        total[task, 0, e] += rough[task, 0, e]
        total[task, 1, e] += rough[task, 1, e]


@compile_inline
def sum_up(y, k, first, last, task, shift, rough, total):
    """Add to total[task] the deviations of these rows of y[k] and their squares, four rows at a time."""
    E = y.shape[2]
    begin_sums(rough, task)
    fours = last - (last - first) % 4
    for row in range(first, fours, 4):
        r = row & NATURAL
        for e in range(E):
            d0, d1 = y[k, r, e] - shift[task, e], y[k, r + 1, e] - shift[task, e]
            d2, d3 = y[k, r + 2, e] - shift[task, e], y[k, r + 3, e] - shift[task, e]
            rough[task, 0, e] += (d0 + d1) + (d2 + d3)
            rough[task, 1, e] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for row in range(fours, last):
        r = row & NATURAL
        for e in range(E):
            d = y[k, r, e] - shift[task, e]
            rough[task, 0, e] += d
            rough[task, 1, e] += d * d
    end_sums(rough, task, total)


@compile_inline
def merge(shift, total, P, mean, var):
    """Mean and biased variance of every channel from the sums of the groups, in order. Task k * groups + g."""
    pieces, E = mean.shape
    groups = total.shape[0] // pieces
    for k in range(pieces):
        for e in range(E):
            mean[k, e] = 0
            var[k, e] = 0
        for g in range(groups):
            before, now, task = g * P // groups, (g + 1) * P // groups - g * P // groups, k * groups + g
            for e in range(E):
                drift = total[task, 0, e] / now
                delta = shift[task, e] + drift - mean[k, e]
                var[k, e] += total[task, 1, e] - drift * drift * now + delta * delta * before * now / (before + now)
                mean[k, e] += delta * now / (before + now)
        for e in range(E):
            var[k, e] /= P
            if var[k, e] < 0:  # by rounding
                var[k, e] = 0


@compile_task
def _expand_group(task, x, w, groups, tile, y, shift, rough, total):
    """One task of `_expand`."""
    k, g, P = task // groups, task % groups, y.shape[1]
    begin, end = g * P // groups, (g + 1) * P // groups
    for first in range(begin, end, tile):
        last = min(first + tile, end)
        product(x, 0, first, last, w, k, y, k, first)
        if first == begin:
            center(y, k, first, last, task, shift)
        sum_up(y, k, first, last, task, shift, rough, total)


def _expand(x, w, groups, tile, y, mean, var):
    """y[k] = x @ w[k] and the statistics of y. A task is (piece, group of pixels), a product `tile` pixels.

    x: (1, P, C); w: (pieces, C, E); y: (pieces, P, E); mean, var: (pieces, E) in float64.
    """
    pieces, P, E = y.shape
    tasks = pieces * groups
    shift, rough = np.zeros((tasks, E), y.dtype), np.zeros((tasks, 2, E), y.dtype)
    total = np.zeros((tasks, 2, E))
    for task in prange(tasks):
        _expand_group(np.int64(task), x, w, groups, tile, y, shift, rough, total)
    merge(shift, total, P, mean, var)


@compile_task
def _center_groups(b, threads, x, mean, groups, tile, room, part, centered, gram):
    """The tasks of thread b of `_center_thin`."""
    P, C = x.shape
    for task in range(b * groups // threads, (b + 1) * groups // threads):
        g = task & NATURAL
        for i in range(C):
            for j in range(C):
                gram[g, i, j] = 0
        end = (g + 1) * P // groups
        for first in range(g * P // groups, end, tile):
            last = min(first + tile, end)
            for r in range(last - first):
                p = (first + r) & NATURAL
                for c in range(C):
                    d = x[p, c] - mean[c]
                    centered[p, c] = d
                    room[b, r, c] = d
            _squared(room, b, last - first, part)
            for i in range(C):
                for j in range(C):
                    gram[g, i, j] += part[b, i, j]


def _center_thin(x, mean, groups, tile, room, part, centered, gram):
    """x - mean, and gram[g] = the products of its channels with each other, summed up over the pixels of group g.

    x, centered: (P, C); mean: (C,); in float64 gram: (groups, C, C), room: (threads, tile, C), part: (threads, C, C).
    """
    threads = room.shape[0]
    for b in prange(threads):
        _center_groups(np.int64(b), threads, x, mean, groups, tile, room, part, centered, gram)


@compile_task
def _project_groups(b, tasks, x, norm, w, groups, tile, each, hidden, narrow, parts):
    """The tasks of thread b of `_project`."""
    pieces, P, E = x.shape
    M = parts.shape[2]
    threads = hidden.shape[0]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        j, g = (task // groups) & NATURAL, task % groups
        for piece in range(j * each, min(j * each + each, pieces)):
            k = piece & NATURAL
            for first in range(g * P // groups, (g + 1) * P // groups, tile):
                last = min(first + tile, (g + 1) * P // groups)
                for r in range(last - first):
                    p = (first + r) & NATURAL
                    for e in range(E):
                        hidden[b, r, e] = normal(x[k, p, e], norm, k, e, True, zero, six)
                if piece == j * each:
                    product(hidden, b, 0, last - first, w, k, parts, j, first)
                else:
                    product(hidden, b, 0, last - first, w, k, narrow, b, 0)
                    for r in range(last - first):
                        p = (first + r) & NATURAL
                        for m in range(M):
                            parts[j, p, m] += narrow[b, r, m]


def _project(x, norm, w, groups, tile, each, hidden, narrow, parts):
    """parts[j] = what the pieces of share j, `each` of them, add to relu6(bn(x)) @ w.

    A task is (share, group of pixels). x: (pieces, P, E); norm: (pieces, 3, E); w: (pieces, E, M);
    hidden, narrow: (threads, tile, E), (threads, tile, M); parts: (shares, P, M).
    """
    shares, threads = parts.shape[0], hidden.shape[0]
    tasks = shares * groups
    for b in prange(threads):
        _project_groups(np.int64(b), tasks, x, norm, w, groups, tile, each, hidden, narrow, parts)


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


center_thin = compile_kernel(_center_thin, contract=True, inline=True)
expand = compile_kernel(_expand, contract=True, inline=True)
project = compile_kernel(_project, contract=True, inline=True)
normalise = compile_kernel(_normalise, contract=True, inline=True)
add_up = compile_kernel(_add_up)
transpose = compile_kernel(_transpose)
