"""The inverted residual while it is trained: the calls of `deferred_loops` and `deferred_backward_loops`.

What they compute is `blocks.InvertedResidual` layer by layer, which is the version to read first. These kernels need
SciPy, whose BLAS compiled code can call.
"""

from typing import NamedTuple

import numba
import numpy as np

from npmnv2.blas import limit_blas
from npmnv2.kernels import batchnorm_loops
from npmnv2.kernels import deferred_backward_loops as backward_loops
from npmnv2.kernels import deferred_loops as loops
from npmnv2.kernels.fused import pieces_of, split
from npmnv2.kernels.wrapping import empty, geometry_of, has_scipy, plain
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_dout

SMALL = 1_000_000  # multiply-adds in one product: OpenBLAS's own limit for a faster way, see `conv_loops`
TILE = 256  # pixels in one product, at most: two or three tiles of a piece lie in the second-level cache
PIECE = 144  # channels in a piece, at most
TASKS = 8  # there are at least so many, if there are pixels and channels enough; of `depthwise` an image is the least
THIN = 64  # pixels of the batch for each channel of x: from here on y1 is computed anew rather than stored
FEW = 192  # pixels: a group of fewer does not pay for the gradients of the weights that it holds for itself


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
    """The sizes of a block. E is the channels of one of the `pieces` into which the wide channels are cut."""

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


class BlockCache(NamedTuple):
    """What the backward needs: the outputs of the convolutions and their statistics, nothing normalised or clipped."""

    shape: Shape
    shortcut: bool
    x: Array  # (1, N*H*W, C); less its mean, where y1 is not stored
    y1: Array  # (pieces, N*H*W, E); the same as `x` where there is no expansion, or where it is not stored
    gram: Array | None  # (C, pieces*E): x.T @ x @ we, where y1 is not stored, else None
    y2: Array  # (pieces, N*OH*OW, E)
    y3: Array  # (N*OH*OW, M)
    we: Array | None  # (pieces, C, E)
    wd: Array  # (pieces, 3, 3, E)
    wp: Array  # (pieces, E, M)
    gamma: Array  # (M,), of the last batch norm, as is
    beta: Array  # (M,)
    norm1: Array  # (pieces, 3, E): mean, scale and shift, see `deferred_loops._normal`
    norm2: Array  # (pieces, 3, E)
    statistics: tuple[Statistics, ...]  # of the batch norms, in the order of `Weights.norms`


def is_possible(x: object, weights: Weights, stride: int, padding: Padding, shortcut: bool) -> bool:
    """Whether the kernels take this: a 3x3 kernel at stride 1 or 2, at most two zeros above and left, and SciPy.

    All else, bad input too, is the business of the layers, one by one.
    """
    if type(x) is not np.ndarray or x.ndim != 4 or x.size == 0 or x.dtype not in (np.float32, np.float64):
        return False
    we, wd, wp, norms = weights
    arrays = [wd, wp, *(v for norm in norms for v in norm[:2]), *([] if we is None else [we])]
    channels = wd.shape[2] if we is None else we.shape[0]
    if x.shape[3] != channels or any(w.dtype != x.dtype for w in arrays):
        return False
    if wd.shape[:2] != (3, 3) or stride not in (1, 2) or not has_scipy():
        return False
    try:
        geometry = geometry_of(x.shape[1], x.shape[2], 3, 3, stride, padding, 1)
    except ValueError:
        return False
    if shortcut and x.shape[1:3] != (geometry.OH, geometry.OW):
        return False
    return geometry.pads[0][0] <= 2 and geometry.pads[1][0] <= 2


def forward(x: Array, weights: Weights, stride: int, padding: Padding, shortcut: bool) -> tuple[Array, BlockCache]:
    """Expand, filter, project, each with its batch norm; with `shortcut`, + x."""
    x = plain(x)
    N, H, W, C = x.shape
    geometry = geometry_of(H, W, 3, 3, stride, padding, 1)
    (top, _), (left, right) = geometry.pads
    wide, M = weights.wp.shape
    pieces = 1 if weights.we is None else pieces_of(wide, PIECE)
    s = Shape(N, H, W, C, pieces, wide // pieces, geometry.OH, geometry.OW, M, stride, top, left, right)
    wd, wp = split(weights.wd, 2, pieces), plain(weights.wp).reshape(pieces, -1, M)
    with limit_blas(1):
        thin, gram = x.reshape(1, -1, C), None
        if weights.we is None:
            we, y1, statistics = None, thin, []
            norm1 = np.repeat(np.array([0, 1, 0], x.dtype), C).reshape(1, 3, C)  # which changes nothing
        else:
            we = split(weights.we, 1, pieces)
            if N * H * W >= THIN * C:
                thin, gram, norm1, first = _expand_unseen(s, thin[0], weights.we, weights.norms[0])
                y1 = thin
            else:
                y1, norm1, first = _expand(s, thin, we, weights.norms[0])
            statistics = [first]
        y2, norm2, second = _depthwise(s, y1, gram is not None, we, norm1, wd, weights.norms[-2])
        y3 = _project(s, y2, norm2, wp)
        norm3, third = _statistics_of(s, y3, weights.norms[-1])
        out = empty((N, s.OH, s.OW, M), x.dtype)
        chunk = batchnorm_loops.chunk_rows(y3)
        loops.normalise(y3, norm3, x.reshape(-1, C), shortcut, chunk, out.reshape(-1, M))
    gamma, beta, _ = weights.norms[-1]
    statistics += [second, third]
    return out, BlockCache(
        s, shortcut, thin, y1, gram, y2, y3, we, wd, wp, plain(gamma), plain(beta), norm1, norm2, tuple(statistics)
    )


def backward(dout: Array, cache: BlockCache) -> tuple[Array, Gradients]:
    """dx and the gradient of everything in `Weights`."""
    s, dtype, statistics = cache.shape, cache.x.dtype, cache.statistics
    check_dout(dout, (s.N, s.OH, s.OW, s.M), cache.x, compiled=True)
    dout = plain(dout).reshape(-1, s.M)
    dgamma3, dbeta3, dy3 = np.empty(s.M, dtype), np.empty(s.M, dtype), empty(dout.shape, dtype)
    chunk, last = batchnorm_loops.chunk_rows(cache.y3), statistics[-1]
    with limit_blas(1):
        batchnorm_loops.backward(
            dout, cache.y3, last.mean, last.inv_std, cache.gamma, cache.beta, False, chunk, dgamma3, dbeta3, dy3
        )
        dz2, dwp, sums = _project_backward(s, dy3, cache)
        back2, dgamma2, dbeta2 = _back(sums, cache.norm2, statistics[-2])
        dz1, dwe, dwd, sums = _depthwise_backward(s, dz2, back2, cache)
        if cache.we is None:
            dx = dz1.reshape(s.N, s.H, s.W, s.C)
            if cache.shortcut:
                dx += dout.reshape(dx.shape)
            return dx, Gradients(None, dwd, dwp, (dgamma2, dgamma3), (dbeta2, dbeta3))
        back1, dgamma1, dbeta1 = _back(sums, cache.norm1, statistics[0])
        if cache.gram is None:
            dx, dwe = _expand_backward(s, dz1, back1, dout, cache)
        else:
            dx, dwe = _finish(s, dz1, dwe, back1, dout, cache)
        dx = dx.reshape(s.N, s.H, s.W, s.C)
    return dx, Gradients(dwe, dwd, dwp, (dgamma1, dgamma2, dgamma3), (dbeta1, dbeta2, dbeta3))


def _expand(s: Shape, x: Array, we: Array, norm: Norm) -> tuple[Array, Array, Statistics]:
    P = x.shape[1]
    y = empty((s.pieces, P, s.E), x.dtype)
    mean, var = np.empty((2, s.pieces, s.E))
    loops.expand(x, we, _groups(P, s.pieces), _tile(s.C, s.E), y, mean, var)
    return y, *_norm(mean, var, norm, (s.N, s.H, s.W))


def _expand_unseen(s: Shape, x: Array, we: Array, norm: Norm) -> tuple[Array, Array, Array, Statistics]:
    """x less its mean, its `gram`, and the statistics of ``x @ we``, which follow from them: nothing is expanded."""
    P, groups, tile, threads = len(x), _groups(len(x), 1), TILE, numba.get_num_threads()
    mean, var = np.empty((2, s.C))
    batchnorm_loops.statistics(x, batchnorm_loops.chunk_rows(x), mean, var)
    thin, grams = empty((1, *x.shape), x.dtype), np.empty((groups, s.C, s.C))
    rooms = np.empty((threads, tile, s.C)), np.empty((threads, s.C, s.C))
    loops.center_thin(x, mean.astype(x.dtype), groups, tile, *rooms, thin[0], grams)
    gram = grams.sum(axis=0) @ we  # (C, E), in float64
    var = np.maximum((we * gram).sum(axis=0) / P, 0).reshape(s.pieces, s.E)
    norm1, statistics = _norm((mean @ we).reshape(s.pieces, s.E), var, norm, (s.N, s.H, s.W))
    norm1[:, 0] = 0  # x is less its mean, so that of x @ we is 0
    return thin, gram.astype(x.dtype), norm1, statistics


def _depthwise(
    s: Shape, x: Array, inside: bool, we: Array | None, norm1: Array, wd: Array, norm: Norm
) -> tuple[Array, Array, Statistics]:
    threads, dtype = numba.get_num_threads(), x.dtype
    y = empty((s.pieces * s.N, s.OH * s.OW, s.E), dtype)
    mean, var = np.empty((2, s.pieces, s.E))
    columns = max(s.left + s.W + s.right, s.stride * (s.OW - 1) + 3)
    wide, raw = empty((threads, 4, columns, s.E), dtype), empty((threads, 4 * s.W if inside else 0, s.E), dtype)
    clip, we = we is not None, np.empty((1, 1, 1), dtype) if we is None else we
    loops.depthwise(
        x, inside, we, norm1, clip, wd, s.H, s.W, s.stride, s.top, s.left, s.OW, wide, raw, y, mean, var
    )  # fmt: skip
    return y.reshape(s.pieces, -1, s.E), *_norm(mean, var, norm, (s.N, s.OH, s.OW))


def _project(s: Shape, x: Array, norm2: Array, wp: Array) -> Array:
    P, tile, threads = x.shape[1], _tile(s.E, s.M), numba.get_num_threads()
    groups, each = _shares(P, s.pieces)
    parts = empty((-(-s.pieces // each), P, s.M), x.dtype)
    hidden, narrow = empty((threads, tile, s.E), x.dtype), empty((threads, tile, s.M), x.dtype)
    loops.project(x, norm2, wp, groups, tile, each, hidden, narrow, parts)
    return _sum(parts[:, None])


def _statistics_of(s: Shape, y: Array, norm: Norm) -> tuple[Array, Statistics]:
    mean, var = np.empty((2, 1, s.M))
    batchnorm_loops.statistics(y, batchnorm_loops.chunk_rows(y), mean[0], var[0])
    return _norm(mean, var, norm, (s.N, s.OH, s.OW))


def _project_backward(s: Shape, dy: Array, cache: BlockCache) -> tuple[Array, Array, Array]:
    P, tile, threads, dtype = len(dy), _tile(s.E, s.M), numba.get_num_threads(), dy.dtype
    groups = _groups(P, s.pieces)
    dz = empty((s.pieces, P, s.E), dtype)
    dw, sums = empty((groups * s.pieces, s.E, s.M), dtype), np.empty((s.pieces, 2, s.E))
    hidden, part = empty((threads, tile, s.E), dtype), empty((threads, s.E, s.M), dtype)
    wt = _transposed(cache.wp)
    backward_loops.project(dy[None], cache.y2, cache.norm2, wt, groups, tile, hidden, part, dz, dw, sums)
    return dz, _sum(dw.reshape(groups, 1, -1, s.M)), sums


def _depthwise_backward(s: Shape, dz: Array, back: Array, cache: BlockCache) -> tuple[Array, Array, Array, Array]:
    threads, dtype, inside, tasks = numba.get_num_threads(), dz.dtype, cache.gram is not None, s.pieces * s.N
    # `hidden` is a multiple of four columns, for the loops take four at a time; `wide` is what they then see
    across = -(-(s.W + (s.left if s.stride == 2 else 0)) // 4) * 4
    columns = max(across + 2, s.OW + 2 - s.left) if s.stride == 1 else max(across // 2 + 1, s.OW + 1)
    wide, (hidden, spread) = empty((threads, 4, columns, s.E), dtype), empty((2, threads, 2, across, s.E), dtype)
    pixels = max(2 * s.W, _tile(s.C, s.E) if inside else 0)
    raw, room = empty((threads, 2 * s.W, s.E), dtype), empty((threads, pixels, s.E), dtype)
    part = empty((threads, s.C, s.E), dtype)
    if inside:
        we, wt = cache.we, _transposed(cache.we * cache.norm1[:, None, 1])
        dx, dwe = empty((s.pieces, s.N * s.H * s.W, s.C), dtype), empty((tasks, s.C, s.E), dtype)
    else:
        we, wt, dwe = np.empty((3, 1, 1, 1), dtype)
        dx = empty((s.pieces, s.N * s.H * s.W, s.E), dtype)
    dw, sums = empty((tasks, 3, 3, s.E), dtype), np.empty((s.pieces, 2, s.E))
    backward_loops.depthwise(
        dz.reshape(tasks, -1, s.E), cache.y2.reshape(tasks, -1, s.E), back, s.OW, cache.y1, inside, we, wt,
        cache.norm1, cache.we is not None, cache.wd, s.H, s.W, s.stride, s.top, s.left,
        wide, raw, hidden, spread, room, part, dx, dwe, dw, sums,
    )  # fmt: skip
    return dx, dwe, _sum(dw.reshape(s.N, s.pieces, 9, s.E)).reshape(3, 3, -1), sums


def _expand_backward(s: Shape, dz: Array, back: Array, dout: Array, cache: BlockCache) -> tuple[Array, Array]:
    dtype = dz.dtype
    P, tile, threads = cache.x.shape[1], _tile(s.C, s.E), numba.get_num_threads()
    groups, each = _shares(P, s.pieces)
    dx, dw = empty((-(-s.pieces // each), P, s.C), dtype), empty((groups * s.pieces, s.C, s.E), dtype)
    rooms = [empty((threads, *shape), dtype) for shape in ((tile, s.E), (s.C, s.E), (tile, s.C))]
    assert cache.we is not None
    wt = _transposed(cache.we)
    backward_loops.expand(
        dz, cache.y1, back, wt, cache.x, dout, cache.shortcut, groups, tile, each, *rooms, dx, dw
    )  # fmt: skip
    return _sum(dx[:, None]), _sum(dw.reshape(groups, s.pieces, s.C, s.E))


def _finish(s: Shape, dx: Array, dwe: Array, back: Array, dout: Array, cache: BlockCache) -> tuple[Array, Array]:
    """The part of dx and dwe that waited for the sums of `back`, where y1 is not stored."""
    threads, tile = numba.get_num_threads(), TILE
    _, scale, mean_dz, slope = back.transpose(1, 0, 2).reshape(4, 1, -1)  # (1, E) each, all pieces
    assert cache.we is not None and cache.gram is not None
    we = _sum(cache.we[None])  # (C, E): the pieces side by side
    through = (we * (scale * slope)) @ we.T  # (C, C)
    constant = we @ (scale * mean_dz)[0]  # (C,)
    total = _sum(dwe.reshape(s.N, s.pieces, s.C, s.E))
    out, narrow = empty(dx.shape[1:], dx.dtype), empty((threads, tile, s.C), dx.dtype)
    backward_loops.finish(dx, cache.x, through[None], constant, dout, cache.shortcut, tile, narrow, out)
    return out, scale * (total - cache.gram * slope)


def _norm(mean: Array, var: Array, norm: Norm, image: tuple[int, int, int]) -> tuple[Array, Statistics]:
    """What `deferred_loops._normal` needs, and the statistics. mean, var: (pieces, E) in float64."""
    gamma, beta, eps = norm
    inv_std = (1 / np.sqrt(var + eps)).astype(gamma.dtype)
    out = np.empty((len(mean), 3, mean.shape[1]), gamma.dtype)  # (pieces, 3, E)
    out[:, 0] = mean
    out[:, 1] = gamma.reshape(mean.shape) * inv_std
    out[:, 2] = beta.reshape(mean.shape)
    shape = (*image, mean.size)
    return out, Statistics(shape, mean.ravel().astype(gamma.dtype), var.ravel().astype(gamma.dtype), inv_std.ravel())


def _back(sums: Array, norm: Array, statistics: Statistics) -> tuple[Array, Array, Array]:
    """What `deferred_backward_loops._dy` needs, dgamma and dbeta. sums: (pieces, 2, E), of dz and dz * (y - mean)."""
    pieces, _, E = sums.shape
    N, H, W, _ = statistics.shape
    m, inv_std = N * H * W, statistics.inv_std.reshape(pieces, E)
    dbeta, dgamma = sums[:, 0], sums[:, 1] * inv_std
    out = np.empty((pieces, 4, E), norm.dtype)
    out[:, :2] = norm[:, :2]
    out[:, 2] = dbeta / m
    out[:, 3] = dgamma * inv_std / m
    return out, dgamma.ravel().astype(norm.dtype), dbeta.ravel().astype(norm.dtype)


def _transposed(w: Array) -> Array:
    """Each piece transposed. Given a transpose, OpenBLAS's way for small products has 20 to 200 Gflop/s, not 250."""
    out = empty((w.shape[0], w.shape[2], w.shape[1]), w.dtype)
    loops.transpose(w, out)
    return out


def _sum(parts: Array) -> Array:
    """(groups, pieces, C, E) summed up over the groups, pieces side by side: (C, pieces*E)."""
    groups, pieces, C, E = parts.shape
    if groups == pieces == 1:
        return parts[0, 0]
    out = empty((C, pieces * E), parts.dtype)
    loops.add_up(parts, max(1, C // TASKS), out)
    return out


def _tile(rows: int, columns: int) -> int:
    """Pixels in a product with a matrix of this shape."""
    return max(4, min(TILE, SMALL // (rows * columns)) // 4 * 4)


def _groups(P: int, pieces: int) -> int:
    """Groups of pixels, where a task is a group of a piece."""
    return max(1, min(-(-TASKS // pieces), P // FEW))


def _shares(P: int, pieces: int) -> tuple[int, int]:
    """Groups of pixels and pieces in a task, where a task adds up the products of its pieces."""
    groups = max(1, min(TASKS, P // FEW))
    return groups, max(1, min(pieces, pieces * groups // TASKS))
