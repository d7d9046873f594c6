"""What a file of weights does not say about its network, and what it does.

The conventions of a library (padding, epsilon, ...) are in no array: they come with the names. The width multiplier
and the number of classes are in the shapes.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from npmnv2.files import FormatError, listed
from npmnv2.models.efficientnet_lite import ROWS, VARIANTS, Variant, repeats
from npmnv2.models.efficientnet_lite import STRIDES as OF_LITE
from npmnv2.models.mobilenet_v1 import STRIDES as OF_V1
from npmnv2.models.mobilenet_v2 import STRIDES as OF_V2
from npmnv2.weights.names import layers
from npmnv2.weights.tables import TABLES

# Each is an argument of `mobilenet_v2`, and but for the variant of the other networks too. The first two and the
# variant change what a network answers, the others only how it goes on training.
VARIANT = {"linear": True, "shortcut": True}  # of a MobileNetV2, as published; no library builds another
_PYTORCH = {"padding": 1, "eps": 1e-5, "running_var": "unbiased", "momentum": 0.1}
_KERAS = {"padding": "same", "eps": 1e-3, "running_var": "biased"}
_SLIM = {"padding": "same", "eps": 1e-3, "running_var": "unbiased"}

CONVENTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("torchvision", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.2},
    ("tonylins", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.2},
    ("d-li14", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.0},
    ("timm", "mobilenet_v2"): {**_PYTORCH, **VARIANT, "dropout": 0.0},
    ("timm", "mobilenet_v1"): {**_PYTORCH, "dropout": 0.0},
    ("keras", "mobilenet_v2"): {**_KERAS, **VARIANT, "momentum": 0.001, "dropout": 0.0},
    ("keras_2018", "mobilenet_v2"): {**_KERAS, **VARIANT, "momentum": 0.001, "dropout": 0.0},
    # Keras's V1 pads as no other, and its batch norms keep Keras's default momentum.
    ("keras", "mobilenet_v1"): {**_KERAS, "padding": "keras_v1", "momentum": 0.01, "dropout": 0.001},
    ("slim", "mobilenet_v2"): {**_SLIM, **VARIANT, "momentum": 0.003, "dropout": 0.2},
    ("slim", "mobilenet_v1"): {**_SLIM, "momentum": 0.0003, "dropout": 0.001},
    # Hugging Face's weights are TF-slim's, and were trained with TF-slim's settings. Its code writes 0.997 where
    # PyTorch means 0.003, and drops the 0.8 that TF-slim keeps: both only matter in training, and there they harm.
    ("hf", "mobilenet_v2"): {**_SLIM, **VARIANT, "momentum": 0.003, "dropout": 0.2},
    ("hf", "mobilenet_v1"): {**_SLIM, "momentum": 0.0003, "dropout": 0.001},
    ("efficientnet_pytorch", "efficientnet_lite"): {**_SLIM, "momentum": 0.01, "dropout": 0.2},  # or as `VARIANTS` says
}
ANSWERS = ("padding", "eps", *VARIANT)  # the conventions that change what a network answers
PUBLISHED = (1.0, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4, 1.1, 1.2)  # width multipliers, of all networks
WIDEST = 100.0  # builders take width multipliers below it
STRIDES: dict[str, Mapping[str, tuple[int, ...]]] = {  # by name, of the stem and of every row
    "mobilenet_v2": OF_V2,
    "mobilenet_v1": OF_V1,
    "mobilenet_v1_conv": OF_V1,
    "efficientnet_lite": OF_LITE,
}
_FIRST = re.compile(r"stem|b\d+(\.0)?(\.dw)?")  # the layer of a row that has its stride
assert set(CONVENTIONS) == {(names, a) for a, tables in TABLES.items() for names in tables}


def lacks_shortcut(names: str, architecture: str, width_mult: float) -> str:
    """The block around which the library leaves out a shortcut that the network has here; "" if there is none.

    At some widths the first block of a row keeps the number of channels at stride 1, and so has a shortcut, as the rule
    says. Hugging Face counts the first block of all among its stem, which has none. efficientnet_lite_pytorch compares
    the list [1] with 1 there, and so leaves it out.

    Examples
    --------
    >>> lacks_shortcut("hf", "mobilenet_v2", 0.35), lacks_shortcut("hf", "mobilenet_v2", 0.25)
    ('', 'the first block')
    >>> lacks_shortcut("efficientnet_pytorch", "efficientnet_lite", 0.07)
    'b4.0'
    """
    own = channels(architecture, width_mult)
    if (names, architecture) == ("hf", "mobilenet_v2"):
        return "the first block" if own["stem"] == own["b0.0.project"] else ""
    if names == "efficientnet_pytorch":
        for r, row in enumerate(ROWS):
            before = f"b{r - 1}.0.project" if r else "stem"
            if row.s == 1 and own[before] == own[f"b{r}.0.project"]:
                return f"b{r}.0"
    return ""


def strides_of_rows(architecture: str, strides: Mapping[str, Any]) -> Any:
    """The stride of the stem and of every row from those of its layers by name: its name, if it has one.

    Examples
    --------
    >>> rows = {"stem": 1, "b0.0.dw": 1, "b1.0.dw": 1, "b2.0.dw": 2, "b2.1.dw": 1}
    >>> strides_of_rows("mobilenet_v2", rows)
    (1, 1, 1, 2)
    >>> strides_of_rows("mobilenet_v2", rows | {f"b{r}.0.dw": s for r, s in ((3, 1), (4, 1), (5, 2), (6, 1))})
    'digits'
    """
    found = tuple(stride for layer, stride in strides.items() if _FIRST.fullmatch(layer))
    named = [name for name, known in STRIDES[architecture].items() if known == found]
    return named[0] if named else found


def one_epsilon(said: Iterable[Any]) -> float | None:
    """The epsilon of all batch norms of a file, from those that say a number; None if none does."""
    found = sorted({eps for eps in said if isinstance(eps, int | float)})
    if len(found) > 1:
        raise FormatError(f"has batch norms of epsilon {found[0]} and {found[1]}; a network here has one")
    return found[0] if found else None


@functools.lru_cache(maxsize=256)  # asked for the same few widths at every load
def channels(architecture: str, width_mult: float, depth_mult: float = 1.0) -> dict[str, int]:
    """The output channels of every convolution by name."""
    own = layers(architecture, depth_mult, width_mult=width_mult)
    return {layer.name: layer.out_shape[2] for layer in own if layer.name != "fc"}


def find_depth(blocks: int) -> float:
    """The depth multiplier that gives an EfficientNet-Lite so many blocks: a published one, else the roundest decimal.

    If none does, the published one that comes nearest.

    Examples
    --------
    >>> find_depth(16), find_depth(21), find_depth(13), find_depth(17)
    (1.0, 1.1, 0.6, 1.0)
    """
    published = [variant.depth_mult for variant in VARIANTS.values()]
    for depth in (*published, *(k / 10 for k in range(1, 1000)), *(k / 100 for k in range(1, 10000))):
        if sum(repeats(depth)) == blocks:
            return depth
    return min(published, key=lambda depth: abs(sum(repeats(depth)) - blocks))


def published_variant(width_mult: float, depth_mult: float) -> Variant | None:
    """The EfficientNet-Lite that was published with this width and as many blocks as this depth gives."""
    blocks = sum(repeats(depth_mult))
    for variant in VARIANTS.values():
        if variant.width_mult == width_mult and sum(repeats(variant.depth_mult)) == blocks:
            return variant
    return None


def as_published(config: Mapping[str, Any]) -> dict[str, Any]:
    """With the depth multiplier and the dropout that an EfficientNet-Lite of so many blocks was published with."""
    known = published_variant(config["width_mult"], config["depth_mult"]) if "depth_mult" in config else None
    return {**config} | ({"depth_mult": known.depth_mult, "dropout": known.dropout} if known else {})


def find_width(architecture: str, found: Mapping[str, int], depth_mult: float = 1.0) -> float | None:
    """The width multiplier that gives these channels: a published one, else the roundest decimal of all that do.

    How a network rounds its channels need not be known: they only grow with the width. So the widths that give these
    channels are an interval. It begins where all of them are reached, and ends where the first is exceeded; both ends
    are found by halving. `found` has output channels by the names of layers, as `channels` does; some may be missing.
    None if no width gives them.

    Examples
    --------
    >>> find_width("mobilenet_v2", channels("mobilenet_v2", 1.4)), find_width("mobilenet_v1", {"stem": 20})
    (1.4, 0.63)
    >>> find_width("mobilenet_v2", {"stem": 32, "b0.0.project": 24}) is None
    True
    """

    def fits(width: float) -> bool:
        own = channels(architecture, width, depth_mult)
        return all(own.get(name) == count for name, count in found.items())

    def smallest(reaches: Callable[[dict[str, int]], bool]) -> float:
        low, high = 0.0, WIDEST
        for _ in range(45):  # to within 1e-11
            middle = (low + high) / 2
            low, high = (low, middle) if reaches(channels(architecture, middle, depth_mult)) else (middle, high)
        return high

    for width in PUBLISHED:
        if fits(width):
            return width
    if not found or not set(found) <= set(channels(architecture, 1.0, depth_mult)):
        return None
    least = smallest(lambda own: all(own[name] >= count for name, count in found.items()))
    most = smallest(lambda own: any(own[name] > count for name, count in found.items()))
    for digits in (1, 2, 3, 4, 6, 9):
        for step in (0, 1):
            width = round((int(least * 10**digits) + step) / 10**digits, digits)
            if 0 < width < min(most, WIDEST) and fits(width):
                return width
    return None


def nearest_width(architecture: str, found: Mapping[str, int], depth: float) -> float:
    """The published width that most channels agree with, for the list of those that do not; at least half have to."""
    agree = {w: sum(n == found.get(layer) for layer, n in channels(architecture, w, depth).items()) for w in PUBLISHED}
    best = max(agree, key=lambda width: agree[width])
    if agree[best] < len(found) / 2 or not found:
        first = listed(map(str, found.values()), 8)
        raise FormatError(f"no width multiplier gives a {architecture} the channels {first}")
    return best
