"""What the times of `width_resolution.py` mean, the fits, and how they are printed."""

from typing import NamedTuple

import numpy as np
from common.report import machine, show_turns, thread_count

NETWORKS = ("V2", "V1")
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


def points_of(report):
    return [Point(**{key: row[key] for key in Point._fields}) for row in report["points"]]


def evaluate(points, times):
    """The points and the fits, from the figures by way and point."""
    fits = {}
    for network in NETWORKS:
        for which, of in times.items():
            used = [p for p in points if p.network == network and (of[p]["calm"] or which == thread_count(1))]
            if len(used) >= 4:
                fits[f"{network}, {which}"] = fit(used, [of[p]["median_us"] / 1e3 for p in used])
    phone = [p for p in points if p.phone_ms]
    fits["V2, telephone"] = fit(phone, [p.phone_ms for p in phone])
    best = front([times[thread_count(1)][p]["median_us"] for p in points], [p.top1 for p in points])
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
    for row, point in zip(report["points"], points_of(report), strict=True):
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
    print(machine(report["environment"]))
    print(f"one image, float32; one pool of threads: {report['pool']}\n")
    print("\n".join([*table(report), "", *fits(report), "", *meaning(report)]))
    print(f"\n{report['rounds']} turns each, {report['seconds']:.0f} s; checked: numba equals numpy on every network")
    show_turns(report)
    if report["quick"]:
        print(f"quick: {QUICK}")
