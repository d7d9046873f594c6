"""The one place that compiles: turns a plain Python loop nest into a parallel kernel, by Numba.

A kernel is written as an ordinary function and then compiled. `numba.prange` is `range`, in plain Python too, but that
Numba shares its iterations out to threads::

    def _forward(x, w, ..., out): ...           # loops: importable, readable; plain Python once its helpers are, too
    forward = compile_kernel(_forward)          # the same loops as machine code; forward.py_func is _forward

What every kernel promises, and why:

* **Owner computes.** An iteration of `prange` writes only elements that no other iteration reads or writes. Sums that
  cross iterations go through partial sums, one per fixed piece of the *shape* (never of the thread count), added in a
  fixed order afterwards. So results are the same to the bit at any number of threads.
* **No imported constants.** The cache on disk knows the files of a kernel and of the compiled functions that it calls;
  a constant imported from elsewhere would go stale in it. Constants stand in the same file or come in as arguments.
* **No `fastmath=True`**, which lets the compiler assume that there is no NaN. A kernel may ask for `contract`, the
  fusing of `a * b + c` into one instruction with one rounding, where that was measured to pay. The helpers of
  `compile_scalar` and `compile_task` always have it.
* **Nothing is checked inside.** Numba checks no bounds (and `boundscheck` cannot be trusted together with `parallel`),
  so the wrappers check shapes, dtypes and layout before the first kernel runs.

Threads and processes: kernels use whichever threading layer Numba finds; the package chooses none. Under OpenMP (the
usual one) a process that has run a kernel must not `os.fork()` and run another in the child, which is then killed:
start worker processes with the "spawn" method. The fallback layer "workqueue" ends the process when two Python threads
run kernels at the same time, so under it ours wait for each other. (A parallel function of your own does not know of
that.) `NUMBA_THREADING_LAYER` in the environment chooses, `numba.threading_layer()` tells.
"""

import contextlib
import hashlib
import os
import threading
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.compiler import Compiler
from numba.core.cpu_options import ParallelOptions
from numba.extending import typeof_impl

# What Numba runs in parallel: the loops over `prange`, and nothing that it finds by itself. Otherwise every `np.zeros`
# and sum in a kernel becomes a parallel loop of its own, which costs half a second to compile and is slower when small.
# (Not as a dict: Numba empties that when it compiles the first kernel.)
PARALLEL = ParallelOptions(
    {"prange": True}
    | dict.fromkeys(("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False)
)


def compile_kernel(
    loops: Callable[..., Any], *, contract: bool = False, parallel: bool = True, inline: bool = False
) -> "Kernel":
    """Compile `loops` for the types of its first call, in parallel, kept on disk if a folder can be written.

    Parameters
    ----------
    loops : function
        Loops over arrays; `numba.prange` marks the parallel one.
    contract : bool
        Allow fused multiply-adds.
    parallel : bool
        Whether there is a `prange` in it, or in a kernel that it takes in.
    inline : bool
        Whether compiled code that calls it takes it in, as if it were written there: of what is called in one place
        that saves a copy to compile. It is then compiled with the caller's options.

    Returns
    -------
    Kernel
        Call it like `loops`; `.py_func` is `loops`.

    Notes
    -----
    ``error_model="numpy"`` lets a division by zero give inf or NaN as in NumPy, and frees the loops from a test per
    division. The first call with a new dtype compiles (seconds); later processes load the result from disk. A folder
    that cannot be written, or a file in it that cannot be read, costs that time again and one warning, never an error.
    """
    options: dict[str, Any] = {
        "parallel": PARALLEL if parallel else False,
        "error_model": "numpy",
        "fastmath": {"contract"} if contract else False,
    }
    try:
        kernel = numba.njit(cache=True, **options)(loops)
    except RuntimeError as reason:  # Numba's "no locator available": nowhere to write
        _warn(f"compiled kernels are not kept on disk ({reason})")
        return Kernel(numba.njit(**options)(loops), inline)
    if hasattr(kernel, "_cache"):  # private to Numba, hence the question
        kernel._cache = _ForgivingCache(kernel._cache, loops)
    return Kernel(kernel, inline)


class Kernel:
    """A compiled kernel that several Python threads can call; all else is asked of Numba's own object, `dispatcher`.

    Under the threading layer "workqueue" two threads must not run kernels at the same time, so calls wait for each
    other. Until a first kernel has run nobody knows the layer, and they wait as well.
    """

    _one_at_a_time = threading.RLock()  # a kernel that runs as plain Python calls others
    _layer = "workqueue"  # or not known yet

    def __init__(self, dispatcher: Any, inline: bool) -> None:
        self.dispatcher, self._inline = dispatcher, inline

    def __getattr__(self, name: str) -> Any:
        if name == "dispatcher":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self.dispatcher, name)

    @property
    def targetoptions(self) -> dict[str, Any]:
        """Numba's options. It reads `inline` here when compiled code calls this."""
        return self.dispatcher.targetoptions | ({"inline": "always"} if self._inline else {})

    @property
    def is_kept(self) -> bool | None:
        """Whether something that was compiled of it, as it is now, lies on disk; None if nothing can."""
        index: Any = getattr(getattr(self.dispatcher, "_cache", None), "_cache_file", None)  # private to Numba
        if not hasattr(index, "_load_index"):
            return None
        try:
            return any(os.path.exists(index._data_path(name)) for name in index._load_index().values())
        except Exception:  # whatever unpickling garbage can raise
            return False

    def __call__(self, *arguments: Any) -> Any:
        if Kernel._layer != "workqueue":
            return self.dispatcher(*arguments)
        with Kernel._one_at_a_time:
            found = self.dispatcher(*arguments)
            with contextlib.suppress(ValueError):  # there is none before the first parallel loop
                Kernel._layer = numba.threading_layer()
        return found


@typeof_impl.register(Kernel)
def _typeof(kernel: Kernel, context: Any) -> Any:
    """To Numba a kernel is the function in it: so compiled code can call it."""
    return numba.typeof(kernel.dispatcher)


# Helpers. They differ in when they become part of what calls them: before Numba's analysis, after it, or not at all.


def compile_inline(loops: Callable[..., Any]) -> Any:
    """Compile a helper that is as if written where it is called; it may hold a small loop, or call a kernel.

    Every call of it is analysed and compiled anew. In a function with a `prange` that takes Numba longer than all else,
    so what is long there goes into a function of its own, `compile_task`.
    """
    return numba.njit(inline="always")(loops)


def compile_scalar(arithmetic: Callable[..., Any]) -> Any:
    """Compile a small helper without a loop, multiply-adds fused: LLVM puts it into what calls it."""
    return numba.njit(
        error_model="numpy", fastmath={"contract"}, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
    )(arithmetic)


def compile_task(loops: Callable[..., Any]) -> Any:
    """Compile what one thread does in a kernel's parallel loop, multiply-adds fused. Its arrays must not overlap.

    Kept out of the loop over `prange` it compiles in half the time. Of a parallel loop Numba promises LLVM that the
    arrays do not overlap, without which loops do not become vectors; here `_NoOverlap` promises it. The variable of
    such a loop is unsigned there and signed in what calls it: pass it as `np.int64`, or the task is compiled twice.
    """
    return numba.njit(
        error_model="numpy",
        fastmath={"contract"},
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        pipeline_class=_NoOverlap,
    )(loops)


class _NoOverlap(Compiler):  # type: ignore[misc]  # Numba has no types
    """Numba's compiler, which tells LLVM besides that the arrays given to a function do not overlap."""

    def define_pipelines(self) -> Any:
        """Set the flag before the first pass."""
        self.state.flags.noalias = True
        return super().define_pipelines()


def compile_apart(loops: Callable[..., Any]) -> Any:
    """Compile a helper that stays a function of its own.

    In a loop over `prange` what takes slices of arrays and calls `np.dot` goes in here: of a loop that holds it Numba
    does not promise that the arrays do not overlap, and it was measured to be five times slower in `separable`.
    So does what is called from several places, and is then compiled once.
    """
    return numba.njit(error_model="numpy")(loops)


class _ForgivingCache:
    """Numba's cache of one kernel, which also sees changes in other files, and never stops the program.

    Numba compares date and size of the kernel's own file alone. And it lets a truncated or garbled file, a full disk or
    a folder that became read-only surface as `EOFError`, `UnpicklingError`, `OSError`, ... out of the first call of a
    kernel. Compiling again is always the right answer.
    """

    def __init__(self, cache: Any, loops: Callable[..., Any]) -> None:
        self._cache = cache
        index: Any = getattr(cache, "_cache_file", None)  # private to Numba, hence the questions
        if hasattr(index, "_source_stamp"):
            index._source_stamp = index._source_stamp, _dates(loops)
        self._index = index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return self._cache.load_overload(signature, target_context)
        except Exception as reason:  # whatever unpickling garbage can raise
            _warn(f"an unreadable file of compiled kernels is replaced ({type(reason).__name__}: {reason})")
            with contextlib.suppress(OSError):
                self._cache.flush()  # an empty index; the fresh compilation fills it
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        try:
            if hasattr(self._index, "_index_name"):
                # Numba numbers the files of a kernel. Two processes that compile it at once for different types would
                # both write number 1, and one of them find the other's code in it later. So a name tells the types.
                # (At worst the index now lacks one of the two, which is compiled again.)
                stem, types = Path(self._index._index_name).stem, hashlib.sha256(repr(signature).encode()).hexdigest()
                self._index._data_name = lambda number: f"{stem}.{types[:16]}.{number}.nbc"
            self._cache.save_overload(signature, compiled)
        except Exception as reason:
            _warn(f"compiled kernels are not kept on disk ({type(reason).__name__}: {reason})")


def _dates(loops: Callable[..., Any]) -> list[tuple[str, int, int]]:
    """Name, date and size of the files of `loops`, of all that is compiled and called from it, and of this file."""
    seen, todo = set(), [loops]
    while todo:
        function = todo.pop()
        if function not in seen:
            seen.add(function)
            names = function.__code__.co_names
            values = [function.__globals__[name] for name in names if name in function.__globals__]
            modules = [value for value in values if isinstance(value, types.ModuleType)]
            values += [getattr(module, name, None) for module in modules for name in names]
            todo += [value.py_func for value in values if hasattr(value, "py_func")]
    files = sorted({function.__code__.co_filename for function in seen} | {__file__})
    return [(os.path.basename(name), *_date(name)) for name in files]


def _date(name: str) -> tuple[int, int]:
    try:
        found = os.stat(name)
    except OSError:  # inside a zip file, for example
        return 0, 0
    return found.st_mtime_ns, found.st_size


_warned: set[str] = set()


def _warn(message: str) -> None:
    kind = message.partition("(")[0]
    if kind not in _warned:  # one line a kind and process, not one a kernel
        _warned.add(kind)
        warnings.warn(f"npmnv2: {message}", RuntimeWarning, stacklevel=3)
