"""The last step of an inference block: ``out = hidden @ wp + bp``, and x or ReLU6 at the end.

The plain version is the last convolution of `engine.folding.FoldedBlock` and its shortcut. A piece of the channels
gives a part of that sum; the first has the bias. What pieces give is added up in their order.
"""

from numba import prange

from npmnv2.kernels.inference_block.product import Window, add_window
from npmnv2.kernels.jit import compile_kernel, compile_scalar
from npmnv2.kernels.scalars import relu6
from npmnv2.kernels.tiles import CHANNELS, PIXELS, add, clip, places, put, spread, zeros


@compile_scalar
def project(x, b, out, k, pixel, pixels):
    """Add what piece k gives to so many pixels of `out`, from `pixel` on.

    `out` is a part of the sum, or the result: its first piece replaces what was there, its last adds x or clips.
    """
    sizes, cut, weights, hidden = b.sizes, b.cut, b.weights, b.scratch.hidden
    E, M = len(weights.bd), len(weights.bp)
    panels = min(cut.piece, E // CHANNELS - k * cut.piece)
    window = Window(panels, CHANNELS, cut.images * cut.rows * sizes.OW * CHANNELS)
    is_part = cut.pieces * cut.piece * CHANNELS < E
    last = not is_part and (k + 1) * cut.piece * CHANNELS >= E
    for m in range(0, M, CHANNELS):
        row = m * E + k * cut.piece * CHANNELS * CHANNELS
        for p in range(0, pixels, PIXELS):
            tile = spread(weights.bp, m) if k == 0 else zeros(hidden)
            tile = add_window(tile, hidden, places(p, pixels - 1, CHANNELS), 0, window, weights.wp, row)
            at, offset = places(p, pixels - 1, M), pixel * M + m
            if k > 0 and not is_part:
                tile = add(tile, out, at, offset)
            if last and sizes.shortcut:
                tile = add(tile, x, at, offset)
            if last and sizes.clip:
                tile = clip(tile)
            put(tile, out, at, offset)


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
