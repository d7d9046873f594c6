"""What the wrappers share. At 7x7x960 a kernel runs for 20 us, so what Python does around it has to be little."""

import ctypes
import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from npmnv2.blas import load_scipy_blas
from npmnv2.shapes import Geometry, Padding, conv_geometry
from npmnv2.validate import Array


def plain(value: Array) -> Array:
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
    room = np.empty(size + 64, np.uint8)
    return np.ndarray(shape, dtype, room, offset=-ctypes.addressof(ctypes.c_char.from_buffer(room.data)) % 64)


_remembered = lru_cache(maxsize=256)(conv_geometry)


def geometry_of(H: int, W: int, KH: int, KW: int, stride: int, padding: Padding, dilation: int) -> Geometry:
    """`shapes.conv_geometry`, remembered: a network asks the same few questions at every step, at 7 us each."""
    if type(padding) in (int, str) and type(stride) is int and type(dilation) is int:  # not bool: True equals 1
        return _remembered(H, W, KH, KW, stride, padding, dilation)
    return conv_geometry(H, W, KH, KW, stride, padding, dilation)


@cache
def need_scipy(name: str) -> None:
    """Raise the error that says what to install, if compiled code could not call `np.dot`. Asked once for a name."""
    try:
        load_scipy_blas()  # here, not when Numba first wants it, which is after BLAS was limited
    except ImportError as missing:
        raise ImportError(f"kernels.{name} needs SciPy: pip install 'npmnv2[fast]'") from missing


@cache
def has_scipy() -> bool:
    """Whether compiled code can call `np.dot`. Asked once."""
    try:
        need_scipy("deferred")
    except ImportError:
        return False
    return True
