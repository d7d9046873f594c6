"""How does the time of a network grow with batch, resolution, width and threads? MobileNetV2, inference, and a peer.

    python benchmarks/scaling.py [--quick] [--core avx2] [--json FILE] [--plot FILE] [--rounds N] [--patience S]

Four sweeps, each from the same network, width 1.0, one image of 224x224, on one thread: 1 to 32 images, 64 to 448
pixels a side, widths 0.35 to 1.4, and as many threads as the machine has cores, 16 at most. Threads are swept with 8
images too, where there is more for them to share. The peer is onnxruntime, or PyTorch where that is not installed
(`peers_contestants.py` has the settings); both give the logits that NumPy gives in float64 before they are timed, and
take turns in processes of their own (`common/measure.py`). Under each sweep is a fit by least squares in logarithms:

    ms = a * v^b    b is how fast the time grows: by 2^b where v doubles. Of images, 1 is proportion; of pixels a side,
                    2; of threads, -1
    MAdds           the b of the multiply-adds, by the same fit. Where the time's is smaller, something is left to pay
                    for however little there is to compute, or the small cases are slower for their size
    R2              of the logarithms: 1 where a single power tells all
"""

import functools
import os
import tempfile
import textwrap
import time

import numpy as np
from common.command import arguments, carry_out, progress
from common.machine import environment
from common.measure import Patience, contestants, in_milliseconds, start, take_turns
from common.report import disturbed, machine, show_turns, where
from peers_contestants import SETTINGS, missing, prepare, write_weights
from peers_reference import check

from npmnv2 import cost

PEERS = ("onnxruntime", "torch nhwc")
PACKAGES = ("onnx", "onnxruntime", "torch", "torchvision")
VALUES = {
    "images": (1, 2, 4, 8, 16, 32),
    "pixels": (64, 96, 128, 160, 224, 320, 448),
    "width": (0.35, 0.5, 0.75, 1.0, 1.4),
    "threads": (1, 2, 4, 8, 16),
    "threads, 8 images": (1, 2, 4, 8, 16),
}
QUICK = "three values of each"


def sweeps(quick=False):
    """For each sweep (value, width, size, images, threads), by the name of what is varied."""
    cores, found = os.cpu_count() or 1, {}
    for name, values in VALUES.items():
        if quick and not name.startswith("threads"):
            values = values[1:4] if name == "width" else values[:5:2]
        base = {"width": 1.0, "pixels": 224, "images": 8 if name.endswith("8 images") else 1, "threads": 1}
        points = [(value, base | {name.partition(",")[0]: value}) for value in values]
        points = [(value, p["width"], p["pixels"], p["images"], p["threads"]) for value, p in points]
        found[name] = [point for point in points if point[4] <= cores]
    return found


def peer():
    """The one that is compared with; None where no peer is installed."""
    return next((name for name in PEERS if not missing(name)), None)


def run(args):
    begin, other = time.perf_counter(), peer()
    names = ["npmnv2", other] if other else ["npmnv2"]
    report = {"environment": environment(PACKAGES), "quick": args.quick, "peer": other, "sweeps": {}, "missing": {}}
    report["settings"] = {name: SETTINGS[name] for name in names}
    patience = Patience(min(args.patience, 5) if args.quick else args.patience)
    todo = sweeps(args.quick)
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for width in {point[1] for points in todo.values() for point in points}:
            write_weights(folder, width, onnx=other == "onnxruntime")
        for threads in sorted({point[4] for points in todo.values() for point in points}):
            with contestants(__file__, names, threads) as workers:
                for case in dict.fromkeys(p[1:4] for points in todo.values() for p in points if p[4] == threads):
                    width, size, N = case
                    progress(f"{threads} threads: width {width}, {N}x{size}x{size}")
                    sought = ("inference", *case)
                    checked = functools.partial(check, case=sought, folder=folder)
                    ready = start(workers, report["missing"], [*sought, folder], report["environment"], checked)
                    rounds, seconds = (2, 0.05) if args.quick else (args.rounds, 0.15)
                    times[threads, *case] = in_milliseconds(take_turns(ready, rounds, seconds, patience))
    progress("")
    for name, points in todo.items():
        madds = [N * cost.total(cost.mobilenet_v2(width, size)).madds for _, width, size, N, _ in points]
        rows = [(p[0], m, times[p[4], *p[1:4]]) for p, m in zip(points, madds, strict=True)]
        report["sweeps"][name] = [{"value": value, "madds": m, "times": found} for value, m, found in rows]
    report["fits"] = {name: fits(rows) for name, rows in report["sweeps"].items()}
    report["turns"] = patience.report()
    return report | {"seconds": round(time.perf_counter() - begin)}


def fits(rows):
    """By contestant, and for the multiply-adds: a, b and R2; nothing where there are fewer than two values."""
    if len(rows) < 2:
        return {}
    values = [row["value"] for row in rows]
    found = {"MAdds": fit(values, [row["madds"] for row in rows])}
    for name in rows[0]["times"]:
        found[name] = fit(values, [row["times"][name]["median"] for row in rows])
    return found


def fit(values, times):
    """y = a * v^b, by least squares in logarithms, and R2 of these; of a constant that is 1."""
    x, y = np.log(values), np.log(times)
    b, log_a = np.polyfit(x, y, 1)
    rest, all_there_is = ((y - log_a - b * x) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return {"a": float(np.exp(log_a)), "b": float(b), "R2": 1 - float(rest / all_there_is) if all_there_is else 1.0}


def show(report):
    print(machine(report["environment"]))
    print("float32; ms: median, half the interquartile range")
    names = [name for name in ("npmnv2", report["peer"]) if name]
    for name, rows in report["sweeps"].items():
        print(f"\n{name:<20}" + "".join(f"{n:>18}" for n in names) + (f"{'ratio':>8}" if len(names) > 1 else ""))
        for row in rows:
            line = f"{row['value']:<20}"
            for n in names:
                line += f"{row['times'][n]['median']:>10.2f} +-{row['times'][n]['spread']:>5.2f}"
            if len(names) > 1:
                ours, theirs = (row["times"][n]["median"] for n in names)
                line += f"{ours / theirs:>8.2f}"
            print(line)
        found = report["fits"][name]
        if found:
            line = f"{'b (R2)':<20}" + "".join(f"{found[n]['b']:>10.2f} ({found[n]['R2']:.3f})" for n in names)
            print(line + ("" if name.startswith("threads") else f"   MAdds {found['MAdds']['b']:.2f}"))
        else:
            print("one value: no fit")
    print(f"\n{report['seconds']} s; checked: all give the logits of NumPy in float64")
    if not report["peer"]:
        print("no peer is installed (onnxruntime, or torch with torchvision)")
    show_turns(report)
    if report["quick"]:
        print(f"quick: {QUICK}")


LOOKS = {"npmnv2": ("#0072B2", "o", "-"), "peer": ("#D55E00", "s", "--")}
AXES = {
    "images": "images in a batch",
    "pixels": "pixels a side",
    "width": "width multiplier",
    "threads": "threads, one image",
    "threads, 8 images": "threads, 8 images",
}


def draw(report, path):
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    panels = figure.subplots(2, 3).flat
    for axes, (name, rows) in zip(panels, report["sweeps"].items(), strict=False):
        values = [row["value"] for row in rows]
        for n in filter(None, ("npmnv2", report["peer"])):
            colour, marker, style = LOOKS["npmnv2" if n == "npmnv2" else "peer"]
            times = [row["times"][n] for row in rows]
            axes.errorbar(
                values,
                [t["median"] for t in times],
                [t["spread"] for t in times],
                fmt=marker,
                color=colour,
                ms=8,
                mec="white",
            )
            found, law = report["fits"][name].get(n), ""
            if found:
                axes.plot(values, [found["a"] * v ** found["b"] for v in values], style, color=colour, lw=1.4)
                law = f": {found['a']:.2g} v$^{{{found['b']:.2f}}}$"
            axes.plot([], [], style, marker=marker, color=colour, mec="white", label=f"{n}{law}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        drawn = [t["median"] for row in rows for t in row["times"].values()]
        reach = max(max(drawn) / min(drawn), 2.0)
        axes.set_ylim(min(drawn) / reach**0.1, max(drawn) * reach**0.35)  # the legend stands above
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
        axes.set(xlabel=AXES[name], ylabel="ms")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left" if not name.startswith("threads") else "upper right", fontsize=10)
    last = figure.axes[-1]
    last.axis("off")
    note = [
        textwrap.fill(where(report["environment"]), 60),
        "MobileNetV2, inference, float32",
        "elsewhere: width 1.0, 224x224, one image, one thread",
        "lines: a v^b by least squares in logarithms, v as below each panel",
        "bars: half the interquartile range",
        *disturbed(report["turns"]),
    ]
    last.text(0, 0.9, "\n".join(note), va="top", color="0.3", transform=last.transAxes, linespacing=1.6)
    figure.savefig(path, dpi=110)


def main():
    args = arguments("How the time of MobileNetV2 grows, and a peer's.", QUICK, rounds=5, patience=60)
    carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
