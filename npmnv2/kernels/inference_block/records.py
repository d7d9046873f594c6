"""What the kernels of an inference block are given. Numba takes a NamedTuple as an argument, whatever is in it.

The plain version is `engine.folding.FoldedBlock`: expand, depthwise, project (V2); the stem, depthwise, pointwise (the
first two blocks of either network, as one); depthwise, pointwise (the rest of V1)::

    wide   = relu6(x @ we + be)
    hidden = relu6(depthwise(wide, wd) + bd)
    out    = hidden @ wp + bp                            + x, if the block has a shortcut

`E` are the channels of `wide` and `hidden`, of one piece where weights are in pieces; letters are those of
`kernels/__init__.py`.
"""

from typing import Any, NamedTuple

from npmnv2.kernels.jit import compile_inline

NATURAL = 0xFFFFFFFF  # `k & NATURAL` is k, and tells the compiler that it is not negative: no index counts from the end
EXPAND, STEM, COPY = 0, 1, 2  # where a row of `wide` comes from: a 1x1 convolution of x, the 3x3 stem, x itself


class Weights(NamedTuple):
    """The weights of a block, batch norms folded: in pieces of E channels, or of one piece, without the first axis."""

    we: Any  # (pieces, C, E), of the stem (1, 9*C, E)
    be: Any  # (pieces, E)
    wd: Any  # (pieces, 3, 3, E)
    bd: Any  # (pieces, E)
    wp: Any  # (pieces, E, M)
    bp: Any  # (M,), always whole


class Sizes(NamedTuple):
    """What a block computes, and the sizes that follow from those of x."""

    source: int  # EXPAND, STEM or COPY
    stride: int  # of the depthwise convolution, as the four after it
    H: int  # of the wide image
    W: int
    top: int  # rows and columns of zeros above and left of the wide image
    left: int
    OH: int  # of the output
    OW: int
    stem_stride: int
    stem_top: int
    stem_left: int
    shortcut: bool  # add x at the end: V2
    clip: bool  # ReLU6 at the end: V1


class Rows(NamedTuple):
    """How `rows.by_rows` cuts. The bits follow from `step`, which follows from the shape alone; so below."""

    step: int  # rows of the output at a time
    band: int  # rows of the output in a task


class Channels(NamedTuple):
    """How `channels.by_channels` cuts. The bits follow from all but `pieces`."""

    images: int  # in a task
    pieces: int  # in a task: all of them, or one
    expand: int  # rows of the images in a product of the expansion
    project: int  # rows of the output in a product of the projection


class Scratch(NamedTuple):
    """What the kernels work in: a plane for each thread; in a `Bound` that of one thread, without the first axis."""

    wide: Any  # (threads, images, R, columns, E), R rows of the wide image with zeros around it
    patch: Any  # (threads, W, 9*C), what the windows of the stem see; else empty
    product: Any  # (threads, rows*W, E), of the expansion by channels; else empty
    hidden: Any  # (threads, pixels, E)
    narrow: Any  # (threads, pixels, M), products of the projection
    parts: Any  # (groups, N*OH, OW, M), what groups of pieces add to the output; of all threads; or empty, of one group


class Bound(NamedTuple):
    """All that a thread needs to run its share of a block, but x."""

    weights: Weights
    sizes: Sizes
    rows: Rows  # how it is cut by rows,
    channels: Channels  # or by channels; the other is all zeros
    scratch: Scratch
    out: Any  # (N, OH, OW, M)


@compile_inline
def of_piece(weights, k):
    """The weights of piece k."""
    return Weights(weights.we[k], weights.be[k], weights.wd[k], weights.bd[k], weights.wp[k], weights.bp)
