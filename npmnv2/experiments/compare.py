"""Trained networks side by side: by group, a line a variant, and their differences from one of them, paired by seed.

A case is named "GROUP: VARIANT".
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npmnv2.experiments.experiment import Result, Results
from npmnv2.experiments.statistics import mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npmnv2.show.figures.page import Page

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
    apart = [difference for difference in apart if math.isfinite(difference.half)]
    shown = sum(abs(difference.mean) > difference.half for difference in apart)
    return [
        *lines,
        "spread: standard deviation between seeds, whose images, weights and order differ.",
        "less the first: mean of the differences, each of one seed, ± the half interval of 95 % (Student's t).",
        f"{shown} of {len(apart)} intervals leave out 0. Where one holds 0, the run cannot tell which is better;",
        "that does not mean that they are equal. Of 20 intervals of 95 %, about one misses by luck.",
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
            lines[-1] += f" {ms.mean:>9.2f} ± {_or_dash(ms.spread, 2)}"
    return [*lines, ""]


def _or_dash(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


class Panel(NamedTuple):
    """One of a slide's axes."""

    group: str
    name: str  # which of a result's lists
    label: str  # what stands above
    chance: float | None = None  # what guessing gives, if that is known: a grey line


def over_epochs(title: str, results: Results) -> "Figure":
    """The held-out accuracy over the epochs, of the longest budget of each data set; of one alone, the loss as well."""
    shown = {
        name: {seed: {**one, "held out": [100 * share for share in held_out(one)]} for seed, one in by_seed.items()}
        for name, by_seed in results.items()
    }
    longest = list({group.partition(",")[0]: group for group in grouped(results)}.values())
    panels = [Panel(group, "held out", "held-out accuracy, %", 10.0) for group in longest]  # of ten digits
    return curves(title, shown, [Panel(longest[0], "loss", "loss"), *panels] if len(panels) == 1 else panels)


def curves(
    title: str, results: Results, panels: Sequence[Panel], at: tuple[str, Sequence[int]] = ("epoch", ())
) -> "Figure":
    """A slide of curves: the means over seeds, with intervals of 95 % at the marks if there are several.

    Parameters
    ----------
    title : str
        The message.
    results : Results
    panels : sequence of Panel
        Left to right.
    at : (name, values)
        What the numbers of a list are at, evenly spaced; without values, 1, 2, ...
    """
    from npmnv2.show.figures.page import HEIGHT, WIDTH, Page

    page, groups = Page(title), grouped(results)
    step = (WIDTH - 90) / len(panels)
    for k, panel in enumerate(panels):
        place = ((90 + k * step) / WIDTH, 155 / HEIGHT, (step - 70) / WIDTH, 275 / HEIGHT)
        _fill(page.figure.add_axes(place), panel, groups[panel.group], at)
    _legend(page, list(next(iter(groups.values()))))
    return page.figure


def _looks() -> list[dict[str, Any]]:
    """Of the variants: each its colour, line and mark, so that none is needed alone."""
    from npmnv2.show.figures.page import DARK
    from npmnv2.show.plots import BLUE, GREEN, ORANGE, PINK, RED

    colors, styles, marks = (BLUE, ORANGE, GREEN, RED, PINK, DARK), ("-", "--", "-.", ":", "-", "--"), "os^DvP"
    return [
        {"color": color, "linestyle": style, "marker": mark, "linewidth": 3, "markersize": 9}
        for color, style, mark in zip(colors, styles, marks, strict=True)
    ]


def _fill(axes: Any, panel: Panel, variants: Results, at: tuple[str, Sequence[int]]) -> None:
    """Draw the lines of one panel."""
    from matplotlib.ticker import MaxNLocator

    from npmnv2.show.figures.page import GREY

    highest, several = 0.0, False
    for k, (look, by_seed) in enumerate(zip(_looks(), variants.values(), strict=False)):
        means = [mean(values) for values in zip(*(result[panel.name] for result in by_seed.values()), strict=True)]
        middle, several = [of.mean for of in means], several or len(by_seed) > 1
        # few places: beside one another, so that no interval hides another
        across = [place + 0.05 * (k - 2) if at[1] else place + 1 for place in range(len(means))]
        marked = list(range(len(means) - 1, -1, -max(1, len(means) // 4)))  # the last, and some before it
        axes.plot(across, middle, **look, markevery=marked)
        if len(by_seed) > 1:
            places, centres, halves = ([row[m] for m in marked] for row in (across, middle, [of.half for of in means]))
            axes.errorbar(places, centres, halves, fmt="none", ecolor=look["color"], elinewidth=1.5, capsize=4)
        highest = max(highest, *middle)
    if panel.chance is not None:
        axes.axhline(panel.chance, color=GREY, linewidth=1.5)
        axes.annotate(
            "chance", (1, panel.chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=18
        )
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 1.1 * highest))
    if at[1]:
        axes.set_xticks(range(len(at[1])), [str(value) for value in at[1]])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title(f"{panel.group}\n{panel.label}", fontsize=18)
    axes.set_xlabel(at[0] + " (bars: intervals of 95 %)" * several, fontsize=18)
    axes.tick_params(labelsize=18)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(page: "Page", variants: Sequence[str]) -> None:
    """What each line is, below the panels in two columns."""
    from matplotlib.lines import Line2D

    from npmnv2.show.figures.page import HEIGHT, WIDTH

    for k, (look, variant) in enumerate(zip(_looks(), variants, strict=False)):
        x, y = 90 + 440 * (k % 2), 464 + 30 * (k // 2)
        ends = [x / WIDTH, (x + 60) / WIDTH], [1 - (y - 6) / HEIGHT] * 2
        page.figure.add_artist(Line2D(*ends, clip_on=False, **look))
        page.text(x + 72, y, variant, align="left", size=18)
