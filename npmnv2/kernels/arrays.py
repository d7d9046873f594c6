"""What the wrappers share. At 7x7x960 a kernel runs for 20 us, so what Python does around it has to be little."""

import ctypes
import math
from functools import lru_cache
from typing import Any

import numpy as np

from npmnv2.kernels.jit import compile_function, compile_inline
from npmnv2.shapes import Geometry, Padding, conv_geometry
from npmnv2.validate import Array


def contiguous(value: Array) -> Array:
    """`value` contiguous, aligned and writable: a read-only array is another type to Numba, compiled anew."""
    if value.flags.carray:
        return value
    return np.require(value, requirements=["C", "A", "W"])


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`np.empty` that begins at a cache line, 64 bytes.

    NumPy promises 16. A vector register of 64 bytes then lies across two lines every time it is loaded or stored, and
    the next kernel, which reads this array, was measured 5 to 30 % slower.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    return np.ndarray(shape, dtype, memory, offset=-ctypes.addressof(ctypes.c_char.from_buffer(memory.data)) % 64)


@compile_inline
def aligned(shape, like):
    """The same in compiled code, in the dtype of `like`."""
    return _memory(_product(shape), like.dtype).reshape(shape)


@compile_function
def _product(shape):
    size = 1
    for length in shape:
        size *= length
    return size


@compile_function
def _memory(size, dtype):
    memory = np.empty(size + 16, dtype)  # 64 bytes more, or 128
    first = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[first : first + size]


_remembered = lru_cache(maxsize=256)(conv_geometry)


def geometry_of(H: int, W: int, KH: int, KW: int, stride: int, padding: Padding, dilation: int) -> Geometry:
    """`shapes.conv_geometry`, remembered: a network asks the same few questions at every step, at 7 us each."""
    if type(padding) in (int, str) and type(stride) is int and type(dilation) is int:  # not bool: True equals 1
        return _remembered(H, W, KH, KW, stride, padding, dilation)
    return conv_geometry(H, W, KH, KW, stride, padding, dilation)
