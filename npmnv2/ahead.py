"""Compiling ahead: what MobileNet runs, compiled side by side in processes of their own, and kept on disk.

A kernel is compiled when it is first called, and two never at once in one process: Numba has one lock. All together
take more than a minute, once, in which all cores but one wait. Here each job has a process of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np

from npmnv2 import ops, optim, selfcheck
from npmnv2.blocks import InvertedResidual
from npmnv2.inference import fuse
from npmnv2.kernels import deferred, deferred_steps, depthwise_3x3_backward, depthwise_loops, fused_program
from npmnv2.kernels.compile import Kernel
from npmnv2.kernels.wrapping import has_scipy
from npmnv2.models import mobilenet_v1, mobilenet_v2
from npmnv2.validate import Array


def _block_forward() -> None:
    block = InvertedResidual(8, 8, stride=1, t=6, rng=np.random.default_rng(0))
    block(np.ones((2, 4, 4, 8), np.float32))


def _block_backward() -> None:
    deferred_steps.backward.compile(backward_types())


def backward_types() -> tuple[Any, ...]:
    """Those of the arguments of `deferred_steps.backward`: it is compiled without a forward, which is another job."""

    def array(dimensions: int) -> Array:
        return np.ones((1,) * dimensions, np.float32)

    shape = deferred.shape_of(1, 4, 4, 8, 48, 8, 4, 4, 1, 1, 1, 1, True, deferred.CUT)
    x, y1, gram_we, y2, y3, we, wd, wp, norm1, norm2 = map(array, (3, 3, 2, 3, 2, 3, 4, 3, 3, 3))
    gamma, beta, statistics = array(1), array(1), [array(2)] * 3
    cache = shape, True, x, y1, gram_we, y2, y3, we, wd, wp, norm1, norm2, gamma, beta, *statistics
    return tuple(map(numba.typeof, (array(2), *cache, 1)))


def _layers() -> None:
    """Layer by layer: all of MobileNetV1, both ends of V2, and SGD."""
    model, x = mobilenet_v1(2, 0.25), np.ones((2, 32, 32, 3), np.float32)
    model.eval()(x)
    _, dlogits = ops.softmax_cross_entropy(model.train()(x), np.array([0, 1]))
    model.backward_parameters(dlogits)
    optim.SGD(model.parameters(), 0.01).step()


def _gradient_checks() -> None:
    """In float64, of every layer."""
    selfcheck.run()


def _engine() -> None:
    fuse(mobilenet_v2(2, 0.35))(np.ones((1, 32, 32, 3), np.float32))


# What it is called, what it does, and a kernel that is on disk if it has been done; the longest first.
JOBS: dict[str, tuple[Callable[[], None], Kernel]] = {
    "training a block, backward": (_block_backward, deferred_steps.backward),
    "training a block, forward": (_block_forward, deferred_steps.forward),
    "layer by layer": (_layers, depthwise_3x3_backward.backward_3x3_stride1),
    "the engine": (_engine, fused_program.run),
    "gradient checks": (_gradient_checks, depthwise_loops.backward_w),
}
NEED_SCIPY = {"training a block, backward", "training a block, forward", "the engine"}
TRAINING = tuple(JOBS)[:3]
TOUR = (*TRAINING, "gradient checks")


def cores() -> int:
    """How many there are for this process, or what ``NUMBA_NUM_THREADS`` says."""
    return int(numba.config.NUMBA_NUM_THREADS)


def possible() -> list[str]:
    """The jobs that can be done here: without SciPy compiled code multiplies no matrices."""
    return [name for name in JOBS if has_scipy() or name not in NEED_SCIPY]


def missing(names: Sequence[str]) -> list[str]:
    """Those of these jobs of which nothing is on disk yet; none if nothing can be kept there."""
    return [n for n in possible() if n in names and (file := JOBS[n][1].kept_in) is not None and not file.exists()]


def compile_ahead(names: Sequence[str], processes: int, report: Callable[[str, float], None] | None = None) -> None:
    """Do jobs, so many at a time. Of one whose kernels are on disk nothing is left to do.

    Parameters
    ----------
    names : sequence of str
        Keys of `JOBS`.
    processes : int
    report : callable
        Is told the name of a job that is done, and its seconds.

    Raises
    ------
    OSError
        If nothing can be kept on disk, or a process fails: the last line of what it said.
    """
    if any(JOBS[name][1].kept_in is None for name in names):
        raise OSError("compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a folder that can be written")
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_NUM_THREADS": "1"}

    def do(name: str) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-c", f"from npmnv2 import ahead; ahead.JOBS[{name!r}][0]()"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
            raise OSError(f"compiling {name} failed: {said[-1]}")
        if report is not None:
            report(name, time.perf_counter() - start)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(do, names))
