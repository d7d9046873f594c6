"""Reads which pixel each tap of the block's depthwise convolution sees.

One pixel of `x` is 1 and all others are 0; `we` hands it on, `wp` hands on middle channel 0, and the nine taps have
nine different values, so small that ReLU6 changes none of them. Then out shows which tap has seen that pixel, and from
which window. All pixels together are a matrix (pixel, window), which is compared with that of the right taps.
"""

from itertools import product

import numpy as np

from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding
from npmnv2.validate import Array

_TAPS = np.arange(1, 10).reshape(3, 3) / 16  # sums of them are exact, and below 6


def explain(wrong: Wrong) -> Finding | None:
    """What is wrong with the taps; None if nothing is, or nothing that has a name."""
    x = wrong.arguments[0]
    H, W = x.shape[1:3]
    read = _read(wrong)
    if np.array_equal(read, _matrix(H, W, _TAPS)) or not read.any():
        return None
    lost = [(i, j) for i, j in np.ndindex(3, 3) if not np.any(read == _TAPS[i, j])]
    left = _TAPS.copy()
    for tap in lost:
        left[tap] = 0.0
    if lost and np.array_equal(read, _matrix(H, W, left)):
        if len(lost) == 8 and left[2, 2]:
            return Finding("assigned", "Of the nine taps only the last is left in the depthwise convolution.")
        one = len(lost) == 1
        listed = ", ".join(map(str, lost))
        return Finding("tap-lost", f"Tap{'' if one else 's'} {listed} of wd meet{'s' if one else ''} no pixel.")
    for down, right in product(range(-2, 3), repeat=2):
        if np.array_equal(read, _matrix(H, W, _TAPS, down, right)):
            return Finding(
                "padding-offset",
                f"The middle tap of window (y, x) must see pixel (y, x); yours sees pixel ({_plus('y', down)}, "
                f"{_plus('x', right)}). Is there a row and a column of zeros on every side?",
            )
    inside = np.zeros((H, W))
    inside[1:-1, 1:-1] = 1.0
    if np.array_equal(read, _matrix(H, W, _TAPS) * inside.ravel()):
        return Finding("border-lost", "The windows on the border give zero: those are windows too.")
    return None


def _read(wrong: Wrong) -> Array:
    """(pixels, windows): the values of the taps that met."""
    x, we, wd, wp, t = wrong.arguments
    hand_on, taps, show = np.zeros_like(we), np.zeros_like(wd), np.zeros_like(wp)
    hand_on[0], taps[...], show[0, 0] = 1.0, _TAPS[:, :, None], 1.0
    found = []
    for row, column in np.ndindex(*x.shape[1:3]):
        pixel = np.zeros_like(x)
        pixel[0, row, column, 0] = 1.0
        found.append(wrong.call((pixel, hand_on, taps, show, t))[0][0, :, :, 0].ravel())
    return np.array(found)


def _matrix(H: int, W: int, taps: Array, down: int = 0, right: int = 0) -> Array:
    """(pixels, windows): the tap with which each window sees each pixel, if its middle sees (down, right) further."""
    found = np.zeros((H, W, H, W))
    for y, x, i, j in np.ndindex(H, W, 3, 3):
        row, column = y + i - 1 + down, x + j - 1 + right
        if 0 <= row < H and 0 <= column < W:
            found[row, column, y, x] = taps[i, j]
    return found.reshape(H * W, H * W)


def _plus(name: str, step: int) -> str:
    return f"{name} {'+' if step > 0 else '-'} {abs(step)}" if step else name
