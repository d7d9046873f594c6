"""What the kernels of an inference block are given. Numba takes a NamedTuple as an argument, whatever is in it.

The plain version is `engine.folding.FoldedBlock`: expand, depthwise, project (V2); the stem, depthwise, pointwise (the
first two blocks of either network, as one); depthwise, pointwise (the rest of V1)::

    wide   = relu6(x @ we + be)
    hidden = relu6(depthwise(wide, wd) + bd)
    out    = hidden @ wp + bp                            + x, if the block has a shortcut

A panel is 16 channels, those of a tile (`tiles.py`). Weights, `wide` and `hidden` lie panel after panel, each panel
contiguous: `wide` is (panels, images, rows, columns, 16). x and out are images as everywhere, (N, H, W, channels), but
that a pixel has room for whole panels; what is beyond its channels is zero. Channels are filled up with weights of
zero. All arrays are flat; letters are those of `kernels/__init__.py`.
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
    """What goes through the three steps at a time. The bits follow from `piece` alone."""

    images: int  # in a task
    band: int  # rows of the output in a task
    rows: int  # of the output at a time; fewer than OH only with one image and one piece
    R: int  # rows of the wide image at a time
    piece: int  # panels of the wide channels at a time
    pieces: int  # in a task: all of them, or one


class Scratch(NamedTuple):
    """What the kernels work in: a plane for each thread; in a `Bound` that of one thread, flat."""

    wide: Any  # (threads, piece, images, R, columns, 16): R rows of the wide image with zeros around it
    stem: Any  # (threads, rows of x, columns of x with zeros, C), what the windows of the stem see; else empty
    hidden: Any  # (threads, piece, images, rows, OW, 16)
    parts: (
        Any  # (groups, N, OH, OW, M), what groups of pieces add to the output; of all threads; or empty, of one group
    )


class Tables(NamedTuple):
    """Where the pixels of some rows of the wide image lie, one after the other, without the zeros."""

    x: Any  # (images * R * W,): the window that each sees in x, or in `Scratch.stem`
    wide: Any  # likewise: its place in a panel of `wide`


class Bound(NamedTuple):
    """All that a thread needs to run its share of a block, but x."""

    weights: Weights
    sizes: Sizes
    stem: Stem
    cut: Cut
    tables: Tables
    scratch: Scratch
    out: Any  # (N, OH, OW, M)
