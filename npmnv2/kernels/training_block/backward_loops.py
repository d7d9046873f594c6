"""The inverted residual while it is trained, backward. A kernel reads each wide array once, and writes one at most.

`forward_loops` keeps `y1` and `y2` as the convolutions made them. Batch norm's backward needs two sums over the batch,
so here it is cut in two: a kernel writes `dz`, the gradient that ReLU6 let through, and sums up dbeta and dgamma while
its tiles are in cache; who reads dz next makes dy of it on the way::

    project:    dz2 = mask(y2) * (dy3 @ wp.T)            dwp = relu6(bn(y2)).T @ dy3
    depthwise:  dz1 = mask(y1) * spread(dy2, wd)         dwd = windows of relu6(bn(y1)) times dy2
    expand:     dx  = dy1 @ we.T                         dwe = x.T @ dy1

with ``dy = scale * (dz - dbeta / m - xhat * dgamma / m)``, xhat being ``(y - mean) * inv_std``. ``back[k]`` holds what
that takes, see `through_norm`. Where `y1` was not kept, `depthwise` (it has a file of its own,
`depthwise_backward_loops`) makes its rows again from x less its mean (`inside`), multiplies the rows of dz1 at once
and writes no dz1; `finish` subtracts what had to wait for the sums. docs/training_speed.md derives all of it. Pieces,
groups and tasks are those of `forward_loops`.

The sums are of dz and of dz * (y - mean): dbeta, and dgamma before its inv_std. The rooms `hidden`, `part`, `narrow`
and `room` have a plane for each thread.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.training_block.forward_loops import begin_sums, end_sums, normal, product

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_scalar
def through_norm(dz, y, back, k, e):
    """What batch norm's backward makes of dz. back[k]: mean, gamma * inv_std, dbeta / m, dgamma * inv_std / m."""
    return back[k, 1, e] * (dz - back[k, 2, e] - (y - back[k, 0, e]) * back[k, 3, e])


@compile_apart
def transposed_product(x, at, first, last, z, plane, start, out, b):
    """out[b] = x[at, first ... last - 1].T @ z[plane, start ...], as many rows of z as of x."""
    np.dot(x[at, first:last].T, z[plane, start : start + last - first], out[b])


@compile_inline
def put(part, b, overwrite, dw, slot):
    """dw[slot] = part[b], or without `overwrite` +=."""
    for i in range(part.shape[1]):
        if overwrite:
            for j in range(part.shape[2]):
                dw[slot, i, j] = part[b, i, j]
        else:
            for j in range(part.shape[2]):
                dw[slot, i, j] += part[b, i, j]


@compile_inline
def merge_gradients(total, sums):
    """sums[k] = the totals of the tasks of piece k, added in order."""
    pieces, _, E = sums.shape
    each = total.shape[0] // pieces
    for k in range(pieces):
        for i in range(2):
            for e in range(E):
                sums[k, i, e] = 0
            for task in range(k * each, k * each + each):
                for e in range(E):
                    sums[k, i, e] += total[task, i, e]


@compile_scalar
def let_through(dz, h, zero, low, high):
    """Four gradients, 0 where h <= low or h >= high. With NaN as the bounds none becomes 0."""
    return (
        zero if h[0] <= low or h[0] >= high else dz[0],
        zero if h[1] <= low or h[1] >= high else dz[1],
        zero if h[2] <= low or h[2] >= high else dz[2],
        zero if h[3] <= low or h[3] >= high else dz[3],
    )


@compile_inline
def _mask_rows(y, k, first, last, norm, hidden, b, rough, task, dz):
    """hidden[b] = relu6(bn(y)) of these rows of y[k]; dz becomes 0 where ReLU6 bounded, and is summed up.

    Four rows at a time, and what is left one by one: the plain version. The four lie far apart, so that memory is read
    as four long runs, which the processor fetches ahead; four neighbours were measured to be slower.
    """
    E = y.shape[2]
    zero, six = y.dtype.type(0), y.dtype.type(6)
    fourth = (last - first) // 4
    for row in range(fourth):
        r0, r1, r2, r3 = (
            row & NATURAL,
            (row + fourth) & NATURAL,
            (row + 2 * fourth) & NATURAL,
            (row + 3 * fourth) & NATURAL,
        )
        p0, p1, p2, p3 = (first + r0) & NATURAL, (first + r1) & NATURAL, (first + r2) & NATURAL, (first + r3) & NATURAL
        for e in range(E):
            mean = norm[k, 0, e]
            v0, v1, v2, v3 = y[k, p0, e], y[k, p1, e], y[k, p2, e], y[k, p3, e]
            h0, h1 = normal(v0, norm, k, e, True, zero, six), normal(v1, norm, k, e, True, zero, six)
            h2, h3 = normal(v2, norm, k, e, True, zero, six), normal(v3, norm, k, e, True, zero, six)
            hidden[b, r0, e], hidden[b, r1, e], hidden[b, r2, e], hidden[b, r3, e] = h0, h1, h2, h3
            g = dz[k, p0, e], dz[k, p1, e], dz[k, p2, e], dz[k, p3, e]
            g0, g1, g2, g3 = let_through(g, (h0, h1, h2, h3), zero, zero, six)
            dz[k, p0, e], dz[k, p1, e], dz[k, p2, e], dz[k, p3, e] = g0, g1, g2, g3
            rough[task, 0, e] += (g0 + g1) + (g2 + g3)
            rough[task, 1, e] += (g0 * (v0 - mean) + g1 * (v1 - mean)) + (g2 * (v2 - mean) + g3 * (v3 - mean))
    for row in range(4 * fourth, last - first):
        r, p = row & NATURAL, (first + row) & NATURAL
        for e in range(E):
            h = normal(y[k, p, e], norm, k, e, True, zero, six)
            hidden[b, r, e] = h
            g = zero if h <= zero or h >= six else dz[k, p, e]
            dz[k, p, e] = g
            rough[task, 0, e] += g
            rough[task, 1, e] += g * (y[k, p, e] - norm[k, 0, e])


@compile_task
def _project_groups(b, tasks, dy, y, norm, wt, groups, tile, hidden, part, dz, dw, rough, total):
    """The tasks of thread b of `_project`."""
    pieces, P, _ = y.shape
    threads = hidden.shape[0]
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        k, g = (task // groups) & NATURAL, (task % groups) & NATURAL
        begin, end = g * P // groups, (g + 1) * P // groups
        for first in range(begin, end, tile):
            last = min(first + tile, end)
            product(dy, 0, first, last, wt, k, dz, k, first)
            begin_sums(rough, task)
            _mask_rows(y, k, first, last, norm, hidden, b, rough, task, dz)
            end_sums(rough, task, total)
            transposed_product(hidden, b, 0, last - first, dy, 0, first, part, b)
            put(part, b, first == begin, dw, (g * pieces + k) & NATURAL)


def _project(dy, y, norm, wt, groups, tile, hidden, part, dz, dw, sums):
    """dz, its sums and dw, from the gradient `dy` of ``relu6(bn(y)) @ w``. A task is (piece, group of pixels).

    dy: (1, P, M); y, dz: (pieces, P, E); norm: (pieces, 3, E); wt: (pieces, M, E), each w[k].T; sums: (pieces, 2, E) in
    float64; dw: (groups*pieces, E, M), what a group adds to the gradient of w, group g of piece k in g*pieces + k;
    hidden, part: (threads, tile, E), (threads, E, M).
    """
    pieces, _, E = y.shape
    threads = hidden.shape[0]
    tasks = pieces * groups
    rough, total = np.zeros((tasks, 2, E), y.dtype), np.zeros((tasks, 2, E))
    for b in prange(threads):
        _project_groups(np.int64(b), tasks, dy, y, norm, wt, groups, tile, hidden, part, dz, dw, rough, total)
    merge_gradients(total, sums)


@compile_task
def _expand_groups(b, tasks, dz, y, back, wt, x, dout, shortcut, groups, tile, each, room, part, narrow, dx, dw):
    """The tasks of thread b of `_expand`."""
    pieces, P, E = y.shape
    C = dx.shape[2]
    threads = room.shape[0]
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        j, g = (task // groups) & NATURAL, (task % groups) & NATURAL
        begin, end = g * P // groups, (g + 1) * P // groups
        for piece in range(j * each, min(j * each + each, pieces)):
            k, begins = piece & NATURAL, piece == j * each
            for first in range(begin, end, tile):
                last = min(first + tile, end)
                for r in range(last - first):
                    p = (first + r) & NATURAL
                    for e in range(E):
                        room[b, r, e] = through_norm(dz[k, p, e], y[k, p, e], back, k, e)
                transposed_product(x, 0, first, last, room, b, 0, part, b)
                put(part, b, first == begin, dw, (g * pieces + k) & NATURAL)
                if begins and not (shortcut and j == 0):
                    product(room, b, 0, last - first, wt, k, dx, j, first)
                else:
                    product(room, b, 0, last - first, wt, k, narrow, b, 0)
                    for r in range(last - first):
                        p = (first + r) & NATURAL
                        if begins:
                            for c in range(C):
                                dx[j, p, c] = dout[p, c] + narrow[b, r, c]
                        else:
                            for c in range(C):
                                dx[j, p, c] += narrow[b, r, c]


def _expand(dz, y, back, wt, x, dout, shortcut, groups, tile, each, room, part, narrow, dx, dw):
    """dx[j] = what the pieces of share j, `each` of them, add to the gradient of x in ``y = x @ w``; and dw.

    With a shortcut dx[0] begins with dout, which nobody reads without one. A task is (share, group of pixels).
    dz, y: (pieces, P, E); back: (pieces, 4, E); wt: (pieces, E, C), each w[k].T; x: (1, P, C); dout: (P, C);
    dx: (shares, P, C); dw: (groups*pieces, C, E), as in `_project`;
    room, part, narrow: (threads, tile, E), (threads, C, E), (threads, tile, C).
    """
    shares, threads = dx.shape[0], room.shape[0]
    tasks = shares * groups
    for b in prange(threads):
        _expand_groups(
            np.int64(b), tasks, dz, y, back, wt, x, dout, shortcut, groups, tile, each, room, part, narrow, dx, dw
        )


@compile_task
def _finish_groups(b, tiles, parts, x, through, constant, dout, shortcut, tile, narrow, dx):
    """The tasks of thread b of `_finish`."""
    pieces, P, C = parts.shape
    threads = narrow.shape[0]
    for task in range(b * tiles // threads, (b + 1) * tiles // threads):
        first, last = task * tile, min(task * tile + tile, P)
        product(x, 0, first, last, through, 0, narrow, b, 0)
        for r in range(last - first):
            p = (first + r) & NATURAL
            for c in range(C):
                dx[p, c] = parts[0, p, c] - narrow[b, r, c] - constant[c]
            for k in range(1, pieces):
                for c in range(C):
                    dx[p, c] += parts[k, p, c]
            if shortcut:
                for c in range(C):
                    dx[p, c] += dout[p, c]


def _finish(parts, x, through, constant, dout, shortcut, tile, narrow, dx):
    """dx = the sum of the parts - x @ through - constant, + dout with a shortcut. A task is a tile of pixels.

    docs/training_speed.md: dx of an expansion that is never stored. parts: (pieces, P, C); x: (1, P, C), less its mean;
    through: (1, C, C); constant: (C,); dx: (P, C); dout: (P, C), read with a shortcut only;
    narrow: (threads, tile, C).
    """
    P, threads = parts.shape[1], narrow.shape[0]
    tiles = (P + tile - 1) // tile
    for b in prange(threads):
        _finish_groups(np.int64(b), tiles, parts, x, through, constant, dout, shortcut, tile, narrow, dx)


project = compile_kernel(_project, contract=True, inline=True)
expand = compile_kernel(_expand, contract=True, inline=True)
finish = compile_kernel(_finish, contract=True, inline=True)
