"""How many threads BLAS uses inside a block. The number is the process's, so blocks have to know of each other.

`threads` limits it for a model, and `kernels.conv` for its own products, which already run on Numba's threads: OpenBLAS
would start threads of its own in each of them, if a product is large and it has no faster way (`kernels.conv_loops`),
and its last bits would depend on their number.
"""

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside: dict[object, int] = {}  # the limit of every block that is running now, in any Python thread, oldest first
_before: dict[Any, Any] = {}  # for each set of libraries, its first limit, which remembers what there was before


@contextmanager
def limit_blas(n: int) -> Iterator[None]:
    """BLAS on `n` threads inside.

    The number is the process's, while blocks nest, and overlap where models run in several Python threads. So no block
    restores what it found, which may be another block's limit: the last to leave restores what the first one found.

    Examples
    --------
    >>> with limit_blas(1):
    ...     pass
    """
    block = object()
    with _lock:
        libraries = find_blas()
        limit = _set(libraries, n)
        if limit is not None:
            _before.setdefault(libraries, limit)
        _inside[block] = n
    try:
        yield
    finally:
        with _lock:
            del _inside[block]
            if _inside:
                _set(libraries, list(_inside.values())[-1])
            while not _inside and _before:
                _before.popitem()[1].restore_original_limits()  # the newest first


def _set(libraries: Any, n: int) -> Any:
    """The limit, which remembers what there was; None if all have this number already, which is a tenth of the work."""
    if all(library.get_num_threads() == n for library in libraries.lib_controllers if library.user_api == "blas"):
        return None
    return libraries.limit(limits=n, user_api="blas")


def find_blas() -> Any:
    """The BLAS libraries this process has loaded: NumPy's, and SciPy's own, which Numba loads at its first kernel."""
    return _find_blas("scipy.linalg" in sys.modules)


@functools.cache
def _find_blas(with_scipy: bool) -> Any:
    """Finding them takes milliseconds, so it is done once, and once more when SciPy has come."""
    import numpy as np  # noqa: F401 (its BLAS must be loaded to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
