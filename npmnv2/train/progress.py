"""What goes on around the loop of `loop.py`: where the run is, the next batch, the learning rate, averages, reports."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from npmnv2.data import Dataset
from npmnv2.data.augment import normalise
from npmnv2.nn.base import Layer
from npmnv2.nn.optim import Optimizer
from npmnv2.train.ema import EMA
from npmnv2.train.evaluation import count_images, dtype_of, evaluate
from npmnv2.validate import Array, check_int, check_labels


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

    def remaining(self, images: int, labels: Array | None = None) -> Array:
        """The images that this epoch has yet to take; deals them out, balanced by labels if any, at its start."""
        if self.order is None:
            self.order = self.rng.permutation(images) if labels is None else balanced_order(labels, self.rng)
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


@dataclass
class Options:
    """What a run of `train` may have besides; all of it is optional.

    Parameters
    ----------
    schedule : callable
        ``schedule(step, steps) -> lr``, asked before every step, for example a `schedules.cosine_schedule` with its
        other arguments filled in; without it the optimiser keeps its own.
    augment : callable
        ``augment(images, rng) -> images``, for example `data.random_shift`.
    ema : EMA
        Of the model; updated after every step, and evaluated beside it after every epoch.
    seed : int
        Of the shuffling and the augmentation: the same seed gives the same run.
    balance : bool
        Whether an epoch shows every class as often, see `balanced_order`, instead of every image once.
    report : callable
        Called with each `Epoch` as it ends.
    position : Position
        Where to begin, instead of at the beginning with `seed`; it is kept up to date while the run goes on. With the
        model, the optimiser and the average as they were then too, the run ends as if it had never stopped.
    after_step : callable
        Called without arguments after each step; what it raises ends the run.
    """

    schedule: Callable[[int, int], float] | None = None
    augment: Callable[[Array, np.random.Generator], Array] | None = None
    ema: EMA | None = None
    seed: int = 0
    balance: bool = False
    report: Callable[[Epoch], None] | None = None
    position: Position | None = None
    after_step: Callable[[], None] | None = None


class Progress:
    """A run of `loop.train`, but for the four lines that are the training.

    A progress bar with the time left, and the loss and the accuracy of the last epoch, is shown on stderr if that is a
    terminal, and in a notebook.

    Parameters
    ----------
    model, optimizer, data, epochs, batch_size
        As in `loop.train`.
    options : Options
    """

    def __init__(
        self, model: Layer, optimizer: Optimizer, data: Dataset, epochs: int, batch_size: int, options: Options
    ) -> None:
        self.epochs, self.batch_size = check_int(epochs, "epochs"), check_int(batch_size, "batch_size")
        self.position = Position(options.seed) if options.position is None else options.position
        _check(model, optimizer, data)
        self.model, self.optimizer, self.data, self.options = model, optimizer, data, options
        self._started = 0.0
        self.steps = self.epochs * -(-len(data.train_x) // self.batch_size)
        self._bar = tqdm(
            total=self.steps,
            initial=self.position.step,
            unit="step",
            leave=False,
            disable=_hides_bar(),
        )

    def remaining_epochs(self) -> Iterator[int]:
        """Those that are not in the history, from 1; the model is in training mode when one begins."""
        with self._bar:
            for epoch in range(len(self.position.history) + 1, self.epochs + 1):
                self._bar.set_description(f"epoch {epoch}/{self.epochs}")
                if not self.model.training:  # else single layers may be in eval mode, and stay there
                    self.model.train()
                yield epoch

    def batches(self) -> Iterator[tuple[Array, Array]]:
        """Images and labels that this epoch has yet to take; the optimiser has the learning rate for them."""
        data, position, options = self.data, self.position, self.options
        remaining = position.remaining(len(data.train_x), data.train_y if options.balance else None)
        self._started, dtype = time.perf_counter() - position.seconds, dtype_of(self.model)
        for chosen in cut_into_batches(remaining, self.batch_size):
            x, y = data.train_x[chosen], data.train_y[chosen]
            if options.augment is not None:
                x = options.augment(x, position.rng)
            if options.schedule is not None:
                self.optimizer.lr = options.schedule(position.step, self.steps)
            yield normalise(x, data.preprocessing, dtype), y

    def step_done(self, loss: Any, logits: Array, y: Array) -> None:
        """Note what one step gave."""
        if self.options.ema is not None:
            self.options.ema.update()
        self.position.count(float(loss), logits, y)
        self.position.seconds = time.perf_counter() - self._started
        self._bar.update()
        if self.options.after_step is not None:
            self.options.after_step()

    def epoch_done(self) -> None:
        """Evaluate on the held-out images, and report."""
        accuracies = self._held_out()
        self.position.seconds = time.perf_counter() - self._started
        epoch = self.position.end_epoch(self.optimizer.lr, *accuracies)
        self._bar.set_postfix_str(f"loss {epoch.loss:.3f}, held out {100 * epoch.test_accuracy:.1f} %", refresh=False)
        self._bar.clear()  # the report may print
        if self.options.report is not None:
            self.options.report(epoch)

    def _held_out(self) -> tuple[float, float | None]:
        """The accuracy on the held-out images of the weights, and of their averages."""
        x, y, preprocessing = self.data.test_x, self.data.test_y, self.data.preprocessing
        accuracy = evaluate(self.model, x, y, preprocessing=preprocessing)
        if self.options.ema is None:
            return accuracy, None
        with self.options.ema.applied():
            return accuracy, evaluate(self.model, x, y, preprocessing=preprocessing)


def _hides_bar() -> bool | None:
    """None: if stderr is no terminal. That of a notebook is none, and there the bar is text without ipywidgets."""
    if sys.stderr is None:
        return True
    return False if "ipykernel.zmqshell" in sys.modules else None


def balanced_order(labels: Array, rng: np.random.Generator) -> Array:
    """An epoch in which every class comes as often, to one image: as many images as there are.

    The images of a rare class come several times, each as often as the others to one. Of a common class some do not
    come; another epoch draws others.

    Parameters
    ----------
    labels : ndarray of shape (N,), integer
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (N,), int64

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    >>> np.bincount(labels[balanced_order(labels, np.random.default_rng(0))]).tolist()
    [4, 4]
    """
    present = np.unique(labels)
    least, more = divmod(len(labels), len(present))
    lucky = set(rng.permutation(present)[:more].tolist())
    dealt = []
    for label in present.tolist():
        own, wanted = np.flatnonzero(labels == label), least + (label in lucky)
        dealt.append(np.concatenate([rng.permutation(own) for _ in range(-(-wanted // len(own)))])[:wanted])
    return rng.permutation(np.concatenate(dealt))  # (N,)


def cut_into_batches(order: Array, batch_size: int) -> Iterator[Array]:
    """Deal out the numbers of images, `batch_size` at a time.

    Examples
    --------
    >>> [b.tolist() for b in cut_into_batches(np.array([3, 0, 2, 1, 4]), 2)]
    [[3, 0], [2, 1], [4]]
    """
    batch_size = check_int(batch_size, "batch_size")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _check(model: Layer, optimizer: Optimizer, data: Dataset) -> None:
    """Before anything is done: that the images have labels, and the optimiser is of this model."""
    check_labels(data.train_y, "data.train_y", count_images(data.train_x, "data.train_x"))
    check_labels(data.test_y, "data.test_y", count_images(data.test_x, "data.test_x"))
    own = set(map(id, model.parameters()))
    if not all(id(p) in own for p in optimizer.parameters):
        raise ValueError("optimizer must hold parameters of this model; it holds others, and the model would not learn")
