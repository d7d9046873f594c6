"""A run as arrays and as JSON, and back: nothing that decides how it goes on may be missing."""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmnv2.data import Dataset
from npmnv2.files import shown
from npmnv2.models.network import Network
from npmnv2.nn.layers import Dropout
from npmnv2.nn.optim import Optimizer
from npmnv2.nn.parameter import Statistic
from npmnv2.train.ema import EMA
from npmnv2.train.progress import Epoch, Position
from npmnv2.train.settings import SINGLE, Settings, checked
from npmnv2.validate import Array, check_int, check_number
from npmnv2.weights import FormatError
from npmnv2.weights.formats.native import Checkpoint
from npmnv2.weights.save import describe
from npmnv2.weights.source import MOST_LETTERS, Path

# Settings that the network was built with, and what its builder calls them.
_BUILT_WITH = {"width": "width_mult", "dropout": "dropout", "bn_momentum": "momentum", "seed": "seed"}
_MOST = {"lr": SINGLE, "loss": math.inf, "accuracy": 1, "test_accuracy": 1, "seconds": math.inf}  # in an `Epoch`


@dataclass(eq=False)
class Run:
    """Everything a run consists of."""

    settings: Settings
    data: Dataset
    model: Network
    optimizer: Optimizer
    ema: EMA | None
    position: Position


def capture(run: Run) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the rest of a checkpoint (see docs/checkpoints.md for the names)."""
    position = run.position
    arrays = {name: array for name, array, _ in _arrays(run)}
    if position.order is not None:
        arrays["training/order"] = position.order
    info = describe(run.model)
    info["training"] = {
        "settings": run.settings._asdict(),
        "data": fingerprint(run.data),
        "lr": run.optimizer.lr,
        "ema_updates": run.ema.updates if run.ema else 0,
        "generator": position.rng.bit_generator.state,
        "dropout": {name: layer.rng.bit_generator.state for name, layer in _dropouts(run)},
        "done": position.done if position.order is not None else 0,
        "loss_sum": position.loss_sum,
        "right": position.right,
        "seconds": position.seconds,
        "history": [list(epoch) for epoch in position.history],
    }
    return arrays, info


def settings_of(checkpoint: Checkpoint, path: Path) -> Settings:
    """The settings of the run in a checkpoint."""
    try:
        settings = Settings(**checkpoint.info["training"]["settings"])
    except (KeyError, TypeError):
        hint = "--init begins a run with them"
        raise FormatError(f"{path}: holds weights, but no run of this version to go on with; {hint}") from None
    try:
        return checked(settings)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: holds settings that make no sense: {shown(str(error), MOST_LETTERS)}") from None


def restore(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Give every part of a run what `capture` took from it: all of it, or nothing and an error."""
    training, position = checkpoint.info["training"], run.position
    began_with = training.get("data")
    if not isinstance(began_with, str) or not re.fullmatch("[0-9a-f]{16}", began_with):
        raise FormatError(f"{path}: does not say what images its run began with")
    if began_with != fingerprint(run.data):  # which is no fault of the file
        raise ValueError(f"{run.settings.data} does not hold the images that the run in {path} began with")
    try:
        _check_model(run)
        arrays, order = _fitting(run, checkpoint.arrays), checkpoint.arrays.get("training/order")
        history = _history(training["history"], run.settings)
        numbers = _numbers(training, run, order, len(history))
        generators = _generators(training, run)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: does not hold the whole of a run ({shown(str(error), MOST_LETTERS)})") from None
    # From here on nothing can fail.
    for target, array in arrays:
        target[...] = array
    for rng, state in generators:
        rng.bit_generator.state = state
    run.optimizer.lr = numbers["lr"]
    if run.ema:
        run.ema.updates = numbers["ema_updates"]
    position.done, position.right = numbers["done"], numbers["right"]
    position.loss_sum, position.seconds = numbers["loss_sum"], numbers["seconds"]
    position.history, position.order = history, None if order is None else order.copy()
    batch, images = run.settings.batch_size, len(run.data.train_x)
    position.step = len(history) * -(-images // batch) + -(-position.done // batch)


def _check_model(run: Run) -> None:
    """That the network is of these settings and for these data."""
    config, settings = run.model.config, run.settings._asdict()
    wanted = {"num_classes": len(run.data.classes), "in_channels": run.data.train_x.shape[3]}
    wanted |= {theirs: settings[ours] for ours, theirs in _BUILT_WITH.items()}
    for name, value in wanted.items():
        if config[name] != value:
            raise ValueError(f"{name} of its network must be {value}; was {config[name]}")


def _fitting(run: Run, arrays: dict[str, Array]) -> list[tuple[Array, Array]]:
    """Every array of a run, and the one of the checkpoint that fits into it."""
    wanted = list(_arrays(run))
    known = {"training/order", *(name for name, _, _ in wanted)}
    if unknown := [name for name in arrays if name not in known]:
        raise ValueError(f"{unknown[0]} is no part of it")
    for name, target, least in wanted:
        if name not in arrays:
            raise ValueError(f"{name} is missing")
        if arrays[name].shape != target.shape or arrays[name].dtype != target.dtype:
            raise ValueError(f"{name} must be {target.dtype} of shape {target.shape}")
        if (arrays[name] < least).any():
            raise ValueError(f"{name} must not be less than {least:g}")
    return [(target, arrays[name]) for name, target, _ in wanted]


def _history(rows: Any, settings: Settings) -> list[Epoch]:
    """The epochs that have ended, each number where it can be."""
    if not isinstance(rows, list) or len(rows) > settings.epochs:
        raise ValueError(f"history must be a list of at most {settings.epochs} epochs")
    history = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(Epoch._fields):
            raise ValueError(f"history must have rows of {len(Epoch._fields)}; one was {row!r}")
        values = dict(zip(Epoch._fields, row, strict=True))
        check_int(values["epoch"], "epoch", number, number)
        values |= {name: check_number(values[name], name, 0, most) for name, most in _MOST.items()}
        if settings.ema:
            values["ema_accuracy"] = check_number(values["ema_accuracy"], "ema_accuracy", 0, 1)
        elif values["ema_accuracy"] is not None:
            raise ValueError(f"ema_accuracy must be null without averaged weights; was {values['ema_accuracy']!r}")
        history.append(Epoch(**values))
    return history


def _numbers(training: dict[str, Any], run: Run, order: Array | None, epochs: int) -> dict[str, Any]:
    """How far the run has come in the epoch that it is in, and what it has added up there."""
    images, done = len(run.data.train_x), check_int(training["done"], "done", 0, len(run.data.train_x))
    if order is None and done:
        raise ValueError("training/order is missing")
    if order is not None:
        if order.dtype != np.int64 or order.shape != (images,) or order.min() < 0 or order.max() >= images:
            raise ValueError("training/order must have every image once")
        if not run.settings.balance and (np.sort(order) != np.arange(images)).any():
            raise ValueError("training/order must have every image once")
        if not done or (done % run.settings.batch_size and done < images):
            raise ValueError(f"done must be whole batches of {run.settings.batch_size}; was {done}")
        if epochs == run.settings.epochs:
            raise ValueError("training/order is of no epoch: all have ended")
    return {
        "lr": check_number(training["lr"], "lr", 0, SINGLE),
        "ema_updates": check_int(training["ema_updates"], "ema_updates", 0, 2**63 - 1),
        "done": done,
        "right": check_int(training["right"], "right", 0, images if order is None else done),
        "loss_sum": check_number(training["loss_sum"], "loss_sum", 0),
        "seconds": check_number(training["seconds"], "seconds", 0),
    }


def _generators(training: dict[str, Any], run: Run) -> list[tuple[np.random.Generator, dict[str, Any]]]:
    """The generators of a run, and the states of the checkpoint for them."""
    wanted, told = dict(_dropouts(run)), training["dropout"]
    if not isinstance(told, dict) or told.keys() != wanted.keys():
        raise ValueError(f"dropout must hold generators of {', '.join(wanted)}")
    found = [(layer.rng, told[name]) for name, layer in wanted.items()] + [(run.position.rng, training["generator"])]
    for rng, value in found:
        _check_generator(value, rng.bit_generator.state["bit_generator"])
    return found


def _check_generator(value: Any, kind: str) -> None:
    """Ask for whole numbers in their ranges: NumPy takes others and wraps them around."""
    numbers = value.get("state") if isinstance(value, dict) else None
    if not isinstance(numbers, dict) or value.get("bit_generator") != kind:
        raise ValueError(f"generator must be the state of a {kind}")
    if check_int(numbers["inc"], "inc", 0, 2**128 - 1) % 2 == 0:  # it would not reach all states
        raise ValueError("inc must be odd")
    check_int(numbers["state"], "state", 0, 2**128 - 1)
    check_int(value["has_uint32"], "has_uint32", 0, 1)
    check_int(value["uinteger"], "uinteger", 0, 2**32 - 1)


def _arrays(run: Run) -> Iterator[tuple[str, Array, float]]:
    """Every array that a run changes: its name in a checkpoint, itself (no copy), and the least its numbers may be."""
    least = {name: part.least if isinstance(part, Statistic) else -math.inf for name, part in run.model.state().items()}
    for name, part in run.model.state().items():
        yield f"model/{name}", part.value, least[name]
    if run.ema:
        for name, array in run.ema.shadow.items():
            yield f"ema/{name}", array, least[name]
    names = {id(p): name for name, p in run.model.named_parameters().items()}
    for kind, arrays in run.optimizer.state().items():
        for p, array in zip(run.optimizer.parameters, arrays, strict=True):
            yield f"optimizer/{kind}/{names[id(p)]}", array, 0 if kind == "square" else -math.inf


def _dropouts(run: Run) -> list[tuple[str, Dropout]]:
    return [(name, layer) for name, layer in run.model.named_layers() if isinstance(layer, Dropout)]


def fingerprint(data: Dataset) -> str:
    """A short word that differs for other images, labels or classes; a thousand of the images are looked at.

    Examples
    --------
    >>> from npmnv2.data import load_digits
    >>> fingerprint(load_digits()) == fingerprint(load_digits()), fingerprint(load_digits(seed=1))[:0]
    (True, '')
    """
    digest = hashlib.sha256(repr((data.classes, data.train_x.shape, data.test_x.shape)).encode())
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        digest.update(np.ascontiguousarray(y).tobytes())
        digest.update(np.ascontiguousarray(x[:: max(1, len(x) // 500)]).tobytes())
    return digest.hexdigest()[:16]
