"""Does the time a network takes follow its multiply-adds? Every published width and resolution of MobileNetV1 and V2.

    python benchmarks/width_resolution.py [--quick] [--json FILE] [--plot FILE] [--rounds N]

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
and take turns there; turns that others disturb count only where there is no other (`measure.py`). The only threads are
Numba's, one or two; BLAS has one, so an operation that the backend "numba" leaves to BLAS gains nothing by the second.
"""

import csv
import functools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import Patience, Worker, aligned, arguments, environment, progress, serve, summary, take_turns, write_json

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # time this checkout, not an installed copy

FILES = {"V2": "v2_22_checkpoints.csv", "V1": "v1_16_checkpoints.csv"}
QUICK_WIDTHS, QUICK_SIZES = (1.4, 1.0, 0.5, 0.35, 0.25), (224, 128)
SECONDS = 0.06  # that a point is timed for in a turn
QUICK = "13 of 38 networks (1.4, 1.0, 0.5, narrowest; 224, 128), one thread"


class Point(NamedTuple):
    """A published network: what it costs, how good it is, and its authors' latency on a telephone, if they say."""

    network: str
    width: float
    size: int
    madds: int  # 1000 classes
    activation_bytes: int  # that convolutions read and write
    parameters: int
    top1: float
    phone_ms: float | None

    @property
    def label(self):
        return f"{self.network} {self.width} at {self.size}"


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


def prepare(case):
    """The call of one point with a number of threads, for `measure.serve`."""
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
    return {way(threads): call}


# The process that reports.


def way(n):
    return f"{n} thread{'s'[: n > 1]}"


def pool(threads):
    return f"Numba's, {'at most ' * (threads > 1)}{threads}; BLAS has one"


def run(args):
    begin, limit = time.perf_counter(), 12 if args.quick else 230
    points, threads = grid(args.quick), 1 if args.quick else min(os.cpu_count() or 1, 2)
    info, times, turn, last = environment(("threadpoolctl",)), {}, 0, 0
    patience, more = Patience(0), min(args.patience, 2 if args.quick else 100) / args.rounds
    progress("starting")
    worker = Worker(__file__, "npmnv2", threads)
    try:
        while turn < args.rounds and (turn == 0 or time.perf_counter() - begin + last < limit):
            last = time.perf_counter()
            patience.seconds += more
            for n in range(1, threads + 1):
                for point in points:
                    progress(f"turn {turn + 1} of {args.rounds}, {way(n)}: {point.label}")
                    info["threading layer"] = start(worker, point, n, turn == 0)
                    before = patience.disturbed
                    for some in take_turns({"npmnv2": worker}, 1, SECONDS, patience).values():
                        calm_first = times.setdefault(way(n), {}).setdefault(point, ([], []))
                        calm_first[patience.disturbed > before].extend(some)
            turn, last = turn + 1, time.perf_counter() - last
    finally:
        worker.close()
    progress("")
    return {
        "environment": info,
        "pool": pool(threads),
        "quick": args.quick,
        "rounds": turn,
        "turns": {"taken": patience.turns, "disturbed by other programs": patience.disturbed},
        "seconds": round(time.perf_counter() - begin, 1),
        **evaluate(points, {which: {p: figures(*of[p]) for p in points} for which, of in times.items()}),
    }


def start(worker, point, threads, first):
    """Prepare a point, and check what it computes when it is its first turn; the threading layer."""
    with tempfile.TemporaryDirectory() as folder:
        reply = worker.ask(case=[*point[:3], threads, first], save=f"{folder}/logits")
        if first:
            with np.load(f"{folder}/logits-{way(threads)}.npz") as saved:
                compare(point, *(saved[key] for key in saved.files))
    return reply.get("threading layer")


def compare(point, compiled, plain):
    if compiled.shape != (1, 1000) or not np.abs(compiled - plain).max() <= 1e-4 * np.abs(plain).max():
        raise SystemExit(f"error: {point.label}: the backends numba and numpy give different logits")


def figures(calm, disturbed):
    """The summary of the calls in undisturbed turns; of the others where there are none."""
    return summary(calm or disturbed) | {"calls": len(calm or disturbed), "calm": bool(calm)}


def evaluate(points, times):
    """The points and the fits, from the figures by way and point."""
    fits = {}
    for network in FILES:
        for which, of in times.items():
            used = [p for p in points if p.network == network and (of[p]["calm"] or which == way(1))]
            if len(used) >= 4:
                fits[f"{network}, {which}"] = fit(used, [of[p]["median_us"] / 1e3 for p in used])
    phone = [p for p in points if p.phone_ms]
    fits["V2, telephone"] = fit(phone, [p.phone_ms for p in phone])
    best = front([times[way(1)][p]["median_us"] for p in points], [p.top1 for p in points])
    rows = [
        p._asdict() | {"front": k in best, "times": {which: of[p] for which, of in times.items()}}
        for k, p in enumerate(points)
    ]
    return {"points": rows, "fits": fits}


def fit(points, ms):
    """The three fits, with their residuals: measured over fitted, less 1."""
    madds, ms = np.array([p.madds for p in points]) / 1e6, np.array(ms, float)
    activations = np.array([p.activation_bytes for p in points]) / 1e6
    x, y = np.log(madds), np.log(ms)
    b, log_a = np.polyfit(x, y, 1)
    curve = np.exp(log_a) * madds**b
    found = {
        "a": float(np.exp(log_a)),
        "b": float(b),
        "b pixels": slope_within([p.width for p in points], x, y),
        "b channels": slope_within([p.size for p in points], x, y),
        "R2": explained(y, np.log(curve)),
        **residuals(points, ms / curve - 1),
    }
    return {"curve": found, "line": linear(points, ms, madds), "bytes": linear(points, ms, madds, activations)}


def linear(points, ms, *columns):
    """ms = c + d * column + ..., by least squares of the relative errors."""
    X = np.column_stack([np.ones_like(ms), *columns])
    factors = np.linalg.lstsq(X / ms[:, None], np.ones_like(ms), rcond=None)[0]
    found = {name: float(value) for name, value in zip("cde", factors, strict=False)}
    return found | {"R2": explained(ms, X @ factors), **residuals(points, ms / (X @ factors) - 1)}


def slope_within(groups, x, y):
    """The slope of y over x if each group has a line of its own and all are parallel, by least squares."""
    dx, dy = np.array(x, float), np.array(y, float)
    for group in set(groups):
        of = np.array([g == group for g in groups])
        dx[of] -= dx[of].mean()
        dy[of] -= dy[of].mean()
    return float(dx @ dy / (dx @ dx))


def explained(y, fitted):
    """R2, the share of the variance that a fit explains."""
    return 1 - float(((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def residuals(points, off):
    most = int(np.abs(off).argmax())
    of = {p.label: float(r) for p, r in zip(points, off, strict=True)}
    return {"residuals": of, "largest": [points[most].label, float(off[most])]}


def front(costs, gains):
    """The places of those that no other beats: nothing that costs no more gains as much."""
    best, order = [], sorted(range(len(costs)), key=lambda k: (costs[k], -gains[k]))
    for k in order:
        if not best or gains[k] > gains[best[-1]]:
            best.append(k)
    return best


def table(report):
    ways = list(report["points"][0]["times"])
    lines = [" " * 39 + "".join(f"{which:>20}" for which in ways)]
    lines.append("net width size  MAdds M   par M   top-1" + f"{'ms':>7}{'+-':>6}{'off':>7}" * len(ways))
    for row in report["points"]:
        point = Point(**{key: row[key] for key in Point._fields})
        line = f"{point.network} {point.width:>6.2f} {point.size:>4}{point.madds / 1e6:>9.2f}"
        line += f"{point.parameters / 1e6:>8.2f}{point.top1:>7.1f}{'*' if row['front'] else ' '} "
        for which, some in row["times"].items():
            found = report["fits"].get(f"{point.network}, {which}", {"curve": {"residuals": {}}})
            off = found["curve"]["residuals"].get(point.label)
            ms, spread = (some[key] / 1e3 for key in ("median_us", "spread_us"))
            line += f"{ms:>7.2f}{spread:>6.{2 if spread < 10 else 0}f}"
            line += f"{'?':>7}" if off is None else f"{100 * off:>+6.0f}%"
        lines.append(line.rstrip())
    return lines


def fits(report):
    """The fits in figures."""
    lines = ["ms = a * M^b         a     b   pixels  channels     R2  largest residual"]
    for name, both in report["fits"].items():
        found = both["curve"]
        line = f"{name:<15}{found['a']:>7.3f}{found['b']:>6.2f}{found['b pixels']:>9.2f}{found['b channels']:>10.2f}"
        lines.append(f"{line}{found['R2']:>7.3f}  {largest(found)}")
    for kind, title in (("line", "ms = c + d * M"), ("bytes", "ms = c + d * M + e * B")):
        factors = [name for name in "cde" if name in report["fits"]["V2, telephone"][kind]]
        lines += ["", f"{title:<24}" + "".join(f"{name:>8}" for name in factors)]
        lines[-1] = f"{lines[-1]:<48}     R2  largest residual"
        for name, both in report["fits"].items():
            line = f"{name:<24}" + "".join(f"{both[kind][factor]:>8.4f}" for factor in factors)
            lines.append(f"{line:<48}{both[kind]['R2']:>7.3f}  {largest(both[kind])}")
    return lines


def largest(found):
    label, off = found["largest"]
    return f"{100 * off:+.0f}% {label}"


def meaning(report):
    """A sentence a fit: what is left of the time when half the multiply-adds are saved, and how sure that is."""
    lines = []
    for name, fits in report["fits"].items():
        left = {b: f"{2 ** -fits['curve'][b]:.0%}" for b in ("b", "b pixels", "b channels")}
        off = {kind: abs(found["largest"][1]) for kind, found in fits.items()}
        lines.append(
            f"{name}: half the multiply-adds take {left['b']} of the time,"
            f"\n    {left['b pixels']} if saved in pixels, {left['b channels']} if in channels;"
            f" off by up to {min(off['curve'], off['line']):.0%}, with bytes {off['bytes']:.0%}"
        )
    return lines


def show(report):
    info = report["environment"]
    print(f"{info.get('cpu', info['system'])}, {info['cores']} cores")
    print(f"one image, float32; one pool of threads: {report['pool']}\n")
    print("\n".join([*table(report), "", *fits(report), "", *meaning(report)]))
    turns, disturbed = report["turns"].values()
    print(f"\n{report['rounds']} turns each, {report['seconds']:.0f} s; checked: numba equals numpy on every network")
    if disturbed:
        print(f"{disturbed} of {turns} turns were disturbed by other programs")
    if report["quick"]:
        print(f"quick: {QUICK}")


def draw(report, path):
    from width_resolution_plot import draw  # brings Matplotlib, which only a picture needs

    points = [Point(**{key: row[key] for key in Point._fields}) for row in report["points"]]
    ms, spread = ([row["times"][way(1)][key] / 1e3 for row in report["points"]] for key in ("median_us", "spread_us"))
    fronts = [front(costs, [p.top1 for p in points]) for costs in ([p.madds for p in points], ms)]
    fits = {network: report["fits"].get(f"{network}, {way(1)}") for network in FILES}
    curves = {network: (both["curve"]["a"], both["curve"]["b"]) for network, both in fits.items() if both}
    info = report["environment"]
    draw(points, ms, spread, fronts, curves, info.get("cpu", info["system"]), path)


def main():
    args = arguments("Latency against multiply-adds, for every published width and resolution.", quick=QUICK)
    if args.worker:
        return serve(prepare)
    report = run(args)
    if args.json:  # before anything is printed: the reader of a pipe may go
        write_json(args.json, report)
    if args.plot:
        draw(report, args.plot)
    show(report)
    return None


if __name__ == "__main__":
    main()
