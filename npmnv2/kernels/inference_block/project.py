"""The last step of an inference block: ``out = hidden @ wp + bp``, and x or ReLU6 at the end.

The plain version is the last convolution of `engine.folding.FoldedBlock` and its shortcut. A piece of the channels
gives a part of that sum; what pieces give is added up in their order.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.inference_block.expand import relu6
from npmnv2.kernels.inference_block.records import NATURAL
from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel


@compile_apart
def project(hidden, first, pixels, wp, narrow):
    """narrow = so many pixels of `hidden`, from `first` on, @ wp. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(hidden[first : first + pixels], wp, narrow[:pixels])


@compile_inline
def add_piece(x, piece, sizes, narrow, out, begun, last):
    """Add a piece's product to rows of the output: to nothing unless `begun`; after the last, the bias and x."""
    rows, OW, M = out.shape
    zero, six = out.dtype.type(0), out.dtype.type(6)
    for r in range(rows):
        for c in range(OW):
            p = (r * OW + c) & NATURAL
            if begun:
                for m in range(M):
                    narrow[p, m] += out[r, c, m]
            if not last:
                for m in range(M):
                    out[r, c, m] = narrow[p, m]
            elif sizes.clip:
                for m in range(M):
                    out[r, c, m] = relu6(narrow[p, m] + piece.bp[m], zero, six)
            elif sizes.shortcut:
                for m in range(M):
                    out[r, c, m] = narrow[p, m] + piece.bp[m] + x[r, c, m]
            else:
                for m in range(M):
                    out[r, c, m] = narrow[p, m] + piece.bp[m]


def _add_parts(x, parts, bp, shortcut, clip, out):
    """out = the sum of the parts, in their order, + bp, + x. A task is a row of an image.

    x, out: (N, OH, OW, M); parts: (groups, N*OH, OW, M).
    """
    groups, rows, OW, M = parts.shape
    OH = out.shape[1]
    zero, six = out.dtype.type(0), out.dtype.type(6)
    for row in prange(rows):
        n, y = row // OH, row % OH
        for c in range(OW):
            for m in range(M):
                out[n, y, c, m] = parts[0, row, c, m]
            for g in range(1, groups):
                for m in range(M):
                    out[n, y, c, m] += parts[g, row, c, m]
            if clip:
                for m in range(M):
                    out[n, y, c, m] = relu6(out[n, y, c, m] + bp[m], zero, six)
            elif shortcut:
                for m in range(M):
                    out[n, y, c, m] = out[n, y, c, m] + bp[m] + x[n, y, c, m]
            else:
                for m in range(M):
                    out[n, y, c, m] += bp[m]


add_parts = compile_kernel(_add_parts, contract=True)
