"""What the kernels that train a block are given and give, as records. Numba takes a NamedTuple for its fields.

The letters in the shapes are those of `npmnv2.kernels`: E channels in a piece, C and M at the narrow ends, P pixels of
the batch.
"""

from typing import NamedTuple

import numpy as np

from npmnv2.kernels.jit import compile_inline
from npmnv2.validate import Array

RING = 8  # rows of an image in the scratch of the depthwise convolution: row y lies in y modulo RING


class Sizes(NamedTuple):
    """The sizes of a block, and what it has."""

    N: int
    H: int
    W: int
    C: int
    pieces: int  # of the wide channels: without an expansion 1
    E: int
    OH: int
    OW: int
    M: int
    K: int  # rows and columns of the depthwise kernel: 3 or 5
    stride: int
    top: int  # rows of zeros above the image
    left: int
    right: int
    expands: bool
    recompute: bool  # y1 is not stored: the depthwise kernels compute rows of it when they need them
    shortcut: bool


class Cut(NamedTuple):
    """How a kernel cuts its work whose tasks own a group of pixels and a share of the pieces."""

    groups: int
    pieces: int  # of a share: a task adds up their products


class Cuts(NamedTuple):
    """How a block cuts its work, kernel by kernel. A number without a comment is that of the groups of pixels."""

    tile: int  # pixels in a product, at most
    expand: int
    expand_backward: Cut
    project: Cut
    project_backward: int
    center: int
    rows_in: int  # pixels that a batch norm takes at a time: of x
    rows_out: int  # of y3


class BatchNorm(NamedTuple):
    """What a batch norm multiplies by and adds, and its epsilon."""

    gamma: Array  # (C,)
    beta: Array  # (C,)
    eps: float


class Weights(NamedTuple):
    """The convolutions of a block, or their gradients. In brackets as the kernels take them, cut into pieces."""

    we: Array | None  # (C, wide), without an expansion None [(pieces, C, E), any such array]
    wd: Array  # (K, K, wide) [(pieces, K, K, E)]
    wp: Array  # (wide, M) [(pieces, E, M)]


class Deferred(NamedTuple):
    """relu6(bn(y)), which is not stored: whoever reads it normalises y on the way, see `forward_loops.normal`."""

    y: Array  # (pieces, P, E)
    norm: Array  # (pieces, 3, E): mean, scale gamma * inv_std, shift beta


class DeferredGradient(NamedTuple):
    """dy, the gradient of y, which is not stored either: see `backward_loops.through_norm`."""

    dz: Array  # the gradient that ReLU6 let through, like y
    y: Array  # (pieces, P, E)
    norm: Array  # (pieces, 4, E): mean, scale, mean_dz = dbeta / P, slope = dgamma * inv_std / P


class Source(NamedTuple):
    """What the depthwise convolution makes relu6(bn(y1)) of. With `recompute` y1 is x @ we, else y1 is stored."""

    norm: Array  # (pieces, 3, E); with `recompute` the mean is 0; without an expansion it changes nothing
    x: Array  # (1, N*H*W, C), less its mean
    we: Array  # (pieces, C, E)
    wt: Array  # (pieces, E, C): we times the scale, transposed, for the backward


class Gradients(NamedTuple):
    """What the backward of a convolution writes."""

    dx: Array  # of its input
    dw: Array  # of its weights, for each group of pixels: (groups*pieces, ...), group g of piece k in g*pieces + k


class DepthwiseGradients(NamedTuple):
    """What the backward of the depthwise convolution writes; a group of pixels is an image."""

    dz1: Array  # (pieces, N*H*W, E); with `recompute` of no pixels, and in its place
    dx: Array  # (pieces, N*H*W, C): dz1[k] @ wt[k]
    dwe: Array  # (N*pieces, C, E): x.T @ dz1
    dw: Array  # (N*pieces, K, K, E)


class BlockCache(NamedTuple):
    """What the backward needs: the outputs of the convolutions and their statistics, nothing normalised or clipped."""

    sizes: Sizes
    cuts: Cuts
    x: Array  # (1, N*H*W, C); with `recompute` less its mean
    h1: Deferred  # with `recompute` of no pixels, and its mean is 0; without an expansion x
    gram_we: Array  # (C, pieces*E): with `recompute` x.T @ x @ we, of the x above
    h2: Deferred
    y3: Array  # (N*OH*OW, M)
    weights: Weights  # in pieces
    last: BatchNorm
    statistics: tuple[Array, Array, Array]  # mean, variance, inv_std of y1, y2, y3, (3, channels); of no y1 (3, 0)


class RowScratch(NamedTuple):
    """Scratch of the depthwise convolution. Where y1 is stored it is here itself, so that nothing is copied."""

    ring: Array  # (threads, RING, columns, E): rows of relu6(bn(y1)) with zeros around; after the last comes the first
    y1: Array  # (threads, K*W, E): rows of it


class RowGradientScratch(NamedTuple):
    """Scratch of its backward. Where y1 is stored both it and dz1 are here themselves."""

    ring: Array  # (threads, RING, columns, E): rows of dy2 with zeros around
    y1: Array  # (threads, W, E): a row of it
    hidden: Array  # (threads, 1, columns, E): a row of relu6(bn(y1)) with zeros beside it
    part: Array  # (threads, 2*K*16): what the taps of a row of the kernel saw
    dz1: Array  # (threads, pixels, E): as many of its rows as fit


class Sums(NamedTuple):
    """Two sums for each channel: of deviations and their squares forward, of dz and dz * (y - mean) backward."""

    center: Array  # (tasks, E): what the deviations are from, forward
    tile: Array  # (tasks, 2, E): of a tile, in the dtype of the arrays
    total: Array  # (tasks, 2, E): of all tiles of the task, in float64


@compile_inline
def new_sums(tasks, y):
    """Sums of 0 for so many tasks, of channels as y has them."""
    E = y.shape[2]
    return Sums(np.zeros((tasks, E), y.dtype), np.zeros((tasks, 2, E), y.dtype), np.zeros((tasks, 2, E)))


@compile_inline
def beside_of(sizes):
    """Columns of zeros that windows see left of dy2."""
    return max(0, (sizes.K - 1 - sizes.left + sizes.stride - 1) // sizes.stride)
