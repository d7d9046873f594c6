"""Is a linear bottleneck better than one with ReLU6, and where should the shortcut join? Figure 6 of the paper.

Networks that differ in nothing but the end of `project` and the place of the shortcut, from the same seeds, on the same
images, at two budgets: a difference that is gone at the larger one was the speed of learning.

References: Sandler et al., arXiv:1801.04381, section 6.4 and figure 6.
"""

from typing import TYPE_CHECKING, Any

from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.models import mobilenet_v2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROJECTIONS = {"linear": True, "ReLU6": False}
SHORTCUTS = {"between bottlenecks": True, "between expansions": "expansion", "none": False}
BUDGETS = {"digits": (10, 30), "canvas": (8, 24)}  # epochs


def cases(quick: bool, seeds: range) -> list[Case]:
    """All six variants; quick: on the digits alone, one short budget, fewer images."""
    budgets = {"digits": (5,)} if quick else BUDGETS
    found = []
    for data, epochs in ((data, epochs) for data, several in budgets.items() for epochs in several):
        for projection, linear in PROJECTIONS.items():
            for shortcut, place in SHORTCUTS.items():
                settings: dict[str, Any] = {"data": data, "epochs": epochs, "linear": linear, "shortcut": place}
                settings |= {"images": 480, "backend": "numpy"} if quick else {"images": None, "backend": "numba"}
                name = f"{data}, {epochs} epochs: {projection}, {shortcut}"
                found += [Case(name, seed, settings) for seed in seeds]
    return found


def run(case: Case) -> Result:
    """Train one network of width 0.35."""
    settings, seed = case.settings, case.seed
    variant = {"linear": settings["linear"], "shortcut": settings["shortcut"]}
    images = runs.data(settings["data"], seed, settings["images"])
    model = mobilenet_v2(10, 0.35, strides=runs.STRIDES[settings["data"]], in_channels=1, seed=seed, **variant)
    return runs.train(model, images, seed, {name: settings[name] for name in ("epochs", "backend")})


def table(results: Results) -> list[str]:
    """A table a budget; every variant is compared with the published one, linear and between bottlenecks."""
    return compare.table(results)


def draw(results: Results) -> "Figure":
    """Held-out accuracy over the epochs, of the longest budget of each data set."""
    groups = list(compare.grouped(results))
    longest = {group.partition(",")[0]: group for group in groups}
    panels = [(group, "held_out", "held-out share right") for group in longest.values()]
    if len(panels) == 1:
        panels.insert(0, (groups[-1], "loss", "loss"))
    return compare.curves("The shortcut joins the narrow ends, and they are linear", results, panels)


EXPERIMENT = Experiment(
    question="Is a linear bottleneck better than one with ReLU6, and where should the shortcut join?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    does_not_show=(
        "what happens on ImageNet, where the paper measured it: these networks are small and so are the images",
        "the limit of long training: where the two budgets differ, part of the difference is the speed of learning",
        "that ReLU6 loses information: a network that cannot use the shortcut well learns slowly for other reasons too",
    ),
)
