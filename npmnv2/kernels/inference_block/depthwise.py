"""The second step of an inference block: ``hidden = relu6(depthwise(wide, wd) + bd)``.

The plain version is the depthwise convolution of `engine.folding.FoldedBlock`. The pixels of a tile are neighbours in a
row of the output. This is `product.py` with one operator changed: `add_products`, since a channel has its own filter.
"""

from npmnv2.kernels.jit import compile_apart, compile_scalar
from npmnv2.kernels.tiles import CHANNELS, PIXELS, add_products, clip, neighbours, places, put, spread


@compile_scalar
def filter_rows(b, k, images, rows):
    """`rows` rows of `hidden` for so many images, in the panels of piece k."""
    sizes, cut, bd, wd, wide, hidden = b.sizes, b.cut, b.weights.bd, b.weights.wd, b.scratch.wide, b.scratch.hidden
    K, s, panels = sizes.KH, sizes.stride, len(bd) // CHANNELS - k * cut.piece
    if sizes.KW != K or sizes.OW < PIXELS:
        K = 0
    for q in range(min(cut.piece, panels)):
        panel = k * cut.piece + q
        for i in range(images):
            begin = (q * cut.images + i) * cut.R * sizes.columns * CHANNELS
            to = (q * cut.images * cut.rows + i * rows) * sizes.OW * CHANNELS
            if K == 3 and s == 1:
                _filter_3x3(wide, begin, sizes, wd, bd, panel, hidden[to : to + rows * sizes.OW * CHANNELS])
            elif K == 3 and s == 2:
                _filter_3x3_stride2(wide, begin, sizes, wd, bd, panel, hidden[to : to + rows * sizes.OW * CHANNELS])
            elif K == 5 and s == 1:
                _filter_5x5(wide, begin, sizes, wd, bd, panel, hidden[to : to + rows * sizes.OW * CHANNELS])
            elif K == 5 and s == 2:
                _filter_5x5_stride2(wide, begin, sizes, wd, bd, panel, hidden[to : to + rows * sizes.OW * CHANNELS])
            else:
                _filter(wide, begin, sizes, wd, bd, panel, hidden[to : to + rows * sizes.OW * CHANNELS])


@compile_apart
def _filter(wide, begin, sizes, wd, bd, panel, hidden):
    """Some rows of a panel of `hidden`, for kernels of any size. Their first window begins at wide[begin]."""
    KH, KW, OW, s = sizes.KH, sizes.KW, sizes.OW, sizes.stride
    for r in range(len(hidden) // (OW * CHANNELS)):
        for p in range(0, OW, PIXELS):
            at = places(p, OW - 1, s * CHANNELS)
            tile = spread(bd, panel * CHANNELS, at)
            for i in range(KH):
                for j in range(KW):
                    row, tap = (s * r + i) * sizes.columns + j, (panel * KH + i) * KW + j
                    tile = add_products(tile, wide, at, begin + row * CHANNELS, wd, tap * CHANNELS)
            put(clip(tile), hidden, places(p, OW - 1, CHANNELS), r * OW * CHANNELS)


def _filter_of(K, s):
    """The same for one size of kernel and one stride, which the compiler makes faster.

    It unrolls the loops over taps, and at stride 1 it sees that windows side by side share most of their columns.
    """

    @compile_apart
    def filter_panel(wide, begin, sizes, wd, bd, panel, hidden):
        OW = sizes.OW
        for r in range(len(hidden) // (OW * CHANNELS)):
            for p in range(0, OW, PIXELS):
                first = min(p, OW - PIXELS)  # the last tile steps back
                at = neighbours(first, s * CHANNELS)
                tile = spread(bd, panel * CHANNELS, at)
                for i in range(K):
                    for j in range(K):
                        row, tap = (s * r + i) * sizes.columns + j, (panel * K + i) * K + j
                        tile = add_products(tile, wide, at, begin + row * CHANNELS, wd, tap * CHANNELS)
                put(clip(tile), hidden, neighbours(first, CHANNELS), r * OW * CHANNELS)

    return filter_panel


_filter_3x3, _filter_3x3_stride2, _filter_5x5, _filter_5x5_stride2 = (_filter_of(K, s) for K in (3, 5) for s in (1, 2))
