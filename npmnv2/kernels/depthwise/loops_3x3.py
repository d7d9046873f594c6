"""The 3x3 depthwise forward of layers, which run one by one: the loops of `loops.py`, several pixels at a time.

Read `loops.py` first; these compute the same sums. A tap of one pixel costs two loads (x and w) for one
multiply-add, and a core loads only as fast as it multiplies, so the plain loops wait for loads, and for `out`, which
they load and store once per tap. Here neighbouring pixels are computed at once, because their windows overlap and share
w: at stride 1 a block of two rows by four columns takes 24 + 9 loads and 8 stores for 72 multiply-adds::

    x: four rows by six columns                           out: two rows by four columns

    y       . . . . . .    kernel row 0 of s
    y + 1   . . . . . .    kernel row 1 of s, 0 of t      oy       s0 s1 s2 s3
    y + 2   . . . . . .    kernel row 2 of s, 1 of t      oy + 1   t0 t1 t2 t3
    y + 3   . . . . . .    kernel row         2 of t

In `windows_3x3.two_rows` `a` holds the six pixels of one row of x, `s` and `t` the sums of the two rows of out.

Where blocks may stand follows from ``y = stride * oy + i - top`` in `loops.py`. The whole window lies in the
image if its first row does, ``stride * oy - top >= 0``, and its last, ``stride * oy + 2 - top <= H - 1``. At stride 1
that is ``top <= oy < H - 2 + top``: the rows from `up` to `down`. Columns likewise, from `lo` to `hi`. At stride 2,
where a task is one row, there is a division by 2, rounded up for the first and down for the last.

Three habits keep the compiler's vector loop clean:

* The channel loop is innermost, contiguous, and starts at 0, so it needs no test for negative indices (Numba's arrays
  count from the end there) and becomes 8 or 16 channels an instruction.
* An index that is a difference goes through ``& NATURAL``, which says that it is not negative. Then the distances
  between the streams of one array (k columns apart, k rows apart) are plain sums, and LLVM's tests that the streams do
  not overlap leave the loop over blocks (9 % at 112x112x96 stride 2).
* No views: ``r = x[n, y]`` followed by ``r[xx, c]`` would be nicer to read, but Numba then no longer promises LLVM that
  the arrays are distinct: 250 cycles of tests per channel loop, three times the work itself at C = 32.

`contract` (fused multiply-add: one rounding, one instruction) is on: half the arithmetic, measured 0 to 10 %. The bits
do not depend on the thread count, since which pixels form a block depends on the shape alone.

What a block cannot cover, at the border, is computed by plainer loops: nothing is padded or copied.
"""

from numba import prange

from npmnv2.kernels.depthwise.finite import finite_weights
from npmnv2.kernels.depthwise.windows_3x3 import four_by_two, next_nine, two_rows
from npmnv2.kernels.jit import compile_inline, compile_kernel
from npmnv2.kernels.scalars import NATURAL


@compile_inline
def _border_row(x, w, stride, pads, sizes, place, out):
    """Row oy of image n: the plain loops. The sizes are the caller's: read from x again, they slow the blocks down."""
    (top, left), (H, W, C, OW), (n, oy) = pads, sizes, place
    for ox in range(OW):
        for c in range(C):
            out[n, oy, ox, c] = 0
        for i in range(3):
            y = stride * oy + i - top
            if 0 <= y < H:
                for j in range(3):
                    xx = stride * ox + j - left
                    if 0 <= xx < W:
                        for c in range(C):
                            out[n, oy, ox, c] += x[n, y, xx, c] * w[i, j, c]


def _forward_3x3_stride1(x, w, top, left, out):
    """`loops._forward` for a 3x3 kernel at stride 1, dilation 1. Owns two rows of `out`, or one."""
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    lo = min(OW, max(0, left))  # rows up <= oy < down and columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, W - 2 + left))
    up = min(OH, max(0, top))
    down = max(up, min(OH, H - 2 + top))
    pairs = (down - up) // 2 if hi - lo >= 4 else 0
    if pairs == 0:
        up = down = 0
    tasks = pairs + OH - (down - up)  # of one image: its pairs of rows, then its border rows
    for task in prange(N * tasks):
        n, k = task // tasks, task % tasks
        if k >= pairs:
            oy = k - pairs if k - pairs < up else k - pairs + down - up
            _border_row(x, w, 1, (top, left), (H, W, C, OW), (n, oy), out)
            continue

        # Of an odd number of rows the last pair takes three: it starts at the first and, moved back by one, at the
        # second, so the middle one is computed twice. Blocks step back in the same way.
        for start in range(up + 2 * k, down if k == pairs - 1 else up + 2 * k + 2, 2):
            oy = min(start, down - 2) & NATURAL
            y = (oy - top) & NATURAL
            for ox in range(OW):
                if ox < lo or ox >= hi:  # a column at the border
                    for c in range(C):
                        out[n, oy, ox, c] = 0
                        out[n, oy + 1, ox, c] = 0
                    for j in range(3):
                        xx = ox + j - left
                        if 0 <= xx < W:
                            for c in range(C):
                                w0, w1, w2 = w[0, j, c], w[1, j, c], w[2, j, c]
                                a0, a1 = x[n, y, xx, c], x[n, y + 1, xx, c]
                                a2, a3 = x[n, y + 2, xx, c], x[n, y + 3, xx, c]
                                out[n, oy, ox, c] += a0 * w0 + a1 * w1 + a2 * w2
                                out[n, oy + 1, ox, c] += a1 * w0 + a2 * w1 + a3 * w2
            for first in range(lo, hi, 4):
                ox = min(first, hi - 4) & NATURAL
                two_rows(x, w, (n, y, (ox - left) & NATURAL), out, (n, oy, ox))
    return finite_weights(x, w, 1, 1, top, left, out)


def _forward_3x3_stride2(x, w, top, left, out):
    """`loops._forward` for a 3x3 kernel at stride 2, dilation 1, in blocks of four. Owns a row of `out`."""
    N, H, W, C = x.shape
    _, OH, OW, _ = out.shape
    zero = x.dtype.type(0)
    lo = min(OW, max(0, (left + 1) // 2))  # columns lo <= ox < hi have their whole window in the image
    hi = max(lo, min(OW, (W - 3 + left) // 2 + 1))
    if hi - lo < 4:
        lo = hi = 0
    for row in prange(N * OH):
        n, oy = row // OH, row % OH
        y = 2 * oy - top
        if y < 0 or y + 3 > H:
            _border_row(x, w, 2, (top, left), (H, W, C, OW), (n, oy), out)
            continue

        for ox in range(OW):
            if ox < lo or ox >= hi:  # a column at the border
                for c in range(C):
                    out[n, oy, ox, c] = 0
                for j in range(3):
                    xx = 2 * ox + j - left
                    if 0 <= xx < W:
                        for c in range(C):
                            out[n, oy, ox, c] += (
                                x[n, y, xx, c] * w[0, j, c]
                                + x[n, y + 1, xx, c] * w[1, j, c]
                                + x[n, y + 2, xx, c] * w[2, j, c]
                            )

        for first in range(lo, hi, 4):
            ox = min(first, hi - 4) & NATURAL  # the last block steps back: a few pixels are computed twice, alike
            xx = (2 * ox - left) & NATURAL
            for c in range(C):
                s = (zero, zero, zero, zero)
                s = four_by_two(next_nine(x, n, y, xx, c), w[0, 0, c], w[0, 1, c], w[0, 2, c], s)
                s = four_by_two(next_nine(x, n, y + 1, xx, c), w[1, 0, c], w[1, 1, c], w[1, 2, c], s)
                s = four_by_two(next_nine(x, n, y + 2, xx, c), w[2, 0, c], w[2, 1, c], w[2, 2, c], s)
                out[n, oy, ox, c], out[n, oy, ox + 1, c], out[n, oy, ox + 2, c], out[n, oy, ox + 3, c] = s
    return finite_weights(x, w, 2, 1, top, left, out)


forward_3x3_stride1 = compile_kernel(_forward_3x3_stride1, contract=True)
forward_3x3_stride2 = compile_kernel(_forward_3x3_stride2, contract=True)
