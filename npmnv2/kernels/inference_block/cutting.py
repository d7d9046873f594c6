"""How an inference block is cut into pieces, bands and tasks, and the calls of its kernels.

The plain version is `engine.folding.FoldedBlock`, which cuts nothing. docs/fusion.md derives both ways to cut and
measures which is faster where.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.kernels.arrays import empty, geometry_of
from npmnv2.kernels.inference_block.blocks import Blocks
from npmnv2.kernels.inference_block.records import COPY, EXPAND, STEM, Bound, Channels, Rows, Scratch, Sizes, Weights
from npmnv2.shapes import Padding
from npmnv2.validate import Array

SMALL = 1_000_000  # multiply-adds in one product: OpenBLAS's own limit for a faster way, see `conv/loops.py`
NARROW = 20  # columns of the wide image: from here on it is cut by rows, as the stem's block always is
RING = 1 << 19  # bytes of the ring of rows, for one core
FEW = 160  # pixels: so many and no more are gathered from several small images into one product


class Block(NamedTuple):
    """A depthwise convolution, what comes before it and what comes after: folded, so each with a bias."""

    source: int  # what comes before: EXPAND, STEM, or COPY for nothing
    stem_stride: int
    stem_padding: Padding
    stride: int
    padding: Padding
    shortcut: bool  # add x at the end: V2
    clip: bool  # ReLU6 at the end: V1
    weights: Weights  # of one piece; as `in_pieces` cuts them for a `Cut`


class Cut(NamedTuple):
    """A block cut for one size of input and number of threads."""

    sizes: Sizes
    way: Rows | Channels
    pieces: int  # of the wide channels
    out: tuple[int, int, int, int]  # (N, OH, OW, M)
    scratch: Scratch  # of shapes


def block(convs: Sequence[Any], shortcut: bool) -> Block:
    """Read a block from its folded convolutions, `folding.FoldedConv`: [what comes before,] depthwise, pointwise."""
    before, dw, last = convs if len(convs) == 3 else (None, *convs)
    E = dw.bias.size
    source, stem_stride, stem_padding = COPY, 1, 0
    we, be = np.zeros((1, E), dw.w.dtype), np.zeros(E, dw.w.dtype)
    if before is not None:
        source, we, be = EXPAND, before.w, before.bias
        if before.kind == "standard":
            source, stem_stride, stem_padding, we = STEM, before.stride, before.padding, before.w.reshape(-1, E)
    weights = Weights(we, be, dw.w, dw.bias, last.w, last.bias)
    return Block(source, stem_stride, stem_padding, dw.stride, dw.padding, shortcut, last.relu6, weights)


def sizes_of(block: Block, shape: tuple[int, ...]) -> tuple[Sizes, int]:
    """What follows from the shape (N, H, W) of the block's input; the columns of the wide image with its zeros."""
    (_, H, W), stem_top, stem_left = shape, 0, 0
    if block.source == STEM:
        stem = geometry_of(H, W, 3, 3, block.stem_stride, block.stem_padding, 1)
        H, W, ((stem_top, _), (stem_left, _)) = stem.OH, stem.OW, stem.pads
    g = geometry_of(H, W, 3, 3, block.stride, block.padding, 1)
    (top, _), (left, right) = g.pads
    sizes = Sizes(
        block.source, block.stride, H, W, top, left, g.OH, g.OW, block.stem_stride, stem_top, stem_left,
        block.shortcut, block.clip
    )  # fmt: skip
    return sizes, max(left + W + right, block.stride * (g.OW - 1) + 3)


def cut(block: Block, shape: tuple[int, ...], threads: int) -> Cut:
    """Cut a block for images of shape (N, H, W): large ones and the stem's by rows, small ones by their channels."""
    if sizes_of(block, shape)[0].W >= NARROW or block.source == STEM:
        return cut_by_rows(block, shape, threads)
    return cut_by_channels(block, shape, threads)


def cut_by_rows(block: Block, shape: tuple[int, ...], threads: int) -> Cut:
    """Bands of output rows, as many as it takes to give every thread as much of the images.

    A band computes for itself the row or two of the wide image above and below it, which its neighbours compute too.
    """
    (sizes, columns), s, E = sizes_of(block, shape), block.stride, len(block.weights.bd)
    pieces = 1 if block.source == STEM else pieces_of(E, 192)
    row = columns * (E // pieces) * block.weights.wp.itemsize  # bytes
    steps = [n for n in ((7, 4, 2) if s == 2 else (4, 2)) if (s * (n - 1) + 3) * row <= RING or n == 2]
    half = -(-sizes.OH // 2)
    step = min(steps, key=lambda n: (-(-half // n) * n, -n))  # what cuts the image into two halves most evenly
    bands = threads // math.gcd(shape[0], threads)
    return cut_as(block, shape, threads, pieces, Rows(step, band=-(-sizes.OH // bands // step) * step))


def cut_by_channels(block: Block, shape: tuple[int, ...], threads: int) -> Cut:
    """Whole images, a piece of the wide channels at a time: the paper's split. Nothing is computed twice.

    If the images cannot be shared evenly, each piece is a task, whose part of the output is kept until all are there.
    """
    (sizes, _), (E, M) = sizes_of(block, shape), block.weights.wp.shape
    pieces, images = pieces_of(E, 128), images_of(shape[0], sizes.H * sizes.W)
    e, chunks = E // pieces, shape[0] // images
    most = SMALL // (sizes.W * len(block.weights.we) * e) if block.source == EXPAND else images * sizes.H
    each = pieces if chunks % threads == 0 or 4 * threads < chunks else 1
    expand, project = even(images * sizes.H, most), even(images * sizes.OH, SMALL // (sizes.OW * e * M))
    return cut_as(block, shape, threads, pieces, Channels(images, each, expand, project))


def cut_as(block: Block, shape: tuple[int, ...], threads: int, pieces: int, way: Rows | Channels) -> Cut:
    """A block cut so, with the shapes of what its kernel works in."""
    (sizes, columns), N, (E, M) = sizes_of(block, shape), shape[0], block.weights.wp.shape
    OH, OW, e = sizes.OH, sizes.OW, E // pieces
    patch = product = (threads, 0, 0)
    parts = 1, 0, 0, 0
    if isinstance(way, Rows):
        images, R, filtered, projected = 1, sizes.stride * (way.step - 1) + 3, way.step, way.step
        if block.source == STEM:
            patch = threads, sizes.W, len(block.weights.we)
    else:
        images, R = way.images, max(sizes.top + sizes.H, sizes.stride * (OH - 1) + 3)
        filtered, projected = images * OH, way.project
        if block.source == EXPAND:
            product = threads, way.expand * sizes.W, e
        if way.pieces < pieces:
            parts = -(-pieces // way.pieces), N * OH, OW, M
    wide, hidden, narrow = (threads, images, R, columns, e), (threads, filtered * OW, e), (threads, projected * OW, M)
    return Cut(sizes, way, pieces, (N, OH, OW, M), Scratch(wide, patch, product, hidden, narrow, parts))


def images_of(N: int, pixels: int) -> int:
    """How many images share a product: as many as divide N and have at most `FEW` pixels, two tasks left if they can.

    Examples
    --------
    >>> [images_of(8, pixels) for pixels in (9, 36, 49, 196)], images_of(1, 9)
    ([4, 4, 2, 1], 1)
    """
    most = max(1, min(FEW // pixels, N // 2))
    return max(n for n in range(1, most + 1) if N % n == 0)


def bind(block: Block, cut: Cut, out: Array, scratch: Scratch) -> Blocks:
    """What fills `out` from x. The weights of `block` are in pieces, see `in_pieces`."""
    way = cut.way
    rows, channels = (way, Channels(0, 0, 0, 0)) if isinstance(way, Rows) else (Rows(0, 0), way)
    planes = [Scratch._make([*values, scratch.parts]) for values in zip(*scratch[:-1], strict=True)]
    return Blocks([Bound(block.weights, cut.sizes, rows, channels, plane, out) for plane in planes], len(planes))


def in_pieces(block: Block, pieces: int) -> Block:
    """The block with its wide channels cut into pieces, each contiguous; a new first axis counts them."""
    w = block.weights
    we, be, wd, bd, wp = (split(v, axis, pieces) for v, axis in zip(w[:-1], (1, 0, 2, 0, 0), strict=True))
    return block._replace(weights=Weights(we, be, wd, bd, wp, w.bp))


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
