"""Training: a loop short enough to read aloud."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from npmnv2.data import Dataset
from npmnv2.data.augment import normalise, random_shift
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.layers import Layer
from npmnv2.ops import softmax_cross_entropy
from npmnv2.optim import EMA, Optimizer
from npmnv2.validate import Array, check_int, check_labels

__all__ = ["Epoch", "Position", "batches", "confusion_matrix", "evaluate", "predict", "random_shift", "train"]


class Epoch(NamedTuple):
    """What one pass over the training images gave."""

    epoch: int  # from 1
    lr: float  # of its last step
    loss: float  # mean over the images, as they were trained on
    accuracy: float  # share right, as they were trained on
    test_accuracy: float  # share of the held-out images right, after the epoch, in eval mode
    seconds: float
    ema_accuracy: float | None = None  # the same with the averaged weights, if there are any


class Position:
    """Where a run of `train` is: all that the loop itself must know to go on from there.

    Parameters
    ----------
    seed : int
        Of the shuffling and the augmentation.

    Attributes
    ----------
    rng : numpy.random.Generator
    step : int
        Steps done, over all epochs.
    order : ndarray of int64, or None
        The order in which this epoch takes the images; None between two epochs.
    done : int
        How many of them it has taken.
    loss_sum, right, seconds
        What this epoch has added up so far.
    history : list of Epoch
        The epochs that have ended.

    Examples
    --------
    >>> position = Position(seed=0)
    >>> position.step, position.order, position.history
    (0, None, [])
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(check_int(seed, "seed", 0))
        self.step = 0
        self.history: list[Epoch] = []
        self.order: Array | None = None
        self.done, self.loss_sum, self.right, self.seconds = 0, 0.0, 0, 0.0

    def remaining(self, images: int) -> Array:
        """The images that this epoch has yet to take; deals them out if it has not begun."""
        if self.order is None:
            self.order = self.rng.permutation(images)
            self.done, self.loss_sum, self.right, self.seconds = 0, 0.0, 0, 0.0
        return self.order[self.done :]

    def count(self, loss: float, logits: Array, y: Array) -> None:
        """Add up what one step gave."""
        self.step += 1
        self.done += len(y)
        self.loss_sum += loss * len(y)
        self.right += int((logits.argmax(axis=1) == y).sum())

    def end_epoch(self, lr: float, test_accuracy: float, ema_accuracy: float | None) -> Epoch:
        """Put the epoch into the history."""
        loss, accuracy = self.loss_sum / self.done, self.right / self.done
        epoch = Epoch(len(self.history) + 1, lr, loss, accuracy, test_accuracy, self.seconds, ema_accuracy)
        self.history.append(epoch)
        self.order = None
        return epoch


def train(
    model: Layer,
    optimizer: Optimizer,
    data: Dataset,
    epochs: int,
    *,
    batch_size: int = 32,
    schedule: Callable[[int, int], float] | None = None,
    label_smoothing: float = 0.0,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    ema: EMA | None = None,
    seed: int = 0,
    report: Callable[[Epoch], None] | None = None,
    position: Position | None = None,
    after_step: Callable[[], None] | None = None,
) -> list[Epoch]:
    """Train a classifier; shows a progress bar with the time left on stderr if that is a terminal.

    Parameters
    ----------
    model : Layer
        Put into training mode if it is not. If it is, single layers in eval mode (frozen batch norms) stay there.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    data : Dataset
        Images that are bytes are normalised a batch at a time, as `data.preprocessing` says.
    epochs : int
        Passes over the training images.
    batch_size : int
        The last batch of an epoch may be smaller.
    schedule : callable, optional
        ``schedule(step, steps) -> lr``, asked before every step, for example a `optim.cosine_schedule` with its
        other arguments filled in; without it the optimiser keeps its own.
    label_smoothing : float
    augment : callable, optional
        ``augment(images, rng) -> images``, for example `random_shift`.
    ema : EMA, optional
        Of the model; updated after every step, and evaluated beside it after every epoch.
    seed : int
        Of the shuffling and the augmentation: the same seed gives the same run.
    report : callable, optional
        Called with each `Epoch` as it ends.
    position : Position, optional
        Where to begin, instead of at the beginning with `seed`; it is kept up to date while the run goes on. With the
        model, the optimiser and the average as they were then too, the run ends as if it had never stopped.
    after_step : callable, optional
        Called without arguments after each step; what it raises ends the run.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If `epochs` or `batch_size` is less than 1, `seed` negative, `data` without images or with another number of
        labels, or `optimizer` of another model.
    TypeError
        If one of the numbers is no integer, or labels are none.

    Examples
    --------
    >>> import npmnv2
    >>> from npmnv2.data import load_digits
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> optimizer = npmnv2.optim.SGD(model.parameters(), lr=0.05)
    >>> [e.epoch for e in train(model, optimizer, load_digits(held_out=1733), epochs=2)]    # 64 images to train on
    [1, 2]
    """
    epochs, batch_size = check_int(epochs, "epochs"), check_int(batch_size, "batch_size")
    position = Position(seed) if position is None else position
    _check(model, optimizer, data)
    images = len(data.train_x)
    steps = epochs * -(-images // batch_size)
    bar = tqdm(total=steps, initial=position.step, unit="step", leave=False, disable=sys.stderr is None or None)
    with bar:
        for epoch in range(len(position.history), epochs):
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            if not model.training:
                model.train()
            remaining = position.remaining(images)
            started = time.perf_counter() - position.seconds
            for chosen in batches(remaining, batch_size):
                x, y = data.train_x[chosen], data.train_y[chosen]
                if augment is not None:
                    x = augment(x, position.rng)
                x = normalise(x, data.preprocessing, _dtype(model))
                if schedule is not None:
                    optimizer.lr = schedule(position.step, steps)

                logits = model(x)
                loss, dlogits = softmax_cross_entropy(logits, y, label_smoothing)
                model.backward_parameters(dlogits)
                optimizer.step()

                if ema is not None:
                    ema.update()
                position.count(float(loss), logits, y)
                position.seconds = time.perf_counter() - started
                bar.update()
                if after_step is not None:
                    after_step()
            accuracies = _held_out(model, data, ema)
            position.seconds = time.perf_counter() - started
            done = position.end_epoch(optimizer.lr, *accuracies)
            bar.clear()  # the report may print
            if report is not None:
                report(done)
    return position.history


def _check(model: Layer, optimizer: Optimizer, data: Dataset) -> None:
    """Before anything is done: that the images have labels, and the optimiser is of this model."""
    check_labels(data.train_y, "data.train_y", _count(data.train_x, "data.train_x"))
    check_labels(data.test_y, "data.test_y", _count(data.test_x, "data.test_x"))
    own = set(map(id, model.parameters()))
    if not all(id(p) in own for p in optimizer.parameters):
        raise ValueError("optimizer must hold parameters of this model; it holds others, and the model would not learn")


def _held_out(model: Layer, data: Dataset, ema: EMA | None) -> tuple[float, float | None]:
    """The accuracy on the held-out images of the weights, and of their averages."""
    held_out = data.test_x, data.test_y
    accuracy = evaluate(model, *held_out, preprocessing=data.preprocessing)
    if ema is None:
        return accuracy, None
    with ema.applied():
        return accuracy, evaluate(model, *held_out, preprocessing=data.preprocessing)


def _dtype(model: Layer) -> np.dtype[Any]:
    return model.parameters()[0].value.dtype


def batches(order: Array, batch_size: int) -> Iterator[Array]:
    """Deal out the numbers of images, `batch_size` at a time.

    Examples
    --------
    >>> [b.tolist() for b in batches(np.array([3, 0, 2, 1, 4]), 2)]
    [[3, 0], [2, 1], [4]]
    """
    batch_size = check_int(batch_size, "batch_size")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def predict(model: Layer, x: Array, batch_size: int = 256, preprocessing: Preprocessing | None = None) -> Array:
    """Logits of many images in eval mode, a batch at a time; the mode of every layer is restored.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    batch_size : int
    preprocessing : Preprocessing, optional
        How images that are bytes are normalised; it is done a batch at a time.

    Returns
    -------
    ndarray of shape (N, num_classes)

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> predict(model, np.zeros((3, 8, 8, 1), np.float32)).shape
    (3, 10)
    """
    images, batch_size = _count(x, "x"), check_int(batch_size, "batch_size")
    modes = [(layer, layer.training) for _, layer in [("", model), *model.named_layers()]]
    model.eval()
    try:
        parts = (normalise(x[k : k + batch_size], preprocessing, _dtype(model)) for k in range(0, images, batch_size))
        return np.concatenate([model(part) for part in parts])
    finally:
        for layer, training in modes:
            layer.training = training


def evaluate(
    model: Layer, x: Array, y: Array, batch_size: int = 256, preprocessing: Preprocessing | None = None
) -> float:
    """The share of images that the model, in eval mode, classifies right.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    y : ndarray of shape (N,), integer
    batch_size : int
    preprocessing : Preprocessing, optional
        As in `predict`.

    Raises
    ------
    ValueError, TypeError
        If `y` is not one integer an image.

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(1, 0.1, strides="digits", in_channels=1)
    >>> evaluate(model, np.zeros((3, 8, 8, 1), np.float32), np.zeros(3, int))       # one class: always right
    1.0
    """
    y = check_labels(y, "y", _count(x, "x"))
    return float((predict(model, x, batch_size, preprocessing).argmax(axis=1) == y).mean())


def confusion_matrix(y: Array, said: Array, classes: int) -> Array:
    """Count for each true class (row) how often each class was said (column).

    Parameters
    ----------
    y, said : ndarray of shape (N,), integer
    classes : int

    Returns
    -------
    ndarray of shape (classes, classes), int64

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (y, said), 1)
    return counts


def _count(x: Array, name: str) -> int:
    if len(x) == 0:
        raise ValueError(f"{name} must hold at least one image; it was empty")
    return len(x)
