"""From pictures to names: what `python -m npmnv2 classify` does, as functions.

All of it runs under the ``"numpy"`` backend. Numba would be quicker with each picture, but importing it and reading its
kernels from disk takes longer than plain NumPy takes for all that people name on a command line.
"""

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from npmnv2 import weights
from npmnv2.backends import backend
from npmnv2.data.images import open_image, prepare
from npmnv2.data.labels import imagenet_labels, read_labels
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing
from npmnv2.engine.folding import FoldedNetwork, folded
from npmnv2.models.network import Network
from npmnv2.ops import softmax
from npmnv2.validate import Array, check_int
from npmnv2.weights.formats.raw import shown

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


def load(
    path: str | PathLike[str], preprocessing: str | None = None, labels: str | PathLike[str] | None = None
) -> Network:
    """Load a network that knows how to prepare its pictures, and what its classes are called if anybody does.

    Parameters
    ----------
    path : path
        A file of weights, of this package or of another framework.
    preprocessing : str, optional
        A key of `PREPROCESSING`, instead of what the file says.
    labels : path, optional
        A file of names, see `data.labels.read_labels`, instead of what the file of weights says. Without either, 1000
        classes are ImageNet's, and so are 1001, after "background".

    Returns
    -------
    Network
        In eval mode, with `preprocessing` set; `labels` is None if the classes have no names.

    Raises
    ------
    ValueError
        If a file is not what it should be, if nobody says how to prepare pictures, or by a wrong number of labels.
    OSError
        If a file cannot be read.
    """
    model = weights.load_model(path)
    model.eval()
    channels, classes = model.config["in_channels"], model.config["num_classes"]
    prepared = _choose_preprocessing(path, model.preprocessing, preprocessing)
    if prepared.channels != channels:
        raise ValueError(
            f"{path}: takes pictures of {channels} channels; the preprocessing "
            f"{preprocessing or 'in the file'} makes {prepared.channels}"
        )
    model.preprocessing = prepared
    if labels is not None:
        model.labels = read_labels(labels)
    elif model.labels is None and classes in (1000, 1001):
        model.labels = imagenet_labels(background=classes == 1001)
    classes = max(2, classes)  # one output is a yes or no
    if model.labels is not None and len(model.labels) != classes:
        count, source = len(model.labels), path if labels is None else labels
        hint = "; 'background' belongs before them" if count == 1000 and classes == 1001 else ""
        raise ValueError(f"{source}: has {count} labels; the network in {path} has {classes} classes{hint}")
    return model


def _choose_preprocessing(path: str | PathLike[str], own: Preprocessing | None, name: str | None) -> Preprocessing:
    if name is None and own is not None:
        return own
    names = ", ".join(PREPROCESSING)
    if name is None:
        raise ValueError(f"{path}: does not say how pictures are prepared; preprocessing must be one of {names}")
    if name not in PREPROCESSING:
        raise ValueError(f"preprocessing must be one of {names}; was {name}")
    return PREPROCESSING[name]


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
    waiting: list[tuple[str, Array]] = []
    for path in images:
        image = fspath(path)
        try:
            x = prepare(open_image(image), model.preprocessing)
        except (ValueError, OSError) as reason:
            yield from _answers(model, network, waiting, top)
            yield Answer(image, [], complaint(image, reason))
            waiting = []
            continue
        if waiting and (waiting[0][1].shape != x.shape or (len(waiting) + 1) * x.shape[0] * x.shape[1] > BATCH_PIXELS):
            yield from _answers(model, network, waiting, top)
            waiting = []
        waiting.append((image, x))
    yield from _answers(model, network, waiting, top)


def _answers(model: Network, network: FoldedNetwork, waiting: list[tuple[str, Array]], top: int) -> list[Answer]:
    if not waiting:
        return []
    x = np.stack([x for _, x in waiting]).astype(model.config["dtype"], copy=False)  # (N, H, W, C)
    # A pool of threads gains nothing here. What is not finite is said below, in words.
    with backend("numpy"), threadpool_limits(1, "blas"), np.errstate(all="ignore"):
        logits = network(x)  # (N, num_classes)
    answers = []
    for (image, _), row in zip(waiting, logits, strict=True):
        if not np.isfinite(row).all():
            error = f"{image}: the network's answer is not finite; its weights may be damaged"
            answers.append(Answer(image, [], error))
        else:
            answers.append(Answer(image, likeliest(row, model.labels, top), None))
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
    return {"image": answer.image, "top": [guess._asdict() for guess in answer.top]}


def printable(text: str) -> str:
    """The same with what a terminal would obey, or cannot show, written as escapes: names come from other people.

    Examples
    --------
    >>> print(printable("caf\\u00e9 \\x1b[31m\\n"))
    café \\x1b[31m\\n
    """
    return shown(text, most=len(text))
