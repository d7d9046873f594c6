"""Looking inside: the outputs of layers while a forward runs."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from npmnv2.validate import Array


def record(layer: Any, x: Array, names: Iterable[str]) -> dict[str, Array]:
    """What `Layer.activations` does, and raises: for one forward, whoever is asked for has a `forward` that notes it.

    An attribute of an instance hides the method of its class: what stands in ``vars(part)["forward"]`` is what runs.

    Examples
    --------
    >>> import numpy as np
    >>> from npmnv2.nn.layers import ReLU6, Sequential
    >>> record(Sequential({"a": ReLU6()}), np.array([[-1.0, 7.0]]), ["a"])["a"].tolist()
    [[0.0, 6.0]]
    """
    layers, names = dict(layer.named_layers()), list(names)
    for name in names:
        if name not in layers:
            near = difflib.get_close_matches(str(name), layers, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"names must be names of layers; was {name!r}{hint}")
    seen: dict[str, Array] = {}
    before = [(vars(layers[name]), vars(layers[name]).get("forward")) for name in dict.fromkeys(names)]
    try:
        for name in dict.fromkeys(names):
            layers[name].forward = _noting(layers[name].forward, name, seen)
        layer(x)
    finally:
        for attributes, forward in reversed(before):  # last first: one layer may have two names
            if forward is None:
                del attributes["forward"]
            else:
                attributes["forward"] = forward
    return {name: seen[name] for name in names}


def _noting(forward: Callable[[Array], Array], name: str, seen: dict[str, Array]) -> Callable[[Array], Array]:
    """The same forward, which besides copies its output: what is done to the copy changes no gradient."""

    def noted(x: Array) -> Array:
        out = forward(x)
        seen[name] = out.copy()
        return out

    return noted
