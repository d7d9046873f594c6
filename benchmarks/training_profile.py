"""Where does a training step go, and how far is each part from its arithmetic?

    python benchmarks/training_profile.py [--quick] [--core avx2] [--json FILE] [--plot FILE] [--rounds N]

MobileNetV2 1.0, forward, loss, backward, SGD with momentum, float32, on one thread and on two. Every compiled kernel
and every operation of NumPy that a layer calls is timed where it is called, in steps in which what calls the kernels of
a block runs as plain Python; `the step` is timed in others, compiled as always. A figure is the median of the steps:

    ms          of all its calls in a step
    %           of the step
    limit       two operations for each of the convolutions' multiply-adds, once in the forward and twice in the
                backward (of the stem once), at the measured speed of large matrix products
    x           ms over limit

The expansion and the depthwise convolution are one part, for where the first is multiplied anew rather than stored
(docs/training_speed.md) that happens in the kernels of the second; the limit counts it once. `batch norms at the ends`
are those behind the stem, the projections and the head, and the mean of what is expanded. `blocks, the rest` adds up
shares and transposes weights. `between them` is what remains of the step: Python's own work, small operations, taking
and giving back memory; less what calling the kernels from Python rather than from compiled code takes.
"""

import contextlib
import importlib
import statistics
import time
import unittest.mock

import numpy as np
from common.command import arguments, carry_out, progress
from common.machine import environment
from training_profile_report import BETWEEN, BLOCK, draw, part_of, show

CASES = ((16, 96), (8, 224))  # images, pixels a side
MODULES = [BLOCK + "forward_loops", BLOCK + "backward_loops", BLOCK + "depthwise_loops"]
MODULES += [BLOCK + "depthwise_backward_loops", "batchnorm.loops", "conv.loops", "sgd"]
MADDS = {  # which layers' multiply-adds, and how many times
    "expand, depthwise, forward": ((".expand", ".dw"), 1),
    "project, forward": ((".project",), 1),
    "project, backward": ((".project",), 2),
    "expand, depthwise, backward": ((".expand", ".dw"), 2),
    "stem": (("stem",), 3),
    "head, classifier (NumPy)": (("head", "fc"), 3),
}


@contextlib.contextmanager
def watched(seconds):
    """Inside, every call of a kernel or a NumPy operation adds its time to `seconds`, by part."""
    from npmnv2.engine import numba_backend
    from npmnv2.kernels.jit import Kernel
    from npmnv2.kernels.training_block import steps

    def timed(call, part):
        def run(*values, **options):
            start = time.perf_counter()
            found = call(*values, **options)
            seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - start
            return found

        return run

    def implementation(operation):
        call = choose(operation)
        return timed(call, part_of("ops")) if call.__module__.startswith("npmnv2.ops.") else call

    choose = numba_backend.implementation
    modules = {name: importlib.import_module(f"npmnv2.kernels.{name}") for name in MODULES}
    instead = [(numba_backend, "implementation", implementation)]
    for where, module in modules.items():
        for name, kernel in vars(module).items():
            if isinstance(kernel, Kernel):
                instead.append((module, name, timed(kernel, part_of(f"{where}.{name}"))))
    aliases = {name for name, value in vars(steps).items() if any(value is module for module in modules.values())}
    for name, step in vars(steps).items():
        if hasattr(step, "py_func") and aliases & set(step.py_func.__code__.co_names):  # it calls kernels
            instead.append((steps, name, step.py_func))
    with contextlib.ExitStack() as stack:
        for module, name, call in instead:
            stack.enter_context(unittest.mock.patch.object(module, name, call))
        yield


def profile(N, side, rounds):
    """Part -> milliseconds of a step."""
    from npmnv2 import backend, mobilenet_v2, ops
    from npmnv2.nn import optim

    model = mobilenet_v2()
    rng, optimizer = np.random.default_rng(0), optim.SGD(model.parameters(), 0.01, 0.9)
    x, y = rng.standard_normal((N, side, side, 3), np.float32), rng.integers(0, 1000, N)

    def step():
        start = time.perf_counter()
        with backend("numba"):
            model.backward(ops.softmax_cross_entropy(model(x), y)[1])
            optimizer.step()
        return time.perf_counter() - start

    steps = []
    for _ in range(rounds + 3):  # the first compile, and take memory that later ones use again
        seconds = {}
        with watched(seconds):
            step()
        steps.append(seconds | {"whole": step()})
    medians = {part: 1e3 * statistics.median(step[part] for step in steps[3:]) for part in steps[-1]}
    whole = medians.pop("whole")
    return medians | {BETWEEN: whole - sum(medians.values())}


def limits(N, side, flop_per_s):
    """Part -> milliseconds of its arithmetic."""
    from npmnv2 import cost

    layers = cost.mobilenet_v2(1.0, side)
    found = {}
    for part, (ends, times) in MADDS.items():
        madds = sum(layer.madds for layer in layers if layer.name.endswith(ends))
        found[part] = 2e3 * times * N * madds / flop_per_s
    return found


def run(args):
    from npmnv2.runtime.threads import get_num_threads, limit_threads
    from npmnv2.show.roofline import measure

    rounds, info, rows = 3 if args.quick else args.rounds, environment(), []
    for threads in range(1, min(2, get_num_threads()) + 1):
        with limit_threads(threads):
            flop_per_s = measure().flop_per_s
            for N, side in CASES[: 1 if args.quick else 2]:
                progress(f"{N}x{side}x{side}, {threads} threads")
                ms = profile(N, side, rounds)
                arithmetic = limits(N, side, flop_per_s)
                rows.append({"batch": N, "size": side, "threads": threads, "ms": ms, "limit_ms": arithmetic})
    progress("")
    return {"environment": info, "results": rows}


def main():
    args = arguments(__doc__.split("\n", 1)[0], "16x96x96 alone, in seconds", rounds=15)
    carry_out(args, run, show, draw)


if __name__ == "__main__":
    main()
