"""What the operators of an ONNX file do to an image: convolutions, what is done behind each, the classifier.

Every exporter writes the same network with other operators. A batch norm is folded into the kernel, or is an operator,
or a subtraction, a product and a sum; ReLU6 is `Clip`, or `Relu` and `Min`; the padding is in the convolution, or an
operator before it, whose numbers may be worked out in the graph from the size of the image. So the graph is run, in its
order, on values that say what they are instead of being computed: an `Image` remembers the convolution that made it.
Short arrays of known numbers are computed. What is not understood is carried along as `Strange`, and is an error if the
answer depends on it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from npmnv2.files import FormatError, listed, shown
from npmnv2.shapes import Pads, resolve_padding
from npmnv2.validate import Array
from npmnv2.weights.formats.onnx_file import Graph, Node
from npmnv2.weights.formats.onnx_numbers import computed

NONE: Pads = ((0, 0), (0, 0))
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # the permutations that move the channels


class Strange(NamedTuple):
    """A value that is not understood, and why."""

    why: str


class Norm(NamedTuple):
    """What follows a convolution, by channel: a batch norm, or ``gamma * x + beta``, which has neither mean nor var."""

    gamma: Array
    beta: Array
    mean: Array | None = None
    var: Array | None = None
    eps: float = 0.0


class Image(NamedTuple):
    """A value with height and width: what a convolution made, or the input of the graph."""

    depth: int  # how many convolutions it went through
    channels: int | None
    size: tuple[int, int] | None  # None if it is free
    first: bool | None  # whether the channels stand before height and width; None: not yet known
    source: "Image | None" = None  # what the convolution took
    w: Array = np.zeros(0)  # (M, C, KH, KW), and of a depthwise convolution (C, 1, KH, KW)
    group: int = 1
    stride: int = 1
    padding: Pads | str = NONE  # "same", or the zeros on every side
    norm: Norm = Norm(np.ones(0), np.zeros(0))
    low: float = -math.inf  # between which it was clipped
    high: float = math.inf
    shortcut: "Image | None" = None  # what was added to it last
    pads: Pads = NONE  # zeros that were put around it


class Pooled(NamedTuple):
    """The average of an image over height and width: (N, C), or with axes of length one."""

    image: Image


class Logits(NamedTuple):
    """What the classifier makes of it."""

    pooled: Pooled
    w: Array  # (C, classes)
    bias: Array
    behind: str = ""  # the operator behind it: "Softmax"


Value = Array | Image | Pooled | Logits | Strange


def run(graph: Graph) -> Logits:
    """What the one output of a graph is made of.

    It is an error if the graph has another number of outputs or inputs, or is no classifier of images of those
    operators.
    """
    for what, names in (("inputs", list(graph.inputs)), ("outputs", graph.outputs)):
        if len(names) != 1:
            raise FormatError(
                f"is a graph of {len(names)} {what} ({listed(map(shown, names))}); a network here has one"
            )
    ((name, shape),) = graph.inputs.items()
    if len(shape) != 4:
        raise FormatError(
            f"is a graph that takes {shown(name)} of {len(shape)} axes; a network here takes images, of 4"
        )
    values: dict[str, Value] = {**graph.arrays, name: Image(0, None, None, None, w=np.array([n or 0 for n in shape]))}
    with np.errstate(all="ignore"):  # what is no number is found later, by its layer's name
        for node in graph.nodes:
            values[node.outputs[0] if node.outputs else ""] = _value(node, values, graph.opset)
    found = values.get(graph.outputs[0], Strange("nothing in the graph makes its output"))
    if isinstance(found, Logits):
        return found
    why = found.why if isinstance(found, Strange) else f"its output is {_a(found)}"
    raise FormatError(f"is a graph of {len(graph.nodes)} operators that is no MobileNet or EfficientNet-Lite: {why}")


def _value(node: Node, values: dict[str, Value], opset: int) -> Value:
    """What an operator makes; the first thing that is not understood is what is told."""
    name = f"{shown(node.operator)} {shown(node.name or ', '.join(node.outputs))}"
    if node.operator == "Constant":
        given = next(iter(node.attributes.values()), None)
        if given is None or isinstance(given, str):
            return Strange(f"{name} is of a kind that is not read")
        return np.asarray(given)
    inputs = [values.get(x, Strange(f"{shown(x)} is nowhere in the file")) if x else None for x in node.inputs]
    for value in inputs:
        if isinstance(value, Strange):
            return value
    operator = _OPERATORS.get(node.operator)
    if operator is None:
        return Strange(f"{name} is an operator that no network here has")
    found: Value | None
    if inputs and all(value is None or isinstance(value, np.ndarray) for value in inputs):
        try:
            found = computed(node, [value for value in inputs if isinstance(value, np.ndarray)], opset)
        except Exception as error:  # the library's evaluator has many
            return Strange(f"{name} cannot be computed ({type(error).__name__}: {shown(str(error), 200)})")
    else:
        found = operator(node, inputs)
    unknown = f"{name}, of {listed(map(_a, inputs), 3)}, is none that a network here has"
    return Strange(unknown) if found is None else found


def _a(value: Value | None) -> str:
    """For an error."""
    if isinstance(value, np.ndarray):
        return f"numbers of shape {value.shape}"
    return {Image: "an image", Pooled: "a pooled image", Logits: "logits"}.get(type(value), "nothing")


# -- the image


def _same(node: Node, inputs: list[Any]) -> Value | None:
    """What leaves a value as it is."""
    return inputs[0]  # type: ignore[no-any-return]


def _moved(node: Node, inputs: list[Any]) -> Value | None:
    """Axes of length one may go anywhere; of an image only the channels are moved."""
    x, perm = inputs[0], node.attributes.get("perm")
    if not isinstance(x, Image):
        return None if not isinstance(x, Pooled | Logits) else x  # type: ignore[no-any-return]
    x = _laid(x, perm == TO_LAST)
    if node.operator != "Transpose" or perm != (TO_LAST if x.first else TO_FIRST):
        return None
    return x._replace(first=not x.first)


def _laid(x: Image, first: bool) -> Image:
    """The input of the graph, once it is known where its channels stand."""
    if x.first is not None:
        return x
    shape = [int(n) for n in x.w]
    C, H, W = shape[1:] if first else (shape[3], *shape[1:3])
    return x._replace(first=first, channels=C or None, size=(H, W) if H and W else None)


def _shape(node: Node, inputs: list[Any]) -> Value | None:
    """The shape of a batch of one."""
    x = inputs[0]
    if isinstance(x, Pooled | Logits):
        return np.array([1, x.image.channels or 0, 1, 1]) if isinstance(x, Pooled) else np.array([1, len(x.bias)])
    if not isinstance(x, Image) or x.first is None or x.size is None or x.channels is None:
        return Strange("it computes with the size of the image, which the file does not say")
    H, W = (n + sum(pads) for n, pads in zip(x.size, x.pads, strict=True))
    shape = [1, x.channels, H, W] if x.first else [1, H, W, x.channels]
    return np.array(shape)[slice(node.attributes.get("start"), node.attributes.get("end"))]


def _pad(node: Node, inputs: list[Any]) -> Value | None:
    """Zeros around an image, for the convolution that follows."""
    x = inputs[0]
    pads = inputs[1] if len(inputs) > 1 else np.array(node.attributes.get("pads", ()))
    value = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.array(node.attributes.get("value", 0))
    if not isinstance(x, Image) or not all(isinstance(numbers, np.ndarray) for numbers in (pads, value)):
        return None
    if pads.size != 8 or x.pads != NONE:
        return None
    if node.attributes.get("mode", "constant") != "constant" or len(inputs) > 3 or value.size != 1 or value.any():
        return None
    zeros = np.array(pads, int).reshape(2, 4).T.tolist()  # by axis: before, after
    x = _laid(x, not any(zeros[1]))
    y = 2 if x.first else 1
    if any(zeros[0] + zeros[1 if x.first else 3]) or min(zeros[y] + zeros[y + 1]) < 0:
        return None
    (top, bottom), (left, right) = zeros[y], zeros[y + 1]
    return x._replace(pads=((top, bottom), (left, right)))


def _conv(node: Node, inputs: list[Any]) -> Value | None:
    """A convolution with one stride both ways and no dilation; on a pooled image it is the classifier."""
    x, w, bias = (*inputs, None)[:3]
    said = node.attributes
    if not isinstance(w, np.ndarray) or w.ndim != 4 or w.size < 1 or w.dtype.kind != "f":
        return None
    if bias is not None and (not isinstance(bias, np.ndarray) or bias.shape != w.shape[:1]):
        return None
    bias = np.zeros(len(w), w.dtype) if bias is None else bias
    if isinstance(x, Pooled):
        fits = w.shape[1:] == (x.image.channels, 1, 1) and said.get("group", 1) == 1
        return Logits(x, w[:, :, 0, 0].T, bias) if fits and not any(said.get("pads", ())) else None
    if not isinstance(x, Image) or _laid(x, True).first is False:
        return None
    x = _laid(x, True)
    strides, group = said.get("strides", [1, 1]), said.get("group", 1)
    if len(set(strides)) != 1 or strides[0] < 1 or any(d != 1 for d in said.get("dilations", ())):
        return None
    if x.channels not in (None, w.shape[1] * group):
        return None
    padding, size = _padding(said, x.pads, w.shape[2], w.shape[3]), None
    if padding is None:
        return None
    if x.size is not None:
        zeros = resolve_padding(padding, *x.size, w.shape[2], w.shape[3], strides[0])
        sizes = zip(x.size, zeros, w.shape[2:], strict=True)
        H, W = ((n + sum(ends) - K) // strides[0] + 1 for n, ends, K in sizes)
        size = (H, W) if H > 0 and W > 0 else None
    norm = Norm(np.ones(len(w), w.dtype), bias)
    return Image(x.depth + 1, len(w), size, True, x, w, group, strides[0], padding, norm)


def _padding(said: dict[str, Any], pads: Pads, KH: int, KW: int) -> Pads | str | None:
    """The zeros that a convolution and the operator before it put around; "same" if they depend on the size."""
    auto = said.get("auto_pad", "") or "NOTSET"
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        is_lower = auto == "SAME_LOWER" and (set(said.get("strides", [1])) != {1} or KH % 2 == 0 or KW % 2 == 0)
        return None if pads != NONE or is_lower else "same"
    own = said.get("pads", []) if auto == "NOTSET" else []
    own = own or [0, 0, 0, 0]
    if len(own) != 4 or auto not in ("NOTSET", "VALID"):
        return None
    (top, bottom), (left, right) = pads
    return (top + own[0], bottom + own[2]), (left + own[1], right + own[3])


def _norm(node: Node, inputs: list[Any]) -> Value | None:
    """A batch norm behind a convolution."""
    x, *numbers = inputs
    if not isinstance(x, Image) or not x.first or len(numbers) != 4 or not _is_bare(x):
        return None
    if not all(isinstance(n, np.ndarray) and n.shape == (x.channels,) and n.dtype.kind == "f" for n in numbers):
        return None
    gamma, beta, mean, var = numbers
    eps = float(f"{node.attributes.get('epsilon', 1e-5):.7g}")  # as it was written, before it was a float32
    before = x.norm
    if (before.gamma == 1).all() and before.mean is None:
        mean = mean - before.beta if before.beta.any() else mean
        return x._replace(norm=Norm(gamma, beta, mean, var, eps))
    scale = gamma / np.sqrt(var.astype(np.float64) + eps)
    return _affine(x, scale, beta - mean * scale)


def _affine(x: Image, scale: Array | float, offset: Array | float) -> Image:
    """``scale * x + offset``, each one number or one a channel."""
    norm = x.norm
    gamma, beta = np.float64(1) * norm.gamma * scale, np.float64(1) * norm.beta * scale + offset
    return x._replace(norm=norm._replace(gamma=gamma, beta=beta))


def _is_bare(x: Image) -> bool:
    """Whether it is what a convolution made, and neither clipped nor padded nor added to."""
    is_open = (x.low, x.high) == (-math.inf, math.inf)
    return x.source is not None and is_open and x.shortcut is None and x.pads == NONE


def _elementwise(node: Node, inputs: list[Any]) -> Value | None:
    """A shortcut, or a number a channel."""
    if len(inputs) != 2:
        return None
    x, c = inputs
    if isinstance(x, Image) and isinstance(c, Image):
        return _added(x, c) if node.operator == "Add" else None
    if isinstance(x, np.ndarray):
        if node.operator not in ("Add", "Mul"):
            return None
        x, c = c, x
    if not isinstance(c, np.ndarray) or c.dtype.kind not in "fi":
        return None
    if isinstance(x, Logits):
        fits = node.operator == "Add" and c.size == len(x.bias) and not x.behind
        return x._replace(bias=x.bias + c.reshape(-1)) if fits else None
    if not isinstance(x, Image) or not _is_bare(x):
        return None
    if c.size != 1:
        shape = (*(1 for _ in range(4 - c.ndim)), *c.shape)
        if shape != ((1, x.channels, 1, 1) if x.first else (1, 1, 1, x.channels)):
            return None
    c = np.float64(1) * (c.reshape(-1) if c.size != 1 else c.reshape(-1)[0])
    if node.operator in ("Add", "Sub"):
        return _affine(x, 1.0, c if node.operator == "Add" else -c)
    return _affine(x, c if node.operator == "Mul" else 1 / c, 0.0)


def _added(x: Image, y: Image) -> Image | None:
    """A shortcut: the one that went through fewer convolutions is added to the other."""
    there, here = sorted((x, y), key=lambda image: image.depth)
    fits = here.first == there.first and here.channels == there.channels and here.size == there.size
    if not fits or here.depth == there.depth or here.shortcut is not None or here.pads != NONE or there.pads != NONE:
        return None
    return here._replace(shortcut=there)


def _clip(node: Node, inputs: list[Any]) -> Value | None:
    """Between two numbers; Relu, Min and Max are such too."""
    x, *bounds = inputs
    if isinstance(x, np.ndarray) and node.operator in ("Min", "Max"):
        x, *bounds = bounds[0], x, *bounds[1:]
    if not isinstance(x, Image) or x.shortcut is not None or x.pads != NONE or x.source is None:
        return None
    if not all(b is None or (isinstance(b, np.ndarray) and b.size == 1) for b in bounds):
        return None
    if len(bounds) > (2 if node.operator == "Clip" else 1):
        return None
    numbers = [None if b is None else float(b.reshape(-1)[0]) for b in bounds]
    old = [node.attributes.get("min"), node.attributes.get("max")]  # as they were in older files
    given = {"Relu": [0.0, None], "Max": [*numbers, None], "Min": [None, *numbers]}
    low, high = given.get(node.operator, [*numbers, *old[len(numbers) :]])
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return x._replace(low=max(x.low, min(low, x.high)), high=min(x.high, max(high, x.low)))


def _pool(node: Node, inputs: list[Any]) -> Value | None:
    """The average over all of the image."""
    x = inputs[0]
    if not isinstance(x, Image) or x.source is None or x.pads != NONE:
        return None
    if node.operator == "ReduceMean":
        given = inputs[1] if len(inputs) > 1 and inputs[1] is not None else node.attributes.get("axes", [])
        axes = np.ravel(given).tolist() if isinstance(given, np.ndarray | list) else []
        return Pooled(x) if sorted(axis % 4 for axis in axes) == ([2, 3] if x.first else [1, 2]) else None
    if node.operator == "AveragePool":
        whole = list(x.size or ()) == node.attributes.get("kernel_shape") and not any(node.attributes.get("pads", ()))
        return Pooled(x) if whole and x.first else None
    return Pooled(x) if x.first else None


def _product(node: Node, inputs: list[Any]) -> Value | None:
    """The classifier."""
    x, w, bias = (*inputs, None)[:3]
    said = node.attributes
    if not isinstance(x, Pooled) or not isinstance(w, np.ndarray) or w.ndim != 2 or w.dtype.kind != "f":
        return None
    if said.get("transA", 0) or said.get("alpha", 1.0) != 1 or said.get("beta", 1.0) != 1:
        return None
    w = w.T if said.get("transB", 0) else w
    bias = np.zeros(w.shape[1], w.dtype) if bias is None else bias
    if w.shape[0] != x.image.channels or not isinstance(bias, np.ndarray) or bias.size != w.shape[1]:
        return None
    return Logits(x, w, bias.reshape(-1))


def _last(node: Node, inputs: list[Any]) -> Value | None:
    """What makes probabilities of the logits."""
    x = inputs[0]
    fits = isinstance(x, Logits) and not x.behind and (node.operator != "Sigmoid" or len(x.bias) == 1)
    return x._replace(behind=node.operator) if fits else None


_OPERATORS: dict[str, Callable[[Node, list[Any]], Value | None]] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), _same),
    **dict.fromkeys(("Transpose", "Flatten", "Reshape", "Squeeze", "Unsqueeze"), _moved),
    **dict.fromkeys(("Gather", "Concat", "ConstantOfShape", "Slice"), lambda node, inputs: None),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _elementwise),
    **dict.fromkeys(("Clip", "Relu", "Min", "Max"), _clip),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean", "AveragePool"), _pool),
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Sigmoid"), _last),
    "Shape": _shape,
    "Pad": _pad,
    "Conv": _conv,
    "BatchNormalization": _norm,
}
