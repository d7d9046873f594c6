"""The inverted residual in training, around the two compiled calls of `steps`: if they can run, and the shapes.

The plain version is `nn.blocks.InvertedResidual`, layer by layer.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from npmnv2.kernels.arrays import contiguous, geometry_of
from npmnv2.kernels.tiles import CHANNELS
from npmnv2.kernels.training_block import cutting, steps
from npmnv2.kernels.training_block.records import BatchNorm, BlockCache, Cuts, Sizes, Weights
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_dout


class Block(NamedTuple):
    """A block and its parameters. Without an expansion there is no `weights.we`, and `norms` has two."""

    weights: Weights
    norms: tuple[BatchNorm, ...]
    stride: int
    padding: Padding
    shortcut: bool


class Statistics(NamedTuple):
    """Of one batch norm's input."""

    shape: tuple[int, ...]  # of that input
    mean: Array  # (C,)
    var: Array  # (C,), biased
    inv_std: Array  # (C,), 1 / sqrt(var + eps)


def is_possible(x: Any, block: Block) -> bool:
    """Whether the kernels take this: a 3x3 or 5x5 kernel at stride 1 or 2, fewer zeros above and left than its rows.

    The arrays must have one dtype and shapes that fit together. All else, bad input too, is the business of the layers,
    one by one.
    """
    (we, wd, wp), norms = block.weights, block.norms
    arrays = [x, wd, wp, *(v for norm in norms for v in norm[:2]), *([] if we is None else [we])]
    if any(type(v) is not np.ndarray for v in arrays) or x.dtype not in (np.float32, np.float64):
        return False
    if x.ndim != 4 or x.size == 0 or wp.ndim != 2 or any(v.dtype != x.dtype for v in arrays):
        return False
    (*_, H, W, C), (wide, M) = x.shape, wp.shape
    if wd.shape not in ((3, 3, wide), (5, 5, wide)) or (wide != C if we is None else we.shape != (C, wide)):
        return False
    lengths = [wide] * (len(norms) - 1) + [M]
    if any(v.shape != (n,) for norm, n in zip(norms, lengths, strict=True) for v in norm[:2]):
        return False
    if not all(isinstance(norm.eps, float) and 0 <= norm.eps < math.inf for norm in norms):
        return False
    if block.stride not in (1, 2):
        return False
    try:
        geometry = geometry_of(H, W, len(wd), len(wd), block.stride, block.padding, 1)
    except ValueError:
        return False
    if block.shortcut and (H, W, C) != (geometry.OH, geometry.OW, M):
        return False
    if max(geometry.pads[0][0], geometry.pads[1][0]) >= len(wd):
        return False
    sizes, _ = _cut(x, block)
    return sizes.E >= CHANNELS


def forward(x: Array, block: Block) -> tuple[Array, BlockCache]:
    """Expand, filter, project, each with its batch norm; with a shortcut, + x."""
    x, (we, wd, wp) = contiguous(x), block.weights
    sizes, cuts = _cut(x, block)
    norms = [BatchNorm(contiguous(gamma), contiguous(beta), float(eps)) for gamma, beta, eps in block.norms]
    wp = contiguous(wp).reshape(sizes.pieces, sizes.E, sizes.M)
    wd = contiguous(wd).reshape(-1, wd.shape[2])
    weights = Weights(wp[0] if we is None else contiguous(we), wd, wp)  # compiled code wants a matrix
    out, cache = steps.forward(
        x.reshape(-1, sizes.C), sizes, cuts, weights, (norms[0], norms[-2], norms[-1]), numba.get_num_threads()
    )
    return out.reshape(sizes.N, sizes.OH, sizes.OW, sizes.M), cache


def statistics(cache: BlockCache) -> list[Statistics]:
    """Of the batch norms, in the order of `Block.norms`."""
    s, pixels = cache.sizes, (cache.sizes.OH, cache.sizes.OW)
    images = [(s.H, s.W), pixels, pixels]
    found = [Statistics((s.N, *image, v.shape[1]), *v) for image, v in zip(images, cache.statistics, strict=True)]
    return found if s.expands else found[1:]


def backward(dout: Array, cache: BlockCache) -> tuple[Array, Weights, list[tuple[Array, Array]]]:
    """dx, the gradients of the weights, and (dgamma, dbeta) of the batch norms."""
    s = cache.sizes
    check_dout(dout, (s.N, s.OH, s.OW, s.M), cache.x, compiled=True)
    dx, (dwe, dwd, dwp), norms = steps.backward(contiguous(dout).reshape(-1, s.M), cache, numba.get_num_threads())
    dweights = Weights(dwe if s.expands else None, dwd.reshape(s.K, s.K, -1), dwp)
    return dx.reshape(s.N, s.H, s.W, s.C), dweights, list(norms if s.expands else norms[1:])


def _cut(x: Array, block: Block) -> tuple[Sizes, Cuts]:
    K = len(block.weights.wd)
    geometry = geometry_of(x.shape[1], x.shape[2], K, K, block.stride, block.padding, 1)
    expands = block.weights.we is not None
    return cutting.cut(x.shape, (*block.weights.wp.shape, K), geometry, expands, block.shortcut, cutting.TUNING)
