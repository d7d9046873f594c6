"""How fast is this package beside what production uses? MobileNetV2, inference and training, against every peer.

    python benchmarks/peers.py [--quick] [--only inference|training] [--json FILE] [--plot FILE] [--rounds N]
    python benchmarks/peers.py --cold [--json FILE]          start-up: compiling everything, and the first logits

Widths 0.35, 1.0 and 1.4, images of 96, 160 and 224 pixels, batches of 1, 8 and 32, float32, one thread and two. Peers
that are not installed are named and left out. `peers_contestants.py` runs them, each at its best settings, which the
output names; `torchscript` and `torch.compile`, which take long to prepare, only in the columns of the first tables.

All have the same weights, and before anything is timed its results are compared with NumPy in float64: the logits; in
training the loss, every gradient, and every parameter and running statistic after a step. How they are timed:
`measure.py`. A training step is forward, loss, backward, and SGD with momentum. What is printed:

    ms +-        the median over the calls of all turns, and half the interquartile range
    limit        the multiply-adds of the network at the measured speed of large matrix products, one core's times the
                 threads; three times as many in training, whose backward has two products for each of the forward
    ort ov pt    our time over that of onnxruntime, OpenVINO and PyTorch eager in the faster of its two layouts;
                 `lim`: over the limit
    memory       of a process of its own, one thread, that has run a small case before: what it holds in addition at
                 most while it runs this one (`peak`), and the part of that beyond the prepared network (`work`)

The checks at the end are aims. None of them fails a run.
"""

import functools
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Patience, Worker, arguments, environment, progress, serve, start, summary, take_turns, write_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # time this checkout, not an installed copy

from peers_contestants import (  # noqa: E402
    INFERENCE,
    SETTINGS,
    TRAINING,
    images,
    labels,
    missing,
    prepare,
    some,
    step_of,
    write_weights,
)
from peers_process import cold, memory, show_cold, show_memory  # noqa: E402

WIDTHS, SIZES, BATCHES = (1.0, 0.35, 1.4), (224, 160, 96), (1, 8, 32)
HEADS = {"inference": [(1.0, 224, 1), (1.0, 224, 8)], "training": [(1.0, 96, 16), (1.0, 224, 8)]}  # width, size, batch
SLOW_TO_PREPARE = ("torchscript", "torch.compile")
ENGINES, EAGER = ("onnxruntime", "openvino"), ("torch nchw", "torch nhwc")
PACKAGES = ("onnx", "onnxruntime", "openvino", "torch", "torchvision")
BOUND = 2_408_448  # bytes, |x| + |y| of the first block at 224x224 in float32: V2, section 5.1
QUICK = "1x224x224, a training step of 16x96x96; no torch.compile, no memory"


def cases(quick, only):
    """(what, width, size, batch), the columns of the first tables before the others."""
    if quick:
        found = [("inference", 1.0, 224, 1), ("training", 1.0, 96, 16)]
    else:
        grids = {
            "inference": [(width, size, N) for width in WIDTHS for size in SIZES for N in BATCHES],
            "training": [(width, size, N) for width in WIDTHS for size, N in ((96, 16), (224, 8))],
        }
        found = [(what, *rest) for what, grid in grids.items() for rest in dict.fromkeys(HEADS[what] + grid)]
    return [case for case in found if only in (None, case[0])]


def is_head(case):
    return tuple(case[1:]) in HEADS[case[0]]


def label(case):
    what, width, size, N = case
    return f"{what}, {width}, {N}x{size}x{size}"


# What every contestant must give.


@functools.cache
def _model(path):
    import npmnv2

    return npmnv2.weights.load_model(path, dtype=np.float64).eval()


@functools.cache
def _logits(folder, width, size, k):
    """Of image k, by NumPy in float64."""
    import npmnv2

    with npmnv2.backend("numpy"):
        return _model(f"{folder}/{width}.npz")(images(size, k + 1)[k:].astype(np.float64))


@functools.cache
def _step(folder, width, size, N):
    import npmnv2

    model = npmnv2.weights.load_model(f"{folder}/{width}.npz", dtype=np.float64)
    with npmnv2.backend("numpy"):
        return step_of(model, images(size, N).astype(np.float64), labels(N)).result()


def reference(case, folder):
    what, width, size, N = case
    if what == "training":
        return _step(folder, width, size, N)
    return (np.concatenate([_logits(folder, width, size, k) for k in some(N)]),)


def agree(got, exact):
    """Whether results are equal to the rounding of float32, array by array.

    That of a gradient is carried through 52 layers, where it moves values across the kinks of ReLU6 (PyTorch's channels
    last, whose batch norm adds less exactly, was seen half a per cent off), and some gradients are zero but for it (the
    shift of a linear bottleneck, which the next batch norm takes away); so their mean size counts a little too.
    """
    if [a.shape for a in got] != [e.shape for e in exact]:
        return False
    if len(exact) == 1:
        return bool(np.abs(got[0] - exact[0]).max() <= 5e-5 * np.abs(exact[0]).max())
    gradients = 1 + 158  # the loss stands before them; the rest is what the step leaves
    sizes = [float(np.linalg.norm(e)) for e in exact]
    mean = math.sqrt(sum(size**2 for size in sizes[1:gradients]) / (gradients - 1))
    allowed = [1e-4 * sizes[0]]
    allowed += [2e-2 * size + 1e-3 * mean for size in sizes[1:gradients]]
    allowed += [1e-3 * size + 1e-6 for size in sizes[gradients:]]
    return all(np.linalg.norm(g - e) <= a for g, e, a in zip(got, exact, allowed, strict=True))


def check(name, way, path, case, folder):
    """End with an error unless what was saved is right."""
    with np.load(path) as saved:
        if not agree([saved[key] for key in saved.files], reference(case, folder)):
            raise SystemExit(f"error: {name}, {way}, {label(case)}: not what NumPy computes in float64")


# The process that reports.


def run(args):
    begin = time.perf_counter()
    todo = cases(args.quick, args.only)
    absent = {name: f"no {missing(name)}" for name in INFERENCE if missing(name)}
    report = {"environment": environment(PACKAGES), "quick": args.quick, "settings": {}, "missing": absent}
    report |= {"limits": [], "results": [], "memory": []}
    patience = Patience(min(args.patience, 5) if args.quick else args.patience)
    with tempfile.TemporaryDirectory() as folder:
        for width in dict.fromkeys(case[1] for case in todo):
            progress(f"weights of width {width}")
            write_weights(folder, width, onnx=not missing("onnxruntime") or not missing("openvino"))
        for n in (1, 2) if (os.cpu_count() or 1) > 1 and not args.quick else (1,):
            _time(args, todo, n, folder, report, patience)
        if not args.quick:
            heads = [case for case in todo if is_head(case)]
            report["memory"] = memory(heads, [n for n in INFERENCE if n not in absent], folder)
    progress("")
    ran = {name for row in report["results"] for name in row["times"]}
    report["settings"] = {name: SETTINGS[name] for name in INFERENCE if name in ran}
    report["turns"] = {"taken": patience.turns, "disturbed by other programs": patience.disturbed}
    return report | {"seconds": round(time.perf_counter() - begin)}


def _time(args, todo, threads, folder, report, patience):
    """Every case with so many threads, into `report`."""
    from separable import machine_limits

    from npmnv2 import cost

    absent, results = report["missing"], report["results"]
    names = [n for n in INFERENCE if n not in absent and not (args.quick and n == "torch.compile")]
    workers = {name: Worker(__file__, name, threads) for name in names}
    try:
        report["limits"].append(machine_limits(workers["npmnv2"], threads, patience))
        for k, case in enumerate(todo):
            progress(f"{threads} threads, {k + 1} of {len(todo)}: {label(case)}")
            what, width, size, N = case
            taking = [name for name in (INFERENCE if what == "inference" else TRAINING) if name in workers]
            taking = [name for name in taking if is_head(case) or name not in SLOW_TO_PREPARE]
            ready = start(
                {name: workers[name] for name in taking},
                absent,
                [*case, folder],
                report["environment"],
                functools.partial(check, case=case, folder=folder),
            )
            for name in absent:
                workers.pop(name, None)
            rounds, seconds = (3, 0.2) if args.quick else (args.rounds, 0.2) if is_head(case) else (3, 0.1)
            times = take_turns(ready, rounds, seconds, patience)
            madds = N * cost.total(cost.mobilenet_v2(width, size)).madds * (3 if what == "training" else 1)
            row = {"what": what, "width": width, "size": size, "batch": N, "threads": threads}
            row["limit_ms"] = 2e3 * madds / report["limits"][-1]["flop_per_s"]
            results.append(row | {"times": fastest(times)})
    finally:
        for worker in workers.values():
            worker.close()


def fastest(times):
    """By contestant, in milliseconds: the summary of its fastest way."""
    found = {}
    for (name, way), some_times in times.items():
        ms = {key[:-3]: us / 1e3 for key, us in summary(some_times).items()} | {"way": way}
        if name not in found or ms["median"] < found[name]["median"]:
            found[name] = ms
    return found


# What it means.


def case_of(row):
    return row["what"], row["width"], row["size"], row["batch"]


def in_columns(report, what):
    """The rows of results that are the columns of the first tables."""
    rows = [row for row in report["results"] if row["what"] == what and is_head(case_of(row))]
    return sorted(rows, key=lambda row: (HEADS[what].index(case_of(row)[1:]), row["threads"]))


def over(row, names):
    """Our time over that of the fastest of these; None if none of them is there."""
    theirs = [row["times"][name]["median"] for name in names if name in row["times"]]
    return row["times"]["npmnv2"]["median"] / min(theirs) if theirs else None


def over_limit(row):
    return row["times"]["npmnv2"]["median"] / row["limit_ms"]


def checks(report):
    """(what it is about, our value over theirs or None, the most it should be)."""
    found, others = [], []
    for row in report["results"]:
        where = f"{row['what']}, {row['batch']}x{row['size']}, {way(row['threads'])}"
        if row["what"] == "inference" and is_head(case_of(row)):
            found.append((f"{where}: of the better engine", over(row, ENGINES), 1.0))
            found.append((f"{where}: of PyTorch eager", over(row, EAGER), 0.4))
            found.append((f"{where}: of the limit", over_limit(row), 1.7))
        elif row["what"] == "inference" and over(row, ENGINES):
            others.append((over(row, ENGINES), f"{row['width']}, {where[11:]}"))
        elif is_head(case_of(row)):
            found.append((f"{where}: of PyTorch eager", over(row, EAGER), 0.5))
            found.append((f"{where}: of torch.compile", over(row, ["torch.compile"]), 0.5))
    if others:
        far = sum(ratio > 1.1 for ratio, _ in others)
        found.append((f"{far} of {len(others)} others above; worst {max(others)[1]}", max(others)[0], 1.1))
    for row in report["memory"]:
        held = row["peak"]
        if row["what"] == "training" and held.get("npmnv2"):
            theirs = [held[name] for name in EAGER if held.get(name)]
            ratio = held["npmnv2"] / min(theirs) if theirs else None
            found.append((f"training, {row['batch']}x{row['size']}: memory, of PyTorch's", ratio, 1.0))
        elif row["batch"] == 1 and row.get("working_bytes"):
            found.append(("engine's buffers, of |x| + |y|", row["working_bytes"] / BOUND, 1.25))
    return found


def way(n):
    return f"{n} thread{'s'[: n > 1]}"


def show_checks(found):
    print("aims: npmnv2 over what is named, and the most it should be")
    for text, value, most in found:
        verdict = "no peer" if value is None else "met" if value <= most else "not met"
        print(f"{verdict:<8}{'-' if value is None else f'{value:.2f}':>6} <= {most:<5}{text}"[:80])


def show_columns(title, rows):
    """A column for each row of results, a line for each contestant."""
    print(f"{title}: ms +- half the interquartile range")
    heads = [f"{row['batch']}x{row['size']}, {row['threads']} thr" for row in rows]
    print(f"{'':<15}" + "".join(f"{head:>16}" for head in heads))
    for name in INFERENCE:
        cells = [row["times"].get(name) for row in rows]
        if any(cells):
            print(f"{name:<15}" + "".join(f"{cell_of(cell):>16}" for cell in cells))
    print(f"{'limit':<15}" + "".join(f"{row['limit_ms']:>9.2f}       " for row in rows).rstrip())
    for what, names in (("engine", ENGINES), ("eager", EAGER), ("compile", ["torch.compile"]), ("limit", None)):
        ratios = [over(row, names) if names else over_limit(row) for row in rows]
        if any(ratios):
            print(f"{'ours / ' + what:<15}" + "".join(f"{number(ratio):>9}       " for ratio in ratios).rstrip())
    print()


def cell_of(cell):
    return f"{cell['median']:.2f} +-{cell['spread']:>4.2f}" if cell else "-"


def number(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def show_grid(title, rows):
    """A line for each case, a group of columns for each number of threads."""
    some_threads = sorted({row["threads"] for row in rows})
    print(f"{title}: ms, and our time over others'")
    print(f"{'':<13}" + "".join(f"{way(n):>32}" for n in some_threads))
    columns = {"ort": ["onnxruntime"], "ov": ["openvino"], "pt": EAGER}
    print("width size  N" + (f"{'ms':>8}" + "".join(f"{c:>6}" for c in (*columns, "lim"))) * len(some_threads))
    for case in dict.fromkeys(map(case_of, rows)):
        line = f"{case[1]:<5}{case[2]:>5}{case[3]:>3}"
        for row in sorted((r for r in rows if case_of(r) == case), key=lambda r: r["threads"]):
            line += f"{row['times']['npmnv2']['median']:>8.2f}"
            line += "".join(f"{number(over(row, names)):>6}" for names in columns.values())
            line += f"{over_limit(row):>6.2f}"
        print(line)
    print()


def show(report):
    info = report["environment"]
    print(f"{info.get('cpu', info['system'])}, {info['cores']} cores; float32; BLAS kernels: {info.get('blas kernel')}")
    for limit in report["limits"]:
        print(f"{way(limit['threads'])}: {limit['flop_per_s'] / 1e9:.0f} Gflop/s, the limit")
    print()
    for name, settings in report["settings"].items():
        print(f"{name:<14} {wrapped(settings, 15)}")
    print()
    for what in ("inference", "training"):
        heads = in_columns(report, what)
        rows = [row for row in report["results"] if row["what"] == what]
        if heads:
            show_columns(f"MobileNetV2 1.0, {what}", heads)
        if len(rows) > len(heads):
            show_grid(f"MobileNetV2, {what}", rows)
    if report["memory"]:
        show_memory(report["memory"])
    for name, reason in report["missing"].items():
        print(f"left out: {name} ({reason}); pip install npmnv2[peers]")
    if not set(INFERENCE[1:]) - set(report["missing"]):
        print("no peer is installed: compared with NumPy's results and the limit alone")
    turns, disturbed = report["turns"].values()
    if disturbed:
        print(f"{disturbed} of {turns} turns were disturbed by other programs")
    show_checks(checks(report))
    print(f"{report['seconds']} s")
    if report["quick"]:
        print(f"quick: {QUICK}")


def wrapped(text, indent):
    import textwrap

    return textwrap.fill(text, 80, initial_indent=" " * indent, subsequent_indent=" " * indent).lstrip()


def main():
    def more(parser):
        parser.add_argument("--only", choices=["inference", "training"], help="measure one of the two")
        parser.add_argument("--cold", action="store_true", help="measure start-up, and nothing else")

    args = arguments("MobileNetV2 against every engine that is installed.", QUICK, rounds=7, patience=60, more=more)
    if args.worker:
        return serve(lambda case: prepare(args.worker, case))
    if args.cold and (args.plot or args.only):
        raise SystemExit("error: --cold draws nothing and measures start-up alone; was given --plot or --only")
    report = cold(args.rounds, PACKAGES) if args.cold else run(args)
    if args.json:  # before anything is printed: the reader of a pipe may go
        write_json(args.json, report)
    if args.plot:
        from peers_plot import draw  # brings Matplotlib, which only a picture needs

        draw(report, args.plot)
    if args.cold:
        show_cold(report)
        show_checks(report["checks"])
    else:
        show(report)
    return None


if __name__ == "__main__":
    main()
