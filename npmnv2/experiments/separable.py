"""Standard or separable convolution: MobileNetV1 and its twin of standard ones, at equal width and at equal cost.

At equal width the twin has about eight times the multiply-adds. At equal cost it is narrower. Accuracy says what is
lost or gained; the clock says what of the multiply-adds is time.

References: Howard et al., arXiv:1704.04861, table 4 ("Conv MobileNet").
"""

import time
from functools import partial
from typing import Any

import numpy as np

from npmnv2.backends import backend
from npmnv2.cost import network as cost
from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result
from npmnv2.models import mobilenet_v1, mobilenet_v1_conv
from npmnv2.train.evaluation import predict

WIDTH = 0.25
STRIDES: dict[str, Any] = {
    "digits": "digits",
    "canvas": (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1),
}  # of the stem and the 13 rows
BUDGETS = {"digits": (20,), "canvas": (10,)}  # epochs
BUILDERS = {"mobilenet_v1": mobilenet_v1, "mobilenet_v1_conv": mobilenet_v1_conv}
REPEATS = 15  # of the clock


def madds(network: str, width: float, data: str) -> int:
    """The multiply-adds of an image."""
    layers = cost.NETWORKS[network](width, runs.SIDES[data], 10, strides=STRIDES[data], in_channels=1)
    return cost.total(layers).madds


def equal(data: str) -> float:
    """The width of the twin, in thousandths, at which it costs what the separable network of `WIDTH` does.

    Examples
    --------
    >>> width = equal("digits")
    >>> 0.9 < madds("mobilenet_v1_conv", width, "digits") / madds("mobilenet_v1", WIDTH, "digits") < 1.1
    True
    """
    wanted, widths = madds("mobilenet_v1", WIDTH, data), np.arange(20, 251) / 1000
    return float(min(widths, key=lambda width: abs(madds("mobilenet_v1_conv", width, data) - wanted)))


def cases(quick: bool, seeds: range) -> list[Case]:
    """Quick: the digits alone, few epochs, fewer images."""

    def variants(data: str) -> dict[str, runs.Settings]:
        return {
            "separable": {"network": "mobilenet_v1", "width": WIDTH},
            "standard, equal width": {"network": "mobilenet_v1_conv", "width": WIDTH},
            "standard, equal cost": {"network": "mobilenet_v1_conv", "width": equal(data)},
        }

    return runs.cases({"digits": (4,)} if quick else BUDGETS, variants, runs.amount(quick), seeds)


def run(case: Case) -> Result:
    """Train one network, then time its answers to 32 images: the median of several."""
    data, network, width = (case.settings[name] for name in ("data", "network", "width"))
    model = BUILDERS[network](10, width, strides=STRIDES[data], in_channels=1, seed=case.seed)
    images = runs.data(data, case.seed, case.settings["images"])
    result = runs.train(model, case, images)
    seconds = []
    with backend(case.settings["backend"]):
        for _ in range(REPEATS):
            start = time.perf_counter()
            predict(model, images.test_x[:32])
            seconds.append(time.perf_counter() - start)
    parameters = sum(p.value.size for p in model.parameters())
    own = {"width": width, "madds": madds(network, width, data), "parameters": parameters}
    return {**result, **own, "ms": round(1000 * float(np.median(seconds)), 4)}


EXPERIMENT = Experiment(
    question="What is lost, and what is gained, where a convolution is separable?",
    cases=cases,
    run=run,
    table=compare.table,
    draw=partial(compare.over_epochs, "Separable: what is lost, what is gained?"),
    does_not_show=(
        "the loss on ImageNet, where the paper found one percentage point (table 4): these images are easy",
        "the time of another machine, or of other libraries: benchmarks/separable.py compares engines",
        "the best network at this cost: both have the rows of MobileNetV1",
    ),
    timed=True,
)
