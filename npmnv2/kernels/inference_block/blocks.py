"""Blocks one after the other as one compiled call: if Python calls each, that takes 2 us a block.

The plain version is ``for block in blocks: x = block(x)``, as in `engine.folding.FoldedNetwork`. Compiled code takes a
list of equal records as `numba.typed.List`.
"""

from typing import Any

import numpy as np
from numba import prange
from numba.typed import List

from npmnv2.kernels.inference_block.block import run_share
from npmnv2.kernels.inference_block.project import add_parts
from npmnv2.kernels.inference_block.records import Bound
from npmnv2.kernels.jit import compile_kernel
from npmnv2.validate import Array


def _run(x, blocks, threads):
    """Run blocks, each on the output of the one before. x: flat. A thread owns its share of a block.

    blocks: a list with a `Bound` for each thread of the first block, then of the second, and so on. Each its own, for
    compiled code counts who uses an array, and threads that count in the same place wait for each other.
    """
    for i in range(0, len(blocks), threads):
        b = blocks[i]
        if threads == 1:
            run_share(np.int64(0), threads, x, b)  # nothing to start: 1 us less
        else:
            for thread in prange(threads):
                run_share(np.int64(thread), threads, x, blocks[i + thread])
        if len(b.scratch.parts) > 0:
            M = len(b.weights.bp)
            pixels = len(b.out) // M
            parts = b.scratch.parts.reshape(len(b.scratch.parts) // len(b.out), pixels, M)
            y = x[: len(b.out)].reshape(pixels, M) if b.sizes.shortcut else parts[0]
            add_parts(y, parts, b.sizes.shortcut, b.sizes.clip, b.out.reshape(pixels, M))
        x = b.out


def _begin(block):
    """A list of one block."""
    blocks = List()
    blocks.append(block)
    return blocks


def _append(blocks, block):
    """Compiled code alone appends to its lists."""
    blocks.append(block)


run = compile_kernel(_run, contract=True)
begin = compile_kernel(_begin, parallel=False)
append = compile_kernel(_append, parallel=False)


class Blocks:
    """Blocks that run as one call; those of two can be added."""

    def __init__(self, blocks: list[Bound], threads: int) -> None:
        self.blocks, self.threads = blocks, threads
        self._compiled: Any = None  # `blocks` for compiled code, from the first call on

    def __add__(self, other: "Blocks") -> "Blocks":
        return Blocks(self.blocks + other.blocks, self.threads)

    def __call__(self, x: Array) -> None:
        """Fill the outputs of all."""
        if self._compiled is None:
            self._compiled = begin(self.blocks[0])
            for block in self.blocks[1:]:
                append(self._compiled, block)
        run(x.reshape(-1), self._compiled, self.threads)
