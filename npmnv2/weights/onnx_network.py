"""Which network an ONNX file is: its convolutions, one after the other, compared with those of the networks here.

The graph says what a file of weights does not: strides, padding, epsilon, where the activations and shortcuts are. All
of it is compared, so that the network answers as the file does.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from npmnv2.cost.layer import LayerCost
from npmnv2.files import FormatError, format_errors, listed
from npmnv2.shapes import resolve_padding
from npmnv2.validate import Array
from npmnv2.weights.conventions import CONVENTIONS, STRIDES, find_depth, find_width, one_epsilon, strides_of_rows
from npmnv2.weights.formats import onnx_file, onnx_graph
from npmnv2.weights.formats.onnx_graph import Image
from npmnv2.weights.names import FROM_PYTORCH, layers
from npmnv2.weights.said import Said, Usual

PADDINGS = {
    "mobilenet_v2": (1, "same"),
    "mobilenet_v1": (1, "same", "keras_v1"),
    "mobilenet_v1_conv": (1, "same", "keras_v1"),
    "efficientnet_lite": ("same",),
}
FREE = ((224, 224), (225, 225))  # what is compared where the size of the image is free: paddings differ at odd sizes


class Network(NamedTuple):
    """A network in an ONNX file."""

    architecture: str
    arrays: dict[str, Array]  # under our names, in our layouts
    found: tuple[str, ...]
    said: Said


def read(path: str) -> Network:
    """Read an ONNX file and find out which network it is; one that no network here answers as is an error."""
    graph = onnx_file.read(path)
    with format_errors(path):
        logits = onnx_graph.run(graph)
        convs = list(_chain(logits.pooled.image))
        architecture, depth, width = _find(convs)
        own = layers(architecture, depth, width_mult=width)
        strides = {layer.name: conv.stride for layer, conv in zip(own, convs, strict=False)}
        config: dict[str, Any] = {
            "num_classes": len(logits.bias),
            "width_mult": width,
            "strides": strides_of_rows(architecture, strides),
            "in_channels": convs[0].w.shape[1],
        }
        if architecture == "efficientnet_lite":
            config["depth_mult"] = depth
        padding, assumed = _padding(architecture, depth, config, convs)
        config |= {**_conventions(architecture, padding), "padding": padding}
        own = layers(architecture, depth, width_mult=width, strides=config["strides"])
        if architecture == "mobilenet_v2":
            config |= _variant(own, convs)
        _compare(own, convs, config)
        config["eps"], said = _epsilon(convs, config["eps"])
        arrays = dict(_arrays(own, convs, config["eps"]))
        arrays |= {"fc.w": logits.w, "fc.b": logits.bias}
        behind = Usual(f"the {logits.behind} behind the classifier: the network here answers with the logits")
        left_out = (behind,) if logits.behind else ()
        size = _size(convs)
        pictures = f", whose pictures are {size[0]} x {size[1]}" if size else ""
        found = (Usual(f"padding, strides, activations and shortcuts as in the graph{pictures}"),)
        ours = ("preprocessing", "labels")  # of our own export, as JSON
        info = {name: json.loads(graph.metadata[name]) for name in ours if name in graph.metadata} | {"size": size}
        return Network(architecture, arrays, found, Said(config, info, (*assumed, *said), left_out))


def _chain(last: Image) -> Iterator[Image]:
    """What every convolution made, from the first to the last."""
    convs, at = [], last
    while at.source is not None:
        convs.append(at)
        at = at.source
    if len({conv.w.ctypes.data for conv in convs}) < len(convs):  # a small file would become a large network
        raise FormatError("has one array as the kernel of several convolutions")
    return reversed(convs)


def _kind(conv: Image) -> str:
    _, C, KH, KW = conv.w.shape
    if conv.group == len(conv.w) and C == 1 and KH > 1:
        return "depthwise"
    return "pointwise" if (KH, KW) == (1, 1) and conv.group == 1 else "standard" if conv.group == 1 else "grouped"


def _find(convs: list[Image]) -> tuple[str, float, float]:
    """The architecture, the depth and the width of a row of convolutions."""
    seen = [(_kind(conv), *conv.w.shape[2:]) for conv in convs]
    why = "their kinds are none of its"
    for architecture in STRIDES:
        depth = find_depth((len(convs) - 1) // 3) if architecture == "efficientnet_lite" else 1.0
        own = layers(architecture, depth)[:-1]
        if [(layer.kind, layer.kernel, layer.kernel) for layer in own] != seen:
            continue
        counts = {layer.name: len(conv.w) for layer, conv in zip(own, convs, strict=True)}
        width = find_width(architecture, counts, depth)
        if width is not None:
            return architecture, depth, width
        why = f"no width multiplier gives a {architecture} their channels"
    kinds = (f"{kind} {KH}x{KW} to {len(conv.w)}" for (kind, KH, KW), conv in zip(seen, convs, strict=True))
    raise FormatError(
        f"is a graph of {len(convs)} convolutions that is no network here ({why}); it begins with {listed(kinds)}"
    )


def _size(convs: list[Image]) -> tuple[int, int] | None:
    """Of the pictures, in pixels; None if it is free."""
    return convs[0].source.size if convs[0].source is not None else None


def _conventions(architecture: str, padding: int | str) -> dict[str, Any]:
    """What the graph does not say, and what matters in training only: as the library that pads so."""
    like = "mobilenet_v1" if architecture == "mobilenet_v1_conv" else architecture
    pytorch = "torchvision" if like == "mobilenet_v2" else "timm"
    names = "efficientnet_pytorch" if like == "efficientnet_lite" else pytorch if padding == 1 else "keras"
    return dict(CONVENTIONS[names, like])


def _padding(
    architecture: str, depth: float, config: dict[str, Any], convs: list[Image]
) -> tuple[int | str, tuple[str, ...]]:
    """The padding that gives every convolution the zeros it has in the graph."""
    size = _size(convs)
    sizes = (size,) if size is not None else FREE
    known = {name: value for name, value in config.items() if name != "depth_mult"}
    wrong: dict[int | str, list[list[str]]] = {}  # of every padding, at every size: the layers that have another
    for padding in PADDINGS[architecture]:
        for image in sizes:
            own = layers(architecture, depth, **known, padding=padding, resolution=image)
            differ = []
            for layer, conv in zip(own, convs, strict=False):
                (H, W, _), (KH, KW) = layer.in_shape, conv.w.shape[2:]
                pads = resolve_padding(conv.padding, H, W, KH, KW, conv.stride)
                if pads != layer.pads:
                    differ.append(f"{layer.name} has {pads}, not {layer.pads}")
            wrong.setdefault(padding, []).append(differ)
    whole = [padding for padding, differ in wrong.items() if not any(differ)]
    partly = [padding for padding, differ in wrong.items() if not differ[0]]
    if whole[1:]:
        H, W = sizes[0]
        others = " and ".join(map(repr, whole[1:]))
        return whole[0], (f"padding {whole[0]!r}: at {H}x{W}, the size in the file, {others} would be the same",)
    if whole:
        return whole[0], ()
    if partly:
        where = "which is that of the file only where every strided layer sees an even size"
        return partly[0], (f"padding {partly[0]!r}, {where}",)
    nearest = min(wrong, key=lambda padding: len(wrong[padding][0]))
    raise FormatError(
        f"has the padding of no {architecture} here; of those with padding {nearest!r} {wrong[nearest][0][0]}, "
        "as ((top, bottom), (left, right))"
    )


def _variant(own: list[LayerCost], convs: list[Image]) -> dict[str, bool]:
    """Which MobileNetV2 it is: with ReLU6 behind the projections too, or without any shortcut."""
    projections = [conv for layer, conv in zip(own, convs, strict=False) if layer.name.endswith("project")]
    return {
        "linear": not all(conv.high == 6 for conv in projections),
        "shortcut": any(conv.shortcut is not None for conv in projections),
    }


def _compare(own: list[LayerCost], convs: list[Image], config: dict[str, Any]) -> None:
    """Strides, activations and shortcuts."""
    inputs = {layer.name: conv.source for layer, conv in zip(own, convs, strict=False)}
    for layer, conv in zip(own, convs, strict=False):
        relu6 = layer.relu6 or not config.get("linear", True)
        wanted = (0.0, 6.0) if relu6 else (-math.inf, math.inf)
        if (conv.low, conv.high) != wanted:
            here = "ReLU6" if relu6 else "no activation"
            raise FormatError(
                f"has {layer.name} clipped to {conv.low:g} and {conv.high:g}; the network here has {here} there"
            )
        if conv.stride != layer.stride:
            raise FormatError(f"has {layer.name} of stride {conv.stride}; the network here has {layer.stride}")
        shortcut = inputs[layer.shortcut] if layer.shortcut and config.get("shortcut", True) else None
        if not _is_same(conv.shortcut, shortcut):
            raise FormatError(f"has another shortcut at {layer.name} than the network here")


def _is_same(a: Image | None, b: Image | None) -> bool:
    """Whether two values are one, however their axes lie."""
    if a is None or b is None:
        return a is b
    return a.w is b.w and a.norm is b.norm and (a.low, a.high) == (b.low, b.high) and _is_same(a.shortcut, b.shortcut)


def _epsilon(convs: list[Image], usual: float) -> tuple[float, tuple[str, ...]]:
    """The one epsilon of the batch norms; where they are folded, there is none in the file."""
    found = one_epsilon(conv.norm.eps for conv in convs if conv.norm.var is not None)
    eps = usual if found is None else found
    folded = sum(conv.norm.var is None for conv in convs)
    if not folded:
        return eps, ()
    return eps, (
        f"{folded} of {len(convs)} batch norms are folded in the file, which has no statistics of them: here they have "
        f"mean 0, variance 1 - epsilon and epsilon {eps:g}. The answers are those of the file; training begins with "
        "statistics of no picture",
    )


def _arrays(own: list[LayerCost], convs: list[Image], eps: float) -> Iterator[tuple[str, Array]]:
    """The state of the convolutions and batch norms."""
    for layer, conv in zip(own, convs, strict=False):
        norm, dtype = conv.norm, np.promote_types(conv.w.dtype, np.float32)  # half precision has no 1 - epsilon
        yield f"{layer.name}.conv.w", FROM_PYTORCH[layer.kind](conv.w)
        yield f"{layer.name}.bn.gamma", norm.gamma.astype(dtype, copy=False)
        yield f"{layer.name}.bn.beta", norm.beta.astype(dtype, copy=False)
        yield f"{layer.name}.bn.mean", np.zeros(len(conv.w), dtype) if norm.mean is None else norm.mean
        yield f"{layer.name}.bn.var", np.full(len(conv.w), 1 - eps, dtype) if norm.var is None else norm.var
