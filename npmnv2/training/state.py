"""A run as arrays and as JSON, and back: nothing that decides how it goes on may be missing."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from npmnv2.data import Dataset
from npmnv2.layers import Dropout
from npmnv2.train import Epoch
from npmnv2.training.settings import OPTIMIZERS, Settings
from npmnv2.validate import Array, check_int
from npmnv2.weights import FormatError
from npmnv2.weights.native import Checkpoint
from npmnv2.weights.save import describe
from npmnv2.weights.source import Path

if TYPE_CHECKING:
    from npmnv2.training.session import Session


def capture(session: "Session") -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the rest of a checkpoint (see docs/checkpoints.md for the names)."""
    position = session.position
    arrays = dict(_arrays(session))
    if position.order is not None:
        arrays["training/order"] = position.order
    info = describe(session.model)
    info["training"] = {
        "settings": session.settings._asdict(),
        "data": fingerprint(session.data),
        "lr": session.optimizer.lr,
        "ema_updates": session.ema.updates if session.ema else 0,
        "generator": position.rng.bit_generator.state,
        "dropout": {name: layer.rng.bit_generator.state for name, layer in _dropouts(session)},
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


def restore(session: "Session", checkpoint: Checkpoint, path: Path) -> None:
    """Give every part of a session what `capture` took from it."""
    training, position = checkpoint.info["training"], session.position
    if training.get("data") != fingerprint(session.data):
        raise ValueError(f"{session.settings.data} does not hold the images that the run in {path} began with")
    try:
        for name, array in _arrays(session):
            _copy(array, checkpoint.arrays, name)
        if session.ema:
            session.ema.updates = check_int(training["ema_updates"], "ema_updates", 0)
        for name, layer in _dropouts(session):
            layer.rng.bit_generator.state = training["dropout"][name]
        position.rng.bit_generator.state = training["generator"]
        session.optimizer.lr = training["lr"]
        position.done = check_int(training["done"], "done", 0, len(session.data.train_x))
        position.loss_sum, position.right = float(training["loss_sum"]), int(training["right"])
        position.seconds = float(training["seconds"])
        position.history = [Epoch(*epoch) for epoch in training["history"]]
        batch, images = session.settings.batch_size, len(session.data.train_x)
        position.step = len(position.history) * -(-images // batch) + -(-position.done // batch)
        if "training/order" in checkpoint.arrays:
            position.order = np.empty(len(session.data.train_x), np.int64)
            _copy(position.order, checkpoint.arrays, "training/order")
            if not np.array_equal(np.sort(position.order), np.arange(len(position.order))):
                raise ValueError("training/order must have every image once")
        elif position.done:
            raise ValueError("training/order is missing")
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise FormatError(f"{path}: does not hold the whole of a run ({error})") from None


def _arrays(session: "Session") -> Any:
    """Every array that a run changes, by its name in a checkpoint; the arrays themselves, not copies."""
    for name, part in session.model._state().items():
        yield f"model/{name}", part.value
    if session.ema:
        for name, array in session.ema.shadow.items():
            yield f"ema/{name}", array
    names = {id(p): name for name, p in session.model.named_parameters().items()}
    for kind, arrays in session.optimizer.state().items():
        for p, array in zip(session.optimizer.parameters, arrays, strict=True):
            yield f"optimizer/{kind}/{names[id(p)]}", array


def _copy(target: Array, arrays: dict[str, Array], name: str) -> None:
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    if arrays[name].shape != target.shape or arrays[name].dtype != target.dtype:
        raise ValueError(f"{name} must be {target.dtype} of shape {target.shape}")
    target[...] = arrays[name]


def _dropouts(session: "Session") -> list[tuple[str, Dropout]]:
    return [(name, layer) for name, layer in session.model.named_layers() if isinstance(layer, Dropout)]


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
