"""How many threads run, and that only one pool of them does at a time.

NumPy's matrix products (BLAS) and Numba's kernels each bring a pool of threads, and the threads of a pool wait for work
by spinning. With both at work on the same cores a network that takes 8 ms on one thread was measured to take 370 ms.
So while the backend is ``"numba"``, BLAS is limited to one thread around every operation and kernel that calls it
(`engine.numba_backend`), and around a call of an engine (`one_pool`); afterwards it has again what it had.

Nobody else's threads are touched: those of PyTorch, say, which shares the cores as any other program does.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from npmnv2.backends import current_backend
from npmnv2.runtime.blas import limit_blas, set_blas
from npmnv2.shapes import is_int


class _Choice(NamedTuple):
    """What `set_num_threads` was called with. Each call makes a new one, so that a thread can see that it was."""

    n: int


class _This(threading.local):
    """What this Python thread knows: Numba keeps a number for every one, and starts each with the most there are."""

    follows: _Choice | None = None  # the choice that Numba was told in this thread
    limits: int = 0  # blocks of `limit_threads` that it is in


_choice: _Choice | None = None
_this = _This()


def set_num_threads(n: int) -> None:
    """Let compiled kernels, and BLAS under the ``"numpy"`` backend, use `n` threads from here on.

    The number never changes a result of a kernel, not in the last bit. (BLAS makes no such promise.)

    It holds for the whole process. Models and engines in other Python threads use it from their next call on, each so
    many: four Python threads that run models at once, on two threads each, are eight. For fewer in one of them there is
    `limit_threads`; inside such a block the number here is noted, and holds from its end on.

    Parameters
    ----------
    n : int
        1 to the number Numba started with: the cores, or ``NUMBA_NUM_THREADS`` in the environment.

    Raises
    ------
    ValueError
        For fewer or more than that.
    TypeError
        If `n` is not an integer.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _choice
    _choice = _Choice(_check(n))
    follow()
    set_blas(_choice.n)


def get_num_threads() -> int:
    """How many threads compiled kernels use, in a model or an engine that this Python thread calls.

    Without a `set_num_threads` as many as the process may use cores, or ``NUMBA_NUM_THREADS`` in the environment.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    import numba

    follow()
    return int(numba.get_num_threads())


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """`set_num_threads`, for as long as the block runs; the kernels' number for this Python thread alone.

    A network as small as the digits' is trained inside ``limit_threads(1)``: a kernel is done before a second thread
    has begun, so two gain nothing on an idle machine; on a busy one, where the threads of a pool that wait for work
    keep others from doing theirs, they were measured to make an epoch twenty times as long.

    Examples
    --------
    >>> with limit_threads(1):
    ...     get_num_threads()
    1
    """
    import numba

    n, before = _check(n), get_num_threads()
    with limit_blas(n):
        numba.set_num_threads(n)
        _this.limits += 1
        try:
            yield
        finally:
            _this.limits -= 1
            numba.set_num_threads(before)
            follow()


@contextmanager
def one_pool() -> Iterator[None]:
    """Inside, BLAS runs on one thread if the backend is ``"numba"``, so that the kernels' threads are the only pool.

    Examples
    --------
    >>> with one_pool():
    ...     pass
    """
    if current_backend() != "numba":
        yield
        return
    follow()
    with limit_blas(1):
        yield


def follow() -> None:
    """Tell Numba what another Python thread has chosen since, unless this one is in a block with its own number."""
    choice = _choice
    if choice is not None and _this.follows is not choice and _this.limits == 0:
        import numba

        numba.set_num_threads(choice.n)
        _this.follows = choice


def _check(n: int) -> int:
    import numba

    most = numba.config.NUMBA_NUM_THREADS
    if not is_int(n):
        raise TypeError(f"n must be an integer; was {n!r}")
    if not 1 <= n <= most:
        raise ValueError(
            f"n must lie between 1 and {most} (set NUMBA_NUM_THREADS before Python starts for more); was {n}"
        )
    return int(n)
