"""Depthwise and pointwise in one pass: what lies between them is a few rows in the cache of a core, never in memory.

The depthwise half of a separable convolution is bound by memory traffic, and half of its traffic is its result, which
the pointwise half reads again. So a few rows of it at a time are computed, small enough to stay in cache, and
multiplied by the pointwise weights straight into `out`. Measured on the shapes of `separable.py`, one thread, AVX-512:
up to 1.2 times as fast as two steps on large images, no gain where 28x28 pixels or fewer fit the cache anyway.

The depthwise part takes four pixels at a time as in `npmnv2/kernels/depthwise/loops_3x3.py`, whose habits it shares.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.depthwise.windows_3x3 import four, four_by_two, next_nine, next_six, two_rows
from npmnv2.kernels.jit import compile_function, compile_inline, compile_kernel
from npmnv2.kernels.products import product
from npmnv2.kernels.scalars import NATURAL


class Cut(NamedTuple):
    """How the work is cut, and the padding above and on the left."""

    top: int
    left: int
    group: int  # rows at a time
    bands: int


class Row(NamedTuple):
    """A row of `hidden`, and where in the image its windows begin."""

    n: int  # image
    y: int  # may be negative
    b: int  # plane of `hidden`
    r: int


class Columns(NamedTuple):
    """The padding on the left, and the columns lo <= ox < hi whose whole window is in the image."""

    left: int
    lo: int
    hi: int


@compile_inline
def _block_stride1(x, w, row, xx, ox, i0, i1, hidden):
    """Four neighbours, to hidden[b, r, ox ... ox + 3]; kernel rows i0 <= i < i1 of their windows lie in the image.

    The window of the first begins at column xx. Constants for i0 and i1 cost nothing: what they rule out is
    not compiled.
    """
    n, y, b, r = row
    zero = x.dtype.type(0)
    for c in range(x.shape[3]):
        s = (zero, zero, zero, zero)
        if i0 == 0:
            s = four(next_six(x, n, y & NATURAL, xx, c), w[0, 0, c], w[0, 1, c], w[0, 2, c], s)
        s = four(next_six(x, n, (y + 1) & NATURAL, xx, c), w[1, 0, c], w[1, 1, c], w[1, 2, c], s)
        if i1 == 3:
            s = four(next_six(x, n, (y + 2) & NATURAL, xx, c), w[2, 0, c], w[2, 1, c], w[2, 2, c], s)
        hidden[b, r, ox, c], hidden[b, r, ox + 1, c], hidden[b, r, ox + 2, c], hidden[b, r, ox + 3, c] = s


@compile_inline
def _block_stride2(x, w, row, xx, ox, i0, i1, hidden):
    """The same at stride 2."""
    n, y, b, r = row
    zero = x.dtype.type(0)
    for c in range(x.shape[3]):
        s = (zero, zero, zero, zero)
        if i0 == 0:
            s = four_by_two(next_nine(x, n, y & NATURAL, xx, c), w[0, 0, c], w[0, 1, c], w[0, 2, c], s)
        s = four_by_two(next_nine(x, n, (y + 1) & NATURAL, xx, c), w[1, 0, c], w[1, 1, c], w[1, 2, c], s)
        if i1 == 3:
            s = four_by_two(next_nine(x, n, (y + 2) & NATURAL, xx, c), w[2, 0, c], w[2, 1, c], w[2, 2, c], s)
        hidden[b, r, ox, c], hidden[b, r, ox + 1, c], hidden[b, r, ox + 2, c], hidden[b, r, ox + 3, c] = s


@compile_inline
def _pixel(x, w, row, xx, ox, hidden):
    """One pixel whose window may reach over the border, a column of taps at a time if its rows lie in the image."""
    n, y, b, r = row
    _, H, W, C = x.shape
    for c in range(C):
        hidden[b, r, ox, c] = 0
    for j in range(3):
        if 0 <= xx + j < W:
            column = (xx + j) & NATURAL
            if y >= 0 and y + 3 <= H:
                first = y & NATURAL
                for c in range(C):
                    a0, a1, a2 = x[n, first, column, c], x[n, first + 1, column, c], x[n, first + 2, column, c]
                    hidden[b, r, ox, c] += a0 * w[0, j, c] + a1 * w[1, j, c] + a2 * w[2, j, c]
            else:
                for i in range(3):
                    if 0 <= y + i < H:
                        seen = (y + i) & NATURAL
                        for c in range(C):
                            hidden[b, r, ox, c] += x[n, seen, column, c] * w[i, j, c]


@compile_inline
def _row_stride1(x, w, row, columns, hidden):
    """A row, in blocks unless two rows of its kernels lie outside of the image."""
    y, H = row.y, x.shape[1]
    left, lo, hi = columns
    if y < -1 or y + 2 > H or (y < 0 and H < 2):
        hi = lo
    for begin in range(lo, hi, 4):
        ox = min(begin, hi - 4) & NATURAL  # the last block steps back: some are computed twice, alike
        xx = (ox - left) & NATURAL
        if y < 0:
            _block_stride1(x, w, row, xx, ox, 1, 3, hidden)
        elif y + 3 > H:
            _block_stride1(x, w, row, xx, ox, 0, 2, hidden)
        else:
            _block_stride1(x, w, row, xx, ox, 0, 3, hidden)
    for ox in range(hidden.shape[2]):
        if ox < lo or ox >= hi:
            _pixel(x, w, row, ox - left, ox & NATURAL, hidden)


@compile_inline
def _row_stride2(x, w, row, columns, hidden):
    """The same at stride 2."""
    y, H = row.y, x.shape[1]
    left, lo, hi = columns
    if y < -1 or y + 2 > H or (y < 0 and H < 2):
        hi = lo
    for begin in range(lo, hi, 4):
        ox = min(begin, hi - 4) & NATURAL
        xx = (2 * ox - left) & NATURAL
        if y < 0:
            _block_stride2(x, w, row, xx, ox, 1, 3, hidden)
        elif y + 3 > H:
            _block_stride2(x, w, row, xx, ox, 0, 2, hidden)
        else:
            _block_stride2(x, w, row, xx, ox, 0, 3, hidden)
    for ox in range(hidden.shape[2]):
        if ox < lo or ox >= hi:
            _pixel(x, w, row, 2 * ox - left, ox & NATURAL, hidden)


@compile_function
def _mix(hidden, b, rows, mix, n, first, out):
    """`rows` rows of `out` from row `first` on: the product of what lies in plane b of `hidden` with `mix`."""
    _, group, OW, C = hidden.shape
    _, OH, _, M = out.shape
    room, flat = hidden[b].reshape(group * OW, C), out[n].reshape(OH * OW, M)
    product(room[: rows * OW], mix, True, flat[first * OW : (first + rows) * OW])


def _forward_stride1(x, w, mix, cut, out):
    """out = (x convolved with w, 3x3 depthwise, stride 1) @ mix, `group` rows of an image at a time.

    A band owns a plane of `hidden` and a run of groups of rows of `out`.
    """
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    top, left, group, bands = cut
    groups = (OH + group - 1) // group
    hidden = np.empty((bands, group, OW, C), x.dtype)  # (bands, group, OW, C)
    lo = min(OW, max(0, left))  # columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, W - 2 + left))
    if hi - lo < 4:
        lo = hi = 0
    for b in prange(bands):
        for task in range(b * N * groups // bands, (b + 1) * N * groups // bands):
            n, first = (task // groups) & NATURAL, (task % groups * group) & NATURAL
            rows = min(group, OH - first)
            up = min(rows, max(0, top - first)) if lo < hi else 0  # rows up <= r < down likewise
            down = max(up, min(rows, H - 2 + top - first)) if lo < hi else 0
            for start in range(up, down - 1, 2):
                r = start & NATURAL
                y = (first + r - top) & NATURAL
                for begin in range(lo, hi, 4):
                    ox = min(begin, hi - 4) & NATURAL  # the last block steps back: some are computed twice, alike
                    two_rows(x, w, (n, y, (ox - left) & NATURAL), hidden, (b, r, ox))
            for k in range(rows):
                row = Row(n, first + k - top, b, k & NATURAL)
                if up <= k < down - (down - up) % 2:  # one of a pair: its columns at the border are left
                    for ox in range(OW):
                        if ox < lo or ox >= hi:
                            _pixel(x, w, row, ox - left, ox & NATURAL, hidden)
                else:
                    _row_stride1(x, w, row, Columns(left, lo, hi), hidden)
            _mix(hidden, b, rows, mix, n, first, out)


def _forward_stride2(x, w, mix, cut, out):
    """`_forward_stride1` at stride 2."""
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    top, left, group, bands = cut
    groups = (OH + group - 1) // group
    hidden = np.empty((bands, group, OW, C), x.dtype)  # (bands, group, OW, C)
    lo = min(OW, max(0, (left + 1) // 2))
    hi = max(lo, min(OW, (W - 3 + left) // 2 + 1))
    if hi - lo < 4:
        lo = hi = 0
    for b in prange(bands):
        for task in range(b * N * groups // bands, (b + 1) * N * groups // bands):
            n, first = (task // groups) & NATURAL, (task % groups * group) & NATURAL
            rows = min(group, OH - first)
            for r in range(rows):
                _row_stride2(x, w, Row(n, 2 * (first + r) - top, b, r & NATURAL), Columns(left, lo, hi), hidden)
            _mix(hidden, b, rows, mix, n, first, out)


forward_stride1 = compile_kernel(_forward_stride1, contract=True)
forward_stride2 = compile_kernel(_forward_stride2, contract=True)
