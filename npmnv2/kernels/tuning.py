"""The numbers that depend on the core. `benchmarks/tune.py` measures each and prints why it is what it is."""

import platform
from typing import NamedTuple


class Tuning(NamedTuple):
    """What suits one kind of core. Results do not depend on it, but for the order of sums that `piece` decides."""

    pixels: int  # of a tile: with 16 channels each, their sums fill the registers and leave room for the weights
    rows_from: int  # columns of the wide image: from here on an inference block is cut by rows, below by channels
    cache: int  # bytes of the rows of wide and hidden that one core works on: half of its second cache
    piece: int  # channels of a piece, if it is cut by channels
    gather: int  # pixels: so many and no more of several small images go through a piece together


X86 = Tuning(pixels=7, rows_from=20, cache=1 << 19, piece=128, gather=160)  # AVX-512 and AVX2: the same were best
ARM = X86._replace(pixels=6)  # 32 registers of 4 floats, of which 7 pixels leave none
TUNING = ARM if platform.machine().lower() in ("arm64", "aarch64") else X86  # of an unknown core as well
