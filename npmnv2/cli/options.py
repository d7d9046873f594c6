"""Options that are checked before the work begins, by their names."""

import argparse
import math
import os
import re
from collections.abc import Container
from typing import Any

from npmnv2.validate import check_number

SCALED = "pixels are scaled to 0..1: divide one of 0..255 by 255"
# The least and the most that an option may be, as intervals are written which of the two it may be itself, and why.
LIMITS: dict[str, tuple[Any, ...]] = {
    "width": (0, 100, "()"),
    "resolution": (1, math.inf, "[]"),
    "channels": (1, math.inf, "[]"),
    "classes": (1, math.inf, "[]"),
    "depth": (1, math.inf, "[]"),
    "depth_mult": (0, 100, "()"),
    "epochs": (1, math.inf, "[]"),
    "batch_size": (1, math.inf, "[]"),
    "batch": (1, math.inf, "[]"),
    "lr": (0, math.inf, "[]"),
    "weight_decay": (0, math.inf, "[]"),
    "label_smoothing": (0, 1, "[]"),
    "dropout": (0, 1, "[)"),
    "bn_momentum": (0, 1, "[]"),
    "ema": (0, 1, "[]"),
    "save_every": (1, math.inf, "[]"),
    "top": (1, math.inf, "[]"),
    "processes": (1, math.inf, "[]"),
    "seed": (0, math.inf, "[]"),
    "mean": (-10, 10, "[]", SCALED),
    "std": (0, 10, "(]", SCALED),
    "threads": (1, math.inf, "[]"),  # the most is Numba's to say, see cli/train.py
}
PICTURES = (".png", ".svg", ".pdf", ".jpg")  # what Matplotlib writes without the help of other programs
PICTURE_OPTIONS = ("plot", "confusion")


def check_options(arguments: argparse.Namespace) -> None:
    """Fail before the work, not in it or after it, by the option's name."""
    for name, (low, high, ends, *why) in LIMITS.items():
        value = getattr(arguments, name, None)
        for number in value if isinstance(value, tuple) else [value]:
            if number is not None:
                check_number(number, f"--{name.replace('_', '-')}", low, high, ends, *why)
    for name in PICTURE_OPTIONS:
        path = getattr(arguments, name, None)
        if path is not None:
            _check_picture(path, f"--{name.replace('_', '-')}", (*PICTURES, *getattr(arguments, "animations", ())))


def _check_picture(path: str, option: str, endings: tuple[str, ...]) -> None:
    ending = os.path.splitext(path)[1].lower()
    if ending not in endings:
        raise ValueError(f"{option} must end in {', '.join(endings[:-1])} or {endings[-1]}; was {path}")
    check_writable(path, option)


def check_writable(path: str, option: str) -> None:
    """Raise ValueError, by the option's name, if no file can be written there.

    Examples
    --------
    >>> check_writable("/no/such/folder/a.csv", "--log")
    Traceback (most recent call last):
        ...
    ValueError: --log must name a file in an existing folder; was /no/such/folder/a.csv
    """
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise ValueError(f"{option} must name a file in an existing folder; was {path}")
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):  # to open a pipe is to wait
        raise ValueError(f"{option} must name a file; was {path}, a pipe or a device")
    is_new = not os.path.lexists(path)  # a link to a file that is not there yet is not ours to remove
    try:
        open(path, "ab").close()  # the surest way to know, and it changes nothing
        if is_new:
            os.remove(path)
    except OSError as error:  # a folder, a name that is too long, no permission, ...
        raise ValueError(f"{option} must name a file that can be written ({error.strerror}); was {path}") from None
    if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):  # a new file takes the place of the old one
        raise ValueError(f"{option} must name a file in a folder that can be written; was {path}")


def with_dashes(line: str, options: Container[str]) -> str:
    """What the library says of an argument, said of the option; and what it says to do, so that it can be typed.

    Examples
    --------
    >>> with_dashes("keep_head needs init: a file", ["keep_head", "init"])
    '--keep-head needs --init: a file'
    >>> with_dashes("padding must be 1 for names='timm'; was 'same'", ["names"])
    "padding must be 1 for --names timm; was 'same'"
    """

    def option(match: re.Match[str]) -> str:
        return f"--{match[0].replace('_', '-')}" if match[0] in options else match[0]

    if "names" in options:
        line = re.sub(r"\bnames='(\w+)'", r"--names \1", line)
    if "load_into" in line:
        from npmnv2.weights.head import ONLY_NETWORK

        line = line.replace(ONLY_NETWORK, "train --init takes the network below the classifier")
    return re.sub(r"(?:^|(?<=; ))\w+(?= must | needs )|(?<= needs )\w+", option, line)
