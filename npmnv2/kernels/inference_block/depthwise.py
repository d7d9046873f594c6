"""The second step of an inference block: ``hidden = relu6(depthwise(wide, wd) + bd)``, for a 3x3 kernel.

The plain version is the depthwise convolution of `engine.folding.FoldedBlock`; of the loops it is `_pixel`, one pixel
after another, at any stride. The others add the same taps in the same order, for several neighbours at once.
"""

from npmnv2.kernels.inference_block.expand import relu6
from npmnv2.kernels.inference_block.records import NATURAL
from npmnv2.kernels.jit import compile_inline, compile_scalar
from npmnv2.kernels.windows_3x3 import four, four_by_two, next_six


@compile_inline
def filter_rows(wide, n, first, rows, piece, sizes, hidden, to):
    """`rows` rows of `hidden`, from pixel `to` on, from image n of `wide`.

    The window of the topmost begins in row `first`. `wide` is a ring: after its last row comes its first.
    """
    s, OW, R = sizes.stride, sizes.OW, wide.shape[1]
    if s == 1 and rows > 1 and OW >= 4:
        for pair in range(0, rows, 2):
            r = min(pair, rows - 2) & NATURAL  # the last pair steps back, as the last block of columns
            q = _in_ring(first + r, R)
            for column in range(0, OW, 4):
                ox = min(column, OW - 4) & NATURAL
                p = (to + r * OW + ox) & NATURAL
                _two_by_four(wide, n, q, ox, piece, hidden, p, (p + OW) & NATURAL)
    else:
        for r in range(rows):
            q = _in_ring(first + s * r, R)
            if s == 2 and OW >= 4:
                for column in range(0, OW, 4):
                    ox = min(column, OW - 4) & NATURAL
                    _four_by_stride_2(wide, n, q, (2 * ox) & NATURAL, piece, hidden, (to + r * OW + ox) & NATURAL)
            else:
                for ox in range(OW):
                    _pixel(wide, n, q, (s * ox) & NATURAL, piece, hidden, (to + r * OW + ox) & NATURAL)


@compile_scalar
def _in_ring(y, R):
    """Where rows y to y + 3 of the wide image lie: what the windows of two rows see, those of one see three of them."""
    y += R
    return (y % R) & NATURAL, ((y + 1) % R) & NATURAL, ((y + 2) % R) & NATURAL, ((y + 3) % R) & NATURAL


@compile_inline
def _pixel(wide, n, q, xx, piece, hidden, p):
    """Pixel p of `hidden`, whose window begins in column xx of the rows q of `wide`."""
    wd, bd = piece.wd, piece.bd
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    for e in range(wide.shape[3]):
        v = bd[e]
        v += wide[n, q[0], xx, e] * wd[0, 0, e]
        v += wide[n, q[0], xx + 1, e] * wd[0, 1, e]
        v += wide[n, q[0], xx + 2, e] * wd[0, 2, e]
        v += wide[n, q[1], xx, e] * wd[1, 0, e]
        v += wide[n, q[1], xx + 1, e] * wd[1, 1, e]
        v += wide[n, q[1], xx + 2, e] * wd[1, 2, e]
        v += wide[n, q[2], xx, e] * wd[2, 0, e]
        v += wide[n, q[2], xx + 1, e] * wd[2, 1, e]
        v += wide[n, q[2], xx + 2, e] * wd[2, 2, e]
        hidden[p, e] = relu6(v, zero, six)


@compile_inline
def _two_by_four(wide, n, q, xx, piece, hidden, p, below):
    """Eight pixels at stride 1: four from pixel p of `hidden` on, and the four below them."""
    wd, bd = piece.wd, piece.bd
    for e in range(wide.shape[3]):
        w00, w01, w02 = wd[0, 0, e], wd[0, 1, e], wd[0, 2, e]
        w10, w11, w12 = wd[1, 0, e], wd[1, 1, e], wd[1, 2, e]
        w20, w21, w22 = wd[2, 0, e], wd[2, 1, e], wd[2, 2, e]
        v = bd[e]
        upper = lower = (v, v, v, v)
        a = next_six(wide, n, q[0], xx, e)
        upper = four(a, w00, w01, w02, upper)
        a = next_six(wide, n, q[1], xx, e)
        upper, lower = four(a, w10, w11, w12, upper), four(a, w00, w01, w02, lower)
        a = next_six(wide, n, q[2], xx, e)
        upper, lower = four(a, w20, w21, w22, upper), four(a, w10, w11, w12, lower)
        a = next_six(wide, n, q[3], xx, e)
        lower = four(a, w20, w21, w22, lower)
        _put_four(hidden, p, e, upper)
        _put_four(hidden, below, e, lower)


@compile_inline
def _four_by_stride_2(wide, n, q, xx, piece, hidden, p):
    """Four pixels at stride 2."""
    wd, bd = piece.wd, piece.bd
    for e in range(wide.shape[3]):
        v = bd[e]
        sums = (v, v, v, v)
        sums = four_by_two(wide, n, q[0], xx, e, wd[0, 0, e], wd[0, 1, e], wd[0, 2, e], sums)
        sums = four_by_two(wide, n, q[1], xx, e, wd[1, 0, e], wd[1, 1, e], wd[1, 2, e], sums)
        sums = four_by_two(wide, n, q[2], xx, e, wd[2, 0, e], wd[2, 1, e], wd[2, 2, e], sums)
        _put_four(hidden, p, e, sums)


@compile_scalar
def _put_four(hidden, p, e, sums):
    """Four neighbours in `hidden` = relu6(sums)."""
    zero, six = hidden.dtype.type(0), hidden.dtype.type(6)
    hidden[p, e], hidden[p + 1, e] = relu6(sums[0], zero, six), relu6(sums[1], zero, six)
    hidden[p + 2, e], hidden[p + 3, e] = relu6(sums[2], zero, six), relu6(sums[3], zero, six)
