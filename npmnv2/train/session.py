"""A run from its settings, or from a checkpoint: what it needs put together, saved as it goes."""

import math
import os
from collections.abc import Callable
from typing import Any

from npmnv2.models import mobilenet_v2
from npmnv2.models.network import Network
from npmnv2.nn.base import Layer
from npmnv2.nn.parameter import Parameter
from npmnv2.train import datasets, state
from npmnv2.train.ema import EMA
from npmnv2.train.fine_tuning import CLASSIFIER, ClassifierOnly, keep_statistics, network_from
from npmnv2.train.loop import train
from npmnv2.train.progress import Epoch, Position
from npmnv2.train.settings import Settings, make_optimizer, make_schedule
from npmnv2.weights import FormatError
from npmnv2.weights.formats import native
from npmnv2.weights.formats.containers import container
from npmnv2.weights.load import load_model


class Stopped(Exception):
    """The run was asked to stop, and has: after a whole step, and saved if it was to be saved."""


class Session(state.Run):
    """A run that can be trained to its end, and saved. Made by `begin` or `resume`.

    Attributes
    ----------
    settings : Settings
    data : Dataset
    model : Network
    optimizer : Optimizer
    ema : EMA or None
    position : Position
    origin : str
        What it began with, in words; empty for random weights.
    """

    def __init__(self, settings: Settings, source: datasets.TrainingData, model: Network, origin: str = "") -> None:
        data, trained_on = source.data, model.preprocessing
        if data.preprocessing is not None and trained_on is not None:  # pixels as the weights know them
            same = data.preprocessing._replace(mean=trained_on.mean, std=trained_on.std)
            data = data._replace(preprocessing=same)
        self.settings, self.data, self.augment, self.model = settings, data, source.augment, model
        model.labels, model.preprocessing = list(data.classes), data.preprocessing
        model.train()
        if settings.bn == "keep":
            keep_statistics(model)
        self.learner: Layer = model
        learns: list[Parameter] = model.parameters()
        if settings.freeze:
            self.learner, learns = ClassifierOnly(model), model.layers[CLASSIFIER].parameters()
        self.optimizer = make_optimizer(settings, learns)
        self.ema = EMA(model, settings.ema) if settings.ema else None
        self.position, self.origin = Position(settings.seed), origin

    def run(
        self,
        report: Callable[[Epoch], None] | None = None,
        save: str | os.PathLike[str] | None = None,
        save_every: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[Epoch]:
        """Train to the end, from wherever the run is.

        Parameters
        ----------
        report : callable, optional
            Called with each `Epoch` that has ended, once it is saved.
        save : path, optional
            The checkpoint, written after each epoch and when the run stops.
        save_every : int, optional
            Also after every so many steps.
        stop : callable
            Asked after every step whether to stop there.

        Returns
        -------
        list of Epoch

        Raises
        ------
        Stopped
            If `stop` said so.
        ValueError
            If the loss is no longer a number; nothing is saved then. If `save` has the ending of another format than
            .npz.
        OSError
            If the checkpoint cannot be written; what was there before stays.
        """

        if save is not None:
            check_ending(save, "save")

        def after_step() -> None:
            self._check_loss()
            stopping = stop()
            if save is not None and (stopping or (save_every and self.position.step % save_every == 0)):
                self.save(save)
            if stopping:
                raise Stopped

        def after_epoch(epoch: Epoch) -> None:
            if save is not None:
                self.save(save)
            if report is not None:
                report(epoch)

        return train(
            self.learner,
            self.optimizer,
            self.data,
            self.settings.epochs,
            batch_size=self.settings.batch_size,
            schedule=make_schedule(self.settings),
            label_smoothing=self.settings.label_smoothing,
            augment=self.augment,
            ema=self.ema,
            balance=self.settings.balance,
            report=after_epoch,
            position=self.position,
            after_step=after_step,
        )

    @property
    def has_ended(self) -> bool:
        """Whether all epochs are done."""
        return len(self.position.history) == self.settings.epochs

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it into one file, as it is now."""
        arrays, info = state.capture(self)
        was_there = os.path.isfile(path)
        try:
            native.write(path, arrays, info)
        except OSError as error:
            reason = error.strerror or error
            rest = "the file that was there before is still good" if was_there else "nothing was written"
            raise OSError(f"could not save {path} ({reason}); {rest}") from None

    def _check_loss(self) -> None:
        loss, epoch = self.position.loss_sum, len(self.position.history) + 1
        if not math.isfinite(loss):
            raise ValueError(f"the loss was {loss} in epoch {epoch}: --lr must be lower; was {self.settings.lr:g}")


def check_ending(path: str | os.PathLike[str], name: str) -> None:
    """Raise ValueError, by the argument's name, if a path has an ending, and it is not that of a checkpoint.

    Examples
    --------
    >>> check_ending("run.npz", "save")
    >>> check_ending("run.onnx", "save")
    Traceback (most recent call last):
        ...
    ValueError: save must end in .npz, the one format that a run can go on from; was run.onnx: \
`python -m npmnv2 convert run.npz ...` makes the others of it
    """
    stem, ending = os.path.splitext(os.fspath(path))
    if ending and ending.lower() != ".npz":
        raise ValueError(
            f"{name} must end in .npz, the one format that a run can go on from; was {path}: "
            f"`python -m npmnv2 convert {os.path.basename(stem)}.npz ...` makes the others of it"
        )


def begin(settings: Settings) -> Session:
    """A run that has not begun.

    Raises
    ------
    ValueError, OSError
        If the data or the weights to begin with cannot be read, or do not go together.

    Examples
    --------
    >>> from npmnv2.train.settings import resolve
    >>> session = begin(resolve({"width": 0.1, "epochs": 1}))
    >>> session.model.config["strides"], session.position.step
    ('digits', 0)
    """
    source = datasets.load(settings.data, settings.resolution)
    data = source.data
    config: dict[str, Any] = {
        "strides": source.strides,
        "dropout": settings.dropout,
        "momentum": settings.bn_momentum,
        "seed": settings.seed,
    }
    origin = ""
    if settings.init is None:
        width = 0.35 if settings.width is None else settings.width
        model: Network = mobilenet_v2(len(data.classes), width, in_channels=data.train_x.shape[3], **config)
    else:
        model, is_new = network_from(settings.init, data, settings.width, keep_head=settings.keep_head, **config)
        origin = f"begins with {settings.init}, {'a new classifier' if is_new else 'its classifier too'}"
        if model.preprocessing is None:
            origin += "; it does not say a mean and a std of pixels: the usual ones of the data are taken"
    return Session(settings._replace(width=model.config["width_mult"]), source, model, origin)


def resume(path: str | os.PathLike[str]) -> Session:
    """The run in a checkpoint, as it was when it was saved.

    Raises
    ------
    FormatError
        If the file is no checkpoint of a run, or any of its settings and numbers makes no sense.
    ValueError, OSError
        If the file, or the data, cannot be read, or the data are others than those it was begun with.
    """
    kind = container(os.fspath(path))
    if kind != "npz":
        raise FormatError(
            f"{path}: is no checkpoint of a run, but {kind}: --init begins a run with weights of any kind"
        )
    checkpoint = native.read(path)
    settings = state.settings_of(checkpoint, path)
    try:
        source = datasets.load(settings.data, settings.resolution)
    except (ValueError, OSError) as error:
        hint = f"put its images back there, or begin a new run with --init {path}"
        raise ValueError(f"{error}; the run in {path} began with {settings.data}: {hint}") from None
    session = Session(settings, source, load_model(path))
    state.restore(session, checkpoint, path)
    session.origin = f"goes on after step {session.position.step} in {path}"
    if session.has_ended:
        session.origin = (
            f"all {settings.epochs} epochs of {path} are done; --init {path} begins a new run with its weights"
        )
    return session
