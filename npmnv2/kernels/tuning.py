"""The numbers that depend on the core. `benchmarks/tune.py` measures those of a block and prints why they are so."""

import platform
from typing import NamedTuple

import numba
from llvmlite import binding


class Tuning(NamedTuple):
    """What suits one kind of core. Results do not depend on it, but for the order of sums that `piece` decides."""

    pixels: int  # of a tile: with 16 channels each, their sums fill the registers and leave room for the weights
    rows_from: int  # columns of the wide image: from here on an inference block is cut by rows, below by channels
    cache: int  # bytes of the rows of wide and hidden that one core works on: twice as many are no faster
    # Channels of a piece, if it is cut by channels. Twice as many save up to 3 % on one or two threads, but pieces are
    # tasks: of an image of 14x14 there would be two, and nothing to do for a third thread.
    piece: int
    gather: int  # pixels: so many and no more of several small images go through a piece together


class Training(NamedTuple):
    """The same for training, where all cores share them: each but `update` decides in which order something is summed.

    How many threads there are decides nothing, or the bits would depend on it.
    """

    tile: int = 256  # pixels in one product, at most: two or three tiles of a piece lie in the second-level cache
    piece: int = 192  # channels in a piece, at most
    tasks: int = 8  # at least so many, if there are pixels enough (a task of the depthwise step is an image of a piece)
    # Pixels of the batch for each channel of x: from here on y1 is computed anew rather than stored. Not if a piece has
    # fewer channels than x, for then the backward stores, in place of dz1, an array like x for each piece.
    recompute: int = 64
    few: int = 192  # pixels: a group of fewer does not pay for the gradients of the weights that it holds for itself
    chunk: int = 1 << 14  # values that batch norm sums up together: it reads them twice, the second time from the cache
    update: int = 1 << 12  # values that SGD changes in a task: likewise


class Convolution(NamedTuple):
    """The same for a standard convolution, and for a pointwise one alone: all depend on what the caches of a core hold.

    The first two decide in which order something is summed up, so all cores share them.
    """

    depth: int = 256  # taps in a sum, of one channel each: their weights for 16 channels stay in the first-level cache
    band: int = 1 << 19  # bytes that the sums of a band read and write, for one core: they stay in the second level
    fits: int = 1 << 22  # bytes of an image that all levels hold; a larger one is read faster if it is copied


AVX512 = Tuning(pixels=7, rows_from=20, cache=1 << 19, piece=128, gather=160)  # 32 registers of 16 floats
# 16 registers of 8 floats: the sums take 12, a row of weights two and a value one. With 7 a sum is in memory, and a
# product has half the speed.
AVX2 = AVX512._replace(pixels=6)
ARM64 = AVX512._replace(pixels=6)  # 32 registers of 4 floats: the sums take 24


def compiles_avx512() -> bool:
    """Whether Numba compiles for AVX-512: what ``NUMBA_CPU_FEATURES`` says, or else what the core can."""
    asked = numba.config.CPU_FEATURES
    if asked is not None:
        return "+avx512f" in asked
    return bool(binding.get_host_cpu_features().get("avx512f"))


def of_this_core() -> Tuning:
    """The numbers for this core; of one that nobody has measured those of AVX2, which need the fewest registers."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return ARM64
    return AVX512 if compiles_avx512() else AVX2


TUNING, TRAINING, CONVOLUTION = of_this_core(), Training(), Convolution()
