"""One network trained for an experiment: the recipe of `python -m npmnv2 train`, on the digits or on the canvas."""

from collections.abc import Callable, Mapping
from typing import Any

from npmnv2.backends import backend
from npmnv2.data import Dataset, load_digits
from npmnv2.data.augment import random_shift
from npmnv2.data.canvas import load_canvas
from npmnv2.experiments.experiment import Result
from npmnv2.models.network import Network
from npmnv2.nn.optim import DECAYED
from npmnv2.train.datasets import TrainingData
from npmnv2.train.session import Session
from npmnv2.train.settings import resolve

DATA: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "canvas": load_canvas}
SIDES = {"digits": 8, "canvas": 32}  # pixels
STRIDES: dict[str, Any] = {"digits": "digits", "canvas": (1, 1, 2, 2, 1, 1, 2, 1)}  # of MobileNetV2
RECIPE = {"batch_size": 32, "ema": 0.0}  # the accuracy is that of the last weights


def data(name: str, seed: int, images: int | None = None) -> Dataset:
    """The digits or the canvas, split by the seed; of those to train on, the first `images`."""
    found = DATA[name](seed=seed)
    return found._replace(train_x=found.train_x[:images], train_y=found.train_y[:images])


def train(
    model: Network,
    images: Dataset,
    seed: int,
    settings: Mapping[str, Any],
    decayed: frozenset[str] = DECAYED,
) -> Result:
    """Train a network, and say how it went.

    Parameters
    ----------
    model : Network
    images : Dataset
    seed : int
        Of the order and the augmentation.
    settings : mapping
        `backend`, and what `train.settings.resolve` takes, such as `epochs`; the rest is the recipe "sgd".
    decayed : set of str
        The roles of `nn.Parameter` that weight decay is of.

    Returns
    -------
    Result
        An epoch a number: `loss` and `accuracy` as it trained, `held_out` after it, all shares, and `averaged`, that of
        the averaged weights, if there are any.
    """
    resolved = resolve({**RECIPE, "seed": seed, **settings})
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
