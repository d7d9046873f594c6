"""The picture of `width_resolution.py`, to be projected: does the time of a network follow its multiply-adds?"""

import numpy as np
from common.report import BLUE, ORANGE, SMALLEST, plain_ticks, sign, slide, thread_count
from width_resolution_report import NETWORKS, points_of

LOOKS = {"V2": (BLUE, "o", "-"), "V1": (ORANGE, "s", "--")}


def draw(report, path):
    """Latency against multiply-adds, one thread, with the fits, and proportion, from the largest network down."""
    one = thread_count(1)
    fits = {n: report["fits"][f"{n}, {one}"]["curve"] for n in NETWORKS if f"{n}, {one}" in report["fits"]}
    figure, axes = slide(message(fits))
    points = [(point, row["times"][one]) for point, row in zip(points_of(report), report["points"], strict=True)]
    for network, (colour, marker, style) in LOOKS.items():
        mine = [(p.madds / 1e6, t["median_us"] / 1e3, t["spread_us"] / 1e3) for p, t in points if p.network == network]
        if not mine:
            continue
        madds, ms, spread = (np.array(values) for values in zip(*mine, strict=True))
        axes.errorbar(madds, ms, spread, fmt=marker, color=colour, ms=11, mec="white", elinewidth=1.5)
        name = f"MobileNet{network}, {len(mine)} widths and resolutions"
        if network in fits:
            curve, ends = fits[network], np.array([madds.min(), madds.max()])
            axes.plot(ends, curve["a"] * ends ** curve["b"], style, color=colour, lw=2.5)
            name += f": {curve['a']:.2g} M^{curve['b']:.2f} ms"
        axes.plot([], [], style, marker=marker, color=colour, ms=11, lw=2.5, label=name)
    in_proportion(axes, max((p.madds / 1e6, t["median_us"] / 1e3) for p, t in points), points)
    upset(axes, [(p.madds / 1e6, t["median_us"] / 1e3) for p, t in points if not t["calm"]])
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("multiply-adds M, millions", fontsize=18)
    axes.set_ylabel("latency, ms", fontsize=18)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALLEST, loc="upper left", frameon=False)
    sign(figure, report, "one image, one thread, float32; medians, bars: half the interquartile range")
    figure.savefig(path, dpi=110)


def in_proportion(axes, largest, points):
    """A line from the largest network down, half the time at half the multiply-adds, as far as there are times."""
    madds, ms = largest
    least = min(min(p.madds / 1e6 for p, _ in points) / madds, 1.0)
    lowest = min(t["median_us"] / 1e3 for _, t in points) / ms
    ends = np.array([max(least, lowest), 1.0])
    axes.plot(ends * madds, ends * ms, ":", color="black", lw=2.5, label="in proportion to the multiply-adds")


def upset(axes, points):
    """A ring around what was timed while others used the machine."""
    if points:
        ring = {"ls": "", "marker": "o", "ms": 22, "mfc": "none", "mec": "black", "mew": 2}
        axes.plot(*zip(*points, strict=True), **ring, label="others used the machine meanwhile")


def message(fits):
    """The title, from the fits: what part of the time is left when half the multiply-adds are saved."""
    if not fits:
        return "The time of a network against its multiply-adds"
    left = [f"{2 ** -curve['b']:.0%} in MobileNet{network}" for network, curve in fits.items()]
    return f"Half the multiply-adds take {', '.join(left)}".replace("%", "% of the time", 1)
