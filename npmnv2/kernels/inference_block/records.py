"""What the kernels of an inference block are given. Numba takes a NamedTuple as an argument, whatever is in it.

The plain version is `engine.folding.FoldedBlock`: expand, depthwise, project (V2); the stem, depthwise, pointwise (the
first two blocks of either network, as one); depthwise, pointwise (the rest of V1)::

    wide   = relu6(x @ we + be)
    hidden = relu6(depthwise(wide, wd) + bd)
    out    = hidden @ wp + bp                            + x, if the block has a shortcut

A panel is the 16 channels of a tile (`tiles.py`). Weights, `wide` and `hidden` lie panel after panel: `wide` is
(panels, images, rows, columns, 16). x and out are (N, H, W, channels) as everywhere, but a pixel has room for whole
panels, with zeros beyond its channels: weights are filled up with zeros, and so make zeros. Beyond the channels of
`wide` and `hidden` lie copies of the last, which the projection multiplies by zero. The kernels see all arrays flat.
Words and letters are those of `kernels/__init__.py`.
"""

from typing import Any, NamedTuple

EXPAND, STEM, COPY = 0, 1, 2  # where a row of `wide` comes from: a 1x1 convolution of x, the stem, x itself


class Weights(NamedTuple):
    """The weights of a block, batch norms folded, panel after panel. E and M are multiples of 16."""

    we: Any  # (E / 16, C, 16), of the stem (E / 16, KH*KW*C, 16)
    be: Any  # (E,)
    wd: Any  # (E / 16, KH*KW, 16)
    bd: Any  # (E,)
    wp: Any  # (pieces, M / 16, E of a piece, 16)
    bp: Any  # (M,)


class Sizes(NamedTuple):
    """What a block computes, and the sizes that follow from those of x."""

    source: int  # EXPAND, STEM or COPY
    C: int  # channels of x,
    room: int  # and values from one of its pixels to the next
    KH: int  # of the depthwise convolution, as the five after it
    KW: int
    stride: int
    H: int  # of the wide image
    W: int
    top: int  # rows and columns of zeros above and left of the wide image
    left: int
    columns: int  # of the wide image with its zeros
    OH: int  # of the output
    OW: int
    shortcut: bool  # add x at the end: V2
    clip: bool  # ReLU6 at the end: V1


class Stem(NamedTuple):
    """The first convolution of the network, where a block begins with it; else zeros."""

    H: int  # of x
    W: int
    KH: int
    KW: int
    stride: int
    top: int
    left: int
    columns: int  # of x with its zeros


class Cut(NamedTuple):
    """How much goes through the three steps at a time. Of these numbers the bits depend on `piece` alone."""

    images: int  # in a task
    band: int  # rows of the output in a task
    rows: int  # of the output at a time; if fewer than OH, then of one image and all channels
    R: int  # rows of the wide image at a time
    piece: int  # panels of the wide channels at a time
    pieces: int  # in a task: all of them, or one


class Scratch(NamedTuple):
    """Memory to work in: a plane for each thread. In a `Bound` the plane of one thread, flat."""

    wide: Any  # (threads, piece, images, R, columns, 16): R rows of the wide image with zeros around it
    stem: Any  # (threads, rows of x, columns of x with zeros, C), what the windows of the stem see; else empty
    hidden: Any  # (threads, piece, images, rows, OW, 16)
    parts: Any  # (groups, N, OH, OW, M), what each group of pieces adds to the output, of all threads; empty if one


class Tables(NamedTuple):
    """Two places for each pixel of the rows of `wide` that are filled at a time, zeros around them not counted."""

    x: Any  # (pixels,): where its window begins in x, or in `Scratch.stem`
    wide: Any  # (pixels,): where it lies in a panel of `wide`


class Bound(NamedTuple):
    """All that a thread needs to run its share of a block, x excepted."""

    weights: Weights
    sizes: Sizes
    stem: Stem
    cut: Cut
    tables: Tables
    scratch: Scratch
    out: Any  # (N, OH, OW, M)
