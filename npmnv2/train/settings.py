"""All that decides how a run goes, and the recipes that decide most of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from npmnv2.nn.optim import SGD, Optimizer, RMSProp
from npmnv2.nn.parameter import Parameter
from npmnv2.train.schedules import cosine_schedule, exponential_schedule


class Settings(NamedTuple):
    """Two runs of the same settings give the same bits. Made by `resolve`, kept in every checkpoint."""

    data: str  # digits, cifar10:DIR, mnist:DIR or folder:DIR
    recipe: str
    epochs: int
    batch_size: int
    width: float | None  # width multiplier; None: 0.35, or that of init
    resolution: int | None  # image side in pixels, for folders of pictures
    seed: int
    backend: str
    optimizer: str
    lr: float
    schedule: str
    weight_decay: float  # of convolution and linear kernels; never of depthwise ones
    label_smoothing: float
    dropout: float
    bn_momentum: float  # the share of the new
    ema: float  # decay of the averaged weights; 0: none are kept
    init: str | None  # the file whose weights a run begins with
    freeze: str | None  # "backbone": only the classifier learns
    bn: str  # the running statistics of batch norm: "update" or "keep"


DEFAULTS: dict[str, Any] = {
    "data": "digits",
    "recipe": "sgd",
    "batch_size": 32,
    "width": None,
    "resolution": None,
    "seed": 0,
    "backend": "numba",
    "init": None,
    "freeze": None,
}

# What a recipe decides; the learning rate depends on the optimiser.
RECIPES: dict[str, dict[str, Any]] = {
    # What most people do today; epochs, rate and decay were chosen on the digits.
    "sgd": {
        "epochs": 80,
        "optimizer": "sgd",
        "lr": {"sgd": 0.02, "rmsprop": 0.005},
        "schedule": "cosine",
        "weight_decay": 1e-3,
        "label_smoothing": 0.1,
        "dropout": 0.2,
        "bn_momentum": 0.1,
        "ema": 0.999,
    },
    # Sandler et al., arXiv:1801.04381, section 6.1: RMSProp with decay and momentum 0.9, weight decay 4e-5, learning
    # rate 0.045 for batches of 96, times 0.98 each epoch. The rest is TF-slim's (train_image_classifier.py and
    # mobilenet_v2.py): label smoothing 0.1, averaged weights 0.9999, dropout 0.2, batch norm decay 0.997.
    "paper": {
        "epochs": 100,
        "optimizer": "rmsprop",
        "lr": {"rmsprop": 0.045, "sgd": 0.045},
        "schedule": "exponential",
        "weight_decay": 4e-5,
        "label_smoothing": 0.1,
        "dropout": 0.2,
        "bn_momentum": 0.003,
        "ema": 0.9999,
    },
}
OPTIMIZERS: dict[str, type[SGD] | type[RMSProp]] = {"sgd": SGD, "rmsprop": RMSProp}


def resolve(given: Mapping[str, Any]) -> Settings:
    """The settings of a run from what was said about it; the recipe says the rest.

    Parameters
    ----------
    given : mapping of str -> value
        Names of `Settings`; None counts as not said.

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        For a name or a recipe that there is none of, or fine-tuning without weights to begin with.

    Examples
    --------
    >>> settings = resolve({"recipe": "paper", "batch_size": 96})
    >>> settings.optimizer, settings.lr, settings.bn_momentum
    ('rmsprop', 0.045, 0.003)
    """
    given = {name: value for name, value in given.items() if value is not None}
    unknown = [name for name in given if name not in Settings._fields]
    if unknown:
        raise ValueError(f"given must have names of settings ({', '.join(Settings._fields)}); one was {unknown[0]!r}")
    recipe = given.get("recipe", DEFAULTS["recipe"])
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}; was {recipe!r}")
    values = {**DEFAULTS, **RECIPES[recipe], **given}
    if values["optimizer"] not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; was {values['optimizer']!r}")
    if "lr" not in given:
        values["lr"] = values["lr"][values["optimizer"]]
        if recipe == "paper":  # its rate is for batches of 96; a smaller one gives noisier gradients, so smaller steps
            values["lr"] *= values["batch_size"] / 96
        if values["init"] and not values["freeze"]:  # larger first steps would undo what the weights know
            values["lr"] /= 4
    for name in ("freeze", "bn"):
        if name in given and values["init"] is None:
            raise ValueError(f"{name} needs init: a file with the weights of a trained network")
    values.setdefault("bn", "keep" if values["freeze"] else "update")
    return Settings(**values)


def make_optimizer(settings: Settings, parameters: list[Parameter]) -> Optimizer:
    """The optimiser that the settings name, for these parameters.

    Examples
    --------
    >>> import numpy as np
    >>> type(make_optimizer(resolve({}), [Parameter(np.zeros(1), "bias")])).__name__
    'SGD'
    """
    return OPTIMIZERS[settings.optimizer](
        parameters, settings.lr, momentum=0.9, weight_decay=settings.weight_decay
    )  # RMSProp's decay is 0.9 if nothing is said


def make_schedule(settings: Settings) -> Callable[[int, int], float]:
    """The learning rate as `train.train` asks for it: by the step, and how many there are.

    Examples
    --------
    >>> schedule = make_schedule(resolve({"recipe": "paper", "epochs": 2}))
    >>> [round(schedule(step, 4), 5) for step in range(4)]             # two steps in an epoch
    [0.015, 0.015, 0.0147, 0.0147]
    """
    if settings.schedule == "exponential":
        return lambda step, steps: exponential_schedule(settings.lr, step * settings.epochs // steps)
    return lambda step, steps: cosine_schedule(settings.lr, step, steps, warmup=steps // 20)
