"""The pictures of `separable.py`: formula against measurement, the roofline, and where the time of a network goes."""

from itertools import chain

import numpy as np
from common.report import plain_ticks
from separable_report import gain, in_exhibits, label, most

COLOURS = {"npmnv2": "#0072b2", "onnxruntime": "#d55e00", "torch": "#009e73", "naive": "#999999"}
KINDS = {
    "standard": ("#999999", "standard (stem)"),
    "depthwise": ("#e69f00", "depthwise"),
    "pointwise": ("#0072b2", "pointwise"),
    "linear": ("#cc79a7", "classifier"),
}


def draw(report, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(14, 10), layout="constrained")
    chosen = {title: rows for (title, N, threads), rows in in_exhibits(report).items() if (N, threads) == (1, 1)}
    sweep = next(rows for title, rows in chosen.items() if title.startswith("14x14"))
    networks = {title: rows for title, rows in chosen.items() if not title.startswith("14x14")}
    by_channels(axes[0, 0], sweep)
    by_layer(axes[0, 1], networks)
    roofline(axes[1, 0], report, networks)
    if report["layers"]:
        where_time_goes(axes[1, 1], report["layers"])
    else:
        axes[1, 1].axis("off")
        axes[1, 1].text(0.5, 0.5, "where the time of a network goes:\nonly without --quick", ha="center")
    info = report["environment"]
    figure.suptitle(f"Standard and separable convolution: {info.get('cpu', '')}, one thread, batch 1, float32, forward")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def by_channels(axis, rows):
    """Formula and measurements against the number of channels."""
    channels = [row["shape"][1] for row in rows]
    axis.plot(channels, [row["formula"] for row in rows], "k--", label="formula: 9 C / (9 + C)")
    for (side, colour), marker in zip(COLOURS.items(), "os^x", strict=True):
        points = [(C, gain(row, side)) for C, row in zip(channels, rows, strict=True) if gain(row, side)]
        if points:
            names = {"npmnv2": "npmnv2", "naive": "naive loops"}
            axis.plot(*zip(*points, strict=True), marker=marker, color=colour, label=names.get(side, side))
    axis.set_xscale("log", base=2)
    axis.set_xticks(channels, [str(C) for C in channels])
    axis.set_xlabel("channels C, in and out, at 14x14 pixels")
    axis.set_ylabel("time of standard / time of separable")
    axis.set_ylim(bottom=0)
    axis.set_title("What the formula promises, and what arrives")
    axis.grid(alpha=0.3)
    axis.legend()


def by_layer(axis, networks):
    """The realised fraction of every layer, and the most that the machine's limits allow."""
    ticks, place = {}, 0
    for (title, rows), colour in zip(networks.items(), ("#56b4e9", "#0072b2"), strict=True):
        spots = np.arange(len(rows)) + place
        times = [row["times"]["npmnv2"] for row in rows]
        realised = [
            t["standard"]["median_us"] / t["separable"]["median_us"] / row["formula"]
            for t, row in zip(times, rows, strict=True)
        ]
        axis.barh(spots, realised, color=colour, label=title)
        axis.plot([most(row)[0] for row in rows], spots, "k|", markersize=9, label=None if place else "most")
        ticks |= zip(spots, (label(row["shape"]) for row in rows), strict=True)
        place += len(rows) + 1
    axis.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axis.set_ylim(place + 0.8, -0.8)  # room for the legend under the bars
    axis.axvline(1, color="k", linestyle="--", linewidth=0.8)
    axis.set_xlabel("measured ratio / formula (most: by arithmetic and copying speed)")
    axis.set_title("How much of the saving is realised")
    axis.legend(loc="lower center", ncols=3, fontsize=8)


def roofline(axis, report, networks):
    """Speed against arithmetic intensity, of standard, depthwise and pointwise convolutions; measured limits."""
    limit = report["limits"][0]
    peak = limit["flop_per_s"] / 1e9
    speeds = {int(size): speed / 1e9 for size, speed in limit["bytes_per_s"].items()}
    intensity = np.geomspace(0.3, 300, 200)
    for speed, style, name in (
        (max(speeds.values()), "-", "in cache"),
        (speeds[max(speeds)], "--", f"{max(speeds) >> 20} MB"),
    ):
        axis.plot(
            intensity, np.minimum(peak, speed * intensity), f"k{style}", label=f"copying {name}: {speed:.0f} GB/s"
        )
    kinds = {"standard": ("s", "#999999"), "depthwise": ("o", "#e69f00"), "pointwise": ("^", "#0072b2")}
    for kind, (marker, colour) in kinds.items():
        points = []
        for row in chain(*networks.values()):
            if kind == "standard":
                work, us = row["standard"], row["times"]["npmnv2"]["standard"]["median_us"]
            else:
                work, us = row["halves"][kind], row["halves"][kind]["time"]["median_us"]
            points.append((work["flop"] / work["bytes"], work["flop"] / us / 1e3))
        axis.plot(*zip(*points, strict=True), marker, color=colour, label=kind, alpha=0.8, markeredgecolor="white")
    axis.set_xscale("log")
    axis.set_yscale("log")
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    axis.set_xlabel("arithmetic intensity, flop per byte that must move (a multiply-add is 2 flop)")
    axis.set_ylabel("speed, Gflop/s")
    axis.set_title(f"Roofline: {peak:.0f} Gflop/s is the speed of large matrix products")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8, loc="best")


def where_time_goes(axis, layers):
    """Two bars a network: its multiply-adds and its time, by kind of layer."""
    networks = {"mobilenet_v1": "V1", "mobilenet_v2": "V2"}
    labels = []
    for k, (network, short) in enumerate(networks.items()):
        rows = [row for row in layers if row["network"] == network]
        for offset, (what, name) in enumerate((("madds", "multiply-adds"), ("median_us", "time"))):
            total, bottom = sum(row[what] for row in rows), 0.0
            for kind, (colour, _) in KINDS.items():
                share = 100 * sum(row[what] for row in rows if row["kind"] == kind) / total
                axis.bar(2.4 * k + offset, share, bottom=bottom, color=colour, width=0.8, edgecolor="white")
                if share > 4:
                    ink = "white" if kind == "pointwise" else "black"  # on the one dark colour
                    where = 2.4 * k + offset, bottom + share / 2
                    axis.text(*where, f"{share:.0f} %", color=ink, ha="center", va="center")
                bottom += share
            amount = f"{total / 1e6:.0f} million" if what == "madds" else f"{total / 1e3:.1f} ms"
            labels.append((2.4 * k + offset, f"{short} {name}\n{amount}"))
    axis.set_xticks(*zip(*labels, strict=True))
    axis.set_ylabel("share, %")
    axis.set_title("Where the time of a network's convolutions goes")
    handles = [axis.bar(0, 0, color=colour) for colour, _ in KINDS.values()]
    axis.legend(handles, [name for _, name in KINDS.values()], loc="upper center", ncols=4, fontsize=8)
    axis.set_ylim(0, 112)
