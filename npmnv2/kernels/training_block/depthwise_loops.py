"""The depthwise convolution of an inverted residual while it is trained, forward: y2 from y1, or from what makes y1.

`forward_loops` says what these are, and what comes before and after; `depthwise_backward_loops` is the way back.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_task
from npmnv2.kernels.training_block.forward_loops import center, merge, normal, product, sum_up
from npmnv2.kernels.windows_3x3 import four, four_by_two, next_six

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_inline
def _two_rows(wide, b, q0, q1, q2, q3, w, k, ox, image, p, below, y):
    """Eight pixels at stride 1: four from pixel p of `y` on, and the four below them. q: the rows of `wide`."""
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        w00, w01, w02 = w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e]
        w10, w11, w12 = w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e]
        w20, w21, w22 = w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e]
        s = t = (zero, zero, zero, zero)
        a = next_six(wide, b, q0, ox, e)
        s = four(a, w00, w01, w02, s)
        a = next_six(wide, b, q1, ox, e)
        s, t = four(a, w10, w11, w12, s), four(a, w00, w01, w02, t)
        a = next_six(wide, b, q2, ox, e)
        s, t = four(a, w20, w21, w22, s), four(a, w10, w11, w12, t)
        a = next_six(wide, b, q3, ox, e)
        t = four(a, w20, w21, w22, t)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = s
        y[image, below, e], y[image, below + 1, e], y[image, below + 2, e], y[image, below + 3, e] = t


@compile_inline
def _one_row(wide, b, q0, q1, q2, w, k, ox, image, p, y):
    """Four pixels at stride 1."""
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        s = (zero, zero, zero, zero)
        s = four(next_six(wide, b, q0, ox, e), w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e], s)
        s = four(next_six(wide, b, q1, ox, e), w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e], s)
        s = four(next_six(wide, b, q2, ox, e), w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e], s)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = s


@compile_inline
def _one_row_by_two(wide, b, q0, q1, q2, w, k, xx, image, p, y):
    """Four pixels at stride 2."""
    zero = y.dtype.type(0)
    for e in range(y.shape[2]):
        s = (zero, zero, zero, zero)
        s = four_by_two(wide, b, q0, xx, e, w[k, 0, 0, e], w[k, 0, 1, e], w[k, 0, 2, e], s)
        s = four_by_two(wide, b, q1, xx, e, w[k, 1, 0, e], w[k, 1, 1, e], w[k, 1, 2, e], s)
        s = four_by_two(wide, b, q2, xx, e, w[k, 2, 0, e], w[k, 2, 1, e], w[k, 2, 2, e], s)
        y[image, p, e], y[image, p + 1, e], y[image, p + 2, e], y[image, p + 3, e] = s


@compile_inline
def _pixel(wide, b, q0, q1, q2, w, k, xx, image, p, y):
    """One pixel: the plain version of the three above, and what images of under four columns get."""
    for e in range(y.shape[2]):
        v = wide[b, q0, xx, e] * w[k, 0, 0, e]
        v += wide[b, q0, xx + 1, e] * w[k, 0, 1, e]
        v += wide[b, q0, xx + 2, e] * w[k, 0, 2, e]
        v += wide[b, q1, xx, e] * w[k, 1, 0, e]
        v += wide[b, q1, xx + 1, e] * w[k, 1, 1, e]
        v += wide[b, q1, xx + 2, e] * w[k, 1, 2, e]
        v += wide[b, q2, xx, e] * w[k, 2, 0, e]
        v += wide[b, q2, xx + 1, e] * w[k, 2, 1, e]
        v += wide[b, q2, xx + 2, e] * w[k, 2, 2, e]
        y[image, p, e] = v


@compile_task
def _depthwise_images(
    b, tasks, x, inside, we, norm, clip, w, H, W, stride, top, left, OW, wide, raw, y, shift, rough, total
):
    """The tasks of thread b of `_depthwise`."""
    E = norm.shape[2]
    N = y.shape[0] // norm.shape[0]
    threads, R, columns, _ = wide.shape
    OH = y.shape[1] // OW
    zero, six = x.dtype.type(0), x.dtype.type(6)
    for r in range(R):
        for c in range(columns):
            if c < left or c >= left + W:
                for e in range(E):
                    wide[b, r, c & NATURAL, e] = zero
    for task in range(b * tasks // threads, (b + 1) * tasks // threads):
        k, n, image = (task // N) & NATURAL, (task % N) & NATURAL, task & NATURAL
        filled = -top  # the first row that is not in `wide` yet
        step = 2 if stride == 1 else 1
        for oy in range(0, OH, step):
            rows = min(step, OH - oy)
            need = stride * (oy + rows - 1) - top + 3
            new = max(filled, 0)
            if inside and new < min(need, H):
                product(x, 0, (n * H + new) * W, (n * H + min(need, H)) * W, we, k, raw, b, 0)
            while filled < need:
                q = ((filled + R) % R) & NATURAL
                if filled < 0 or filled >= H:
                    for c in range(W):
                        to = (left + c) & NATURAL
                        for e in range(E):
                            wide[b, q, to, e] = zero
                elif inside:
                    for c in range(W):
                        to, p = (left + c) & NATURAL, ((filled - new) * W + c) & NATURAL
                        for e in range(E):
                            wide[b, q, to, e] = normal(raw[b, p, e], norm, k, e, clip, zero, six)
                else:
                    for c in range(W):
                        to, p = (left + c) & NATURAL, ((n * H + filled) * W + c) & NATURAL
                        for e in range(E):
                            wide[b, q, to, e] = normal(x[k, p, e], norm, k, e, clip, zero, six)
                filled += 1
            yy = stride * oy - top + R
            q0, q1 = (yy % R) & NATURAL, ((yy + 1) % R) & NATURAL
            q2, q3 = ((yy + 2) % R) & NATURAL, ((yy + 3) % R) & NATURAL
            if OW >= 4:
                for start in range(0, OW, 4):
                    ox = min(start, OW - 4) & NATURAL  # the last block steps back: some are done twice, alike
                    p = (oy * OW + ox) & NATURAL
                    if rows == 2:
                        _two_rows(wide, b, q0, q1, q2, q3, w, k, ox, image, p, (p + OW) & NATURAL, y)
                    elif stride == 1:
                        _one_row(wide, b, q0, q1, q2, w, k, ox, image, p, y)
                    else:
                        _one_row_by_two(wide, b, q0, q1, q2, w, k, (2 * ox) & NATURAL, image, p, y)
            else:
                for r in range(rows):
                    yy = stride * oy + r - top + R
                    q0, q1, q2 = (yy % R) & NATURAL, ((yy + 1) % R) & NATURAL, ((yy + 2) % R) & NATURAL
                    for ox in range(OW):
                        p = ((oy + r) * OW + ox) & NATURAL
                        _pixel(wide, b, q0, q1, q2, w, k, (stride * ox) & NATURAL, image, p, y)
            if oy == 0:
                center(y, image, 0, rows * OW, task, shift)
            sum_up(y, image, oy * OW, (oy + rows) * OW, task, shift, rough, total)


def _depthwise(x, inside, we, norm, clip, w, H, W, stride, top, left, OW, wide, raw, y, mean, var):
    """y = depthwise(relu6(bn(x)), w) and the statistics of y. A task is an image of a piece.

    x: (pieces, N*H*W, E), or with `inside` (1, N*H*W, C), less its mean, and ``x @ we`` takes its place, a few rows at
    a time. Without `clip` x goes through no ReLU6.
    we: (pieces, C, E); norm: (pieces, 3, E); w: (pieces, 3, 3, E); y: (pieces*N, OH*OW, E); mean, var: (pieces, E) in
    float64.
    wide: (threads, 4, columns, E), a ring of normalised rows with zeros around the image, a plane for each thread;
    raw: (threads, 4*W, E), rows of ``x @ we``, without `inside` empty.
    """
    pieces, _, E = norm.shape
    N, threads = y.shape[0] // pieces, wide.shape[0]
    tasks = pieces * N
    shift, rough = np.zeros((tasks, E), y.dtype), np.zeros((tasks, 2, E), y.dtype)
    total = np.zeros((tasks, 2, E))
    for b in prange(threads):
        _depthwise_images(
            np.int64(b), tasks, x, inside, we, norm, clip, w, H, W, stride, top, left, OW, wide, raw, y, shift, rough,
            total,
        )  # fmt: skip
    merge(shift, total, N * y.shape[1], mean, var)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
