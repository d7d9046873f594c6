"""How an inference block is cut into pieces, rows and tasks, and its weights into panels.

The plain version is `engine.folding.FoldedBlock`, which cuts nothing. docs/fusion.md derives both ways to cut, and says
which suits which images; the numbers that decide are in `kernels/tuning.py`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.kernels.arrays import empty, geometry_of
from npmnv2.kernels.inference_block.blocks import Blocks
from npmnv2.kernels.inference_block.records import COPY, EXPAND, STEM, Bound, Cut, Scratch, Sizes, Stem, Tables, Weights
from npmnv2.kernels.tiles import CHANNELS
from npmnv2.kernels.tuning import TUNING
from npmnv2.shapes import Padding
from npmnv2.validate import Array

NO_STEM = Stem(0, 0, 0, 0, 1, 0, 0, 0)


class Block(NamedTuple):
    """A depthwise convolution, what comes before it and what comes after: folded, so each with a bias."""

    source: int  # what comes before: EXPAND, STEM, or COPY for nothing
    C: int  # channels of x
    stem_kernel: tuple[int, int]
    stem_stride: int
    stem_padding: Padding
    kernel: tuple[int, int]  # of the depthwise convolution, as the two after it
    stride: int
    padding: Padding
    shortcut: bool  # add x at the end: V2
    clip: bool  # ReLU6 at the end: V1
    weights: Weights  # matrices and vectors as they are; as `packed` arranges them for a `Cut`


class Planned(NamedTuple):
    """A block cut for one size of input and number of threads."""

    sizes: Sizes
    stem: Stem
    cut: Cut
    out: tuple[int, int, int, int]  # (N, OH, OW, M)
    scratch: Scratch  # of shapes


def block_of(convs: Sequence[Any], shortcut: bool) -> Block:
    """Read a block from its folded convolutions, `folding.FoldedConv`: [what comes before,] depthwise, pointwise."""
    before, dw, last = convs if len(convs) == 3 else (None, *convs)
    KH, KW, E = dw.w.shape
    source, C, stem = COPY, E, ((0, 0), 1, 0)
    we, be = np.zeros((0, E), dw.w.dtype), np.zeros(E, dw.w.dtype)
    if before is not None:
        source, C, we, be = EXPAND, before.w.shape[-2], before.w.reshape(-1, E), before.bias
        if before.kind == "standard":
            source, stem = STEM, (before.w.shape[:2], before.stride, before.padding)
    weights = Weights(we, be, dw.w.reshape(-1, E), dw.bias, last.w, last.bias)
    return Block(source, C, *stem, (KH, KW), dw.stride, dw.padding, shortcut, last.relu6, weights)


def sizes_of(block: Block, shape: tuple[int, ...]) -> tuple[Sizes, Stem]:
    """What follows from the shape of the block's input, (N, H, W, room)."""
    (_, H, W, room), stem = shape, NO_STEM
    if block.source == STEM:
        (KH, KW), s = block.stem_kernel, block.stem_stride
        g = geometry_of(H, W, KH, KW, s, block.stem_padding, 1)
        (top, _), (left, right) = g.pads
        stem = Stem(H, W, KH, KW, s, top, left, max(left + W + right, s * (g.OW - 1) + KW))
        H, W = g.OH, g.OW
    (KH, KW), s = block.kernel, block.stride
    g = geometry_of(H, W, KH, KW, s, block.padding, 1)
    (top, _), (left, right) = g.pads
    columns = max(left + W + right, s * (g.OW - 1) + KW)
    sizes = Sizes(
        block.source, block.C, room, KH, KW, s, H, W, top, left, columns, g.OH, g.OW, block.shortcut, block.clip
    )  # fmt: skip
    return sizes, stem


def plan(block: Block, shape: tuple[int, ...], threads: int) -> Planned:
    """Cut a block for images of shape (N, H, W, room): large ones and the stem's by rows, small ones by channels."""
    by_rows = TUNING.rows_from <= sizes_of(block, shape)[0].W or block.source == STEM
    return plan_as(block, shape, threads, (cut_by_rows if by_rows else cut_by_channels)(block, shape, threads))


def cut_by_rows(block: Block, shape: tuple[int, ...], threads: int) -> Cut:
    """Bands of output rows, as many as it takes to give every thread as much of the images.

    A band computes for itself the rows of the wide image above and below it that its neighbours compute too. As many
    of its rows at a time as the cache of a core holds.
    """
    (sizes, _), E = sizes_of(block, shape), whole(block.weights.bd.size)
    bands = threads // math.gcd(shape[0], threads)
    band = -(-sizes.OH // bands)
    row = (sizes.stride * sizes.columns + sizes.OW) * E * block.weights.bd.itemsize
    fixed = (sizes.KH - sizes.stride) * sizes.columns * E * block.weights.bd.itemsize
    rows = equal_length(band, (TUNING.cache - fixed) // row)
    return Cut(1, band, rows, rows_of_wide(sizes, rows), E // CHANNELS, 1)


def cut_by_channels(block: Block, shape: tuple[int, ...], threads: int) -> Cut:
    """Whole images, a piece of the wide channels at a time: the paper's split. Nothing is computed twice.

    If the images cannot be shared evenly, and are not so many that an uneven share costs little, each piece is a task,
    whose part of the output is kept until all are there.
    """
    (sizes, _), panels = sizes_of(block, shape), whole(block.weights.bd.size) // CHANNELS
    images, piece = images_of(shape[0], sizes.H * sizes.W, threads), piece_of(panels)
    chunks, pieces = -(-shape[0] // images), -(-panels // piece)
    each = pieces if chunks % threads == 0 or 4 * threads < chunks else 1
    return Cut(images, sizes.OH, sizes.OH, rows_of_wide(sizes, sizes.OH), piece, each)


def packed(block: Block, piece: int) -> Block:
    """The block with its weights filled up and in panels; those of the projection piece after piece."""
    we, be, wd, bd, wp, bp = block.weights
    we, be, wd, bd = (extended(w) for w in (we, be, wd, bd))
    wp, rows = filled_up(wp, 0), piece * CHANNELS
    pieces = [in_panels(wp[k : k + rows]).reshape(-1) for k in range(0, len(wp), rows)]
    return block._replace(
        weights=Weights(
            in_panels(we), filled_up(be), in_panels(wd), filled_up(bd), filled_up(np.concatenate(pieces)), filled_up(bp)
        )
    )


def rows_of_wide(sizes: Sizes, rows: int) -> int:
    """Rows of the wide image that so many rows of the output see. All rows of the output see all there are."""
    seen = sizes.stride * (rows - 1) + sizes.KH
    return max(sizes.top + sizes.H, seen) if rows == sizes.OH else seen


def plan_as(block: Block, shape: tuple[int, ...], threads: int, cut: Cut) -> Planned:
    """A block cut so, with the shapes of what its kernel works in."""
    (sizes, stem), N, M = sizes_of(block, shape), shape[0], whole(block.weights.bp.size)
    panels = whole(block.weights.bd.size) // CHANNELS
    groups = -(-panels // cut.piece // cut.pieces) if cut.pieces * cut.piece < panels else 0
    out = N, sizes.OH, sizes.OW, M
    scratch = Scratch(
        wide=(threads, cut.piece, cut.images, cut.R, sizes.columns, CHANNELS),
        stem=(threads, stem.stride * (cut.R - 1) + stem.KH if stem.KH else 0, stem.columns, block.C),
        hidden=(threads, cut.piece, cut.images, cut.rows, sizes.OW, CHANNELS),
        parts=(groups, *out),
    )
    return Planned(sizes, stem, cut, out, scratch)


def bind(block: Block, planned: Planned, out: Array, scratch: Scratch) -> Blocks:
    """What fills `out` from x."""
    weights, parts = Weights._make(w.reshape(-1) for w in block.weights), scratch.parts.reshape(-1)
    tables = tables_of(planned)
    planes = [Scratch._make([*(v.reshape(-1) for v in values), parts]) for values in zip(*scratch[:-1], strict=True)]
    bound = [
        Bound(weights, planned.sizes, planned.stem, planned.cut, tables, plane, out.reshape(-1)) for plane in planes
    ]
    return Blocks(bound, len(planes))


def tables_of(planned: Planned) -> Tables:
    """The places of the pixels of all rows that are filled at a time."""
    sizes, stem, cut = planned.sizes, planned.stem, planned.cut
    rows = sizes.H if cut.rows == sizes.OH else min(cut.R, sizes.H)
    image, row, column = (v.reshape(-1) for v in np.indices((cut.images, rows, sizes.W)))
    wide = ((image * cut.R + row) * sizes.columns + sizes.left + column) * CHANNELS
    x = ((image * rows + row) * sizes.W + column) * sizes.room
    if sizes.source == STEM:
        x = (row * stem.columns + column) * stem.stride * sizes.C
    return Tables(x, wide)


def images_of(N: int, pixels: int, threads: int) -> int:
    """How many images go together: at most `TUNING.gather` pixels, and no more than each thread's share of the images.

    >>> [images_of(8, pixels, threads=1) for pixels in (9, 36, 49, 196)], images_of(8, 9, threads=3)
    ([8, 4, 3, 1], 3)
    """
    return max(1, min(TUNING.gather // pixels, -(-N // threads)))


def piece_of(panels: int) -> int:
    """Panels in a piece: few pieces, none larger than `TUNING.piece`, preferably an even number, for pairs of threads.

    >>> [piece_of(panels) for panels in (1, 6, 9, 24, 36, 60)]
    [1, 6, 5, 6, 6, 8]
    """
    most = TUNING.piece // CHANNELS
    pieces = -(-panels // most)
    if pieces > 1 and pieces % 2 == 1 and panels // (pieces + 1) >= most // 2:
        pieces += 1
    return -(-panels // pieces)


def equal_length(length: int, most: int) -> int:
    """The length of equal parts (the last may be shorter) of at most `most`.

    >>> equal_length(14, 10), equal_length(14, 14), equal_length(7, 0)
    (7, 14, 1)
    """
    return -(-length // -(-length // max(1, most)))


def filled_up(w: Array, axis: int = -1) -> Array:
    """A copy with zeros along one axis up to whole panels. It begins at a cache line.

    >>> filled_up(np.ones(3)).shape, filled_up(np.ones((17, 3)), axis=0).shape
    ((16,), (32, 3))
    """
    shape = list(w.shape)
    shape[axis] = whole(shape[axis])
    out = empty(tuple(shape), w.dtype)
    out[...] = 0
    out[tuple(slice(n) for n in w.shape)] = w
    return out


def extended(w: Array) -> Array:
    """With the last channel again and again up to whole panels: weights of zero would make NaN of an infinite x.

    >>> extended(np.arange(3.0))[:6].tolist(), extended(np.ones((5, 24))).shape
    ([0.0, 1.0, 2.0, 2.0, 2.0, 2.0], (5, 32))
    """
    return w[..., np.minimum(np.arange(whole(w.shape[-1])), w.shape[-1] - 1)]


def whole(channels: int) -> int:
    """Channels of whole panels.

    >>> whole(16), whole(24)
    (16, 32)
    """
    return -(-channels // CHANNELS) * CHANNELS


def in_panels(w: Array) -> Array:
    """A matrix (C, M) as (panels, C, 16): its columns 16 at a time, the last filled up with zeros.

    >>> in_panels(np.ones((5, 24))).shape
    (2, 5, 16)
    """
    w = filled_up(w)
    out = empty((w.shape[1] // CHANNELS, len(w), CHANNELS), w.dtype)
    out[...] = w.reshape(len(w), len(out), CHANNELS).transpose(1, 0, 2)
    return out
