"""The picture of `width_resolution.py`: what accuracy costs in multiply-adds and in time, and the one by the other."""

import numpy as np
from common.report import plain_ticks, processor, thread_count
from width_resolution_report import NETWORKS, front, points_of

# Okabe and Ito's colours for widths, a marker for each resolution; V2 is filled, V1 hollow.
COLORS = {
    1.4: "#000000",
    1.3: "#56B4E9",
    1.0: "#0072B2",
    0.75: "#009E73",
    0.5: "#E69F00",
    0.35: "#D55E00",
    0.25: "#CC79A7",
}
MARKERS = {224: "o", 192: "s", 160: "^", 128: "D", 96: "v"}
STYLES = {"V2": "-", "V1": "--"}
PLAIN = {"frameon": False, "fontsize": 11, "title_fontsize": 11, "alignment": "left"}


def draw(report, path):
    """Accuracy against multiply-adds and latency, and latency against multiply-adds."""
    from matplotlib.figure import Figure

    one = thread_count(1)
    points = points_of(report)
    ms, spread = ([row["times"][one][key] / 1e3 for row in report["points"]] for key in ("median_us", "spread_us"))
    fronts = [front(costs, [p.top1 for p in points]) for costs in ([p.madds for p in points], ms)]
    fits = {network: report["fits"].get(f"{network}, {one}") for network in NETWORKS}
    curves = {network: (both["curve"]["a"], both["curve"]["b"]) for network, both in fits.items() if both}
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    (by_madds, by_ms), (follows, legend) = figure.subplots(2, 2)
    madds, top1 = [p.madds / 1e6 for p in points], [p.top1 for p in points]
    for axes, costs, best in ((by_madds, madds, fronts[0]), (by_ms, ms, fronts[1])):
        scatter(axes, points, costs, top1)
        axes.plot([costs[k] for k in best], [top1[k] for k in best], color="0.82", lw=7, zorder=0)
    by_ms.errorbar(ms, top1, xerr=spread, fmt="none", ecolor="0.4", lw=1, zorder=2)
    scatter(follows, points, madds, ms)
    ends = np.array([min(madds), max(madds)])
    for network, (a, b) in curves.items():
        formula = f"{network}: {a:.2g} M$^{{{b:.2f}}}$"
        follows.plot(ends, a * ends**b, STYLES[network], color="0.45", lw=1.6, zorder=0, label=formula)
    follows.legend(loc="upper left", title="least squares, ms", **PLAIN)
    label(by_madds, "multiply-adds, millions", "top-1 accuracy as published, %", "Accuracy for multiply-adds")
    label(by_ms, "latency, ms", "top-1 accuracy as published, %", "Accuracy for time, one thread")
    label(follows, "multiply-adds M, millions", "latency, ms", "Time for multiply-adds, one thread")
    follows.set_yscale("log")
    plain_ticks(follows.yaxis)
    explain(legend, points, processor(report["environment"]))
    figure.savefig(path, dpi=110)


def scatter(axes, points, x, y):
    """A marker a point; points of one width are joined."""
    for network, style in STYLES.items():
        for width, color in COLORS.items():
            of = [k for k, p in enumerate(points) if (p.network, p.width) == (network, width)]
            axes.plot([x[k] for k in of], [y[k] for k in of], style, color=color, lw=1, alpha=0.6, zorder=1)
            for k in of:
                face = color if network == "V2" else "white"
                axes.plot(x[k], y[k], MARKERS[points[k].size], color=color, mfc=face, mew=1.6, ms=7.5, zorder=3)


def label(axes, x, y, title):
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def explain(axes, points, note):
    """What colours, markers and lines mean, in a panel of its own."""
    from matplotlib.lines import Line2D

    axes.axis("off")
    drawn = {p.width for p in points}, {p.size for p in points}
    widths = [Line2D([], [], color=c, lw=6, label=f"{w}") for w, c in COLORS.items() if w in drawn[0]]
    sizes = [
        Line2D([], [], ls="", marker=m, color="0.3", ms=8, label=f"{s}x{s}")
        for s, m in MARKERS.items()
        if s in drawn[1]
    ]
    networks = [
        Line2D([], [], ls=style, marker="o", color="0.3", mfc=face, mew=1.6, ms=8, label=f"MobileNet{network}")
        for (network, style), face in zip(STYLES.items(), ("0.3", "white"), strict=True)
    ]
    networks.append(Line2D([], [], color="0.82", lw=7, label="nothing cheaper is as accurate"))
    for place, title, handles in ((0.0, "width multiplier", widths), (0.36, "image, pixels", sizes)):
        axes.add_artist(axes.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(place, 1), **PLAIN))
    axes.legend(handles=networks, loc="upper left", bbox_to_anchor=(0, 0.42), **PLAIN)
    note += "\none image, float32; medians of all calls,\nbars: half the interquartile range"
    axes.text(0.02, 0.06, note, transform=axes.transAxes, color="0.3")
