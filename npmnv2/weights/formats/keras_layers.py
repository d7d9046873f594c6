"""How Keras 3 counts layers and variables in its files, and how to find out what they are called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from npmnv2.validate import Array

T = TypeVar("T")
# What a layer of each class calls its variables, in the order that Keras counts them.
VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
GroupPath = tuple[str, ...]  # on the way to a layer: ("conv2d_7",), or ("functional", "conv2d_7") in an inner model


def variables(kind: str, count: int) -> dict[str, str]:
    """What the numbers of the variables of a layer mean, as far as its class and their count tell."""
    names = VARIABLES.get(kind, ())
    if kind == "batch_normalization" and count < len(names):  # without scale, without center or without both
        names = names[2:] if count == 2 else ()
    return {str(i): name for i, name in enumerate(names)}


def class_of(group: str) -> str:
    """The class in the name of a group, without the count."""
    return re.sub(r"_\d+$", "", group)


def class_with(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The class of the layer with variables of these shapes. A kernel of 4 axes is depthwise if its last axis is 1.

    That a pointwise convolution with one output has too: 1x1 is never depthwise.
    """
    if "kernel" not in shapes:
        return "batch_normalization"
    kernel = shapes["kernel"]
    if len(kernel) != 4:
        return "dense"
    return "depthwise_conv2d" if kernel[3] == 1 and kernel[:2] != (1, 1) else "conv2d"


def snake_case(class_name: str) -> str:
    """The name of a class as the names of groups have it."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)).lower()


def names_in(model: Any, paths: Sequence[GroupPath]) -> dict[GroupPath, str]:
    """The names that the description of a model gives the layers in these groups.

    The third group of a class is the third layer of that class, if the model has as many of them as there are groups.
    What is not where it should be is passed over: it is about names only.

    Examples
    --------
    >>> convs = [{"class_name": "Conv2D", "config": {"name": name}} for name in "ab"]
    >>> names_in({"config": {"layers": convs}}, [("conv2d_1",), ("conv2d",)])
    {('conv2d',): 'a', ('conv2d_1',): 'b'}
    """
    layers: dict[str, list[Any]] = {}
    described = _get(model, "config", "layers")
    for layer in described if isinstance(described, list) else ():
        layers.setdefault(snake_case(str(_get(layer, "class_name"))[:64]), []).append(layer)
    groups: dict[str, list[GroupPath]] = {}
    for path in paths:
        groups.setdefault(path[0], []).append(path[1:])
    found: dict[GroupPath, str] = {}
    for group, layer in _counted(groups, layers).items():
        name = _get(layer, "config", "name")
        inside = [path for path in groups[group] if path]
        if len(inside) < len(groups[group]) and isinstance(name, str):
            found[(group,)] = name[:255]
        found |= {(group, *path): name for path, name in names_in(layer, inside).items()} if inside else {}
    return found


def rename_counted(arrays: Mapping[str, Array], like: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Give layers that a file only counts the names that they have in a network.

    The arrays are of a `.weights.h5` that Keras wrote before 3.6, with names such as ``conv2d_7/kernel``. They stay as
    they are if the network has not as many layers of each class. `like` has the variables of the network in the order
    of its layers, such as ``block_1_project/kernel``; the shapes only tell the class of a layer.

    Examples
    --------
    >>> like = {"Conv1/kernel": (3, 3, 3, 32), "bn_Conv1/gamma": (32,), "Conv_1/kernel": (1, 1, 320, 1280)}
    >>> list(rename_counted({"batch_normalization/gamma": 0, "conv2d/kernel": 1, "conv2d_1/kernel": 2}, like))
    ['bn_Conv1/gamma', 'Conv1/kernel', 'Conv_1/kernel']
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in like.items():
        layer, _, variable = name.rpartition("/")
        shapes.setdefault(layer, {})[variable] = shape
    wanted: dict[str, list[str]] = {}
    for layer, variable_shapes in shapes.items():
        wanted.setdefault(class_with(variable_shapes), []).append(layer)
    groups = {name.rpartition("/")[0] for name in arrays}
    new = _counted(groups, wanted)
    if not len(groups) == len(new) == len(shapes):
        return dict(arrays)
    parts = {name: name.rpartition("/") for name in arrays}
    return {f"{new[layer]}/{variable}": arrays[name] for name, (layer, _, variable) in parts.items()}


def _counted(groups: Iterable[str], layers: Mapping[str, Sequence[T]]) -> dict[str, T]:
    """The layer that each group stands for, of those of its class, if there are as many of them as there are groups.

    Keras counts the groups of one class: conv2d, conv2d_2, conv2d_10.
    """
    by_class: dict[str, list[str]] = {}
    for group in sorted(groups, key=lambda group: (len(group), group)):
        by_class.setdefault(class_of(group), []).append(group)
    found: dict[str, T] = {}
    for kind, counted in by_class.items():
        if len(layers.get(kind, ())) == len(counted):
            found |= zip(counted, layers[kind], strict=True)
    return found


def _get(value: Any, *keys: str) -> Any:
    """What is under these keys of dictionaries in dictionaries; None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
