"""The picture of `separable.py`, to be projected: of what the formula promises, how much arrives in layers how wide?"""

from common.report import BLUE, GREEN, SMALLEST, VERMILION, sign, slide
from separable_report import SWEEP_TITLE, gain, in_exhibits

LOOKS = {
    "npmnv2": (BLUE, "o", "npmnv2"),
    "onnxruntime": (VERMILION, "s", "onnxruntime"),
    "torch": (GREEN, "^", "PyTorch"),
}
RING = {"ls": "", "marker": "o", "ms": 22, "mfc": "none", "mec": "black", "mew": 2}


def draw(report, path):
    """The saving against the channels, promised and measured. What is above the promise has a ring."""
    rows = in_exhibits(report)[SWEEP_TITLE, 1, 1]
    figure, axes = slide(message(rows))
    channels = [row["shape"][1] for row in rows]
    axes.plot(channels, [row["formula"] for row in rows], "k--", lw=2.5, label="promised: 9 C / (9 + C)")
    above = []
    for side, (colour, marker, name) in LOOKS.items():
        points = [(row["shape"][1], gain(row, side), row["formula"]) for row in rows if gain(row, side)]
        if points:
            of, gains, promised = zip(*points, strict=True)
            axes.plot(of, gains, marker=marker, color=colour, ms=11, lw=2.5, label=name)
            above += [(C, ratio) for C, ratio, most in zip(of, gains, promised, strict=True) if ratio > most]
    if above:
        why = "more than promised:\nstandard is the slower,\nby multiply-adds a second"
        axes.plot(*zip(*above, strict=True), **RING, label=why)
    axes.set_xscale("log", base=2)
    axes.set_xticks(channels, [str(C) for C in channels])
    axes.set_xlabel("channels C, in and out", fontsize=18)
    axes.set_ylabel("standard's time / separable's", fontsize=18)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALLEST, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, labelspacing=0.9)
    sign(figure, report, "3x3 convolutions of 14x14 pixels, forward, one image, one thread, float32")
    figure.savefig(path, dpi=110)


def message(rows):
    """The title, from the figures: what part of the promise arrives in the narrowest layer and in the widest."""
    parts = []
    for row in (rows[0], rows[-1]):
        parts.append(f"{gain(row, 'npmnv2'):.1f} times with {row['shape'][1]} channels, {row['formula']:.1f} promised")
    return f"Speed of a separable convolution over a standard one: {'; '.join(parts)}"
