"""The loops of the standard convolution: the tap loop of `ops/conv.py` on a few pixels at a time, which stay in cache.

A standard convolution is bound by arithmetic, and the arithmetic is a matrix product, which nobody should write in
Python: `np.dot` is the BLAS library's. What is left to arrange is what it is given. Measured with OpenBLAS on one
AVX-512 core, in Gflop/s: a product of all pixels at once, ``(pixels, KH*KW*C) @ (KH*KW*C, M)``, 90 to 170; a product of
up to `SMALL` multiply-adds, which OpenBLAS does without packing its operands first, 130 to 220, and its pixels need
not be copied into one huge array before (im2col), or pass through memory once a tap (the tap loop).

So the output is cut into tiles of some pixels, by the shape alone, and the tiles into bands, one for a thread. A band
takes a tap (or a piece of its channels) after the other; the weights stay in cache while all its tiles see them::

    tile += np.dot(tap, w[i, j])

Who computes a tile makes no difference to it, so the bits do not depend on the number of bands.
`np.dot` in compiled code calls SciPy's BLAS, which the callers here limit to one thread: the threads are those of
`prange`.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_inline, compile_kernel

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative
SMALL = 1_000_000  # multiply-adds; OpenBLAS's own limit (interface/gemm.c, gemm_small_matrix_permit)


def _forward_rows(x, w, dilation, top, left, pixels, bands, out):
    """Stride 1: what a tap sees in a row of the image is a matrix as it lies there, (pixels, C). A band owns rows."""
    N, H, W, C = x.shape
    KH, KW, _, M = w.shape
    _, OH, OW, _ = out.shape
    rows = N * OH
    for band in prange(bands):
        begin, end = band * rows // bands, (band + 1) * rows // bands
        tile = np.empty((pixels, M), x.dtype)
        for row in range(begin, end):
            n, oy = row // OH, row % OH
            for ox in range(OW):
                for m in range(M):
                    out[n, oy, ox, m] = 0
        for i in range(KH):
            for j in range(KW):
                shift = dilation * j - left
                lo, hi = max(0, -shift), min(OW, W - shift)  # the columns whose tap lies in the image
                for row in range(begin, end):
                    n, oy = row // OH, row % OH
                    y = oy + dilation * i - top
                    if 0 <= y < H:
                        for first in range(lo, hi, pixels):
                            last = min(first + pixels, hi)
                            tap = x[n, y, first + shift : last + shift]
                            np.dot(tap, w[i, j], tile[: last - first])
                            for r in range(last - first):
                                for m in range(M):
                                    out[n, oy, first + r, m] += tile[r, m]


@compile_inline
def _gather(rows, H, W, C, OH, OW, KW, stride, dilation, top, left, first, count, k0, k1, patch):
    """patch[p, k - k0] = what weight k of a filter sees at pixel first + p of `out`: k0 <= k < k1 of KH*KW*C.

    rows: x as (N*H, W*C). A kernel row lies there as one run of KW*C values, unless dilated: then a tap, C values.
    """
    run = C if dilation > 1 else KW * C
    zero = rows.dtype.type(0)
    for t in range(k0 // run, (k1 - 1) // run + 1):  # the runs among weights k0 ... k1
        i, j = t * run // C // KW, t * run // C % KW
        lo, hi = max(k0, t * run), min(k1, t * run + run)
        to = (lo - k0) & NATURAL
        r = 0
        while r < count:  # the pixels of the tile that lie in one row of out
            row, ox = (first + r) // OW, (first + r) % OW
            n, y = row // OH, row % OH * stride + dilation * i - top
            stop = min(count, r + OW - ox)
            at = (ox * stride + dilation * j - left) * C + lo - t * run
            for p in range(r, stop):
                if 0 <= y < H and at >= 0 and at + hi - lo <= W * C:
                    source, start = (n * H + y) & NATURAL, at & NATURAL
                    for k in range(hi - lo):
                        patch[p, to + k] = rows[source, start + k]
                else:
                    for k in range(hi - lo):
                        inside = 0 <= y < H and 0 <= at + k < W * C
                        patch[p, to + k] = rows[n * H + y, at + k] if inside else zero
                at += stride * C
            r = stop


def _forward_tiles(x, w, stride, dilation, top, left, pixels, depth, bands, out):
    """Any stride: what `depth` of the KH*KW*C weights of a filter see is copied beside each other first (im2col).

    A tile is a run of `pixels` pixels of `out`, across its rows and images. A band owns some of them.
    """
    N, H, W, C = x.shape
    KH, KW, _, M = w.shape
    _, OH, OW, _ = out.shape
    K = KH * KW * C
    tiles = (N * OH * OW + pixels - 1) // pixels
    rows, flat, weights = x.reshape(N * H, W * C), out.reshape(N * OH * OW, M), w.reshape(K, M)
    for band in prange(bands):
        begin, end = band * tiles // bands * pixels, min((band + 1) * tiles // bands * pixels, N * OH * OW)
        tile = np.empty((pixels, M), x.dtype)
        for k0 in range(0, K, depth):
            k1 = min(k0 + depth, K)
            patch = np.empty((pixels, k1 - k0), x.dtype)
            for first in range(begin, end, pixels):
                count = min(pixels, end - first)
                _gather(rows, H, W, C, OH, OW, KW, stride, dilation, top, left, first, count, k0, k1, patch)
                np.dot(patch[:count], weights[k0:k1], tile[:count])
                if k0 == 0:
                    for r in range(count):
                        for m in range(M):
                            flat[first + r, m] = tile[r, m]
                else:
                    for r in range(count):
                        for m in range(M):
                            flat[first + r, m] += tile[r, m]


def _backward_w(dout, x, KW, stride, dilation, top, left, pixels, depth, dw):
    """dw[g, k, m] = sum_p patch[p, k] * dout[p, m] of group g of the pixels, a tile at a time. Owns `depth` rows of it.

    dw: (groups, KH*KW*C, M).
    """
    N, H, W, C = x.shape
    _, OH, OW, M = dout.shape
    groups, K, _ = dw.shape
    P, pieces = N * OH * OW, (K + depth - 1) // depth
    rows, flat = x.reshape(N * H, W * C), dout.reshape(P, M)
    for task in prange(groups * pieces):
        g, piece = task // pieces, task % pieces
        k0, k1 = piece * depth, min(piece * depth + depth, K)
        patch = np.empty((pixels, k1 - k0), x.dtype)
        part = np.empty((k1 - k0, M), x.dtype)
        for k in range(k0, k1):
            for m in range(M):
                dw[g, k, m] = 0
        end = (g + 1) * P // groups
        for first in range(g * P // groups, end, pixels):
            count = min(pixels, end - first)
            _gather(rows, H, W, C, OH, OW, KW, stride, dilation, top, left, first, count, k0, k1, patch)
            np.dot(patch[:count].T, flat[first : first + count], part)
            for k in range(k1 - k0):
                for m in range(M):
                    dw[g, k0 + k, m] += part[k, m]


def _backward_x(dout, wt, KW, stride, top, left, dx):
    """dx of few channels: ``dout @ wt`` says what each window sends to all it saw; added up there. Owns an image.

    wt: (M, KH*KW*C). For 3 channels, a stem's, this was measured three times as fast as a convolution with s*s parts of
    the kernel, which multiplies matrices of 3 to 12 columns.
    """
    N, H, W, C = dx.shape
    _, OH, OW, M = dout.shape
    run = KW * C  # what a kernel row sees lies in a row of x side by side
    KH = wt.shape[1] // run
    rows = dx.reshape(N, H, W * C)
    for n in prange(N):
        sent = np.empty((OW, KH * run), dx.dtype)
        for y in range(H):
            for k in range(W * C):
                rows[n, y, k] = 0
        for oy in range(OH):
            np.dot(dout[n, oy], wt, sent)
            for i in range(KH):
                y = stride * oy + i - top
                if 0 <= y < H:
                    for ox in range(OW):
                        at = (stride * ox - left) * C
                        if at >= 0 and at + run <= W * C:
                            to, k = at & NATURAL, (i * run) & NATURAL
                            for q in range(run):
                                rows[n, y & NATURAL, to + q] += sent[ox, k + q]
                        else:
                            for q in range(max(0, -at), min(run, W * C - at)):
                                rows[n, y, at + q] += sent[ox, i * run + q]


def _forward_pointwise(x, w, pixels, out):
    """A 1x1 convolution is one product, cut into tiles of so many pixels. x: (P, C), out: (P, M). Owns a tile."""
    P = x.shape[0]
    for tile in prange((P + pixels - 1) // pixels):
        first, last = tile * pixels, min(tile * pixels + pixels, P)
        np.dot(x[first:last], w, out[first:last])


forward_rows = compile_kernel(_forward_rows)
forward_tiles = compile_kernel(_forward_tiles)
forward_pointwise = compile_kernel(_forward_pointwise)
backward_w = compile_kernel(_backward_w)
backward_x = compile_kernel(_backward_x)
