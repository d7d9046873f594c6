"""All that decides how a run goes, what each of it may be, and the recipes that decide most of it."""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import backends
from npmnv2.nn.optim import SGD, Optimizer, RMSProp
from npmnv2.nn.parameter import Parameter
from npmnv2.shapes import LARGEST
from npmnv2.train.datasets import check_source
from npmnv2.train.schedules import cosine_schedule, exponential_schedule
from npmnv2.validate import check_int, check_number


class Settings(NamedTuple):
    """Two runs of the same settings give the same bits. Made by `resolve`, kept in every checkpoint.

    What each may be is in `CHECKS`.
    """

    data: str  # digits, mnist:DIR, cifar10:DIR, ... or folder:DIR
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
    balance: bool = False  # an epoch shows every class as often
    keep_head: bool = False  # the classifier of init is kept


DEFAULTS: dict[str, Any] = {
    "data": "digits",
    "recipe": "sgd",
    "batch_size": 32,
    "width": None,
    "resolution": None,
    "seed": 0,
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

SINGLE = float(np.finfo(np.float32).max)  # beyond it a factor of float32 weights is infinite
Check = Callable[[Any, str], Any]  # of a value by its name: returns it as plain Python, or raises


def _integer(low: int, high: int | None = None) -> Check:
    return lambda value, name: check_int(value, name, low, high)


def _number(low: float, high: float, ends: str = "[]") -> Check:
    return lambda value, name: check_number(value, name, low, high, ends)


def _one_of(choices: Collection[str]) -> Check:
    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; was {value!r}")
        return value

    return check


def _or_none(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False; was {str(value)[:40]}")
    return value


def _path(value: Any, name: str) -> str:
    """A text that the system takes for a path: what a file says may be any."""
    if not isinstance(value, str | os.PathLike) or not isinstance(path := os.fspath(value), str):
        raise TypeError(f"{name} must be text; was {value!r}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        path = ""
    if not path or "\0" in path:
        raise ValueError(f"{name} must be text that can name a file; was {value!r}")
    return path


CHECKS: dict[str, Check] = {
    "data": lambda value, name: check_source(_path(value, name)),
    "recipe": _one_of(RECIPES),
    "epochs": _integer(1, LARGEST),
    "batch_size": _integer(1, LARGEST),
    "width": _or_none(_number(0, 100, "()")),
    "resolution": _or_none(_integer(1, 4096)),  # as `data.load_folder`
    "seed": _integer(0),
    "backend": lambda value, name: _one_of(backends.names())(value, name),  # another may be attached later
    "optimizer": _one_of(OPTIMIZERS),
    "lr": _number(0, SINGLE),
    "schedule": _one_of(("cosine", "exponential")),
    "weight_decay": _number(0, SINGLE),
    "label_smoothing": _number(0, 1),
    "dropout": _number(0, 1, "[)"),
    "bn_momentum": _number(0, 1),
    "ema": _number(0, 1),
    "init": _or_none(_path),
    "freeze": _or_none(_one_of(("backbone",))),
    "bn": _one_of(("update", "keep")),
    "balance": _flag,
    "keep_head": _flag,
}


def checked(settings: Settings) -> Settings:
    """The same settings as plain Python numbers and texts, if each makes sense, and all of them together.

    Raises
    ------
    ValueError, TypeError
        With the name of the one that makes none.

    Examples
    --------
    >>> checked(resolve({})._replace(ema=1e308))
    Traceback (most recent call last):
        ...
    ValueError: ema must lie between 0 and 1; was 1e+308
    """
    settings = Settings(**{name: CHECKS[name](value, name) for name, value in settings._asdict().items()})
    check_source(settings.data, settings.resolution)
    of_trained = {"freeze": settings.freeze is not None, "bn": settings.bn == "keep", "keep_head": settings.keep_head}
    for name, needed in of_trained.items():
        if needed and settings.init is None:
            raise ValueError(f"{name} needs init: a file with the weights of a trained network")
    return settings


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
    ValueError, TypeError
        For a name that there is none of, a value that makes no sense, or fine-tuning without weights to begin with.

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
    given = {name: CHECKS[name](value, name) for name, value in given.items()}
    recipe = given.get("recipe", DEFAULTS["recipe"])
    values = {**DEFAULTS, "backend": backends.current_backend(), **RECIPES[recipe], **given}
    if "lr" not in given:
        values["lr"] = values["lr"][values["optimizer"]]
        if recipe == "paper":  # its rate is for batches of 96; a smaller one gives noisier gradients, so smaller steps
            values["lr"] *= values["batch_size"] / 96
        if values["init"] and not values["freeze"]:  # larger first steps would undo what the weights know
            values["lr"] /= 4
    if "bn" in given and values["init"] is None:
        raise ValueError("bn needs init: a file with the weights of a trained network")
    values.setdefault("bn", "keep" if values["freeze"] else "update")
    return checked(Settings(**values))


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
