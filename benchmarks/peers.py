"""How fast is this package beside what production uses? MobileNetV2, inference and training, against every peer.

    python benchmarks/peers.py [--quick] [--core avx2] [--only inference|training] [--json FILE] [--plot FILE]
    python benchmarks/peers.py --cold [--json FILE]          start-up: compiling everything, and the first logits

Widths 0.35, 1.0 and 1.4, images of 96, 160 and 224 pixels, batches of 1, 8 and 32, float32, one thread and two; and one
row of EfficientNet-Lite0 (`lite0`), inference of one image: 9 of its 16 depthwise kernels are 5x5. Peers that are not
installed are named and left out. `peers_contestants.py` runs them, each at its best settings, which the output names;
`torchscript` and `torch.compile`, which take long to prepare, only in the columns of the first tables.

All have the same weights, and before anything is timed its results are compared with NumPy in float64: the logits; in
training the loss, every gradient, and every parameter and running statistic after a step. A peer that is wrong is named
and left out of that case; if this package is wrong, the run ends. How they are timed: `common/measure.py`. A training
step is forward, loss, backward, and SGD with momentum. What is printed:

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
import os
import tempfile
import time

from common.command import arguments, carry_out, progress
from common.limits import measure_limits
from common.machine import environment
from common.measure import Patience, contestants, in_milliseconds, start, take_turns
from peers_contestants import (
    INFERENCE,
    LITE,
    LITE_CONTESTANTS,
    SETTINGS,
    TRAINING,
    missing,
    prepare,
    write_weights,
)
from peers_plot import draw
from peers_process import cold, memory
from peers_reference import check
from peers_report import HEADS, QUICK, is_head, label, show, show_cold

from npmnv2 import cost

WIDTHS, SIZES, BATCHES = (1.0, 0.35, 1.4), (224, 160, 96), (1, 8, 32)
SLOW_TO_PREPARE = ("torchscript", "torch.compile")
PACKAGES = ("onnx", "onnxruntime", "openvino", "torch", "torchvision")


def cases(quick, only):
    """(what, width, size, batch), the columns of the first tables before the others."""
    if quick:
        found = [("inference", 1.0, 224, 1), ("training", 1.0, 96, 16)]
    else:
        grids = {
            "inference": [(width, size, N) for width in WIDTHS for size in SIZES for N in BATCHES],
            "training": [(width, size, N) for width in WIDTHS for size, N in ((96, 16), (224, 8))],
        }
        grids["inference"].append((LITE, 224, 1))
        found = [(what, *rest) for what, grid in grids.items() for rest in dict.fromkeys(HEADS[what] + grid)]
    return [case for case in found if only in (None, case[0])]


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
    report["turns"] = patience.report()
    return report | {"seconds": round(time.perf_counter() - begin)}


def _time(args, todo, threads, folder, report, patience):
    """Every case with so many threads, into `report`."""
    absent, results = report["missing"], report["results"]
    names = [n for n in INFERENCE if n not in absent and not (args.quick and n == "torch.compile")]
    with contestants(__file__, names, threads) as workers:
        report["limits"].append(measure_limits(workers["npmnv2"], threads, patience))
        for k, case in enumerate(todo):
            progress(f"{threads} threads, {k + 1} of {len(todo)}: {label(case)}")
            what, width, size, N = case
            taking = [name for name in (INFERENCE if what == "inference" else TRAINING) if name in workers]
            taking = [name for name in taking if is_head(case) or name not in SLOW_TO_PREPARE]
            taking = [name for name in taking if width != LITE or name in LITE_CONTESTANTS]
            ready = start(
                {name: workers[name] for name in taking},
                absent,
                [*case, folder],
                report["environment"],
                functools.partial(check, case=case, folder=folder, missing=absent),
            )
            for name in absent:
                workers.pop(name, None)
            ready = {name: worker for name, worker in ready.items() if f"{name}, {label(case)}" not in absent}
            rounds, seconds = (3, 0.2) if args.quick else (args.rounds, 0.2) if is_head(case) else (3, 0.1)
            times = take_turns(ready, rounds, seconds, patience)
            layers = cost.efficientnet_lite(resolution=size) if width == LITE else cost.mobilenet_v2(width, size)
            madds = N * cost.total(layers).madds * (3 if what == "training" else 1)
            row = {"what": what, "width": width, "size": size, "batch": N, "threads": threads}
            row["limit_ms"] = 2e3 * madds / report["limits"][-1]["flop_per_s"]
            results.append(row | {"times": in_milliseconds(times)})


def main():
    def more(parser):
        parser.add_argument("--only", choices=["inference", "training"], help="measure one of the two")
        parser.add_argument("--cold", action="store_true", help="measure start-up, and nothing else")

    args = arguments("MobileNetV2 against every engine that is installed.", QUICK, rounds=7, patience=60, more=more)
    if args.cold and (args.plot or args.only):
        raise SystemExit("error: --cold draws nothing and measures start-up alone; was given --plot or --only")
    if args.cold:
        carry_out(args, lambda args: cold(args.rounds, PACKAGES), show_cold, draw)
    else:
        carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
