"""Is a linear bottleneck better than one with ReLU6, and where should the shortcut join? Figure 6 of the paper.

Networks that differ in nothing but the end of `project` and the place of the shortcut, from the same seeds, on the same
images, at two budgets: a difference that is gone at the larger one was the speed of learning.

References: Sandler et al., arXiv:1801.04381, section 6.4 and figure 6.
"""

from functools import partial
from typing import Any

from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result
from npmnv2.models import mobilenet_v2

PROJECTIONS = {"linear": True, "ReLU6": False}
SHORTCUTS: dict[str, Any] = {"between bottlenecks": True, "between expansions": "expansion", "none": False}
VARIANTS = {
    f"{projection}, {shortcut}": {"linear": linear, "shortcut": place}
    for projection, linear in PROJECTIONS.items()
    for shortcut, place in SHORTCUTS.items()
}
BUDGETS = {"digits": (10, 30), "canvas": (6, 18)}  # epochs


def cases(quick: bool, seeds: range) -> list[Case]:
    """All six variants; quick: one change at a time, on the digits alone, one short budget, fewer images."""
    variants = dict([*VARIANTS.items()][:4]) if quick else VARIANTS
    return runs.cases({"digits": (5,)} if quick else BUDGETS, lambda data: variants, runs.amount(quick), seeds)


def run(case: Case) -> Result:
    """Train one network of width 0.35."""
    variant = {"linear": case.settings["linear"], "shortcut": case.settings["shortcut"]}
    strides = runs.STRIDES[case.settings["data"]]
    return runs.train(mobilenet_v2(10, 0.35, strides=strides, in_channels=1, seed=case.seed, **variant), case)


EXPERIMENT = Experiment(
    question="Is a linear bottleneck better than one with ReLU6, and where should the shortcut join?",
    cases=cases,
    run=run,
    table=compare.table,
    draw=partial(compare.over_epochs, "Linear or not? Where to join the shortcut?"),
    does_not_show=(
        "what happens on ImageNet, where the paper measured it: these networks are small and so are the images",
        "the limit of long training: where the two budgets differ, part of the difference is the speed of learning",
        "that ReLU6 loses information: a network that cannot use the shortcut well learns slowly for other reasons too",
    ),
)
