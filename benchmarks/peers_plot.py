"""The picture of `peers.py`: time over the limit, the whole grid against the better engine, and memory."""

import numpy as np
from common.report import disturbed, plain_ticks, thread_count, where
from peers_report import EAGER, ENGINES, in_columns, over

# Okabe and Ito's colours, and a marker each, so that neither is needed alone.
LOOKS = {
    "npmnv2": ("#0072B2", "o"),
    "onnxruntime": ("#D55E00", "s"),
    "openvino": ("#009E73", "^"),
    "torch nchw": ("#E69F00", "v"),
    "torch nhwc": ("#CC79A7", "D"),
    "torchscript": ("#56B4E9", "P"),
    "torch.compile": ("#000000", "X"),
}
BATCHES = {1: ("#0072B2", "o"), 8: ("#D55E00", "s"), 32: ("#009E73", "^")}


def draw(report, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    (inference, training), (grid, memory) = figure.subplots(2, 2)
    columns(inference, report, "inference", "Inference, width 1.0")
    columns(training, report, "training", "Training step, width 1.0")
    against_engines(grid, report)
    held(memory, report)
    quick = ", --quick" if report["quick"] else ""
    lines = [where(report["environment"]), *disturbed(report["turns"])]
    figure.suptitle("\n".join([f"MobileNetV2 against its peers, float32{quick}", *lines]))
    figure.savefig(path, dpi=110)


def columns(axes, report, what, title):
    """Every contestant in the columns of the first table: its time over the limit."""
    rows = in_columns(report, what)
    axes.set_title(title)
    if not rows:
        return empty(axes, "not measured in this run")
    names = [name for name in LOOKS if any(name in row["times"] for row in rows)]
    for k, name in enumerate(names):
        colour, marker = LOOKS[name]
        at = [(place, row) for place, row in enumerate(rows) if name in row["times"]]
        aside = 0.12 * (k - (len(names) - 1) / 2)
        times = [row["times"][name]["median"] / row["limit_ms"] for _, row in at]
        spread = [row["times"][name]["spread"] / row["limit_ms"] for _, row in at]
        places = [place + aside for place, _ in at]
        size = 10 if name == "npmnv2" or marker in "PX" else 8
        axes.errorbar(
            places, times, yerr=spread, fmt=marker, color=colour, ms=size, mec="white", elinewidth=1, label=name
        )
        if name == "npmnv2":
            for place, ratio in zip(places, times, strict=True):
                axes.annotate(
                    f"{ratio:.2f}", (place, ratio), (0, -9), textcoords="offset points", ha="center", va="top"
                )
    for edge in range(1, len(rows)):
        axes.axvline(edge - 0.5, color="0.9", lw=1, zorder=0)
    axes.axhline(1, color="0.3", ls="--", lw=1)
    axes.annotate(
        "the limit", (1, 1), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right"
    )
    labels = [f"{row['batch']}x{row['size']}x{row['size']}\n{thread_count(row['threads'])}" for row in rows]
    axes.set_xticks(range(len(rows)), labels)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_ylabel("time over the limit (below is faster)")
    logarithmic(axes, 0.7)
    axes.legend(frameon=True, edgecolor="white", fontsize=9, ncols=2, loc="upper right")
    return None


def against_engines(axes, report):
    """Every inference case: our time over the better engine's; without engines, over PyTorch's."""
    rows = [row for row in report["results"] if row["what"] == "inference"]
    engines = any(over(row, ENGINES) for row in rows)
    names, title = (ENGINES, "the better of onnxruntime and OpenVINO") if engines else (EAGER, "PyTorch eager")
    axes.set_title(f"Inference: our time over that of {title}")
    rows = [row for row in rows if over(row, names)]
    if not rows:
        return empty(axes, "no peer was installed")
    groups = list(
        dict.fromkeys((row["width"], row["size"]) for row in sorted(rows, key=lambda r: (str(r["width"]), r["size"])))
    )
    batches, threads = ({row[key] for row in rows} for key in ("batch", "threads"))
    for row in rows:
        colour, marker = BATCHES[row["batch"]]
        offset = 0.22 * (list(BATCHES).index(row["batch"]) - 1) + (
            0.07 if row["threads"] > 1 else -0.07 if len(threads) > 1 else 0
        )
        face = colour if row["threads"] == 1 else "white"
        place = groups.index((row["width"], row["size"])) + offset
        axes.plot(place, over(row, names), marker, color=colour, mfc=face, mew=1.6, ms=8)
    for edge in range(1, len(groups)):
        same = groups[edge][0] == groups[edge - 1][0]
        axes.axvline(edge - 0.5, color="0.9" if same else "0.5", lw=1, zorder=0)
    axes.axhline(1, color="0.3", ls="--", lw=1)
    axes.set_xticks(range(len(groups)), [f"{width}\n{size}" for width, size in groups])
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_xlabel("width, pixels a side")
    axes.set_ylabel("ratio (below 1: npmnv2 is faster)")
    logarithmic(axes, 0.9)
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], ls="", color=BATCHES[N][0], marker=BATCHES[N][1], ms=8, label=f"batch {N}")
        for N in sorted(batches)
    ]
    marks += [
        Line2D([], [], ls="", color="0.3", mfc="0.3" if n == 1 else "white", marker="o", mew=1.6, ms=8, label=text)
        for n, text in ((1, "1 thread"), (2, "2 threads"))
        if n in threads
    ]
    axes.legend(handles=marks, frameon=True, edgecolor="white", fontsize=9, ncols=len(marks), loc="upper center")
    return None


def held(axes, report):
    """The highest memory of every contestant, beyond a process that ran a small case."""
    axes.set_title("Memory at most, one thread")
    rows = [row for row in report["memory"] if any(row["peak"].values())]
    if not rows:
        return empty(axes, "memory: only without --quick")
    for place, row in enumerate(rows):
        names = [name for name in LOOKS if row["peak"].get(name)]
        for k, name in enumerate(names):
            at = place + 0.16 * (k - (len(names) - 1) / 2)
            colour, marker = LOOKS[name]
            megabytes = row["peak"][name] / 1e6
            axes.plot([at, at], [0.1, megabytes], color=colour, lw=2)
            axes.plot(at, megabytes, marker, color=colour, ms=8, mec="white")
            axes.annotate(
                f"{megabytes:.0f}", (at, megabytes), (0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        if place:
            axes.axvline(place - 0.5, color="0.9", lw=1, zorder=0)
    axes.set_xticks(range(len(rows)), [f"{row['what']}\n{row['batch']}x{row['size']}x{row['size']}" for row in rows])
    axes.set_xlim(-0.5, len(rows) - 0.5)
    values = [value / 1e6 for row in rows for value in row["peak"].values() if value]
    axes.set_yscale("log")
    axes.set_ylim(max(1, min(values) / 2), max(values) * 2)
    plain_ticks(axes.yaxis)
    axes.set_ylabel("MB (markers as above)")
    axes.spines[["top", "right"]].set_visible(False)
    return None


def logarithmic(axes, lowest):
    """A scale on which twice as slow is as far from 1 as twice as fast, with room for the legend above."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    low, high = min(low, lowest), max(high, 1.2)
    axes.set_ylim(low, high * (high / low) ** 0.3)
    plain_ticks(axes.yaxis)
    if high / low < 8:
        from matplotlib import ticker

        axes.yaxis.set_major_locator(ticker.LogLocator(subs=np.array([1, 1.2, 1.5, 2, 3, 4, 5, 6, 8])))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def empty(axes, why):
    axes.axis("off")
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
