"""Rows of an image with zeros around them, so that no window reaches over a border."""

from npmnv2.kernels.jit import compile_scalar
from npmnv2.kernels.scalars import NATURAL


@compile_scalar
def copy_rows(x, n, size, span, left, columns, rows, to):
    """Copy rows of image n to rows[to:], each with zeros left and right of it; rows beyond the image are zeros.

    x: flat, (N, H, W, C); size: (H, W, C); span: the first row, and how many; left: columns of zeros; if it is
    negative, -left columns of x are left out; columns: of what is copied.
    """
    (H, W, C), (y, count) = size, span
    begin = max(0, left)
    end = max(begin, min(columns, W + left))  # the columns begin <= c < end lie in the image
    for r in range(y, y + count):
        row, middle, right = to & NATURAL, (to + begin * C) & NATURAL, (to + end * C) & NATURAL
        if 0 <= r < H:
            source = (((n * H + r) * W + begin - left) * C) & NATURAL
            for v in range(begin * C):
                rows[row + v] = 0
            for v in range((end - begin) * C):
                rows[middle + v] = x[source + v]
            for v in range((columns - end) * C):
                rows[right + v] = 0
        else:
            for v in range(columns * C):
                rows[row + v] = 0
        to += columns * C
