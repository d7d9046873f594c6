"""How much should a block expand? Networks of expansion factors 1 to 10 that cost the same multiply-adds.

A larger factor makes the middle of a block wide and, at equal cost, its ends narrow. All rows have the factor but the
first, which has 1 in the paper too. The width multiplier is the one whose multiply-adds are nearest to those of t = 6;
channels are rounded to whole numbers, not to multiples of 8, which would be too coarse.

References: Sandler et al., arXiv:1801.04381, section 4, which says that 5 to 10 give nearly the same curves.
"""

from functools import partial

import numpy as np

from npmnv2.cost.network import inverted_residuals, total
from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result
from npmnv2.models.mobilenet_v2 import HEAD, ROWS, STEM, BlockPlan, MobileNetV2, Plan, make_layers, resolve_strides

FACTORS = (6, 1, 2, 4, 10)  # the first is what the others are compared with
WIDTH = 0.35  # of the network with the first
BUDGETS = {"digits": (20,), "canvas": (12,)}  # epochs


def plan(t: int, width: float, strides: tuple[int, ...]) -> Plan:
    """The network's table with another expansion factor and channels as they come.

    Examples
    --------
    >>> stem, blocks, head = plan(2, 0.5, resolve_strides("digits"))
    >>> stem, blocks[1], head
    (16, BlockPlan(name='b1.0', in_channels=8, out_channels=12, stride=1, t=2, kernel=3), 1280)
    """
    blocks, channels = [], max(1, round(width * STEM))
    stem = channels
    for r, (row, s) in enumerate(zip(ROWS, strides[1:], strict=True)):
        for repeat in range(row.n):
            factor, out_channels = row.t if r == 0 else t, max(1, round(width * row.c))
            blocks.append(BlockPlan(f"b{r}.{repeat}", channels, out_channels, s if repeat == 0 else 1, factor, 3))
            channels = out_channels
    return stem, blocks, HEAD


def madds(t: int, width: float, data: str) -> int:
    """The multiply-adds of an image.

    Examples
    --------
    >>> madds(6, 0.35, "digits")
    2585584
    """
    strides = resolve_strides(runs.STRIDES[data])
    layers = inverted_residuals(plan(t, width, strides), runs.SIDES[data], 10, strides[0], 1, 1)
    return total(layers).madds


def equal(t: int, data: str) -> float:
    """The width multiplier, in hundredths, at which the network costs what that of the first factor does."""
    wanted, widths = madds(FACTORS[0], WIDTH, data), np.arange(5, 301) / 100
    return float(min(widths, key=lambda width: abs(madds(t, width, data) - wanted)))


def cases(quick: bool, seeds: range) -> list[Case]:
    """Quick: the first factors, the digits alone, few epochs, fewer images."""

    def variants(data: str) -> dict[str, runs.Settings]:
        return {f"t = {t}": {"t": t, "width": equal(t, data)} for t in FACTORS[: 3 if quick else None]}

    return runs.cases({"digits": (7,)} if quick else BUDGETS, variants, runs.amount(quick), seeds)


def run(case: Case) -> Result:
    """Train one network."""
    data, t, width = (case.settings[name] for name in ("data", "t", "width"))
    strides = resolve_strides(runs.STRIDES[data])
    config = {"num_classes": 10, "in_channels": 1, "dropout": 0.2, "seed": case.seed, "padding": 1, "dtype": "float32"}
    config |= {"eps": 1e-5, "momentum": 0.1, "running_var": "unbiased", "width_mult": width, "strides": strides}
    model = MobileNetV2(make_layers(config, plan(t, width, strides), strides[0]), config)
    parameters = sum(p.value.size for p in model.parameters())
    return {**runs.train(model, case), "width": width, "madds": madds(t, width, data), "parameters": parameters}


EXPERIMENT = Experiment(
    question="How much should a block expand, if all networks cost the same multiply-adds?",
    cases=cases,
    run=run,
    table=compare.table,
    draw=partial(compare.over_epochs, "At equal cost no expansion factor stands out"),
    does_not_show=(
        "which factor is best, where intervals hold 0, or between those that were tried",
        "that time is equal where multiply-adds are: wide middles move more bytes",
        "anything of larger images or networks: the head, of 1280 channels whatever the width, is a large share here",
    ),
)
