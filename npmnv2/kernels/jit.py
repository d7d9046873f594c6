"""The one place that compiles: turns a plain Python loop nest into a parallel kernel, by Numba.

`numba.prange` is `range`, in plain Python too, but that Numba shares its iterations out to threads::

    def _forward(x, w, ..., out): ...           # loops: importable, readable; plain Python once its helpers are, too
    forward = compile_kernel(_forward)          # the same loops as machine code; forward.py_func is _forward

What every kernel promises, and why:

* **Owner computes.** An iteration of `prange` writes only elements that no other iteration reads or writes. Sums that
  cross iterations go through partial sums, one per fixed piece of the *shape* (never of the thread count), added in a
  fixed order afterwards. So results are the same to the bit at any number of threads.
* **No `fastmath=True`**, which lets the compiler assume that there is no NaN. A kernel may ask for `contract`, the
  fusing of `a * b + c` into one instruction with one rounding, where that was measured to pay. The helpers of
  `compile_scalar` and `compile_task` always have it.
* **Nothing is checked inside.** Numba checks no bounds (and `boundscheck` cannot be trusted together with `parallel`),
  so the wrappers check shapes, dtypes and layout before the first kernel runs.

What is compiled is kept on disk and serves until one of the files in `kernels/` changes: any of them, so a kernel may
use constants and helpers from every other. `numba_private.py` has that, and all else that Numba does not document.

Threads and processes: kernels use whichever threading layer Numba finds; the package chooses none. Under OpenMP (the
usual one) a process that has run a kernel must not `os.fork()` and run another in the child, which is then killed:
start worker processes with the "spawn" method. The fallback layer "workqueue" ends the process when two Python threads
run kernels at the same time, so under it ours wait for each other. (A parallel function of your own does not know of
that.) `NUMBA_THREADING_LAYER` in the environment chooses, `numba.threading_layer()` tells.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numba
from numba.extending import typeof_impl

from npmnv2.kernels.numba_private import PARALLEL, NoOverlap, is_kept, keep, warn_once


def compile_kernel(
    loops: Callable[..., Any], *, contract: bool = False, parallel: bool = True, inline: bool = False
) -> "Kernel":
    """Compile loops over arrays at the first call with new dtypes; later processes load the result from disk.

    contract: allow fused multiply-adds; parallel: whether there is a `prange` in it, or in a kernel that it takes in;
    inline: whether compiled code that calls it takes it in, as if it were written there, with the caller's options: of
    what is called in one place that saves a copy to compile.

    ``error_model="numpy"`` lets a division by zero give inf or NaN as in NumPy, and frees the loops from a test per
    division. A folder that cannot be written, or a file in it that cannot be read, costs the time to compile again and
    one warning, never an error.
    """
    options: dict[str, Any] = {
        "parallel": PARALLEL if parallel else False,
        "error_model": "numpy",
        "fastmath": {"contract"} if contract else False,
    }
    try:
        kernel = numba.njit(cache=True, **options)(loops)
        if not numba.config.DISABLE_JIT:
            keep(kernel, loops)
    except (RuntimeError, AttributeError) as reason:  # Numba's "no locator available": nowhere to write; or see `keep`
        warn_once(f"compiled kernels are not kept on disk ({reason})")
        kernel = numba.njit(**options)(loops)
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
        return is_kept(self.dispatcher)

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
# Scalar, task and step fuse multiply-adds; task and step promise that arrays do not overlap; function does neither, and
# inline has the options of what calls it.
INSIDE: Any = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # for compiled code alone


def compile_inline(loops: Callable[..., Any]) -> Any:
    """Compile a helper that is as if written where it is called; it may hold a small loop, or call a kernel.

    Every call of it is analysed and compiled anew. In a function with a `prange` that takes Numba longer than all else,
    so what is long there goes into a function of its own, `compile_task`.
    """
    return numba.njit(inline="always")(loops)


def compile_scalar(arithmetic: Callable[..., Any]) -> Any:
    """Compile a small helper, multiply-adds fused: LLVM puts it into what calls it."""
    return numba.njit(fastmath={"contract"}, forceinline=True, **INSIDE)(arithmetic)


def compile_task(loops: Callable[..., Any]) -> Any:
    """Compile what one iteration of a kernel's parallel loop does, multiply-adds fused. Its arrays must not overlap.

    Serial loops behind a parallel one, that add up its parts, go in here too.

    Kept out of the loop over `prange` it compiles in half the time. Of a parallel loop Numba promises LLVM that the
    arrays do not overlap, without which loops do not become vectors; here `NoOverlap` promises it. The variable of
    such a loop is unsigned there and signed in what calls it: pass it as `np.int64`, or the task is compiled twice.
    """
    return numba.njit(fastmath={"contract"}, pipeline_class=NoOverlap, **INSIDE)(loops)


def compile_function(loops: Callable[..., Any]) -> Any:
    """Compile a helper that stays a function of its own, once for all that call it.

    In a loop over `prange` what takes slices of arrays to multiply them goes in here: of a loop with slices in
    it Numba does not promise that its arrays do not overlap, and one such loop was measured to be five times slower.
    """
    return numba.njit(error_model="numpy")(loops)


def compile_step(loops: Callable[..., Any]) -> Any:
    """Compile loops between kernels, as `compile_task` does, that Python may call too, where the steps run one by one.

    What has no way in from Python (`INSIDE`) ends the process if it is called from there.
    """
    return numba.njit(error_model="numpy", fastmath={"contract"}, pipeline_class=NoOverlap)(loops)


def compile_by_kernel(loops_of: Callable[[int, int], Any]) -> Any:
    """A function that calls loops_of(K, s), for the kernel and stride it is given: of each the compiler makes its own.

    There both are numbers that it knows: it unrolls the taps, and sees what windows side by side share.
    """
    of_3x3, of_3x3_stride2, of_5x5, of_5x5_stride2 = (loops_of(K, s) for K in (3, 5) for s in (1, 2))

    @compile_inline
    def call(K: int, s: int, arguments: tuple[Any, ...]) -> None:
        if K == 3 and s == 1:
            of_3x3(*arguments)
        elif K == 3:
            of_3x3_stride2(*arguments)
        elif s == 1:
            of_5x5(*arguments)
        else:
            of_5x5_stride2(*arguments)

    return call
