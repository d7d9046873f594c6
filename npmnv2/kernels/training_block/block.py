"""The inverted residual while it is trained: what Python does around the two compiled calls of `steps`.

That is: whether they can run, how the work is cut, and what is kept in between. What they compute is
`blocks.InvertedResidual` layer by layer, which is the version to read first. The products are
SciPy's BLAS, which compiled code can call.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np

from npmnv2.kernels.arrays import geometry_of, plain
from npmnv2.kernels.batchnorm import loops as batchnorm_loops
from npmnv2.kernels.conv.loops import SMALL
from npmnv2.kernels.inference_block.cutting import pieces_of
from npmnv2.kernels.training_block import steps
from npmnv2.runtime.blas import limit_blas
from npmnv2.shapes import Geometry, Padding
from npmnv2.validate import Array, check_dout


class Cut(NamedTuple):
    """What decides how the work is cut. The bits of a result depend on it, so it may depend on the shape alone."""

    tile: int = 256  # pixels in one product, at most: two or three tiles of a piece lie in the second-level cache
    piece: int = 192  # channels in a piece, at most
    tasks: int = 8  # at least so many, if there are pixels enough (a task of `depthwise` is an image of a piece)
    # Pixels of the batch for each channel of x: from here on y1 is computed anew rather than stored. Not if a piece of
    # it is thinner than x, for in its place the backward stores an array like x for each piece.
    thin: int = 64
    few: int = 192  # pixels: a group of fewer does not pay for the gradients of the weights that it holds for itself


CUT = Cut()
LEAST = 8  # channels in a piece: where the only pieces are thinner, the layers one by one are faster


class Norm(NamedTuple):
    """A batch norm: what it multiplies by and adds, and its epsilon."""

    gamma: Array  # (C,)
    beta: Array  # (C,)
    eps: float


class Statistics(NamedTuple):
    """Of one batch norm's input."""

    shape: tuple[int, ...]  # of that input
    mean: Array  # (C,)
    var: Array  # (C,), biased
    inv_std: Array  # (C,), 1 / sqrt(var + eps)


class Weights(NamedTuple):
    """The convolutions of a block and their batch norms. Without an expansion `we` is None and `norms` has two."""

    we: Array | None  # (C, E)
    wd: Array  # (3, 3, E)
    wp: Array  # (E, M)
    norms: tuple[Norm, ...]


class Gradients(NamedTuple):
    """Of all that `Weights` holds, in the same shapes."""

    we: Array | None
    wd: Array
    wp: Array
    gammas: tuple[Array, ...]
    betas: tuple[Array, ...]


class Shape(NamedTuple):
    """The sizes of a block, and how its work is cut: `shape_of` finds them.

    A piece is some of the wide channels, E of them; a group some of the pixels. A task is what one iteration owns: a
    group of a piece, an image of a piece, or a group of several pieces, whose products it adds up. A tile is the pixels
    in one product. `_in` is said of the expansion, `_out` of the projection.
    """

    N: int
    H: int
    W: int
    C: int
    pieces: int
    E: int
    OH: int
    OW: int
    M: int
    stride: int
    top: int  # rows of zeros above the image
    left: int
    right: int
    expands: int  # 1 or 0
    inside: int  # 1 where y1 is not stored, but made inside of the depthwise kernels
    tile: int  # pixels in a product of thin matrices
    tile_in: int  # pixels in a product with a piece of `we`
    tile_out: int  # and of `wp`
    groups_in: int  # a task is one of so many groups of a piece: of `expand`, forward
    groups_out: int  # of `project`, backward
    groups_thin: int  # of `center_thin`, which knows no pieces
    mixed_in: int  # a task is one of so many groups, of several pieces: of `expand`, backward
    each_in: int  # of so many pieces
    mixed_out: int  # of `project`, forward
    each_out: int
    chunk_in: int  # pixels that a batch norm of the thin ends takes at a time
    chunk_out: int


class BlockCache(NamedTuple):
    """What the backward needs: the outputs of the convolutions and their statistics, nothing normalised or clipped.

    The fields stand in the order in which `steps.backward` takes them.
    """

    shape: Shape
    shortcut: bool
    x: Array  # (1, N*H*W, C); less its mean, where y1 is not stored
    y1: Array  # (pieces, N*H*W, E); the same as `x` where there is no expansion, or where it is not stored
    gram_we: Array  # (C, pieces*E): x.T @ x @ we, of the x above, where y1 is not stored, else empty
    y2: Array  # (pieces, N*OH*OW, E)
    y3: Array  # (N*OH*OW, M)
    we: Array  # (pieces, C, E); of no meaning without an expansion
    wd: Array  # (pieces, 3, 3, E)
    wp: Array  # (pieces, E, M)
    norm1: Array  # (pieces, 3, E): mean, scale and shift, see `forward_loops.normal`
    norm2: Array  # (pieces, 3, E)
    gamma: Array  # (M,), of the last batch norm, as is
    beta: Array  # (M,)
    statistics1: Array  # (3, pieces*E): mean, variance, inv_std of y1; empty without an expansion
    statistics2: Array  # (3, pieces*E)
    statistics3: Array  # (3, M)

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        """Of the batch norms, in the order of `Weights.norms`."""
        s = self.shape
        first = (Statistics((s.N, s.H, s.W, s.pieces * s.E), *self.statistics1),) if s.expands else ()
        second = Statistics((s.N, s.OH, s.OW, s.pieces * s.E), *self.statistics2)
        return *first, second, Statistics((s.N, s.OH, s.OW, s.M), *self.statistics3)


def is_possible(x: Any, weights: Weights, stride: int, padding: Padding, shortcut: bool) -> bool:
    """Whether the kernels take this: a 3x3 kernel at stride 1 or 2, at most two zeros above and left.

    The arrays must have one dtype and shapes that fit together. All else, bad input too, is the business of the layers,
    one by one.
    """
    we, wd, wp, norms = weights
    arrays = [x, wd, wp, *(v for norm in norms for v in norm[:2]), *([] if we is None else [we])]
    if any(type(v) is not np.ndarray for v in arrays) or x.dtype not in (np.float32, np.float64):
        return False
    if x.ndim != 4 or x.size == 0 or wp.ndim != 2 or any(v.dtype != x.dtype for v in arrays):
        return False
    (*_, H, W, C), (wide, M) = x.shape, wp.shape
    if wd.shape != (3, 3, wide) or (wide != C if we is None else we.shape != (C, wide)):
        return False
    lengths = [wide] * (len(norms) - 1) + [M]
    if any(v.shape != (n,) for norm, n in zip(norms, lengths, strict=True) for v in norm[:2]):
        return False
    if not all(isinstance(norm.eps, float) and norm.eps >= 0 for norm in norms):
        return False
    if stride not in (1, 2):
        return False
    try:
        geometry = geometry_of(H, W, 3, 3, stride, padding, 1)
    except ValueError:
        return False
    if shortcut and (H, W, C) != (geometry.OH, geometry.OW, M):
        return False
    if geometry.pads[0][0] > 2 or geometry.pads[1][0] > 2:
        return False
    s = _shape(x, weights, stride, geometry)
    return s.pieces == 1 or s.E >= LEAST


def forward(x: Array, weights: Weights, stride: int, padding: Padding, shortcut: bool) -> tuple[Array, BlockCache]:
    """Expand, filter, project, each with its batch norm; with `shortcut`, + x."""
    x = plain(x)
    s = _shape(x, weights, stride, geometry_of(x.shape[1], x.shape[2], 3, 3, stride, padding, 1))
    norms = [Norm(plain(gamma), plain(beta), float(eps)) for gamma, beta, eps in weights.norms]
    wp = plain(weights.wp).reshape(s.pieces, s.E, s.M)
    wd = plain(weights.wd).reshape(9, -1)
    we = plain(weights.we) if weights.we is not None else wp[0]  # any matrix: compiled code wants one
    with limit_blas(1):
        out, thin, y1, gram_we, y2, y3, wes, wds, norm1, norm2, *statistics = steps.forward(
            x.reshape(-1, s.C), s, shortcut, we, wd, wp, norms[0], norms[-2], norms[-1], numba.get_num_threads()
        )
    gamma, beta, _ = norms[-1]
    cache = BlockCache(s, shortcut, thin, y1, gram_we, y2, y3, wes, wds, wp, norm1, norm2, gamma, beta, *statistics)
    return out.reshape(s.N, s.OH, s.OW, s.M), cache


def backward(dout: Array, cache: BlockCache) -> tuple[Array, Gradients]:
    """dx and the gradient of everything in `Weights`."""
    s = cache.shape
    check_dout(dout, (s.N, s.OH, s.OW, s.M), cache.x, compiled=True)
    with limit_blas(1):
        dx, dwe, dwd, dwp, *norms = steps.backward(plain(dout).reshape(-1, s.M), *cache, numba.get_num_threads())
    if not s.expands:
        dwe, norms = None, norms[2:]
    dx, dwd = dx.reshape(s.N, s.H, s.W, s.C), dwd.reshape(3, 3, -1)
    return dx, Gradients(dwe, dwd, dwp, tuple(norms[::2]), tuple(norms[1::2]))


def _shape(x: Array, weights: Weights, stride: int, geometry: Geometry) -> Shape:
    (top, _), (left, right) = geometry.pads
    sizes = *x.shape, *weights.wp.shape, geometry.OH, geometry.OW
    return shape_of(*sizes, stride, top, left, right, weights.we is not None, CUT)


@lru_cache(maxsize=256)  # a network asks the same few questions at every step
def shape_of(
    N: int, H: int, W: int, C: int, wide: int, M: int, OH: int, OW: int,
    stride: int, top: int, left: int, right: int, expands: bool, cut: Cut,
) -> Shape:  # fmt: skip
    """The shape of a block, cut."""
    pieces = pieces_of(wide, cut.piece) if expands else 1
    E, P_in, P_out = wide // pieces, N * H * W, N * OH * OW

    def tile(rows: int, columns: int) -> int:
        """Pixels in a product with a matrix of this shape."""
        return max(4, min(cut.tile, SMALL // (rows * columns)) // 4 * 4)

    def groups(pixels: int, tasks: int) -> int:
        """Of pixels, for so many tasks, but none too small."""
        return max(1, min(tasks, pixels // cut.few))

    def mixed(pixels: int) -> tuple[int, int]:
        """Groups of pixels, and pieces in a task, where a task adds up the products of its pieces."""
        found = groups(pixels, cut.tasks)
        return found, max(1, min(pieces, pieces * found // cut.tasks))

    of_a_piece = -(-cut.tasks // pieces)
    return Shape(
        N, H, W, C, pieces, E, OH, OW, M, stride, top, left, right,
        int(expands), int(expands and P_in >= cut.thin * C and E >= C), cut.tile, tile(C, E), tile(E, M),
        groups(P_in, of_a_piece), groups(P_out, of_a_piece), groups(P_in, cut.tasks), *mixed(P_in), *mixed(P_out),
        batchnorm_loops.chunk_rows(C), batchnorm_loops.chunk_rows(M),
    )  # fmt: skip
