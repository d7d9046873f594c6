"""The loops of the batch norm kernels, on x as a matrix: (rows, C), one row per pixel.

Rows are cut into chunks of about 64 KB, by the shape alone. A chunk's values are summed in the dtype of x, which is
fast, and accurate since the chunk is short; the sums of chunks are merged in float64, in order. The formula of the
merging is derived in docs/derivations/batchnorm.md, "Statistics in pieces".

Sums are taken four rows at a time: one row at a time, a core spends most of them loading and storing the running sum.
"""

import numpy as np
from numba import prange

from npmnv2.kernels.jit import compile_kernel, compile_scalar
from npmnv2.kernels.scalars import all_finite, let_through, merge_moments, relu6
from npmnv2.kernels.tuning import TRAINING


def chunk_rows(channels):
    """Rows per chunk."""
    return max(1, TRAINING.chunk // channels)


def _statistics(x, size, mean, var):
    """Mean and biased variance of every channel, in float64; whether all are finite."""
    R, C = x.shape
    chunks = (R + size - 1) // size
    center = np.zeros((chunks, C), x.dtype)  # about the mean of a chunk
    deviation = np.zeros((chunks, C), x.dtype)  # sum of the deviations from it: rounding alone, nearly 0
    square = np.zeros((chunks, C), x.dtype)  # sum of their squares
    for k in prange(chunks):
        first, last = k * size, min(R, k * size + size)
        fours = last - (last - first) % 4
        for r in range(first, fours, 4):
            for c in range(C):
                center[k, c] += (x[r, c] + x[r + 1, c]) + (x[r + 2, c] + x[r + 3, c])
        for r in range(fours, last):
            for c in range(C):
                center[k, c] += x[r, c]
        for c in range(C):
            center[k, c] /= last - first
        for r in range(first, fours, 4):
            for c in range(C):
                d0, d1 = x[r, c] - center[k, c], x[r + 1, c] - center[k, c]
                d2, d3 = x[r + 2, c] - center[k, c], x[r + 3, c] - center[k, c]
                deviation[k, c] += (d0 + d1) + (d2 + d3)
                square[k, c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        for r in range(fours, last):
            for c in range(C):
                d = x[r, c] - center[k, c]
                deviation[k, c] += d
                square[k, c] += d * d
    for c in range(C):
        mean[c] = 0
        var[c] = 0
    for k in range(chunks):  # in order: the result does not depend on who computed which chunk
        before, now = k * size, min(R, k * size + size) - k * size  # rows in the chunks before, rows in this one
        for c in range(C):
            mean[c], var[c] = merge_moments(mean[c], var[c], before, now, center[k, c], deviation[k, c], square[k, c])
    for c in range(C):
        var[c] /= R
        if var[c] < 0:  # by rounding
            var[c] = 0
    return all_finite(var)  # if a sum above was not finite, neither is a variance


def _normalise(x, mean, inv_std, gamma, beta, clip, size, out):
    """out = (x - mean) * inv_std * gamma + beta, clipped to [0, 6] if `clip`."""
    R, C = x.shape
    chunks = (R + size - 1) // size
    zero, six = x.dtype.type(0), x.dtype.type(6)  # a plain 0 would turn the whole expression into float64
    for k in prange(chunks):
        for r in range(k * size, min(R, k * size + size)):
            for c in range(C):
                y = (x[r, c] - mean[c]) * inv_std[c] * gamma[c] + beta[c]
                out[r, c] = relu6(y, zero, six) if clip else y


@compile_scalar
def _xhat_dy(x, dout, channel, clip, zero, six):
    """One value normalised again, and the gradient that the ReLU6 behind it (if `clip`) lets through."""
    mean, inv_std, gamma, beta = channel
    xhat = (x - mean) * inv_std
    return xhat, let_through(dout, xhat * gamma + beta, zero, six) if clip else dout


def _backward(dout, x, norm, clip, size, dgamma, dbeta, dx):
    """dx = gamma * inv_std * (dy - sum(dy) / R - xhat * sum(dy * xhat) / R): the two sums, then one pass.

    norm: mean, inv_std, gamma and beta, as a plain tuple, which Numba takes apart sooner than a record.
    """
    (R, C), (mean, inv_std, gamma, beta) = x.shape, norm
    chunks = (R + size - 1) // size
    zero, six = x.dtype.type(0), x.dtype.type(6)
    sum_dy = np.zeros((chunks, C), x.dtype)
    sum_dy_xhat = np.zeros((chunks, C), x.dtype)
    for k in prange(chunks):
        first, last = k * size, min(R, k * size + size)
        fours = last - (last - first) % 4
        for r in range(first, fours, 4):
            for c in range(C):
                channel = mean[c], inv_std[c], gamma[c], beta[c]
                h0, d0 = _xhat_dy(x[r, c], dout[r, c], channel, clip, zero, six)
                h1, d1 = _xhat_dy(x[r + 1, c], dout[r + 1, c], channel, clip, zero, six)
                h2, d2 = _xhat_dy(x[r + 2, c], dout[r + 2, c], channel, clip, zero, six)
                h3, d3 = _xhat_dy(x[r + 3, c], dout[r + 3, c], channel, clip, zero, six)
                sum_dy[k, c] += (d0 + d1) + (d2 + d3)
                sum_dy_xhat[k, c] += (d0 * h0 + d1 * h1) + (d2 * h2 + d3 * h3)
        for r in range(fours, last):
            for c in range(C):
                channel = mean[c], inv_std[c], gamma[c], beta[c]
                xhat, dy = _xhat_dy(x[r, c], dout[r, c], channel, clip, zero, six)
                sum_dy[k, c] += dy
                sum_dy_xhat[k, c] += dy * xhat
    dbeta64, dgamma64 = np.zeros(C), np.zeros(C)
    for k in range(chunks):
        for c in range(C):
            dbeta64[c] += sum_dy[k, c]
            dgamma64[c] += sum_dy_xhat[k, c]
    scale, mean_dy, mean_dy_xhat = np.zeros(C, x.dtype), np.zeros(C, x.dtype), np.zeros(C, x.dtype)
    for c in range(C):
        dbeta[c] = dbeta64[c]
        dgamma[c] = dgamma64[c]
        scale[c] = gamma[c] * inv_std[c]
        mean_dy[c] = dbeta64[c] / R
        mean_dy_xhat[c] = dgamma64[c] / R
    for k in prange(chunks):
        for r in range(k * size, min(R, k * size + size)):
            for c in range(C):
                channel = mean[c], inv_std[c], gamma[c], beta[c]
                xhat, dy = _xhat_dy(x[r, c], dout[r, c], channel, clip, zero, six)
                dx[r, c] = scale[c] * (dy - mean_dy[c] - xhat * mean_dy_xhat[c])


statistics = compile_kernel(_statistics)
normalise = compile_kernel(_normalise)
backward = compile_kernel(_backward, contract=True)  # 4 % less of a training step of 8x224x224
