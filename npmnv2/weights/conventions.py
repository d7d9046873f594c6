"""What a file of weights does not say about its network, and what it does.

The conventions of a library (padding, epsilon, ...) are in no array: they come with the names. The width multiplier
and the number of classes are in the shapes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from npmnv2.cost.network import NETWORKS
from npmnv2.weights.names import TABLES

# Each is an argument of `mobilenet_v2`, and but for the variant of `mobilenet_v1` too. The first two and the variant
# change what a network answers, the others only how it goes on training.
VARIANT = {"linear": True, "shortcut": True}  # of a MobileNetV2, as published; no library builds another
_PYTORCH = {"padding": 1, "eps": 1e-5, "running_var": "unbiased", "momentum": 0.1}
_KERAS = {"padding": "same", "eps": 1e-3, "running_var": "biased"}
_SLIM = {"padding": "same", "eps": 1e-3, "running_var": "unbiased"}

CONVENTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("torchvision", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.2},
    ("timm", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.0},
    ("timm", "mobilenet_v1"): {**_PYTORCH, "dropout": 0.0},
    ("keras", "mobilenet_v2"): {**_KERAS, **VARIANT, "momentum": 0.001, "dropout": 0.0},
    ("keras", "mobilenet_v1"): {**_KERAS, "momentum": 0.01, "dropout": 0.001},  # its batch norms keep Keras's default
    ("slim", "mobilenet_v2"): {**_SLIM, **VARIANT, "momentum": 0.003, "dropout": 0.2},
    ("slim", "mobilenet_v1"): {**_SLIM, "momentum": 0.0003, "dropout": 0.001},
    # Hugging Face's weights are TF-slim's, and were trained with TF-slim's settings. Its code writes 0.997 where
    # PyTorch means 0.003, and drops the 0.8 that TF-slim keeps: both only matter in training, and there they harm.
    ("hf", "mobilenet_v2"): {**_SLIM, **VARIANT, "momentum": 0.003, "dropout": 0.2},
    ("hf", "mobilenet_v1"): {**_SLIM, "momentum": 0.0003, "dropout": 0.001},
}
ANSWERS = ("padding", "eps", *VARIANT)  # the conventions that change what a network answers
PUBLISHED = (1.0, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4)  # width multipliers, of both networks
WIDEST = 100.0  # builders take width multipliers below it
assert set(CONVENTIONS) == {(names, a) for a, tables in TABLES.items() for names in tables}


def lacks_shortcut(names: str, architecture: str, width_mult: float) -> bool:
    """Whether the library leaves out a shortcut that the network has here, around the first block.

    At widths up to about a quarter the stem and the first block have equally many channels, and so a shortcut, as the
    rule says. Hugging Face counts that block among its stem, which has none.

    Examples
    --------
    >>> lacks_shortcut("hf", "mobilenet_v2", 0.35), lacks_shortcut("hf", "mobilenet_v2", 0.25)
    (False, True)
    """
    own = channels(architecture, width_mult)
    return (names, architecture) == ("hf", "mobilenet_v2") and own["stem"] == own["b0.0.project"]


@functools.lru_cache(maxsize=256)  # asked for the same few widths at every load
def channels(architecture: str, width_mult: float) -> dict[str, int]:
    """The output channels of every convolution by name.

    Examples
    --------
    >>> channels("mobilenet_v2", 0.35)["b6.0.project"]
    112
    """
    return {layer.name: layer.out_shape[2] for layer in NETWORKS[architecture](width_mult) if layer.name != "fc"}


def find_width(architecture: str, found: Mapping[str, int]) -> float | None:
    """The width multiplier that gives these channels: a published one, else the roundest decimal of all that do.

    How a network rounds its channels need not be known: they only grow with the width. So the widths that give these
    channels are an interval. It begins where all of them are reached, and ends where the first is exceeded; both ends
    are found by halving.

    Parameters
    ----------
    architecture : str
    found : mapping of str -> int
        Output channels by the names of layers, as in `channels`; some may be missing.

    Returns
    -------
    float or None
        None if no width gives them.

    Examples
    --------
    >>> find_width("mobilenet_v2", channels("mobilenet_v2", 1.4)), find_width("mobilenet_v1", {"stem": 20})
    (1.4, 0.63)
    >>> find_width("mobilenet_v2", {"stem": 32, "b0.0.project": 24}) is None
    True
    """

    def fits(width: float) -> bool:
        own = channels(architecture, width)
        return all(own.get(name) == count for name, count in found.items())

    def smallest(reaches: Callable[[dict[str, int]], bool]) -> float:
        low, high = 0.0, WIDEST
        for _ in range(45):  # to within 1e-11
            middle = (low + high) / 2
            low, high = (low, middle) if reaches(channels(architecture, middle)) else (middle, high)
        return high

    for width in PUBLISHED:
        if fits(width):
            return width
    if not found or not set(found) <= set(channels(architecture, 1.0)):
        return None
    least = smallest(lambda own: all(own[name] >= count for name, count in found.items()))
    most = smallest(lambda own: any(own[name] > count for name, count in found.items()))
    for digits in (1, 2, 3, 4, 6, 9):
        for step in (0, 1):
            width = round((int(least * 10**digits) + step) / 10**digits, digits)
            if 0 < width < min(most, WIDEST) and fits(width):
                return width
    return None
