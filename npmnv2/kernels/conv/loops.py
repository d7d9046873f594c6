"""The loops of the standard convolution, of which a pointwise one is the case of a single tap.

The plain version is `ops/conv.py`. Here the rows of the image that some rows of the output see are copied first, with
zeros around them, so that no window reaches over a border. A value that a window sees then lies at the place of its
pixel plus the place of its tap, and forward and backward are one sum, `products.multiply`, with pixels and
taps exchanged::

    out[p, m] = sum_k rows[pixels[p] + taps[k]] * w[k, m]
    dw[k, m]  = sum_p rows[pixels[p] + taps[k]] * dout[p, m]

No window is copied beside its neighbours (im2col). The order of a sum depends on the shape alone, and so do the bits.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_function, compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.products import multiply, product
from npmnv2.kernels.rows import copy_rows
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tuning import CONVOLUTION

DEPTH = CONVOLUTION.depth


class Window(NamedTuple):
    """What a pixel of the output sees of the image."""

    KH: int
    KW: int
    stride: int
    dilation: int
    top: int  # rows of zeros above the image; below 0, rows of it that no window sees
    left: int
    columns: int  # that a row of the output sees


@compile_function
def _taps(window, C):
    """The place of each tap, of one channel each, from where its window begins."""
    found, k = np.empty(window.KH * window.KW * C, np.int64), 0
    for i in range(window.KH):
        for j in range(window.KW):
            for c in range(C):
                found[k] = (i * window.columns + j) * window.dilation * C + c
                k += 1
    return found


@compile_scalar
def _look(x, window, size, first, last, rows, at):
    """What rows `first` to `last` - 1 of the output of all images see, and the places in it where windows begin.

    It is copied to `rows`; if that is empty, it is x as it lies, which serves a pointwise convolution.
    """
    (_, H, W, C), (OH, OW), columns = x.shape, size, window.columns
    flat = x.reshape(-1)
    tall = window.dilation * (window.KH - 1) + 1
    row, to, p = first, 0, 0
    while row < last:
        n, oy = row // OH, row % OH
        count = min(last - row, OH - oy)  # rows of one image, whose windows overlap
        height = window.stride * (count - 1) + tall
        if len(rows) > 0:
            span = window.stride * oy - window.top, height
            copy_rows(flat, n, (H, W, C), span, window.left, columns, rows, to)
        for r in range(count):
            for ox in range(OW):
                at[p] = to + (r * columns + ox) * window.stride * C
                p += 1
        to += height * columns * C
        row += count
    return (rows if len(rows) > 0 else flat[first * W * C :]), at[:p]


@compile_task
def _forward_share(thread, bands, x, w, window, scratch, out):
    """What one thread does of `_forward`."""
    (N, OH, OW, M), K, threads = out.shape, w.shape[0], len(scratch)
    flat, taps = out.reshape((N * OH * OW, M)), _taps(window, x.shape[3])
    at, pieces = np.empty((N * OH // bands + 1) * OW, np.int64), (K + DEPTH - 1) // DEPTH
    for band in range(thread * bands // threads, (thread + 1) * bands // threads):
        first, last = band * N * OH // bands, (band + 1) * N * OH // bands
        seen, pixels = _look(x, window, (OH, OW), first, last, scratch[thread], at)
        for piece in range(pieces):
            k0, k1 = piece * K // pieces, (piece + 1) * K // pieces
            multiply(seen, pixels, taps[k0:k1], w[k0:k1], piece == 0, flat[first * OW : last * OW])


def _forward(x, w, window, bands, scratch, out):
    """out = x convolved with w. A task is some bands of rows of the output.

    w: (KH*KW*C, M); scratch: for each thread the rows that a band sees.
    """
    for thread in prange(len(scratch)):
        _forward_share(np.int64(thread), bands, x, w, window, scratch, out)


@compile_task
def _backward_w_task(task, dout, x, window, bands, scratch, dw):
    """One task of `_backward_w`."""
    (N, OH, OW, M), (groups, K, _) = dout.shape, dw.shape
    pieces = len(scratch) // groups
    g, piece = task // pieces, task % pieces
    k0, k1 = piece * K // pieces, (piece + 1) * K // pieces
    flat, taps = dout.reshape((N * OH * OW, M)), _taps(window, x.shape[3])
    at, begin = np.empty((N * OH // bands + 1) * OW, np.int64), g * bands // groups
    for band in range(begin, (g + 1) * bands // groups):
        first, last = band * N * OH // bands, (band + 1) * N * OH // bands
        seen, pixels = _look(x, window, (OH, OW), first, last, scratch[task], at)
        multiply(seen, taps[k0:k1], pixels, flat[first * OW : last * OW], band == begin, dw[g, k0:k1])


def _backward_w(dout, x, window, bands, scratch, dw):
    """dw[g] = what group g of the bands adds to the gradient of the weights. A task is (group, piece of the taps).

    scratch: for each task the rows that a band sees; dw: (groups, KH*KW*C, M).
    """
    for task in prange(len(scratch)):
        _backward_w_task(np.int64(task), dout, x, window, bands, scratch, dw)


@compile_task
def _backward_x_task(n, dout, wt, window, sent, dx):
    """Image n of `_backward_x`."""
    (_, H, W, C), (_, OH, OW, _), length = dx.shape, dout.shape, wt.shape[1]
    run = window.KW * C  # what a row of a window sees lies in a row of x side by side
    flat, parts = dx.reshape(-1), sent.reshape(-1)
    for v in range(H * W * C):
        flat[((n * H * W * C) & NATURAL) + v] = 0
    for oy in range(OH):
        product(dout[n, oy], wt, True, sent)
        for i in range(window.KH):
            y = window.stride * oy + i - window.top
            if 0 <= y < H:
                for ox in range(OW):
                    at = (window.stride * ox - window.left) * C
                    begin, end = max(0, -at), min(run, W * C - at)
                    to, source = ((n * H + y) * W * C + at + begin) & NATURAL, (ox * length + i * run + begin) & NATURAL
                    for v in range(end - begin):
                        flat[to + v] += parts[source + v]


def _backward_x(dout, wt, window, sent, dx):
    """dx of few channels: ``dout @ wt`` says what each window sends to all it saw; added up there. A task is an image.

    As a convolution dx would fill 3 of the 8 channels of a tile, a stem's.
    wt: (M, KH*KW*C and some columns of zeros); sent: scratch for each image, a row of ``dout @ wt``.
    """
    for n in prange(len(dx)):
        _backward_x_task(np.int64(n), dout, wt, window, sent[n], dx)


forward = compile_kernel(_forward)
backward_w = compile_kernel(_backward_w)
backward_x = compile_kernel(_backward_x)
