"""The inverted residual in training: its kernels one after the other, and what is between them, as two compiled calls.

The plain version is `nn.blocks.InvertedResidual`, layer by layer. A training step of MobileNetV2 runs some 300 kernels.
Called from Python one by one, with the arrays they write to made in between, that was a sixth of a step of 16 images of
96x96 on one thread, and does not shrink with more. Here the same lines are compiled. They run as plain Python too
(`forward.py_func`), which the tests do.

`forward_loops` and `backward_loops` say what the kernels compute, `records` what they are given.
"""

import numpy as np

from npmnv2.kernels.arrays import aligned
from npmnv2.kernels.batchnorm import loops as batchnorm_loops
from npmnv2.kernels.jit import compile_function, compile_inline, compile_kernel, compile_step
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


@compile_function
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


@compile_function
def _transposed(w):
    """Each piece transposed: (pieces, A, B) to (pieces, B, A), so that what a product reads lies in a row."""
    out = aligned((w.shape[0], w.shape[2], w.shape[1]), w)
    forward_loops.transpose(w, out)
    return out


@compile_function
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


@compile_function
def _normaliser(mean, var, bn):
    """What `forward_loops.normal` needs, (pieces, 3, E), and mean, variance and inv_std, (3, pieces*E).

    mean, var: (pieces, E) in float64.
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
def _expand(sizes, cuts, x, we, bn):
    """y1 = x @ we, deferred, and its statistics. x: (1, P, C); we: (pieces, C, E)."""
    y = aligned((sizes.pieces, x.shape[1], sizes.E), x)
    mean, var = np.empty((sizes.pieces, sizes.E)), np.empty((sizes.pieces, sizes.E))
    forward_loops.expand(x, we, cuts.tile, cuts.expand, y, mean, var)
    norm, statistics = _normaliser(mean, var, bn)
    return Deferred(y, norm), statistics


@compile_step
def _moments(grams, mean, we, P, pieces):
    """`BlockCache.gram_we`, and mean and variance of ``x @ we``, which follow from it: see docs/training_speed.md.

    grams: of groups of the P pixels, (groups, C, C), of x less its mean, (C,); we: (C, pieces*E).
    """
    (groups, C, _), E = grams.shape, we.shape[1] // pieces
    weights, total, gram_we = we.astype(np.float64), np.zeros((C, C)), aligned(we.shape, we)
    for g in range(groups):
        for i in range(C):
            for j in range(C):
                total[i, j] += grams[g, i, j]
    exact = np.empty(weights.shape)  # gram_we in float64
    product(total, weights, True, exact)
    mean1, var1 = np.zeros((pieces, E)), np.zeros((pieces, E))
    for k in range(pieces):
        for c in range(C):
            for e in range(E):
                j = k * E + e
                gram_we[c, j] = exact[c, j]
                mean1[k, e] += mean[c] * weights[c, j]
                var1[k, e] += weights[c, j] * exact[c, j]
        for e in range(E):
            var1[k, e] = max(var1[k, e] / P, 0)
    return gram_we, mean1, var1


@compile_inline
def _center(sizes, cuts, x, we, bn, threads):
    """x less its mean; `BlockCache.gram_we`; y1, of no pixels, deferred, and its statistics.

    x: (1, P, C); we: (C, pieces*E).
    """
    _, P, C = x.shape
    mean, var = np.empty(C), np.empty(C)
    batchnorm_loops.statistics(x[0], cuts.rows_in, mean, var)
    center, centered, grams = mean.astype(x.dtype), aligned(x.shape, x), np.empty((cuts.center, C, C))
    forward_loops.center(x[0], center, np.empty((threads, cuts.tile, C)), centered[0], grams)
    gram_we, mean1, var1 = _moments(grams, mean, we, P, sizes.pieces)
    norm, statistics = _normaliser(mean1, var1, bn)
    for k in range(sizes.pieces):
        for e in range(sizes.E):
            norm[k, 0, e] = 0  # x is less its mean, so that of x @ we is 0
    return centered, gram_we, Deferred(aligned((0, 0, 0), x), norm), statistics


@compile_inline
def _depthwise(sizes, h1, x, weights, bn, threads):
    """y2, deferred, and its statistics. x: less its mean, read where y1 is not stored."""
    we, wd, s, N, E = weights.we, weights.wd, sizes.stride, sizes.N, sizes.E
    y = aligned((sizes.pieces * N, sizes.OH * sizes.OW, E), wd)
    mean, var = np.empty((sizes.pieces, E)), np.empty((sizes.pieces, E))
    columns = max(sizes.left + sizes.W + sizes.right, s * (sizes.OW - 1) + sizes.K)
    ring = aligned((threads, RING, columns, E), wd)
    y1 = aligned((threads, sizes.K * sizes.W, E), wd) if sizes.recompute else h1.y
    depthwise_loops.depthwise(sizes, Source(h1.norm, x, we, we), wd, RowScratch(ring, y1), y, mean, var)
    norm, statistics = _normaliser(mean, var, bn)
    return Deferred(y.reshape((sizes.pieces, N * sizes.OH * sizes.OW, E)), norm), statistics


@compile_inline
def _project(sizes, cuts, h, wp, bn, threads):
    """y3, (1, P, M), deferred, and its statistics."""
    cut, P, M = cuts.project, h.y.shape[1], sizes.M
    shares = (sizes.pieces + cut.pieces - 1) // cut.pieces
    parts = aligned((shares, P, M), wp)
    forward_loops.project(h, wp, cut, aligned((threads, cuts.tile, sizes.E), wp), parts)
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
    kept, gram_we = x.reshape((1, x.shape[0], sizes.C)), aligned((0, 0), x)
    wd = _split(weights.wd, sizes.pieces).reshape((sizes.pieces, sizes.K, sizes.K, sizes.E))
    pieces = Weights(_split(weights.we, sizes.pieces), wd, weights.wp)
    if sizes.recompute:
        kept, gram_we, h1, statistics1 = _center(sizes, cuts, kept, weights.we, norms[0], threads)
    elif sizes.expands:
        h1, statistics1 = _expand(sizes, cuts, kept, pieces.we, norms[0])
    else:
        norm1 = np.zeros((1, 3, sizes.C), x.dtype)  # written by this name: by a record's it is lost in parallel code
        for c in range(sizes.C):
            norm1[0, 1, c] = 1  # which changes nothing
        h1, statistics1 = Deferred(kept, norm1), np.zeros((3, 0), x.dtype)
    h2, statistics2 = _depthwise(sizes, h1, kept, pieces, norms[1], threads)
    h3, statistics3 = _project(sizes, cuts, h2, weights.wp, norms[2], threads)
    out, statistics = aligned((h3.y.shape[1], sizes.M), x), (statistics1, statistics2, statistics3)
    forward_loops.normalise(h3.y[0], h3.norm, x, sizes.shortcut, cuts.rows_out, out)
    return out, BlockCache(sizes, cuts, kept, h1, gram_we, h2, h3.y[0], pieces, norms[2], statistics)


@compile_function
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
def _project_backward(cache, dy, threads):
    """dz2, (pieces, P, E), dwp, (pieces*E, M), and the sums that `_gradient_norm` needs of dz2. dy: (P, M)."""
    sizes, groups, wp = cache.sizes, cache.cuts.project_backward, cache.weights.wp
    pieces, E, M = sizes.pieces, sizes.E, sizes.M
    out = Gradients(aligned(cache.h2.y.shape, dy), aligned((groups * pieces, E, M), dy))
    sums, scratch = np.empty((pieces, 2, E)), aligned((threads, cache.cuts.tile, E), dy)
    backward_loops.project(dy, cache.h2, _transposed(wp), scratch, out, sums)
    return out.dx, _sum(out.dw.reshape((groups, 1, pieces * E, M))), sums


@compile_function
def _scaled(we, norm):
    """we times the scale of its batch norm. norm: (pieces, 3, E)."""
    out = aligned(we.shape, we)
    for k in range(we.shape[0]):
        for c in range(we.shape[1]):
            for e in range(we.shape[2]):
                out[k, c, e] = we[k, c, e] * norm[k, 1, e]
    return out


@compile_inline
def _depthwise_backward(cache, dz, norm2, threads):
    """`records.DepthwiseGradients`, dwd, (K*K, pieces*E), and the sums that `_gradient_norm` needs of dz1.

    norm2: of `_gradient_norm`.
    """
    sizes, h1, we = cache.sizes, cache.h1, cache.weights.we
    N, H, W, C, E, s, K, pieces = sizes.N, sizes.H, sizes.W, sizes.C, sizes.E, sizes.stride, sizes.K, sizes.pieces
    beside, images = beside_of(sizes), (pieces * N, sizes.OH * sizes.OW, E)
    ring = aligned((threads, RING, beside + max(sizes.OW, (W - 1 + sizes.left) // s + 1), E), dz)
    hidden = aligned((threads, 1, max(sizes.left + W, s * (sizes.OW - 1) + K), E), dz)
    wt, y1, pixels = aligned((1, 1, 1), dz), h1.y, N * H * W if sizes.recompute else 0
    rows = dz1 = aligned((pieces, N * H * W - pixels, E), dz)
    if sizes.recompute:
        wt, y1 = _transposed(_scaled(we, h1.norm)), aligned((threads, W, E), dz)
        rows = aligned((threads, max(W, cache.cuts.tile), E), dz)
    scratch = RowGradientScratch(ring, y1, hidden, aligned((threads, 2 * K * CHANNELS), dz), rows)
    dwe = aligned((N * pieces if sizes.recompute else 0, C, E), dz)
    out = DepthwiseGradients(dz1, aligned((pieces, pixels, C), dz), dwe, aligned((N * pieces, K, K, E), dz))
    dy, sums = DeferredGradient(dz.reshape(images), cache.h2.y.reshape(images), norm2), np.empty((pieces, 2, E))
    source = Source(h1.norm, cache.x, we, wt)
    depthwise_backward_loops.depthwise(sizes, dy, source, cache.weights.wd, scratch, out, sums)
    return out, _sum(out.dw.reshape((N, pieces, K * K, E))), sums


@compile_inline
def _expand_backward(cache, dy, shortcut, threads):
    """dx, (P, C), and dwe, (C, pieces*E). shortcut: the gradient that it adds to dx, (P, C), of no rows without one."""
    x, we, cut, (pieces, P, E), C = cache.x, cache.weights.we, cache.cuts.expand_backward, dy.y.shape, cache.sizes.C
    shares = (pieces + cut.pieces - 1) // cut.pieces
    out = Gradients(aligned((shares, P, C), x), aligned((cut.groups * pieces, C, E), x))
    scratch = aligned((threads, cache.cuts.tile, E), x)
    backward_loops.expand(dy, x, _transposed(we), shortcut, cut, scratch, out)
    return _sum(out.dx.reshape((shares, 1, P, C))), _sum(out.dw.reshape((cut.groups, pieces, C, E)))


@compile_step
def _corrections(norm, we, wt, gram_we, dwe):
    """What `backward_loops.finish` subtracts of dx: a matrix (C, C), for each pixel of x, and a constant, (C,).

    It corrects dwe, (C, pieces*E), in place. norm: of `_gradient_norm`, for y1.
    """
    pieces, C, E = we.shape
    sloped, through, constant = aligned(we.shape, we), aligned((C, C), we), np.zeros(C, we.dtype)
    for k in range(pieces):
        for c in range(C):
            for e in range(E):
                scale, mean_dz, slope = norm[k, 1, e], norm[k, 2, e], norm[k, 3, e]
                sloped[k, c, e] = we[k, c, e] * (scale * slope)
                constant[c] += we[k, c, e] * (scale * mean_dz)
                j = k * E + e
                dwe[c, j] = scale * (dwe[c, j] - gram_we[c, j] * slope)
        product(sloped[k], wt[k], k == 0, through)
    return through, constant


@compile_inline
def _finish(cache, out, norm, shortcut, threads):
    """dx and dwe, as `_expand_backward`, from what `_depthwise_backward` gave: the part that waited for the sums."""
    sizes, we = cache.sizes, cache.weights.we
    dwe = _sum(out.dwe.reshape((sizes.N, sizes.pieces, sizes.C, sizes.E)))  # (C, pieces*E)
    through, constant = _corrections(norm, we, _transposed(we), cache.gram_we, dwe)
    dx, narrow = aligned((out.dx.shape[1], sizes.C), we), aligned((threads, cache.cuts.tile, sizes.C), we)
    backward_loops.finish(out.dx, cache.x, through, constant, shortcut, narrow, dx)
    return dx, dwe


def _backward(dout, cache, threads):
    """dx, the gradients of the weights, and (dgamma, dbeta) of the three batch norms. dout: (N*OH*OW, M).

    Without an expansion the gradients of we and of the first batch norm are any arrays.
    """
    sizes, last, statistics = cache.sizes, cache.last, cache.statistics
    dy3, dgamma3, dbeta3 = aligned(dout.shape, dout), np.empty(sizes.M, dout.dtype), np.empty(sizes.M, dout.dtype)
    norm3 = statistics[2][0], statistics[2][2], last.gamma, last.beta
    batchnorm_loops.backward(dout, cache.y3, norm3, False, cache.cuts.rows_out, dgamma3, dbeta3, dy3)
    dz2, dwp, sums2 = _project_backward(cache, dy3, threads)
    norm2, dgamma2, dbeta2 = _gradient_norm(sums2, cache.h2.norm, statistics[1][2], dout.shape[0])
    out, dwd, sums1 = _depthwise_backward(cache, dz2, norm2, threads)
    shortcut = dout if sizes.shortcut else dout[:0]
    if sizes.expands:
        norm1, dgamma1, dbeta1 = _gradient_norm(sums1, cache.h1.norm, statistics[0][2], cache.x.shape[1])
        if sizes.recompute:
            dx, dwe = _finish(cache, out, norm1, shortcut, threads)
        else:
            dx, dwe = _expand_backward(cache, DeferredGradient(out.dz1, cache.h1.y, norm1), shortcut, threads)
    else:
        dx, dwe, dgamma1, dbeta1 = out.dz1[0], cache.weights.we[0], dgamma3, dbeta3
        for p in range(shortcut.shape[0]):
            for c in range(sizes.C):
                dx[p, c] += shortcut[p, c]
    return dx, Weights(dwe, dwd, dwp), ((dgamma1, dbeta1), (dgamma2, dbeta2), (dgamma3, dbeta3))


forward = compile_kernel(_forward, contract=True)
backward = compile_kernel(_backward, contract=True)
