"""The second step of an inference block: ``hidden = relu6(depthwise(wide, wd) + bd)``.

The plain version is the depthwise convolution of `engine.folding.FoldedBlock`. The pixels of a tile are neighbours in a
row of the output. This is `window.py` with one operator changed: `add_products`, since a channel has its own filter.
"""

from npmnv2.kernels.jit import compile_by_kernel, compile_function, compile_scalar
from npmnv2.kernels.tiles import CHANNELS, PIXELS, add_products, clip, neighbours, places, put, spread


@compile_scalar
def filter_rows(b, k, images, rows):
    """`rows` rows of `hidden` for so many images, in the panels of piece k."""
    sizes, cut, bd, wd, wide, hidden = b.sizes, b.cut, b.weights.bd, b.weights.wd, b.scratch.wide, b.scratch.hidden
    K, s, panels, length = sizes.KH, sizes.stride, len(bd) // CHANNELS - k * cut.piece, rows * sizes.OW * CHANNELS
    is_known = sizes.KW == K and (K == 3 or K == 5) and s <= 2 and sizes.OW >= PIXELS
    for q in range(min(cut.piece, panels)):
        panel = k * cut.piece + q
        for i in range(images):
            begin = (q * cut.images + i) * cut.R * sizes.columns * CHANNELS
            to = (q * cut.images * cut.rows + i * rows) * sizes.OW * CHANNELS
            given = wide, begin, sizes, wd, bd, panel, hidden[to : to + length]
            if is_known:
                _filter(K, s, given)
            else:
                _filter_any(*given)


def _filter_of(known_K, known_s):
    """The loops over a panel for one kernel and stride, or of None for any, and for rows that fill no tile."""
    any_kernel = known_K is None

    @compile_function
    def filter_panel(wide, begin, sizes, wd, bd, panel, hidden):
        """Some rows of a panel of `hidden`. Their first window begins at wide[begin]."""
        KH, KW, s = (sizes.KH, sizes.KW, sizes.stride) if any_kernel else (known_K, known_K, known_s)
        OW = sizes.OW
        for r in range(len(hidden) // (OW * CHANNELS)):
            for p in range(0, OW, PIXELS):
                first = min(p, OW - PIXELS)  # the last tile steps back
                at = places(p, OW - 1, s * CHANNELS, PIXELS) if any_kernel else neighbours(first, s * CHANNELS, PIXELS)
                tile = spread(bd, panel * CHANNELS, at)
                for i in range(KH):
                    for j in range(KW):
                        row, tap = (s * r + i) * sizes.columns + j, (panel * KH + i) * KW + j
                        tile = add_products(tile, wide, at, begin + row * CHANNELS, wd, tap * CHANNELS)
                to = places(p, OW - 1, CHANNELS, PIXELS) if any_kernel else neighbours(first, CHANNELS, PIXELS)
                put(clip(tile), hidden, to, r * OW * CHANNELS)

    return filter_panel


_filter_any, _filter = _filter_of(None, None), compile_by_kernel(_filter_of)
