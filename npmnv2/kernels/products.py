"""Products by tiles of matrices that are multiplied once: nothing is packed, both are read where they lie.

The plain versions are ``x @ w`` and ``x.T @ y``. A tile of the result is a sum over the channels, or over the pixels:
a few values of one matrix times 16 of a row of the other (`tiles.add_scaled`). Columns that fill no tile of 16 make one
of 8, and what is left then is summed up one by one. OpenBLAS first copies both matrices into an order of its own,
unless a product is small and the core has AVX-512. At the sizes of MobileNet that takes as long as multiplying.
"""

from typing import NamedTuple

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


class _Shape(NamedTuple):
    """out[i, j] is the sum over c < K of x[i * step + c * along] * w[c, j]."""

    rows: int
    K: int
    columns: int
    step: int
    along: int


@compile_apart
def product(x, w, begins, out):
    """out += x @ w, or where a sum begins out = x @ w. x: (P, C); w: (C, M); out: (P, M)."""
    (P, C), M = x.shape, w.shape[1]
    _multiply(x.reshape(-1), w.reshape(-1), _Shape(P, C, M, C, 1), begins, out.reshape(-1))


@compile_apart
def product_of_columns(x, y, begins, out):
    """out += x.T @ y, or where a sum begins out = x.T @ y. x: (P, C); y: (P, M); out: (C, M)."""
    (P, C), M = x.shape, y.shape[1]
    _multiply(x.reshape(-1), y.reshape(-1), _Shape(C, P, M, 1, C), begins, out.reshape(-1))


@compile_apart
def _multiply(x, w, shape, begins, out):
    rows, K, M, step, _ = shape
    last, whole = rows - 1, M - M % CHANNELS
    for j in range(0, whole, CHANNELS):
        for i in range(0, rows, PIXELS):
            if rows - i > FEW:
                at, to = places(i, last, step), places(i, last, M)
                tile = _sum(zeros(x, at), x, at, w, j, shape)
                put(tile if begins else add(tile, out, to, j), out, to, j)
            else:
                few_at, few_to = few_places(i, last, step), few_places(i, last, M)
                few = _sum(zeros(x, few_at), x, few_at, w, j, shape)
                put(few if begins else add(few, out, few_to, j), out, few_to, j)
    done = whole
    if M - whole >= HALF:
        done += HALF
        for i in range(0, rows, PIXELS):
            at, to = places(i, last, step), places(i, last, M)
            half = _sum(half_zeros(x, at), x, at, w, whole, shape)
            put(half if begins else add(half, out, to, whole), out, to, whole)
    if done < M:
        _multiply_plainly(x, w, shape, done, begins, out)


@compile_scalar
def _sum(tile, x, at, w, j, shape):
    """The sum of one tile."""
    offset, row = 0, j
    for _ in range(shape.K):
        tile = add_scaled(tile, x, at, offset, w, row)
        offset += shape.along
        row += shape.columns
    return tile


@compile_apart
def _multiply_plainly(x, w, shape, first, begins, out):
    """The columns from `first` on, value by value: what a tile computes."""
    rows, K, M, step, along = shape
    for i in range(rows):
        for j in range(first, M):
            total = x.dtype.type(0)
            for c in range(K):
                total += x[(i * step + c * along) & NATURAL] * w[(c * M + j) & NATURAL]
            to = (i * M + j) & NATURAL
            out[to] = total if begins else out[to] + total
