"""The inverted residual while it is trained, backward: three kernels, each of which passes over memory once.

`deferred_loops` keeps `y1` and `y2` as the convolutions made them. The way back defers the same half of batch norm: a
kernel writes `dz`, the gradient that ReLU6 let through, and sums up dbeta and dgamma while its tiles are in cache; the
rest of batch norm's backward needs those sums, and is done by who reads dz next, on the way::

    project:    dz2 = mask(y2) * (dy3 @ wp.T)            dwp = relu6(bn(y2)).T @ dy3
    depthwise:  dz1 = mask(y1) * spread(dy2, wd)         dwd = windows of relu6(bn(y1)) times dy2
    expand:     dx  = dy1 @ we.T                         dwe = x.T @ dy1

with ``dy = scale * (dz - dbeta / m - xhat * dgamma / m)`` from dz and y. ``back[k]`` holds what that takes, see `_dy`.
Where `y1` was not kept, `depthwise` makes its rows again from x less its mean (`inside`), multiplies the rows of dz1 at
once and writes no dz1; `finish` subtracts what had to wait for the sums. docs/training_speed.md derives all of it.
Pieces, groups and tasks are those of `deferred_loops`.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.compile import compile_apart, compile_inline, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.deferred_loops import normal, product
from npmnv2.kernels.windows_3x3 import four, next_four, next_six, three

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_scalar
def _dy(dz, y, back, k, e):
    """What batch norm's backward makes of dz. back[k]: mean, gamma * inv_std, dbeta / m, dgamma * inv_std / m."""
    return back[k, 1, e] * (dz - back[k, 2, e] - (y - back[k, 0, e]) * back[k, 3, e])


@compile_apart
def _transposed_product(x, at, first, last, z, plane, start, out, b):
    """out[b] = x[at, first ... last - 1].T @ z[plane, start ...]."""
    np.dot(x[at, first:last].T, z[plane, start : start + last - first], out[b])


@compile_inline
def _put(part, b, overwrite, dw, g):
    """Begin dw[g] with part[b], or add it."""
    for i in range(part.shape[1]):
        if overwrite:
            for j in range(part.shape[2]):
                dw[g, i, j] = part[b, i, j]
        else:
            for j in range(part.shape[2]):
                dw[g, i, j] += part[b, i, j]


@compile_inline
def _begin_sums(part, task):
    """A task sums up a tile at a time, in the dtype of the arrays."""
    for e in range(part.shape[2]):
        part[task, 0, e] = 0
        part[task, 1, e] = 0


@compile_inline
def _end_sums(part, task, total):
    """And the tiles in float64: of dz, and of dz * (y - mean), which are dbeta, and dgamma before its inv_std."""
    for e in range(part.shape[2]):
        total[task, 0, e] += part[task, 0, e]
        total[task, 1, e] += part[task, 1, e]


@compile_inline
def _merge_gradients(total, sums):
    """sums[k] = the totals of the groups of piece k, in order."""
    pieces, _, E = sums.shape
    groups = total.shape[0] // pieces
    for k in range(pieces):
        for i in range(2):
            for e in range(E):
                sums[k, i, e] = 0
            for g in range(groups):
                for e in range(E):
                    sums[k, i, e] += total[k * groups + g, i, e]


@compile_scalar
def _let_through(dz, h, zero, low, high):
    """Of four gradients those where ReLU6 does not bound h. If the bounds are NaN it bounds nothing."""
    return (
        zero if h[0] <= low or h[0] >= high else dz[0],
        zero if h[1] <= low or h[1] >= high else dz[1],
        zero if h[2] <= low or h[2] >= high else dz[2],
        zero if h[3] <= low or h[3] >= high else dz[3],
    )


@compile_inline
def _mask_rows(y, k, first, last, norm, hidden, b, part, task, dz):
    """hidden[b] = relu6(bn(y)) of these rows of y[k]; dz loses what ReLU6 did not let through, and is summed up."""
    E = y.shape[2]
    zero, six = y.dtype.type(0), y.dtype.type(6)
    fours = last - (last - first) % 4
    for row in range(first, fours, 4):
        p, r = row & NATURAL, (row - first) & NATURAL
        for e in range(E):
            y0, y1, y2, y3 = y[k, p, e], y[k, p + 1, e], y[k, p + 2, e], y[k, p + 3, e]
            h0, h1 = normal(y0, norm, k, e, True, zero, six), normal(y1, norm, k, e, True, zero, six)
            h2, h3 = normal(y2, norm, k, e, True, zero, six), normal(y3, norm, k, e, True, zero, six)
            hidden[b, r, e], hidden[b, r + 1, e], hidden[b, r + 2, e], hidden[b, r + 3, e] = h0, h1, h2, h3
            g = dz[k, p, e], dz[k, p + 1, e], dz[k, p + 2, e], dz[k, p + 3, e]
            g0, g1, g2, g3 = _let_through(g, (h0, h1, h2, h3), zero, zero, six)
            dz[k, p, e], dz[k, p + 1, e], dz[k, p + 2, e], dz[k, p + 3, e] = g0, g1, g2, g3
            mean = norm[k, 0, e]
            part[task, 0, e] += (g0 + g1) + (g2 + g3)
            part[task, 1, e] += (g0 * (y0 - mean) + g1 * (y1 - mean)) + (g2 * (y2 - mean) + g3 * (y3 - mean))
    for row in range(fours, last):
        p, r = row & NATURAL, (row - first) & NATURAL
        for e in range(E):
            h = normal(y[k, p, e], norm, k, e, True, zero, six)
            hidden[b, r, e] = h
            g = zero if h <= zero or h >= six else dz[k, p, e]
            dz[k, p, e] = g
            part[task, 0, e] += g
            part[task, 1, e] += g * (y[k, p, e] - norm[k, 0, e])


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
            _begin_sums(rough, task)
            _mask_rows(y, k, first, last, norm, hidden, b, rough, task, dz)
            _end_sums(rough, task, total)
            _transposed_product(hidden, b, 0, last - first, dy, 0, first, part, b)
            _put(part, b, first == begin, dw, (g * pieces + k) & NATURAL)


def _project(dy, y, norm, wt, groups, tile, hidden, part, dz, dw, sums):
    """dz, its sums and dw, from the gradient `dy` of ``relu6(bn(y)) @ w``. A task is (piece, group of pixels).

    dy: (1, P, M); y, dz: (pieces, P, E); norm: (pieces, 3, E); wt: (pieces, M, E), transposed;
    dw: (groups*pieces, E, M); sums: (pieces, 2, E) in float64; hidden, part: (threads, tile, E), (threads, E, M).
    """
    pieces, _, E = y.shape
    threads = hidden.shape[0]
    tasks = pieces * groups
    rough, total = np.zeros((tasks, 2, E), y.dtype), np.zeros((tasks, 2, E))
    for b in prange(threads):
        _project_groups(np.int64(b), tasks, dy, y, norm, wt, groups, tile, hidden, part, dz, dw, rough, total)
    _merge_gradients(total, sums)


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
            k = piece & NATURAL
            for first in range(begin, end, tile):
                last = min(first + tile, end)
                for r in range(last - first):
                    p = (first + r) & NATURAL
                    for e in range(E):
                        room[b, r, e] = _dy(dz[k, p, e], y[k, p, e], back, k, e)
                _transposed_product(x, 0, first, last, room, b, 0, part, b)
                _put(part, b, first == begin, dw, (g * pieces + k) & NATURAL)
                if piece == j * each and not (shortcut and j == 0):
                    product(room, b, 0, last - first, wt, k, dx, j, first)
                    continue
                product(room, b, 0, last - first, wt, k, narrow, b, 0)
                for r in range(last - first):
                    p = (first + r) & NATURAL
                    if piece == j * each:
                        for c in range(C):
                            dx[j, p, c] = dout[p, c] + narrow[b, r, c]
                    else:
                        for c in range(C):
                            dx[j, p, c] += narrow[b, r, c]


def _expand(dz, y, back, wt, x, dout, shortcut, groups, tile, each, room, part, narrow, dx, dw):
    """dx[j] = what the pieces of share j, `each` of them, add to the gradient of x in ``y = x @ w``; and dw.

    With a shortcut dx[0] begins with dout, which nobody reads without one. A task is (share, group of pixels).
    dz, y: (pieces, P, E); back: (pieces, 4, E); wt: (pieces, E, C); x: (1, P, C); dout: (P, C); dx: (shares, P, C);
    dw: (groups*pieces, C, E);
    room, part, narrow: (threads, tile, E), (threads, C, E), (threads, tile, C).
    """
    shares, threads = dx.shape[0], room.shape[0]
    tasks = shares * groups
    for b in prange(threads):
        _expand_groups(
            np.int64(b), tasks, dz, y, back, wt, x, dout, shortcut, groups, tile, each, room, part, narrow, dx, dw
        )


@compile_scalar
def _add_nine(dw, task, g0, g1, g2, e):
    """Add the sums of the three kernel rows; each runs from tap 2 to tap 0."""
    dw[task, 0, 2, e] += g0[0]
    dw[task, 0, 1, e] += g0[1]
    dw[task, 0, 0, e] += g0[2]
    dw[task, 1, 2, e] += g1[0]
    dw[task, 1, 1, e] += g1[1]
    dw[task, 1, 0, e] += g1[2]
    dw[task, 2, 2, e] += g2[0]
    dw[task, 2, 1, e] += g2[1]
    dw[task, 2, 0, e] += g2[2]


@compile_inline
def _eight_pixels(wide, hidden, b, q0, q1, q2, q3, w, k, xx, low, high, spread, task, dw):
    """Two rows by four columns at stride 1, as in `depthwise_3x3_backward`.

    q0 ... q3: rows of dy in the ring `wide`; p, r: pixels of the two rows of `hidden`.
    """
    zero = wide.dtype.type(0)
    for e in range(wide.shape[3]):
        p, r = next_four(hidden, b, 0, xx, e), next_four(hidden, b, 1, xx, e)
        s = t = (zero, zero, zero, zero)
        g0 = g1 = g2 = (zero, zero, zero)
        a = next_six(wide, b, q0, xx, e)
        s, g2 = four(a, w[k, 2, 2, e], w[k, 2, 1, e], w[k, 2, 0, e], s), three(a, p, g2)
        a = next_six(wide, b, q1, xx, e)
        s, g1 = four(a, w[k, 1, 2, e], w[k, 1, 1, e], w[k, 1, 0, e], s), three(a, p, g1)
        t, g2 = four(a, w[k, 2, 2, e], w[k, 2, 1, e], w[k, 2, 0, e], t), three(a, r, g2)
        a = next_six(wide, b, q2, xx, e)
        s, g0 = four(a, w[k, 0, 2, e], w[k, 0, 1, e], w[k, 0, 0, e], s), three(a, p, g0)
        t, g1 = four(a, w[k, 1, 2, e], w[k, 1, 1, e], w[k, 1, 0, e], t), three(a, r, g1)
        a = next_six(wide, b, q3, xx, e)
        t, g0 = four(a, w[k, 0, 2, e], w[k, 0, 1, e], w[k, 0, 0, e], t), three(a, r, g0)
        s0, s1, s2, s3 = _let_through(s, p, zero, low, high)
        spread[b, 0, xx, e], spread[b, 0, xx + 1, e], spread[b, 0, xx + 2, e], spread[b, 0, xx + 3, e] = s0, s1, s2, s3
        s0, s1, s2, s3 = _let_through(t, r, zero, low, high)
        spread[b, 1, xx, e], spread[b, 1, xx + 1, e], spread[b, 1, xx + 2, e], spread[b, 1, xx + 3, e] = s0, s1, s2, s3
        _add_nine(dw, task, g0, g1, g2, e)


@compile_inline
def _eight_pixels_by_two(wide, hidden, b, q0, q1, w, k, xx, ox, low, high, spread, task, dw):
    """Two rows by four columns at stride 2: even ones lie under kernel rows and columns 0 and 2, odd ones under 1."""
    zero = wide.dtype.type(0)
    for e in range(wide.shape[3]):
        a0, a1, a2 = wide[b, q0, ox, e], wide[b, q0, ox + 1, e], wide[b, q0, ox + 2, e]
        c0, c1, c2 = wide[b, q1, ox, e], wide[b, q1, ox + 1, e], wide[b, q1, ox + 2, e]
        p, r = next_four(hidden, b, 0, xx, e), next_four(hidden, b, 1, xx, e)
        w00, w01, w02 = w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e]
        w10, w11, w12 = w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e]
        w20, w21, w22 = w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e]
        s = (
            c1 * w00 + c0 * w02 + a1 * w20 + a0 * w22,
            c1 * w01 + a1 * w21,
            c2 * w00 + c1 * w02 + a2 * w20 + a1 * w22,
            c2 * w01 + a2 * w21,
        )
        t = (c1 * w10 + c0 * w12, c1 * w11, c2 * w10 + c1 * w12, c2 * w11)
        s0, s1, s2, s3 = _let_through(s, p, zero, low, high)
        spread[b, 0, xx, e], spread[b, 0, xx + 1, e], spread[b, 0, xx + 2, e], spread[b, 0, xx + 3, e] = s0, s1, s2, s3
        s0, s1, s2, s3 = _let_through(t, r, zero, low, high)
        spread[b, 1, xx, e], spread[b, 1, xx + 1, e], spread[b, 1, xx + 2, e], spread[b, 1, xx + 3, e] = s0, s1, s2, s3
        g0 = (p[0] * c0 + p[2] * c1, p[1] * c1 + p[3] * c2, p[0] * c1 + p[2] * c2)
        g1 = (r[0] * c0 + r[2] * c1, r[1] * c1 + r[3] * c2, r[0] * c1 + r[2] * c2)
        g2 = (p[0] * a0 + p[2] * a1, p[1] * a1 + p[3] * a2, p[0] * a1 + p[2] * a2)
        _add_nine(dw, task, g0, g1, g2, e)


@compile_inline
def _store_row(spread, b, r, aside, W, y, at, start, k, norm, task, part, dx, to, first):
    """One row of `spread` to dx[to], from pixel `first` on; it is summed up with y[at], from pixel `start` on."""
    E = spread.shape[3]
    fours = W - W % 4
    for column in range(0, fours, 4):
        c, q, p = (aside + column) & NATURAL, (start + column) & NATURAL, (first + column) & NATURAL
        for e in range(E):
            g0, g1, g2, g3 = next_four(spread, b, r, c, e)
            mean = norm[k, 0, e]
            d0, d1 = y[at, q, e] - mean, y[at, q + 1, e] - mean
            d2, d3 = y[at, q + 2, e] - mean, y[at, q + 3, e] - mean
            dx[to, p, e], dx[to, p + 1, e], dx[to, p + 2, e], dx[to, p + 3, e] = g0, g1, g2, g3
            part[task, 0, e] += (g0 + g1) + (g2 + g3)
            part[task, 1, e] += (g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3)
    for column in range(fours, W):
        c, q, p = (aside + column) & NATURAL, (start + column) & NATURAL, (first + column) & NATURAL
        for e in range(E):
            g = spread[b, r, c, e]
            dx[to, p, e] = g
            part[task, 0, e] += g
            part[task, 1, e] += g * (y[at, q, e] - norm[k, 0, e])


@compile_task
def _depthwise_images(
    b, tasks, dz, y, back, OW, x, inside, we, wt, norm, clip, w, H, W, stride, top, left, wide, raw, hidden, spread,
    room, part, dx, dwe, dw, rough, total,
):  # fmt: skip
    """The tasks of thread b of `_depthwise`."""
    E = y.shape[2]
    N, OH = tasks // w.shape[0], y.shape[1] // OW
    threads, R, columns, _ = wide.shape
    across = hidden.shape[2]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    low, high = (zero, six) if clip else (x.dtype.type(np.nan), x.dtype.type(np.nan))
    # rows above and columns left of the image in `hidden`, columns left of it in `wide`
    up, aside, ahead = (0, 0, 2 - left) if stride == 1 else (top, left, 1)
    for r in range(R):
        for c in range(columns):
            if c < ahead or c >= ahead + OW:
                for e in range(E):
                    wide[b, r, c & NATURAL, e] = zero
    for r in range(2):
        for c in range(across):
            if c < aside or c >= aside + W:
                for e in range(E):
                    hidden[b, r, c & NATURAL, e] = zero
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        k, image = (task // N) & NATURAL, task & NATURAL
        begin = ((task % N) * H * W) & NATURAL  # the first pixel of the image
        slot = ((task % N) * w.shape[0] + k) & NATURAL  # of its sums: all pieces of an image side by side
        for i in range(3):
            for j in range(3):
                for e in range(E):
                    dw[slot, i, j, e] = 0
        filled = top - 2 if stride == 1 else -1  # the first row of dy that is not in `wide` yet
        sent, held = 0, 0  # pixels that have left `room`, and that are in it
        for yy in range(-up, H, 2):
            oy = yy + top - 2 if stride == 1 else (yy + top) // 2 - 1  # the first row of dy that is seen
            while filled < oy + (4 if stride == 1 else 2):
                q = ((filled + R) % R) & NATURAL
                if filled < 0 or filled >= OH:
                    for c in range(OW):
                        for e in range(E):
                            wide[b, q, ahead + c, e] = zero
                else:
                    for c in range(OW):
                        p = (filled * OW + c) & NATURAL
                        for e in range(E):
                            wide[b, q, ahead + c, e] = _dy(dz[image, p, e], y[image, p, e], back, k, e)
                filled += 1
            first, last = max(yy, 0) * W, min(yy + 2, H) * W  # the pixels of the pair
            at, to, origin = (b, b, 0) if inside else (k, k, begin + first)  # of the pair in raw and room
            if inside:
                product(x, 0, begin + first, begin + last, we, k, raw, b, 0)
            for r in range(2):
                if 0 <= yy + r < H:
                    for c in range(W):
                        p = (origin + (yy + r) * W + c - first) & NATURAL
                        for e in range(E):
                            hidden[b, r, aside + c, e] = normal(raw[at, p, e], norm, k, e, clip, zero, six)
                else:
                    for c in range(W):
                        for e in range(E):
                            hidden[b, r, aside + c, e] = zero
            q0, q1 = ((oy + R) % R) & NATURAL, ((oy + 1 + R) % R) & NATURAL
            q2, q3 = ((oy + 2 + R) % R) & NATURAL, ((oy + 3 + R) % R) & NATURAL
            for start in range(0, across, 4):
                xx = start & NATURAL
                if stride == 1:
                    _eight_pixels(wide, hidden, b, q0, q1, q2, q3, w, k, xx, low, high, spread, slot, dw)
                else:
                    _eight_pixels_by_two(wide, hidden, b, q0, q1, w, k, xx, xx // 2, low, high, spread, slot, dw)
            _begin_sums(rough, image)
            for r in range(2):
                if 0 <= yy + r < H:
                    p = (yy + r) * W - first
                    put = held + p if inside else origin + p
                    _store_row(spread, b, r, aside, W, raw, at, origin + p, k, norm, image, rough, room, to, put)
            _end_sums(rough, image, total)
            held += last - first
            if not inside or (held + 2 * W <= room.shape[1] and yy + 2 < H):
                continue
            product(room, b, 0, held, wt, k, dx, k, begin + sent)
            _transposed_product(x, 0, begin + sent, begin + sent + held, room, b, 0, part, b)
            _put(part, b, sent == 0, dwe, slot)
            sent, held = sent + held, 0


def _depthwise(
    dz, y, back, OW, x, inside, we, wt, norm, clip, w, H, W, stride, top, left,
    wide, raw, hidden, spread, room, part, dx, dwe, dw, sums,
):  # fmt: skip
    """dx, its sums and dw, from the dz of ``y = depthwise(relu6(bn(x)), w)``. A task is an image of a piece.

    dx is what the ReLU6 in there lets through, a dz again: its batch norm's backward waits for its sums.
    dz, y: (pieces*N, OH*OW, E), image n of piece k is k*N + n; back: (pieces, 4, E); x, dx: (pieces, N*H*W, E);
    norm: (pieces, 3, E); w: (pieces, 3, 3, E); dw: (N*pieces, 3, 3, E), where it is n*pieces + k; sums: (pieces, 2, E)
    in float64; without `clip` x goes through no ReLU6.
    With `inside` x is (1, N*H*W, C), less its mean, and what was normalised ``x @ we``, of mean 0, we: (pieces, C, E).
    The gradient goes on from here: dx[k] = dz @ wt[k] is (pieces, N*H*W, C), wt: (pieces, E, C), the transpose of we
    times the batch norm's scale; dwe = x.T @ dz, of every image for itself, is (N*pieces, C, E). Without it
    nobody reads we and wt, or writes dwe.
    wide: (threads, 4, columns, E), a ring of rows of dy with zeros around; hidden, spread: (threads, 2, across, E),
    two rows of what the filter saw, with zeros around, and of the gradient that ReLU6 lets through there.
    raw: (threads, 2*W, E), these rows before their batch norm; room: (threads, pixels, E), the gradient of as many rows
    as fit; part: (threads, C, E). Without `inside` raw is x and room is dx: nothing is copied.

    Rows and columns are taken in pairs. At stride 1 pixel c is column c of `hidden` and sees columns c, c + 1 and c + 2
    of `wide` through taps 2, 1 and 0: output ox is column ox + 2 - left. At stride 2 a pair begins where its first
    pixel is under taps 0 and 2: pixel c is column c + left, output ox is column ox + 1.
    """
    tasks, E = y.shape[0], y.shape[2]
    threads = wide.shape[0]
    rough, total = np.zeros((tasks, 2, E), x.dtype), np.zeros((tasks, 2, E))
    for b in prange(threads):
        _depthwise_images(
            np.int64(b), tasks, dz, y, back, OW, x, inside, we, wt, norm, clip, w, H, W, stride, top, left, wide, raw,
            hidden, spread, room, part, dx, dwe, dw, rough, total,
        )  # fmt: skip
    _merge_gradients(total, sums)


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
    through: (1, C, C); constant: (C,); dx: (P, C), and dout with a shortcut, without one nobody reads it;
    narrow: (threads, tile, C).
    """
    P, threads = parts.shape[1], narrow.shape[0]
    tiles = (P + tile - 1) // tile
    for b in prange(threads):
        _finish_groups(np.int64(b), tiles, parts, x, through, constant, dout, shortcut, tile, narrow, dx)


project = compile_kernel(_project, contract=True, inline=True)
expand = compile_kernel(_expand, contract=True, inline=True)
depthwise = compile_kernel(_depthwise, contract=True, inline=True)
finish = compile_kernel(_finish, contract=True, inline=True)
