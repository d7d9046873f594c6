"""The 3x3 depthwise backward, dx and dw in one pass: the loops of `loops.py`, several pixels at a time.

Read `loops_3x3.py` first, for the habits. Seen from a pixel of x, its dx is the nine `dout` above it times w, and
what it adds to dw is the same nine times x. So one block gives both: two rows by four columns of x take 24 + 8 + 9 + 9
loads for 144 multiply-adds, and dout, x and dx each pass through memory once. Measured against two passes (one for dx
in blocks like the forward's, one for dw, four pixels at a time) on the shapes of benchmarks/depthwise.py: 1.3 to 2.3
times as fast at stride 1, 1.1 to 1.2 at stride 2. `& NATURAL` is what keeps nine running sums in one array cheap:
with it, LLVM's tests for overlap leave the loop over blocks (28x28x192: 64 us; nine arrays instead: 75).

Pixel row y lies in the windows ``oy = y + top - i``, so at stride 1 a block of pixel rows y and y + 1 needs four rows
of dout, from ``oy = y + top - 2`` on. All nine windows exist if ``0 <= y + top - 2`` and ``y + top <= OH - 1``: the
rows from `up` to `down`; columns likewise, from `lo` to `hi`::

    dout: four rows by six columns                             x, dx: two rows by four columns

    oy       . . . . . .    kernel row 2 of s
    oy + 1   . . . . . .    kernel row 1 of s, 2 of t          y       b0 b1 b2 b3   sums s0 s1 s2 s3
    oy + 2   . . . . . .    kernel row 0 of s, 1 of t          y + 1   e0 e1 e2 e3   sums t0 t1 t2 t3
    oy + 3   . . . . . .    kernel row         0 of t

`a` holds one row of dout, `b` and `e` the pixels of the two rows of x, `s` and `t` the sums for dx, and `g0`, `g1`,
`g2` the sums for rows 0, 1 and 2 of dw. From top to bottom the kernel rows come backwards, and so do the columns (taps
2, 1, 0 from left to right): the flipped kernel of docs/derivations/convolutions.md, "Going the other way".

At stride 2, ``y + top = 2 * oy + i``. If y + top is even, i is 0 or 2, and row y lies in two windows; the row after it
only has i = 1, and lies in one. So two rows by six columns of pixels meet two rows by four columns of dout, always in
the same pattern, if the block begins where y + top and xx + left are even. Along a row, the taps that meet::

    pixel                  xx   xx + 1   xx + 2   xx + 3   xx + 4   xx + 5
    window ox              2
    window ox + 1          0    1        2
    window ox + 2                        0        1        2
    window ox + 3                                          0        1

with ``ox = (xx + left) / 2 - 1``. The next block begins six pixels on, which is three windows on.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.depthwise.finite import finite_gradients
from npmnv2.kernels.depthwise.windows_3x3 import add_nine, four, next_four, next_six, three
from npmnv2.kernels.jit import compile_inline, compile_kernel
from npmnv2.kernels.scalars import NATURAL


class Corner(NamedTuple):
    """Where a block begins in x and dx, and the sums of dw that it adds to."""

    n: int
    y: int
    xx: int
    task: int


@compile_inline
def _two_rows_stride1(dout, x, w, seen, corner, dx, partial):
    """dx and dw of a block, pixels y, y + 1 by xx ... xx + 3, from the four rows by six columns of `dout` over it.

    These begin at row and column `seen`.
    """
    (oy, ox), (n, y, xx, task), zero = seen, corner, x.dtype.type(0)
    for c in range(x.shape[3]):
        b, e = next_four(x, n, y, xx, c), next_four(x, n, y + 1, xx, c)
        s = t = (zero, zero, zero, zero)
        g0 = g1 = g2 = (zero, zero, zero)
        a = next_six(dout, n, oy, ox, c)
        s, g2 = four(a, w[2, 2, c], w[2, 1, c], w[2, 0, c], s), three(a, b, g2)
        a = next_six(dout, n, oy + 1, ox, c)
        s, g1 = four(a, w[1, 2, c], w[1, 1, c], w[1, 0, c], s), three(a, b, g1)
        t, g2 = four(a, w[2, 2, c], w[2, 1, c], w[2, 0, c], t), three(a, e, g2)
        a = next_six(dout, n, oy + 2, ox, c)
        s, g0 = four(a, w[0, 2, c], w[0, 1, c], w[0, 0, c], s), three(a, b, g0)
        t, g1 = four(a, w[1, 2, c], w[1, 1, c], w[1, 0, c], t), three(a, e, g1)
        a = next_six(dout, n, oy + 3, ox, c)
        t, g0 = four(a, w[0, 2, c], w[0, 1, c], w[0, 0, c], t), three(a, e, g0)
        dx[n, y, xx, c], dx[n, y, xx + 1, c], dx[n, y, xx + 2, c], dx[n, y, xx + 3, c] = s
        dx[n, y + 1, xx, c], dx[n, y + 1, xx + 1, c], dx[n, y + 1, xx + 2, c], dx[n, y + 1, xx + 3, c] = t
        add_nine(partial, task, g0, g1, g2, c)


@compile_inline
def _one_row_stride1(dout, x, w, i, seen, corner, dx, partial):
    """Add to dx and dw what kernel row i sends to the pixels xx ... xx + 3 of a row."""
    (oy, ox), (n, y, xx, task), zero = seen, corner, x.dtype.type(0)
    for c in range(x.shape[3]):
        a, b = next_six(dout, n, oy, ox, c), next_four(x, n, y, xx, c)
        s = four(a, w[i, 2, c], w[i, 1, c], w[i, 0, c], next_four(dx, n, y, xx, c))
        dx[n, y, xx, c], dx[n, y, xx + 1, c], dx[n, y, xx + 2, c], dx[n, y, xx + 3, c] = s
        g = three(a, b, (zero, zero, zero))
        partial[task, i, 2, c] += g[0]
        partial[task, i, 1, c] += g[1]
        partial[task, i, 0, c] += g[2]


@compile_inline
def _column_stride1(dout, x, w, j, seen, corner, dx, partial):
    """Add to dx and dw what kernel column j sends to the pixels y and y + 1 of a column."""
    (oy, ox), (n, y, xx, task) = seen, corner
    for c in range(x.shape[3]):
        a0, a1, a2, a3 = dout[n, oy, ox, c], dout[n, oy + 1, ox, c], dout[n, oy + 2, ox, c], dout[n, oy + 3, ox, c]
        b, e = x[n, y, xx, c], x[n, y + 1, xx, c]
        dx[n, y, xx, c] += a0 * w[2, j, c] + a1 * w[1, j, c] + a2 * w[0, j, c]
        dx[n, y + 1, xx, c] += a1 * w[2, j, c] + a2 * w[1, j, c] + a3 * w[0, j, c]
        partial[task, 0, j, c] += b * a2 + e * a3
        partial[task, 1, j, c] += b * a1 + e * a2
        partial[task, 2, j, c] += b * a0 + e * a1


@compile_inline
def _pixel(dout, x, w, stride, pads, corner, dx, partial):
    """dx and dw of one pixel, a tap at a time, as in `loops.py`: for what no block covers."""
    (top, left), (n, y, xx, task) = pads, corner
    for i in range(3):
        s_oy = y + top - i  # stride * oy, if tap i of a window lies on this row
        if s_oy >= 0 and s_oy % stride == 0 and s_oy // stride < dout.shape[1]:
            oy = (s_oy // stride) & NATURAL
            for j in range(3):
                s_ox = xx + left - j
                if s_ox >= 0 and s_ox % stride == 0 and s_ox // stride < dout.shape[2]:
                    ox = (s_ox // stride) & NATURAL
                    for c in range(x.shape[3]):
                        dx[n, y, xx, c] += dout[n, oy, ox, c] * w[i, j, c]
                        partial[task, i, j, c] += dout[n, oy, ox, c] * x[n, y, xx, c]


@compile_inline
def _clear(dx, n, y, xx):
    for c in range(dx.shape[3]):
        dx[n, y, xx, c] = 0


@compile_inline
def _share(k, tasks, first, pairs, H):
    """The rows that task k of an image owns: its share of the pairs from `first` on; the ends, also the rest."""
    begin = first + 2 * (k * pairs // tasks) if k > 0 else 0
    return begin, first + 2 * ((k + 1) * pairs // tasks) if k + 1 < tasks else H


@compile_inline
def _add_in_order(partial, dw):
    for i in range(3):
        for j in range(3):
            for c in range(dw.shape[2]):
                dw[i, j, c] = 0
            for task in range(partial.shape[0]):  # in order, whoever computed them
                for c in range(dw.shape[2]):
                    dw[i, j, c] += partial[task, i, j, c]


def _backward_3x3_stride1(dout, x, w, top, left, tasks, dx, dw):
    """`loops._backward_x` and `_backward_w` at once, for a 3x3 kernel at stride 1, dilation 1.

    An iteration owns some rows of dx, `tasks` shares an image, and the sums of dw over the pixels in them.
    Rows that no pair covers, at the border, take four columns and one kernel row at a time (12 % at 7x7x960 against a
    pixel at a time), columns beside the blocks two rows and one kernel column (13 %).
    """
    N, H, W, C = x.shape
    _, OH, OW, _ = dout.shape
    lo = min(W, max(0, 2 - left))  # pixels up <= y < down, lo <= xx < hi lie under all their nine windows
    blocks = max(0, min(W, OW - left) - lo) // 4
    hi = lo + 4 * blocks
    up = min(H, max(0, 2 - top))
    pairs = max(0, min(H, OH - top) - up) // 2 if blocks > 0 else 0
    down = up + 2 * pairs
    partial = np.zeros((N * tasks, 3, 3, C), dw.dtype)
    for task in prange(N * tasks):
        n = task // tasks
        row, last = _share(task % tasks, tasks, up, pairs, H)
        while row < last:
            y = row & NATURAL
            if up <= y < down:
                oy = (y + top - 2) & NATURAL
                for block in range(blocks):
                    xx = (lo + 4 * block) & NATURAL
                    seen = oy, (xx + left - 2) & NATURAL
                    _two_rows_stride1(dout, x, w, seen, Corner(n, y, xx, task), dx, partial)
                for xx in range(W):
                    if xx < lo or xx >= hi:
                        _clear(dx, n, y, xx)
                        _clear(dx, n, y + 1, xx)
                        for j in range(3):
                            ox = xx + left - j
                            if 0 <= ox < OW:
                                _column_stride1(dout, x, w, j, (oy, ox & NATURAL), Corner(n, y, xx, task), dx, partial)
                row += 2
                continue
            for xx in range(W):
                _clear(dx, n, y, xx)
                if xx < lo or xx >= hi:
                    _pixel(dout, x, w, 1, (top, left), Corner(n, y, xx, task), dx, partial)
            for i in range(3):
                if 0 <= y + top - i < OH:
                    oy = (y + top - i) & NATURAL
                    for block in range(blocks):
                        xx = (lo + 4 * block) & NATURAL
                        seen = oy, (xx + left - 2) & NATURAL
                        _one_row_stride1(dout, x, w, i, seen, Corner(n, y, xx, task), dx, partial)
            row += 1
    _add_in_order(partial, dw)
    return finite_gradients(dout, x, 1, 1, top, left, dw)


@compile_inline
def _two_rows_stride2(dout, x, w, seen, corner, dx, partial):
    """dx and dw of a block, pixels y, y + 1 by xx ... xx + 5 where y + top and xx + left are even.

    Kernel rows 0 and 2 reach pixel row y, row 1 reaches y + 1, and columns likewise, so the pattern is always the same.
    `a` and `b` are the two rows of dout, `p` and `q` the two rows of x.
    """
    (oy, ox), (n, y, xx, task) = seen, corner
    for c in range(x.shape[3]):
        a0, a1, a2, a3 = next_four(dout, n, oy, ox, c)
        b0, b1, b2, b3 = next_four(dout, n, oy + 1, ox, c)
        w00, w01, w02 = w[0, 0, c], w[0, 1, c], w[0, 2, c]
        w10, w11, w12 = w[1, 0, c], w[1, 1, c], w[1, 2, c]
        w20, w21, w22 = w[2, 0, c], w[2, 1, c], w[2, 2, c]
        p0, p1, p2, p3, p4, p5 = next_six(x, n, y, xx, c)
        q0, q1, q2, q3, q4, q5 = next_six(x, n, y + 1, xx, c)
        dx[n, y, xx, c] = b1 * w00 + b0 * w02 + a1 * w20 + a0 * w22
        dx[n, y, xx + 1, c] = b1 * w01 + a1 * w21
        dx[n, y, xx + 2, c] = b2 * w00 + b1 * w02 + a2 * w20 + a1 * w22
        dx[n, y, xx + 3, c] = b2 * w01 + a2 * w21
        dx[n, y, xx + 4, c] = b3 * w00 + b2 * w02 + a3 * w20 + a2 * w22
        dx[n, y, xx + 5, c] = b3 * w01 + a3 * w21
        dx[n, y + 1, xx, c], dx[n, y + 1, xx + 1, c] = b1 * w10 + b0 * w12, b1 * w11
        dx[n, y + 1, xx + 2, c], dx[n, y + 1, xx + 3, c] = b2 * w10 + b1 * w12, b2 * w11
        dx[n, y + 1, xx + 4, c], dx[n, y + 1, xx + 5, c] = b3 * w10 + b2 * w12, b3 * w11
        partial[task, 0, 0, c] += p0 * b1 + p2 * b2 + p4 * b3
        partial[task, 0, 1, c] += p1 * b1 + p3 * b2 + p5 * b3
        partial[task, 0, 2, c] += p0 * b0 + p2 * b1 + p4 * b2
        partial[task, 1, 0, c] += q0 * b1 + q2 * b2 + q4 * b3
        partial[task, 1, 1, c] += q1 * b1 + q3 * b2 + q5 * b3
        partial[task, 1, 2, c] += q0 * b0 + q2 * b1 + q4 * b2
        partial[task, 2, 0, c] += p0 * a1 + p2 * a2 + p4 * a3
        partial[task, 2, 1, c] += p1 * a1 + p3 * a2 + p5 * a3
        partial[task, 2, 2, c] += p0 * a0 + p2 * a1 + p4 * a2


def _backward_3x3_stride2(dout, x, w, top, left, tasks, dx, dw):
    """The same at stride 2. Who owns what: as in `_backward_3x3_stride1`."""
    N, H, W, C = x.shape
    _, OH, OW, _ = dout.shape
    lo = min(W, 2 - left if left < 2 else left % 2)  # the first xx with xx + left even, (xx + left) / 2 - 1 >= 0
    blocks = max(0, min((W - lo) // 6, (OW - (lo + left) // 2) // 3))  # of six pixels; their last window is ox + 3 < OW
    up = min(H, 2 - top if top < 2 else top % 2)
    pairs = max(0, min((H - up) // 2, OH - (up + top) // 2)) if blocks > 0 else 0
    down = up + 2 * pairs
    partial = np.zeros((N * tasks, 3, 3, C), dw.dtype)
    for task in prange(N * tasks):
        n = task // tasks
        row, last = _share(task % tasks, tasks, up, pairs, H)
        while row < last:
            y = row & NATURAL
            whole = blocks if up <= y < down else 0
            oy = ((y + top) // 2 - 1) & NATURAL
            for block in range(whole):
                xx = (lo + 6 * block) & NATURAL
                seen = oy, ((xx + left) // 2 - 1) & NATURAL
                _two_rows_stride2(dout, x, w, seen, Corner(n, y, xx, task), dx, partial)
            row += 2 if whole > 0 else 1
            for xx in range(W):
                if xx < lo or xx >= lo + 6 * whole:
                    for yy in range(y, row):
                        _clear(dx, n, yy, xx)
                        _pixel(dout, x, w, 2, (top, left), Corner(n, yy, xx, task), dx, partial)
    _add_in_order(partial, dw)
    return finite_gradients(dout, x, 2, 1, top, left, dw)


backward_3x3_stride1 = compile_kernel(_backward_3x3_stride1, contract=True)
backward_3x3_stride2 = compile_kernel(_backward_3x3_stride2, contract=True)
