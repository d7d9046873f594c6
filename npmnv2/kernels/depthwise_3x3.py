"""The 3x3 depthwise kernels, which is what MobileNets run: the loops of `depthwise_loops.py`, several pixels at a time.

Read `depthwise_loops.py` first; these compute the same sums. A tap of one pixel costs two loads (x and w) for one
multiply-add, and a core loads only as fast as it multiplies, so the plain loops wait for loads, and for `out`, which
they load and store once a tap. Here neighbouring pixels are computed at once, because their windows overlap and share
w: at stride 1 a block of two rows by four columns takes 24 + 9 loads and 8 stores for 72 multiply-adds (one row by
four, which came first: 18 + 9 and 4 for 36; on 14x14x384, one thread, 26 us against 22).

Two habits keep the compiler's vector loop clean:

* The channel loop is innermost, contiguous, and starts at 0, so it needs no test for negative indices (Numba's arrays
  count from the end there) and becomes 16 channels an instruction under AVX-512.
* No views: ``r = x[n, y]`` followed by ``r[xx, c]`` would be nicer to read, but Numba then no longer promises LLVM that
  the arrays are distinct, and each channel loop begins with some 30 tests for overlap: 250 cycles, three times the work
  itself at C = 32.

`contract` (fused multiply-add: one rounding, one instruction) is on: half the arithmetic, measured 0 to 10 %. The bits
do not depend on the thread count, since which pixels form a block depends on the shape alone.

Rows with a part of the window outside the image, and columns, take the plain loops: nothing is padded or copied.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.compile import compile_inline, compile_kernel


@compile_inline
def _next_six(x, n, y, xx, c):
    a0, a1, a2 = x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c]
    return a0, a1, a2, x[n, y, xx + 3, c], x[n, y, xx + 4, c], x[n, y, xx + 5, c]


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
def _four_by_two(x, n, y, xx, c, w0, w1, w2, s):
    """Add to the sums `s` one kernel row of four neighbouring windows at stride 2: they overlap by one column."""
    a0, a1, a2 = x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c]
    a3, a4, a5 = x[n, y, xx + 3, c], x[n, y, xx + 4, c], x[n, y, xx + 5, c]
    a6, a7, a8 = x[n, y, xx + 6, c], x[n, y, xx + 7, c], x[n, y, xx + 8, c]
    return (
        s[0] + a0 * w0 + a1 * w1 + a2 * w2,
        s[1] + a2 * w0 + a3 * w1 + a4 * w2,
        s[2] + a4 * w0 + a5 * w1 + a6 * w2,
        s[3] + a6 * w0 + a7 * w1 + a8 * w2,
    )


@compile_inline
def _next_four(x, n, y, xx, c):
    return x[n, y, xx, c], x[n, y, xx + 1, c], x[n, y, xx + 2, c], x[n, y, xx + 3, c]


def _forward_3x3_stride1(x, w, top, left, out):
    """`depthwise_loops._forward` for a 3x3 kernel at stride 1, dilation 1. An iteration owns two rows of `out`, or one.

    Blocks are two rows by four columns. Their eight windows cover four rows by six columns of x, each loaded once.
    """
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    zero = x.dtype.type(0)
    lo = min(OW, max(0, left))  # rows up <= oy < down and columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, W - 2 + left))
    up = min(OH, max(0, top))
    down = max(up, min(OH, H - 2 + top))
    pairs = (down - up) // 2 if hi - lo >= 4 else 0
    if pairs == 0:
        up = down = 0
    tasks = pairs + OH - (down - up)  # of one image: its pairs of rows, then its border rows
    for task in prange(N * tasks):
        n, k = task // tasks, task % tasks
        if k >= pairs:  # a row at the border: the plain loops
            oy = k - pairs if k - pairs < up else k - pairs + down - up
            for ox in range(OW):
                for c in range(C):
                    out[n, oy, ox, c] = 0
                for i in range(3):
                    y = oy + i - top
                    if 0 <= y < H:
                        for j in range(3):
                            xx = ox + j - left
                            if 0 <= xx < W:
                                for c in range(C):
                                    out[n, oy, ox, c] += x[n, y, xx, c] * w[i, j, c]
            continue

        # Of an odd number of rows the last pair takes three, its middle one twice; blocks step back in the same way.
        for start in range(up + 2 * k, down if k == pairs - 1 else up + 2 * k + 2, 2):
            oy = min(start, down - 2)
            y = oy - top
            for ox in range(OW):
                if ox < lo or ox >= hi:  # a column at the border
                    for c in range(C):
                        out[n, oy, ox, c] = 0
                        out[n, oy + 1, ox, c] = 0
                    for j in range(3):
                        xx = ox + j - left
                        if 0 <= xx < W:
                            for c in range(C):
                                w0, w1, w2 = w[0, j, c], w[1, j, c], w[2, j, c]
                                a0, a1 = x[n, y, xx, c], x[n, y + 1, xx, c]
                                a2, a3 = x[n, y + 2, xx, c], x[n, y + 3, xx, c]
                                out[n, oy, ox, c] += a0 * w0 + a1 * w1 + a2 * w2
                                out[n, oy + 1, ox, c] += a1 * w0 + a2 * w1 + a3 * w2
            for first in range(lo, hi, 4):
                ox = min(first, hi - 4)
                xx = ox - left
                for c in range(C):
                    w00, w01, w02 = w[0, 0, c], w[0, 1, c], w[0, 2, c]
                    w10, w11, w12 = w[1, 0, c], w[1, 1, c], w[1, 2, c]
                    w20, w21, w22 = w[2, 0, c], w[2, 1, c], w[2, 2, c]
                    s = t = (zero, zero, zero, zero)
                    a = _next_six(x, n, y, xx, c)
                    s = _four(a, w00, w01, w02, s)
                    a = _next_six(x, n, y + 1, xx, c)
                    s = _four(a, w10, w11, w12, s)
                    t = _four(a, w00, w01, w02, t)
                    a = _next_six(x, n, y + 2, xx, c)
                    s = _four(a, w20, w21, w22, s)
                    t = _four(a, w10, w11, w12, t)
                    a = _next_six(x, n, y + 3, xx, c)
                    t = _four(a, w20, w21, w22, t)
                    out[n, oy, ox, c], out[n, oy, ox + 1, c], out[n, oy, ox + 2, c], out[n, oy, ox + 3, c] = s
                    out[n, oy + 1, ox, c], out[n, oy + 1, ox + 1, c] = t[0], t[1]
                    out[n, oy + 1, ox + 2, c], out[n, oy + 1, ox + 3, c] = t[2], t[3]


def _forward_3x3(x, w, stride, top, left, out):
    """`depthwise_loops._forward` for a 3x3 kernel at dilation 1, with blocks at stride 2. Owns a row of `out`."""
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    zero = x.dtype.type(0)
    lo = min(OW, max(0, (left + stride - 1) // stride))  # columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, (W - 3 + left) // stride + 1))
    for row in prange(N * OH):
        n, oy = row // OH, row % OH
        y = stride * oy - top
        if y < 0 or y + 3 > H:  # a row at the border: the plain loops
            for ox in range(OW):
                for c in range(C):
                    out[n, oy, ox, c] = 0
                for i in range(3):
                    if 0 <= y + i < H:
                        for j in range(3):
                            xx = stride * ox + j - left
                            if 0 <= xx < W:
                                for c in range(C):
                                    out[n, oy, ox, c] += x[n, y + i, xx, c] * w[i, j, c]
            continue

        for ox in range(OW):
            if ox < lo or ox >= hi:  # a column at the border
                for c in range(C):
                    out[n, oy, ox, c] = 0
                for j in range(3):
                    xx = stride * ox + j - left
                    if 0 <= xx < W:
                        for c in range(C):
                            out[n, oy, ox, c] += (
                                x[n, y, xx, c] * w[0, j, c]
                                + x[n, y + 1, xx, c] * w[1, j, c]
                                + x[n, y + 2, xx, c] * w[2, j, c]
                            )

        # Blocks of four. The last one steps back to end at hi: a few pixels are computed twice, to the same value.
        ox = lo
        while hi - lo >= 4 and hi - ox >= 2 and stride == 2:
            ox = min(ox, hi - 4)
            xx = 2 * ox - left
            for c in range(C):
                s = _four_by_two(x, n, y, xx, c, w[0, 0, c], w[0, 1, c], w[0, 2, c], (zero, zero, zero, zero))
                s = _four_by_two(x, n, y + 1, xx, c, w[1, 0, c], w[1, 1, c], w[1, 2, c], s)
                s = _four_by_two(x, n, y + 2, xx, c, w[2, 0, c], w[2, 1, c], w[2, 2, c], s)
                out[n, oy, ox, c], out[n, oy, ox + 1, c], out[n, oy, ox + 2, c], out[n, oy, ox + 3, c] = s
            ox += 4
        for left_over in range(ox, hi):
            xx = stride * left_over - left
            for c in range(C):
                s0 = zero
                for i in range(3):
                    s0 = s0 + x[n, y + i, xx, c] * w[i, 0, c]
                    s0 = s0 + x[n, y + i, xx + 1, c] * w[i, 1, c]
                    s0 = s0 + x[n, y + i, xx + 2, c] * w[i, 2, c]
                out[n, oy, left_over, c] = s0


def _backward_x_3x3_stride2(dout, w, top, left, dx):
    """`depthwise_loops._backward_x` for a 3x3 kernel at stride 2, dilation 1. An iteration owns a row of `dx`.

    Tap i reaches pixel y if ``y + top - i`` is even: two kernel rows (0 and 2) reach the pixels with y + top even, one
    (row 1) the others, and the same for columns. So four neighbours, starting at an even xx + left, need no tests:
    the pattern of taps is always the same. (At stride 1 it is `_forward_3x3_stride1`, the kernel turned.)
    """
    N, H, W, C = dx.shape
    _, OH, OW, _ = dout.shape
    start = min(W, 2 - left if left < 2 else left % 2)  # the first even xx + left with a window on its left
    blocks = max(0, min((W - start) // 4, (OW - (start + left) // 2) // 2))
    for row in prange(N * H):
        n, y = row // H, row % H
        oy = (y + top) // 2
        even = (y + top) % 2 == 0
        whole = blocks if oy < OH and (oy > 0 or not even) else 0  # a border row has no blocks

        for xx in range(W):
            if xx < start or xx >= start + 4 * whole:  # a border pixel: the plain loops
                for c in range(C):
                    dx[n, y, xx, c] = 0
                for i in range(3):
                    down = y + top - i
                    if down >= 0 and down % 2 == 0 and down // 2 < OH:
                        for j in range(3):
                            right = xx + left - j
                            if right >= 0 and right % 2 == 0 and right // 2 < OW:
                                for c in range(C):
                                    dx[n, y, xx, c] += dout[n, down // 2, right // 2, c] * w[i, j, c]

        for block in range(whole):
            xx = start + 4 * block
            ox = (xx + left) // 2
            if even:
                for c in range(C):
                    a0, a1, a2 = dout[n, oy, ox - 1, c], dout[n, oy, ox, c], dout[n, oy, ox + 1, c]
                    b0, b1, b2 = dout[n, oy - 1, ox - 1, c], dout[n, oy - 1, ox, c], dout[n, oy - 1, ox + 1, c]
                    dx[n, y, xx, c] = a1 * w[0, 0, c] + a0 * w[0, 2, c] + b1 * w[2, 0, c] + b0 * w[2, 2, c]
                    dx[n, y, xx + 1, c] = a1 * w[0, 1, c] + b1 * w[2, 1, c]
                    dx[n, y, xx + 2, c] = a2 * w[0, 0, c] + a1 * w[0, 2, c] + b2 * w[2, 0, c] + b1 * w[2, 2, c]
                    dx[n, y, xx + 3, c] = a2 * w[0, 1, c] + b2 * w[2, 1, c]
            else:
                for c in range(C):
                    a0, a1, a2 = dout[n, oy, ox - 1, c], dout[n, oy, ox, c], dout[n, oy, ox + 1, c]
                    dx[n, y, xx, c] = a1 * w[1, 0, c] + a0 * w[1, 2, c]
                    dx[n, y, xx + 1, c] = a1 * w[1, 1, c]
                    dx[n, y, xx + 2, c] = a2 * w[1, 0, c] + a1 * w[1, 2, c]
                    dx[n, y, xx + 3, c] = a2 * w[1, 1, c]


def _backward_w_3x3(dout, x, stride, top, left, band, dw):
    """`depthwise_loops._backward_w` for a 3x3 kernel at dilation 1. An iteration owns the sums of `band` rows.

    The three columns of dw are summed in three arrays: streams inside one array, C apart, would have to be tested for
    overlap again (measured: 690 us with one array, 226 with three, on 112x112x32).
    """
    N, H, W, C = x.shape
    _, OH, OW, _ = dout.shape
    bands = (OH + band - 1) // band
    lo = min(OW, max(0, (left + stride - 1) // stride))  # columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, (W - 3 + left) // stride + 1))
    blocks = (hi - lo) // 4 if stride <= 2 else 0
    column0 = np.zeros((N * bands, 3, C), dw.dtype)
    column1 = np.zeros((N * bands, 3, C), dw.dtype)
    column2 = np.zeros((N * bands, 3, C), dw.dtype)
    for task in prange(N * bands):
        n, first = task // bands, task % bands * band
        for oy in range(first, min(OH, first + band)):
            for i in range(3):
                y = stride * oy - top + i
                if y < 0 or y >= H:
                    continue
                for ox in range(OW):
                    if ox < lo or ox >= lo + 4 * blocks:  # at the border, or left over
                        xx = stride * ox - left
                        if 0 <= xx < W:
                            for c in range(C):
                                column0[task, i, c] += x[n, y, xx, c] * dout[n, oy, ox, c]
                        if 0 <= xx + 1 < W:
                            for c in range(C):
                                column1[task, i, c] += x[n, y, xx + 1, c] * dout[n, oy, ox, c]
                        if 0 <= xx + 2 < W:
                            for c in range(C):
                                column2[task, i, c] += x[n, y, xx + 2, c] * dout[n, oy, ox, c]
                for block in range(blocks):
                    ox = lo + 4 * block
                    xx = stride * ox - left
                    if stride == 1:
                        for c in range(C):
                            d0, d1, d2, d3 = _next_four(dout, n, oy, ox, c)
                            a0, a1, a2, a3 = _next_four(x, n, y, xx, c)
                            a4, a5 = x[n, y, xx + 4, c], x[n, y, xx + 5, c]
                            column0[task, i, c] += a0 * d0 + a1 * d1 + a2 * d2 + a3 * d3
                            column1[task, i, c] += a1 * d0 + a2 * d1 + a3 * d2 + a4 * d3
                            column2[task, i, c] += a2 * d0 + a3 * d1 + a4 * d2 + a5 * d3
                    else:
                        for c in range(C):
                            d0, d1, d2, d3 = _next_four(dout, n, oy, ox, c)
                            a0, a1, a2, a3 = _next_four(x, n, y, xx, c)
                            a4, a5, a6, a7 = _next_four(x, n, y, xx + 4, c)
                            column0[task, i, c] += a0 * d0 + a2 * d1 + a4 * d2 + a6 * d3
                            column1[task, i, c] += a1 * d0 + a3 * d1 + a5 * d2 + a7 * d3
                            column2[task, i, c] += a2 * d0 + a4 * d1 + a6 * d2 + x[n, y, xx + 8, c] * d3
    for i in range(3):
        for c in range(C):
            dw[i, 0, c] = 0
            dw[i, 1, c] = 0
            dw[i, 2, c] = 0
        for task in range(N * bands):  # in order, whoever computed them
            for c in range(C):
                dw[i, 0, c] += column0[task, i, c]
            for c in range(C):
                dw[i, 1, c] += column1[task, i, c]
            for c in range(C):
                dw[i, 2, c] += column2[task, i, c]


forward_3x3_stride1 = compile_kernel(_forward_3x3_stride1, contract=True)
forward_3x3 = compile_kernel(_forward_3x3, contract=True)
backward_x_3x3_stride2 = compile_kernel(_backward_x_3x3_stride2, contract=True)
backward_w_3x3 = compile_kernel(_backward_w_3x3, contract=True)
