"""How many threads run, and that only one pool of them does at a time.

NumPy's matrix products (BLAS) and Numba's kernels each bring a pool of threads, and the threads of a pool wait for work
by spinning. With both at work on the same cores a network that takes 8 ms on one thread was measured to take 370 ms.
So while the backend is ``"numba"``, a model limits BLAS to one thread for as long as it runs, and restores it after.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from npmnv2.backends import current_backend
from npmnv2.blas import find_blas, limit_blas
from npmnv2.shapes import is_int


def set_num_threads(n: int) -> None:
    """Let compiled kernels, and BLAS under the ``"numpy"`` backend, use `n` threads from here on.

    The number never changes a result of a kernel, not in the last bit. (BLAS makes no such promise.)

    BLAS's number is the whole process's. The kernels' is this Python thread's: Numba starts every other one with the
    most there are, so a thread of your own that should use fewer calls this itself.

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
    import numba

    n = _check(n)
    numba.set_num_threads(n)
    find_blas().limit(limits=n, user_api="blas")


def get_num_threads() -> int:
    """How many threads compiled kernels use.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    import numba

    return int(numba.get_num_threads())


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """`set_num_threads`, for as long as the block runs.

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
        try:
            yield
        finally:
            numba.set_num_threads(before)


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
    with limit_blas(1):
        yield


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
