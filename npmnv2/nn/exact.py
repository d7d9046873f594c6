"""Whether a layer is exactly what its class says: no part replaced, added or taken away, nobody watching.

Whoever computes something else in the place of a layer (a compiled block, a folded network) or writes a file that
another library will read as the published network asks here first. What it finds is named; the layer then runs as it
is, or there is one clear error. Types are compared by identity: a subclass may do anything.
"""

from collections.abc import Callable
from typing import Any

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
from npmnv2.nn.parameter import Parameter, Statistic

_NORM: dict[str, Any] = {
    "eps": None, "momentum": None, "running_var": None, "gamma": Parameter, "beta": Parameter,
    "mean": Statistic, "var": Statistic, "_moved": None, "_before": None,
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
    Dropout: {"rate": None, "rng": None, "_drawn": None, "_before": None},
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
_METHODS = ("__call__", "forward", "backward", "children", "_forget", "_last_cache")


def _methods(kind: type[Layer]) -> tuple[Callable[..., Any], ...]:
    return tuple(getattr(kind, name) for name in _METHODS) + (getattr(kind, "update_statistics", None),)  # type: ignore[return-value]


_ORIGINAL = {kind: _methods(kind) for kind in ATTRIBUTES}  # as imported: a method that is replaced later is seen


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
    kind = type(layer)
    own = ATTRIBUTES.get(kind)
    where = name or kind.__name__
    if own is None:
        return f"{where} is a {kind.__name__}"
    if _methods(kind) != _ORIGINAL[kind]:
        return f"{where} is a {kind.__name__} with a method that was replaced"
    found = vars(layer)
    wanted = own if kind is not InvertedResidual or found.get("t") != 1 else own.keys() - {"expand"}
    for attribute in wanted:
        if attribute not in found:
            return f"{where} has no {attribute}"
    for attribute, value in found.items():
        if attribute in _EVERY:
            continue
        if attribute not in wanted:
            return f"{where} has an attribute `{attribute}` of its own"
        kinds = own[attribute]
        if kinds is None:
            continue
        inside = f"{name}.{attribute}" if name else attribute
        if type(value) not in (kinds if isinstance(kinds, tuple) else (kinds,)):
            return f"{inside} is a {type(value).__name__}"
        if isinstance(value, Layer) and (found_inside := difference(value, inside)) is not None:
            return found_inside
    for attribute, conv in CONVS.get(kind, {}).items():  # type: ignore[call-overload]
        if attribute in wanted and type(found[attribute].conv) is not conv:
            return f"{f'{name}.' if name else ''}{attribute}.conv is a {type(found[attribute].conv).__name__}"
    return None
