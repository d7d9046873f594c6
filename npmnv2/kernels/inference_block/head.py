"""The end of the network: the last 1x1 convolution with the average over the image, and the classifier.

The plain version is the end of `engine.folding.FoldedNetwork`: ``relu6(x @ w + b)``, `ops.global_avg_pool_forward`,
`ops.linear_forward`. The output of the last convolution, which has the most channels of all, is averaged a tile at a
time and never whole in memory.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from npmnv2.kernels.inference_block.window import Window, with_bias
from npmnv2.kernels.jit import compile_kernel, compile_scalar, compile_task
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import CHANNELS, FEW, PIXELS, clip, places, put


class Head(NamedTuple):
    """The sizes of a last convolution, and how it is cut."""

    N: int
    pixels: int  # of an image
    C: int  # channels of x,
    room: int  # and values from one of its pixels to the next
    images: int  # in a task
    piece: int  # panels of 16 output channels in a task


@compile_task
def _head_share(thread, threads, x, w, b, sizes, tile_of, pooled):
    """What one thread does of `head`. tile_of: (PIXELS * 16,), where it stores a tile to add it to `pooled`."""
    N, pixels, room, M, window = sizes.N, sizes.pixels, sizes.room, len(b), Window(1, sizes.C, 0)
    step = sizes.piece * CHANNELS
    pieces = (M + step - 1) // step
    tasks = (N + sizes.images - 1) // sizes.images * pieces
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        n, first = task // pieces * sizes.images, task % pieces * step
        images = min(sizes.images, N - n)
        offset, last = n * pixels * room, images * pixels - 1
        for m in range(first, min(first + step, M), CHANNELS):
            for image in range(n, n + images):
                _clear(pooled, image * M + m)
            for p in range(0, images * pixels, PIXELS):
                count = min(PIXELS, last + 1 - p)
                if count > FEW:
                    tile = with_bias(x, places(p, last, room, PIXELS), offset, window, w, b, m)
                    put(clip(tile), tile_of, places(0, PIXELS, CHANNELS, PIXELS), 0)
                else:
                    few = with_bias(x, places(p, last, room, FEW), offset, window, w, b, m)
                    put(clip(few), tile_of, places(0, PIXELS, CHANNELS, FEW), 0)
                for i in range(count):
                    to = ((n + (p + i) // pixels) * M + m) & NATURAL
                    for e in range(CHANNELS):
                        pooled[to + e] += tile_of[((i * CHANNELS) & NATURAL) + e]
            for image in range(n, n + images):
                to = (image * M + m) & NATURAL
                for e in range(CHANNELS):
                    pooled[to + e] /= pixels


@compile_scalar
def _clear(pooled, to):
    """16 zeros."""
    for e in range(CHANNELS):
        pooled[(to & NATURAL) + e] = 0


def _head(x, w, b, sizes, scratch, pooled):
    """pooled[n] = the average over image n of relu6(x @ w + b). A task is (some images, some panels of the channels).

    x: (N, pixels, room); w: (M / 16, C, 16); b: (M,); scratch: (threads, PIXELS * 16); pooled: (N, M).
    """
    threads = len(scratch)
    x, w, pooled = x.reshape(-1), w.reshape(-1), pooled.reshape(-1)
    for thread in prange(threads):
        _head_share(np.int64(thread), threads, x, w, b, sizes, scratch[thread], pooled)


@compile_task
def _classify_panel(x, w, b, m, logits):
    """Classes m to m + 15 of every image."""
    (N, C), M = x.shape, len(b)
    pooled, out, window = x.reshape(-1), logits.reshape(-1), Window(1, C, 0)
    for n in range(0, N, PIXELS):
        if N - n > FEW:
            at = places(n, N - 1, C, PIXELS)
            put(with_bias(pooled, at, 0, window, w, b, m), out, places(n, N - 1, M, PIXELS), m)
        else:
            few_at = places(n, N - 1, C, FEW)
            put(with_bias(pooled, few_at, 0, window, w, b, m), out, places(n, N - 1, M, FEW), m)


def _classify(x, w, b, logits):
    """logits = x @ w + b. A task is 16 classes. x: (N, C); w: (M / 16, C, 16); b: (M,); logits: (N, M)."""
    flat = w.reshape(-1)
    for k in prange(len(b) // CHANNELS):
        _classify_panel(x, flat, b, np.int64(k * CHANNELS), logits)


head = compile_kernel(_head)
classify = compile_kernel(_classify)
