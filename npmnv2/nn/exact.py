"""Whether a layer is exactly what its class says: no part replaced, added or taken away, nobody watching.

Whoever computes something else in the place of a layer (a compiled block, a folded network) or writes a file that
another library will read as the published network asks here first. What it finds is named; the layer then runs as it
is, or there is one clear error. Types are compared by identity: a subclass may do anything.
"""

from collections.abc import Iterable, Set
from typing import Any

import numpy as np

from npmnv2 import ops
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBN, ConvBNReLU6, InvertedResidual, SeparableConv
from npmnv2.nn.layers import (
    BatchNorm,
    BatchNormReLU6,
    Conv2d,
    DepthwiseConv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    PointwiseConv2d,
    ReLU6,
)
from npmnv2.nn.optim import SGD
from npmnv2.nn.parameter import Parameter, Statistic

_NORM: dict[str, Any] = {
    "eps": None, "momentum": None, "running_var": None, "gamma": Parameter, "beta": Parameter,
    "mean": Statistic, "var": Statistic,
}  # fmt: skip
_CONVS = (Conv2d, DepthwiseConv2d, PointwiseConv2d)

# The attributes of each type besides those of every Layer, and the types that they may have; None: any value.
ATTRIBUTES: dict[type[Layer], dict[str, Any]] = {
    Conv2d: {"w": Parameter, "stride": None, "padding": None},
    DepthwiseConv2d: {"w": Parameter, "stride": None, "padding": None},
    PointwiseConv2d: {"w": Parameter},
    BatchNorm: _NORM,
    BatchNormReLU6: _NORM,
    ReLU6: {},
    GlobalAvgPool: {},
    Dropout: {"rate": None, "rng": None},
    Linear: {"w": Parameter, "b": Parameter},
    ConvBN: {"conv": _CONVS, "bn": BatchNorm},
    ConvBNReLU6: {"conv": _CONVS, "bn": BatchNormReLU6},
    SeparableConv: {"dw": ConvBNReLU6, "pw": ConvBNReLU6},
    InvertedResidual: {
        "t": None, "residual": None, "wide_residual": None,
        "expand": ConvBNReLU6, "dw": ConvBNReLU6, "project": (ConvBN, ConvBNReLU6),
    },
}  # fmt: skip
# The convolutions inside a block, by their names there.
CONVS = {
    SeparableConv: {"dw": DepthwiseConv2d, "pw": PointwiseConv2d},
    InvertedResidual: {"expand": PointwiseConv2d, "dw": DepthwiseConv2d, "project": PointwiseConv2d},
}
_EVERY = {"training", "_cache", "_number"}
_METHODS = ("__call__", "forward", "backward", "update_statistics")  # the last is a batch norm's
# Asked of every block at every training step, so what can be known beforehand is: the names that an instance has, the
# attributes whose types count, and the methods as they were when this was imported.
_NAMES = {kind: frozenset({*own, *_EVERY}) for kind, own in ATTRIBUTES.items()}
_NAMES_UNEXPANDED = _NAMES[InvertedResidual] - {"expand"}  # where t = 1
_TYPES = {
    kind: [(name, kinds if isinstance(kinds, tuple) else (kinds,)) for name, kinds in own.items() if kinds is not None]
    for kind, own in ATTRIBUTES.items()
}
_SGD = ("step", "update", "_gradient", "_check")
_SGD_METHODS = [getattr(SGD, name) for name in _SGD]
_SGD_NAMES = vars(SGD([Parameter(np.zeros(1), "bias")], 0.1)).keys()
_OPERATIONS = {name: getattr(ops, name) for name in ops.__all__}
_ORIGINAL = {kind: [(name, getattr(kind, name)) for name in _METHODS if hasattr(kind, name)] for kind in ATTRIBUTES}


def difference(layer: Layer, name: str = "") -> str | None:
    """In what a layer is not what its class says, in words; None if it is exactly that.

    Parameters
    ----------
    layer : Layer
        One of `ATTRIBUTES`, else that is what is said.
    name : str
        What it is called in the answer.

    Examples
    --------
    >>> import numpy as np
    >>> block = InvertedResidual(4, 4, stride=1, t=6, rng=np.random.default_rng(0))
    >>> difference(block, "b1.1") is None
    True
    >>> block.project = block.expand
    >>> block.dw.bn.forward = lambda x: x
    >>> difference(block, "b1.1")
    'b1.1.dw.bn has an attribute `forward` of its own'
    """
    problem = _problem(layer)
    if problem is None:
        return None
    path, what = problem
    return f"{'.'.join(filter(None, (name, *path))) or type(layer).__name__} {what}"


def _problem(layer: Layer) -> tuple[tuple[str, ...], str] | None:
    """Where below the layer something is different, and what."""
    kind, found = type(layer), vars(layer)
    names = _NAMES.get(kind)
    if names is None:
        return (), f"is a {kind.__name__}"
    for method, original in _ORIGINAL[kind]:
        if getattr(kind, method) is not original:
            return (), f"is a {kind.__name__} with a method that was replaced"
    if kind is InvertedResidual and found.get("t") == 1:
        names = _NAMES_UNEXPANDED
    if found.keys() != names and found.keys() - _stand_ins(layer) != names:
        return (), _strange_name(found.keys(), names)
    convs = CONVS.get(kind, {})
    for attribute, kinds in _TYPES[kind]:
        if attribute not in names:
            continue
        value: Any = found[attribute]
        if type(value) not in kinds:
            return (attribute,), f"is a {type(value).__name__}"
        if isinstance(value, Layer):
            if (problem := _problem(value)) is not None:
                return (attribute, *problem[0]), problem[1]
            if attribute in convs and type(value.conv) is not convs[attribute]:  # type: ignore[attr-defined]
                return (attribute, "conv"), f"is a {type(value.conv).__name__}"  # type: ignore[attr-defined]
    return None


def _stand_ins(layer: Layer) -> set[str]:
    """``{"backward"}`` if what ran in the layer's place has left its backward there, see `backends.whole`."""
    return {"backward"} if is_stand_in(vars(layer).get("backward")) else set()


def is_stand_in(method: Any) -> bool:
    """Whether this is the backward of what a backend ran in the place of a layer, and not somebody else's.

    Examples
    --------
    >>> is_stand_in(None)
    False
    """
    return getattr(getattr(method, "__func__", None), "stands_in", False) is True


def is_plain_sgd(optimizer: SGD) -> bool:
    """Whether an optimiser updates as `SGD` says: nothing replaced, in it or in its class.

    Examples
    --------
    >>> import numpy as np
    >>> is_plain_sgd(SGD([Parameter(np.zeros(1), "bias")], 0.1))
    True
    """
    kind = type(optimizer)
    return kind is SGD and [getattr(kind, n) for n in _SGD] == _SGD_METHODS and vars(optimizer).keys() == _SGD_NAMES


def operations_are_ours(operations: Iterable[str]) -> bool:
    """Whether the functions of `ops` with these names are those that this package has.

    Examples
    --------
    >>> operations_are_ours(["relu6_forward"])
    True
    """
    return all(getattr(ops, name) is _OPERATIONS[name] for name in operations)


def _strange_name(found: Set[str], wanted: Set[str]) -> str:
    for name in sorted(wanted - found):
        return f"has no {name}"
    return f"has an attribute `{min(found - wanted)}` of its own"
