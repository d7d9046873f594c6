"""The layers of a Keras model as its description has them: which class each is, how it is set, what it is fed with.

A description is JSON, in the attribute "model_config" of an `.h5` and in the ``config.json`` of a `.keras`. It is read
as data: no class in it is looked up, no code in it is run. A model is a list of layers; one of them may be a model
again, which `read` dissolves into its layers. In a Sequential each layer is fed by the one above it. Otherwise each
says what feeds it, in one of two ways:

    [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["pool", 0, 0]}}], "kwargs": {}}]
    [[["pool", 0, 0, {}]]]                  Keras 1 and 2: the layer, its call, its output, and what else it was given

An operation on arrays such as ``x / 127.5`` stands among the layers too, and its numbers among what it was given.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from npmnv2.files import FormatError, shown
from npmnv2.weights.formats.hdf5 import MOST_TEXT

DEPTH = 8  # of models within models, and of lists within what a layer is given
MOST_LAYERS = 10_000  # a MobileNetV2 has 156
MODELS = ("Functional", "Model", "Sequential")
TRAINED = (*MODELS, "BatchNormalization", "Dropout")  # given by position behind what feeds it: whether in training
# Keras 3 writes of these that they are called in training mode, whatever its user said, and its `predict` takes no heed
# of it; Keras 2 writes it only where its user said so, and then draws numbers for every answer.
AUGMENTATION = ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness")
INPUT = "InputLayer"
Given = tuple[tuple[str, Any], ...]


class Fed(str):
    """The name of a layer, among what another is given."""


class Node(NamedTuple):
    """A layer."""

    path: str  # its name, behind those of the models that it is in: "mobilenetv2_1.00_160/Conv1"
    kind: str  # its class
    config: dict[str, Any]  # how it is set
    inputs: tuple[str, ...]  # the paths of what feeds it; none for the input of the whole
    given: Given  # by keyword, in order: x / 127.5 was given ("args", Fed("x")), ("args", 127.5)

    @property
    def name(self) -> str:
        """Its own name, as the arrays have it."""
        return self.path.rpartition("/")[2]

    def __str__(self) -> str:
        """For an error: the name and the class."""
        return f"the layer {shown(self.path)} ({shown(self.kind)})"


class Graph(NamedTuple):
    """A model with one output."""

    nodes: dict[str, Node]  # by path; what feeds a layer stands before it
    output: str  # the path of the last


def read(config: bytes) -> Graph | None:
    """The layers of a description; None if it describes no layers, as that of a class of one's own.

    An error if there is no JSON, a layer is fed by none of those above it, is called twice or in training mode, or
    there is more than one output.

    Examples
    --------
    >>> layers = [{"class_name": "Dense", "config": {"name": "a"}}, {"class_name": "Softmax", "config": {"name": "b"}}]
    >>> graph = read(json.dumps({"class_name": "Sequential", "config": {"layers": layers}}).encode())
    >>> graph.output, graph.nodes["b"].inputs, str(graph.nodes["b"])
    ('b', ('a',), 'the layer b (Softmax)')
    """
    try:
        model = json.loads(config) if config else None
    except RecursionError:
        raise FormatError("is damaged: its description is lists in lists without end") from None
    if not isinstance(model, dict) or model.get("class_name") not in MODELS or not _layers(model):
        return None
    nodes: dict[str, Node] = {}
    output = _dissolve(model, "", (), nodes)
    return Graph(nodes, output)


def _layers(model: Mapping[str, Any]) -> list[Any]:
    config = model.get("config")
    found = config if isinstance(config, list) else _dict(config).get("layers")  # a list was a Sequential of Keras 1
    return found if isinstance(found, list) else []


def _dissolve(model: Mapping[str, Any], above: str, inputs: tuple[str, ...], nodes: dict[str, Node]) -> str:
    """Put the layers of a model that is fed by `inputs` into `nodes`; the path of its output."""
    if above.count("/") > DEPTH:
        raise FormatError(f"has models in models, more than {DEPTH} deep")
    paths: dict[str, str] = {}  # of what a name stands for in this model: a layer, or the output of a model
    last = inputs
    for layer in map(_dict, _layers(model)):
        kind, config = str(layer.get("class_name")), layer.get("config")
        name = str(_dict(config).get("name", layer.get("name")))
        path = f"{above}{name}"
        if len(name) > MOST_TEXT or len(nodes) >= MOST_LAYERS:
            raise FormatError(f"has a layer of more than {MOST_TEXT} letters, or more than {MOST_LAYERS} layers")
        if name in paths or path in nodes:
            raise FormatError(f"has two layers called {shown(path)}")
        given: Given = ()
        if kind == INPUT:
            feeds = inputs
        elif model.get("class_name") == "Sequential":
            feeds = last
        else:
            feeds, given = _fed(path, kind, layer.get("inbound_nodes"), paths)
        if kind in MODELS:
            paths[name] = _dissolve(layer, f"{path}/", feeds, nodes)
        else:
            nodes[path] = Node(path, kind, _dict(config), feeds, given)
            paths[name] = path
        last = (paths[name],)
    if model.get("class_name") == "Sequential":
        if not last:
            raise FormatError(f"has a model without layers, {shown(above)}")
        return last[0]
    outputs = [name for _, name in _given(_dict(model["config"]).get("output_layers")) if isinstance(name, Fed)]
    if len(outputs) != 1 or outputs[0] not in paths:
        raise FormatError(f"has a model of {len(outputs)} outputs, {shown(above) or 'the whole'}; one is read")
    return paths[outputs[0]]


def _fed(path: str, kind: str, calls: Any, paths: Mapping[str, str]) -> tuple[tuple[str, ...], Given]:
    """The paths of what feeds a layer, and all that it was given."""
    if not isinstance(calls, list) or len(calls) != 1:
        count = len(calls) if isinstance(calls, list) else 0
        raise FormatError(f"has the layer {shown(path)} called {count} times; once is read")
    given = list(_given(calls[0]))
    names = [value for _, value in given if isinstance(value, Fed)]
    for name in names:
        if name not in paths:
            raise FormatError(f"has the layer {shown(path)} fed by {shown(name)}, which is none of those above it")
    by_position = "args" if kind in TRAINED else "training"
    is_idle = kind in AUGMENTATION and isinstance(calls[0], dict)
    said = [value for key, value in given if key == "training" or (key == by_position and type(value) is not Fed)]
    if any(said) and not is_idle:
        raise FormatError(
            f"has the layer {shown(path)} called in training mode, where its answer to a picture is not always the same"
        )
    return tuple(paths[name] for name in names), tuple((key, value) for key, value in given if value is not None)


def _given(value: Any, depth: int = 0, key: str = "") -> Iterator[tuple[str, Any]]:
    """What a layer is given, by keyword if there is one: other layers, referred to in either way, and numbers."""
    if depth > DEPTH:
        raise FormatError(f"has a layer that is given lists in lists, more than {DEPTH} deep")
    history = _dict(_dict(value).get("config")).get("keras_history")
    found = value if history is None else history
    if _is_reference(found):
        yield key, Fed(found[0])
        yield from _given(found[3] if len(found) == 4 else {}, depth + 1)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _given(part, depth + 1, str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _given(part, depth + 1, key)
    else:
        yield key, value


def _is_reference(value: Any) -> bool:
    if not isinstance(value, list) or len(value) not in (3, 4):
        return False
    return isinstance(value[0], str) and all(type(number) is int for number in value[1:3])


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
