"""What does a separable convolution really save? Every layer shape of MobileNetV1 and V2, formula beside measurement.

    python benchmarks/separable.py [--quick] [--core avx2] [--json FILE] [--plot FILE] [--rounds N] [--patience S]

Each case is a 3x3 convolution from C to M channels, and its separable replacement: 3x3 depthwise, then C to M
pointwise. The shapes are those of the networks' depthwise layers and the pointwise layer behind each, and a sweep of
channels at 14x14. Contestants, each in a process of its own, at its best settings:

    npmnv2         standard: the faster of `kernels.conv` and `ops.conv2d_im2col_forward`;
                   separable: the fastest of `one_pass.py` and `kernels.depthwise_conv2d_forward`
                   followed by `kernels.conv` or by `x @ w`
    onnxruntime    Conv nodes, forward only; the faster of two optimisation levels
    torch          conv2d and aten.convolution_backward; the faster of its two layouts
    naive          seven plain loops, compiled by Numba for one thread, in the sweep up to 64 channels: a lesson

All give the same numbers: each result is compared with NumPy in float64 before anything is timed. How they are timed:
`common/measure.py`. Columns:

    formula    multiply-adds of the standard convolution over those of the separable one: 9 M / (9 + M)
    measured   time over time
    realised   measured over formula: how much of what the formula promises arrives
    most       the largest value of `realised` that this machine allows two steps, next to this standard convolution:
               each half at its limit, and which limit that is for the half that takes longer: `flop` (the measured
               speed of large matrix products; for the pointwise half, of products of its own M that stay in cache)
               or `byte` (what must move at least, at the measured speed of copying as much). A standard convolution
               below those speeds can push it above 1, and one pass moves fewer bytes.
    ort, pt    standard convolution: our time over onnxruntime's and PyTorch's. Below 1: ours is faster.
"""

import os
from functools import partial
from itertools import chain

import numpy as np
from common.command import arguments, carry_out, progress
from common.limits import measure_limits
from common.machine import environment
from common.measure import Patience, check_sums, contestants, start, summary, take_turns
from separable_contestants import compared, prepare, problem
from separable_plot import draw
from separable_report import SWEEP_TITLE, costs, exhibits, label, show

from npmnv2 import cost, ops

SIDES = {
    "npmnv2": ["npmnv2"],
    "onnxruntime": ["onnxruntime"],
    "torch": ["torch nchw", "torch nhwc"],
    "naive": ["naive"],
}
WAYS = ("standard", "separable", "standard step", "separable step")


def reference(case):
    """What every contestant must give, in float64, and the size of the sums that each value is made of.

    Of the first and the last image only, so without the gradients of the weights if there are more.
    """
    (x, w, wd, wp, dout), stride = problem(case), case[3]
    arrays = [compared((x,))[0], w, wd, wp, compared((dout,))[0]]
    results = {}
    for name, values in (("exact", arrays), ("bound", [abs(a) for a in arrays])):
        x, w, wd, wp, dout = (a.astype(np.float64) for a in values)
        out, cache = ops.conv2d_im2col_forward(x, w, stride, 1)
        standard = (out, *ops.conv2d_im2col_backward(dout, cache))
        hidden, depthwise_cache = ops.depthwise_conv2d_forward(x, wd, stride, 1)
        out, pointwise_cache = ops.pointwise_conv2d_forward(hidden, wp)
        dhidden, dwp = ops.pointwise_conv2d_backward(dout, pointwise_cache)
        dx, dwd = ops.depthwise_conv2d_backward(dhidden, depthwise_cache)
        results[name] = {"standard": standard, "separable": (out, dx, dwd, dwp)}
        if case[4] > 2:
            results[name] = {kind: values[:2] for kind, values in results[name].items()}
    return results


def check(name, way, path, expected):
    """End with an error unless what was saved is right: of a forward the output, of a step all that is expected."""
    kind = way.split()[0]
    exact, bound = (expected[what][kind][: None if "step" in way else 1] for what in ("exact", "bound"))
    check_sums(f"{name}, {way}", path, exact, bound)


def fastest(times, names, what):
    """The summary of the fastest way in which one of the contestants `names` does `what`; None if none does."""
    found = [
        summary(t) | {"contestant": name, "way": way}
        for (name, way), t in times.items()
        if name in names and (way == what or way.startswith(f"{what} ("))
    ]
    return min(found, key=lambda s: s["median_us"], default=None)


def measured(times, shape, N, threads, peak):
    """One row of results: the fastest times of all sides, and what limits the two halves."""
    row = {"shape": list(shape), "batch": N, "threads": threads, "formula": cost.separable_gain(shape[2])}
    row["times"] = {
        side: {way: found for way in WAYS if (found := fastest(times, names, way))} for side, names in SIDES.items()
    }
    row["halves"] = {}
    _, depthwise, pointwise = costs(shape)
    product_us = summary(times["npmnv2", "product"])["median_us"] / threads
    for half, layer, us in (
        ("depthwise", depthwise, 2e6 * depthwise.madds * N / peak),
        ("pointwise", pointwise, product_us),
    ):
        row["halves"][half] = {
            "time": fastest(times, ["npmnv2"], half),
            "arith_us": us,
            "bytes_us": summary(times["npmnv2", f"copy {half}"])["median_us"],
            "flop": 2 * layer.madds * N,
            "bytes": N * layer.activation_bytes + layer.weight_bytes,
        }
    standard = costs(shape)[0]
    row["standard"] = {"flop": 2 * standard.madds * N, "bytes": N * standard.activation_bytes + standard.weight_bytes}
    return row


def run(args):
    cores = os.cpu_count() or 1
    asked = exhibits(args.quick)
    batches, rounds, seconds = ((1,), 2, 0.005) if args.quick else ((1, 8), args.rounds, 0.006)
    info = environment(("onnxruntime", "torch"))
    report = {"environment": info, "missing": {}, "limits": [], "results": [], "layers": []}
    patience = Patience(min(args.patience, 2) if args.quick else args.patience)
    for threads in (1, 2) if cores > 1 and not args.quick else (1,):
        names = [name for name in chain(*SIDES.values()) if name not in report["missing"]]
        with contestants(__file__, names, threads) as workers:
            report["limits"].append(measure_limits(workers["npmnv2"], threads, patience))
            for N in batches:
                for shape in dict.fromkeys(chain(*asked.values())):
                    if N > 1 and shape in asked[SWEEP_TITLE]:
                        continue
                    progress(f"{threads} threads, batch {N}, {label(shape)}")
                    case = [*shape, N]
                    ready = start(workers, report["missing"], case, info, partial(check, expected=reference(case)))
                    times = take_turns(ready, rounds, seconds, patience)
                    peak = report["limits"][-1]["flop_per_s"]
                    report["results"].append(measured(times, shape, N, threads, peak))
            if threads == 1 and not args.quick:
                report["layers"] = whole_networks(workers["npmnv2"], patience)
    progress("")
    return report | {"turns": patience.report()}


def whole_networks(worker, patience):
    """Every layer of the networks alone, on one thread, batch 1: where the time goes."""
    seen, rows = {}, []
    for network in ("mobilenet_v1", "mobilenet_v2"):
        for layer in cost.NETWORKS[network]():
            case = ["layer", layer.kind, layer.in_shape[0], layer.in_shape[2], layer.out_shape[2], layer.stride, 1]
            key = tuple(case)
            if key not in seen:
                progress(f"{network}, {layer.name}")
                worker.ask(case=case, save="")
                seen[key] = fastest(take_turns({"npmnv2": worker}, 3, 0.01, patience), ["npmnv2"], "layer")
            rows.append({"network": network, "layer": layer.name, "kind": layer.kind, "madds": layer.madds} | seen[key])
    return rows


def main():
    args = arguments(
        "Standard against separable convolution, by formula and measured.",
        quick="seven shapes, batch 1, one thread: under 20 seconds",
        rounds=3,
        patience=15,
    )
    carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
