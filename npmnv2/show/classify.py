"""From pictures to names: what `python -m npmnv2 classify` does, as functions.

All of it runs under the ``"numpy"`` backend. Numba would be quicker with each picture, but importing it and reading its
kernels from disk takes longer than plain NumPy takes for all that people name on a command line.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from os.path import isdir
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from npmnv2 import weights
from npmnv2.backends import backend
from npmnv2.data.images import open_image, prepare
from npmnv2.data.labels import imagenet_labels, read_labels
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing
from npmnv2.data.scan import pictures
from npmnv2.engine.folding import FoldedNetwork, folded
from npmnv2.files import listed, shown
from npmnv2.models.network import Network
from npmnv2.ops import softmax
from npmnv2.validate import Array, check_int
from npmnv2.weights.load import build, warn
from npmnv2.weights.neighbours import beside
from npmnv2.weights.source import Source

# Pixels that go through the network at a time: two pictures of 224x224, or a thousand digits. More is slower, since
# what a layer leaves for the next no longer fits the processor's caches.
BATCH_PIXELS = 2 * 224 * 224


class Guess(NamedTuple):
    """One of the classes that a picture may show."""

    number: int  # of the class, from 0
    label: str | None  # None if nobody knows
    probability: float


class Answer(NamedTuple):
    """What became of one picture: the likeliest classes, or why there are none."""

    image: str  # its path
    top: list[Guess]  # the likeliest first; empty if there is an error
    error: str | None  # one line, beginning with the path
    notes: tuple[str, ...] = ()  # what is odd about the picture, a line each


def load(
    path: str | PathLike[str], preprocessing: str | None = None, labels: str | PathLike[str] | None = None
) -> Network:
    """Load a network as `load_explained` does, without the explanation."""
    return load_explained(path, preprocessing, labels)[0]


def load_explained(
    path: str | PathLike[str],
    preprocessing: str | None = None,
    labels: str | PathLike[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[Network, str]:
    """Load a network that knows how to prepare its pictures, and what its classes are called if anybody does.

    Parameters
    ----------
    path : path
        A file of weights, of this package or of another framework.
    preprocessing : str, optional
        A key of `PREPROCESSING`, instead of what the file says.
    labels : path, optional
        A file of names, see `data.labels.read_labels`, instead of what the file of weights or one beside it says.
        Without any, 1000 classes are ImageNet's, and so are 1001, after "background".
    changes : mapping, optional
        Arguments of `Preprocessing.changed`, on top of that.

    Returns
    -------
    model : Network
        In eval mode, with `preprocessing` set; `labels` is None if the classes have no names.
    why : str
        Who says that pictures are prepared so.

    Raises
    ------
    ValueError
        If a file is not what it should be, if nobody says how to prepare pictures, or by a wrong number of labels.
    OSError
        If a file cannot be read.
    """
    source = weights.read(path)
    model = build(source, np.float32)
    warn(source)
    classes = model.config["num_classes"]
    found = beside(source.path, source.names, classes)
    if found.ignored and labels is None:
        warnings.warn(found.ignored, stacklevel=2)
    model.preprocessing, why = _choose_preprocessing(source, model.preprocessing, preprocessing, changes or {})
    own = model.labels or default_labels(classes)
    model.labels = own if labels is None else read_labels(labels)
    classes = max(2, classes)  # one output is a yes or no
    if model.labels is not None and len(model.labels) != classes:
        count, named = len(model.labels), path if labels is None else labels
        hint = "; 'background' belongs before them" if count == 1000 and classes == 1001 else ""
        raise ValueError(f"{named}: has {count} labels; the network in {path} has {classes} classes{hint}")
    if labels is not None and own is not None and model.labels != own and sorted(model.labels or ()) == sorted(own):
        theirs, said = listed(map(shown, model.labels or ())), listed(map(shown, own))
        order = f"has the names of {fspath(path)} in another order, {theirs}, and is followed; there they are {said}"
        warnings.warn(f"{fspath(labels)}: {order}", stacklevel=2)
    if labels is None and found.labels is not None and "labels" not in source.info:
        why += f"; {found.labelled_by} beside them names the classes"
    return model, why


def default_labels(classes: int) -> list[str] | None:
    """What so many classes are called where no file says it: ImageNet's names, if there are as many."""
    return imagenet_labels(background=classes == 1001) if classes in (1000, 1001) else None


def _choose_preprocessing(
    source: Source, own: Preprocessing | None, name: str | None, changes: Mapping[str, Any]
) -> tuple[Preprocessing, str]:
    """How pictures are prepared, and who says so."""
    path, channels, names = source.path, source.config["in_channels"], ", ".join(PREPROCESSING)
    changes = {option: value for option, value in changes.items() if value is not None}
    if channels not in (1, 3):
        raise ValueError(f"{path}: takes {channels} channels; a picture has 3, or 1 if it is grey")
    if name is not None and name not in PREPROCESSING:
        raise ValueError(f"preprocessing must be one of {names}; was {name}")
    if name is not None:
        chosen, why = PREPROCESSING[name].for_channels(channels), f"as --preprocessing {name} says"
    elif own is None and {"mean", "std"} <= changes.keys() and {"size", "resize"} & changes.keys():
        chosen, why = (
            Preprocessing(None, None, "bilinear", changes["mean"], changes["std"], channels),
            "nothing else is known",
        )
    else:
        chosen, why = own, _who_says(source, own)
    if chosen is None:
        raise ValueError(
            f"{path}: does not say how pictures are prepared; preprocessing must be one of {names}, or --size, --mean "
            f"and --std must be given"
        )
    if changes:
        options = " and ".join([", ".join(f"--{option}" for option in changes)])
        chosen, why = chosen.changed(**changes), f"{options} as given; for the rest, {why}"
    wanted, made = source.info.get("size"), (chosen.crop, chosen.crop) if chosen.crop else chosen.resize
    if wanted is not None and made != wanted:
        H, W = wanted
        option = f"--size {H}" if H == W else f"--resize {H}x{W}"
        here = "{} x {}".format(*made) if isinstance(made, tuple) else "any size"
        warnings.warn(
            f"{path}: its graph is for pictures of {H} x {W}; here they become {here}: {option} for those", stacklevel=3
        )
    return chosen, why


def _who_says(source: Source, own: Preprocessing | None) -> str:
    """Where a preprocessing that came with the weights comes from."""
    found = beside(source.path, source.names, source.config["num_classes"])
    if "preprocessing" in source.info or source.describes_itself:
        return "as the file of weights says"
    if found.preprocessing is not None:
        return f"as {found.prepared_by} beside the weights says"
    grey = "; means and deviations are those of the colours together" if own is not None and own.channels == 1 else ""
    twice = ""
    if source.names == "torchvision" and own is not None:
        twice = ", IMAGENET1K_V2" if own.resize == 232 else ", IMAGENET1K_V1; IMAGENET1K_V2 wants --resize 232"
    return f"as {source.names} does, whose names the weights have{twice}{grey}"


def pictures_in(paths: Iterable[str | PathLike[str]]) -> tuple[list[str], list[str]]:
    """The pictures that paths lead to, those of a folder in the order of their names, and what is left out of folders.

    Raises
    ------
    ValueError
        If a folder holds no picture.
    """
    images, left_out = list[str](), list[str]()
    for path in paths:
        if isdir(path):
            inside, lines = pictures(path)
            images += map(str, inside)
            left_out += [f"{fspath(path)}: {line}" for line in lines]
        else:
            images.append(fspath(path))
    return images, left_out


def classify(model: Network, images: Iterable[str | PathLike[str]], top: int = 5) -> Iterator[Answer]:
    """Say what each picture shows, in the order given, as soon as it is known.

    Parameters
    ----------
    model : Network
        With `preprocessing` set, as `load` returns it.
    images : iterable of path
        Those of one size go through the network together, a few at a time.
    top : int
        How many classes to name.

    Yields
    ------
    Answer
        A picture that cannot be read is an answer with an error, and the others are classified.

    Raises
    ------
    ValueError
        If `top` is less than 1.
    """
    top = check_int(top, "top")
    network = folded(model)
    waiting: list[_Waiting] = []
    for path in images:
        image = fspath(path)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")  # whatever the environment says of warnings
                warnings.simplefilter("always")
                x = prepare(open_image(image), model.preprocessing)
        except (ValueError, OSError) as reason:
            yield from _answers(model, network, waiting, top)
            yield Answer(image, [], complaint(image, reason))
            waiting = []
            continue
        if waiting and (waiting[0].x.shape != x.shape or (len(waiting) + 1) * x.shape[0] * x.shape[1] > BATCH_PIXELS):
            yield from _answers(model, network, waiting, top)
            waiting = []
        waiting.append(_Waiting(image, x, tuple(str(warning.message) for warning in caught)))
    yield from _answers(model, network, waiting, top)


class _Waiting(NamedTuple):
    """A picture on its way through the network."""

    image: str
    x: Array  # (H, W, C)
    notes: tuple[str, ...]


def _answers(model: Network, network: FoldedNetwork, waiting: list[_Waiting], top: int) -> list[Answer]:
    if not waiting:
        return []
    x = np.stack([picture.x for picture in waiting]).astype(model.config["dtype"], copy=False)  # (N, H, W, C)
    # A pool of threads gains nothing here. What is not finite is said below, in words.
    with backend("numpy"), threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        logits = network(x)  # (N, num_classes)
    answers = []
    for (image, _, notes), row in zip(waiting, logits, strict=True):
        if not np.isfinite(row).all():
            error = f"{image}: the network's answer is not finite; its weights may be damaged"
            answers.append(Answer(image, [], error))
        else:
            answers.append(Answer(image, likeliest(row, model.labels, top), None, notes))
    return answers


def likeliest(logits: Array, labels: list[str] | None, top: int = 5) -> list[Guess]:
    """The classes with the largest probabilities, by softmax in float64; of equal ones the lower number first.

    A single logit is a yes or no: its sigmoid, which is the softmax of 0 and the logit, is the probability of class 1.

    Parameters
    ----------
    logits : ndarray of shape (num_classes,)
    labels : list of str, optional
    top : int
        All classes if there are fewer.

    Returns
    -------
    list of Guess

    Examples
    --------
    >>> [(guess.label, round(guess.probability, 3)) for guess in likeliest(np.log([1.0, 6.0, 3.0]), ["a", "b", "c"], 2)]
    [('b', 0.6), ('c', 0.3)]
    >>> [(guess.label, round(guess.probability, 3)) for guess in likeliest(np.log([3.0]), ["cat", "dog"])]
    [('dog', 0.75), ('cat', 0.25)]
    """
    logits = np.append(0.0, logits) if len(logits) == 1 else logits
    p = softmax(logits[None].astype(np.float64))[0]  # (num_classes,)
    order = np.argsort(-p, kind="stable")[:top]
    return [Guess(int(k), labels[k] if labels else None, float(p[k])) for k in order]


def complaint(path: str | PathLike[str], reason: Exception) -> str:
    """What is wrong with a file, in one line that begins with its path.

    Examples
    --------
    >>> complaint("a.jpg", FileNotFoundError(2, "No such file or directory", "a.jpg"))
    'a.jpg: No such file or directory'
    >>> complaint("a.jpg", ValueError("a.jpg: is no picture")), complaint("a.jpg", ValueError("is no picture"))
    ('a.jpg: is no picture', 'a.jpg: is no picture')
    """
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return said if said.startswith(fspath(path)) else f"{path}: {said}"


def text(answer: Answer, width: int = 80) -> list[str]:
    """An answer without an error as lines: the picture, then a class a line with its probability and its number.

    Examples
    --------
    >>> print(*text(Answer("dog.jpg", [Guess(207, "golden retriever", 0.8312), Guess(9, None, 0.05)], None)), sep="\\n")
    dog.jpg
       83.12 %  golden retriever (207)
        5.00 %  class 9
    """
    lines = [printable(answer.image)]  # a path is not cut: it would be another
    for guess in answer.top:
        end = "" if guess.label in (None, str(guess.number)) else f" ({guess.number})"
        name = f"class {guess.number}" if guess.label is None else printable(guess.label)
        room = width - 12 - len(end)
        name = name if len(name) <= room else name[: room - 3] + "..."
        lines.append(f"  {100 * guess.probability:6.2f} %  {name}{end}")
    return lines


def about(model: Network) -> str:
    """The network, in a line.

    Examples
    --------
    >>> import npmnv2
    >>> about(npmnv2.mobilenet_v2(10, 0.35))
    'MobileNetV2, width 0.35, 10 classes'
    """
    depth = f", depth {model.config['depth_mult']:g}" if "depth_mult" in model.config else ""
    classes = model.config["num_classes"]
    many = "one output, a yes or no" if classes == 1 else f"{classes} classes"
    return f"{type(model).__name__}, width {model.config['width_mult']:g}{depth}, {many}"


def document(answer: Answer) -> dict[str, Any]:
    """An answer for JSON.

    Examples
    --------
    >>> document(Answer("dog.jpg", [Guess(207, "golden retriever", 0.8)], None))
    {'image': 'dog.jpg', 'top': [{'number': 207, 'label': 'golden retriever', 'probability': 0.8}]}
    >>> document(Answer("cat.jpg", [], "cat.jpg: is no picture"))
    {'image': 'cat.jpg', 'error': 'cat.jpg: is no picture'}
    """
    if answer.error is not None:
        return {"image": answer.image, "error": answer.error}
    notes = {"notes": list(answer.notes)} if answer.notes else {}
    return {"image": answer.image, "top": [guess._asdict() for guess in answer.top], **notes}


def printable(text: str) -> str:
    """The same with what a terminal would obey, or cannot show, written as escapes: names come from other people.

    Examples
    --------
    >>> print(printable("caf\\u00e9 \\x1b[31m\\n"))
    café \\x1b[31m\\n
    """
    return shown(text, most=len(text))
