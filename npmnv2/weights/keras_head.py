"""A Keras model of one's own around a MobileNet: what prepares its pictures, and which layer is its classifier.

Whoever fine-tunes a network of ``keras.applications`` puts layers of their own before and behind it:

    inputs -> [augmentation] -> [Rescaling] -> MobileNet without its top -> pooling -> [Dropout] -> Dense -> [Softmax]

`adapt` finds the MobileNet by the names of its layers, wherever in the model they are. It then goes from layer to layer
to the one end, which must be a classifier as ours is, and to the other, which says how pictures are prepared. A layer
that is nothing of the kind is an error: to leave it out would be to answer differently.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2.data.preprocessing import PREPROCESSING
from npmnv2.files import FormatError, shown
from npmnv2.validate import Array
from npmnv2.weights.formats import keras_graph
from npmnv2.weights.formats.keras_file import KerasFile
from npmnv2.weights.formats.keras_graph import Fed, Graph, Node
from npmnv2.weights.head import ONLY_NETWORK
from npmnv2.weights.keras_backbone import Parts, Size, check_backbone, is_number, only, setting
from npmnv2.weights.recognise import Found
from npmnv2.weights.said import Said, Usual

# What does nothing when a trained network answers.
IDLE = {
    *keras_graph.AUGMENTATION,
    *("GaussianNoise", "GaussianDropout", "AlphaDropout", "SpatialDropout2D", "ActivityRegularization"),
}
# Arithmetic with one number: of Keras 3, and what Keras 2 calls it.
ARITHMETIC = {
    "TrueDivide": "divide",
    "Divide": "divide",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Add": "add",
    "math.truediv": "divide",
    "math.divide": "divide",
    "math.subtract": "subtract",
    "math.multiply": "multiply",
    "math.add": "add",
    "__operators__.add": "add",
}
POOLING = "GlobalAveragePooling2D"
RIGHT = ("args", "x2", "y")  # how the right side of an operation is given: by position, or by name
MUST = "a classifier must be global average pooling, dropout if any, and one dense layer with softmax or none"


def adapt(file: KerasFile, arrays: Mapping[str, Array], network: Found, width: float, partial: bool = False) -> Said:
    """Read the model around a MobileNet: whether what is behind it is a classifier, and what prepares its pictures.

    The arrays are those of the file, with names for all layers; network and width are the MobileNet among them. A layer
    that no network here has is an error, which names it; with `partial` a classifier that cannot be read is left out.
    """
    graph = keras_graph.read(file.config)
    parts = Parts(network, width)
    left_out = ["the state of the optimiser"] if file.trained else []
    if graph is None:  # a file of weights alone: what it has beside the network's layers can be its classifier
        layers = {name.rpartition("/")[0] for name in network.beside}
        assumed = []
        if len(layers) == 1 and parts.classifier not in layers:
            (own,) = layers
            assumed = [f"global average pooling stands before {shown(own)}", _assumption(None, scaled=False)]
        return Said(assumed=tuple(assumed), left_out=tuple(left_out))
    before = _chain(graph, parts, only(graph, parts.first).path, None)
    size, channels = _images(before)
    last = check_backbone(graph, parts, size)
    if any(node.config.get("trainable") is False for node in graph.nodes.values()):
        left_out.append("which layers were frozen: all of them train here")
    config: dict[str, Any] = {}
    has_own, unread = True, ""
    try:
        head = _head(graph, parts, last)
        _check_arrays(arrays, head.dense)
        config, has_own = {"dropout": head.dropout}, head.dense.name != parts.classifier
        left_out += head.left_out
    except FormatError as error:
        if not partial:
            raise
        unread = str(error)
    preprocessing, assumed, idle = _pictures(before, parts, has_own, size, channels)
    info = {} if preprocessing is None else {"preprocessing": preprocessing}
    return Said(config, info, tuple(assumed), (*left_out, *idle), unread)


# -- what stands behind it


class _Head(NamedTuple):
    dense: Node
    dropout: float
    left_out: tuple[str, ...]


def _head(graph: Graph, parts: Parts, last: Node) -> _Head:
    """The classifier; or the error that names the layer which ours has not."""
    dense, kept, pooled, last_activation, left_out = None, 1.0, False, "", []
    for node in _chain(graph, parts, graph.output, last.path):
        activation = node.config.get("activation", "linear")
        # In MobileNetV1 a 1x1 convolution stands for it.
        is_dense = node.kind == "Dense" or (node.kind == "Conv2D" and node.name == parts.classifier)
        if node.kind == keras_graph.INPUT:
            pass  # of a model in the model
        elif node.kind == POOLING and not pooled and setting(node, "data_format") == "channels_last":
            pooled = True
        elif node.kind == "Dropout" and pooled and dense is None:
            kept *= 1 - _rate(node)
        elif node.kind in ("Flatten", "Reshape") and pooled and dense is None:
            pass  # of one number a channel
        elif is_dense and pooled and dense is None and activation in ("linear", _last(node)):
            dense, last_activation = node, activation.replace("linear", "")
        elif dense is not None and not last_activation and _activation(node) == _last(dense):
            last_activation = _last(dense)
        elif _is_idle(node, dense):
            pass
        elif node.kind in IDLE or node.kind == "Dropout":
            left_out.append(f"{node}, which does nothing when a trained network answers")
        else:
            raise FormatError(f"has {node}{_why(node, dense, activation)} behind the network; {MUST}; {ONLY_NETWORK}")
    if dense is None:
        raise FormatError(f"has no dense layer behind the network; {MUST}; {ONLY_NETWORK}")
    if last_activation:
        what = f"the {last_activation} behind {shown(dense.path)}: a network here gives the logits before it"
        left_out.append(Usual(what))
    return _Head(dense, round(1 - kept, 12), tuple(left_out))


def _units(dense: Node) -> Any:
    return dense.config.get("filters" if dense.kind == "Conv2D" else "units")


def _last(dense: Node) -> str:
    """The activation that a network may end in, which changes no order of its classes."""
    return "sigmoid" if _units(dense) == 1 else "softmax"


def _activation(node: Node) -> Any:
    """What a layer that is nothing but an activation over the classes does."""
    if node.kind == "Softmax":
        return "softmax" if node.config.get("axis", -1) == -1 else None
    return node.config.get("activation") if node.kind == "Activation" else None


def _is_idle(node: Node, dense: Node | None) -> bool:
    """Whether it hands on what it gets: a shape of one number a class, no activation."""
    if node.kind == "Reshape":
        return dense is not None and node.config.get("target_shape") == [_units(dense)]
    return node.kind == "Activation" and node.config.get("activation") == "linear"


def _why(node: Node, dense: Node | None, activation: Any) -> str:
    """What is wrong with a layer whose class would be right."""
    if node.kind == "Dense" and dense is not None:
        return f" after {dense}"
    if node.kind == "Dense" and activation == "softmax" and _units(node) == 1:
        return " with the softmax of one output, which is 1 for every picture,"
    if node.kind == "Dense" and activation in ("linear", "softmax"):
        return " without pooling before it,"
    return "" if activation == "linear" else f" with the activation {shown(str(activation))}"


def _rate(node: Node) -> float:
    rate: Any = node.config.get("rate")
    if not is_number(rate) or not 0 <= rate < 1:
        raise FormatError(f"has {node} with the rate {shown(repr(rate))}")
    return float(rate)


def _check_arrays(arrays: Mapping[str, Array], dense: Node) -> None:
    """Whether the classifier's arrays are those that the description says; their shapes are compared later."""
    kernel, bias = (arrays.get(f"{dense.name}/{variable}") for variable in ("kernel", "bias"))
    biased = setting(dense, "use_bias")
    if kernel is None or (bias is None and biased):
        raise FormatError(f"has no {'kernel' if kernel is None else 'bias'} for {dense}")
    if bias is not None and not biased:
        raise FormatError(f"has {dense} with use_bias {shown(repr(biased))} and a bias for it")
    if dense.kind == "Dense":
        if kernel.ndim != 2 or kernel.shape[1] != _units(dense):
            raise FormatError(f"has {dense} of {shown(repr(_units(dense)))} units with a kernel of {kernel.shape}")
        return
    said = setting(dense, "kernel_size"), _units(dense), setting(dense, "groups")
    if kernel.ndim != 4 or said != (list(kernel.shape[:2]), kernel.shape[3], 1):
        raise FormatError(f"has {dense} of {shown(repr(said))} with a kernel of {kernel.shape}")


# -- what stands before it


def _pictures(
    before: list[Node], parts: Parts, own: bool, size: Size | None, channels: int
) -> tuple[dict[str, Any] | None, list[str], list[str]]:
    """How pictures are prepared, what of it is assumed, and which layers do nothing."""
    scale, offset, scaled, left_out = np.ones(1), np.zeros(1), [], []
    for node in before:
        if node.kind == keras_graph.INPUT or (node.kind == "ZeroPadding2D" and node.name == f"{parts.first}_pad"):
            pass  # the network's own
        elif node.kind in IDLE:
            left_out.append(f"{node}, which does nothing when a trained network answers")
        elif (step := _step(node)) is not None:
            scale, offset = scale * step[0], offset * step[0] + step[1]
            scaled.append(node)
        else:
            raise FormatError(
                f"has {node} before the network; only Rescaling, arithmetic with one number and augmentation are read "
                "there: build the model from what comes behind that layer, and prepare its pictures outside of it"
            )
    preprocessing = PREPROCESSING["keras"]._replace(resize=size or PREPROCESSING["keras"].resize)
    if not scaled and not own:
        return (None if size is None or channels != 3 else preprocessing.to_dict()), [], left_out
    if scaled:
        mean, std = _mean_and_std(scale, offset, scaled[-1])
        preprocessing = preprocessing._replace(mean=mean, std=std)
        names = " and ".join(shown(node.path) for node in scaled)
        left_out.append(
            f"{names}: that is in the preprocessing of pictures of 0 to 255, and the network takes the rest"
        )
    if channels != 3:
        raise FormatError(f"takes pictures of {channels} channels; a model with a classifier of its own must take 3")
    return preprocessing.to_dict(), [_assumption(size, bool(scaled))], left_out


def _images(before: list[Node]) -> tuple[Size | None, int]:
    """The size of the pictures and their channels, as far as the inputs before the network say them."""
    size, channels = None, 3
    for node in before:
        shape = node.config.get("batch_shape", node.config.get("batch_input_shape"))
        if node.kind == keras_graph.INPUT and isinstance(shape, list) and len(shape) == 4:
            height, width, depth = shape[1:]
            if all(type(side) is int and side > 0 for side in (height, width)):
                size = height, width
            channels = depth if type(depth) is int else channels
    return size, channels


def _assumption(size: Size | None, scaled: bool) -> str:
    height, width = size or (224, 224)
    how = "" if scaled else " and scaled to -1 to 1"
    return f"pictures are stretched to {height}x{width} (nearest){how}, as Keras does for its own networks"


def _step(node: Node) -> tuple[Any, Any] | None:
    """The factor and the summand of a layer that does arithmetic; None if it does something else."""
    if node.kind == "Rescaling":
        said = [node.config.get("scale"), node.config.get("offset", 0)]
        numbers = [value if isinstance(value, list) else [value] for value in said]
        if not all(len(value) in (1, 3) and all(map(is_number, value)) for value in numbers):
            return None
        scale, offset = (np.array(value, np.float64) for value in numbers)
        return scale, offset
    what = ARITHMETIC.get(node.config.get("function", "") if node.kind == "TFOpLambda" else node.kind)
    if what is None or len(node.given) != 2:
        return None
    (_, left), (key, right) = node.given
    if not isinstance(left, Fed) or key not in RIGHT or not is_number(right):
        return None
    number = float(right)
    if what == "divide":
        return (1 / number, 0.0) if number else None
    return {"multiply": (number, 0.0), "add": (1.0, number), "subtract": (1.0, -number)}[what]


def _mean_and_std(scale: Array, offset: Array, node: Node) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """From ``scale * pixel + offset`` to ``(pixel / 255 - mean) / std``."""
    scale, offset = np.broadcast_arrays(scale, offset)
    if not (np.isfinite(scale) & np.isfinite(offset) & (scale > 0)).all():
        raise FormatError(f"has {node} before the network, after which pixels are times {shown(str(scale))}")
    std = 1 / (255 * scale)
    mean = -offset * std
    return tuple(float(f"{v:.12g}") for v in mean), tuple(float(f"{v:.12g}") for v in std)


# -- from layer to layer


def _chain(graph: Graph, parts: Parts, end: str, start: str | None) -> list[Node]:
    """The layers that lead to `end`, in their order; from behind the one at `start`, or from the input."""
    found: list[Node] = []
    where = "before" if start is None else "behind"
    node = graph.nodes[end]
    while node.path != start:
        if start is not None and node.name in parts.batch_norms:
            raise FormatError(f"has {found[-1] if found else node} behind {node.name}, not behind {shown(start)}")
        found.append(node)
        if not node.inputs and start is None:
            break
        if len(node.inputs) != 1:
            many = f"fed by {len(node.inputs)} layers" if node.inputs else f"which {shown(str(start))} does not lead to"
            raise FormatError(f"has {node} {where} the network, {many}; one layer behind the other is read")
        node = graph.nodes[node.inputs[0]]
    return found[::-1] if start is not None else found[:0:-1]
