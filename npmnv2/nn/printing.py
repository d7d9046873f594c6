"""How a layer is printed: one line, and below it the parts of a layer that is not exactly what its class says.

Nothing runs. What is printed is read from the shapes of the weights and from the settings, as they are now.
"""

from functools import singledispatch
from typing import Any

from npmnv2.nn.base import Layer, printed
from npmnv2.nn.blocks import ConvBN, InvertedResidual, SeparableConv
from npmnv2.nn.exact import ATTRIBUTES, difference
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, Conv2d, DepthwiseConv2d, Dropout, Linear, PointwiseConv2d
from npmnv2.nn.parameter import Parameter


@printed.register
def tree(layer: Layer) -> str:
    """What ``repr(layer)`` is.

    Examples
    --------
    >>> import numpy as np
    >>> from npmnv2.nn.layers import ReLU6
    >>> block = InvertedResidual(8, 8, stride=1, t=6, rng=np.random.default_rng(0))
    >>> block
    InvertedResidual(8 -> 8, stride 1, t 6, shortcut)
    >>> block.project.bn = ReLU6()
    >>> block
    InvertedResidual(8 -> 8, stride 1, t 6, shortcut)
      expand   ConvBNReLU6(PointwiseConv2d(8 -> 48))
      dw       ConvBNReLU6(DepthwiseConv2d(48, 3x3, stride 1, padding 1))
      project  ConvBN(PointwiseConv2d(48 -> 8))
        conv  PointwiseConv2d(48 -> 8)
        bn    ReLU6()
    """
    return "\n".join(_lines(layer))


def _lines(layer: Layer) -> list[str]:
    """The layer's line, then those of its parts, unless it is exactly what its class says."""
    line, name = _line(layer), type(layer).__name__
    problem = difference(layer) if type(layer) in ATTRIBUTES else ""
    if problem is None:
        return [line]
    own = problem.removeprefix(name) if problem.startswith(f"{name} ") else ""  # its parts say what is new in them
    lines = [f"{line}  # it{own}" if own else line]
    children = layer.children()
    widest = max(map(len, children), default=0)
    for part, child in children.items():
        first, *rest = _lines(child)
        lines += [f"  {part:<{widest}}  {first}", *(f"  {further}" for further in rest)]
    return lines


def _line(layer: Layer) -> str:
    try:
        return f"{type(layer).__name__}({describe(layer)})"
    except (AttributeError, TypeError, ValueError):  # it has other parts, or arrays of other shapes
        return f"{type(layer).__name__}(...)"


@singledispatch
def describe(layer: Layer) -> str:
    """What a layer is, in the words that stand in parentheses after its class; of an unknown class, its parameters.

    Examples
    --------
    >>> import numpy as np
    >>> describe(Linear(4, 2, rng=np.random.default_rng(0)))
    '4 -> 2'
    """
    own = {name: part for name, part in vars(layer).items() if isinstance(part, Parameter)}
    return ", ".join(f"{name} {_x(part.value.shape)}" for name, part in own.items())


@describe.register
def _(layer: Conv2d) -> str:
    KH, KW, C, M = layer.w.value.shape
    return f"{C} -> {M}, {KH}x{KW}, stride {_setting(layer.stride)}, padding {_setting(layer.padding)}"


@describe.register
def _(layer: DepthwiseConv2d) -> str:
    KH, KW, C = layer.w.value.shape
    return f"{C}, {KH}x{KW}, stride {_setting(layer.stride)}, padding {_setting(layer.padding)}"


@describe.register(PointwiseConv2d)
@describe.register(Linear)
def _(layer: Any) -> str:
    C, M = layer.w.value.shape
    return f"{C} -> {M}"


@describe.register
def _(layer: BatchNorm) -> str:
    (C,) = layer.gamma.value.shape
    return f"{C}, eps {layer.eps:g}"


@describe.register
def _(layer: Dropout) -> str:
    return f"{layer.rate:g}"


@describe.register
def _(layer: ConvBN) -> str:
    return _line(layer.conv)


@describe.register
def _(layer: SeparableConv) -> str:
    (C, M), dw = layer.pw.conv.w.value.shape, layer.dw.conv
    return f"{C} -> {M}, stride {_setting(dw.stride)}{_unusual_window(dw)}"


@describe.register
def _(layer: InvertedResidual) -> str:
    (wide, M), dw = layer.project.conv.w.value.shape, layer.dw.conv
    C = layer.expand.conv.w.value.shape[0] if layer.t != 1 else wide
    said = f"{C} -> {M}, stride {_setting(dw.stride)}, t {wide / C:g}{_unusual_window(dw)}"
    said += ", shortcut" if layer.residual else ""
    said += ", shortcut between expansions" if layer.wide_residual else ""
    return said + (", ReLU6 at the end" if isinstance(layer.project.bn, BatchNormReLU6) else "")


def _unusual_window(conv: Any) -> str:
    """The kernel and the padding of a depthwise convolution, where they are not 3x3 and 1."""
    KH, KW, _ = conv.w.value.shape
    kernel = "" if (KH, KW) == (3, 3) else f", {KH}x{KW}"
    return kernel + ("" if conv.padding == 1 else f", padding {_setting(conv.padding)}")


def _setting(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _x(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
