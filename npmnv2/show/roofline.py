"""How fast this machine can be, measured on the spot: the two lines of a roofline.

No layer computes faster than the machine multiplies matrices that stay in cache, nor moves its bytes faster than the
machine copies as many. Whichever takes longer is the layer's limit:

    seconds >= max(2 * multiply-adds / (products, FLOP/s),  bytes / (copies of that size, bytes/s))

Copies have no single speed: 256 KB lie in a core's own cache, 64 MB in memory. So several sizes are measured.

References
----------
.. [1] Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from npmnv2.runtime.blas import limit_blas
from npmnv2.runtime.threads import get_num_threads, one_pool

SIDES = (384, 768, 1536)  # of square matrices
SIZES = tuple(1 << k for k in range(18, 28, 2))  # bytes read and written: 256 KB to 64 MB


class Limit(NamedTuple):
    """The least time that a piece of work can take, and what sets it."""

    seconds: float
    by: str  # "flop" or "byte"


class Roofline(NamedTuple):
    """What `measure` found.

    Examples
    --------
    >>> machine = Roofline(1, 100e9, {1 << 16: 100e9, 1 << 20: 10e9})
    >>> machine.limit(5e9, 1 << 10)
    Limit(seconds=0.05, by='flop')
    >>> machine.limit(0, 1 << 20), machine.copy_speed(1 << 30) == 10e9
    (Limit(seconds=0.0001048576, by='byte'), True)
    """

    threads: int
    flop_per_s: float
    bytes_per_s: dict[int, float]  # by how many bytes a copy reads and writes

    def copy_speed(self, size: float) -> float:
        """Bytes a second for so many bytes, between the sizes that were measured by the size's logarithm."""
        known = sorted(self.bytes_per_s)
        speeds = [self.bytes_per_s[k] for k in known]
        return float(np.interp(np.log(max(size, 1)), np.log(known), speeds))

    def limit(self, flop: float, size: float) -> Limit:
        """For work of so many floating-point operations that moves so many bytes."""
        return max(Limit(flop / self.flop_per_s, "flop"), Limit(size / self.copy_speed(size), "byte"))


def measure(seconds: float = 1.0) -> Roofline:
    """Measure this machine, in float32, on `get_num_threads` threads, in about so many seconds.

    Products of matrices run on BLAS's threads, copies on Numba's. The fastest of several counts.

    Examples
    --------
    >>> machine = measure(seconds=0.01)
    >>> machine.flop_per_s > 0 and min(machine.bytes_per_s.values()) > 0
    True
    """
    threads, each = get_num_threads(), seconds / (len(SIDES) + len(SIZES))
    with limit_blas(threads):
        flop_per_s = max(2 * n**3 / _least(_product(n), each) for n in SIDES)
    with one_pool():
        copies = {size: size / _least(_copy(size), each) for size in SIZES}
    return Roofline(threads, flop_per_s, copies)


def _least(call: Callable[[], object], seconds: float) -> float:
    """The shortest of the times of a call, repeated for so long and three times at least."""
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _product(n: int) -> Callable[[], object]:
    a = np.ones((n, n), np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out)


def _copy(size: int) -> Callable[[], object]:
    from npmnv2.kernels.arrays import empty
    from npmnv2.kernels.copy import copy

    a, b = (empty((64, size // 8 // 64), np.dtype(np.float32)) for _ in range(2))
    a[...] = 0  # its pages exist from now on
    return lambda: copy(a, b)
