"""Whether the MobileNet in a model of Keras's is that of ``keras.applications``, set and wired as it is there.

The names of its layers and the shapes of its arrays do not say: a model with these may have another epsilon, other
strides or a shortcut less, and would load and answer differently. The description of the model says.
"""

from collections.abc import Iterator
from typing import Any

from npmnv2.cost.layer import LayerCost
from npmnv2.cost.network import NETWORKS
from npmnv2.files import FormatError, shown
from npmnv2.weights.conventions import CONVENTIONS
from npmnv2.weights.formats.keras_graph import Graph, Node
from npmnv2.weights.names import entries
from npmnv2.weights.recognise import Found

PADS = ([0, 1], [1, 1])  # of an even size and of an odd one, at stride 2; MobileNetV1 has the first for both
NORMS = ("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization")
# What Keras takes where a description does not say; without `filters` and `kernel_size` it builds no convolution.
DEFAULTS: dict[str, Any] = {
    "strides": [1, 1],
    "dilation_rate": [1, 1],
    "padding": "valid",
    "groups": 1,
    "depth_multiplier": 1,
    "use_bias": True,
    "activation": "linear",
    "data_format": "channels_last",
    "axis": -1,
    "epsilon": 1e-3,
    "center": True,
    "scale": True,
    "max_value": None,
    "negative_slope": 0,
    "threshold": 0,
}
Size = tuple[int, int]
AXES = (-1, 3, [-1], [3])  # the channels, to a batch norm


class Parts:
    """What a file of Keras's calls the parts of a network, and how Keras sets them."""

    def __init__(self, found: Found, width: float) -> None:
        architecture, known = found.architecture, found.known
        self.backbone = [entry.theirs for entry in known]
        self.classifier = _layer(entries(architecture, found.names)[-1].theirs)  # predictions
        self.first, self.last = _layer(self.backbone[0]), _layer(self.backbone[-1])  # Conv1, Conv_1_bn
        self.stem = _layer(self.backbone[1])  # bn_Conv1
        costs = {layer.name: layer for layer in NETWORKS[architecture](width)}
        self.convolutions: dict[str, LayerCost] = {}
        self.shortcuts: set[str] = set()  # the batch norms behind which one ends
        for entry in known:
            name, _, leaf = entry.ours.rpartition(".")
            if leaf == "w":
                self.convolutions[_layer(entry.theirs)] = costs[name.removesuffix(".conv")]
            if leaf == "gamma" and costs[name.removesuffix(".bn")].shortcut:
                self.shortcuts.add(_layer(entry.theirs))
        # those without an activation, where a block ends
        self.bottlenecks = {_layer(e.theirs) for e in known if e.ours.endswith(".project.bn.gamma")}
        self.batch_norms = {_layer(name) for name in self.backbone if name.endswith("/gamma")}
        # the convolutions that pad an odd map as an even one
        self.even = set(self.convolutions) - {self.first} if architecture == "mobilenet_v1" else set()
        self.eps = CONVENTIONS["keras", architecture]["eps"]


def _layer(array: str) -> str:
    return array.rpartition("/")[0]


def setting(node: Node, name: str) -> Any:
    """How a layer is set, by Keras if not by the description."""
    return node.config.get(name, DEFAULTS.get(name))


def check_backbone(graph: Graph, parts: Parts, size: Size | None) -> Node:
    """The last layer of the network; or the error that names a layer that ``keras.applications`` has not, or not so.

    `size` is that of the pictures, None if any.
    """
    before, entry, block = None, "", ""  # the layer above; the outputs of the block before and of this one
    seen = []
    for node in _backbone(graph, parts):
        wrong = None if before is None else _misplaced(node, before, parts)
        source = graph.nodes[node.inputs[0]] if node.inputs else node
        wrong = wrong or _mispadded(node, source, parts, size)
        if node.kind == "Add":
            wired = sorted(node.inputs) == sorted((entry, before.path if before else ""))
            block = node.path
        else:
            wired = before is None or node.inputs == (before.path,)
        if node.name in parts.bottlenecks:
            entry, block = block, node.path
        elif before is not None and before.name == parts.stem:  # narrow networks have a shortcut from there
            block = node.path
        if wrong is None and not wired:
            wrong = f"fed by {' and '.join(map(shown, node.inputs))}"
        wrong = wrong or _changed(node, parts)
        if wrong is not None:
            raise FormatError(f"has {node} {wrong}: the network of keras.applications is another")
        if size is not None and node.name in parts.convolutions:
            stride = parts.convolutions[node.name].stride
            more = 0 if node.name in parts.even else stride - 1
            size = (size[0] + more) // stride, (size[1] + more) // stride
        before = node
        seen.append(node.name)
    order = [name for name in seen if name in parts.convolutions or name in parts.batch_norms]
    if order != list(dict.fromkeys(map(_layer, parts.backbone))):
        raise FormatError("describes the layers of the network in another order than keras.applications")
    assert before is not None  # the first convolution at least
    return before


def _backbone(graph: Graph, parts: Parts) -> Iterator[Node]:
    """Every layer from the network's first convolution to its last activation."""
    first = only(graph, parts.first).path
    inside = False
    for path, node in graph.nodes.items():
        inside |= path == first
        if inside:
            yield node
            if any(graph.nodes[source].name == parts.last for source in node.inputs):
                return


def only(graph: Graph, name: str) -> Node:
    """The layer of that name, wherever it is."""
    found = [node for node in graph.nodes.values() if node.name == name]
    if len(found) != 1:
        raise FormatError(f"describes {len(found)} layers called {name}; a network has one")
    return found[0]


def _changed(node: Node, parts: Parts) -> str | None:
    """What is other about a layer by itself, if anything is."""
    if node.name in parts.convolutions:
        layer = parts.convolutions[node.name]
        depthwise = layer.kind == "depthwise"
        if node.kind != ("DepthwiseConv2D" if depthwise else "Conv2D"):
            return "in it"
        wanted: dict[str, Any] = {"strides": [layer.stride] * 2, "dilation_rate": [1, 1], "activation": "linear"}
        wanted |= {"use_bias": False, "groups": 1, "kernel_size": [layer.kernel] * 2}
        wanted |= {"depth_multiplier": 1} if depthwise else {"filters": layer.out_shape[2]}
    elif node.name in parts.batch_norms:
        if node.kind not in NORMS:
            return "in it"
        wanted = {"center": True, "scale": True}
        eps, axis = setting(node, "epsilon"), setting(node, "axis")
        if not is_number(eps) or abs(eps / parts.eps - 1) > 1e-6:
            return f"with the epsilon {shown(repr(eps))}"
        if axis not in AXES:
            return f"with the axis {shown(repr(axis))}"
    elif node.kind == "ReLU":
        wanted = {"max_value": 6, "negative_slope": 0, "threshold": 0}
    elif node.kind == "Activation":
        wanted = {"activation": "relu6"}
    else:  # for padding see _mispadded
        return None if node.kind in ("Add", "ZeroPadding2D") else "in it"
    wanted["data_format"] = "channels_last"
    for name, value in wanted.items():
        said = setting(node, name)
        if said != value:
            return f"with {name} {shown(repr(said))}"
    return None


def _misplaced(node: Node, before: Node, parts: Parts) -> str | None:
    """What is wrong about a layer behind another, if anything is."""
    relu, added = node.kind in ("ReLU", "Activation"), node.kind == "Add"
    if added != (before.name in parts.shortcuts):
        return f"{'' if added else 'without a shortcut '}behind {before.name}"
    if relu != (before.name in parts.batch_norms and before.name not in parts.bottlenecks):
        return f"behind {before.name}"
    return None


def _mispadded(node: Node, before: Node, parts: Parts, size: Size | None) -> str | None:
    """What is wrong about the padding of a layer behind another, if anything is: it must be that of a network here."""
    layer, padded = parts.convolutions.get(node.name), before.kind == "ZeroPadding2D"
    if layer is None or layer.kernel == 1:
        return f"behind {before}" if padded and before is not node else None
    padding = setting(node, "padding")
    if padding != ("valid" if padded else "same"):
        return f"with padding {shown(repr(padding))} behind {shown(before.name)}"
    if padded:
        # of pictures of any size, keras.applications takes the sides to be even
        pads, sides = before.config.get("padding"), (0, 0) if size is None or node.name in parts.even else size
        if pads != [PADS[side % 2] if layer.stride == 2 else PADS[1] for side in sides]:
            maps = "" if size is None else f" around maps of {size[0]}x{size[1]}"
            return f"behind {before} with {shown(repr(pads))}{maps}"
    return None


def is_number(value: Any) -> bool:
    """Whether it is a number that is not out of all proportion."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
