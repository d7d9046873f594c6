"""Trained networks side by side: by group, a line a variant, and their differences from one of them, paired by seed.

A case is named "GROUP: VARIANT".
"""

import math
from collections.abc import Callable, Sequence
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


def last(result: Result) -> float:
    """The held-out accuracy at the end, in %."""
    return 100 * float(result["held_out"][-1])


def table(results: Results, value: Callable[[Result], float] = last, what: str = "held-out accuracy, %") -> list[str]:
    """For each group its variants, and what each is less than the first: the mean of the paired differences.

    Parameters
    ----------
    results : Results
    value : callable
        The number of a result.
    what : str
        What that number is.
    """
    lines = []
    for group, variants in grouped(results).items():
        first = next(iter(variants.values()))
        wide = max(len(what), *map(len, variants))
        lines += [group, f"  {what:<{wide}} {'mean':>7} {'spread':>7}   {'less the first':<16} each seed"]
        for variant, by_seed in variants.items():
            values = {seed: value(result) for seed, result in by_seed.items()}
            of = mean(list(values.values()))
            differences = [values[seed] - value(first[seed]) for seed in values]
            apart = mean(differences)
            paired = "" if by_seed is first else f"{apart.mean:+.1f} ± {_or_dash(apart.half)}"
            each = " ".join(f"{number:.1f}" for number in values.values())
            lines.append(f"  {variant:<{wide}} {of.mean:>7.1f} {_or_dash(of.spread):>7}   {paired:<16} {each}")
        lines.append("")
    lines.append("spread: standard deviation between seeds, whose images, weights and order differ.")
    lines.append(
        "less the first: mean of the differences, each of one seed, ± the half interval of 95 % (Student's t)."
    )
    return lines


def _or_dash(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


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
    from npmnv2.show.figures.page import DARK, HEIGHT, WIDTH, Page
    from npmnv2.show.plots import BLUE, GREEN, ORANGE, PINK, RED

    page = Page(title)
    looks = [(BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (RED, ":"), (PINK, "-"), (DARK, "--")]
    groups = grouped(results)
    step = (WIDTH - 90) / len(panels)
    for k, (group, name, label) in enumerate(panels):
        place = ((90 + k * step) / WIDTH, 155 / HEIGHT, (step - 70) / WIDTH, 255 / HEIGHT)
        axes: Any = page.figure.add_axes(place)
        for (color, style), by_seed in zip(looks, groups[group].values(), strict=False):
            lines = [result[name] for result in by_seed.values()]
            across = at[1] or range(1, len(lines[0]) + 1)
            for line in lines:
                axes.plot(across, line, style, color=color, linewidth=0.7, alpha=0.5)
            means = [mean(values).mean for values in zip(*lines, strict=True)]
            axes.plot(across, means, style, color=color, linewidth=3.5, marker="o" if len(means) < 5 else "")
        axes.set_title(f"{group}\n{label}", fontsize=18)
        axes.set_xlabel(at[0], fontsize=18)
        axes.tick_params(labelsize=18)
        axes.spines[["top", "right"]].set_visible(False)
    for k, ((color, style), variant) in enumerate(zip(looks, next(iter(groups.values())), strict=False)):
        x, y = 90 + 440 * (k % 2), 464 + 30 * (k // 2)
        page.lines([[(x, y - 6), (x + 40, y - 6)]], color=color, width=4, dashed=style != "-")
        page.text(x + 50, y, variant, align="left", size=18)
    return page.figure
