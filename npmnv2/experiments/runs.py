"""One network trained for an experiment: the recipe of `python -m npmnv2 train`, on the digits or on the canvas."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from npmnv2.backends import backend
from npmnv2.data import Dataset, load_digits
from npmnv2.data.augment import random_shift
from npmnv2.data.canvas import load_canvas
from npmnv2.experiments.experiment import Case, Result
from npmnv2.models.network import Network
from npmnv2.nn.optim import DECAYED
from npmnv2.train.datasets import TrainingData
from npmnv2.train.session import Session
from npmnv2.train.settings import resolve

DATA: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "canvas": load_canvas}
SIDES = {"digits": 8, "canvas": 32}  # pixels
STRIDES: dict[str, Any] = {"digits": "digits", "canvas": (1, 1, 2, 2, 1, 1, 2, 1)}  # of MobileNetV2
RECIPE = {"batch_size": 32, "ema": 0.0}  # the accuracy is that of the last weights
LEARNING = ("epochs", "backend", "optimizer", "ema", "label_smoothing")  # of a case's settings, those of the training

Settings = dict[str, Any]


def amount(quick: bool, images: int = 320) -> Settings:
    """How many images, and on what: a quick run has few, and NumPy, for which nothing is compiled."""
    return {"images": images, "backend": "numpy"} if quick else {"images": None, "backend": "numba"}


def cases(
    budgets: Mapping[str, Sequence[int]],
    variants: Callable[[str], Mapping[str, Settings]],
    more: Settings,
    seeds: range,
) -> list[Case]:
    """Every variant from every seed at every budget.

    Parameters
    ----------
    budgets : mapping of str to sequence of int
        Names of `DATA`, and how many epochs on each.
    variants : callable
        Of the name of the data: the settings of each variant, by name.
    more : dict
        Settings that all have, such as `amount`.
    seeds : range

    Examples
    --------
    >>> cases({"digits": (5, 20)}, lambda data: {"t = 6": {"t": 6}}, {}, range(1))[1]
    Case(name='digits, 20 epochs: t = 6', seed=0, settings={'data': 'digits', 'epochs': 20, 't': 6})
    """
    return [
        Case(f"{data}, {epochs} epochs: {variant}", seed, {"data": data, "epochs": epochs, **own, **more})
        for data, several in budgets.items()
        for epochs in several
        for variant, own in variants(data).items()
        for seed in seeds
    ]


def data(name: str, seed: int, images: int | None = None) -> Dataset:
    """The digits or the canvas, split by the seed; of those to train on, the first `images`."""
    found = DATA[name](seed=seed)
    return found._replace(train_x=found.train_x[:images], train_y=found.train_y[:images])


def train(model: Network, case: Case, images: Dataset | None = None, decayed: frozenset[str] = DECAYED) -> Result:
    """Train a network, and say how it went.

    Parameters
    ----------
    model : Network
    case : Case
        Its seed decides order and augmentation; those of its settings that are in `LEARNING` go to
        `train.settings.resolve`, and the rest is the recipe "sgd".
    images : Dataset, optional
        Without it those that the settings `data` and `images` name.
    decayed : set of str
        The roles of `nn.Parameter` that weight decay is of.

    Returns
    -------
    Result
        An epoch a number: `loss` and `accuracy` as it trained, `held_out` after it, all shares, and `averaged`, that of
        the averaged weights, if there are any.
    """
    learning = {name: case.settings[name] for name in LEARNING if name in case.settings}
    resolved = resolve({**RECIPE, "seed": case.seed, **learning})
    if images is None:
        images = data(case.settings["data"], case.seed, case.settings["images"])
    session = Session(resolved, TrainingData(images, "", random_shift), model)
    session.optimizer.decayed = decayed
    with backend(resolved.backend):
        history = session.run()
    result = {
        "loss": [round(epoch.loss, 4) for epoch in history],
        "accuracy": [round(epoch.accuracy, 4) for epoch in history],
        "held_out": [round(epoch.test_accuracy, 4) for epoch in history],
    }
    averaged = [round(epoch.ema_accuracy, 4) for epoch in history if epoch.ema_accuracy is not None]
    return {**result, "averaged": averaged} if averaged else result
