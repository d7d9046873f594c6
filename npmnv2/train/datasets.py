"""Data by name, and what goes with it: the strides for its size, and how it is varied while it is learned."""

import functools
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from npmnv2 import data as readers
from npmnv2.data import Dataset
from npmnv2.data.augment import random_crop, random_flip, random_shift
from npmnv2.validate import Array

SOURCES = ("digits", "cifar10:DIR", "cifar100:DIR", "cifar100-coarse:DIR", "mnist:DIR", "folder:DIR")
FOLDER_RESOLUTION = 96  # pixels, of pictures in folders, if nothing is said


class TrainingData(NamedTuple):
    """A data set, and what goes with it."""

    data: Dataset
    strides: str  # see `models.mobilenet_v2.STRIDES`
    augment: Callable[[Array, np.random.Generator], Array]


def check_source(text: str, resolution: int | None = None) -> str:
    """Return `text` if it names data that such a resolution may be asked of: nothing is read.

    Examples
    --------
    >>> check_source("imagenet")                                                     # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: data must be one of digits, cifar10:DIR, cifar100:DIR, ..., folder:DIR; was imagenet
    """
    kind, _, folder = text.partition(":")
    if text != "digits" and not (f"{kind}:DIR" in SOURCES and folder):
        quote = '"' if " " in text else ""
        hint = f"; a folder of pictures is {quote}folder:{text}{quote}" if os.path.isdir(text) else ""
        raise ValueError(f"data must be one of {', '.join(SOURCES)}; was {text}{hint}")
    if resolution is not None and kind != "folder":
        raise ValueError(f"resolution is for folder:DIR alone, {kind} has its own; was {resolution}")
    return text


def load(text: str, resolution: int | None = None) -> TrainingData:
    """Read the data that `text` names.

    Parameters
    ----------
    text : str
        One of `SOURCES`, with a folder for DIR.
    resolution : int, optional
        Image side in pixels, for ``folder:DIR``; the others have their own.

    Returns
    -------
    TrainingData

    Raises
    ------
    ValueError, OSError
        If there is no such data, or only one class.

    Examples
    --------
    >>> load("digits").strides
    'digits'
    """
    kind, _, folder = check_source(text, resolution).partition(":")
    if kind == "folder":
        data = readers.load_folder(folder, size=resolution or FOLDER_RESOLUTION)
    elif kind == "digits":
        data = readers.load_digits()
    elif kind.startswith("cifar100"):
        data = readers.load_cifar100(folder, "coarse" if kind.endswith("-coarse") else "fine")
    else:
        data = {"cifar10": readers.load_cifar10, "mnist": readers.load_mnist}[kind](folder)
    if len(data.classes) < 2:
        raise ValueError(f"{text} must hold at least two classes to tell apart; there was one, {data.classes[0]}")
    return TrainingData(data, _strides(data.train_x.shape[1]), _AUGMENT[kind])


def _crop_and_flip(x: Array, rng: np.random.Generator) -> Array:
    """The usual variation of photographs: up to an eighth of the side away, half of them mirrored."""
    return random_flip(random_crop(x, rng, padding=x.shape[1] // 8), rng)


_AUGMENT: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "digits": functools.partial(random_shift, share=0.8),
    "mnist": functools.partial(random_shift, most=2),
    **dict.fromkeys(("cifar10", "cifar100", "cifar100-coarse"), _crop_and_flip),
    "folder": _crop_and_flip,
}


def _strides(side: int) -> str:
    """A network for images this large: small ones cannot be halved five times."""
    return "imagenet" if side >= 64 else "cifar" if side >= 16 else "digits"
