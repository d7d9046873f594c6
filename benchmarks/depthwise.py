"""How fast is the depthwise convolution, forward and backward, against loops, NumPy and the engines in production?

    python benchmarks/depthwise.py [--quick] [--core avx2] [--json FILE] [--plot FILE]

Contestants, each through its own front door and at its best settings:

    loops          one output at a time, five plain loops, compiled by Numba for one thread
    numpy          npmnv2.ops: one NumPy expression a tap
    kernels        npmnv2.kernels, the wrapper and its checks included
    onnxruntime    one Conv node, forward only; the fastest of two optimisation levels, with and without I/O binding
    torch nchw     torch.nn.functional.conv2d and aten.convolution_backward
    torch nhwc     the same, channels_last

Every result is compared with NumPy in float64 before it is timed. How they are timed: `common/measure.py`. A time is
the median over all turns, +- half the interquartile range; `x` columns are that contestant's time over ours (above 1:
ours is faster). `copy` is the time of copying as many bytes as must move at least (x and out; for the gradient x, dout
and dx), with the same threads and the same footprint, as a share of our time: at 100 % the kernel is as fast as
memory, cached or not.
"""

import os
from functools import partial

import numpy as np
from common.command import arguments, carry_out, progress
from common.machine import environment
from common.measure import Patience, check_sums, contestants, start, summary, take_turns
from depthwise_contestants import prepare, problem
from depthwise_plot import draw
from depthwise_report import CONTESTANTS, show

# H = W, C, stride
SHAPES = [(112, 32, 1), (112, 96, 2), (56, 144, 1), (28, 192, 1), (14, 384, 1), (14, 576, 1), (7, 960, 1)]


def reference(case):
    """Forward and gradients in float64, with the size of the sums that each value is made of."""
    from npmnv2 import ops

    x, w, dout, stride = problem(case)
    results = {}
    for name, arrays in (("exact", (x, w, dout)), ("bound", (abs(x), abs(w), abs(dout)))):
        x64, w64, d64 = (a.astype(np.float64) for a in arrays)
        out, cache = ops.depthwise_conv2d_forward(x64, w64, stride, 1)
        results[name] = {"forward": (out,), "backward": ops.depthwise_conv2d_backward(d64, cache)}
    return results


def check(name, way, path, expected):
    """End with an error unless what was saved is right."""
    check_sums(f"{name}, {way}", path, expected["exact"][way], expected["bound"][way])


def run(args):
    cores = os.cpu_count() or 1
    shapes = [SHAPES[0], SHAPES[3], SHAPES[6]] if args.quick else SHAPES
    batches, rounds, seconds = ((1,), 2, 0.05) if args.quick else ((1, 8), args.rounds, 0.06)
    info, results, missing = environment(("onnxruntime", "torch")), [], {}
    patience = Patience(min(args.patience, 10) if args.quick else args.patience)
    for threads in (1, 2) if cores > 1 else (1,):
        names = [name for name in CONTESTANTS if name not in missing]
        with contestants(__file__, names, threads) as workers:
            for N in batches:
                for H, C, stride in shapes:
                    label = f"{H}x{H}x{C}" + (" /2" if stride == 2 else "")
                    progress(f"{threads} threads, batch {N}, {label}")
                    case = (H, C, stride, N)
                    start(workers, missing, case, info, partial(check, expected=reference(case)))
                    times = take_turns(workers, rounds, seconds, patience)
                    for way in ("forward", "backward"):
                        row = {"shape": label, "batch": N, "threads": threads, "direction": way}
                        row["copy"] = summary(times["kernels", f"copy {way}"])
                        row["times"] = {name: summary(t) for (name, w), t in times.items() if w == way}
                        results.append(row)
    progress("")
    return {"environment": info, "missing": missing, "turns": patience.report(), "results": results}


def main():
    args = arguments(
        "Depthwise 3x3: loops, NumPy, our kernels, and the engines installed.",
        quick="three shapes, batch 1, fewer rounds: half a minute",
    )
    carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
