"""How many threads BLAS uses inside a block. The number is the process's, so blocks have to know of each other.

While the backend is ``"numba"``, it is one thread around each product of `ops` (`engine.numba_backend`) and around a
call of an engine. Compiled kernels call no BLAS.

Which of its kernels OpenBLAS runs, it decides as it loads, by what the CPU can do or by ``OPENBLAS_CORETYPE``. The
package chooses none.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside: dict[object, int] = {}  # the limit of every block that is running now, in any Python thread
_outside: dict[str, int] = {}  # what each library, by its file, gets back when the last block ends


@contextmanager
def limit_blas(n: int) -> Iterator[None]:
    """BLAS on `n` threads inside, or on fewer if another block says so.

    Blocks nest, and overlap where models run in several Python threads. So no block restores what it found, which may
    be another block's limit: the least limit of all that are running holds, and the last to leave restores what the
    first one found.

    Examples
    --------
    >>> with limit_blas(1):
    ...     pass
    """
    block = object()
    with _lock:
        lowers = _lowers(n)
        _inside[block] = n
        if lowers:  # which most do not: a product's block in an engine's
            _apply()
    try:
        yield
    finally:
        with _lock:
            del _inside[block]
            if _lowers(n):  # it was the least: the next least holds now
                _apply()


def _lowers(n: int) -> bool:
    """Whether n is below the limit of every block in `_inside`; also if there is none."""
    return not _inside or n < min(_inside.values())


def set_blas(n: int) -> None:
    """BLAS on `n` threads from here on; if blocks are running, from the end of the last one on."""
    with _lock:
        for library in find_blas():
            if _inside:
                _outside[library.filepath] = n
            else:
                _set(library, n)


def _apply() -> None:
    """Hold every library to the least limit of the blocks that are running; without one give back what it had."""
    for library in find_blas():
        if _inside:
            now, n = library.get_num_threads(), min(_inside.values())
            _outside.setdefault(library.filepath, now)
            if now != n:  # asking is a tenth of the work of setting
                _set(library, n)
        elif library.filepath in _outside:
            before = _outside.pop(library.filepath)
            if library.get_num_threads() != before:
                _set(library, before)


def _set(library: Any, n: int) -> None:
    """From threadpoolctl 3.8 on only the first Python thread that sets OpenBLAS's number can; to others it is deaf.

    That keeps threads from undoing what others did. Here `_lock` and `_inside` do, so the claim is given up each time.
    """
    give_up = getattr(library, "clear_controlling_thread", lambda force: None)
    give_up(force=True)
    library.set_num_threads(n)
    give_up(force=True)


@functools.cache  # it takes milliseconds
def find_blas() -> list[Any]:
    """NumPy's BLAS, and what else of BLAS this process had loaded by the first call, as `threadpoolctl` controls it."""
    import numpy as np  # noqa: F401 (its BLAS must be loaded to be found)
    from threadpoolctl import ThreadpoolController

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


def running_kernels() -> str:
    """Which of its kernels BLAS runs in this process, for people: ``"SkylakeX"``.

    Examples
    --------
    >>> len(running_kernels()) > 0
    True
    """
    found = {str(getattr(library, "architecture", None) or library.internal_api) for library in find_blas()}
    return ", ".join(sorted(found)) or "unknown"
