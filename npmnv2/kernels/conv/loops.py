"""The loops of the standard convolution, of which a pointwise one is the case of a single tap.

The plain version is `ops/conv.py`. Here the rows of the image that some rows of the output see are copied first, with
zeros around them, so that no window reaches over a border. A value that a window sees then lies at the place of its
pixel plus the place of its tap, and forward and backward are one sum, `_multiply`, with pixels and taps exchanged::

    out[p, m] = sum_k rows[pixels[p] + taps[k]] * w[k, m]
    dw[k, m]  = sum_p rows[pixels[p] + taps[k]] * dout[p, m]

No window is copied beside its neighbours (im2col). The order of a sum depends on the shape alone, and so do the bits.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_apart, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.products import product
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import (
    CHANNELS,
    FEW,
    HALF,
    PIXELS,
    add,
    add_scaled,
    few_places,
    few_places_in,
    half_zeros,
    places,
    places_in,
    put,
    zeros,
)

DEPTH = 256  # taps, each of one channel, in a sum: so many times 16 weights stay in the first-level cache


class Window(NamedTuple):
    """What the windows of the output see of the image."""

    KH: int
    KW: int
    stride: int
    dilation: int
    top: int  # rows of zeros above the image; below 0, so many of its rows that no window sees
    left: int
    columns: int  # of a row with its zeros


@compile_apart
def _multiply(rows, at, along, w, begins, out):
    """out[i] += the sum over k of rows[at[i] + along[k]] * w[k], or where a sum begins out[i] = that sum."""
    (P, M), last = out.shape, out.shape[0] - 1
    w, out = w.reshape(-1), out.reshape(-1)
    whole = M - M % CHANNELS
    for m in range(0, whole, CHANNELS):
        for i in range(0, P, PIXELS):
            if P - i > FEW:
                to = places(i, last, M)
                tile = _sum(zeros(rows, to), rows, places_in(at, i, last), along, w, m, M)
                put(tile if begins else add(tile, out, to, m), out, to, m)
            else:
                few_to = few_places(i, last, M)
                few = _sum(zeros(rows, few_to), rows, few_places_in(at, i, last), along, w, m, M)
                put(few if begins else add(few, out, few_to, m), out, few_to, m)
    if M - whole >= HALF:
        for i in range(0, P, PIXELS):
            to = places(i, last, M)
            half = _sum(half_zeros(rows, to), rows, places_in(at, i, last), along, w, whole, M)
            put(half if begins else add(half, out, to, whole), out, to, whole)
        whole += HALF
    for i in range(P):
        for m in range(whole, M):
            total = rows.dtype.type(0)
            for k in range(len(along)):
                total += rows[(at[i] + along[k]) & NATURAL] * w[(k * M + m) & NATURAL]
            to_one = (i * M + m) & NATURAL
            out[to_one] = total if begins else out[to_one] + total


@compile_scalar
def _sum(tile, rows, at, along, w, m, M):
    """The sum of one tile."""
    for k in range(len(along)):
        tile = add_scaled(tile, rows, at, along[k], w, m)
        m += M
    return tile


@compile_scalar
def _rows_seen(x, window, OH, first, last, rows):
    """Rows `first` to `last` - 1 of the output of all images see these rows: of each KH, with zeros around them."""
    _, H, W, C = x.shape
    flat, zero, length = x.reshape(-1), x.dtype.type(0), window.columns * C
    begin = max(0, window.left)  # the columns begin <= c < end lie in the image
    end = max(begin, min(window.columns, W + window.left))
    for r in range((last - first) * window.KH):
        n, oy = (first + r // window.KH) // OH, (first + r // window.KH) % OH
        y, to = window.stride * oy + window.dilation * (r % window.KH) - window.top, (r * length) & NATURAL
        inside = 0 <= y < H
        source = (((n * H + y) * W + begin - window.left) * C) & NATURAL
        for v in range(begin * C):
            rows[to + v] = zero
        if inside:
            for v in range((end - begin) * C):
                rows[to + begin * C + v] = flat[source + v]
        else:
            for v in range((end - begin) * C):
                rows[to + begin * C + v] = zero
        for v in range(end * C, length):
            rows[to + v] = zero


@compile_apart
def _tables(window, C, pixels, OW):
    """The places of the pixels of so many rows of the output, and of the taps; their sum is a place in `_rows_seen`."""
    at, taps = np.empty(pixels, np.int64), np.empty(window.KH * window.KW * C, np.int64)
    for p in range(pixels):
        at[p] = (p // OW * window.KH * window.columns + p % OW * window.stride) * C
    for k in range(len(taps)):
        i, j, c = k // C // window.KW, k // C % window.KW, k % C
        taps[k] = (i * window.columns + j * window.dilation) * C + c
    return at, taps


@compile_scalar
def _seen(x, window, OH, first, last, rows):
    """`_rows_seen`; of a 1x1 convolution that sees every pixel x itself, not copied."""
    _, _, W, C = x.shape
    if window.KH * window.KW * window.stride == 1 and window.columns == W and window.top == 0 and window.left == 0:
        return x.reshape(-1)[first * W * C :]
    _rows_seen(x, window, OH, first, last, rows)
    return rows


@compile_task
def _forward_share(thread, tasks, x, w, window, scratch, out):
    """What one thread does of `_forward`."""
    (N, OH, OW, M), K, threads = out.shape, w.shape[0], len(scratch)
    flat, rows = out.reshape((N * OH * OW, M)), scratch[thread]
    at, taps = _tables(window, x.shape[3], (N * OH // tasks + 1) * OW, OW)
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        first, last = task * N * OH // tasks, (task + 1) * N * OH // tasks
        seen, pixels = _seen(x, window, OH, first, last, rows), at[: (last - first) * OW]
        for k in range(0, K, DEPTH):
            _multiply(seen, pixels, taps[k : k + DEPTH], w[k : k + DEPTH], k == 0, flat[first * OW : last * OW])


def _forward(x, w, window, tasks, scratch, out):
    """out = x convolved with w. A task is some rows of the output. w: (KH*KW*C, M); scratch: (threads, `_rows_seen`)."""
    for thread in prange(len(scratch)):
        _forward_share(np.int64(thread), tasks, x, w, window, scratch, out)


@compile_task
def _weights_task(task, dout, x, window, tasks, rows, dw):
    """One task of `_backward_w`."""
    (N, OH, OW, M), (groups, K, _) = dout.shape, dw.shape
    pieces = len(rows) // groups
    g, piece = task // pieces, task % pieces
    k0, k1 = piece * K // pieces, (piece + 1) * K // pieces
    flat = dout.reshape((N * OH * OW, M))
    at, taps = _tables(window, x.shape[3], (N * OH // tasks + 1) * OW, OW)
    for band in range(g * tasks // groups, (g + 1) * tasks // groups):
        first, last = band * N * OH // tasks, (band + 1) * N * OH // tasks
        seen, pixels = _seen(x, window, OH, first, last, rows[task]), at[: (last - first) * OW]
        begins = band == g * tasks // groups
        _multiply(seen, taps[k0:k1], pixels, flat[first * OW : last * OW], begins, dw[g, k0:k1])


def _backward_w(dout, x, window, bands, rows, dw):
    """dw[g] = the gradient of the weights from group g of the bands of rows. A task is (group, piece of the taps).

    rows: scratch, (groups * pieces, `_rows_seen`); dw: (groups, KH*KW*C, M).
    """
    for task in prange(len(rows)):
        _weights_task(np.int64(task), dout, x, window, bands, rows, dw)


@compile_task
def _scatter(n, dout, wt, window, sent, dx):
    """Image n of `_backward_x`."""
    (_, H, W, C), (_, OH, OW, _) = dx.shape, dout.shape
    run, rows = window.KW * C, dx.reshape(-1)  # what a row of a window sees lies in a row of x side by side
    length = wt.shape[1]
    flat = sent.reshape(-1)
    zero = dx.dtype.type(0)
    for v in range(H * W * C):
        rows[(n * H * W * C + v) & NATURAL] = zero
    for oy in range(OH):
        product(dout[n, oy], wt, True, sent)
        for i in range(window.KH):
            y = window.stride * oy + i - window.top
            if 0 <= y < H:
                row = (n * H + y) * W * C
                for ox in range(OW):
                    at = (window.stride * ox - window.left) * C
                    begin, end = max(0, -at), min(run, W * C - at)
                    to, source = (row + at + begin) & NATURAL, (ox * length + i * run + begin) & NATURAL
                    for q in range(end - begin):
                        rows[to + q] += flat[source + q]


def _backward_x(dout, wt, window, sent, dx):
    """dx of few channels: ``dout @ wt`` says what each window sends to all it saw; added up there. A task is an image.

    wt: (M, KH*KW*C and zeros). For 3 channels, a stem's, this was measured three times as fast as a convolution with
    s*s parts of the kernel, which multiplies matrices of 3 to 12 columns.
    """
    for n in prange(len(dx)):
        _scatter(np.int64(n), dout, wt, window, sent[n], dx)


forward = compile_kernel(_forward)
backward_w = compile_kernel(_backward_w)
backward_x = compile_kernel(_backward_x)
