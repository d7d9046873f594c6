"""Products by tiles of matrices that are multiplied once: nothing is packed, both are read where they lie.

The plain versions are ``x @ w`` and ``x.T @ y``. A tile of the result is a sum over the channels, or over the pixels:
a few values of one matrix times 16 of a row of the other (`tiles.add_scaled`). Columns that fill no tile of 16 make one
of 8, and what is left then is summed up one by one. OpenBLAS first copies both matrices into an order of its own,
unless a product is small and the core has AVX-512. At the sizes of MobileNet that takes as long as multiplying.
"""

from npmnv2.kernels.jit import compile_apart, compile_scalar
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import (
    CHANNELS,
    FEW,
    HALF,
    PIXELS,
    add,
    add_scaled,
    few_places,
    half_zeros,
    places,
    put,
    zeros,
)


@compile_apart
def product(x, w, begins, out):
    """out += x @ w, or where a sum begins out = x @ w. x: (P, C); w: (C, M); out: (P, M)."""
    C = x.shape[1]
    multiply(x.reshape(-1), C, range(C), w, begins, out)


@compile_apart
def product_of_columns(x, y, begins, out):
    """out += x.T @ y, or where a sum begins out = x.T @ y. x: (P, C); y: (P, M); out: (C, M)."""
    P, C = x.shape
    multiply(x.reshape(-1), 1, range(0, P * C, C), y, begins, out)


@compile_apart
def multiply(x, at, along, w, begins, out):
    """out[i] += the sum over k of x[at[i] + along[k]] * w[k], or where a sum begins out[i] = that sum.

    x is flat; at: a table, or a number a, which stands for at[i] = a * i; along: a table, or a range. So ``x @ w`` has
    at = C and along = 0, 1, ..., a row of x; ``x.T @ y`` has at = 1 and along = 0, C, 2 C, ..., a column.
    """
    (P, M), last = out.shape, out.shape[0] - 1
    w, out = w.reshape(-1), out.reshape(-1)
    done = M - M % CHANNELS
    for m in range(0, done, CHANNELS):
        for i in range(0, P, PIXELS):
            if P - i > FEW:
                to = places(i, last, M)
                tile = _sum(zeros(x, to), x, places(i, last, at), along, w, m, M)
                put(tile if begins else add(tile, out, to, m), out, to, m)
            else:
                few_to = few_places(i, last, M)
                few = _sum(zeros(x, few_to), x, few_places(i, last, at), along, w, m, M)
                put(few if begins else add(few, out, few_to, m), out, few_to, m)
    if M - done >= HALF:
        for i in range(0, P, PIXELS):
            to = places(i, last, M)
            half = _sum(half_zeros(x, to), x, places(i, last, at), along, w, done, M)
            put(half if begins else add(half, out, to, done), out, to, done)
        done += HALF
    for i in range(P if done < M else 0):
        begin = places(i, last, at)[0]
        for m in range(done, M):  # value by value the same sum, rounded after each product too
            total, row = x.dtype.type(0), m
            for offset in along:
                total += x[(begin + offset) & NATURAL] * w[row & NATURAL]
                row += M
            to_one = (i * M + m) & NATURAL
            out[to_one] = total if begins else out[to_one] + total


@compile_scalar
def _sum(tile, x, at, along, w, m, M):
    """The sum of one tile."""
    for offset in along:
        tile = add_scaled(tile, x, at, offset, w, m)
        m += M
    return tile
