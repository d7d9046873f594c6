"""Fewer channels or fewer pixels? The two multipliers of MobileNet on the canvas, against what they cost.

The canvas is made smaller by averaging: at half the side every pixel is the mean of four.

References: Howard et al., arXiv:1704.04861, sections 3.3 and 3.4; Sandler et al., arXiv:1801.04381, section 6.1.
"""

from typing import TYPE_CHECKING, Any

from npmnv2.cost import network as cost
from npmnv2.data import Dataset
from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.models import mobilenet_v2
from npmnv2.validate import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS, SIDES = (0.35, 0.2, 0.1), (32, 16)  # the first of both: what the others are compared with
EPOCHS = 12


def smaller(x: Array, side: int) -> Array:
    """Images (N, H, W, C) with H = W made `side` pixels high and wide, each the mean of a square.

    Examples
    --------
    >>> import numpy as np
    >>> smaller(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    N, H, _, C = x.shape
    step = H // side
    out: Array = x.reshape(N, side, step, side, step, C).mean(axis=(2, 4))  # (N, side, side, C)
    return out


def _at(images: Dataset, side: int) -> Dataset:
    return images._replace(train_x=smaller(images.train_x, side), test_x=smaller(images.test_x, side))


def cases(quick: bool, seeds: range) -> list[Case]:
    """Every width at every side; quick: half the side alone, on fewer images."""
    found = []
    epochs = 4 if quick else EPOCHS
    for side in SIDES[1:] if quick else SIDES:
        for width in WIDTHS:
            settings: dict[str, Any] = {"side": side, "width": width, "epochs": epochs}
            settings |= {"images": 480, "backend": "numpy"} if quick else {"images": None, "backend": "numba"}
            name = f"canvas, {epochs} epochs: {side}x{side}, width {width:g}"
            found += [Case(name, seed, settings) for seed in seeds]
    return found


def run(case: Case) -> Result:
    """Train one network."""
    settings, seed = case.settings, case.seed
    side, width, strides = settings["side"], settings["width"], runs.STRIDES["canvas"]
    model = mobilenet_v2(10, width, strides=strides, in_channels=1, seed=seed)
    images = _at(runs.data("canvas", seed, settings["images"]), side)
    result = runs.train(model, images, seed, {name: settings[name] for name in ("epochs", "backend")})
    layers = cost.mobilenet_v2(width, side, 10, strides=strides, in_channels=1)
    return {**result, "madds": sum(layer.madds for layer in layers), "parameters": sum(la.parameters for la in layers)}


def table(results: Results) -> list[str]:
    """What the networks cost, then how they compare with the widest at the full side."""
    lines = [f"{'network':<40} {'multiply-adds':>14} {'parameters':>11}"]
    for name, by_seed in results.items():
        one = next(iter(by_seed.values()))
        lines.append(f"{name:<40} {one['madds']:>14,} {one['parameters']:>11,}")
    return [*lines, "", *compare.table(results)]


def draw(results: Results) -> "Figure":
    """Held-out accuracy and loss over the epochs."""
    (group,) = compare.grouped(results)
    panels = [(group, "loss", "loss"), (group, "held_out", "held-out share right")]
    return compare.curves("Pixels or channels: both are paid for", results, panels)


EXPERIMENT = Experiment(
    question="Where is a multiply-add better saved: in channels or in pixels?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    does_not_show=(
        "photographs: half the side loses nothing that a digit of 16 pixels, drawn from 8, has",
        "the curves of the papers, with their many points: the classifier's 1280 channels weigh more in small networks",
        "time: benchmarks/width_resolution.py has the clock",
    ),
)
