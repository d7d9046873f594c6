"""Blocks one after the other as one compiled call: if Python calls each, that takes 2 us a block.

The plain version is ``for block in blocks: x = block(x)``, as in `engine.folding.FoldedNetwork`. Compiled code takes a
list of equal records as `numba.typed.List`.
"""

from typing import Any

import numpy as np
from numba import prange
from numba.typed import List

from npmnv2.kernels.inference_block.channels import groups
from npmnv2.kernels.inference_block.project import add_parts
from npmnv2.kernels.inference_block.records import Bound
from npmnv2.kernels.inference_block.rows import bands
from npmnv2.kernels.jit import compile_inline, compile_kernel
from npmnv2.validate import Array


@compile_inline
def _run_thread(thread, x, blocks, i):
    """What one thread does of block i."""
    b = blocks[i]
    if b.rows.step > 0:
        bands(thread, x, b.weights, b.sizes, b.rows, b.scratch, b.out)
    else:
        groups(thread, x, b.weights, b.sizes, b.channels, b.scratch, b.out)


def _run(x, blocks):
    """Run blocks, each on the output of the one before: x, (N, rows, columns, C), and a list of `Bound`.

    A thread owns a run of tasks of a block and its plane of the scratch.
    """
    for i in range(len(blocks)):
        b = blocks[i]
        threads = len(b.scratch.wide)
        if threads == 1:
            _run_thread(np.int64(0), x, blocks, i)  # nothing to start: 1 us less
        else:
            for thread in prange(threads):
                _run_thread(np.int64(thread), x, blocks, i)
        if len(b.scratch.parts) > 1:
            add_parts(x, b.scratch.parts, b.weights.bp, b.sizes, b.out)
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

    def __init__(self, blocks: list[Bound]) -> None:
        self.blocks = blocks
        self._compiled: Any = None  # the same for compiled code, from the first call on

    def __add__(self, other: "Blocks") -> "Blocks":
        return Blocks(self.blocks + other.blocks)

    def __call__(self, x: Array) -> None:
        """Fill the outputs of all."""
        if self._compiled is None:
            self._compiled = begin(self.blocks[0])
            for block in self.blocks[1:]:
                append(self._compiled, block)
        run(x, self._compiled)
