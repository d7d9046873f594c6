"""The inverted residual in training: its kernels one after the other, and what is between them, as two compiled calls.

The plain version is `nn.blocks.InvertedResidual`, layer by layer. A training step of MobileNetV2 runs some 300 kernels.
Called from Python one by one, with the arrays they write to made in between, that was a sixth of a step of 16 images of
96x96 on one thread, and does not shrink with more. Here the same lines are compiled. They run as plain Python too
(`forward.py_func`), which the tests do.

`forward_loops` and `backward_loops` say what the kernels compute, `records` what they are given, docs/training_speed.md
derives it.
"""

import numpy as np

from npmnv2.kernels.arrays import aligned
from npmnv2.kernels.batchnorm import loops as batchnorm_loops
from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel
from npmnv2.kernels.products import product
from npmnv2.kernels.tiles import CHANNELS
from npmnv2.kernels.training_block import backward_loops, depthwise_backward_loops, depthwise_loops, forward_loops
from npmnv2.kernels.training_block.records import (
    RING,
    BlockCache,
    Deferred,
    DeferredGradient,
    DepthwiseGradients,
    Gradients,
    RowGradientScratch,
    RowScratch,
    Source,
    Weights,
    beside_of,
)


@compile_apart
def _split(w, pieces):
    """The columns of a matrix cut into equal pieces, each contiguous: (C, pieces*E) to (pieces, C, E)."""
    C, E = w.shape[0], w.shape[1] // pieces
    if pieces == 1:
        return w.reshape((1, C, E))
    out = aligned((pieces, C, E), w)
    for k in range(pieces):
        for c in range(C):
            for e in range(E):
                out[k, c, e] = w[c, k * E + e]
    return out


@compile_apart
def _transposed(w):
    """Each piece transposed: (pieces, A, B) to (pieces, B, A), so that what a product reads lies in a row."""
    out = aligned((w.shape[0], w.shape[2], w.shape[1]), w)
    forward_loops.transpose(w, out)
    return out


@compile_apart
def _sum(parts):
    """The sum over the first axis, in order, the pieces side by side: (summands, pieces, R, E) to (R, pieces*E).

    A single summand of one piece is returned as it is, not copied.
    """
    summands, pieces, R, E = parts.shape
    if summands == 1 and pieces == 1:
        return parts[0, 0]
    out = aligned((R, pieces * E), parts)
    forward_loops.add_up(parts, max(1, R // 8), out)  # about eight tasks
    return out


@compile_apart
def _normaliser(mean, var, bn):
    """What `forward_loops.normal` needs, (pieces, 3, E), and mean, variance and inv_std, (3, pieces*E).

    mean, var: (pieces, E) in float64; bn: a `records.BatchNorm`.
    """
    pieces, E = mean.shape
    norm, statistics = aligned((pieces, 3, E), bn.gamma), aligned((3, pieces * E), bn.gamma)
    for k in range(pieces):
        for e in range(E):
            c = k * E + e
            statistics[0, c], statistics[1, c] = mean[k, e], var[k, e]
            statistics[2, c] = 1 / np.sqrt(var[k, e] + bn.eps)
            norm[k, 0, e] = mean[k, e]
            norm[k, 1, e] = bn.gamma[c] * statistics[2, c]
            norm[k, 2, e] = bn.beta[c]
    return norm, statistics


@compile_inline
def _expand(sizes, cut, x, we, bn):
    """y1 = x @ we, deferred, and its statistics. x: (1, P, C); we: (pieces, C, E)."""
    y = aligned((sizes.pieces, x.shape[1], sizes.E), x)
    mean, var = np.empty((sizes.pieces, sizes.E)), np.empty((sizes.pieces, sizes.E))
    forward_loops.expand(x, we, cut, y, mean, var)
    norm, statistics = _normaliser(mean, var, bn)
    return Deferred(y, norm), statistics


@compile_inline
def _center(sizes, cuts, x, we, bn, threads):
    """x less its mean, deferred; its `gram_we`; the statistics of ``x @ we``, which follow from them, with no y1 made.

    x: (1, P, C); we: (C, pieces*E). gram_we, like we, is x.T @ x @ we of the x less its mean.
    """
    (_, P, C), cut = x.shape, cuts.narrow
    mean, var = np.empty(C), np.empty(C)
    batchnorm_loops.statistics(x[0], cuts.rows_in, mean, var)
    center, centered = aligned((C,), x), aligned(x.shape, x)
    for c in range(C):
        center[c] = mean[c]
    grams = np.empty((cut.groups, C, C))
    forward_loops.center(x[0], center, cut, np.empty((threads, cut.tile, C)), centered[0], grams)
    weights, total = we.astype(np.float64), np.zeros((C, C))
    for g in range(cut.groups):
        for i in range(C):
            for j in range(C):
                total[i, j] += grams[g, i, j]
    exact = np.empty(weights.shape)  # gram_we in float64
    product(total, weights, True, exact)
    gram_we = aligned(we.shape, x)
    mean1, var1 = np.zeros((sizes.pieces, sizes.E)), np.zeros((sizes.pieces, sizes.E))
    for k in range(sizes.pieces):
        for c in range(C):
            for e in range(sizes.E):
                j = k * sizes.E + e
                gram_we[c, j] = exact[c, j]
                mean1[k, e] += mean[c] * weights[c, j]
                var1[k, e] += weights[c, j] * exact[c, j]
        for e in range(sizes.E):
            var1[k, e] = max(var1[k, e] / P, 0)
    norm, statistics = _normaliser(mean1, var1, bn)
    for k in range(sizes.pieces):
        for e in range(sizes.E):
            norm[k, 0, e] = 0  # x is less its mean, so that of x @ we is 0
    return Deferred(centered, norm), gram_we, statistics


@compile_inline
def _depthwise(sizes, source, wd, bn, threads):
    """y2, deferred, and its statistics."""
    s, N, E = sizes.stride, sizes.N, sizes.E
    y = aligned((sizes.pieces * N, sizes.OH * sizes.OW, E), wd)
    mean, var = np.empty((sizes.pieces, E)), np.empty((sizes.pieces, E))
    columns = max(sizes.left + sizes.W + sizes.right, s * (sizes.OW - 1) + sizes.K)
    ring = aligned((threads, RING, columns, E), wd)
    raw = aligned((threads, sizes.K * sizes.W, E), wd) if sizes.recompute else source.x
    depthwise_loops.depthwise(sizes, source, wd, RowScratch(ring, raw), y, mean, var)
    norm, statistics = _normaliser(mean, var, bn)
    return Deferred(y.reshape((sizes.pieces, N * sizes.OH * sizes.OW, E)), norm), statistics


@compile_inline
def _project(sizes, cuts, h, wp, bn, threads):
    """y3, (1, P, M), deferred, and its statistics."""
    cut, P, M = cuts.project, h.y.shape[1], sizes.M
    shares = (sizes.pieces + cut.share - 1) // cut.share
    parts = aligned((shares, P, M), wp)
    forward_loops.project(h, wp, cut, aligned((threads, cut.tile, sizes.E), wp), parts)
    y = _sum(parts.reshape((shares, 1, P, M)))
    mean, var = np.empty((1, M)), np.empty((1, M))
    batchnorm_loops.statistics(y, cuts.rows_out, mean[0], var[0])
    norm, statistics = _normaliser(mean, var, bn)
    return Deferred(y.reshape((1, P, M)), norm), statistics


def _forward(x, sizes, cuts, weights, norms, threads):
    """Expand, filter, project, each with its batch norm; with a shortcut, + x. `block.forward` has the Python side.

    x: (N*H*W, C); weights: we (C, pieces*E), any matrix without an expansion; wd (K*K, pieces*E); wp (pieces, E, M);
    norms: three `records.BatchNorm`, the first is any without an expansion.
    Returns out, (N*OH*OW, M), and the `records.BlockCache`.
    """
    kept, we = x.reshape((1, x.shape[0], sizes.C)), _split(weights.we, sizes.pieces)
    gram_we, wd = (
        aligned((0, 0), x),
        _split(weights.wd, sizes.pieces).reshape((sizes.pieces, sizes.K, sizes.K, sizes.E)),
    )
    if sizes.recompute:
        h1, gram_we, statistics1 = _center(sizes, cuts, kept, weights.we, norms[0], threads)
        kept = h1.y
    elif sizes.expands:
        h1, statistics1 = _expand(sizes, cuts.expand, kept, we, norms[0])
    else:
        norm1 = np.zeros(
            (1, 3, sizes.C), x.dtype
        )  # written by this name: a write by a record's is lost in parallel code
        for c in range(sizes.C):
            norm1[0, 1, c] = 1  # which changes nothing
        h1, statistics1 = Deferred(kept, norm1), np.zeros((3, 0), x.dtype)
    h2, statistics2 = _depthwise(sizes, Source(h1.y, h1.norm, we, we), wd, norms[1], threads)
    h3, statistics3 = _project(sizes, cuts, h2, weights.wp, norms[2], threads)
    out, statistics = aligned((h3.y.shape[1], sizes.M), x), (statistics1, statistics2, statistics3)
    forward_loops.normalise(h3.y[0], h3.norm, x, sizes.shortcut, cuts.rows_out, out)
    pieces = Weights(we, wd, weights.wp)
    return out, BlockCache(sizes, cuts, kept, h1, gram_we, h2, h3.y[0], pieces, norms[2], statistics)


@compile_apart
def _gradient_norm(sums, norm, inv_std, P):
    """What `backward_loops.through_norm` needs, (pieces, 4, E); dgamma and dbeta, (pieces*E,).

    sums: (pieces, 2, E), of dz and dz * (y - mean); norm: (pieces, 3, E); inv_std: (pieces*E,); P: pixels.
    """
    pieces, _, E = sums.shape
    out = aligned((pieces, 4, E), norm)
    dgamma, dbeta = np.empty(pieces * E, norm.dtype), np.empty(pieces * E, norm.dtype)
    for k in range(pieces):
        for e in range(E):
            c = k * E + e
            gradient = sums[k, 1, e] * inv_std[c]  # dgamma, in float64
            dgamma[c], dbeta[c] = gradient, sums[k, 0, e]
            out[k, 0, e], out[k, 1, e] = norm[k, 0, e], norm[k, 1, e]
            out[k, 2, e], out[k, 3, e] = sums[k, 0, e] / P, gradient * inv_std[c] / P
    return out, dgamma, dbeta


@compile_inline
def _project_backward(sizes, cut, dy, h, wp, threads):
    """dz2, (pieces, P, E), dwp, (pieces*E, M), and the sums that `_gradient_norm` needs of dz2. dy: (P, M)."""
    E, M = sizes.E, sizes.M
    out = Gradients(aligned(h.y.shape, dy), aligned((cut.groups * sizes.pieces, E, M), dy))
    sums = np.empty((sizes.pieces, 2, E))
    backward_loops.project(dy, h, _transposed(wp), cut, aligned((threads, cut.tile, E), dy), out, sums)
    return out.dx, _sum(out.dw.reshape((cut.groups, 1, sizes.pieces * E, M))), sums


@compile_inline
def _row_gradient_scratch(sizes, tile, source, dx, threads):
    """The `records.RowGradientScratch`."""
    W, E, s, K = sizes.W, sizes.E, sizes.stride, sizes.K
    beside = beside_of(sizes)
    ring = aligned((threads, RING, beside + max(sizes.OW, (W - 1 + sizes.left) // s + 1), E), dx)
    hidden = aligned((threads, 1, max(sizes.left + W, s * (sizes.OW - 1) + K), E), dx)
    raw, dz = source.x, dx
    if sizes.recompute:
        raw, dz = aligned((threads, W, E), dx), aligned((threads, max(W, tile), E), dx)
    return RowGradientScratch(ring, raw, hidden, aligned((threads, 2 * K * CHANNELS), dx), dz)


@compile_inline
def _depthwise_backward(sizes, tile, dz, h2, norm2, h1, weights, threads):
    """`records.DepthwiseGradients`, dwd, (K*K, pieces*E), and the sums that `_gradient_norm` needs of dz1.

    norm2: of `_gradient_norm`; tile: pixels in a product with a piece of we.
    """
    N, C, E, pieces, recompute = sizes.N, sizes.C, sizes.E, sizes.pieces, sizes.recompute
    dx = aligned((pieces, N * sizes.H * sizes.W, C if recompute else E), dz)
    out = DepthwiseGradients(
        dx, aligned((N * pieces, sizes.K, sizes.K, E), dz), aligned((N * pieces if recompute else 0, C, E), dz)
    )
    wt, we = aligned((1, 1, 1), dz), weights.we
    if recompute:
        scaled = aligned(we.shape, dz)
        for k in range(pieces):
            for c in range(C):
                for e in range(E):
                    scaled[k, c, e] = we[k, c, e] * h1.norm[k, 1, e]
        wt = _transposed(scaled)
    source, images, sums = Source(h1.y, h1.norm, we, wt), (pieces * N, sizes.OH * sizes.OW, E), np.empty((pieces, 2, E))
    dy = DeferredGradient(dz.reshape(images), h2.y.reshape(images), norm2)
    scratch = _row_gradient_scratch(sizes, tile, source, dx, threads)
    depthwise_backward_loops.depthwise(sizes, dy, source, weights.wd, scratch, out, sums)
    return out, _sum(out.dw.reshape((N, pieces, sizes.K * sizes.K, E))), sums


@compile_inline
def _expand_backward(sizes, cut, dy, x, we, shortcut, threads):
    """dx, (P, C), and dwe, (C, pieces*E). shortcut: the gradient that it adds to dx, (P, C), of no rows without one."""
    P, C, E, pieces = x.shape[1], sizes.C, sizes.E, sizes.pieces
    shares = (pieces + cut.share - 1) // cut.share
    out = Gradients(aligned((shares, P, C), x), aligned((cut.groups * pieces, C, E), x))
    backward_loops.expand(dy, x, _transposed(we), shortcut, cut, aligned((threads, cut.tile, E), x), out)
    return _sum(out.dx.reshape((shares, 1, P, C))), _sum(out.dw.reshape((cut.groups, pieces, C, E)))


@compile_inline
def _finish(sizes, tile, out, norm, cache, shortcut, threads):
    """dx and dwe, as `_expand_backward`, from what `_depthwise_backward` gave: the part that waited for the sums.

    norm: of `_gradient_norm`, for y1.
    """
    we, gram_we, C, E = cache.weights.we, cache.gram_we, sizes.C, sizes.E
    dwe = _sum(out.dwe.reshape((sizes.N, sizes.pieces, C, E)))  # (C, pieces*E)
    sloped, through, constant = aligned(we.shape, we), aligned((C, C), we), np.zeros(C, we.dtype)
    dx, narrow, wt = aligned((out.dx.shape[1], C), we), aligned((threads, tile, C), we), _transposed(we)
    for k in range(sizes.pieces):
        for c in range(C):
            for e in range(E):
                scale, mean_dz, slope = norm[k, 1, e], norm[k, 2, e], norm[k, 3, e]
                sloped[k, c, e] = we[k, c, e] * (scale * slope)
                constant[c] += we[k, c, e] * (scale * mean_dz)
                j = k * E + e
                dwe[c, j] = scale * (dwe[c, j] - gram_we[c, j] * slope)
        product(sloped[k], wt[k], k == 0, through)
    backward_loops.finish(out.dx, cache.x, through, constant, shortcut, narrow, dx)
    return dx, dwe


def _backward(dout, cache, threads):
    """dx, the gradients of the weights, and (dgamma, dbeta) of the three batch norms. dout: (N*OH*OW, M).

    Without an expansion the gradients of we and of the first batch norm are any arrays.
    """
    sizes, cuts, weights, last, statistics = cache.sizes, cache.cuts, cache.weights, cache.last, cache.statistics
    dy3, dgamma3, dbeta3 = aligned(dout.shape, dout), np.empty(sizes.M, dout.dtype), np.empty(sizes.M, dout.dtype)
    norm3 = statistics[2][0], statistics[2][2], last.gamma, last.beta
    batchnorm_loops.backward(dout, cache.y3, norm3, False, cuts.rows_out, dgamma3, dbeta3, dy3)
    dz2, dwp, sums2 = _project_backward(sizes, cuts.project_backward, dy3, cache.h2, weights.wp, threads)
    norm2, dgamma2, dbeta2 = _gradient_norm(sums2, cache.h2.norm, statistics[1][2], dout.shape[0])
    tile = cuts.expand.tile
    out, dwd, sums1 = _depthwise_backward(sizes, tile, dz2, cache.h2, norm2, cache.h1, weights, threads)
    dx, dwe, dgamma1, dbeta1 = out.dx[0], weights.we[0], dgamma3, dbeta3
    shortcut = dout if sizes.shortcut else dout[:0]
    if sizes.expands:
        norm1, dgamma1, dbeta1 = _gradient_norm(sums1, cache.h1.norm, statistics[0][2], cache.x.shape[1])
        if sizes.recompute:
            dx, dwe = _finish(sizes, cuts.narrow.tile, out, norm1, cache, shortcut, threads)
        else:
            dy1 = DeferredGradient(out.dx, cache.h1.y, norm1)
            dx, dwe = _expand_backward(sizes, cuts.expand_backward, dy1, cache.x, weights.we, shortcut, threads)
    else:
        for p in range(shortcut.shape[0]):
            for c in range(sizes.C):
                dx[p, c] += shortcut[p, c]
    return dx, Weights(dwe, dwd, dwp), ((dgamma1, dbeta1), (dgamma2, dbeta2), (dgamma3, dbeta3))


forward = compile_kernel(_forward, contract=True)
backward = compile_kernel(_backward, contract=True)
