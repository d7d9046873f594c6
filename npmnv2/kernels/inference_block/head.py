"""The end of the network: the last 1x1 convolution with the average over the image, and the classifier.

The plain version is the end of `engine.folding.FoldedNetwork`: ``relu6(x @ w + bias)``, `ops.global_avg_pool_forward`,
`ops.linear_forward`. The output of the last convolution, the widest of the network, is averaged a few pixels at a time
and never whole in memory; and a product is kept below OpenBLAS's limit for "small", see `conv/loops.py`. Above it
OpenBLAS copies the weights before it multiplies, which for the classifier and eight images was measured to take four
times as long as the product.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.inference_block.expand import relu6
from npmnv2.kernels.inference_block.records import NATURAL
from npmnv2.kernels.jit import compile_apart, compile_kernel


@compile_apart
def _product(x, first, last, w, k, product, plane, to):
    """product[plane, to ...] = x[first ... last - 1] @ w[k]. Apart, see `compile_apart`: it calls np.dot."""
    np.dot(x[first:last], w[k], product[plane, to : to + last - first])


def _head(x, w, bias, images, group, product, pooled):
    """pooled[n] = the average over image n of relu6(x @ w + bias).

    A task is (`images` images, piece of the channels); `group` pixels, across images, are one product.
    x: (N * pixels, C); w, bias: (pieces, C, E), (pieces, E); product: (threads, group, E); pooled: (N, pieces * E).
    """
    N, pieces, E, threads = pooled.shape[0], w.shape[0], w.shape[2], product.shape[0]
    pixels = x.shape[0] // N
    zero, six = x.dtype.type(0), x.dtype.type(6)
    tasks = (N + images - 1) // images * pieces
    for thread in prange(threads):
        for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
            begin, k = task // pieces * images, (task % pieces) & NATURAL
            end, to = min(begin + images, N), (k * E) & NATURAL
            for n in range(begin, end):
                for e in range(E):
                    pooled[n, to + e] = zero
            for first in range(begin * pixels, end * pixels, group):
                last = min(first + group, end * pixels)
                _product(x, first, last, w, k, product, thread, 0)
                for p in range(last - first):
                    n = ((first + p) // pixels) & NATURAL
                    for e in range(E):
                        pooled[n, to + e] += relu6(product[thread, p, e] + bias[k, e], zero, six)
            for n in range(begin, end):
                for e in range(E):
                    pooled[n, to + e] /= pixels


def _classify(pooled, w, bias, group, product, logits):
    """logits = pooled @ w + bias, a piece of the classes and `group` images at a time.

    pooled: (N, C); w, bias: (pieces, C, E), (pieces, E); product: (pieces, N, E); logits: (N, classes). E classes in a
    piece; the last piece may have more than there are.
    """
    N, classes = logits.shape
    pieces, _, E = w.shape
    for k in prange(pieces):
        for first in range(0, N, group):
            _product(pooled, first, min(first + group, N), w, k, product, k, first)
        for n in range(N):
            for e in range(min(E, classes - k * E)):
                logits[n, k * E + e] = product[k, n, e] + bias[k, e]


head = compile_kernel(_head)
classify = compile_kernel(_classify)
