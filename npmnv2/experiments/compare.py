"""Trained networks side by side: by group, a line a variant, and their differences from one of them, paired by seed.

A case is named "GROUP: VARIANT".
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npmnv2.experiments.experiment import Result, Results
from npmnv2.experiments.statistics import mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Grouped = dict[str, Results]  # group -> variant -> seed -> result


def grouped(results: Results) -> Grouped:
    """The results by the two parts of their names.

    Examples
    --------
    >>> grouped({"digits: linear": {0: {}}, "digits: ReLU6": {0: {}}})
    {'digits': {'linear': {0: {}}, 'ReLU6': {0: {}}}}
    """
    found: Grouped = {}
    for name, by_seed in results.items():
        group, _, variant = name.partition(": ")
        found.setdefault(group, {})[variant] = by_seed
    return found


def table(results: Results) -> list[str]:
    """The networks, then for each group the accuracy of its variants and their paired differences from the first."""
    lines, apart, what = _networks(results), [], "held-out accuracy, %"
    for group, variants in grouped(results).items():
        first, wide = next(iter(variants.values())), max(len(what), *map(len, variants))
        lines += [group, f"  {what:<{wide}} {'mean':>7} {'spread':>7}   {'less the first':<16} each seed"]
        for variant, by_seed in variants.items():
            values = {seed: 100 * held_out(result)[-1] for seed, result in by_seed.items()}
            of, paired = mean(list(values.values())), ""
            if by_seed is not first:
                apart.append(mean([value - 100 * held_out(first[seed])[-1] for seed, value in values.items()]))
                paired = f"{apart[-1].mean:+.1f} ± {_or_dash(apart[-1].half)}"
            each = " ".join(f"{number:.1f}" for number in values.values())
            lines.append(f"  {variant:<{wide}} {of.mean:>7.1f} {_or_dash(of.spread):>7}   {paired:<16} {each}")
        lines.append("")
    shown = sum(abs(difference.mean) > difference.half for difference in apart)
    return [
        *lines,
        "spread: standard deviation between seeds, whose images, weights and order differ.",
        "less the first: mean of the differences, each of one seed, ± the half interval of 95 % (Student's t).",
        f"{shown} of {len(apart)} intervals leave out 0; where one does not, the run is too small to tell.",
    ]


def held_out(result: Result) -> list[float]:
    """The held-out share right after each epoch: of the averaged weights, if there are any."""
    shares: list[float] = result["averaged"] if "averaged" in result else result["held_out"]
    return shares


def _networks(results: Results) -> list[str]:
    """What the results say of their networks, a line each, and an empty line; nothing if they say nothing."""
    own = {name: next(iter(by_seed.values())) for name, by_seed in results.items()}
    heads = {"width": ("width", ".3f"), "madds": ("multiply-adds", ","), "parameters": ("parameters", ",")}
    columns = {what: heads[what] for what in heads if all(what in one for one in own.values())}
    if not columns:
        return []
    wide, timed = max(map(len, own)), all("ms" in one for one in own.values())
    head = f"{'network':<{wide}}" + "".join(f" {title:>13}" for title, _ in columns.values())
    lines = [head + "   ms, 32 images" * timed]
    for name, one in own.items():
        lines.append(f"{name:<{wide}}" + "".join(f" {one[what]:>13{form}}" for what, (_, form) in columns.items()))
        if timed:
            ms = mean([result["ms"] for result in results[name].values()])
            lines[-1] += f" {ms.mean:>9.2f} ± {_or_dash(ms.spread)}"
    return [*lines, ""]


def _or_dash(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def over_epochs(title: str, results: Results) -> "Figure":
    """The held-out accuracy over the epochs, of the longest budget of each data set; of one alone, the loss as well."""
    shown = {name: {s: {**r, "held out": held_out(r)} for s, r in by_seed.items()} for name, by_seed in results.items()}
    longest = list({group.partition(",")[0]: group for group in grouped(results)}.values())
    panels = [(group, "held out", "held-out share right") for group in longest]
    return curves(title, shown, [(longest[0], "loss", "loss"), *panels] if len(panels) == 1 else panels)


def curves(
    title: str, results: Results, panels: Sequence[tuple[str, str, str]], at: tuple[str, Sequence[int]] = ("epoch", ())
) -> "Figure":
    """A slide of curves: thin lines for the seeds, a thick one for their mean.

    Parameters
    ----------
    title : str
        The message.
    results : Results
    panels : sequence of (group, name, label)
        Left to right: which group, which of a result's lists, and what stands above.
    at : (name, values)
        What the numbers of a list are at; without values, 1, 2, ...
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, MaxNLocator

    from npmnv2.show.figures.page import DARK, HEIGHT, WIDTH, Page
    from npmnv2.show.plots import BLUE, GREEN, ORANGE, PINK, RED

    page = Page(title)
    looks: list[tuple[str, Any, str]] = [
        (BLUE, "-", "o"),
        (ORANGE, "--", "s"),
        (GREEN, "-.", "^"),
        (RED, ":", "D"),
        (PINK, "-", "v"),
    ]
    looks.append((DARK, "--", "P"))
    groups = grouped(results)
    step = (WIDTH - 90) / len(panels)
    for k, (group, name, label) in enumerate(panels):
        place = ((90 + k * step) / WIDTH, 155 / HEIGHT, (step - 70) / WIDTH, 275 / HEIGHT)
        axes: Any = page.figure.add_axes(place)
        for (color, style, marker), by_seed in zip(looks, groups[group].values(), strict=False):
            lines = [result[name] for result in by_seed.values()]
            across = at[1] or range(1, len(lines[0]) + 1)
            for line in lines:
                axes.plot(across, line, style, color=color, linewidth=0.7, alpha=0.5)
            means = [mean(values).mean for values in zip(*lines, strict=True)]
            marked = list(range(len(means) - 1, -1, -max(1, len(means) // 8)))  # the last, and some before it
            axes.plot(across, means, style, color=color, linewidth=3, marker=marker, markersize=9, markevery=marked)
        axes.set_title(f"{group}\n{label}", fontsize=18)
        axes.set_xlabel(at[0], fontsize=18)
        axes.xaxis.set_major_locator(FixedLocator(at[1]) if at[1] else MaxNLocator(6, integer=True))
        axes.tick_params(labelsize=18)
        axes.spines[["top", "right"]].set_visible(False)
    for k, ((color, style, marker), variant) in enumerate(zip(looks, next(iter(groups.values())), strict=False)):
        x, y = 90 + 440 * (k % 2), 464 + 30 * (k // 2)
        ends = [x / WIDTH, (x + 60) / WIDTH], [1 - (y - 6) / HEIGHT] * 2
        line = Line2D(*ends, color=color, linestyle=style, linewidth=3, marker=marker, markersize=9, clip_on=False)
        page.figure.add_artist(line)
        page.text(x + 72, y, variant, align="left", size=18)
    return page.figure
