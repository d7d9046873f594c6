"""Does the time a network takes follow its multiply-adds? Every published width and resolution of MobileNetV1 and V2.

    python benchmarks/width_resolution.py [--quick] [--core avx2] [--json FILE] [--plot FILE] [--rounds N]

The 22 checkpoints of V2 and the 16 of V1 (docs/tables): what each costs by formula, how well it classifies by its
authors, and how long ``model.eval()(x)`` takes here, for one image, float32, weights random. A line of the table:

    top-1     per cent of ImageNet's validation images, as published; * if nothing faster on one thread is as accurate
    ms +-     the median over the calls of all turns, and half the interquartile range
    off       the median over what the curve below says for that many multiply-adds: +10% takes a tenth longer. ? stands
              for two threads that other programs disturbed in every turn: what was measured is how long threads wait
              for one another, tens of times the latency, and no fit uses it

Under the table, fits by least squares to the medians of each network, and to what its authors measured on a telephone:

    curve     ms = a * M^b, M millions of multiply-adds: a straight line in logarithms. b = 1: latency follows them;
              b < 1: it falls by less than they do. `pixels` and `channels` are b among networks of one width, which
              differ in resolution, and among those of one resolution. R2 is that of the logarithms
    line      ms = c + d * M, where relative errors count, as they do in logarithms. c is what no multiply-add accounts
              for. R2 is that of the milliseconds
    bytes     ms = c + d * M + e * B, B million bytes of activations that convolutions read and write: where this
              residual is smaller, memory accounts for what multiply-adds do not

The sentences at the end give the smallest of the largest residuals: of curve and line, and with the bytes.

Before a network is timed, its logits are compared with those of the backend "numpy". All networks live in one process
and take turns there; turns that others disturb count only where there is no other (`common/measure.py`). The only
threads are Numba's, one or two; BLAS has one, so an operation that the backend "numba" leaves to BLAS gains nothing by
the second.
"""

import csv
import functools
import os
import tempfile
import time

import numpy as np
from common import ROOT
from common.command import arguments, carry_out, progress
from common.machine import environment
from common.measure import Patience, aligned, contestants, summary, take_turns
from common.report import thread_count
from width_resolution_plot import draw
from width_resolution_report import QUICK, Point, evaluate, show

FILES = {"V2": "v2_22_checkpoints.csv", "V1": "v1_16_checkpoints.csv"}
QUICK_WIDTHS, QUICK_SIZES = (1.4, 1.0, 0.5, 0.35, 0.25), (224, 128)
SECONDS = 0.06  # that a point is timed for in a turn


def read(name):
    with open(ROOT / "docs" / "tables" / name, newline="") as file:
        next(file)  # the source
        return list(csv.DictReader(file))


def grid(quick=False):
    """The points, their costs worked out from shapes and compared with the integers of the tables."""
    from npmnv2 import cost

    layers = {"V1": cost.mobilenet_v1, "V2": cost.mobilenet_v2}
    points = []
    for network, file in FILES.items():
        for row in read(file):
            width, size = float(row["width"]), int(row["res"])
            totals = {classes: cost.total(layers[network](width, size, classes)) for classes in (1000, 1001)}
            exact = [totals[1000].madds, totals[1001].madds, totals[1001].weights, totals[1001].parameters]
            if exact != [int(row[k]) for k in ("exact_macs_1000", "exact_macs_1001", "weights_1001", "trainable_1001")]:
                raise SystemExit(f"error: npmnv2.cost and {file} disagree about width {width} at {size}")
            phone = float(row["pixel1_ms"]) if "pixel1_ms" in row else None
            of_1000 = totals[1000]
            points.append(
                Point(
                    network,
                    width,
                    size,
                    of_1000.madds,
                    of_1000.activation_bytes,
                    of_1000.parameters,
                    float(row["top1"]),
                    phone,
                )
            )
    if quick:
        points = [p for p in points if p.width in QUICK_WIDTHS and p.size in QUICK_SIZES]
    return points


# The process that is timed.


def image(size):
    return aligned(np.random.default_rng(size).standard_normal((1, size, size, 3), np.float32))


@functools.cache
def build(network, width):
    """A network with random weights. Its batch norms have the statistics of one random image: with those a network
    starts with, values shrink from layer to layer, down to 1e-15, and a comparison of results would show nothing."""
    import npmnv2

    model = {"V1": npmnv2.mobilenet_v1, "V2": npmnv2.mobilenet_v2}[network](width_mult=width, momentum=1.0)
    with npmnv2.backend("numpy"):
        model(image(224))
    return model.eval()


def prepare(name, case):
    """The call of one point with a number of threads, for `measure.serve`; the name is always npmnv2."""
    import numba

    import npmnv2

    network, width, size, threads, check = case
    model, x = build(network, width), image(size)

    def call():
        numba.set_num_threads(threads)
        return model(x)

    def results():
        if not check:
            return None
        logits = call()
        with npmnv2.backend("numpy"):
            return logits, model(x)

    call.result = results
    return {thread_count(threads): call}


# The process that reports.


def pool(threads):
    return f"Numba's, {'at most ' * (threads > 1)}{threads}; BLAS has one"


def run(args):
    begin, limit = time.perf_counter(), 12 if args.quick else 230
    points, threads = grid(args.quick), 1 if args.quick else min(os.cpu_count() or 1, 2)
    info, times, turn, last = environment(("threadpoolctl",)), {}, 0, 0
    patience, more = Patience(0), min(args.patience, 2 if args.quick else 100) / args.rounds
    progress("starting")
    with contestants(__file__, ["npmnv2"], threads) as workers:
        while turn < args.rounds and (turn == 0 or time.perf_counter() - begin + last < limit):
            last = time.perf_counter()
            patience.seconds += more
            for n in range(1, threads + 1):
                for point in points:
                    progress(f"turn {turn + 1} of {args.rounds}, {thread_count(n)}: {point.label}")
                    info["threading layer"] = set_up(workers["npmnv2"], point, n, turn == 0)
                    before = patience.disturbed
                    for some in take_turns(workers, 1, SECONDS, patience).values():
                        calm_first = times.setdefault(thread_count(n), {}).setdefault(point, ([], []))
                        calm_first[patience.disturbed > before].extend(some)
            turn, last = turn + 1, time.perf_counter() - last
    progress("")
    return {
        "environment": info,
        "pool": pool(threads),
        "quick": args.quick,
        "rounds": turn,
        "turns": patience.report(),
        "seconds": round(time.perf_counter() - begin, 1),
        **evaluate(points, {which: {p: figures(*of[p]) for p in points} for which, of in times.items()}),
    }


def set_up(worker, point, threads, first):
    """Prepare a point, and check what it computes when it is its first turn; the threading layer."""
    with tempfile.TemporaryDirectory() as folder:
        reply = worker.ask(case=[*point[:3], threads, first], save=f"{folder}/logits")
        if first:
            with np.load(f"{folder}/logits-{thread_count(threads)}.npz") as saved:
                compare(point, *(saved[key] for key in saved.files))
    return reply.get("threading layer")


def compare(point, compiled, plain):
    if compiled.shape != (1, 1000) or not np.abs(compiled - plain).max() <= 1e-4 * np.abs(plain).max():
        raise SystemExit(f"error: {point.label}: the backends numba and numpy give different logits")


def figures(calm, disturbed):
    """The summary of the calls in undisturbed turns; of the others where there are none."""
    return summary(calm or disturbed) | {"calls": len(calm or disturbed), "calm": bool(calm)}


def main():
    args = arguments("Latency against multiply-adds, for every published width and resolution.", quick=QUICK)
    carry_out(args, run, show, draw, prepare)


if __name__ == "__main__":
    main()
