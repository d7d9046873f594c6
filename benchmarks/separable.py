"""What does a separable convolution really save? Every layer shape of MobileNetV1 and V2, formula beside measurement.

    python benchmarks/separable.py [--quick] [--json FILE] [--plot FILE] [--rounds N] [--patience S]

Each case is a 3x3 convolution from C to M channels, and its separable replacement: 3x3 depthwise, then C to M
pointwise. The shapes are those of the networks' depthwise layers and the pointwise layer behind each, and a sweep of
channels at 14x14. Contestants, each in a process of its own, at its best settings:

    npmnv2         standard: the faster of `kernels.conv` and `ops.conv2d_im2col_forward`;
                   separable: the fastest of `kernels.separable` (one pass) and `kernels.depthwise_conv2d_forward`
                   followed by `kernels.conv` or by `x @ w`
    onnxruntime    Conv nodes, forward only; the faster of two optimisation levels
    torch          conv2d and aten.convolution_backward; the faster of its two layouts
    naive          seven plain loops, compiled by Numba for one thread, in the sweep up to 64 channels: a lesson

All give the same numbers: each result is compared with NumPy in float64 before anything is timed. How they are timed:
`measure.py`. Columns:

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
import sys
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from measure import (
    Patience,
    Worker,
    agrees,
    arguments,
    environment,
    progress,
    serve,
    start,
    summary,
    take_turns,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # time this checkout, not an installed copy

from separable_contestants import NAIVE_UP_TO, compared, prepare, problem  # noqa: E402

from npmnv2 import cost, ops  # noqa: E402

CONTESTANTS = ["npmnv2", "onnxruntime", "torch nchw", "torch nhwc", "naive"]
SIDES = {
    "npmnv2": ["npmnv2"],
    "onnxruntime": ["onnxruntime"],
    "torch": ["torch nchw", "torch nhwc"],
    "naive": ["naive"],
}
SWEEP = [8, 16, 32, 64, 128, 256, 512, 1024]
SWEEP_TITLE = "14x14, C to C channels"
WAYS = ("standard", "separable", "standard step", "separable step")


def shapes_of(layers):
    """(H, C, M, stride) of every depthwise layer and the pointwise layer behind it, and how often each occurs."""
    found = {}
    for depthwise, pointwise in pairwise(layers):
        if depthwise.kind == "depthwise":
            H, _, C = depthwise.in_shape
            shape = (H, C, pointwise.out_shape[2], depthwise.stride)
            found[shape] = found.get(shape, 0) + 1
    return found


def label(shape):
    H, C, M, stride = shape
    return f"{H}x{H}x{C} > {M}" + (" /2" if stride == 2 else "")


def costs(shape):
    """What both sides cost, by formula, for one image."""
    H, C, M, stride = shape
    standard = cost.convolution("standard", H, H, C, M, stride=stride, batchnorm=False)
    halves = cost.separable(H, H, C, M, stride=stride)
    return standard, *halves


def groups(quick):
    """The exhibits: a title and the shapes in it."""
    v1, v2 = list(shapes_of(cost.mobilenet_v1())), list(shapes_of(cost.mobilenet_v2()))
    sweep = [(14, C, C, 1) for C in SWEEP]
    if quick:
        v1, v2, sweep = v1[5:6], [v2[0], v2[1], v2[7]], sweep[1:6:2]
    return {"MobileNetV1": v1, "MobileNetV2": v2, SWEEP_TITLE: sweep}


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
    if not agrees(path, exact, bound):
        raise SystemExit(f"error: {name}, {way}: not what NumPy computes in float64")


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


def machine_limits(worker, threads, patience):
    """Speed of large matrix products (of one BLAS thread, times the threads) and of copies of several sizes."""
    worker.ask(case="limits", save="")
    times = take_turns({"npmnv2": worker}, 5, 0.05, patience)
    us = {way: summary(t)["min_us"] for (_, way), t in times.items()}
    peak = max(2e6 * int(way.split()[1]) ** 3 / t for way, t in us.items() if way.startswith("product")) * threads
    copies = {int(way.split()[1]): 1e6 * int(way.split()[1]) / t for way, t in us.items() if way.startswith("copy")}
    return {"threads": threads, "flop_per_s": peak, "bytes_per_s": copies}


def run(args):
    cores = os.cpu_count() or 1
    exhibits = groups(args.quick)
    batches, rounds, seconds = ((1,), 2, 0.005) if args.quick else ((1, 8), args.rounds, 0.006)
    info = environment(("onnxruntime", "torch"))
    report = {"environment": info, "missing": {}, "limits": [], "results": [], "layers": []}
    patience = Patience(min(args.patience, 2) if args.quick else args.patience)
    for threads in (1, 2) if cores > 1 and not args.quick else (1,):
        workers = {name: Worker(__file__, name, threads) for name in CONTESTANTS if name not in report["missing"]}
        try:
            report["limits"].append(machine_limits(workers["npmnv2"], threads, patience))
            for N in batches:
                for shape in dict.fromkeys(chain(*exhibits.values())):
                    if N > 1 and shape in exhibits[SWEEP_TITLE]:
                        continue
                    progress(f"{threads} threads, batch {N}, {label(shape)}")
                    case = [*shape, N]
                    ready = start(workers, report["missing"], case, info, partial(check, expected=reference(case)))
                    times = take_turns(ready, rounds, seconds, patience)
                    peak = report["limits"][-1]["flop_per_s"]
                    report["results"].append(measured(times, shape, N, threads, peak))
            if threads == 1 and not args.quick:
                report["layers"] = whole_networks(workers["npmnv2"], patience)
        finally:
            for contestant in workers.values():
                contestant.close()
    progress("")
    report["turns"] = {"taken": patience.turns, "disturbed by other programs": patience.disturbed}
    return report


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


def gain(row, side, step=False):
    """Standard over separable, as `side` measured it; None if it did not."""
    times, end = row["times"][side], " step" if step else ""
    if f"standard{end}" not in times or f"separable{end}" not in times:
        return None
    return times[f"standard{end}"]["median_us"] / times[f"separable{end}"]["median_us"]


def most(row):
    """The largest realised fraction that the limits of the two halves allow, and which limit sets the longer half."""
    bounds = [max((half["arith_us"], "flop"), (half["bytes_us"], "byte")) for half in row["halves"].values()]
    standard = row["times"]["npmnv2"]["standard"]["median_us"]
    return standard / sum(us for us, _ in bounds) / row["formula"], max(bounds)[1]


def in_exhibits(report, exhibits):
    """The rows by (title, batch, threads), in the order of the exhibits."""
    found = {}
    for title, shapes in exhibits.items():
        rows = [row for row in report["results"] if tuple(row["shape"]) in shapes]
        for row in sorted(rows, key=lambda row: shapes.index(tuple(row["shape"]))):
            if row["batch"] == 1 or title != SWEEP_TITLE:
                found.setdefault((title, row["batch"], row["threads"]), []).append(row)
    return found


def show_costs(exhibits):
    print("What one image costs, by formula: standard, then separable\n")
    for title, shapes in exhibits.items():
        print(f"{title}\n{'shape':<20}{'1000 weights':>16}{'million MAdds':>16}{'MB':>12}{'MAdds/byte':>14}")
        for shape in shapes:
            standard, *halves = costs(shape)
            weights, madds, size = (sum(getattr(h, what) for h in halves) for what in ("weights", "madds", "bytes"))
            print(
                f"{label(shape):<20}{standard.weights / 1e3:>9.1f}{weights / 1e3:>7.1f}"
                f"{standard.madds / 1e6:>9.1f}{madds / 1e6:>7.1f}{standard.bytes / 1e6:>7.2f}{size / 1e6:>5.2f}"
                f"{standard.intensity:>9.1f}{madds / size:>5.1f}"
            )
        print()


def show_table(title, rows, step):
    end, way = (" step", "forward and backward") if step else ("", "forward")
    N, threads = rows[0]["batch"], rows[0]["threads"]
    print(f"{title}: {way}, batch {N}, {threads} thread{'s'[: threads > 1]}")
    head = f"{'shape':<19}{'std ms':>8}{'sep ms':>7}{'formula':>8}{'measured':>9}{'realised':>9}"
    print(head + (" " * 10 if step else f"{'most':>5}{'':5}") + f"{'ort':>5}{'pt':>5}")
    for row in rows:
        ours = row["times"]["npmnv2"]
        standard, separable = (ours[kind + end]["median_us"] for kind in ("standard", "separable"))
        line = f"{label(row['shape']):<19}{standard / 1e3:>8.3f}{separable / 1e3:>7.3f}{row['formula']:>8.2f}"
        line += f"{standard / separable:>9.2f}{standard / separable / row['formula']:>9.2f}"
        line += " " * 10 if step else "{:>5.2f} {}".format(*most(row))
        for side in ("onnxruntime", "torch"):
            theirs = row["times"][side].get(f"standard{end}")
            line += f"{standard / theirs['median_us']:>5.2f}" if theirs else f"{'-':>5}"
        print(line)
    print()


def show(report, exhibits):
    info = report["environment"]
    print(f"{info.get('cpu', info['system'])}, {info['cores']} cores; float32; one pool of threads at a time:")
    print(f"Numba's ({info.get('threading layer')}), with BLAS ({info['blas']}, {info['blas kernel']}) on one thread\n")
    show_costs(exhibits)
    for limit in report["limits"]:
        speeds = [f"{int(size) >> 10}: {speed / 1e9:.0f}" for size, speed in limit["bytes_per_s"].items()]
        threads = f"{limit['threads']} thread{'s'[: limit['threads'] > 1]}"
        print(f"{threads}: {limit['flop_per_s'] / 1e9:.0f} Gflop/s; copying so many KB, GB/s read and written:")
        print(f"    {', '.join(speeds)}")
    print()
    for (title, _, _), rows in sorted(in_exhibits(report, exhibits).items(), key=lambda item: item[0][:0:-1]):
        for step in (False, True):
            show_table(title, rows, step)
    show_naive(report)
    if report["turns"]["disturbed by other programs"]:
        turns, disturbed = report["turns"].values()
        print(f"{disturbed} of {turns} turns were disturbed by other programs")
    for name, reason in report["missing"].items():
        print(f"left out: {name} ({reason}); pip install npmnv2[peers]")


def show_naive(report):
    print(f"Naive loops, one thread, up to {NAIVE_UP_TO} channels: what they measure, how slow they are")
    for row in report["results"]:
        if row["threads"] == 1 and row["times"]["naive"]:
            loops, ours = (row["times"][side] for side in ("naive", "npmnv2"))
            slower = [loops[kind]["median_us"] / ours[kind]["median_us"] for kind in ("standard", "separable")]
            print(
                f"{label(row['shape']):<20}formula {row['formula']:.2f}, measured {gain(row, 'naive'):.2f}; "
                "{:.0f} and {:.0f} times our time".format(*slower)
            )
    print("Loops that leave most of a core idle measure the compiler, not the convolution.\n")


def main():
    args = arguments(
        "Standard against separable convolution, by formula and measured.",
        quick="seven shapes, batch 1, one thread: under 20 seconds",
        rounds=3,
        patience=15,
    )
    if args.worker:
        return serve(lambda case: prepare(args.worker, case))
    report = run(args)
    if args.json:  # before anything is printed: the reader of a pipe may go
        write_json(args.json, report)
    if args.plot:
        from separable_plots import draw

        draw(report, in_exhibits(report, groups(args.quick)), args.plot)
    show(report, groups(args.quick))
    return None


if __name__ == "__main__":
    main()
