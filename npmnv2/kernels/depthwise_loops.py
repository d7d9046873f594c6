"""The loops of the depthwise kernels, for any kernel size, stride, dilation and padding: the ones to read first.

Loops over image, row, column and tap, with the channel innermost: neighbouring channels are neighbours in memory, so
the compiler turns that loop into vector instructions by itself. Nothing is padded: a tap that falls outside the image
is skipped. `depthwise_3x3.py` computes the same sums faster for the one size that MobileNetV2 uses.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.compile import compile_kernel


def _forward(x, w, stride, dilation, top, left, out):
    """out[n, oy, ox, c] = sum_ij x[n, y, xx, c] * w[i, j, c]. An iteration owns a row of `out`."""
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


def _backward_x(dout, w, stride, dilation, top, left, dx):
    """dx[n, y, xx, c] = sum of dout[n, oy, ox, c] * w[i, j, c] over the windows that saw it. Owns a row of `dx`.

    The formula in `ops` scatters each dout over the pixels of its window; two windows then write the same pixel, which
    two threads must not. Read the other way round, from the pixel, it gathers.
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
                down = y + top - dilation * i  # = stride * oy, if any window puts tap i here
                if down >= 0 and down % stride == 0 and down // stride < OH:
                    oy = down // stride
                    for j in range(KW):
                        right = xx + left - dilation * j
                        if right >= 0 and right % stride == 0 and right // stride < OW:
                            ox = right // stride
                            for c in range(C):
                                dx[n, y, xx, c] += dout[n, oy, ox, c] * w[i, j, c]


def _backward_w(dout, x, stride, dilation, top, left, dw):
    """dw[i, j, c] = sum_nyx x[n, y, xx, c] * dout[n, oy, ox, c]. Owns the partial sum of an output row."""
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


forward = compile_kernel(_forward)
backward_x = compile_kernel(_backward_x)
backward_w = compile_kernel(_backward_w)
