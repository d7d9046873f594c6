"""A block while it is trained: its kernels one after the other, and the little between them, as two compiled calls.

A training step of MobileNetV2 runs some 300 kernels. Called from Python one by one, with the arrays they write to made
in between, that was a sixth of a step of 16 images of 96x96 on one thread, and does not shrink with more. Here the same
lines are compiled. They run as plain Python too (`forward.py_func`), which the tests do.

`forward_loops` and `backward_loops` say what the kernels compute, docs/training_speed.md derives it.
"""

import numpy as np

from npmnv2.kernels.batchnorm import loops as batchnorm_loops
from npmnv2.kernels.jit import compile_apart, compile_inline, compile_kernel
from npmnv2.kernels.training_block import backward_loops, depthwise_backward_loops, depthwise_loops, forward_loops


@compile_apart
def _empty(shape, like):
    """`np.empty` in the dtype of `like` that begins at a cache line, see `arrays.empty`."""
    size = 1
    for length in shape:
        size *= length
    room = np.empty(size + 64 // like.itemsize, like.dtype)
    first = (-room.ctypes.data % 64) // like.itemsize
    return room[first : first + size].reshape(shape)


@compile_apart
def _split(w, pieces):
    """The columns of a matrix cut into equal pieces, each contiguous: (C, pieces*E) to (pieces, C, E)."""
    C, E = w.shape[0], w.shape[1] // pieces
    if pieces == 1:
        return w.reshape((1, C, E))
    out = _empty((pieces, C, E), w)
    for k in range(pieces):
        for c in range(C):
            for e in range(E):
                out[k, c, e] = w[c, k * E + e]
    return out


@compile_apart
def _transposed(w):
    """Each piece transposed: (pieces, A, B) to (pieces, B, A).

    Given a transpose, OpenBLAS's way for small products has 20 to 200 Gflop/s, not 250.
    """
    out = _empty((w.shape[0], w.shape[2], w.shape[1]), w)
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
    out = _empty((R, pieces * E), parts)
    forward_loops.add_up(parts, max(1, R // 8), out)  # about eight tasks
    return out


@compile_apart
def _normaliser(mean, var, bn):
    """What `forward_loops.normal` needs, (pieces, 3, E), and mean, variance and inv_std, (3, pieces*E).

    mean, var: (pieces, E) in float64; bn: a `block.Norm`.
    """
    pieces, E = mean.shape
    out, statistics = _empty((pieces, 3, E), bn.gamma), _empty((3, pieces * E), bn.gamma)
    for k in range(pieces):
        for e in range(E):
            c = k * E + e
            statistics[0, c], statistics[1, c] = mean[k, e], var[k, e]
            statistics[2, c] = 1 / np.sqrt(var[k, e] + bn.eps)
            out[k, 0, e] = mean[k, e]
            out[k, 1, e] = bn.gamma[c] * statistics[2, c]
            out[k, 2, e] = bn.beta[c]
    return out, statistics


@compile_inline
def _expand(s, x, we, bn):
    """y1 = x @ we, (pieces, P, E), what normalises it, and its statistics, as `_normaliser` makes them.

    x: (1, P, C); we: (pieces, C, E).
    """
    y = _empty((s.pieces, x.shape[1], s.E), x)
    mean, var = np.empty((s.pieces, s.E)), np.empty((s.pieces, s.E))
    forward_loops.expand(x, we, s.groups_in, s.tile_in, y, mean, var)
    normaliser, statistics = _normaliser(mean, var, bn)
    return y, normaliser, statistics


@compile_inline
def _expand_inside(s, x, we, bn, threads):
    """x less its mean, `gram_we`, and the statistics of ``x @ we``, which follow from them: nothing is expanded.

    x: (1, P, C); we: (C, pieces*E). gram_we, like we, is x.T @ x @ we of the x less its mean.
    """
    _, P, C = x.shape
    mean, var = np.empty(C), np.empty(C)
    batchnorm_loops.statistics(x[0], s.chunk_in, mean, var)
    center, thin = _empty((C,), x), _empty(x.shape, x)
    for c in range(C):
        center[c] = mean[c]
    grams = np.empty((s.groups_thin, C, C))
    rooms, parts = np.empty((threads, s.tile, C)), np.empty((threads, C, C))
    forward_loops.center_thin(x[0], center, s.groups_thin, s.tile, rooms, parts, thin[0], grams)
    weights, total = we.astype(np.float64), np.zeros((C, C))
    for g in range(s.groups_thin):
        for i in range(C):
            for j in range(C):
                total[i, j] += grams[g, i, j]
    exact = np.dot(total, weights)  # gram_we in float64
    gram_we = _empty(we.shape, x)
    mean1, var1 = np.zeros((s.pieces, s.E)), np.zeros((s.pieces, s.E))
    for k in range(s.pieces):
        for c in range(C):
            for e in range(s.E):
                j = k * s.E + e
                gram_we[c, j] = exact[c, j]
                mean1[k, e] += mean[c] * weights[c, j]
                var1[k, e] += weights[c, j] * exact[c, j]
        for e in range(s.E):
            var1[k, e] = max(var1[k, e] / P, 0)
    normaliser, statistics = _normaliser(mean1, var1, bn)
    for k in range(s.pieces):
        for e in range(s.E):
            normaliser[k, 0, e] = 0  # x is less its mean, so that of x @ we is 0
    return thin, gram_we, normaliser, statistics


@compile_inline
def _depthwise(s, x, we, norm1, wd, bn, threads):
    """y2, (pieces, N*OH*OW, E), what normalises it, and its statistics. x: y1, or what it is made of."""
    y = _empty((s.pieces * s.N, s.OH * s.OW, s.E), x)
    mean, var = np.empty((s.pieces, s.E)), np.empty((s.pieces, s.E))
    columns = max(s.left + s.W + s.right, s.stride * (s.OW - 1) + 3)
    wide, raw = _empty((threads, 4, columns, s.E), x), _empty((threads, 4 * s.W if s.inside else 0, s.E), x)
    depthwise_loops.depthwise(
        x, s.inside != 0, we, norm1, s.expands != 0, wd, s.H, s.W, s.stride, s.top, s.left, s.OW,
        wide, raw, y, mean, var,
    )  # fmt: skip
    normaliser, statistics = _normaliser(mean, var, bn)
    return y.reshape((s.pieces, s.N * s.OH * s.OW, s.E)), normaliser, statistics


@compile_inline
def _project(s, x, norm2, wp, bn, threads):
    """y3, (N*OH*OW, M), what normalises it, and its statistics. x: y2."""
    P = x.shape[1]
    shares = (s.pieces + s.each_out - 1) // s.each_out
    parts = _empty((shares, 1, P, s.M), x)
    hidden, narrow = _empty((threads, s.tile_out, s.E), x), _empty((threads, s.tile_out, s.M), x)
    forward_loops.project(
        x, norm2, wp, s.mixed_out, s.tile_out, s.each_out, hidden, narrow, parts.reshape((shares, P, s.M))
    )
    y = _sum(parts)
    mean, var = np.empty((1, s.M)), np.empty((1, s.M))
    batchnorm_loops.statistics(y, s.chunk_out, mean[0], var[0])
    normaliser, statistics = _normaliser(mean, var, bn)
    return y, normaliser, statistics


def _forward(x, s, shortcut, we, wd, wp, first, second, third, threads):
    """Expand, filter, project, each with its batch norm; with `shortcut`, + x. `block.forward` has the Python side.

    x: (N*H*W, C); we: (C, pieces*E), any matrix without an expansion; wd: (9, pieces*E); wp: (pieces, E, M);
    first, second, third: the batch norms, see `block.Norm`; the first is any without an expansion.
    Returns out, (N*OH*OW, M), and what only this knows of `block.BlockCache`.
    """
    thin, wes = x.reshape((1, x.shape[0], s.C)), _split(we, s.pieces)
    y1, gram_we = thin, _empty((0, 0), x)
    if s.inside:
        thin, gram_we, norm1, statistics1 = _expand_inside(s, thin, we, first, threads)
        y1 = thin
    elif s.expands:
        y1, norm1, statistics1 = _expand(s, thin, wes, first)
    else:
        norm1, statistics1 = np.zeros((1, 3, s.C), x.dtype), np.zeros((3, 0), x.dtype)
        for c in range(s.C):
            norm1[0, 1, c] = 1  # which changes nothing
    wds = _split(wd, s.pieces).reshape((s.pieces, 3, 3, s.E))
    y2, norm2, statistics2 = _depthwise(s, y1, wes, norm1, wds, second, threads)
    y3, norm3, statistics3 = _project(s, y2, norm2, wp, third, threads)
    out = _empty(y3.shape, x)
    forward_loops.normalise(y3, norm3, x, shortcut, s.chunk_out, out)
    return out, thin, y1, gram_we, y2, y3, wes, wds, norm1, norm2, statistics1, statistics2, statistics3


@compile_apart
def _back(sums, norm, inv_std, m):
    """What `backward_loops.through_norm` needs, (pieces, 4, E); dgamma and dbeta, (pieces*E,).

    sums: (pieces, 2, E), of dz and dz * (y - mean); norm: (pieces, 3, E); inv_std: (pieces*E,); m: pixels.
    """
    pieces, _, E = sums.shape
    out = _empty((pieces, 4, E), norm)
    dgamma, dbeta = np.empty(pieces * E, norm.dtype), np.empty(pieces * E, norm.dtype)
    for k in range(pieces):
        for e in range(E):
            c = k * E + e
            gradient = sums[k, 1, e] * inv_std[c]  # dgamma, in float64
            dgamma[c], dbeta[c] = gradient, sums[k, 0, e]
            out[k, 0, e], out[k, 1, e] = norm[k, 0, e], norm[k, 1, e]
            out[k, 2, e], out[k, 3, e] = sums[k, 0, e] / m, gradient * inv_std[c] / m
    return out, dgamma, dbeta


@compile_inline
def _project_backward(s, dy, y2, norm2, wp, threads):
    """dz2, (pieces, P, E), dwp, (pieces*E, M), and the sums that `_back` needs of dz2. dy: (P, M)."""
    P = dy.shape[0]
    dz = _empty(y2.shape, dy)
    dw, sums = _empty((s.groups_out * s.pieces, s.E, s.M), dy), np.empty((s.pieces, 2, s.E))
    hidden, part = _empty((threads, s.tile_out, s.E), dy), _empty((threads, s.E, s.M), dy)
    wt = _transposed(wp)
    backward_loops.project(
        dy.reshape((1, P, s.M)), y2, norm2, wt, s.groups_out, s.tile_out, hidden, part, dz, dw, sums
    )  # fmt: skip
    return dz, _sum(dw.reshape((s.groups_out, 1, s.pieces * s.E, s.M))), sums


@compile_inline
def _depthwise_backward(s, dz, y2, back, y1, we, norm1, wd, threads):
    """What went in, backward: dz1, (pieces, P, E), dwd, (9, pieces*E), and the sums that `_back` needs of dz1.

    Where y1 is not stored, in place of dz1 what each piece adds to the gradient of x, (pieces, P, C); and the dwe of
    every image, (N*pieces, C, E), as far as the sums do not matter.
    """
    tasks, P, inside = s.pieces * s.N, s.N * s.H * s.W, s.inside != 0
    # `hidden` is a multiple of four columns, for the loops take four at a time; `wide` is what they then see
    across = (s.W + (s.left if s.stride == 2 else 0) + 3) // 4 * 4
    columns = max(across + 2, s.OW + 2 - s.left) if s.stride == 1 else max(across // 2 + 1, s.OW + 1)
    wide = _empty((threads, 4, columns, s.E), dz)
    hidden, spread = _empty((threads, 2, across, s.E), dz), _empty((threads, 2, across, s.E), dz)
    part, wt = _empty((threads, s.C, s.E), dz), _empty((1, 1, 1), dz)
    dx, dwe = _empty((s.pieces, P, s.C if inside else s.E), dz), _empty((tasks if inside else 0, s.C, s.E), dz)
    raw, room = y1, dx
    if inside:
        raw, room = _empty((threads, 2 * s.W, s.E), dz), _empty((threads, max(2 * s.W, s.tile_in), s.E), dz)
        scaled = _empty(we.shape, dz)
        for k in range(s.pieces):
            for c in range(s.C):
                for e in range(s.E):
                    scaled[k, c, e] = we[k, c, e] * norm1[k, 1, e]
        wt = _transposed(scaled)
    dw, sums = _empty((tasks, 3, 3, s.E), dz), np.empty((s.pieces, 2, s.E))
    depthwise_backward_loops.depthwise(
        dz.reshape((tasks, s.OH * s.OW, s.E)), y2.reshape((tasks, s.OH * s.OW, s.E)), back, s.OW, y1, inside, we, wt,
        norm1, s.expands != 0, wd, s.H, s.W, s.stride, s.top, s.left,
        wide, raw, hidden, spread, room, part, dx, dwe, dw, sums,
    )  # fmt: skip
    return dx, dwe, _sum(dw.reshape((s.N, s.pieces, 9, s.E))), sums


@compile_inline
def _expand_backward(s, dz, y1, back, dout, shortcut, x, we, threads):
    """dx, (P, C), + dout with a shortcut, and dwe, (C, pieces*E)."""
    P = x.shape[1]
    shares = (s.pieces + s.each_in - 1) // s.each_in
    dx, dw = _empty((shares, P, s.C), dz), _empty((s.mixed_in * s.pieces, s.C, s.E), dz)
    room, part = _empty((threads, s.tile_in, s.E), dz), _empty((threads, s.C, s.E), dz)
    narrow, wt = _empty((threads, s.tile_in, s.C), dz), _transposed(we)
    backward_loops.expand(
        dz, y1, back, wt, x, dout, shortcut, s.mixed_in, s.tile_in, s.each_in, room, part, narrow, dx, dw
    )
    return _sum(dx.reshape((shares, 1, P, s.C))), _sum(dw.reshape((s.mixed_in, s.pieces, s.C, s.E)))


@compile_inline
def _finish(s, parts, dwe, back, dout, shortcut, x, gram_we, we, threads):
    """dx and dwe, as `_expand_backward`, from what `_depthwise_backward` gave: the part that waited for the sums."""
    total = _sum(dwe.reshape((s.N, s.pieces, s.C, s.E)))  # (C, pieces*E)
    sloped, through, constant = _empty(we.shape, we), np.zeros((1, s.C, s.C), we.dtype), np.zeros(s.C, we.dtype)
    out, narrow, part = _empty((parts.shape[1], s.C), we), _empty((threads, s.tile, s.C), we), _empty((s.C, s.C), we)
    for k in range(s.pieces):
        for c in range(s.C):
            for e in range(s.E):
                scale, mean_dz, slope = back[k, 1, e], back[k, 2, e], back[k, 3, e]
                sloped[k, c, e] = we[k, c, e] * (scale * slope)
                constant[c] += we[k, c, e] * (scale * mean_dz)
                j = k * s.E + e
                total[c, j] = scale * (total[c, j] - gram_we[c, j] * slope)
        np.dot(sloped[k], we[k].T, part)  # transposed, but once a piece, not once a tile
        for i in range(s.C):
            for j in range(s.C):
                through[0, i, j] += part[i, j]
    backward_loops.finish(parts, x, through, constant, dout, shortcut, s.tile, narrow, out)
    return out, total


def _backward(
    dout, s, shortcut, x, y1, gram_we, y2, y3, we, wd, wp, norm1, norm2, gamma, beta, statistics1, statistics2,
    statistics3, threads
):  # fmt: skip
    """dx and the gradients of all parameters, from dout, (N*OH*OW, M), and the fields of `block.BlockCache`."""
    dy3 = _empty(dout.shape, dout)
    dgamma3, dbeta3 = np.empty(s.M, dout.dtype), np.empty(s.M, dout.dtype)
    batchnorm_loops.backward(
        dout, y3, statistics3[0], statistics3[2], gamma, beta, False, s.chunk_out, dgamma3, dbeta3, dy3
    )
    dz2, dwp, sums2 = _project_backward(s, dy3, y2, norm2, wp, threads)
    back2, dgamma2, dbeta2 = _back(sums2, norm2, statistics2[2], s.N * s.OH * s.OW)
    dz1, dwe, dwd, sums1 = _depthwise_backward(s, dz2, y2, back2, y1, we, norm1, wd, threads)
    # Without an expansion dz1 is the gradient of x, and the other three, which nobody reads, are any arrays.
    dx, dwe1, dgamma1, dbeta1 = dz1[0], we[0], dgamma3, dbeta3
    if s.expands:
        back1, dgamma1, dbeta1 = _back(sums1, norm1, statistics1[2], s.N * s.H * s.W)
        if s.inside:
            dx, dwe1 = _finish(s, dz1, dwe, back1, dout, shortcut, x, gram_we, we, threads)
        else:
            dx, dwe1 = _expand_backward(s, dz1, y1, back1, dout, shortcut, x, we, threads)
    elif shortcut:
        for p in range(dx.shape[0]):
            for c in range(s.C):
                dx[p, c] += dout[p, c]
    return dx, dwe1, dwd, dwp, dgamma1, dbeta1, dgamma2, dbeta2, dgamma3, dbeta3


forward = compile_kernel(_forward, contract=True)
backward = compile_kernel(_backward, contract=True)
