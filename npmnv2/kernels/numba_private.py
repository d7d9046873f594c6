"""What the package takes from Numba beyond what Numba's documentation promises. All of it stands in this file.

`tests/test_jit.py` tries each part, with the newest Numba and with the oldest that `pyproject.toml` allows (`.ci/run`).
If a Numba to come lacks a part of the cache, nothing is kept on disk, and one warning says so.
"""

import contextlib
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from numba.core.compiler import Compiler
from numba.core.cpu_options import ParallelOptions

# What Numba runs in parallel: the loops over `prange`, and nothing that it finds by itself. Otherwise every `np.zeros`
# and sum in a kernel becomes a parallel loop of its own, which costs half a second to compile and is slower when small.
# (Not as a dict: Numba empties that when it compiles the first kernel.)
PARALLEL = ParallelOptions(
    {"prange": True}
    | dict.fromkeys(("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False)
)


class NoOverlap(Compiler):  # type: ignore[misc]  # Numba has no types
    """Numba's compiler, which tells LLVM besides that the arrays given to a function do not overlap."""

    def define_pipelines(self) -> Any:
        """Set the flag before the first pass."""
        self.state.flags.noalias = True
        return super().define_pipelines()


def keep(dispatcher: Any, loops: Callable[..., Any]) -> None:
    """Replace the cache of a dispatcher of `loops`, made with ``cache=True``, by `_Cache`.

    An `AttributeError` says that this Numba's cache is not built as the ones known here. Numba's own must not be
    used then: it would not see a change in another file.
    """
    dispatcher._cache = _Cache(dispatcher._cache, loops)


def is_kept(dispatcher: Any) -> bool | None:
    """Whether something that was compiled of it, as it is now, lies on disk; None if nothing can."""
    index: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if index is None:
        return None
    try:
        return any(os.path.exists(index._data_path(name)) for name in index._load_index().values())
    except Exception:  # whatever unpickling garbage can raise
        return False


class _Cache:
    """Numba's cache of one kernel, which also sees changes in other files, and never stops the program.

    Numba looks at the kernel's own file alone. And it lets a truncated or garbled file, a full disk or a folder that
    became read-only surface as `EOFError`, `UnpicklingError`, `OSError`, ... out of the first call of a kernel.
    Compiling again is always the right answer.
    """

    def __init__(self, cache: Any, loops: Callable[..., Any]) -> None:
        self._cache, index = cache, cache._cache_file
        self._index = index
        self._stem = Path(index._index_name).stem
        _ = index._data_name, index._load_index, index._data_path  # an AttributeError here and now, not in a call
        # loops that lie elsewhere also depend on their own file
        is_ours = Path(loops.__code__.co_filename).is_relative_to(Path(__file__).parent)
        index._source_stamp = _stamp() if is_ours else (_stamp(), index._source_stamp)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return self._cache.load_overload(signature, target_context)
        except Exception as reason:  # whatever unpickling garbage can raise
            warn_once(f"an unreadable file of compiled kernels is replaced ({type(reason).__name__}: {reason})")
            with contextlib.suppress(OSError):
                self._cache.flush()  # an empty index; the fresh compilation fills it
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        # Numba numbers the files of a kernel. Two processes that compile it at once for different types would both
        # write number 1, and one of them find the other's code in it later. So a name tells the types. (At worst the
        # index now lacks one of the two, which is compiled again.)
        types = hashlib.sha256(repr(signature).encode()).hexdigest()
        self._index._data_name = lambda number: f"{self._stem}.{types[:16]}.{number}.nbc"
        try:
            self._cache.save_overload(signature, compiled)
        except Exception as reason:
            warn_once(f"compiled kernels are not kept on disk ({type(reason).__name__}: {reason})")


@functools.cache  # 2 ms, once a process
def _stamp() -> str:
    """What the cache on disk compares: any change in a file of this folder, and all kernels are compiled anew."""
    return content(files(__package__))


def content(folder: Traversable) -> str:
    """One hash of the Python files in a folder and in those below it; dates do not count. It may lie in a zip file."""
    found = hashlib.sha256()
    for name, source in _sources(folder, ""):
        found.update(b"\0" + name.encode() + b"\0" + source)
    return found.hexdigest()


def _sources(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            yield above + entry.name, entry.read_bytes()
        elif entry.is_dir():
            yield from _sources(entry, f"{above}{entry.name}/")


_warned: set[str] = set()


def warn_once(message: str) -> None:
    """One line a kind and process, not one a kernel; what stands in brackets belongs to no kind."""
    kind = message.partition("(")[0]
    if kind not in _warned:
        _warned.add(kind)
        warnings.warn(f"npmnv2: {message}", RuntimeWarning, stacklevel=3)
