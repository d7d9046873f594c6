"""Standard or separable convolution: MobileNetV1 and its twin of standard ones, at equal width and at equal cost.

At equal width the twin has about eight times the multiply-adds. At equal cost it is narrower. Accuracy says what is
lost or gained; the clock says what of the multiply-adds is time.

References: Howard et al., arXiv:1704.04861, table 4 ("Conv MobileNet").
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from npmnv2.backends import backend
from npmnv2.cost import network as cost
from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.experiments.statistics import mean
from npmnv2.models import mobilenet_v1, mobilenet_v1_conv
from npmnv2.train.evaluation import predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 0.25
STRIDES: dict[str, Any] = {
    "digits": "digits",
    "canvas": (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1),
}  # of the stem and the 13 rows
EPOCHS = {"digits": 20, "canvas": 10}
BUILDERS = {"mobilenet_v1": mobilenet_v1, "mobilenet_v1_conv": mobilenet_v1_conv}
REPEATS = 15  # of the clock


def madds(network: str, width: float, data: str) -> int:
    """The multiply-adds of an image."""
    layers = cost.NETWORKS[network](width, runs.SIDES[data], 10, strides=STRIDES[data], in_channels=1)
    return sum(layer.madds for layer in layers)


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
    found = []
    for data, epochs in {"digits": 3}.items() if quick else EPOCHS.items():
        variants = {
            "separable": ("mobilenet_v1", WIDTH),
            "standard, equal width": ("mobilenet_v1_conv", WIDTH),
            "standard, equal cost": ("mobilenet_v1_conv", equal(data)),
        }
        for variant, (network, width) in variants.items():
            settings: dict[str, Any] = {"data": data, "network": network, "width": width, "epochs": epochs}
            settings |= {"images": 320, "backend": "numpy"} if quick else {"images": None, "backend": "numba"}
            found += [Case(f"{data}, {epochs} epochs: {variant}", seed, settings) for seed in seeds]
    return found


def run(case: Case) -> Result:
    """Train one network, then time its answers to 32 images: the median of several."""
    settings, seed = case.settings, case.seed
    data, network, width = settings["data"], settings["network"], settings["width"]
    model = BUILDERS[network](10, width, strides=STRIDES[data], in_channels=1, seed=seed)
    images = runs.data(data, seed, settings["images"])
    result = runs.train(model, images, seed, {name: settings[name] for name in ("epochs", "backend")})
    seconds = []
    with backend(settings["backend"]):
        for _ in range(REPEATS):
            start = time.perf_counter()
            predict(model, images.test_x[:32])
            seconds.append(time.perf_counter() - start)
    parameters = sum(p.value.size for p in model.parameters())
    own = {"width": width, "madds": madds(network, width, data), "parameters": parameters}
    return {**result, **own, "ms": round(1000 * float(np.median(seconds)), 4)}


def table(results: Results) -> list[str]:
    """What the networks are and how long they take, then how they compare with the separable one."""
    head = f"{'network':<42} {'width':>6} {'multiply-adds':>14} {'parameters':>11} {'ms, 32 images':>14}"
    lines = [head]
    for name, by_seed in results.items():
        one, ms = next(iter(by_seed.values())), mean([result["ms"] for result in by_seed.values()])
        shape = f"{one['width']:>6.3f} {one['madds']:>14,} {one['parameters']:>11,}"
        lines.append(f"{name:<42} {shape} {ms.mean:>8.2f} ± {ms.spread:.2f}")
    return [*lines, "", *compare.table(results)]


def draw(results: Results) -> "Figure":
    """Held-out accuracy over the epochs."""
    panels = [(group, "held_out", "held-out share right") for group in compare.grouped(results)]
    if len(panels) == 1:
        panels.insert(0, (panels[0][0], "loss", "loss"))
    return compare.curves("Separable: an eighth of the cost, little lost", results, panels)


EXPERIMENT = Experiment(
    question="What is lost, and what is gained, where a convolution is separable?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    does_not_show=(
        "the loss on ImageNet, where the paper found one percentage point (table 4): these images are easy",
        "the time of another machine, or of other libraries: benchmarks/separable.py compares engines",
        "the best network at this cost: both have the rows of MobileNetV1",
    ),
    timed=True,
)
