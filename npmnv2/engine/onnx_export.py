"""A model as an ONNX file: what onnxruntime, OpenVINO and most phones' engines read.

The file holds the network as inference needs it (`folding.folded`): convolutions with a bias, clipping, additions, the
average, the linear layer. Two things differ from here, and both are ONNX's rules:

- images and kernels are PyTorch's NCHW (docs/layouts.md): the axes of the kernels are moved, once, in the file;
- a depthwise convolution is a grouped one with as many groups as channels.

Values in the file have the names of the layers that compute them here, ``b1.0.dw`` for example.
"""

import json
import os
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import __version__
from npmnv2.atomic import writing
from npmnv2.engine.folding import FoldedConv, FoldedNetwork, folded
from npmnv2.models.network import Network
from npmnv2.shapes import resolve_padding
from npmnv2.validate import Array
from npmnv2.weights.names import TO_PYTORCH

OPSET, IR = 17, 8  # of onnx 1.12, in 2022: every operator is there, and runtimes of that age still read the file


class Node(NamedTuple):
    """One operator of the graph: reads values and weights by name, writes one value."""

    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


def export(model: Network, path: str | os.PathLike[str]) -> None:
    """Write a model to an ONNX file, for inference: batch norm folded, no dropout.

    The input is ``x``, of shape (N, C, H, W): **NCHW**, unlike here. The output is ``logits``, (N, num_classes). N, H
    and W are free. If the model knows its preprocessing and its labels, they are in the file's metadata as JSON.

    Parameters
    ----------
    model : Network
        Its running statistics are used, whatever mode it is in. Not modified.
    path : str or path-like
        Replaced in one step if it exists (`atomic`).

    Raises
    ------
    TypeError
        If `model` is not a network.
    ValueError
        If a convolution with ``"same"`` padding has a stride larger than its kernel: runtimes differ there. If a part
        of the model was replaced, added or wrapped, as `folding.folded` says.
    ImportError
        Without the library onnx, which the extra ``onnx`` installs.
    OSError
        If the file cannot be written.

    Notes
    -----
    Arrays have the model's dtype. onnxruntime convolves float32 only: a float64 model gives a valid file for other
    tools, the reference evaluator of the onnx library among them.

    ``"same"`` padding depends on the size of the image, which is free; so it is written as ``auto_pad="SAME_UPPER"``,
    which is TensorFlow's rule: the odd pixel at the bottom and on the right.

    Examples
    --------
    >>> export("model.pth", "model.onnx")
    Traceback (most recent call last):
        ...
    TypeError: model must be a network, as mobilenet_v2() makes it; was str
    """
    nodes, weights = graph(folded(model))
    try:
        from onnx import helper, numpy_helper
    except ImportError as missing:
        raise ImportError("onnx_export.export needs the library onnx: pip install 'npmnv2[onnx]'") from missing

    kind = helper.np_dtype_to_tensor_dtype(weights["fc.w"].dtype)
    channels, num_classes = model.config["in_channels"], weights["fc.w"].shape[1]
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(n.operator, n.inputs, [n.output], name=n.output, **n.attributes) for n in nodes],
            type(model).__name__,
            inputs=[helper.make_tensor_value_info("x", kind, ["N", channels, "H", "W"])],
            outputs=[helper.make_tensor_value_info("logits", kind, ["N", num_classes])],
            initializer=[numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="npmnv2",
        producer_version=__version__,
    )
    helper.set_model_props(proto, _metadata(model))
    with writing(path) as file:
        file.write(proto.SerializeToString(deterministic=True))


def graph(network: FoldedNetwork) -> tuple[list[Node], dict[str, Array]]:
    """The network as ONNX's operators, in the order they run, and the arrays they read.

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(num_classes=10, width_mult=0.35, strides="digits", in_channels=1)
    >>> nodes, weights = graph(folded(model))
    >>> [(node.operator, node.output) for node in nodes[:3]]
    [('Conv', 'stem.conv'), ('Clip', 'stem'), ('Conv', 'b0.0.dw.conv')]
    >>> nodes[2].inputs, nodes[2].attributes
    (['stem', 'b0.0.dw.w', 'b0.0.dw.b'], {'strides': [1, 1], 'group': 16, 'pads': [1, 1, 1, 1]})
    """
    dtype = network.w.dtype
    weights: dict[str, Array] = {"zero": np.zeros((), dtype), "six": np.full((), 6, dtype)}
    nodes, at = [], "x"
    for block in network.blocks:
        start = at
        for conv in block.convs:
            name, w, b = conv.name, f"{conv.name}.w", f"{conv.name}.b"
            weights[w], weights[b] = np.ascontiguousarray(TO_PYTORCH[conv.kind](conv.w)), conv.bias
            out = f"{name}.conv" if conv.relu6 else name
            nodes.append(Node("Conv", [at, w, b], out, _attributes(conv)))
            if conv.relu6:
                nodes.append(Node("Clip", [out, "zero", "six"], name, {}))
            at = name
        if block.residual:
            nodes.append(Node("Add", [start, at], block.name, {}))
            at = block.name
    weights["fc.w"], weights["fc.b"] = network.w, network.b
    nodes.append(Node("GlobalAveragePool", [at], "pool", {}))  # (N, C, 1, 1)
    nodes.append(Node("Flatten", ["pool"], "flat", {}))  # (N, C)
    nodes.append(Node("Gemm", ["flat", "fc.w", "fc.b"], "logits", {}))
    return nodes, weights


def _attributes(conv: FoldedConv) -> dict[str, Any]:
    """What a Conv node says besides its inputs; the kernel's size is the weights' own."""
    same = conv.padding == "same"
    if same and conv.stride > len(conv.w):  # ONNX's formula is negative then, and onnxruntime cuts pixels off
        most = f"a stride of at most {len(conv.w)} in ONNX"
        raise ValueError(f'"same" padding needs {most}; that of {conv.name} is {conv.stride}')
    KH, KW = conv.w.shape[:2] if conv.w.ndim > 2 else (1, 1)
    (top, bottom), (left, right) = resolve_padding(conv.padding, 1, 1, KH, KW, conv.stride)
    return {
        "strides": [conv.stride] * 2,
        "group": conv.w.shape[2] if conv.kind == "depthwise" else 1,
        **({"auto_pad": "SAME_UPPER"} if same else {"pads": [top, left, bottom, right]}),
    }


def _metadata(model: Network) -> dict[str, str]:
    """What the model knows of its input and its classes, each as JSON."""
    known = {}
    if model.preprocessing is not None:
        known["preprocessing"] = json.dumps(model.preprocessing.to_dict())
    if model.labels is not None:
        known["labels"] = json.dumps(model.labels, ensure_ascii=False)
    return known
