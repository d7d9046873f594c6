"""Fused blocks: how the weights are cut into pieces and the image into bands, and the calls of `loops.py`.

A fused block has a depthwise convolution in its middle: expand, depthwise, project (V2); the stem, depthwise, pointwise
(the first two blocks of either network, as one); depthwise, pointwise (the rest of V1).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from npmnv2.kernels.arrays import empty, geometry_of
from npmnv2.kernels.inference_block import loops
from npmnv2.kernels.inference_block.program import ARRAYS, KERNELS, NUMBERS, PLACES
from npmnv2.shapes import Padding
from npmnv2.validate import Array

SMALL = 1_000_000  # multiply-adds in one product: OpenBLAS's own limit for a faster way, see `conv/loops.py`
NARROW = 20  # columns of the widened image: from here on it is cut by rows, as the stem's block always is
CACHEFUL = 1 << 19  # bytes of the ring of rows, for one core
FEW = 160  # pixels: so many and no more are gathered from several small images into one product


Call = partial[None]


class Block(NamedTuple):
    """A depthwise convolution, what comes before it and what comes after: folded, so each with a bias."""

    source: int  # what comes before: loops.EXPAND, STEM, or COPY for nothing
    stem_stride: int
    stem_padding: Padding
    we: Array  # (C, E), of the stem (9*C, E)
    be: Array  # (E,)
    stride: int
    padding: Padding
    wd: Array  # (3, 3, E)
    bd: Array  # (E,)
    wp: Array  # (E, M)
    bp: Array  # (M,)
    shortcut: bool  # add x at the end: V2
    clip: bool  # ReLU6 at the end: V1


class Sizes(NamedTuple):
    """The sizes of a block for one size of input."""

    N: int
    H: int  # of the widened image
    W: int
    OH: int  # of the output
    OW: int
    corner: tuple[int, int]  # rows and columns of zeros above and left of the widened image
    columns: int  # of the widened image and the zeros beside it
    stem_corner: tuple[int, int]  # the same as `corner` for the stem


class Rows(NamedTuple):
    """A block cut into bands of rows. All but `band` follows from the shape; so do the bits."""

    sizes: Sizes
    pieces: int  # of the wide channels
    step: int  # rows of the output at a time
    band: int  # rows of the output in a task
    out: tuple[int, int, int, int]  # (N, OH, OW, M)
    rooms: dict[str, tuple[int, ...]]  # shapes of what the loops work in, one plane a thread


class Channels(NamedTuple):
    """A block cut by its wide channels. All but `each` follows from the shape; so do the bits."""

    sizes: Sizes
    pieces: int  # of the wide channels
    images: int  # in a task
    group: int  # rows of the images in a product
    step: int  # rows of the output in a product
    each: int  # pieces in a task: all of them, or one
    out: tuple[int, int, int, int]
    rooms: dict[str, tuple[int, ...]]


def block(convs: Sequence[Any], shortcut: bool) -> Block:
    """Read a block from its folded convolutions, `folding.FoldedConv`: [what comes before,] depthwise, pointwise."""
    before, dw, last = convs if len(convs) == 3 else (None, *convs)
    E = dw.bias.size
    common = {"stride": dw.stride, "padding": dw.padding, "wd": dw.w, "bd": dw.bias, "wp": last.w, "bp": last.bias}
    common |= {"shortcut": shortcut, "clip": last.relu6}
    if before is None:
        nothing = np.zeros((1, E), dw.w.dtype)
        return Block(loops.COPY, 1, 0, nothing, nothing[0], **common)
    if before.kind == "standard":
        return Block(loops.STEM, before.stride, before.padding, before.w.reshape(-1, E), before.bias, **common)
    return Block(loops.EXPAND, 1, 0, before.w, before.bias, **common)


def sizes_of(block: Block, shape: tuple[int, ...]) -> Sizes:
    """What follows from the shape (N, H, W) of the block's input."""
    (N, H, W), stem_corner = shape, (0, 0)
    if block.source == loops.STEM:
        stem = geometry_of(H, W, 3, 3, block.stem_stride, block.stem_padding, 1)
        (H, W), stem_corner = (stem.OH, stem.OW), (stem.pads[0][0], stem.pads[1][0])
    depthwise = geometry_of(H, W, 3, 3, block.stride, block.padding, 1)
    (top, _), (left, right) = depthwise.pads
    OH, OW = depthwise.OH, depthwise.OW
    columns = max(left + W + right, block.stride * (OW - 1) + 3)
    return Sizes(N, H, W, OH, OW, (top, left), columns, stem_corner)


def cut(block: Block, shape: tuple[int, ...], threads: int) -> Rows | Channels:
    """Cut a block for images of shape (N, H, W): large ones and the stem's by rows, small ones by their channels.

    docs/fusion.md derives both and measures which is faster where.
    """
    if sizes_of(block, shape).W >= NARROW or block.source == loops.STEM:
        return by_rows(block, shape, threads)
    return by_channels(block, shape, threads)


def by_rows(block: Block, shape: tuple[int, ...], threads: int) -> Rows:
    """Bands of output rows, as many as it takes to give every thread as much of the images.

    A band computes for itself the row or two of the widened image above and below it, which its neighbours compute too.
    Every row of the image is a product of its own, so that the bits do not tell where the bands were cut.
    """
    g, s, (E, M) = sizes_of(block, shape), block.stride, block.wp.shape
    pieces = 1 if block.source == loops.STEM else pieces_of(E, 192)
    e = E // pieces
    row = g.columns * e * block.wp.itemsize  # bytes
    steps = [n for n in ((7, 4, 2) if s == 2 else (4, 2)) if (s * (n - 1) + 3) * row <= CACHEFUL or n == 2]
    half = -(-g.OH // 2)
    step = min(steps, key=lambda n: (-(-half // n) * n, -n))  # what cuts the image into two halves most evenly
    bands = threads // math.gcd(g.N, threads)
    band = -(-g.OH // bands // step) * step
    rooms: dict[str, tuple[int, ...]] = {
        "wide": (threads, s * (step - 1) + 3, g.columns, e),
        "patch": (threads, g.W, block.we.shape[0]) if block.source == loops.STEM else (1, 1, 1),
        "hidden": (threads, step * g.OW, e),
        "narrow": (threads, step * g.OW, M),
    }
    return Rows(g, pieces, step, band, (g.N, g.OH, g.OW, M), rooms)


def by_channels(block: Block, shape: tuple[int, ...], threads: int) -> Channels:
    """Whole images, a piece of the wide channels at a time: the paper's split. Nothing is computed twice.

    If the images cannot be shared evenly, each piece is a task, whose share of the output is kept until all are there.
    The shares are added in the same order either way, so the bits do not tell.
    """
    g, s, (E, M) = sizes_of(block, shape), block.stride, block.wp.shape
    pieces, images = pieces_of(E, 128), images_of(g.N, g.H * g.W)
    e, chunks = E // pieces, g.N // images
    group = even(images * g.H, SMALL // (g.W * block.we.shape[0] * e)) if block.source == loops.EXPAND else images * g.H
    step = even(images * g.OH, SMALL // (g.OW * e * M))
    even_shares = chunks % threads == 0 or 4 * threads < chunks
    each = pieces if even_shares else 1
    rows = max(g.corner[0] + g.H, s * (g.OH - 1) + 3)  # of an image and the zeros above and below it
    rooms: dict[str, tuple[int, ...]] = {
        "wide": (threads, images * rows, g.columns, e),
        "room": (threads, group * g.W, e) if block.source == loops.EXPAND else (1, 1, 1),
        "hidden": (threads, images * g.OH * g.OW, e),
        "narrow": (threads, step * g.OW, M),
    }
    if each < pieces:
        rooms["parts"] = (pieces, g.N, g.OH, g.OW, M)
    return Channels(g, pieces, images, group, step, each, (g.N, g.OH, g.OW, M), rooms)


def images_of(N: int, pixels: int) -> int:
    """How many images share a product: as many as divide N and have at most `FEW` pixels, two tasks left if they can.

    Examples
    --------
    >>> [images_of(8, pixels) for pixels in (9, 36, 49, 196)], images_of(1, 9)
    ([4, 4, 2, 1], 1)
    """
    most = max(1, min(FEW // pixels, N // 2))
    return max(n for n in range(1, most + 1) if N % n == 0)


def bind(block: Block, cut: Rows | Channels, x: Array, out: Array, rooms: dict[str, Array]) -> list[Call]:
    """The calls of kernels that fill `out`. The weights of `block` are in pieces, see `in_pieces`."""
    g, N, stem_rows = cut.sizes, x.shape[0], x.shape[1]
    x = x.reshape(N * stem_rows, *x.shape[2:])
    out = out.reshape(N * g.OH, g.OW, -1)
    weights = block.we, block.be, block.wd, block.bd, block.wp, block.bp
    if isinstance(cut, Rows):
        stem = stem_rows, block.stem_stride, *g.stem_corner
        how = block.shortcut, block.clip, block.stride, *g.corner, g.H, g.OH, cut.step, cut.band
        work = rooms["wide"], rooms["patch"], rooms["hidden"], rooms["narrow"]
        return [partial(loops.by_rows, block.source, x, *stem, *weights, *how, *work, out[None])]
    sizes = *g.corner, g.H, g.OH, cut.images, cut.each, cut.group, cut.step
    flags = block.shortcut, block.clip
    work = rooms["wide"], rooms["room"], rooms["hidden"], rooms["narrow"]
    parts = rooms["parts"].reshape(-1, *out.shape) if "parts" in rooms else out[None]
    calls = [partial(loops.by_channels, block.source, x, *weights, *flags, block.stride, *sizes, *work, parts)]
    if "parts" in rooms:
        calls.append(partial(loops.add_up, parts, block.bp, x, block.shortcut, block.clip, out))
    return calls


def encode(calls: list[Call]) -> Array:
    """Calls as a program for `program.run`, a row each: which kernel, its numbers, addresses, shapes.

    Whoever runs it keeps the arrays. The first array of the first row is the first block's input.
    """
    program = np.zeros((len(calls), NUMBERS + ARRAYS * PLACES), np.int64)
    for row, call in zip(program, calls, strict=True):
        numbers = [int(value) for value in call.args if not isinstance(value, np.ndarray)]
        arrays = [value for value in call.args if isinstance(value, np.ndarray)]
        row[: len(numbers) + 1] = [KERNELS.index(call.func), *numbers]
        for k, array in enumerate(arrays):
            at = NUMBERS + k * PLACES
            row[at : at + array.ndim + 1] = [array.ctypes.data, *array.shape]
    return program


def in_pieces(block: Block, pieces: int) -> Block:
    """The block with its wide channels cut into pieces, each contiguous; a new first axis counts them."""
    return block._replace(
        we=split(block.we, 1, pieces),  # (pieces, C, E)
        be=split(block.be, 0, pieces),  # (pieces, E)
        wd=split(block.wd, 2, pieces),  # (pieces, 3, 3, E)
        bd=split(block.bd, 0, pieces),  # (pieces, E)
        wp=split(block.wp, 0, pieces),  # (pieces, E, M)
    )


def pieces_of(channels: int, most: int) -> int:
    """Into how many equal pieces: the fewest of at most `most` channels, of a multiple of 16 if one divides them.

    An even number is preferred while a piece keeps 64 channels: pieces are tasks, and threads mostly come in twos.

    Examples
    --------
    >>> [channels // pieces_of(channels, 128) for channels in (8, 96, 144, 384, 576, 960)]
    [8, 96, 48, 96, 96, 96]
    """
    fitting = [n for n in range(1, channels + 1) if channels % n == 0 and channels // n <= most]
    whole = [n for n in fitting if channels // n % 16 == 0] or fitting
    return min((n for n in whole if n % 2 == 0 and channels // n >= 64 and whole[0] > 1), default=whole[0])


def even(length: int, most: int) -> int:
    """The length of equal parts (the last may be shorter) of at most `most`.

    Examples
    --------
    >>> even(14, 10), even(14, 14), even(7, 0)
    (7, 14, 1)
    """
    return -(-length // -(-length // max(1, most)))


def split(w: Array, axis: int, pieces: int) -> Array:
    """Cut one axis into equal pieces, each contiguous; a new first axis counts them.

    Examples
    --------
    >>> split(np.arange(8.0).reshape(2, 4), axis=1, pieces=2).tolist()
    [[[0.0, 1.0], [4.0, 5.0]], [[2.0, 3.0], [6.0, 7.0]]]
    """
    shape = w.shape[:axis], w.shape[axis] // pieces, w.shape[axis + 1 :]
    out = empty((pieces, *shape[0], shape[1], *shape[2]), w.dtype)  # begins at a cache line
    out[...] = np.moveaxis(w.reshape(*shape[0], pieces, shape[1], *shape[2]), axis, 0)
    return out
