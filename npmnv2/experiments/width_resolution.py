"""Fewer channels or fewer pixels? The two multipliers of MobileNet on the canvas, against what they cost.

The canvas is made smaller by averaging: at half the side every pixel is the mean of four.

References: Howard et al., arXiv:1704.04861, sections 3.3 and 3.4; Sandler et al., arXiv:1801.04381, section 6.1.
"""

from functools import partial

from npmnv2.cost import network as cost
from npmnv2.data import Dataset
from npmnv2.experiments import compare, runs
from npmnv2.experiments.experiment import Case, Experiment, Result
from npmnv2.models import mobilenet_v2
from npmnv2.validate import Array

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
    epochs = 4 if quick else EPOCHS
    return [
        Case(
            f"canvas, {epochs} epochs: {side}x{side}, width {width:g}",
            seed,
            {"side": side, "width": width, "epochs": epochs, **runs.amount(quick)},
        )
        for side in (SIDES[1:] if quick else SIDES)
        for width in WIDTHS
        for seed in seeds
    ]


def run(case: Case) -> Result:
    """Train one network."""
    side, width, strides = case.settings["side"], case.settings["width"], runs.STRIDES["canvas"]
    model = mobilenet_v2(10, width, strides=strides, in_channels=1, seed=case.seed)
    result = runs.train(model, case, _at(runs.data("canvas", case.seed, case.settings["images"]), side))
    sums = cost.total(cost.mobilenet_v2(width, side, 10, strides=strides, in_channels=1))
    return {**result, "madds": sums.madds, "parameters": sums.parameters}


EXPERIMENT = Experiment(
    question="Where is a multiply-add better saved: in channels or in pixels?",
    cases=cases,
    run=run,
    table=compare.table,
    draw=partial(compare.over_epochs, "Fewer channels or fewer pixels?"),
    does_not_show=(
        "photographs: half the side loses nothing that a digit of 16 pixels, drawn from 8, has",
        "the curves of the papers, with their many points: the classifier's 1280 channels weigh more in small networks",
        "time: benchmarks/width_resolution.py has the clock",
    ),
)
