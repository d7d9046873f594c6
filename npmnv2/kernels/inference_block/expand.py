"""The first step of an inference block: rows of the wide image.

The plain version is the first convolution of `engine.folding.FoldedBlock`, with its bias and ReLU6; of a block without
one, x itself.
"""

import numpy as np

from npmnv2.kernels.inference_block.records import COPY, EXPAND, NATURAL
from npmnv2.kernels.jit import compile_apart, compile_inline, compile_scalar


@compile_scalar
def relu6(v, zero, six):
    """Clip to [0, 6], given as numbers of v's dtype."""
    v = zero if v < zero else v  # in this order NaN stays NaN
    return six if v > six else v


@compile_inline
def clear_border(wide, top, H, left, W):
    """Zeros where no row or column of an image will be."""
    images, R, columns, E = wide.shape
    zero = wide.dtype.type(0)
    for i in range(images):
        for q in range(R):
            for c in range(columns):
                if q < top or q >= top + H or c < left or c >= left + W:
                    for e in range(E):
                        wide[i, q, c, e] = zero


@compile_inline
def fill(image, k, piece, sizes, scratch, filled, need):
    """Put rows `filled` to `need` - 1 of the wide image into the ring, zeros for those outside of the image."""
    wide, left, W = scratch.wide, sizes.left, sizes.W
    _, R, _, E = wide.shape
    zero, six = wide.dtype.type(0), wide.dtype.type(6)
    for row in range(filled, need):
        y, q = row & NATURAL, ((row + R) % R) & NATURAL
        if row < 0 or row >= sizes.H:
            for c in range(W):
                for e in range(E):
                    wide[0, q, left + c, e] = zero
        elif sizes.source == COPY:
            for c in range(W):
                for e in range(E):
                    wide[0, q, left + c, e] = image[y, c, k * E + e]
        else:
            if sizes.source == EXPAND:
                _expand_row(image, y, piece.we, wide, q, left)
            else:
                _convolve_row(image, row, piece.we, sizes, scratch.patch, wide, q)
            for c in range(W):
                for e in range(E):
                    wide[0, q, left + c, e] = relu6(wide[0, q, left + c, e] + piece.be[e], zero, six)


@compile_inline
def expand_rows(x, k, piece, sizes, scratch, first):
    """Put these rows of images into `wide`, expanded, whose images lie apart; the first of them is number `first`."""
    wide, product, left = scratch.wide, scratch.product, sizes.left
    rows, W, _ = x.shape
    E = wide.shape[3]
    zero, six = wide.dtype.type(0), wide.dtype.type(6)
    if sizes.source == EXPAND:
        _expand(x, piece.we, product)
    for r in range(rows):
        i, q = ((first + r) // sizes.H) & NATURAL, (sizes.top + (first + r) % sizes.H) & NATURAL
        for c in range(W):
            p = (r * W + c) & NATURAL
            if sizes.source == COPY:
                for e in range(E):
                    wide[i, q, left + c, e] = x[r, c, k * E + e]
            else:
                for e in range(E):
                    wide[i, q, left + c, e] = relu6(product[p, e] + piece.be[e], zero, six)


@compile_apart
def _expand_row(image, y, we, wide, q, left):
    """Row q of the ring = row y of an image @ we. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(image[y], we, wide[0, q, left : left + image.shape[1]])


@compile_apart
def _expand(x, we, product):
    """The same of several rows at once."""
    rows, W, C = x.shape
    np.dot(x.reshape(rows * W, C), we, product[: rows * W])


@compile_apart
def _convolve_row(image, y, we, sizes, patch, wide, q):
    """Row q of the ring = row y of the stem's convolution. What each window sees is copied first (im2col)."""
    H, width, C = image.shape
    W, stride, left = sizes.W, sizes.stem_stride, sizes.stem_left
    rows = image.reshape(H, width * C)
    zero = image.dtype.type(0)
    low = min(-(-left // stride), W)  # the windows from here to `high` lie inside the image
    high = max(min((width - 3 + left) // stride + 1, W), low)
    for i in range(3):
        yy = stride * y - sizes.stem_top + i
        row = yy & NATURAL
        quick = 0 <= yy < H and C == 3
        if quick:
            for c in range(low, high):
                _copy_nine(rows, row, ((stride * c - left) * 3) & NATURAL, patch, c & NATURAL, 9 * i)
        for j in range(W - (high - low) if quick else W):
            c = j + high - low if quick and j >= low else j
            for v in range(3 * C):
                at = (stride * c - left) * C + v
                here = 0 <= yy < H and 0 <= at < width * C
                patch[c, 3 * C * i + v] = rows[row, at & NATURAL] if here else zero
    np.dot(patch, we, wide[0, q, sizes.left : sizes.left + W])


@compile_scalar
def _copy_nine(rows, row, start, patch, c, to):
    """Nine values in a row, all read before the first is written: a few vectors instead of nine copies."""
    v0, v1, v2 = rows[row, start], rows[row, start + 1], rows[row, start + 2]
    v3, v4, v5 = rows[row, start + 3], rows[row, start + 4], rows[row, start + 5]
    v6, v7, v8 = rows[row, start + 6], rows[row, start + 7], rows[row, start + 8]
    patch[c, to], patch[c, to + 1], patch[c, to + 2] = v0, v1, v2
    patch[c, to + 3], patch[c, to + 4], patch[c, to + 5] = v3, v4, v5
    patch[c, to + 6], patch[c, to + 7], patch[c, to + 8] = v6, v7, v8
