"""The first step of an inference block: rows of `wide`, a panel at a time, and the zeros around them.

The plain version is the first convolution of `engine.folding.FoldedBlock`, with bias and ReLU6; in a block without one
`wide` is x.
"""

from typing import NamedTuple

from npmnv2.kernels.inference_block.records import COPY, STEM
from npmnv2.kernels.inference_block.window import Window, with_bias
from npmnv2.kernels.jit import compile_scalar
from npmnv2.kernels.rows import copy_rows
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import CHANNELS, FEW, PIXELS, add, clip, places, put, zeros


class Span(NamedTuple):
    """Rows of the wide image; those above and below the image are zeros."""

    first: int  # the number, in the image, of the topmost row in `wide`
    begin: int  # the first to be filled
    end: int  # the first below them


@compile_scalar
def _expand(x, offset, b, panel, pixels, to):
    """Fill so many pixels of a panel, from wide[to] on. What the first of them sees begins at x[offset]."""
    sizes, x_at, wide_at, wide, we, be = b.sizes, b.tables.x, b.tables.wide, b.scratch.wide, b.weights.we, b.weights.be
    window = Window(1, sizes.C, 0)
    if sizes.source == STEM:
        window = Window(b.stem.KH, b.stem.KW * sizes.C, b.stem.columns * sizes.C)
    m, last = panel * CHANNELS, pixels - 1
    if sizes.source == COPY:
        for p in range(0, pixels, PIXELS):
            at = places(p, last, x_at, PIXELS)
            put(add(zeros(x, at, CHANNELS), x, at, offset + m), wide, places(p, last, wide_at, PIXELS), to)
        return
    for p in range(0, pixels, PIXELS):
        if pixels - p > FEW:
            tile = with_bias(x, places(p, last, x_at, PIXELS), offset, window, we, be, m)
            put(clip(tile), wide, places(p, last, wide_at, PIXELS), to)
        else:
            few = with_bias(x, places(p, last, x_at, FEW), offset, window, we, be, m)
            put(clip(few), wide, places(p, last, wide_at, FEW), to)


@compile_scalar
def clear_columns(b, panels):
    """Zeros left and right of every row of the wide image."""
    sizes, wide = b.sizes, b.scratch.wide
    for row in range(panels * b.cut.images * b.cut.R):
        for c in range(sizes.columns):
            if c < sizes.left or c >= sizes.left + sizes.W:
                pixel = ((row * sizes.columns + c) * CHANNELS) & NATURAL
                for e in range(CHANNELS):
                    wide[pixel + e] = 0


@compile_scalar
def _clear_rows(b, panels, span):
    """Zeros in those rows of the wide image that lie outside of it."""
    sizes, wide, length = b.sizes, b.scratch.wide, b.sizes.columns * CHANNELS
    for y in range(span.begin, span.end):
        if y < 0 or y >= sizes.H:
            for plane in range(panels * b.cut.images):
                row = ((plane * b.cut.R + y - span.first) * length) & NATURAL
                for v in range(length):
                    wide[row + v] = 0


@compile_scalar
def keep_rows(b, panels, rows, by):
    """Move so many rows of each panel of the wide image up by `by` rows, to the top."""
    wide, length = b.scratch.wide, b.sizes.columns * CHANNELS
    pixels = rows * b.sizes.columns
    for k in range(panels):
        top = k * b.cut.R * length
        for p in range(0, pixels, PIXELS):
            at = places(p, pixels - 1, CHANNELS, PIXELS)
            put(add(zeros(wide, at, CHANNELS), wide, at, top + by * length), wide, at, top)


@compile_scalar
def fill(x, n, b, k, span, images):
    """Fill rows of the wide image with those of so many images, in the panels of piece k."""
    sizes, cut = b.sizes, b.cut
    panels = min(cut.piece, len(b.weights.bd) // CHANNELS - k * cut.piece)
    _clear_rows(b, panels, span)
    begin, end = max(span.begin, 0), min(span.end, sizes.H)
    pixels = images * (end - begin) * sizes.W  # of several images all rows, so that they lie in a row
    source, offset = x, (n * sizes.H + begin) * sizes.W * sizes.room
    if sizes.source == STEM:
        stem = b.stem
        seen = stem.stride * begin - stem.top, stem.stride * (end - begin - 1) + stem.KH
        copy_rows(x, n, (stem.H, stem.W, sizes.C), seen, stem.left, stem.columns, b.scratch.stem, 0)
        source, offset = b.scratch.stem, 0
    for q in range(panels):
        to = (q * cut.images * cut.R + begin - span.first) * sizes.columns * CHANNELS
        _expand(source, offset, b, k * cut.piece + q, pixels, to)
