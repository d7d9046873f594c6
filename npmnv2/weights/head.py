"""The classifier of a file: found by its shape, whatever it is called.

A network here ends in one matrix, which takes the channels of the backbone. So does that of most files:

    classifier.weight (5, 1280)     classifier.bias (5,)        in PyTorch the classes come first
    dense/kernel (1280, 5)          dense/bias (5,)             in Keras last

A matrix with one output is a yes or no: its sigmoid is the probability of the second of two labels.

A training script may keep the weights of its loss in the network's file: a number for each class, as a bias is. So a
bias must be of the matrix's own layer, and a vector of what is called a loss is left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from npmnv2.files import listed, shown
from npmnv2.weights.names import Entry, layer_of, layouts
from npmnv2.weights.said import Usual
from npmnv2.weights.tables import LEAVES, PYTORCH

ONE_OUTPUT = "one output, a yes or no: its sigmoid is the probability of the second of two labels"
LOSSES = re.compile(r"(^|[^a-z])(criterion|loss|losses|class_weights?|pos_weights?)([^a-z]|$)")
ONLY_NETWORK = "weights.load_into(model, path, partial=True) loads the network below the classifier alone"


class Head(NamedTuple):
    """What of a file the classifier is."""

    known: list[Entry]  # of the one matrix that fits and, if there is one, its vector
    classes: int
    problem: str  # why there is none, with all candidates; "" if there is one
    notes: tuple[str, ...] = ()  # what was found and guessed, a sentence each
    left_out: tuple[str, ...] = ()  # what is no part of a network


def find(arrays: Mapping[str, Any], beside: Iterable[str], channels: int, names: str, own: str = "") -> Head:
    """The classifier among the arrays beside a backbone, which ends in so many channels.

    `names` says whose layouts the arrays have, `own` what that library calls its matrix.

    Examples
    --------
    >>> arrays = {"head.1.weight": np.zeros((5, 1280)), "head.1.bias": np.zeros(5)}
    >>> head = find(arrays, arrays, 1280, "torchvision")
    >>> [(entry.ours, entry.theirs) for entry in head.known], head.classes
    ([('fc.w', 'head.1.weight'), ('fc.b', 'head.1.bias')], 5)
    >>> arrays["head.2.weight"] = np.zeros((7, 5))
    >>> find(arrays, arrays, 1280, "torchvision").problem       # doctest: +ELLIPSIS
    'has more than one layer behind the network: head.1.weight (5, 1280), head.1.bias (5,), head.2.weight (7, 5); ...'
    """
    rest = list(beside)
    losses = [name for name in rest if len(arrays[name].shape) < 2 and LOSSES.search(name.lower())]
    rest = [name for name in rest if name not in losses]
    left_out = (f"the weights of a loss: {listed(map(shown, losses))}",) * bool(losses)
    if not rest:
        return Head([], 0, f"has no classifier; {ONLY_NETWORK}", left_out=left_out)
    is_pytorch = LEAVES[names] is PYTORCH
    layers = listed((f"{shown(name)} {tuple(arrays[name].shape)}" for name in rest), 4)
    fits = [name for name in rest if _takes(tuple(arrays[name].shape), is_pytorch) == channels]
    if len(fits) != 1:
        what = f"{len(fits)} classifiers" if fits else f"no matrix that takes the network's {channels} channels"
        problem = f"has {what} behind the network: {layers}; a network here has one; {ONLY_NETWORK}"
        return Head([], 0, problem, left_out=left_out)
    (name,) = fits
    shape = tuple(arrays[name].shape)
    classes = shape[0] if is_pytorch else shape[-1]
    biases = [other for other in rest if layer_of(other) == layer_of(name) and tuple(arrays[other].shape) == (classes,)]
    known = [Entry("fc.w", name, *layouts(names, "linear" if len(shape) == 2 else "pointwise"))]
    known += [Entry("fc.b", bias, *layouts(names, "vector")) for bias in biases[:1]]
    if len(rest) > len(known):
        problem = f"has more than one layer behind the network: {layers}; {ONLY_NETWORK}"
        return Head(known, classes, problem, left_out=left_out)
    is_usual = bool(own and biases) and f".{name}".endswith(f".{own}")  # a prefix is told elsewhere
    said = f"the classifier is {shown(name)}{'' if biases else ', without a bias: it is 0 here'}"
    notes = [Usual(said) if is_usual else said]
    notes += [f"{shown(name)} has {ONE_OUTPUT}"] if classes == 1 else []
    return Head(known, classes, "", tuple(notes), left_out)


def _takes(shape: tuple[int, ...], is_pytorch: bool) -> int:
    """How many channels a matrix, or a 1x1 convolution, takes; 0 if it is neither."""
    if len(shape) == 4 and (shape[2:] if is_pytorch else shape[:2]) != (1, 1):
        return 0
    return 0 if len(shape) not in (2, 4) else shape[1] if is_pytorch else shape[-2]
