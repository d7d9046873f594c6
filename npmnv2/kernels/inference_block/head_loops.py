"""The end of the network: the last 1x1 convolution with the average over the image, and the classifier.

Both are matrix products and little else. What is worth knowing about them: the output of the last convolution, the
widest of the network, is averaged a few pixels at a time and never whole in memory; and a product is kept below
OpenBLAS's limit for "small", see `conv/loops.py`. Above it OpenBLAS copies the weights before it multiplies, which for
the classifier and eight images was measured to take four times as long as the product.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.inference_block.loops import relu6
from npmnv2.kernels.jit import compile_apart, compile_kernel

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative


@compile_apart
def _product(x, first, last, w, k, room, b, to):
    """room[b, to ...] = x[first ... last - 1] @ w[k]. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(x[first:last], w[k], room[b, to : to + last - first])


def _head(x, pixels, w, bias, images, group, room, pooled):
    """pooled[n] = the average over image n of relu6(x @ w + bias): the last convolution is never whole in memory.

    A task is (`images` images, piece of the channels); `group` pixels, across images, are one product.
    x: (N*pixels, C); w, bias: (pieces, C, E), (pieces, E); room: (threads, group, E); pooled: (N, pieces * E).
    """
    N, pieces, E = pooled.shape[0], w.shape[0], w.shape[2]
    threads = room.shape[0]
    zero, six = x.dtype.type(0), x.dtype.type(6)
    tasks = (N + images - 1) // images * pieces
    for b in prange(threads):
        for task in range(b * tasks // threads, (b + 1) * tasks // threads):
            begin, k = task // pieces * images, (task % pieces) & NATURAL
            end, to = min(begin + images, N), (k * E) & NATURAL
            for n in range(begin, end):
                for e in range(E):
                    pooled[n, to + e] = zero
            for first in range(begin * pixels, end * pixels, group):
                last = min(first + group, end * pixels)
                _product(x, first, last, w, k, room, b, 0)
                for p in range(last - first):
                    n = ((first + p) // pixels) & NATURAL
                    for e in range(E):
                        pooled[n, to + e] += relu6(room[b, p, e] + bias[k, e], zero, six)
            for n in range(begin, end):
                for e in range(E):
                    pooled[n, to + e] /= pixels


def _classify(pooled, w, bias, group, room, logits):
    """logits = pooled @ w + bias, a piece of the classes and `group` images at a time.

    pooled: (N, C); w, bias: (pieces, C, E), (pieces, E); room: (pieces, N, E); logits: (N, classes). E classes in a
    piece; the last piece may have more than there are.
    """
    N, classes = logits.shape
    pieces, _, E = w.shape
    for k in prange(pieces):
        for first in range(0, N, group):
            _product(pooled, first, min(first + group, N), w, k, room, k, first)
        for n in range(N):
            for e in range(min(E, classes - k * E)):
                logits[n, k * E + e] = room[k, n, e] + bias[k, e]


head = compile_kernel(_head)
classify = compile_kernel(_classify)
