"""Products by tiles of matrices that are multiplied once: nothing is packed, both are read where they lie.

The plain versions are ``x @ w`` and ``x.T @ y``. A tile of the result is a sum over the channels, or over the pixels:
a few values of one matrix times 16 of a row of the other (`tiles.add_scaled`). Columns that fill no tile of 16 make one
of 8, and what is left then is summed up one by one. OpenBLAS first copies both matrices into an order of its own,
unless a product is small and the core has AVX-512. At the sizes of MobileNet that takes as long as multiplying.
"""

from npmnv2.kernels.jit import compile_function, compile_scalar
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tiles import CHANNELS, FEW, HALF, PIXELS, add, add_scaled, places, put, zeros


@compile_function
def product(x, w, overwrite, out):
    """out = x @ w, or without `overwrite` out += x @ w. x: (P, C); w: (C, M); out: (P, M)."""
    C = x.shape[1]
    multiply(x.reshape(-1), C, range(C), w, overwrite, out)


@compile_function
def product_of_columns(x, y, overwrite, out):
    """out = x.T @ y, or without `overwrite` out += x.T @ y. x: (P, C); y: (P, M); out: (C, M)."""
    P, C = x.shape
    multiply(x.reshape(-1), 1, range(0, P * C, C), y, overwrite, out)


def _tile_of(pixels, channels):
    """The function that makes one tile, from row i and column m of out on, of so many."""

    @compile_scalar
    def tile(x, apart, along, w, overwrite, out, size, begin):
        (P, M), (i, m) = size, begin
        at, to, row = places(i, P - 1, apart, pixels), places(i, P - 1, M, pixels), m
        sums = zeros(x, to, channels)
        for offset in along:
            sums = add_scaled(sums, x, at, offset, w, row)
            row += M
        put(sums if overwrite else add(sums, out, to, m), out, to, m)

    return tile


_tile, _few, _half = _tile_of(PIXELS, CHANNELS), _tile_of(FEW, CHANNELS), _tile_of(PIXELS, HALF)


@compile_function
def multiply(x, apart, along, w, overwrite, out):
    """out[i] = the sum over k of x[i * apart + along[k]] * w[k], or without `overwrite` out[i] += that sum.

    x is flat; apart: a number, or a table, whose i-th value stands for i * apart; along: a table, or a range. So
    ``x @ w`` has apart = C and along = 0, 1, ..., a row of x; ``x.T @ y`` has apart = 1 and along = 0, C, 2 C, ..., a
    column.
    """
    P, M = size = out.shape
    w, out = w.reshape(-1), out.reshape(-1)
    done = M - M % CHANNELS
    for m in range(0, done, CHANNELS):
        for i in range(0, P, PIXELS):
            if P - i > FEW:
                _tile(x, apart, along, w, overwrite, out, size, (i, m))
            else:
                _few(x, apart, along, w, overwrite, out, size, (i, m))
    if M - done >= HALF:
        for i in range(0, P, PIXELS):
            _half(x, apart, along, w, overwrite, out, size, (i, done))
        done += HALF
    for i in range(P if done < M else 0):
        begin = places(i, P - 1, apart, FEW)[0]  # i * apart, or apart[i]
        for m in range(done, M):  # value by value the same sum, rounded after each product too
            total, row = x.dtype.type(0), m
            for offset in along:
                total += x[(begin + offset) & NATURAL] * w[row & NATURAL]
                row += M
            to_one = (i * M + m) & NATURAL
            out[to_one] = total if overwrite else out[to_one] + total
