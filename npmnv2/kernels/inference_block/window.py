"""A tile of a product, ``x @ w``, or of a standard convolution, w in panels: the sum over all that its pixels see.

The plain version is ``x[pixels] @ w``; that of a convolution is in `ops/conv.py`. Windows are read where they lie, not
copied. `kernels/products.py` multiplies matrices that are not in panels; `depthwise.py` is this with one operator
changed.
"""

from typing import NamedTuple

from npmnv2.kernels.jit import compile_scalar
from npmnv2.kernels.tiles import CHANNELS, add_scaled, fetch, spread


class Window(NamedTuple):
    """The values that a pixel sees, in rows. Of a 1x1 convolution of x it is one row, the
    channels of a pixel; of one of `hidden` a row a panel."""

    rows: int
    length: int  # values of a row
    pitch: int  # values from the beginning of a row to that of the next


@compile_scalar
def add_window(tile, x, at, offset, window, w, row):
    """Add the products of windows, which begin at `at` + `offset`, and the panel (rows * length, 16) from w[row] on."""
    ahead = window.rows * window.length * CHANNELS  # to the same row of the next panel
    for i in range(window.rows):
        for c in range(window.length):
            tile = add_scaled(tile, x, at, offset + i * window.pitch + c, w, row)
            fetch(w, row + ahead)
            row += CHANNELS
    return tile


@compile_scalar
def with_bias(x, at, offset, window, w, b, m):
    """The products of windows with the panel of channels m to m + 15, + b."""
    return add_window(spread(b, m, at), x, at, offset, window, w, m * window.rows * window.length)
