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
from npmnv2.validate import Array
from npmnv2.weights.errors import FormatError
from npmnv2.weights.formats import keras_graph
from npmnv2.weights.formats.keras_file import KerasFile
from npmnv2.weights.formats.keras_graph import FED, Graph, Node
from npmnv2.weights.formats.raw import shown
from npmnv2.weights.keras_backbone import Parts, check_backbone, is_number, only, setting

# What does nothing when a trained network answers.
IDLE = {
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness"),
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
SOFTMAX = [("Softmax", "linear", -1), ("Activation", "softmax", -1)]  # class, activation, axis
RIGHT = ("args", "x2", "y")  # how the right side of an operation is given: by position, or by name
OTHERWISE = "weights.load_into(model, path, partial=True) loads the network below the classifier alone"
MUST = "a classifier must be global average pooling, dropout if any, and one dense layer with softmax or none"


class Adapted(NamedTuple):
    """What `adapt` makes of a file."""

    arrays: dict[str, Array]  # under the names that ``keras.applications`` has
    config: dict[str, Any]  # arguments of the builder that the file says
    preprocessing: dict[str, Any] | None  # where it is not that of ``keras.applications``
    assumed: tuple[str, ...]  # what the file does not say, a sentence each
    left_out: tuple[str, ...]  # what it has and no network here, a sentence each


def adapt(
    file: KerasFile, arrays: Mapping[str, Array], architecture: str, width: float, partial: bool = False
) -> Adapted:
    """Read the model around a MobileNet, and give its classifier the name that ``keras.applications`` has for it.

    Parameters
    ----------
    file : KerasFile
    arrays : mapping of str -> ndarray
        Those of the file, with names for all layers.
    architecture, width
        Of the MobileNet.
    partial : bool
        Whether a classifier that cannot be read may be left out.

    Raises
    ------
    FormatError
        In a sentence that names the layer which no network here has.
    """
    graph = keras_graph.read(file.config)
    parts = Parts(architecture, width)
    left_out = ["the state of the optimiser"] if file.trained else []
    if graph is None:
        found, assumed = _undescribed(arrays, parts, partial)
        return Adapted(found, {}, None, tuple(assumed), tuple(left_out))
    last, otherwise = check_backbone(graph, parts, _size(graph, parts))
    left_out += otherwise
    if any(node.config.get("trainable") is False for node in graph.nodes.values()):
        left_out.append("which layers were frozen: all of them train here")
    try:
        head = _head(graph, parts, last)
        found, config = _renamed(arrays, head, parts), {"dropout": head.dropout}
        own = head.dense.name != parts.classifier
        left_out += head.left_out
    except FormatError:
        if not partial:
            raise
        found, config, own = {name: arrays[name] for name in parts.backbone if name in arrays}, {}, True
        left_out.append("the layers behind the network")
    preprocessing, assumed, idle = _pictures(graph, parts, own)
    return Adapted(found, config, preprocessing, tuple(assumed), (*left_out, *idle))


# -- a file that does not describe its model


def _undescribed(arrays: Mapping[str, Array], parts: Parts, partial: bool) -> tuple[dict[str, Array], list[str]]:
    """The arrays of a file of weights alone: one more layer than the network's own can be its classifier."""
    layers = sorted({name.rpartition("/")[0] for name in arrays if name not in parts.backbone})
    if not layers or parts.classifier in layers:
        return dict(arrays), []
    kernel = arrays.get(f"{layers[0]}/kernel")
    dense = Node(
        layers[0], "Dense", {"units": kernel.shape[-1] if kernel is not None and kernel.ndim else None}, (), ()
    )
    channels = arrays.get(f"{parts.last}/gamma")
    fits = kernel is not None and channels is not None and kernel.ndim == 2 and len(kernel) == len(channels)
    if len(layers) > 1 or not fits:
        if partial:
            return {name: arrays[name] for name in parts.backbone if name in arrays}, []
        named = ", ".join(shown(layer) for layer in layers[:5]) + (", ..." if len(layers) > 5 else "")
        raise FormatError(
            f"has the layers {named} beside those of the network, and does not describe its model; {MUST}; {OTHERWISE}"
        )
    assumed = [f"global average pooling stands before {shown(dense.path)}", _assumption(None, scaled=False)]
    return _renamed(arrays, _Head(dense, 0.0, ()), parts), assumed


# -- what stands behind it


class _Head(NamedTuple):
    dense: Node
    dropout: float
    left_out: tuple[str, ...]


def _head(graph: Graph, parts: Parts, last: Node) -> _Head:
    """The classifier; or the error that names the layer which ours has not."""
    dense, kept, pooled, softmax, left_out = None, 1.0, False, False, []
    for node in _chain(graph, parts, graph.output, last.path):
        config, activation = node.config, node.config.get("activation", "linear")
        if node.kind == keras_graph.INPUT:
            pass  # of a model in the model
        elif node.kind == "GlobalAveragePooling2D" and not pooled and _of_channels(config):
            pooled = True
        elif node.kind == "Dropout" and pooled and dense is None:
            kept *= 1 - _rate(node)
        elif node.kind in ("Flatten", "Reshape") and pooled and dense is None:
            pass  # of one number a channel
        elif _is_dense(node, parts) and pooled and dense is None and activation in ("linear", "softmax"):
            dense, softmax = node, activation == "softmax"
        elif dense is not None and not softmax and (node.kind, activation, config.get("axis", -1)) in SOFTMAX:
            softmax = True
        elif _is_idle(node, dense):
            pass
        elif node.kind in IDLE or node.kind == "Dropout":
            left_out.append(f"{node}, which does nothing when a trained network answers")
        else:
            raise FormatError(f"has {node}{_why(node, dense, activation)} behind the network; {MUST}; {OTHERWISE}")
    if dense is None:
        raise FormatError(f"has no dense layer behind the network; {MUST}; {OTHERWISE}")
    if softmax:
        left_out.append(f"the softmax behind {shown(dense.path)}: a network here gives the logits before it")
    return _Head(dense, round(1 - kept, 12), tuple(left_out))


def _of_channels(config: Mapping[str, Any]) -> bool:
    return config.get("data_format", "channels_last") == "channels_last"


def _units(dense: Node) -> Any:
    return dense.config.get("filters" if dense.kind == "Conv2D" else "units")


def _is_idle(node: Node, dense: Node | None) -> bool:
    """Whether it hands on what it gets: a shape of one number a class, no activation."""
    if node.kind == "Reshape":
        return dense is not None and node.config.get("target_shape") == [_units(dense)]
    return node.kind == "Activation" and node.config.get("activation") == "linear"


def _is_dense(node: Node, parts: Parts) -> bool:
    """Whether it is a dense layer, or the 1x1 convolution that stands for one in MobileNetV1."""
    return node.kind == "Dense" or (node.kind == "Conv2D" and node.name == parts.classifier)


def _why(node: Node, dense: Node | None, activation: Any) -> str:
    """What is wrong with a layer whose class would be right."""
    if node.kind == "Dense" and dense is not None:
        return f" after {dense}"
    if node.kind == "Dense" and activation in ("linear", "softmax"):
        return " without pooling before it,"
    return "" if activation == "linear" else f" with the activation {shown(str(activation))}"


def _rate(node: Node) -> float:
    rate: Any = node.config.get("rate")
    if not is_number(rate) or not 0 <= rate < 1:
        raise FormatError(f"has {node} with the rate {shown(repr(rate))}")
    return float(rate)


def _renamed(arrays: Mapping[str, Array], head: _Head, parts: Parts) -> dict[str, Array]:
    """The arrays with the classifier's under the name that it has in ``keras.applications``."""
    name, found = head.dense.name, dict(arrays)
    kernel, bias = found.pop(f"{name}/kernel", None), found.pop(f"{name}/bias", None)
    biased = setting(head.dense, "use_bias")
    if kernel is None or (bias is None and biased):
        raise FormatError(f"has no {'kernel' if kernel is None else 'bias'} for {head.dense}")
    if bias is not None and not biased:
        raise FormatError(f"has {head.dense} with use_bias {shown(repr(biased))} and a bias for it")
    if name == parts.classifier and head.dense.kind != "Dense":
        said = setting(head.dense, "kernel_size"), _units(head.dense), setting(head.dense, "groups")
        if kernel.ndim != 4 or said != (list(kernel.shape[:2]), kernel.shape[3], 1):
            raise FormatError(f"has {head.dense} of {shown(repr(said))} with a kernel of {kernel.shape}")
        bias = np.zeros(kernel.shape[3], kernel.dtype) if bias is None else bias
        return found | {f"{name}/kernel": kernel, f"{name}/bias": bias}
    if kernel.ndim != 2 or kernel.shape[1] != _units(head.dense):
        raise FormatError(f"has {head.dense} of {_units(head.dense)} units with a kernel of {kernel.shape}")
    if kernel.shape[1] == 1:
        raise FormatError(f"has {head.dense} with one output, a yes or no; {MUST}, of two classes or more; {OTHERWISE}")
    if bias is None:
        bias = np.zeros(kernel.shape[1], kernel.dtype)
    return found | {parts.fc["w"].theirs: parts.fc["w"].to_theirs(kernel), parts.fc["b"].theirs: bias}


# -- what stands before it


def _pictures(graph: Graph, parts: Parts, own: bool) -> tuple[dict[str, Any] | None, list[str], list[str]]:
    """How pictures are prepared, what of it is assumed, and which layers do nothing."""
    size, channels, left_out = None, 3, []
    scale, offset, scaled = np.ones(1), np.zeros(1), []
    for node in _chain(graph, parts, only(graph, parts.first).path, None):
        if node.kind == keras_graph.INPUT:
            size, channels = _image(node, size, channels)
        elif node.kind == "ZeroPadding2D" and node.name == f"{parts.first}_pad":
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


def _size(graph: Graph, parts: Parts) -> tuple[int, int] | None:
    """Of the pictures, as far as the inputs before the network say it."""
    size = None
    for node in _chain(graph, parts, only(graph, parts.first).path, None):
        if node.kind == keras_graph.INPUT:
            size, _ = _image(node, size, 3)
    return size


def _assumption(size: tuple[int, int] | None, scaled: bool) -> str:
    height, width = size or (224, 224)
    how = "" if scaled else " and scaled to -1 to 1"
    return f"pictures are stretched to {height}x{width} (nearest){how}, as Keras does for its own networks"


def _image(node: Node, size: tuple[int, int] | None, channels: int) -> tuple[tuple[int, int] | None, int]:
    """The size of an image and its channels, as far as an input says them."""
    shape = node.config.get("batch_shape", node.config.get("batch_input_shape"))
    if not isinstance(shape, list) or len(shape) != 4:
        return size, channels
    height, width, depth = shape[1:]
    if all(type(side) is int and side > 0 for side in (height, width)):
        size = height, width
    return size, depth if type(depth) is int else channels


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
    if left != FED or key not in RIGHT or not is_number(right):
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
