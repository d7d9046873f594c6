"""Few images: from random weights, or from the weights of another task? Digits 0 to 4 first, then 5 to 9 from a few.

A stand-in for the small sets that the articles about MobileNet name, medical pictures among them; it is no evidence
about those. For each seed a network learns to tell the digits 0 to 4 apart. Others then learn the digits 5 to 9 from
24 to 192 images, in the same 192 steps of 8, in five ways, each with its learning rate.
"""

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npmnv2.backends import backend
from npmnv2.data import Dataset, load_digits
from npmnv2.data.augment import random_shift
from npmnv2.experiments import compare
from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.experiments.statistics import wilson
from npmnv2.models import mobilenet_v2
from npmnv2.models.network import Network
from npmnv2.train.datasets import TrainingData
from npmnv2.train.evaluation import confusion_matrix, predict
from npmnv2.train.fine_tuning import network_from
from npmnv2.train.session import Session
from npmnv2.train.settings import resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS: dict[str, dict[str, Any]] = {
    "from random weights, lr 0.005": {"lr": 0.005},  # what the others are compared with
    "from random weights, lr 0.02": {"lr": 0.02},
    "fine-tuned": {"lr": 0.005, "init": True, "bn": "update"},
    "fine-tuned, statistics kept": {"lr": 0.005, "init": True, "bn": "keep"},
    "fine-tuned, classifier alone": {"lr": 0.005, "init": True, "freeze": "backbone"},
}
BATCH, IMAGES = 8, (24, 48, 96, 192)  # whole batches alone: the statistics of a short one are poor
STEPS, PRETRAINING = 192, 20  # of the second task, whole epochs of all; epochs of the first


def only(data: Dataset, first: int, images: int | None = None) -> Dataset:
    """The digits from `first` to `first + 4`, called 0 to 4; of those to train on, the first `images`."""
    parts = []
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        chosen = np.flatnonzero((first <= y) & (y < first + 5))
        parts += [x[chosen], y[chosen] - first]
    classes = data.classes[first : first + 5]
    return data._replace(
        train_x=parts[0][:images], train_y=parts[1][:images], test_x=parts[2], test_y=parts[3], classes=classes
    )


def cases(quick: bool, seeds: range) -> list[Case]:
    """Every way from so many images; quick: three ways, in fewer steps and after less pretraining."""
    more: dict[str, Any] = {"steps": STEPS, "pretraining": PRETRAINING, "backend": "numba"}
    if quick:
        more = {"steps": 24, "pretraining": 3, "backend": "numpy"}
    return [
        Case(f"{images} images: {way}", seed, {"images": images, "way": way, **more})
        for images in ((24, 96) if quick else IMAGES)
        for way in [*WAYS][: 3 if quick else None]
        for seed in seeds
    ]


def run(case: Case) -> Result:
    """Train one network on the digits 5 to 9, and count how often each is found."""
    settings, seed = case.settings, case.seed
    data, way = only(load_digits(seed=seed), 5, settings["images"]), dict(WAYS[settings["way"]])
    epochs = settings["steps"] * BATCH // settings["images"]
    with backend(settings["backend"]), tempfile.TemporaryDirectory() as folder:
        if way.pop("init", False):
            way["init"] = str(Path(folder, "first.npz"))
            _first(seed, settings["pretraining"], settings["backend"]).save(way["init"])
        session = _session(data, seed, epochs, BATCH, {**way, "backend": settings["backend"]})
        history = session.run()
        said = predict(session.model, data.test_x).argmax(axis=1)
    counts = confusion_matrix(data.test_y, said, 5)
    found = [[int(counts[k, k]), int(counts[k].sum())] for k in range(5)]
    return {"held_out": [round(epoch.test_accuracy, 4) for epoch in history], "found": found}


@functools.lru_cache(10)
def _first(seed: int, epochs: int, backend_name: str) -> Session:
    """The network of the digits 0 to 4, trained once for all ways and numbers of images."""
    session = _session(only(load_digits(seed=seed), 0), seed, epochs, 32, {"backend": backend_name})
    session.run()
    return session


def _session(data: Dataset, seed: int, epochs: int, batch_size: int, way: dict[str, Any]) -> Session:
    settings = resolve({"width": 0.35, "seed": seed, "epochs": epochs, "batch_size": batch_size, "ema": 0.0, **way})
    config: dict[str, Any] = {
        "strides": "digits",
        "dropout": settings.dropout,
        "momentum": settings.bn_momentum,
        "seed": seed,
    }
    model: Network = mobilenet_v2(len(data.classes), settings.width or 0.35, in_channels=1, **config)
    if settings.init:
        model, _ = network_from(settings.init, data, settings.width, **config)
    return Session(settings, TrainingData(data, "digits", random_shift), model)


def table(results: Results) -> list[str]:
    """A table a number of images, then the recall of every class of the least, with intervals."""
    lines = compare.table(results)
    group, variants = next(iter(compare.grouped(results).items()))
    lines += ["", f"Recall by class from {group}, %, all seeds together, with intervals of 95 % (Wilson's):"]
    for variant, by_seed in variants.items():
        counts = np.array([result["found"] for result in by_seed.values()]).sum(axis=0)  # (5, 2)
        cells = []
        for k, (right, of) in enumerate(counts.tolist()):
            low, high = wilson(right, of)
            cells.append(f"{5 + k}: {100 * right / of:.0f} ({100 * low:.0f} to {100 * high:.0f})")
        lines.append(f"  {variant:<30} {'  '.join(cells)}")
    return [
        *lines,
        "These intervals take every answer as independent. Those of one network are not: they are too narrow.",
    ]


def draw(results: Results) -> "Figure":
    """Accuracy at the end by number of images."""
    lines: dict[str, dict[int, Result]] = {}
    groups = compare.grouped(results)
    for variant in next(iter(groups.values())):
        seeds = next(iter(groups.values()))[variant]
        lines[f"digits 5 to 9: {variant}"] = {
            seed: {"ends": [100 * groups[group][variant][seed]["held_out"][-1] for group in groups]} for seed in seeds
        }
    at = [int(group.partition(" ")[0]) for group in groups]
    panel = compare.Panel("digits 5 to 9", "ends", "held-out accuracy, %", 20.0)
    return compare.curves("All weights fine-tuned: ahead, but not surely", lines, [panel], ("images to train on", at))


EXPERIMENT = Experiment(
    question="With few images, does it help to begin with the weights of another task?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    does_not_show=(
        "anything about medical pictures: it is a stand-in for small sets, not medical evidence",
        "what ImageNet's weights give: the first task here is as small as the second, and much alike",
        "which way is best where the second task is farther from the first",
        "the best that each way can do: two rates were tried from random weights, one of the others, and 192 steps",
        "what the first network cost: about 720 labelled digits, which the networks from random weights did not have",
    ),
)
