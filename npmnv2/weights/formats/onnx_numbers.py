"""What the operators of an ONNX file make of known numbers: sizes and paddings that are worked out in the graph."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from npmnv2.validate import Array
from npmnv2.weights.formats.onnx_file import DTYPES, Node

SHORT = 64  # numbers that are computed with


def computed(node: Node, known: list[Array]) -> Array | None:
    """What an operator makes of numbers; None if it is none that is known here.

    Large arrays are handed on, as views; new ones are made only of short ones.

    Examples
    --------
    >>> int(computed(Node("Add", ["a", "b"], ["c"], {}, ""), [np.array(3), np.array(4)]))
    7
    """
    operator, attributes = node.operator, node.attributes
    x = known[0]
    if operator in ("Identity", "Dropout"):
        return x
    if operator == "Cast":
        to = np.dtype(DTYPES.get(attributes.get("to", 0), "S"))
        if to.kind == x.dtype.kind == "f" and to.itemsize >= x.dtype.itemsize:
            return x  # to hold the same numbers in more bytes
        return x.astype(to) if x.size <= SHORT and to.kind in "fiub" else None
    if operator == "Transpose":
        return x.transpose(attributes.get("perm"))
    if any(value.size > SHORT for value in known):
        return None
    axes = tuple(known[1].ravel().tolist()) if len(known) > 1 else tuple(attributes.get("axes", ()))
    if operator == "Unsqueeze":
        return np.expand_dims(x, axes) if x.ndim + len(axes) <= 8 else None
    if operator == "Squeeze":
        return np.squeeze(x, axes or None)
    if operator == "Reshape":
        return x.reshape(axes)
    if operator == "Gather":
        return np.asarray(np.take(x, known[1].astype(int), attributes.get("axis", 0))) if known[1].size == 1 else None
    if operator == "Concat":
        return np.concatenate(known, attributes.get("axis", 0))
    if operator == "ConstantOfShape":
        value = attributes.get("value", np.zeros(1, np.float32))
        return np.full(axes if len(known) > 1 else x.ravel(), value.ravel()[0]) if _count(x) <= SHORT else None
    if operator == "Shape":
        return np.array(x.shape)[slice(attributes.get("start"), attributes.get("end"))]
    if operator == "Slice" and len(known) >= 3:
        return _slice(*(k.ravel().tolist() for k in known[1:]), x=x)
    if operator in _ARITHMETIC and len(known) == 2:
        broadcast = np.broadcast_shapes(x.shape, known[1].shape)
        return np.asarray(_ARITHMETIC[operator](x, known[1])) if math.prod(broadcast) <= SHORT else None
    return None


def _count(shape: Array) -> int:
    """How many numbers an array of a shape has."""
    return math.prod(max(0, int(n)) for n in shape.ravel())


def _slice(starts: list[int], ends: list[int], axes: Any = None, steps: Any = None, *, x: Array) -> Array:
    cut = [slice(None)] * x.ndim
    for k, axis in enumerate(axes or range(len(starts))):
        cut[axis] = slice(starts[k], ends[k], steps[k] if steps else 1)
        if cut[axis].step < 0 and ends[k] < -x.shape[axis]:  # beyond the beginning: NumPy counts it from the end
            cut[axis] = slice(starts[k], None, steps[k])
    return x[tuple(cut)]


def _divide(a: Array, b: Array) -> Array:
    """Whole numbers are rounded towards zero."""
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        return a / b
    return np.where((a < 0) != (b < 0), -(abs(a) // abs(b)), abs(a) // abs(b))


_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Min": np.minimum,
    "Max": np.maximum,
}
