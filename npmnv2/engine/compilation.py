"""Compiling before use: what MobileNet runs, compiled side by side in processes of their own, and kept on disk.

A kernel is compiled when it is first called, and two never at once in one process: Numba has one lock. All together
take more than a minute, once, in which all cores but one wait. Here each job has a process of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numba
import numpy as np

from npmnv2 import ops
from npmnv2.backends import backend
from npmnv2.engine.fused import fuse
from npmnv2.kernels.depthwise.loops_3x3 import forward_3x3_stride2
from npmnv2.kernels.depthwise.loops_3x3_backward import backward_3x3_stride2
from npmnv2.kernels.inference_block import blocks
from npmnv2.kernels.jit import Kernel
from npmnv2.kernels.training_block import cutting, records, steps
from npmnv2.models import efficientnet_lite, mobilenet_v1, mobilenet_v1_conv, mobilenet_v2
from npmnv2.models.network import Network
from npmnv2.nn import optim
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.nn.layers import DepthwiseConv2d
from npmnv2.shapes import conv_geometry


def _block_forward() -> None:
    block = InvertedResidual(8, 8, stride=1, t=6, rng=np.random.default_rng(0))
    with backend("numba"):  # whatever NPMNV2_BACKEND says
        block(np.ones((2, 4, 4, 8), np.float32))


def _block_backward() -> None:
    steps.backward.compile(backward_types())


def backward_types() -> tuple[Any, ...]:
    """The types with which training calls `steps.backward`, the sizes being any.

    So it is compiled without a forward before it, which is another job.
    """

    vector, matrix, three, four = (np.ones((1,) * dimensions, np.float32) for dimensions in (1, 2, 3, 4))
    geometry = conv_geometry(4, 4, 3, 3, padding=1)
    sizes, cuts = cutting.cut((1, 4, 4, 8), (48, 8, 3), geometry, True, True, cutting.TUNING)
    deferred, statistics = records.Deferred(three, three), (matrix, matrix, matrix)
    weights, norm = records.Weights(three, four, three), records.BatchNorm(vector, vector, 1e-5)
    cache = records.BlockCache(
        sizes, cuts, three, deferred, matrix, deferred, matrix, weights, norm, statistics
    )  # fmt: skip
    return tuple(map(numba.typeof, (matrix, cache, 1)))


def _layers() -> None:
    """Layer by layer, but what only MobileNetV1 needs backward: convolutions, batch norms, SGD; all in eval mode."""
    model, x = mobilenet_v1_conv(2, 0.25), np.ones((2, 32, 32, 3), np.float32)
    with backend("numba"):
        _, dlogits = ops.softmax_cross_entropy(model(x), np.array([0, 1]))
        model.backward(dlogits)
        optim.SGD(model.parameters(), 0.01).step()
        mobilenet_v1(2, 0.25).eval()(x)


def _depthwise_layers() -> None:
    """Depthwise convolutions that no compiled block runs: those of MobileNetV1 backward, and 5x5."""
    x, rng = np.ones((1, 6, 6, 8), np.float32), np.random.default_rng(0)
    for K, stride, forward in (5, 1, "numba"), (3, 1, "numpy"), (3, 2, "numpy"):  # "layer by layer" has 3x3 forward
        layer = DepthwiseConv2d(8, K, stride=stride, padding="same", rng=rng)
        with backend(forward):
            out = layer(x)
        with backend("numba"):
            layer.backward(out)


def _engine() -> None:
    fuse(mobilenet_v2(2, 0.35))(np.ones((1, 32, 32, 3), np.float32))
    fuse(efficientnet_lite(2, 0.35))(np.ones((1, 64, 96, 3), np.float32))


class Job(NamedTuple):
    """What one process does."""

    do: Callable[[], object]
    sign: Kernel  # it is on disk if the job has been done
    share: int  # of the time that all jobs take, in percent


JOBS = {  # the longest first
    "training a block, backward": Job(_block_backward, steps.backward, 30),
    "training a block, forward": Job(_block_forward, steps.forward, 21),
    "layer by layer": Job(_layers, forward_3x3_stride2, 20),
    "depthwise layers": Job(_depthwise_layers, backward_3x3_stride2, 17),
    "the engine": Job(_engine, blocks.run, 12),
}


def for_training(model: Network) -> list[str]:
    """The jobs of what training a network runs: inverted residuals, and layer by layer all else."""
    others = [part for part in model.layers.values() if not isinstance(part, InvertedResidual)]
    depthwise = any(isinstance(layer, DepthwiseConv2d) for part in others for _, layer in part.named_layers())
    unused = {"the engine"} if depthwise else {"the engine", "depthwise layers"}
    return [name for name in JOBS if name not in unused]


def cores() -> int:
    """How many there are for this process, or what ``NUMBA_NUM_THREADS`` says."""
    return int(numba.config.NUMBA_NUM_THREADS)


def missing(names: Sequence[str]) -> list[str]:
    """Those of these jobs of which nothing is on disk yet; none if nothing can be kept there."""
    return [name for name in JOBS if name in names and JOBS[name].sign.is_kept is False]


def compile_jobs(
    names: Sequence[str],
    processes: int,
    report: Callable[[str, float], None] | None = None,
    wait: Callable[[], None] | None = None,
) -> None:
    """Do jobs, so many at a time. One whose kernels are on disk already is done in a second.

    Parameters
    ----------
    names : sequence of str
        Keys of `JOBS`.
    processes : int
    report : callable
        Is told the name of a job that is done, and its seconds.
    wait : callable
        Is called again and again while jobs run.

    Raises
    ------
    OSError
        If nothing can be kept on disk, or a process fails: the last line of what it said.
    """
    if numba.config.DISABLE_JIT:
        raise OSError("nothing is compiled while NUMBA_DISABLE_JIT is set")
    if any(JOBS[name].sign.is_kept is None for name in names):
        raise OSError("compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a folder that can be written")
    waiting, running = list(names), dict[str, _Running]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                name = waiting.pop(0)
                running[name] = _Running(name)
            time.sleep(0.02)
            if wait is not None:
                wait()
            for name in [name for name, job in running.items() if job.is_done()]:
                seconds = running.pop(name).seconds()
                if report is not None:
                    report(name, seconds)
    finally:  # Ctrl-C, or one has failed
        for job in running.values():
            job.stop()


class _Running:
    """A process that does a job."""

    def __init__(self, name: str) -> None:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path, "NUMBA_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-P",
            "-c",
            f"from npmnv2.engine import compilation; compilation.JOBS[{name!r}].do()",
        ]
        self.name, self.start = name, time.perf_counter()
        self.said = TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=self.said)

    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.process.poll() is not None

    def seconds(self) -> float:
        """How long it ran; or the last line of what it said, as an error, if it was in vain."""
        seconds, status = time.perf_counter() - self.start, self.process.returncode
        with self.said:
            self.said.seek(0)
            lines = self.said.read().decode(errors="replace").strip().splitlines()
        if status != 0:
            raise OSError(f"compiling {self.name} failed: {lines[-1] if lines else f'ended with status {status}'}")
        if not JOBS[self.name].sign.is_kept:
            warned = [line for line in lines if "kept on disk" in line] or ["its files are gone"]
            raise OSError(f"compiling {self.name} was in vain: {warned[0]}")
        return seconds

    def stop(self) -> None:
        """At once."""
        self.process.kill()
        self.process.wait()
        self.said.close()
