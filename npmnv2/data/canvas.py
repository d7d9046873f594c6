"""A harder set made from the embedded digits: one whole digit on a canvas of 32x32, among pieces of others."""

import numpy as np

from npmnv2.data.digits import Dataset, load_digits
from npmnv2.validate import Array, check_int

SIDE, DIGIT, PIECE = 32, 16, 8  # pixels
PIECES = 4  # of other digits, on every canvas
COPIES = 2  # canvases of every digit that is trained on


def load_canvas(held_out: int = 360, seed: int = 0) -> Dataset:
    """Make pictures of the embedded digits, each twice as large, somewhere on a canvas, among pieces of other digits.

    A piece is a quarter of another digit and lies beside the whole one; of two on one pixel the brighter is seen. The
    class is that of the digit that is whole. Held-out canvases are made of held-out digits alone, pieces too.

    Parameters
    ----------
    held_out : int
        As in `load_digits`.
    seed : int
        Of the split, as there, and of the canvases.

    Returns
    -------
    Dataset
        Images (N, 32, 32, 1) from -1 to 1.

    Raises
    ------
    ValueError, TypeError
        As `load_digits` does.

    Examples
    --------
    >>> canvas = load_canvas()
    >>> canvas.train_x.shape, canvas.test_x.shape, float(canvas.train_x.min()), float(canvas.train_x.max())
    ((2874, 32, 32, 1), (360, 32, 32, 1), -1.0, 1.0)
    """
    digits, rng = load_digits(held_out, seed), np.random.default_rng((check_int(seed, "seed", 0), 1))
    train_x = np.concatenate([_canvases(digits.train_x, rng) for _ in range(COPIES)])  # (COPIES*N, 32, 32, 1)
    test_x = _canvases(digits.test_x, rng)
    return digits._replace(train_x=train_x, train_y=np.tile(digits.train_y, COPIES), test_x=test_x, preprocessing=None)


def _canvases(x: Array, rng: np.random.Generator) -> Array:
    N = len(x)
    large = x.repeat(2, axis=1).repeat(2, axis=2)  # (N, 16, 16, 1)
    out = np.full((N, SIDE, SIDE, 1), -1, x.dtype)
    for n in range(N):
        top, left = rng.integers(SIDE - DIGIT + 1, size=2)
        out[n, top : top + DIGIT, left : left + DIGIT] = large[n]
        rows, columns = np.indices(2 * (SIDE - PIECE + 1,))  # where a piece may begin
        beside = (rows <= top - PIECE) | (rows >= top + DIGIT) | (columns <= left - PIECE) | (columns >= left + DIGIT)
        places = np.argwhere(beside)
        for other, place in zip(rng.integers(N, size=PIECES), rng.permutation(places)[:PIECES], strict=True):
            (y, x0), (i, j) = place, rng.integers(2, size=2) * PIECE
            seen = out[n, y : y + PIECE, x0 : x0 + PIECE]
            np.maximum(seen, large[other, i : i + PIECE, j : j + PIECE], out=seen)
    return out
