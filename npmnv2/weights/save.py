"""From a network to a file: our own, or one that another library loads."""

import os
from typing import Any

import numpy as np

from npmnv2.models.as_built import check_as_built
from npmnv2.models.network import Network
from npmnv2.weights.conventions import ANSWERS, CONVENTIONS, STRIDES, lacks_shortcut
from npmnv2.weights.formats.containers import ENDINGS as READ
from npmnv2.weights.load import architecture
from npmnv2.weights.names import counters, translate
from npmnv2.weights.source import Path
from npmnv2.weights.tables import TABLES

NAMES = ("npmnv2", "torchvision", "timm", "keras", "hf", "efficientnet_pytorch")
ENDINGS = {  # of a path -> the container
    ".npz": "npz",
    ".pth": "pth",
    ".pt": "pth",
    ".safetensors": "safetensors",
    ".bin": "pth",  # as Hugging Face called its files before .safetensors
    ".weights.h5": "keras",
    ".h5": "keras",
}
_CONTAINERS = {
    "npmnv2": ("npz",),
    "torchvision": ("pth", "safetensors"),
    "timm": ("pth", "safetensors"),
    "hf": ("safetensors", "pth"),
    "keras": ("keras",),
    "efficientnet_pytorch": ("pth", "safetensors"),
}
_BUILDERS = {"keras": "Keras", "hf": "Hugging Face", "efficientnet_pytorch": "efficientnet_lite_pytorch"}


def save(model: Network, path: Path, names: str = "npmnv2") -> None:
    """Write a network's weights to a file, under our names or those of a library that is to load it.

    The file appears whole or not at all. What a library loads answers as the model here does; a model that it would
    load and answer differently is refused.

    Parameters
    ----------
    model : Network
    path : str or path-like
        The ending chooses the container: .pth, .pt, .bin and .safetensors for torchvision, timm, hf and
        efficientnet_pytorch, .weights.h5 or .h5 for keras. Without an ending it is .safetensors for the first four. Our
        own names are always in the native .npz.
    names : "npmnv2", "torchvision", "timm", "keras", "hf" or "efficientnet_pytorch"
        Whose names and layouts. "npmnv2" keeps everything: configuration, preprocessing and labels too. The others
        have no place for these, and their builder must be given the width multiplier and the number of classes.

    Raises
    ------
    ValueError
        If `names` or the ending is none of these, the two do not go together, or the library has no such network:
        another architecture, variant, padding, epsilon, strides or number of channels of the image. If a part of the
        model was replaced or changed, which no file says.
    OSError
        If the file cannot be written; an older one is left as it was.

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(10, 0.1, padding="same")
    >>> save(model, "model.pth", names="torchvision")              # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: padding must be 1 for names='torchvision'; was 'same': the network that torchvision builds would ...
    """
    if not isinstance(model, Network):
        raise TypeError(f"model must be a network of npmnv2.models; was {type(model).__name__}")
    if names not in NAMES:
        raise ValueError(f"names must be one of {', '.join(NAMES)}; was {names!r}")
    container = _container(os.fspath(path), names)
    if names == "npmnv2":
        from npmnv2.weights.formats import native

        native.write(path, {f"model/{name}": value for name, value in model.state_dict().items()}, describe(model))
        return
    check_fits(model, names)
    check_as_built(model, for_training=False)
    arrays = translate(model.state_dict(), architecture(model), names, model.config.get("depth_mult", 1.0))
    if container == "keras":
        from npmnv2.weights.formats import keras_file

        keras_file.write(path, arrays)
    elif container == "pth":
        from npmnv2.weights.formats import torch_file

        torch_file.write(path, arrays | counters(arrays))
    else:
        from npmnv2.weights.formats import safetensors_file

        # Hugging Face loads nothing without this word.
        safetensors_file.write(path, arrays | counters(arrays), {"format": "pt"})


def describe(model: Network) -> dict[str, Any]:
    """What a native file says about its network: the `info` of `native.write`, and what `load_model` needs."""
    check_as_built(model)
    info: dict[str, Any] = {"model": {"name": architecture(model), **{k: _plain(v) for k, v in model.config.items()}}}
    if model.preprocessing is not None:
        info["preprocessing"] = model.preprocessing.to_dict()
    if model.labels is not None:
        info["labels"] = list(model.labels)
    return info


def check_fits(model: Network, names: str) -> None:
    """Raise the error that names the argument, if the library's own builder makes another network.

    Momentum, the running variance's divisor and the dropout are not asked for: they change no answer.

    Examples
    --------
    >>> import npmnv2
    >>> check_fits(npmnv2.mobilenet_v1(10, 0.25), "torchvision")
    Traceback (most recent call last):
        ...
    ValueError: names must be timm, keras or hf for a mobilenet_v1; was 'torchvision'
    """
    kind = architecture(model)
    if names not in TABLES.get(kind, {}):
        possible = [name for name in NAMES if name in TABLES.get(kind, {})] or ["npmnv2"]
        known = " or ".join(filter(None, (", ".join(possible[:-1]), possible[-1])))
        raise ValueError(f"names must be {known} for a {kind}; was {names!r}")
    wanted = {name: value for name, value in CONVENTIONS[names, kind].items() if name in ANSWERS}
    was = {name: model.config[name] for name in wanted}
    named, strides = STRIDES[kind], model.config["strides"]
    wanted["strides"] = named["imagenet"]
    was["strides"] = named[strides] if isinstance(strides, str) else tuple(strides)
    if names == "torchvision":  # whose builder has no such argument
        wanted["in_channels"], was["in_channels"] = 3, model.config["in_channels"]
    for name in wanted:
        if was[name] != wanted[name]:
            raise ValueError(
                f"{name} must be {wanted[name]!r} for names={names!r}; was {was[name]!r}: "
                f"the network that {_BUILDERS.get(names, names)} builds would answer differently"
            )
    if block := lacks_shortcut(names, kind, model.config["width_mult"]):
        other, where = ("more", "its first block") if names == "hf" else ("other", block)
        raise ValueError(
            f"width_mult must be {other} than {model.config['width_mult']:g} for names={names!r}: at that width the "
            f"network has a shortcut around {where}, which {_BUILDERS.get(names, names)} leaves out"
        )


def names_in(path: Path) -> list[str]:
    """Whose names a file of this ending can have.

    Examples
    --------
    >>> names_in("model.pth"), names_in("model.h5")
    (['torchvision', 'timm', 'hf', 'efficientnet_pytorch'], ['keras'])
    """
    container = next((c for ending, c in ENDINGS.items() if os.fspath(path).lower().endswith(ending)), "")
    return [names for names in NAMES if container in _CONTAINERS[names]]


def endings_of(names: str) -> list[str]:
    """Of the files that can have these names.

    Examples
    --------
    >>> endings_of("keras")
    ['.weights.h5', '.h5']
    """
    return [ending for ending, container in ENDINGS.items() if container in _CONTAINERS[names]]


def _container(path: str, names: str) -> str:
    """The container that the path's ending asks for, if the names can be in it."""
    ending = next((end for end in (*ENDINGS, *READ) if path.lower().endswith(end)), "")
    if not ending and names == "npmnv2":
        return "npz"
    if not os.path.splitext(path)[1] and names != "keras":
        return "safetensors"
    container = ENDINGS.get(ending, "")
    if container not in _CONTAINERS[names]:
        endings = endings_of(names)
        instead = ": npmnv2.engine.onnx_export.export writes ONNX files" if ending == ".onnx" else ""
        raise ValueError(f"path must end in {' or '.join(endings)} for names={names!r}; was {path}{instead}")
    return container


def _plain(value: Any) -> Any:
    """The same for JSON: NumPy's numbers as Python's, tuples as lists."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value
