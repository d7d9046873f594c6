"""The last step of an inference block: ``out = hidden @ wp + bp``, and x or ReLU6 at the end.

The plain version is the last convolution of `engine.folding.FoldedBlock` and its shortcut. Each piece of the channels
gives a part of the sum, the first with the bias, and parts are added in the order of the pieces.
"""

from typing import NamedTuple

from numba import prange

from npmnv2.kernels.inference_block.window import Window, add_window
from npmnv2.kernels.jit import compile_kernel, compile_scalar
from npmnv2.kernels.scalars import relu6
from npmnv2.kernels.tiles import CHANNELS, FEW, PIXELS, add, clip, places, put, spread, zeros


class Last(NamedTuple):
    """What is done with a product, in this order; never both x and clip, such a block is not fused."""

    bias: bool  # begin with the bias, not with zeros
    out: bool  # add what earlier pieces left in `out`
    x: bool  # add the shortcut
    clip: bool  # ReLU6


@compile_scalar
def project(x, b, out, is_part, k, pixel, pixels):
    """Add what piece k gives to so many pixels of `out`, from `pixel` on. `out`: the result, or a part of it."""
    sizes, cut, hidden, wp, bp, E = b.sizes, b.cut, b.scratch.hidden, b.weights.wp, b.weights.bp, len(b.weights.bd)
    panels, M, last = min(cut.piece, E // CHANNELS - k * cut.piece), len(bp), pixels - 1
    window = Window(panels, CHANNELS, cut.images * cut.rows * sizes.OW * CHANNELS)
    ends = not is_part and (k + 1) * cut.piece * CHANNELS >= E
    todo = Last(k == 0, k > 0 and not is_part, ends and sizes.shortcut, ends and sizes.clip)
    for m in range(0, M, CHANNELS):
        row, offset = (k * cut.piece * M + m * panels) * CHANNELS, pixel * M + m
        for p in range(0, pixels, PIXELS):  # a helper that is given arrays and branches would count their users
            if pixels - p > FEW:
                at, to = places(p, last, CHANNELS, PIXELS), places(p, last, M, PIXELS)
                tile = spread(bp, m, at) if todo.bias else zeros(hidden, at, CHANNELS)
                tile = add_window(tile, hidden, at, 0, window, wp, row)
                put(_finished(tile, x, out, to, offset, todo), out, to, offset)
            else:
                few_at, few_to = places(p, last, CHANNELS, FEW), places(p, last, M, FEW)
                few = spread(bp, m, few_at) if todo.bias else zeros(hidden, few_at, CHANNELS)
                few = add_window(few, hidden, few_at, 0, window, wp, row)
                put(_finished(few, x, out, few_to, offset, todo), out, few_to, offset)


@compile_scalar
def _finished(tile, x, out, to, offset, todo):
    """A tile after what `Last` asks for."""
    if todo.out:
        tile = add(tile, out, to, offset)
    if todo.x:
        tile = add(tile, x, to, offset)
    if todo.clip:
        tile = clip(tile)
    return tile


def _add_parts(x, parts, shortcut, clip, out):
    """out = the sum of the parts, in their order, + x. x, out: (pixels, M); parts: (groups, pixels, M)."""
    groups, pixels, M = parts.shape
    zero, six = out.dtype.type(0), out.dtype.type(6)
    for p in prange(pixels):
        for m in range(M):
            out[p, m] = parts[0, p, m]
        for g in range(1, groups):
            for m in range(M):
                out[p, m] += parts[g, p, m]
        if shortcut:
            for m in range(M):
                out[p, m] += x[p, m]
        if clip:
            for m in range(M):
                out[p, m] = relu6(out[p, m], zero, six)


add_parts = compile_kernel(_add_parts, contract=True)
