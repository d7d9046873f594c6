"""A product of matrices by tiles, ``x @ w``, and a standard convolution: the sums of a tile over all that it sees.

The plain version is ``x[pixels] @ w``; of a convolution `ops/conv.py`, whose windows are read here where they lie.
`depthwise.py` is this with one operator changed.
"""

from typing import NamedTuple

from npmnv2.kernels.jit import compile_scalar
from npmnv2.kernels.tiles import CHANNELS, add_scaled


class Window(NamedTuple):
    """The values that a pixel sees: some rows of so many in a row. A pixel of a 1x1 convolution sees one row."""

    rows: int
    length: int  # of a row
    pitch: int  # from the beginning of a row to that of the next


@compile_scalar
def add_window(tile, x, at, offset, window, w, row):
    """Add what the windows that begin at `at` + `offset` give with w, (rows * length, 16) from w[row] on."""
    for i in range(window.rows):
        for c in range(window.length):
            tile = add_scaled(tile, x, at, offset + i * window.pitch + c, w, row)
            row += CHANNELS
    return tile
