"""Whether a network is still what its builder makes of its `config`: what a file can say of it in a few words."""

import functools
import json
from collections.abc import Callable

import numpy as np

from npmnv2.models.efficientnet_lite import EfficientNetLite, efficientnet_lite
from npmnv2.models.mobilenet_v1 import ConvMobileNet, MobileNetV1, mobilenet_v1, mobilenet_v1_conv
from npmnv2.models.mobilenet_v2 import MobileNetV2, mobilenet_v2
from npmnv2.models.network import Network
from npmnv2.nn.base import Layer
from npmnv2.nn.exact import difference, is_stand_in
from npmnv2.nn.layers import Sequential
from npmnv2.nn.parameter import Parameter, Statistic

BUILDERS: dict[type[Network], Callable[..., Network]] = {
    ConvMobileNet: mobilenet_v1_conv,
    MobileNetV1: mobilenet_v1,
    MobileNetV2: mobilenet_v2,
    EfficientNetLite: efficientnet_lite,
}  # by the class of what they make
_METHODS = ("__call__", "forward", "backward", "children")
_ORIGINAL = {kind: [getattr(kind, name) for name in _METHODS] for kind in BUILDERS}  # as imported
_SEQUENTIAL = Sequential.forward, Sequential.backward
NO_SETTINGS = ("training", "rng", "layers", "config", "preprocessing", "labels")  # nor parts
MORE = "a file says no more"
ONLY_TRAINING = ("momentum", "running_var", "rate")  # settings that change no answer


def check_as_built(model: Network, for_training: bool = True) -> None:
    """Raise the error that names the first part that is another than the builder's.

    Parameters
    ----------
    model : Network
    for_training : bool
        Whether settings that only training knows count: momentum, the running variance's divisor, dropout.

    Raises
    ------
    ValueError
        If a layer or an array was replaced, added or taken away, or a setting changed by hand.

    Examples
    --------
    >>> model = mobilenet_v2(10, 0.1)
    >>> check_as_built(model)
    >>> model.layers["b1.0"].dw.conv.stride = 1
    >>> check_as_built(model)                                      # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: model must be as mobilenet_v2 builds it from its config: ...; b1.0.dw.conv.stride is 1, not 2
    """
    builder = builder_of(model)
    for name, layer in model.children().items():
        if (problem := difference(layer, name)) is not None:
            raise ValueError(f"model must be as {builder.__name__} builds it from its config: {MORE}; {problem}")
    said = {name: value for name, value in model.config.items() if name != "seed"}
    if not is_as_written(model):
        raise ValueError(
            f"model must be as {builder.__name__} builds it from its config: {MORE}; it runs in another way"
        )
    own, built = _description(model), _built(builder.__name__, json.dumps(said, default=np.generic.item))
    if list(own) != list(built) and set(own) == set(built):
        raise ValueError(f"model must be as {builder.__name__} builds it from its config: {MORE}; its order is another")
    for name in [*built, *own]:
        if not for_training and name.rpartition(".")[2] in ONLY_TRAINING:
            continue
        if own.get(name) != built.get(name):
            raise ValueError(
                f"model must be as {builder.__name__} builds it from its config: {MORE}; "
                f"{name} is {own.get(name, 'missing')}, not {built.get(name, 'there')}"
            )


def builder_of(model: Network) -> Callable[..., Network]:
    """The function that makes such a network.

    Examples
    --------
    >>> builder_of(mobilenet_v1(10, 0.25)).__name__
    'mobilenet_v1'
    """
    builder = BUILDERS.get(type(model))
    if builder is None:
        names = ", ".join(b.__name__ for b in BUILDERS.values())
        raise TypeError(f"model must be made by {names}; was {type(model).__name__}")
    return builder


@functools.lru_cache(maxsize=8)
def _built(builder: str, config: str) -> dict[str, str]:
    """The description of a fresh network."""
    found = next(b for b in BUILDERS.values() if b.__name__ == builder)
    return _description(found(**json.loads(config)))


def _description(layer: Layer, prefix: str = "") -> dict[str, str]:
    """Every layer's class, every array's shape and every setting, in words, by dotted names."""
    found = {}
    children = layer.children()
    for name, value in [*children.items(), *vars(layer).items()]:
        if name not in children and (name.startswith("_") or name in NO_SETTINGS or is_stand_in(value)):
            continue
        if isinstance(value, Layer):
            found[f"{prefix}{name}"] = f"a {type(value).__name__}"
            found |= _description(value, f"{prefix}{name}.")
        elif isinstance(value, Parameter):
            found[f"{prefix}{name}"] = f"a {value.role} of shape {np.shape(value.value)}"
        elif isinstance(value, Statistic):
            found[f"{prefix}{name}"] = f"a statistic of shape {np.shape(value.value)}"
        else:
            found[f"{prefix}{name}"] = str(value)
    return found


def is_as_written(model: Network) -> bool:
    """Whether the network runs as its class says: no other class, no method replaced, in it or in its class.

    Examples
    --------
    >>> is_as_written(mobilenet_v2(10, 0.1))
    True
    """
    kind = type(model)
    if kind not in BUILDERS or [getattr(kind, name) for name in _METHODS] != _ORIGINAL[kind]:
        return False
    return (Sequential.forward, Sequential.backward) == _SEQUENTIAL and not vars(model).keys() & set(_METHODS)
