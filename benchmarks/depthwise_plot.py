"""The picture of `depthwise.py`, to be projected: the compiled kernel beside NumPy, other engines, and a mere copy."""

from itertools import chain

from common.report import BLUE, GREEN, ORANGE, SMALLEST, VERMILION, sign, slide
from depthwise_report import EVERY_PEER, copying, of_one_image, over

RIVALS = {"numpy": ["numpy"], **EVERY_PEER}
LOOKS = {"numpy": (ORANGE, "D"), "onnxruntime": (VERMILION, "s"), "torch": (GREEN, "^")}
NAMES = {"numpy": "NumPy, an expression a tap", "torch": "PyTorch, its faster layout"}


def draw(report, path):
    """Times over ours, forward, one image, one thread. Who is faster than copying has a mark, for nobody can be."""
    rows = of_one_image(report, "forward")
    figure, axes = slide(message(rows))
    faster = []
    for place, row in enumerate(rows):
        bound = copying(row)
        axes.plot([bound, bound], [place - 0.32, place + 0.32], color="black", lw=4)
        points = {"npmnv2": 1.0} | {name: over(row, of) for name, of in RIVALS.items() if over(row, of)}
        axes.plot([min(*points.values(), bound), max(points.values())], [place, place], color="0.85", lw=2, zorder=0)
        for name, ratio in points.items():
            colour, marker = LOOKS.get(name, (BLUE, "o"))
            axes.plot(ratio, place, marker, color=colour, ms=15, mec="white")
            if ratio < bound:
                faster.append((ratio, place))
    axes.axvline(1, color=BLUE, lw=1.5, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    axes.set_yticks(range(len(rows)), [row["shape"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("time over that of our kernel: to the left is faster", fontsize=18)
    axes.set_ylabel("pixels x channels, /2: stride 2", fontsize=18)
    axes.grid(axis="x", alpha=0.3)
    explain(axes, [name for name in RIVALS if any(over(row, RIVALS[name]) for row in rows)], faster)
    sign(figure, report, "3x3 depthwise convolution, forward, one image, one thread, float32")
    figure.savefig(path, dpi=110)


def explain(axes, names, faster):
    """The legend beside the panel, and a cross on what was measured faster than its bound."""
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], ls="", marker="o", color=BLUE, ms=15, label="npmnv2, compiled")]
    for name in names:
        colour, marker = LOOKS[name]
        marks.append(Line2D([], [], ls="", marker=marker, color=colour, ms=15, label=NAMES.get(name, name)))
    bar = {"ls": "", "marker": "|", "color": "black", "ms": 26, "mew": 4}
    marks.append(Line2D([], [], **bar, label="copying the same bytes:\nthe bound"))
    if faster:
        cross = {"ls": "", "marker": "x", "color": "black", "ms": 24, "mew": 4}
        axes.plot(*zip(*faster, strict=True), **cross)
        marks.append(Line2D([], [], **cross, label="faster than copying:\nbeyond the bound"))
    side = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "labelspacing": 0.9}
    axes.legend(handles=marks, fontsize=SMALLEST, **side)


def message(rows):
    """The title, from the figures: how far NumPy and the best of the engines are from our kernel."""
    parts = []
    for title, names in (("NumPy takes", ["numpy"]), ("the best engine", [*chain(*EVERY_PEER.values())])):
        ratios = [over(row, names) for row in rows if over(row, names)]
        if ratios:
            parts.append(f"{title} {min(ratios):.1f} to {max(ratios):.1f} times as long")
    if not parts:
        return "Our compiled depthwise kernel, and a copy of the same bytes"
    return f"Compared with our compiled depthwise kernel, {', '.join(parts)}"
