"""How fast is the depthwise convolution, forward and backward, against loops, NumPy and the engines in production?

    python benchmarks/depthwise.py [--quick] [--json FILE] [--plot FILE]

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
from common.measure import Patience, check_sums, contestants, environment, start, summary, take_turns
from common.report import machine, processor, show_missing, show_turns, thread_count
from depthwise_contestants import prepare, problem

# H = W, C, stride
SHAPES = [(112, 32, 1), (112, 96, 2), (56, 144, 1), (28, 192, 1), (14, 384, 1), (14, 576, 1), (7, 960, 1)]
CONTESTANTS = ["loops", "numpy", "kernels", "onnxruntime", "torch nchw", "torch nhwc"]
LOOKS = {  # of a bar: Okabe and Ito's colours, which the colour-blind tell apart too, and a hatch
    "numpy": ("#0072b2", ""),
    "onnxruntime": ("#d55e00", "//"),
    "torch nchw": ("#56b4e9", ".."),
    "torch nhwc": ("#009e73", "xx"),
}


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


def show(report):
    print(f"{machine(report['environment'])}; float32, 3x3, padding 1; us: time of `kernels`")
    print("columns x: that contestant's time over ours, above 1 means ours is faster\n")
    names = [name for name in CONTESTANTS if name != "kernels" and name not in report["missing"]]
    short = {name: f"{name} x" for name in names} | {
        "onnxruntime": "ort x",
        "torch nchw": "tchw x",
        "torch nhwc": "thwc x",
    }
    groups = {}
    for row in report["results"]:
        groups.setdefault((row["threads"], row["batch"], row["direction"]), []).append(row)
    for (threads, N, way), rows in groups.items():
        print(title_of(way, threads, N))
        print(f"{'shape':<13}{'us':>8}{'+-':>6}{'copy':>7}" + "".join(f"{short[name]:>9}" for name in names))
        for row in rows:
            ours = row["times"]["kernels"]
            line = f"{row['shape']:<13}{ours['median_us']:>8.0f}{ours['spread_us']:>6.0f}"
            line += f"{row['copy']['median_us'] / ours['median_us']:>7.0%}"
            for name in names:
                theirs = row["times"].get(name)
                line += f"{theirs['median_us'] / ours['median_us']:>9.2f}" if theirs else f"{'-':>9}"
            print(line)
        print()
    show_turns(report)
    show_missing(report)


def title_of(way, threads, N):
    return f"{'forward' if way == 'forward' else 'dx + dw'}, batch {N}, {thread_count(threads)}"


def draw(report, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in LOOKS if name not in report["missing"]]
    groups = {}
    for row in report["results"]:
        groups.setdefault((row["direction"], row["threads"], row["batch"]), []).append(row)
    columns = len(groups) // 2

    def by_forward(group):
        (way, threads, N), _ = group
        return way != "forward", threads, N

    figure, axes = plt.subplots(2, columns, figsize=(5 * columns, 7), squeeze=False, layout="constrained")
    for axis, ((way, threads, N), rows) in zip(axes.flat, sorted(groups.items(), key=by_forward), strict=True):
        for k, name in enumerate(names):
            points = [
                (p, row["times"][name]["median_us"] / row["times"]["kernels"]["median_us"])
                for p, row in enumerate(rows)
                if name in row["times"]
            ]
            if points:
                place, ratio = zip(*points, strict=True)
                heights = np.array(ratio) - 1  # bars grow from 1: up where ours is faster
                colour, hatch = LOOKS[name]
                places = np.array(place) + (k - (len(names) - 1) / 2) / 5
                axis.bar(places, heights, 0.2, bottom=1, label=name, color=colour, hatch=hatch, edgecolor="white", lw=0)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log", base=2)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(range(len(rows)), [row["shape"] for row in rows], rotation=40, ha="right")
        axis.set_title(title_of(way, threads, N))
        axis.set_ylabel("their time / ours")
    figure.suptitle(f"{processor(report['environment'])}, float32\nabove 1: ours is faster")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * columns)  # a panel has room for two
    figure.savefig(path, dpi=110)


def main():
    args = arguments(
        "Depthwise 3x3: loops, NumPy, our kernels, and the engines installed.",
        quick="three shapes, batch 1, fewer rounds: half a minute",
    )
    carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
