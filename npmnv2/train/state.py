"""A run as arrays and as JSON, and back: nothing that decides how it goes on may be missing."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from npmnv2.data import Dataset
from npmnv2.models.network import Network
from npmnv2.nn.layers import Dropout
from npmnv2.nn.optim import Optimizer
from npmnv2.train.ema import EMA
from npmnv2.train.progress import Epoch, Position
from npmnv2.train.settings import OPTIMIZERS, Settings
from npmnv2.validate import Array, check_int
from npmnv2.weights import FormatError
from npmnv2.weights.formats.native import Checkpoint
from npmnv2.weights.save import describe
from npmnv2.weights.source import Path


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
    arrays = dict(_arrays(run))
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
        if not isinstance(settings.data, str) or settings.optimizer not in OPTIMIZERS:
            raise TypeError
        return settings
    except (KeyError, TypeError):
        raise FormatError(f"{path}: holds weights, but no run of this version to go on with") from None


def restore(run: Run, checkpoint: Checkpoint, path: Path) -> None:
    """Give every part of a run what `capture` took from it."""
    training, position = checkpoint.info["training"], run.position
    if training.get("data") != fingerprint(run.data):
        raise ValueError(f"{run.settings.data} does not hold the images that the run in {path} began with")
    try:
        for name, array in _arrays(run):
            _copy(array, checkpoint.arrays, name)
        if run.ema:
            run.ema.updates = check_int(training["ema_updates"], "ema_updates", 0)
        for name, layer in _dropouts(run):
            layer.rng.bit_generator.state = training["dropout"][name]
        position.rng.bit_generator.state = training["generator"]
        run.optimizer.lr = training["lr"]
        position.done = check_int(training["done"], "done", 0, len(run.data.train_x))
        position.loss_sum, position.right = float(training["loss_sum"]), int(training["right"])
        position.seconds = float(training["seconds"])
        position.history = [Epoch(*epoch) for epoch in training["history"]]
        batch, images = run.settings.batch_size, len(run.data.train_x)
        position.step = len(position.history) * -(-images // batch) + -(-position.done // batch)
        if "training/order" in checkpoint.arrays:
            position.order = np.empty(len(run.data.train_x), np.int64)
            _copy(position.order, checkpoint.arrays, "training/order")
            if not np.array_equal(np.sort(position.order), np.arange(len(position.order))):
                raise ValueError("training/order must have every image once")
        elif position.done:
            raise ValueError("training/order is missing")
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise FormatError(f"{path}: does not hold the whole of a run ({error})") from None


def _arrays(run: Run) -> Any:
    """Every array that a run changes, by its name in a checkpoint; the arrays themselves, not copies."""
    for name, part in run.model.state().items():
        yield f"model/{name}", part.value
    if run.ema:
        for name, array in run.ema.shadow.items():
            yield f"ema/{name}", array
    names = {id(p): name for name, p in run.model.named_parameters().items()}
    for kind, arrays in run.optimizer.state().items():
        for p, array in zip(run.optimizer.parameters, arrays, strict=True):
            yield f"optimizer/{kind}/{names[id(p)]}", array


def _copy(target: Array, arrays: dict[str, Array], name: str) -> None:
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    if arrays[name].shape != target.shape or arrays[name].dtype != target.dtype:
        raise ValueError(f"{name} must be {target.dtype} of shape {target.shape}")
    target[...] = arrays[name]


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
