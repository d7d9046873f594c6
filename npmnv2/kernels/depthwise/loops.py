"""The loops of the depthwise kernels, for any kernel size, stride, dilation and padding: the ones to read first.

Loops over image, row, column and tap, with the channel innermost: neighbouring channels are neighbours in memory, so
the compiler turns that loop into vector instructions by itself. `loops_3x3.py` computes the same sums faster for
the one size that MobileNetV2 uses.

Shapes as in `ops`: x and dx are (N, H, W, C), w and dw (KH, KW, C), out and dout (N, OH, OW, C). A pixel of the image
is (y, xx), a pixel of the output (oy, ox). Nothing is padded: `top` and `left` say how many zeros there would be above
and left of the image, and a tap that falls on them is skipped. Tap (i, j) of output pixel (oy, ox) looks at ::

    y  = stride * oy + dilation * i - top
    xx = stride * ox + dilation * j - left

`prange` is a `range` whose iterations Numba shares out to threads: they run at the same time, in any order. So no
iteration may write what another one reads or writes. Each function says what an iteration *owns*, that is, what it
alone writes; with one thread, `prange` is `range`.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.depthwise.finite import finite_gradients, finite_weights
from npmnv2.kernels.jit import compile_kernel


def _forward(x, w, stride, dilation, top, left, out):
    """out[n, oy, ox, c] = sum_ij x[n, y, xx, c] * w[i, j, c]. An iteration owns a row of `out`: one n, one oy."""
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = out.shape
    for row in prange(N * OH):
        n, oy = row // OH, row % OH
        for ox in range(OW):
            for c in range(C):
                out[n, oy, ox, c] = 0
            for i in range(KH):
                y = stride * oy + dilation * i - top
                if 0 <= y < H:
                    for j in range(KW):
                        xx = stride * ox + dilation * j - left
                        if 0 <= xx < W:
                            for c in range(C):
                                out[n, oy, ox, c] += x[n, y, xx, c] * w[i, j, c]
    return finite_weights(x, w, stride, dilation, top, left, out)


def _backward_x(dout, w, stride, dilation, top, left, dx):
    """dx[n, y, xx, c] = sum_ij dout[n, oy, ox, c] * w[i, j, c], for taps that have an (oy, ox). Owns a row of `dx`.

    The formula in `ops` scatters each dout over the pixels of its window; two windows then write the same pixel, which
    two threads must not. Read the other way round, from the pixel, it gathers: ``y = stride * oy + dilation * i - top``
    is solved for oy. See docs/derivations/convolutions.md, "Going the other way".
    """
    N, H, W, C = dx.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = dout.shape
    for row in prange(N * H):
        n, y = row // H, row % H
        for xx in range(W):
            for c in range(C):
                dx[n, y, xx, c] = 0
            for i in range(KH):
                s_oy = y + top - dilation * i  # stride * oy, if tap i of a window lies on this row
                if s_oy >= 0 and s_oy % stride == 0 and s_oy // stride < OH:
                    oy = s_oy // stride
                    for j in range(KW):
                        s_ox = xx + left - dilation * j
                        if s_ox >= 0 and s_ox % stride == 0 and s_ox // stride < OW:
                            ox = s_ox // stride
                            for c in range(C):
                                dx[n, y, xx, c] += dout[n, oy, ox, c] * w[i, j, c]


def _backward_w(dout, x, stride, dilation, top, left, dw):
    """dw[i, j, c] = sum of x[n, y, xx, c] * dout[n, oy, ox, c] over n, oy, ox. Owns the partial sum of a row of dout.

    Every output pixel adds to every tap, so the threads cannot share dw. Each row has a dw of its own, `partial[row]`;
    these are added at the end, in order, so that the result does not depend on who was done first.
    """
    N, H, W, C = x.shape
    KH, KW, _ = dw.shape
    _, OH, OW, _ = dout.shape
    partial = np.zeros((N * OH, KH, KW, C), dw.dtype)
    for row in prange(N * OH):
        n, oy = row // OH, row % OH
        for i in range(KH):
            y = stride * oy + dilation * i - top
            if 0 <= y < H:
                for ox in range(OW):
                    for j in range(KW):
                        xx = stride * ox + dilation * j - left
                        if 0 <= xx < W:
                            for c in range(C):
                                partial[row, i, j, c] += x[n, y, xx, c] * dout[n, oy, ox, c]
    for i in range(KH):
        for j in range(KW):
            for c in range(C):
                dw[i, j, c] = 0
    for row in range(N * OH):  # in order, whoever computed them
        for i in range(KH):
            for j in range(KW):
                for c in range(C):
                    dw[i, j, c] += partial[row, i, j, c]
    return finite_gradients(dout, x, stride, dilation, top, left, dw)


forward = compile_kernel(_forward)
backward_x = compile_kernel(_backward_x)
backward_w = compile_kernel(_backward_w)
