"""The depthwise convolution of an inverted residual while it is trained, backward: from dz2 to dz1.

`backward_loops` says what these are, and what comes before and after.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel, compile_task
from npmnv2.kernels.training_block.backward_loops import (
    let_through,
    merge_gradients,
    put,
    through_norm,
    transposed_product,
)
from npmnv2.kernels.training_block.forward_loops import begin_sums, end_sums, normal, product
from npmnv2.kernels.windows_3x3 import add_nine, four, next_four, next_six, three

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_inline
def _eight_pixels(wide, hidden, b, q0, q1, q2, q3, w, k, xx, low, high, spread, slot, dw):
    """At stride 1: spread[b, :, xx ... xx + 3] = the gradient that ReLU6 lets through, and dw[slot] += nine sums.

    q0 ... q3: rows of dy in the ring `wide`; p, r: four pixels of either row of `hidden`; s, t: their gradients.
    `depthwise/loops_3x3_backward.py` has the same sums, and the plain version.
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
        s0, s1, s2, s3 = let_through(s, p, zero, low, high)
        spread[b, 0, xx, e], spread[b, 0, xx + 1, e], spread[b, 0, xx + 2, e], spread[b, 0, xx + 3, e] = s0, s1, s2, s3
        s0, s1, s2, s3 = let_through(t, r, zero, low, high)
        spread[b, 1, xx, e], spread[b, 1, xx + 1, e], spread[b, 1, xx + 2, e], spread[b, 1, xx + 3, e] = s0, s1, s2, s3
        add_nine(dw, slot, g0, g1, g2, e)


@compile_inline
def _eight_pixels_by_two(wide, hidden, b, q0, q1, w, k, xx, column, low, high, spread, slot, dw):
    """The same at stride 2: even rows and columns lie under kernel rows and columns 0 and 2, odd ones under 1.

    They see columns `column` to column + 2 of `wide`.
    """
    zero = wide.dtype.type(0)
    for e in range(wide.shape[3]):
        a0, a1, a2 = wide[b, q0, column, e], wide[b, q0, column + 1, e], wide[b, q0, column + 2, e]
        c0, c1, c2 = wide[b, q1, column, e], wide[b, q1, column + 1, e], wide[b, q1, column + 2, e]
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
        s0, s1, s2, s3 = let_through(s, p, zero, low, high)
        spread[b, 0, xx, e], spread[b, 0, xx + 1, e], spread[b, 0, xx + 2, e], spread[b, 0, xx + 3, e] = s0, s1, s2, s3
        s0, s1, s2, s3 = let_through(t, r, zero, low, high)
        spread[b, 1, xx, e], spread[b, 1, xx + 1, e], spread[b, 1, xx + 2, e], spread[b, 1, xx + 3, e] = s0, s1, s2, s3
        g0 = (p[0] * c0 + p[2] * c1, p[1] * c1 + p[3] * c2, p[0] * c1 + p[2] * c2)
        g1 = (r[0] * c0 + r[2] * c1, r[1] * c1 + r[3] * c2, r[0] * c1 + r[2] * c2)
        g2 = (p[0] * a0 + p[2] * a1, p[1] * a1 + p[3] * a2, p[0] * a1 + p[2] * a2)
        add_nine(dw, slot, g0, g1, g2, e)


@compile_inline
def _store_row(spread, b, r, aside, W, y, y_first, k, norm, rough, task, dx, dx_first, plane):
    """dx[plane, dx_first ...] = row r of `spread` without its padding; it is summed up with y[plane, y_first ...].

    Four pixels at a time, and what is left one by one: the plain version.
    """
    E = spread.shape[3]
    fours = W - W % 4
    for column in range(0, fours, 4):
        c, q, p = (aside + column) & NATURAL, (y_first + column) & NATURAL, (dx_first + column) & NATURAL
        for e in range(E):
            mean = norm[k, 0, e]
            g0, g1, g2, g3 = next_four(spread, b, r, c, e)
            d0, d1 = y[plane, q, e] - mean, y[plane, q + 1, e] - mean
            d2, d3 = y[plane, q + 2, e] - mean, y[plane, q + 3, e] - mean
            dx[plane, p, e], dx[plane, p + 1, e], dx[plane, p + 2, e], dx[plane, p + 3, e] = g0, g1, g2, g3
            rough[task, 0, e] += (g0 + g1) + (g2 + g3)
            rough[task, 1, e] += (g0 * d0 + g1 * d1) + (g2 * d2 + g3 * d3)
    for column in range(fours, W):
        c, q, p = (aside + column) & NATURAL, (y_first + column) & NATURAL, (dx_first + column) & NATURAL
        for e in range(E):
            g = spread[b, r, c, e]
            dx[plane, p, e] = g
            rough[task, 0, e] += g
            rough[task, 1, e] += g * (y[plane, q, e] - norm[k, 0, e])


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
    # rows above the image where the pairs begin; columns of zeros left of it in `hidden`, and left of dy in `wide`
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
                            wide[b, q, ahead + c, e] = through_norm(dz[image, p, e], y[image, p, e], back, k, e)
                filled += 1
            first, last = max(yy, 0) * W, min(yy + 2, H) * W  # the pixels of the pair
            # the plane of raw and room, and the first pixel of the pair in either
            plane, source, target = (b, 0, held) if inside else (k, begin + first, begin + first)
            if inside:
                product(x, 0, begin + first, begin + last, we, k, raw, b, 0)
            for r in range(2):
                if 0 <= yy + r < H:
                    for c in range(W):
                        p = (source + (yy + r) * W + c - first) & NATURAL
                        for e in range(E):
                            hidden[b, r, aside + c, e] = normal(raw[plane, p, e], norm, k, e, clip, zero, six)
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
            begin_sums(rough, image)
            for r in range(2):
                if 0 <= yy + r < H:
                    p = (yy + r) * W - first
                    _store_row(spread, b, r, aside, W, raw, source + p, k, norm, rough, image, room, target + p, plane)
            end_sums(rough, image, total)
            held += last - first
            if not inside or (held + 2 * W <= room.shape[1] and yy + 2 < H):
                continue
            product(room, b, 0, held, wt, k, dx, k, begin + sent)
            transposed_product(x, 0, begin + sent, begin + sent + held, room, b, 0, part, b)
            put(part, b, sent == 0, dwe, slot)
            sent, held = sent + held, 0


def _depthwise(
    dz, y, back, OW, x, inside, we, wt, norm, clip, w, H, W, stride, top, left,
    wide, raw, hidden, spread, room, part, dx, dwe, dw, sums,
):  # fmt: skip
    """Backward of ``y = depthwise(h, w)``, h = relu6(bn(x)), from the dz of y. A task is an image of a piece.

    It makes dz1, the gradient of h that ReLU6 lets through, whose batch norm's backward waits for its sums. Without
    `inside` dx is dz1. Without `clip`, where there is no expansion, norm changes nothing and dx is the gradient of x.
    dz, y: (pieces*N, OH*OW, E), image n of piece k is k*N + n; back: (pieces, 4, E); x, dx: (pieces, N*H*W, E);
    norm: (pieces, 3, E); w: (pieces, 3, 3, E); dw: (N*pieces, 3, 3, E), what an image adds to the gradient of w, image
    n of piece k in n*pieces + k; sums: (pieces, 2, E) in float64, of dz1 and dz1 * (x - mean).
    With `inside` x is (1, N*H*W, C), less its mean, and what was normalised ``x @ we``, of mean 0, we: (pieces, C, E).
    The gradient goes on from here: dx[k] = dz1 @ wt[k] is (pieces, N*H*W, C), wt: (pieces, E, C), the transpose of we
    times the batch norm's scale; dwe = x.T @ dz1, of each image like dw, is (N*pieces, C, E). Without it nobody reads
    we and wt, or writes dwe.
    wide: (threads, 4, columns, E), a ring of rows of dy with zeros around; hidden: (threads, 2, across, E), a pair of
    rows of h with zeros around; spread: likewise, of dz1: what is computed beyond the image has no place in dx.
    raw: (threads, 2*W, E), the pair before its batch norm; room: (threads, pixels, E), dz1 of as many rows as fit;
    part: (threads, C, E). Without `inside` raw is x and room is dx, so that nothing is copied. `compile_task` allows
    that: x and dx are then used by these names only.

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
    merge_gradients(total, sums)


depthwise = compile_kernel(_depthwise, contract=True, inline=True)
