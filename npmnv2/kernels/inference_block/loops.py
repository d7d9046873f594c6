"""The inverted residual in one pass: its wide middle lies in the cache of a core, never in memory.

A block of MobileNetV2 widens its image sixfold, filters it and narrows it again::

    wide    = relu6(x @ we + be)
    hidden  = relu6(depthwise(wide, wd) + bd)
    out     = hidden @ wp + bp                           + x, if the block has a shortcut

Only the two narrow ends need memory (the paper's section 5.1). There are two ways to cut the middle into parts that
fit a cache, and a kernel for each. docs/fusion.md derives both and measures which is faster where.

by_rows      A band of output rows is made from top to bottom. Each row of x is widened once in a band, into `wide`, a
             ring of a few rows that begins again at its first when it is full; what the 3x3 windows of the next `step`
             rows of the output see is in there; those are filtered into `hidden` and projected at once.
by_channels  A piece of the wide channels at a time goes through all three steps, for whole images; what the pieces give
             is added up.

`wide` has zeros around the image, so no loop asks where the border is. The images of a batch lie below one another:
x, (N, H, W, C) elsewhere, is (N*H, W, C) here, and row y of image n is row n*H + y.

Which rows and channels are multiplied in one product follows from the shape alone, so the bits do not depend on the
number of threads.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.windows_3x3 import four, four_by_two, next_six

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative: no index counts from the end
EXPAND, STEM, COPY = 0, 1, 2  # where a row of `wide` comes from: a 1x1 convolution of x, the 3x3 stem, x itself


@compile_apart
def _expand_row(x, row, we, k, wide, b, q, left):
    """Row q of the ring = x[row] @ we[k]. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(x[row], we[k], wide[b, q, left : left + x.shape[1]])


@compile_apart
def _expand_rows(x, first, rows, we, k, room, b):
    """room[b] = x[first ... first + rows - 1] @ we[k]."""
    _, W, C = x.shape
    np.dot(x[first : first + rows].reshape(rows * W, C), we[k], room[b, : rows * W])


@compile_apart
def _project(hidden, b, first, pixels, wp, k, narrow):
    """narrow[b] = so many pixels of hidden[b] @ wp[k]."""
    np.dot(hidden[b, first : first + pixels], wp[k], narrow[b, :pixels])


@compile_scalar
def _copy_nine(rows, row, start, patch, b, c, to):
    """Nine values in a row, all read before the first is written: a few vectors instead of nine copies."""
    v0, v1, v2 = rows[row, start], rows[row, start + 1], rows[row, start + 2]
    v3, v4, v5 = rows[row, start + 3], rows[row, start + 4], rows[row, start + 5]
    v6, v7, v8 = rows[row, start + 6], rows[row, start + 7], rows[row, start + 8]
    patch[b, c, to], patch[b, c, to + 1], patch[b, c, to + 2] = v0, v1, v2
    patch[b, c, to + 3], patch[b, c, to + 4], patch[b, c, to + 5] = v3, v4, v5
    patch[b, c, to + 6], patch[b, c, to + 7], patch[b, c, to + 8] = v6, v7, v8


@compile_apart
def _convolve_row(x, n, H, y, stride, top, left, we, k, patch, wide, b, q, corner):
    """Row q of the ring = row y of a 3x3 convolution of image n. What each window sees is copied first (im2col)."""
    _, width, C = x.shape
    W = patch.shape[1]
    rows = x.reshape(x.shape[0], width * C)
    zero = x.dtype.type(0)
    low = min(-(-left // stride), W)  # the windows from here to `high` lie inside the image
    high = max(min((width - 3 + left) // stride + 1, W), low)
    for i in range(3):
        yy = stride * y - top + i
        row = (n * H + yy) & NATURAL
        quick = 0 <= yy < H and C == 3
        if quick:
            for c in range(low, high):
                _copy_nine(rows, row, ((stride * c - left) * 3) & NATURAL, patch, b, c & NATURAL, 9 * i)
        for j in range(W - (high - low) if quick else W):
            c = j + high - low if quick and j >= low else j
            for v in range(3 * C):
                at = (stride * c - left) * C + v
                here = 0 <= yy < H and 0 <= at < width * C
                patch[b, c, 3 * C * i + v] = rows[row, at & NATURAL] if here else zero
    np.dot(patch[b], we[k], wide[b, q, corner : corner + W])


@compile_scalar
def relu6(v, zero, six):
    """Clip to [0, 6], given as numbers of v's dtype."""
    v = zero if v < zero else v  # in this order NaN stays NaN
    return six if v > six else v


@compile_scalar
def _put(hidden, b, p, e, s):
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    hidden[b, p, e], hidden[b, p + 1, e] = relu6(s[0], zero, six), relu6(s[1], zero, six)
    hidden[b, p + 2, e], hidden[b, p + 3, e] = relu6(s[2], zero, six), relu6(s[3], zero, six)


@compile_inline
def _two_rows(wide, b, q0, q1, q2, q3, wd, bd, k, ox, p, below, hidden):
    """Eight pixels at stride 1: four from pixel p of `hidden` on, and the four below them. q: the rows of `wide`."""
    for e in range(wide.shape[3]):
        w00, w01, w02 = wd[k, 0, 0, e], wd[k, 0, 1, e], wd[k, 0, 2, e]
        w10, w11, w12 = wd[k, 1, 0, e], wd[k, 1, 1, e], wd[k, 1, 2, e]
        w20, w21, w22 = wd[k, 2, 0, e], wd[k, 2, 1, e], wd[k, 2, 2, e]
        v = bd[k, e]
        s = t = (v, v, v, v)
        a = next_six(wide, b, q0, ox, e)
        s = four(a, w00, w01, w02, s)
        a = next_six(wide, b, q1, ox, e)
        s, t = four(a, w10, w11, w12, s), four(a, w00, w01, w02, t)
        a = next_six(wide, b, q2, ox, e)
        s, t = four(a, w20, w21, w22, s), four(a, w10, w11, w12, t)
        a = next_six(wide, b, q3, ox, e)
        t = four(a, w20, w21, w22, t)
        _put(hidden, b, p, e, s)
        _put(hidden, b, below, e, t)


@compile_inline
def _one_row_by_two(wide, b, q0, q1, q2, wd, bd, k, xx, p, hidden):
    """Four pixels at stride 2."""
    for e in range(wide.shape[3]):
        v = bd[k, e]
        s = (v, v, v, v)
        s = four_by_two(wide, b, q0, xx, e, wd[k, 0, 0, e], wd[k, 0, 1, e], wd[k, 0, 2, e], s)
        s = four_by_two(wide, b, q1, xx, e, wd[k, 1, 0, e], wd[k, 1, 1, e], wd[k, 1, 2, e], s)
        s = four_by_two(wide, b, q2, xx, e, wd[k, 2, 0, e], wd[k, 2, 1, e], wd[k, 2, 2, e], s)
        _put(hidden, b, p, e, s)


@compile_inline
def _pixel(wide, b, q0, q1, q2, wd, bd, k, xx, p, hidden):
    """One pixel, at any stride: the plain version of the two above; single rows and images of few columns get it."""
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    for e in range(wide.shape[3]):
        v = bd[k, e]
        v += wide[b, q0, xx, e] * wd[k, 0, 0, e]
        v += wide[b, q0, xx + 1, e] * wd[k, 0, 1, e]
        v += wide[b, q0, xx + 2, e] * wd[k, 0, 2, e]
        v += wide[b, q1, xx, e] * wd[k, 1, 0, e]
        v += wide[b, q1, xx + 1, e] * wd[k, 1, 1, e]
        v += wide[b, q1, xx + 2, e] * wd[k, 1, 2, e]
        v += wide[b, q2, xx, e] * wd[k, 2, 0, e]
        v += wide[b, q2, xx + 1, e] * wd[k, 2, 1, e]
        v += wide[b, q2, xx + 2, e] * wd[k, 2, 2, e]
        hidden[b, p, e] = relu6(v, zero, six)


@compile_inline
def _filter(wide, wd, bd, k, s, first, rows, OW, hidden, b, to):
    """hidden = relu6(depthwise(wide) + bd), `rows` rows of it from pixel `to` on.

    The window of the topmost begins in row `first` of `wide`, a ring: after its last row comes its first.
    """
    R = wide.shape[1]
    if s == 1 and rows > 1 and OW >= 4:
        for pair in range(0, rows, 2):
            r = min(pair, rows - 2) & NATURAL  # the last pair steps back, as the last block of columns
            y = first + r + R
            q0, q1 = (y % R) & NATURAL, ((y + 1) % R) & NATURAL
            q2, q3 = ((y + 2) % R) & NATURAL, ((y + 3) % R) & NATURAL
            for column in range(0, OW, 4):
                ox = min(column, OW - 4) & NATURAL
                p = (to + r * OW + ox) & NATURAL
                _two_rows(wide, b, q0, q1, q2, q3, wd, bd, k, ox, p, (p + OW) & NATURAL, hidden)
    else:
        for r in range(rows):
            y = first + s * r + R
            q0, q1, q2 = (y % R) & NATURAL, ((y + 1) % R) & NATURAL, ((y + 2) % R) & NATURAL
            if s == 2 and OW >= 4:
                for column in range(0, OW, 4):
                    ox = min(column, OW - 4) & NATURAL
                    p = (to + r * OW + ox) & NATURAL
                    _one_row_by_two(wide, b, q0, q1, q2, wd, bd, k, (2 * ox) & NATURAL, p, hidden)
            else:
                for ox in range(OW):
                    p = (to + r * OW + ox) & NATURAL
                    _pixel(wide, b, q0, q1, q2, wd, bd, k, (s * ox) & NATURAL, p, hidden)


@compile_inline
def _finish(narrow, b, parts, g, first, rows, is_first, is_last, bp, x, shortcut, clip):
    """Add what a piece of the channels gives to rows of the output, from `first` on; after the last, the bias and x."""
    groups, _, OW, M = parts.shape
    zero, six = parts.dtype.type(0), parts.dtype.type(6)
    for r in range(rows):
        y = (first + r) & NATURAL
        for c in range(OW):
            p = (r * OW + c) & NATURAL
            if not is_first:
                for m in range(M):
                    narrow[b, p, m] += parts[g, y, c, m]
            if groups > 1 or not is_last:
                for m in range(M):
                    parts[g, y, c, m] = narrow[b, p, m]
            elif clip:
                for m in range(M):
                    parts[g, y, c, m] = relu6(narrow[b, p, m] + bp[m], zero, six)
            elif shortcut:
                for m in range(M):
                    parts[g, y, c, m] = narrow[b, p, m] + bp[m] + x[y, c, m]
            else:
                for m in range(M):
                    parts[g, y, c, m] = narrow[b, p, m] + bp[m]


@compile_inline
def _fill(
    source, x, stem_rows, stem_stride, stem_top, stem_left, we, be, k, n, filled, need, H, W, left, wide, patch, b
):  # fmt: skip
    """Put rows `filled` to `need` - 1 of the widened image n into the ring, zeros for those outside of the image."""
    E, R = wide.shape[3], wide.shape[1]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    for y in range(filled, need):
        q = ((y + R) % R) & NATURAL
        row = (n * H + y) & NATURAL
        if y < 0 or y >= H:
            for c in range(W):
                for e in range(E):
                    wide[b, q, left + c, e] = zero
        elif source == COPY:
            for c in range(W):
                for e in range(E):
                    wide[b, q, left + c, e] = x[row, c, k * E + e]
        else:
            if source == EXPAND:
                _expand_row(x, row, we, k, wide, b, q, left)
            else:
                _convolve_row(
                    x, n, stem_rows, y, stem_stride, stem_top, stem_left, we, k, patch, wide, b, q, left
                )  # fmt: skip
            for c in range(W):
                for e in range(E):
                    wide[b, q, left + c, e] = relu6(wide[b, q, left + c, e] + be[k, e], zero, six)


@compile_task
def _bands(
    b, tasks, source, x, stem_rows, stem_stride, stem_top, stem_left, we, be, wd, bd, wp, bp, shortcut, clip, s, top,
    left, H, OH, step, band, wide, patch, hidden, narrow, out,
):  # fmt: skip
    """The tasks of thread b of `_by_rows`."""
    OW, pieces = out.shape[2], wp.shape[0]
    threads, R, columns, E = wide.shape
    W = patch.shape[1] if source == STEM else x.shape[1]
    zero = x.dtype.type(0)
    bands = (OH + band - 1) // band
    for r in range(R):
        for c in range(columns):
            if c < left or c >= left + W:
                for e in range(E):
                    wide[b, r, c & NATURAL, e] = zero
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        n, begin = (task // bands) & NATURAL, task % bands * band
        end = min(begin + band, OH)
        for piece in range(pieces):
            k = piece & NATURAL
            filled = s * begin - top  # the first row that is not in `wide` yet
            for oy in range(begin, end, step):
                rows = min(step, end - oy)
                first = s * oy - top
                need = first + s * (rows - 1) + 3
                _fill(
                    source, x, stem_rows, stem_stride, stem_top, stem_left, we, be, k, n, filled, need, H, W, left,
                    wide, patch, b
                )  # fmt: skip
                filled = max(filled, need)
                _filter(wide, wd, bd, k, s, first, rows, OW, hidden, b, 0)
                _project(hidden, b, 0, rows * OW, wp, k, narrow)
                _finish(narrow, b, out, 0, n * OH + oy, rows, piece == 0, piece == pieces - 1, bp, x, shortcut, clip)


def _by_rows(
    source, x, stem_rows, stem_stride, stem_top, stem_left, we, be, wd, bd, wp, bp, shortcut, clip, s, top, left, H, OH,
    step, band, wide, patch, hidden, narrow, out,
):  # fmt: skip
    """out = the block of x, in bands of `band` rows of the output, `step` rows at a time.

    A task is (image, band); thread b owns a run of tasks and plane b of the rooms. x: (N*H, W, C), of the stem
    (N*stem_rows, ...); we, be: (pieces, C, E), (pieces, E); wd, bd: (pieces, 3, 3, E), (pieces, E);
    wp, bp: (pieces, E, M), (M,); wide: (threads, R, W + zeros, E); patch: (threads, W, 9*C);
    hidden, narrow: (threads, step*OW, E), (threads, step*OW, M); out: (1, N*OH, OW, M).
    """
    N, threads = out.shape[1] // OH, wide.shape[0]
    tasks = N * ((OH + band - 1) // band)
    for b in prange(threads):
        _bands(
            np.int64(b), tasks, source, x, stem_rows, stem_stride, stem_top, stem_left, we, be, wd, bd, wp, bp,
            shortcut, clip, s, top, left, H, OH, step, band, wide, patch, hidden, narrow, out,
        )  # fmt: skip


@compile_inline
def _widen(source, x, row, H, rows, we, be, k, first, top, left, wide, R, room, b):
    """Put `rows` rows of the widened images, from number `first` on, into `wide`, R rows an image; row: that of x."""
    W, E = x.shape[1], wide.shape[3]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    if source == EXPAND:
        _expand_rows(x, row, rows, we, k, room, b)
    for r in range(rows):
        i, y = (first + r) // H, (first + r) % H
        q = (i * R + top + y) & NATURAL
        for c in range(W):
            p = (r * W + c) & NATURAL
            if source == COPY:
                for e in range(E):
                    wide[b, q, left + c, e] = x[(row + r) & NATURAL, c, k * E + e]
            else:
                for e in range(E):
                    wide[b, q, left + c, e] = relu6(room[b, p, e] + be[k, e], zero, six)


@compile_task
def _shares(
    b, tasks, source, x, we, be, wd, bd, wp, bp, shortcut, clip, s, top, left, H, OH, images, each, group, step,
    wide, room, hidden, narrow, parts,
):  # fmt: skip
    """The tasks of thread b of `_by_channels`."""
    N, W = x.shape[0] // H, x.shape[1]
    groups, OW = parts.shape[0], parts.shape[2]
    threads, R, columns, E = wide.shape
    R //= images
    pieces = wp.shape[0]
    zero = x.dtype.type(0)
    for r in range(images * R):
        for c in range(columns):
            if r % R < top or r % R >= top + H or c < left or c >= left + W:
                for e in range(E):
                    wide[b, r & NATURAL, c & NATURAL, e] = zero
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        g, n = (task % groups) & NATURAL, task // groups * images
        count = min(images, N - n)
        for piece in range(g * each, min(g * each + each, pieces)):
            k = piece & NATURAL
            for first in range(0, count * H, group):
                rows = min(group, count * H - first)
                _widen(source, x, n * H + first, H, rows, we, be, k, first, top, left, wide, R, room, b)
            for i in range(count):
                _filter(wide, wd, bd, k, s, i * R, OH, OW, hidden, b, i * OH * OW)
            for first in range(0, count * OH, step):
                rows = min(step, count * OH - first)
                _project(hidden, b, first * OW, rows * OW, wp, k, narrow)
                _finish(
                    narrow, b, parts, g, n * OH + first, rows, piece == g * each, piece == pieces - 1, bp, x,
                    shortcut, clip
                )  # fmt: skip


def _by_channels(
    source, x, we, be, wd, bd, wp, bp, shortcut, clip, s, top, left, H, OH, images, each, group, step,
    wide, room, hidden, narrow, parts,
):  # fmt: skip
    """parts[g] = what the pieces of group g, `each` of them, add to the output; with one group, the output itself.

    A task is (`images` images, group of pieces); thread b owns a run of tasks and plane b of the rooms. `group` rows of
    x and `step` rows of the output are one product, across images. x: (N*H, W, C); the weights as in `_by_rows`;
    wide: (threads, images*R, W + zeros, E), R rows an image, zeros above and below included; room: (threads, group*W,
    E); hidden: (threads, images*OH*OW, E); narrow: (threads, step*OW, M); parts: (groups, N*OH, OW, M).
    """
    N, groups, threads = x.shape[0] // H, parts.shape[0], wide.shape[0]
    tasks = (N + images - 1) // images * groups
    for b in prange(threads):
        _shares(
            np.int64(b), tasks, source, x, we, be, wd, bd, wp, bp, shortcut, clip, s, top, left, H, OH, images, each,
            group, step, wide, room, hidden, narrow, parts,
        )  # fmt: skip


def _add_up(parts, bp, x, shortcut, clip, out):
    """out = the sum of the groups, in their order, + bp, + x. A row of an image is one task; shapes as above."""
    groups, rows, W, M = parts.shape
    zero, six = out.dtype.type(0), out.dtype.type(6)
    for y in prange(rows):
        for c in range(W):
            for m in range(M):
                out[y, c, m] = parts[0, y, c, m]
            for g in range(1, groups):
                for m in range(M):
                    out[y, c, m] += parts[g, y, c, m]
            if clip:
                for m in range(M):
                    out[y, c, m] = relu6(out[y, c, m] + bp[m], zero, six)
            elif shortcut:
                for m in range(M):
                    out[y, c, m] = out[y, c, m] + bp[m] + x[y, c, m]
            else:
                for m in range(M):
                    out[y, c, m] += bp[m]


by_rows = compile_kernel(_by_rows, contract=True, inline=True)
by_channels = compile_kernel(_by_channels, contract=True, inline=True)
add_up = compile_kernel(_add_up, contract=True, inline=True)
