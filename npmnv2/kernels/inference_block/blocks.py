"""Blocks one after the other as one compiled call, for a call from Python takes time with each.

The plain version is ``for block in blocks: x = block(x)``, as in `engine.folding.FoldedNetwork`. To compiled code a
list is a `numba.typed.List`, whose records are all of one type.
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

    blocks: a `Bound` for each thread of the first block, then of the second, and so on. Threads share none, since
    compiled code counts the users of an array, and threads that count in the same place wait for each other.
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
    """Add a block to such a list, which only compiled code can."""
    blocks.append(block)


run = compile_kernel(_run, contract=True)
begin = compile_kernel(_begin, parallel=False)
append = compile_kernel(_append, parallel=False)


class Blocks:
    """Blocks that run as one call; a + b runs those of a, then those of b."""

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
