"""How fast is the depthwise convolution, forward and backward, against loops, NumPy and the engines in production?

    python benchmarks/depthwise.py [--quick] [--json FILE] [--plot FILE]

Contestants, each through its own front door and at its best settings:

    loops          one output at a time, five plain loops, compiled by Numba for one thread
    numpy          npmnv2.ops: one NumPy expression a tap
    kernels        npmnv2.kernels, the wrapper and its checks included
    onnxruntime    one Conv node, forward only; the fastest of two optimisation levels, with and without I/O binding
    torch nchw     torch.nn.functional.conv2d and aten.convolution_backward
    torch nhwc     the same, channels_last

Every result is compared with NumPy in float64 before it is timed. How they are timed: `measure.py`. A time is the
median over all turns, +- half the interquartile range; `x` columns are that contestant's time over ours (above 1: ours
is faster). `copy` is the time of copying as many bytes as must move at least (x and out; for the gradient x, dout and
dx), with the same threads and the same footprint, as a share of our time: at 100 % the kernel is as fast as memory,
cached or not.
"""

import os
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
from measure import (
    Patience,
    Worker,
    agrees,
    aligned,
    arguments,
    copier,
    environment,
    measure,
    progress,
    serve,
    start,
    summary,
    take_turns,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # time this checkout, not an installed copy

# H = W, C, stride
SHAPES = [(112, 32, 1), (112, 96, 2), (56, 144, 1), (28, 192, 1), (14, 384, 1), (14, 576, 1), (7, 960, 1)]
CONTESTANTS = ["loops", "numpy", "kernels", "onnxruntime", "torch nchw", "torch nhwc"]
LOOKS = {  # of a bar: Okabe and Ito's colours, which the colour-blind tell apart too, and a hatch
    "numpy": ("#0072b2", ""),
    "onnxruntime": ("#d55e00", "//"),
    "torch nchw": ("#56b4e9", ".."),
    "torch nhwc": ("#009e73", "xx"),
}


def problem(case):
    """The arrays of a case, the same in every process."""
    H, C, stride, N = case
    OH = (H - 1) // stride + 1
    rng = np.random.default_rng(H * C + N)
    x, w, dout = (rng.standard_normal(s, np.float32) for s in ((N, H, H, C), (3, 3, C), (N, OH, OH, C)))
    return aligned(x), aligned(w), aligned(dout), stride


# The contestants: a function from the problem to (forward, backward), each called without arguments and giving NHWC.


def run_loops(x, w, dout, stride):
    import numba

    @numba.njit
    def loops_forward(x, w, stride):
        N, H, W, C = x.shape
        out = np.empty((N, (H - 1) // stride + 1, (W - 1) // stride + 1, C), x.dtype)
        for n in range(N):
            for oy in range(out.shape[1]):
                for ox in range(out.shape[2]):
                    for c in range(C):
                        total = x.dtype.type(0)
                        for i in range(3):
                            for j in range(3):
                                y, xx = stride * oy + i - 1, stride * ox + j - 1
                                if 0 <= y < H and 0 <= xx < W:
                                    total += x[n, y, xx, c] * w[i, j, c]
                        out[n, oy, ox, c] = total
        return out

    @numba.njit
    def loops_backward(dout, x, w, stride):
        N, H, W, C = x.shape
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for n in range(N):
            for oy in range(dout.shape[1]):
                for ox in range(dout.shape[2]):
                    for c in range(C):
                        for i in range(3):
                            for j in range(3):
                                y, xx = stride * oy + i - 1, stride * ox + j - 1
                                if 0 <= y < H and 0 <= xx < W:
                                    dx[n, y, xx, c] += dout[n, oy, ox, c] * w[i, j, c]
                                    dw[i, j, c] += dout[n, oy, ox, c] * x[n, y, xx, c]
        return dx, dw

    return lambda: loops_forward(x, w, stride), lambda: loops_backward(dout, x, w, stride)


def run_numpy(x, w, dout, stride):
    from npmnv2 import ops

    _, cache = ops.depthwise_conv2d_forward(x, w, stride, 1)
    return lambda: ops.depthwise_conv2d_forward(x, w, stride, 1)[0], lambda: ops.depthwise_conv2d_backward(dout, cache)


def run_kernels(x, w, dout, stride):
    from npmnv2 import kernels

    _, cache = kernels.depthwise_conv2d_forward(x, w, stride, 1)
    return (
        lambda: kernels.depthwise_conv2d_forward(x, w, stride, 1)[0],
        lambda: kernels.depthwise_conv2d_backward(dout, cache),
    )


def run_onnxruntime(x, w, dout, stride):
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    x, w = aligned(x.transpose(0, 3, 1, 2)), aligned(w.transpose(2, 0, 1)[:, None])
    shape = (dout.shape[0], dout.shape[3], *dout.shape[1:3])
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=x.shape[1], pads=[1] * 4, strides=[stride] * 2)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", shape))]
    graph = helper.make_graph([conv], "g", ends[:1], ends[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    ways = []
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.graph_optimization_level = int(os.environ["OMP_NUM_THREADS"]), level
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding, y = session.io_binding(), aligned(np.zeros(shape))
        binding.bind_cpu_input("x", x)
        binding.bind_output("y", "cpu", 0, np.float32, shape, y.ctypes.data)
        ways.append(lambda session=session: session.run(None, {"x": x})[0])
        ways.append(lambda session=session, binding=binding, y=y: session.run_with_iobinding(binding) or y)
    best = min(ways, key=lambda way: statistics.median(measure(way, 0.05)))
    best.result = lambda: best().transpose(0, 2, 3, 1)
    return best, None


def run_torch(x, w, dout, stride, layout):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    x, dout = (torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, dout))
    w = torch.from_numpy(w).permute(2, 0, 1)[:, None].contiguous()
    C = x.shape[1]
    gradients = torch.ops.aten.convolution_backward

    def forward():
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, w, stride=stride, padding=1, groups=C)

    def backward():
        s, one = [stride] * 2, [1, 1]
        return gradients(dout, x, w, None, s, one, one, False, [0, 0], C, [True, True, False])

    forward.result = lambda: forward().permute(0, 2, 3, 1).numpy()

    def result():
        dx, dw, _ = backward()
        return dx.permute(0, 2, 3, 1).numpy(), dw[:, 0].permute(1, 2, 0).numpy()

    backward.result = result
    return forward, backward


def prepare(name, case):
    """The calls of one contestant, for `measure.serve`."""
    x, w, dout, stride = arrays = problem(case)
    if name.startswith("torch"):
        made = run_torch(*arrays, name.split()[1])
    else:
        made = {"loops": run_loops, "numpy": run_numpy, "kernels": run_kernels, "onnxruntime": run_onnxruntime}[name](
            *arrays
        )
    calls = {way: call for way, call in zip(("forward", "backward"), made, strict=True) if call}
    if name == "kernels":
        calls |= {"copy forward": copier((x.size + dout.size) // 2), "copy backward": copier(x.size + dout.size // 2)}
    return calls


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
    if not agrees(path, expected["exact"][way], expected["bound"][way]):
        raise SystemExit(f"error: {name} {way} is not the depthwise convolution of NumPy")


def run(args):
    cores = os.cpu_count() or 1
    shapes = [SHAPES[0], SHAPES[3], SHAPES[6]] if args.quick else SHAPES
    batches, rounds, seconds = ((1,), 2, 0.05) if args.quick else ((1, 8), args.rounds, 0.06)
    info, results, missing = environment(("onnxruntime", "torch")), [], {}
    patience = Patience(min(args.patience, 10) if args.quick else args.patience)
    for threads in (1, 2) if cores > 1 else (1,):
        workers = {name: Worker(__file__, name, threads) for name in CONTESTANTS if name not in missing}
        try:
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
        finally:
            for contestant in workers.values():
                contestant.close()
    progress("")
    turns = {"taken": patience.turns, "disturbed by other programs": patience.disturbed}
    return {"environment": info, "missing": missing, "turns": turns, "results": results}


def show(report):
    info = report["environment"]
    print(f"{info.get('cpu', info['system'])}, {info['cores']} cores; float32, 3x3, padding 1; us: time of `kernels`")
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
        title = "forward" if way == "forward" else "dx + dw"
        print(f"{title}, batch {N}, {threads} thread{'s'[: threads > 1]}")
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
    turns, disturbed = report["turns"].values()
    if disturbed:
        print(f"{disturbed} of {turns} turns were disturbed by other programs")
    for name, reason in report["missing"].items():
        print(f"left out: {name} ({reason}); pip install npmnv2[peers]")


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
        axis.set_title(
            f"{'forward' if way == 'forward' else 'dx + dw'}, batch {N}, {threads} thread{'s'[: threads > 1]}"
        )
        axis.set_ylabel("their time / ours")
    info = report["environment"]
    figure.suptitle(f"{info.get('cpu', info['system'])}, float32\nabove 1: ours is faster")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * columns)  # a panel has room for two
    figure.savefig(path, dpi=110)


def main():
    args = arguments(
        "Depthwise 3x3: loops, NumPy, our kernels, and the engines installed.",
        quick="three shapes, batch 1, fewer rounds: half a minute",
    )
    if args.worker:
        return serve(lambda case: prepare(args.worker, case))
    report = run(args)
    if args.json:  # before anything is printed: the reader of a pipe may go
        write_json(args.json, report)
    if args.plot:
        draw(report, args.plot)
    show(report)
    return None


if __name__ == "__main__":
    main()
