"""The inverted residual in one pass: its wide middle is a few rows in the cache of a core, never in memory.

A block of MobileNetV2 widens its image sixfold, filters it and narrows it again. Only the two narrow ends need memory
(the paper's section 5.1). So a band of output rows is made from top to bottom, and a piece of the wide channels at a
time: each row is expanded once, into `wide`, a ring of a few rows that begins again at its first when it is full; what
the 3x3 window of the next output rows sees is in there; those rows are filtered into `hidden` and projected at once::

    wide[y]  = relu6(x[y] @ we + be)                     a row of the image, when the first window needs it
    hidden   = relu6(depthwise(wide, wd) + bd)           `step` rows of the output
    out     += hidden @ wp                               the pieces are added up; at the end + bp, + x

docs/fusion.md derives it and measures what each choice is worth. `hidden` and `wide` have zeros around the image, so no
loop asks where the border is.

Which rows and channels are multiplied in one product follows from the shape alone, so the bits do not depend on the
number of threads: a band of any size multiplies row by row (`group` 1), or a band is the whole image.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.compile import compile_apart, compile_inline, compile_kernel

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative
EXPAND, STEM, COPY = 0, 1, 2  # where a row of `wide` comes from: a 1x1 convolution of x, the 3x3 stem, x itself


@compile_apart
def _expand(x, n, y, rows, we, k, room, b):
    """room[b] = x[n, y ... y + rows - 1] @ we[k]. Apart, see `compile_apart`: it calls np.dot."""
    W, C = x.shape[2:]
    np.dot(x[n, y : y + rows].reshape(rows * W, C), we[k], room[b, : rows * W])


@compile_apart
def _convolve(x, n, y, stride, top, left, we, k, patch, room, b):
    """room[b] = row y of a 3x3 convolution of image n. What each window sees is copied first (im2col)."""
    _, H, width, C = x.shape
    W = patch.shape[1]
    rows = x[n].reshape(H, width * C)
    zero = x.dtype.type(0)
    for i in range(3):
        yy = stride * y - top + i
        for c in range(W):
            first = (stride * c - left) * C  # of the run of 3*C values that kernel row i sees
            inside = 0 <= yy < H and first >= 0 and first + 3 * C <= width * C
            if inside and C == 3:  # a run of a length known beforehand is copied without a loop: twice as fast
                for q in range(9):
                    patch[b, c, 9 * i + q] = rows[yy & NATURAL, (first & NATURAL) + q]
            else:
                for q in range(3 * C):
                    here = inside or (0 <= yy < H and 0 <= first + q < width * C)
                    patch[b, c, 3 * C * i + q] = rows[yy, first + q] if here else zero
    np.dot(patch[b], we[k], room[b])


@compile_apart
def _project(hidden, b, pixels, wp, k, room):
    np.dot(hidden[b, :pixels], wp[k], room[b, :pixels])


@compile_inline
def _relu6(v, zero, six):
    v = zero if v < zero else v  # in this order NaN stays NaN
    return six if v > six else v


@compile_inline
def _next_six(wide, b, y, xx, e):
    a0, a1, a2 = wide[b, y, xx, e], wide[b, y, xx + 1, e], wide[b, y, xx + 2, e]
    return a0, a1, a2, wide[b, y, xx + 3, e], wide[b, y, xx + 4, e], wide[b, y, xx + 5, e]


@compile_inline
def _four(a, w0, w1, w2, s):
    """Add to the sums `s` one kernel row of four neighbouring windows at stride 1."""
    return (
        s[0] + a[0] * w0 + a[1] * w1 + a[2] * w2,
        s[1] + a[1] * w0 + a[2] * w1 + a[3] * w2,
        s[2] + a[2] * w0 + a[3] * w1 + a[4] * w2,
        s[3] + a[3] * w0 + a[4] * w1 + a[5] * w2,
    )


@compile_inline
def _four_by_two(wide, b, y, xx, e, w0, w1, w2, s):
    """Add to the sums `s` one kernel row of four neighbouring windows at stride 2: they overlap by one column."""
    a0, a1, a2 = wide[b, y, xx, e], wide[b, y, xx + 1, e], wide[b, y, xx + 2, e]
    a3, a4, a5 = wide[b, y, xx + 3, e], wide[b, y, xx + 4, e], wide[b, y, xx + 5, e]
    a6, a7, a8 = wide[b, y, xx + 6, e], wide[b, y, xx + 7, e], wide[b, y, xx + 8, e]
    return (
        s[0] + a0 * w0 + a1 * w1 + a2 * w2,
        s[1] + a2 * w0 + a3 * w1 + a4 * w2,
        s[2] + a4 * w0 + a5 * w1 + a6 * w2,
        s[3] + a6 * w0 + a7 * w1 + a8 * w2,
    )


@compile_inline
def _put(hidden, b, p, e, s):
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    hidden[b, p, e], hidden[b, p + 1, e] = _relu6(s[0], zero, six), _relu6(s[1], zero, six)
    hidden[b, p + 2, e], hidden[b, p + 3, e] = _relu6(s[2], zero, six), _relu6(s[3], zero, six)


@compile_inline
def _two_rows(wide, b, q0, q1, q2, q3, wd, bd, k, ox, p, below, hidden):
    """Eight pixels at stride 1: four from pixel p of `hidden` on, and the four below them. q: the rows of `wide`."""
    for e in range(wide.shape[3]):
        w00, w01, w02 = wd[k, 0, 0, e], wd[k, 0, 1, e], wd[k, 0, 2, e]
        w10, w11, w12 = wd[k, 1, 0, e], wd[k, 1, 1, e], wd[k, 1, 2, e]
        w20, w21, w22 = wd[k, 2, 0, e], wd[k, 2, 1, e], wd[k, 2, 2, e]
        v = bd[k, e]
        s = t = (v, v, v, v)
        a = _next_six(wide, b, q0, ox, e)
        s = _four(a, w00, w01, w02, s)
        a = _next_six(wide, b, q1, ox, e)
        s, t = _four(a, w10, w11, w12, s), _four(a, w00, w01, w02, t)
        a = _next_six(wide, b, q2, ox, e)
        s, t = _four(a, w20, w21, w22, s), _four(a, w10, w11, w12, t)
        a = _next_six(wide, b, q3, ox, e)
        t = _four(a, w20, w21, w22, t)
        _put(hidden, b, p, e, s)
        _put(hidden, b, below, e, t)


@compile_inline
def _one_row(wide, b, q0, q1, q2, wd, bd, k, xx, p, hidden):
    """Four pixels at stride 2."""
    for e in range(wide.shape[3]):
        v = bd[k, e]
        s = (v, v, v, v)
        s = _four_by_two(wide, b, q0, xx, e, wd[k, 0, 0, e], wd[k, 0, 1, e], wd[k, 0, 2, e], s)
        s = _four_by_two(wide, b, q1, xx, e, wd[k, 1, 0, e], wd[k, 1, 1, e], wd[k, 1, 2, e], s)
        s = _four_by_two(wide, b, q2, xx, e, wd[k, 2, 0, e], wd[k, 2, 1, e], wd[k, 2, 2, e], s)
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
        hidden[b, p, e] = _relu6(v, zero, six)


@compile_inline
def _fill(
    source, x, stem_stride, stem_top, stem_left, we, be, k, n, filled, need, group, H, W, left, wide, patch, room, b
):  # fmt: skip
    """Put rows `filled` to `need` of the widened image into the ring `wide`, zeros for those outside of the image.

    Returns how far it came, which may be beyond `need`: a product takes `group` rows, and the ring has room for them.
    """
    E, R = wide.shape[3], wide.shape[1]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    while filled < need:
        if filled < 0 or filled >= H:
            q = ((filled + R) % R) & NATURAL
            for c in range(W):
                for e in range(E):
                    wide[b, q, left + c, e] = zero
            filled += 1
            continue
        count = min(group, H - filled)
        if source == EXPAND:
            _expand(x, n, filled, count, we, k, room, b)
        elif source == STEM:
            _convolve(x, n, filled, stem_stride, stem_top, stem_left, we, k, patch, room, b)
        for r in range(count):
            y = (filled + r) & NATURAL
            q = ((filled + r) % R) & NATURAL
            for c in range(W):
                p = (r * W + c) & NATURAL
                if source == COPY:
                    for e in range(E):
                        wide[b, q, left + c, e] = x[n, y, c, k * E + e]
                else:
                    for e in range(E):
                        wide[b, q, left + c, e] = _relu6(room[b, p, e] + be[k, e], zero, six)
        filled += count
    return filled


@compile_inline
def _filter(wide, wd, bd, k, s, first, rows, OW, hidden, b):
    """hidden = relu6(depthwise(wide) + bd), `rows` rows of it; the window of the topmost begins in row `first`."""
    R = wide.shape[1]
    if s == 1 and rows > 1 and OW >= 4:
        for pair in range(0, rows, 2):
            r = min(pair, rows - 2) & NATURAL  # the last pair steps back, as the last block of columns
            y = first + r + R
            q0, q1 = (y % R) & NATURAL, ((y + 1) % R) & NATURAL
            q2, q3 = ((y + 2) % R) & NATURAL, ((y + 3) % R) & NATURAL
            for column in range(0, OW, 4):
                ox = min(column, OW - 4) & NATURAL
                p = (r * OW + ox) & NATURAL
                _two_rows(wide, b, q0, q1, q2, q3, wd, bd, k, ox, p, (p + OW) & NATURAL, hidden)
    else:
        for r in range(rows):
            y = first + s * r + R
            q0, q1, q2 = (y % R) & NATURAL, ((y + 1) % R) & NATURAL, ((y + 2) % R) & NATURAL
            if s == 2 and OW >= 4:
                for column in range(0, OW, 4):
                    ox = min(column, OW - 4) & NATURAL
                    p = (r * OW + ox) & NATURAL
                    _one_row(wide, b, q0, q1, q2, wd, bd, k, (2 * ox) & NATURAL, p, hidden)
            else:
                for ox in range(OW):
                    p = (r * OW + ox) & NATURAL
                    _pixel(wide, b, q0, q1, q2, wd, bd, k, (s * ox) & NATURAL, p, hidden)


@compile_inline
def _finish(narrow, b, g, n, oy, rows, is_first, is_last, bp, x, shortcut, clip, parts):
    """Add what a piece of the channels gives to `rows` rows of the output; after the last piece, the bias and x."""
    groups, OW, M = parts.shape[0], parts.shape[3], parts.shape[4]
    zero, six = parts.dtype.type(0), parts.dtype.type(6)
    for r in range(rows):
        y = (oy + r) & NATURAL
        for c in range(OW):
            p = (r * OW + c) & NATURAL
            if not is_first:
                for m in range(M):
                    narrow[b, p, m] += parts[g, n, y, c, m]
            if groups > 1 or not is_last:
                for m in range(M):
                    parts[g, n, y, c, m] = narrow[b, p, m]
            elif clip:
                for m in range(M):
                    parts[g, n, y, c, m] = _relu6(narrow[b, p, m] + bp[m], zero, six)
            elif shortcut:
                for m in range(M):
                    parts[g, n, y, c, m] = narrow[b, p, m] + bp[m] + x[n, y, c, m]
            else:
                for m in range(M):
                    parts[g, n, y, c, m] = narrow[b, p, m] + bp[m]


def _forward(
    source,
    x,
    stem_stride,
    stem_top,
    stem_left,
    we,
    be,
    wd,
    bd,
    wp,
    bp,
    shortcut,
    clip,
    s,
    top,
    left,
    step,
    band,
    group,
    each,
    wide,
    patch,
    room,
    hidden,
    narrow,
    parts,
):
    """parts[g] = what the pieces of group g, `each` of them, add to the output; with one group, the output itself.

    A task is (image, band of `band` output rows, group of pieces); thread b owns a run of tasks and plane b of the
    rooms. x: (N, HX, WX, C); we, be: (pieces, C, E), (pieces, E); wd, bd: (pieces, 3, 3, E), (pieces, E);
    wp, bp: (pieces, E, M), (M,); wide: (threads, R, W + zeros, E); patch: (threads, W, 9*C);
    room: (threads, group*W, E); hidden, narrow: (threads, step*OW, E), (threads, step*OW, M);
    parts: (groups, N, OH, OW, M).
    """
    groups, N, OH, OW, M = parts.shape
    threads, R, columns, E = wide.shape
    pieces = wp.shape[0]
    H, W = x.shape[1], x.shape[2]
    if source == STEM:
        H, W = (H - 1) // stem_stride + 1, (W - 1) // stem_stride + 1
    zero = x.dtype.type(0)
    bands = (OH + band - 1) // band
    tasks = N * bands * groups
    for b in prange(threads):
        for r in range(R):
            for c in range(columns):
                if c < left or c >= left + W:
                    for e in range(E):
                        wide[b, r, c & NATURAL, e] = zero
        for task in range(b * tasks // threads, (b + 1) * tasks // threads):
            g = (task % groups) & NATURAL
            n, begin = (task // groups // bands) & NATURAL, task // groups % bands * band
            end = min(begin + band, OH)
            for piece in range(g * each, min(g * each + each, pieces)):
                k = piece & NATURAL
                filled = s * begin - top  # the first row that is not in `wide` yet
                for oy in range(begin, end, step):
                    rows = min(step, end - oy)
                    first = s * oy - top
                    filled = _fill(
                        source, x, stem_stride, stem_top, stem_left, we, be, k, n, filled, first + s * (rows - 1) + 3,
                        group, H, W, left, wide, patch, room, b
                    )  # fmt: skip
                    _filter(wide, wd, bd, k, s, first, rows, OW, hidden, b)
                    _project(hidden, b, rows * OW, wp, k, narrow)
                    _finish(
                        narrow, b, g, n, oy, rows, piece == g * each, piece == pieces - 1, bp, x, shortcut, clip, parts
                    )


def _add_up(parts, bp, x, shortcut, clip, out):
    """out = the sum of the groups, in their order, + bp, + x. A row of an image is one task."""
    groups, N, H, W, M = parts.shape
    zero, six = out.dtype.type(0), out.dtype.type(6)
    for row in prange(N * H):
        n, y = row // H, row % H
        for c in range(W):
            for m in range(M):
                out[n, y, c, m] = parts[0, n, y, c, m]
            for g in range(1, groups):
                for m in range(M):
                    out[n, y, c, m] += parts[g, n, y, c, m]
            if clip:
                for m in range(M):
                    out[n, y, c, m] = _relu6(out[n, y, c, m] + bp[m], zero, six)
            elif shortcut:
                for m in range(M):
                    out[n, y, c, m] = out[n, y, c, m] + bp[m] + x[n, y, c, m]
            else:
                for m in range(M):
                    out[n, y, c, m] += bp[m]


@compile_apart
def _product(x, first, last, w, k, room, b):
    np.dot(x[first:last], w[k], room[b, : last - first])


def _head(x, w, bias, group, room, pooled):
    """pooled[n] = the average over image n of relu6(x @ w + bias): the last convolution is never whole in memory.

    A task is (image, piece of the channels). x: (N, H, W, C); w, bias: (pieces, C, E), (pieces, E);
    room: (threads, group, E); pooled: (N, pieces * E).
    """
    N, H, W, C = x.shape
    pieces, _, E = w.shape
    threads = room.shape[0]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    flat = x.reshape(N * H * W, C)
    for b in prange(threads):
        for task in range(b * N * pieces // threads, (b + 1) * N * pieces // threads):
            n, k = task // pieces, (task % pieces) & NATURAL
            to = (k * E) & NATURAL
            for e in range(E):
                pooled[n, to + e] = zero
            for first in range(n * H * W, (n + 1) * H * W, group):
                last = min(first + group, (n + 1) * H * W)
                _product(flat, first, last, w, k, room, b)
                for p in range(last - first):
                    for e in range(E):
                        pooled[n, to + e] += _relu6(room[b, p, e] + bias[k, e], zero, six)
            for e in range(E):
                pooled[n, to + e] /= H * W


def _classify(pooled, w, bias, room, logits):
    """logits = pooled @ w + bias, a piece of the classes at a time. room: (pieces, N, E), E classes in a piece."""
    N, classes = logits.shape
    pieces, _, E = w.shape
    for k in prange(pieces):
        _product(pooled, 0, N, w, k, room, k)
        for n in range(N):
            for e in range(min(E, classes - k * E)):
                logits[n, k * E + e] = room[k, n, e] + bias[k, e]


forward = compile_kernel(_forward, contract=True)
add_up = compile_kernel(_add_up, contract=True)
head = compile_kernel(_head)
classify = compile_kernel(_classify)
