"""The inverted residual in training, backward. A kernel reads each wide array once, and writes one at most.

The plain version is `backward` of `nn.blocks.InvertedResidual`, layer by layer; docs/training_speed.md derives this one
from it. Batch norm's backward needs two sums over the batch, so here it is cut in two: a kernel writes `dz`, the
gradient that ReLU6 let through, and sums up dz and dz * (y - mean) while its tiles are in cache: dbeta, and dgamma
before its inv_std. Who reads dz next makes dy of it on the way (`through_norm`)::

    project:    dz2 = mask(y2) * (dy3 @ wp.T)            dwp = relu6(bn(y2)).T @ dy3
    depthwise:  dz1 = mask(y1) * spread(dy2, wd)         dwd = windows of relu6(bn(y1)) times dy2
    expand:     dx  = dy1 @ we.T                         dwe = x.T @ dy1

`depthwise` has a file of its own, `depthwise_backward_loops`. Where `y1` was not stored it computes its rows again from
x less its mean, multiplies the rows of dz1 at once and writes no dz1; `finish` subtracts what had to wait for the sums.
Tasks and scratch are those of `forward_loops`.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.products import product, product_of_columns
from npmnv2.kernels.scalars import NATURAL, let_through
from npmnv2.kernels.training_block.forward_loops import begin_tile, end_tile, normal
from npmnv2.kernels.training_block.records import Cut, Deferred, DeferredGradient, Gradients, new_sums


@compile_scalar
def through_norm(dz, y, norm, k, e):
    """What batch norm's backward makes of dz. norm: see `records.DeferredGradient`."""
    return norm[k, 1, e] * (dz - norm[k, 2, e] - (y - norm[k, 0, e]) * norm[k, 3, e])


@compile_task
def merge_gradients(made, sums):
    """sums[k] = the totals of the tasks of piece k, added in order."""
    pieces, _, E = sums.shape
    per_piece = made.total.shape[0] // pieces
    for k in range(pieces):
        for i in range(2):
            for e in range(E):
                sums[k, i, e] = 0
            for task in range(k * per_piece, k * per_piece + per_piece):
                for e in range(E):
                    sums[k, i, e] += made.total[task, i, e]


@compile_scalar
def _let_through(dz, h, zero, six):
    """The same of four gradients. Called one by one in the loop below, LLVM fuses other products: other bits."""
    first, second = let_through(dz[0], h[0], zero, six), let_through(dz[1], h[1], zero, six)
    return first, second, let_through(dz[2], h[2], zero, six), let_through(dz[3], h[3], zero, six)


@compile_inline
def _mask_rows(y, norm, dz, hidden, tile, place):
    """hidden[t] = relu6(bn(y)) of rows first ... last - 1 of y[k]; dz becomes 0 where ReLU6 bounded, and is summed up.

    Four rows at a time, and what is left one by one: the plain version. The four lie far apart, so that memory is read
    as four long runs, which the processor fetches ahead; four neighbours were measured to be slower.
    """
    t, k, first, last, task = place
    E = y.shape[2]
    zero, six = y.dtype.type(0), y.dtype.type(6)
    fourth = (last - first) // 4
    for row in range(fourth):
        r0, r1 = row & NATURAL, (row + fourth) & NATURAL
        r2, r3 = (row + 2 * fourth) & NATURAL, (row + 3 * fourth) & NATURAL
        p0, p1, p2, p3 = (first + r0) & NATURAL, (first + r1) & NATURAL, (first + r2) & NATURAL, (first + r3) & NATURAL
        for e in range(E):
            mean = norm[k, 0, e]
            v0, v1, v2, v3 = y[k, p0, e], y[k, p1, e], y[k, p2, e], y[k, p3, e]
            h0, h1 = normal(v0, norm, k, e, True, zero, six), normal(v1, norm, k, e, True, zero, six)
            h2, h3 = normal(v2, norm, k, e, True, zero, six), normal(v3, norm, k, e, True, zero, six)
            hidden[t, r0, e], hidden[t, r1, e], hidden[t, r2, e], hidden[t, r3, e] = h0, h1, h2, h3
            g = dz[k, p0, e], dz[k, p1, e], dz[k, p2, e], dz[k, p3, e]
            g0, g1, g2, g3 = _let_through(g, (h0, h1, h2, h3), zero, six)
            dz[k, p0, e], dz[k, p1, e], dz[k, p2, e], dz[k, p3, e] = g0, g1, g2, g3
            tile[task, 0, e] += (g0 + g1) + (g2 + g3)
            tile[task, 1, e] += (g0 * (v0 - mean) + g1 * (v1 - mean)) + (g2 * (v2 - mean) + g3 * (v3 - mean))
    for row in range(4 * fourth, last - first):
        r, p = row & NATURAL, (first + row) & NATURAL
        for e in range(E):
            h = normal(y[k, p, e], norm, k, e, True, zero, six)
            hidden[t, r, e] = h
            g = let_through(dz[k, p, e], h, zero, six)
            dz[k, p, e] = g
            tile[task, 0, e] += g
            tile[task, 1, e] += g * (y[k, p, e] - norm[k, 0, e])


@compile_task
def _project_tasks(t, dy, h, wt, scratch, out, sums):
    """The tasks of thread t of `_project`."""
    (y, norm), hidden, (dz, dw), (_, tile, total) = h, scratch, out, sums
    (pieces, P, _), (threads, size, _), tasks = y.shape, hidden.shape, dw.shape[0]
    groups = tasks // pieces
    for number in range(t * tasks // threads, (t + 1) * tasks // threads):
        task, k, g = number & NATURAL, (number // groups) & NATURAL, (number % groups) & NATURAL
        begin, end = g * P // groups, (g + 1) * P // groups
        for first in range(begin, end, size):
            last = min(first + size, end)
            product(dy[first:last], wt[k], True, dz[k, first:last])
            begin_tile(tile, task)
            _mask_rows(y, norm, dz, hidden, tile, (t, k, first, last, task))
            end_tile(tile, total, task)
            product_of_columns(hidden[t, : last - first], dy[first:last], first == begin, dw[g * pieces + k])


def _project(dy, h, wt, scratch, out, sums):
    """dz2, its sums and dwp, from the gradient `dy` of h @ wp, h = relu6(bn(y2)). A task is (piece, group of pixels).

    dy: (P, M); wt: (pieces, M, E), each wp[k].T; scratch: (threads, tile, E), a tile of h; out.dx: dz2, like y2;
    out.dw: (groups*pieces, E, M); sums: (pieces, 2, E) in float64.
    """
    made = new_sums(out.dw.shape[0], h.y)
    h, out = Deferred(*h), Gradients(*out)
    for t in prange(scratch.shape[0]):
        _project_tasks(np.int64(t), dy, h, wt, scratch, out, made)
    merge_gradients(made, sums)


@compile_task
def _expand_tasks(t, dy, x, wt, shortcut, cut, scratch, out):
    """The tasks of thread t of `_expand`."""
    (dz, y, norm), rows, (dx, dw) = dy, scratch, out
    (pieces, P, E), (threads, size, _), tasks = y.shape, rows.shape, dx.shape[0] * cut.groups
    for task in range(t * tasks // threads, (t + 1) * tasks // threads):
        share, g = (task // cut.groups) & NATURAL, (task % cut.groups) & NATURAL
        begin, end = g * P // cut.groups, (g + 1) * P // cut.groups
        for piece in range(share * cut.pieces, min(share * cut.pieces + cut.pieces, pieces)):
            k, overwrite = piece & NATURAL, piece == share * cut.pieces
            for first in range(begin, end, size):
                last = min(first + size, end)
                for row in range(last - first):
                    r, p = row & NATURAL, (first + row) & NATURAL
                    for e in range(E):
                        rows[t, r, e] = through_norm(dz[k, p, e], y[k, p, e], norm, k, e)
                tile = rows[t, : last - first]
                product_of_columns(x[0, first:last], tile, first == begin, dw[g * pieces + k])
                if piece == 0 and shortcut.shape[0] > 0:
                    overwrite = False
                    for row in range(first, last):
                        p = row & NATURAL
                        for c in range(dx.shape[2]):
                            dx[share, p, c] = shortcut[p, c]
                product(tile, wt[k], overwrite, dx[share, first:last])


def _expand(dy, x, wt, shortcut, cut, scratch, out):
    """dx[share] = what the pieces of a share add to the gradient of x in ``y1 = x @ we``; and dwe.

    A task is (share, group of pixels). x: (1, P, C); wt: (pieces, E, C), each we[k].T; shortcut: (P, C), the gradient
    that it adds, of no rows without one; scratch: (threads, tile, E), a tile of dy; out: of (shares, P, C) and
    (groups*pieces, C, E).
    """
    dy, cut, out = DeferredGradient(*dy), Cut(*cut), Gradients(*out)
    for t in prange(scratch.shape[0]):
        _expand_tasks(np.int64(t), dy, x, wt, shortcut, cut, scratch, out)


@compile_task
def _finish_tasks(t, parts, x, through, constant, shortcut, narrow, dx):
    """The tasks of thread t of `_finish`."""
    pieces, P, C = parts.shape
    threads, tile, _ = narrow.shape
    tasks = (P + tile - 1) // tile
    for task in range(t * tasks // threads, (t + 1) * tasks // threads):
        first, last = task * tile, min(task * tile + tile, P)
        product(x[0, first:last], through, True, narrow[t, : last - first])
        for r in range(last - first):
            p = (first + r) & NATURAL
            for c in range(C):
                dx[p, c] = parts[0, p, c] - narrow[t, r, c] - constant[c]
            for k in range(1, pieces):
                for c in range(C):
                    dx[p, c] += parts[k, p, c]
            if shortcut.shape[0] > 0:
                for c in range(C):
                    dx[p, c] += shortcut[p, c]


def _finish(parts, x, through, constant, shortcut, narrow, dx):
    """dx = the sum of the parts - x @ through - constant, + the gradient of the shortcut. A task is a tile of pixels.

    docs/training_speed.md: dx of an expansion that is never stored. parts: (pieces, P, C); x: (1, P, C), less its mean;
    through: (C, C); constant: (C,); shortcut: as in `_expand`; narrow: scratch, (threads, tile, C); dx: (P, C).
    """
    for t in prange(narrow.shape[0]):
        _finish_tasks(np.int64(t), parts, x, through, constant, shortcut, narrow, dx)


project = compile_kernel(_project, contract=True, inline=True)
expand = compile_kernel(_expand, contract=True, inline=True)
finish = compile_kernel(_finish, contract=True, inline=True)
