"""What every library calls the arrays of a network, and how it lays them out.

The tables are to be read: a line is a convolution of ours, its name there, and the name of the batch norm behind it.
`{i}` counts the blocks from 1, `{row}.{repeat}` as the paper's table does (our own names begin with those). Hugging
Face's V1 counts convolutions, two a block: `{2i-2}`, `{2i-1}`. The leaves, what is stored of a layer, are in
`LEAVES`.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2.cost.layer import LayerCost
from npmnv2.cost.network import NETWORKS
from npmnv2.validate import Array

# -- the names, part by part

_V2 = {
    "torchvision": """
        stem         features.0.0                         features.0.1
        b0.0.dw      features.1.conv.0.0                  features.1.conv.0.1
        b0.0.project features.1.conv.1                    features.1.conv.2
        expand       features.{i}.conv.0.0                features.{i}.conv.0.1
        dw           features.{i}.conv.1.0                features.{i}.conv.1.1
        project      features.{i}.conv.2                  features.{i}.conv.3
        head         features.18.0                        features.18.1
        fc           classifier.1
    """,
    "timm": """
        stem         conv_stem                            bn1
        b0.0.dw      blocks.0.0.conv_dw                   blocks.0.0.bn1
        b0.0.project blocks.0.0.conv_pw                   blocks.0.0.bn2
        expand       blocks.{row}.{repeat}.conv_pw        blocks.{row}.{repeat}.bn1
        dw           blocks.{row}.{repeat}.conv_dw        blocks.{row}.{repeat}.bn2
        project      blocks.{row}.{repeat}.conv_pwl       blocks.{row}.{repeat}.bn3
        head         conv_head                            bn2
        fc           classifier
    """,
    "keras": """
        stem         Conv1                                bn_Conv1
        b0.0.dw      expanded_conv_depthwise              expanded_conv_depthwise_BN
        b0.0.project expanded_conv_project                expanded_conv_project_BN
        expand       block_{i-1}_expand                   block_{i-1}_expand_BN
        dw           block_{i-1}_depthwise                block_{i-1}_depthwise_BN
        project      block_{i-1}_project                  block_{i-1}_project_BN
        head         Conv_1                               Conv_1_bn
        fc           predictions
    """,
    "hf": """
        stem         conv_stem.first_conv.convolution     conv_stem.first_conv.normalization
        b0.0.dw      conv_stem.conv_3x3.convolution       conv_stem.conv_3x3.normalization
        b0.0.project conv_stem.reduce_1x1.convolution     conv_stem.reduce_1x1.normalization
        expand       layer.{i-2}.expand_1x1.convolution   layer.{i-2}.expand_1x1.normalization
        dw           layer.{i-2}.conv_3x3.convolution     layer.{i-2}.conv_3x3.normalization
        project      layer.{i-2}.reduce_1x1.convolution   layer.{i-2}.reduce_1x1.normalization
        head         conv_1x1.convolution                 conv_1x1.normalization
        fc           classifier
    """,
    "slim": """
        stem         Conv                                 Conv/BatchNorm
        b0.0.dw      expanded_conv/depthwise              expanded_conv/depthwise/BatchNorm
        b0.0.project expanded_conv/project                expanded_conv/project/BatchNorm
        expand       expanded_conv_{i-1}/expand           expanded_conv_{i-1}/expand/BatchNorm
        dw           expanded_conv_{i-1}/depthwise        expanded_conv_{i-1}/depthwise/BatchNorm
        project      expanded_conv_{i-1}/project          expanded_conv_{i-1}/project/BatchNorm
        head         Conv_1                               Conv_1/BatchNorm
        fc           Logits/Conv2d_1c_1x1
    """,
}

_V1 = {
    "timm": """
        stem         conv_stem                            bn1
        dw           blocks.{row}.{repeat}.conv_dw        blocks.{row}.{repeat}.bn1
        pw           blocks.{row}.{repeat}.conv_pw        blocks.{row}.{repeat}.bn2
        fc           classifier
    """,
    "keras": """
        stem         conv1                                conv1_bn
        dw           conv_dw_{i}                          conv_dw_{i}_bn
        pw           conv_pw_{i}                          conv_pw_{i}_bn
        fc           conv_preds
    """,
    "hf": """
        stem         conv_stem.convolution                conv_stem.normalization
        dw           layer.{2i-2}.convolution             layer.{2i-2}.normalization
        pw           layer.{2i-1}.convolution             layer.{2i-1}.normalization
        fc           classifier
    """,
    "slim": """
        stem         Conv2d_0                             Conv2d_0/BatchNorm
        dw           Conv2d_{i}_depthwise                 Conv2d_{i}_depthwise/BatchNorm
        pw           Conv2d_{i}_pointwise                 Conv2d_{i}_pointwise/BatchNorm
        fc           Logits/Conv2d_1c_1x1
    """,
}

_LITE = {  # efficientnet_lite_pytorch, whose names are those of efficientnet_pytorch
    "efficientnet_pytorch": """
        stem         _conv_stem                           _bn0
        expand       _blocks.{i-1}._expand_conv           _blocks.{i-1}._bn0
        dw           _blocks.{i-1}._depthwise_conv        _blocks.{i-1}._bn1
        project      _blocks.{i-1}._project_conv          _blocks.{i-1}._bn2
        head         _conv_head                           _bn1
        fc           _fc
    """,
}

TABLES = {"mobilenet_v2": _V2, "mobilenet_v1": _V1, "efficientnet_lite": _LITE}
_BLOCK = re.compile(r"_blocks\.(\d{1,4})\.")  # of the names in `_LITE`
# timm gathers V1's blocks into rows of one width each: (row, repeat) of the thirteen
_V1_ROWS = [(row, repeat) for row, repeats in enumerate((1, 2, 2, 6, 2)) for repeat in range(repeats)]

# What stands before the names of a whole network; Hugging Face's classifier stands outside of it.
_PREFIX = {
    ("hf", "mobilenet_v2"): "mobilenet_v2.",
    ("hf", "mobilenet_v1"): "mobilenet_v1.",
    ("slim", "mobilenet_v2"): "MobilenetV2/",
    ("slim", "mobilenet_v1"): "MobilenetV1/",
}

# -- the leaves: what is stored of a convolution, a batch norm, the classifier

_PYTORCH = {
    "w": ".weight",
    "b": ".bias",
    "gamma": ".weight",
    "beta": ".bias",
    "mean": ".running_mean",
    "var": ".running_var",
}
_KERAS = {
    "w": "/kernel",
    "b": "/bias",
    "gamma": "/gamma",
    "beta": "/beta",
    "mean": "/moving_mean",
    "var": "/moving_variance",
}
LEAVES = {
    "torchvision": _PYTORCH,
    "timm": _PYTORCH,
    "hf": _PYTORCH,
    "efficientnet_pytorch": _PYTORCH,
    "keras": _KERAS,
    "slim": {**_KERAS, "w": "/weights", "b": "/biases"},
}
COUNTER = ".num_batches_tracked"  # beside every batch norm of PyTorch's: how often it was updated, which nothing uses

# -- the layouts

Layout = Callable[[Array], Array]

TO_PYTORCH: dict[str, Layout] = {
    "standard": lambda w: w.transpose(3, 2, 0, 1),  # (KH, KW, C, M) -> (M, C, KH, KW)
    "depthwise": lambda w: w.transpose(2, 0, 1)[:, None],  # (KH, KW, C) -> (C, 1, KH, KW)
    "pointwise": lambda w: w.T[:, :, None, None],  # (C, M) -> (M, C, 1, 1)
    "linear": lambda w: w.T,  # (C, M) -> (M, C)
    "vector": lambda v: v,
}
FROM_PYTORCH: dict[str, Layout] = {
    "standard": lambda w: w.transpose(2, 3, 1, 0),
    "depthwise": lambda w: w[:, 0].transpose(1, 2, 0),
    "pointwise": lambda w: w[:, :, 0, 0].T,
    "linear": lambda w: w.T,
    "vector": lambda v: v,
}
TO_KERAS: dict[str, Layout] = {
    "standard": lambda w: w,  # (KH, KW, C, M)
    "depthwise": lambda w: w[..., None],  # (KH, KW, C) -> (KH, KW, C, 1)
    "pointwise": lambda w: w[None, None],  # (C, M) -> (1, 1, C, M)
    "linear": lambda w: w,  # (C, M)
    "vector": lambda v: v,
}
FROM_KERAS: dict[str, Layout] = {
    "standard": lambda w: w,
    "depthwise": lambda w: w[..., 0],
    "pointwise": lambda w: w[0, 0],
    "linear": lambda w: w,
    "vector": lambda v: v,
}
# Whose classifier is a 1x1 convolution, so that its kernel has four axes
_CONVOLUTION_AT_THE_END = {("keras", "mobilenet_v1"), ("slim", "mobilenet_v1"), ("slim", "mobilenet_v2")}


class Entry(NamedTuple):
    """One array: what it is called here and there, and how to get from one layout to the other."""

    ours: str
    theirs: str
    to_theirs: Layout
    to_ours: Layout


@functools.lru_cache(maxsize=64)  # a file may say any depth
def entries(architecture: str, names: str, depth_mult: float = 1.0) -> list[Entry]:
    """Every parameter and statistic of a network under the names of a library, in the order of the network.

    Parameters
    ----------
    architecture : "mobilenet_v2", "mobilenet_v1", "mobilenet_v1_conv" or "efficientnet_lite"
    names : "npmnv2", "torchvision", "timm", "keras", "hf", "slim" or "efficientnet_pytorch"
        "npmnv2" is every network's own names; not every library has every network, see `schemes`.
    depth_mult : float
        Depth multiplier of an `efficientnet_lite`; the others have none.

    Returns
    -------
    list of Entry

    Examples
    --------
    >>> {e.ours: e.theirs for e in entries("mobilenet_v2", "torchvision")}["b1.0.dw.bn.var"]
    'features.2.conv.1.1.running_var'
    >>> [len(entries("mobilenet_v1", names)) for names in ("timm", "keras", "hf")]
    [137, 137, 137]
    """
    result = []
    for layer, numbers in _numbered(architecture, depth_mult):
        if layer.bias:
            leaves = {"w": f"{layer.name}.w", "b": f"{layer.name}.b"}
        else:
            bn = {leaf: f"{layer.name}.bn.{leaf}" for leaf in ("gamma", "beta", "mean", "var")}
            leaves = {"w": f"{layer.name}.conv.w", **bn}
        kind = layer.kind
        if layer.bias and (names, architecture) in _CONVOLUTION_AT_THE_END:
            kind = "pointwise"
        for leaf, ours in leaves.items():
            theirs = ours if names == "npmnv2" else _theirs(architecture, names, layer, leaf, numbers)
            result.append(Entry(ours, theirs, *_layouts(names, kind if leaf == "w" else "vector")))
    return result


def layers(architecture: str, depth_mult: float = 1.0, **settings: Any) -> list[LayerCost]:
    """`cost.NETWORKS` by name, with a depth multiplier for those that have one.

    Examples
    --------
    >>> len(layers("mobilenet_v2")), len(layers("efficientnet_lite")), len(layers("efficientnet_lite", depth_mult=1.1))
    (53, 50, 65)
    """
    deeper = {} if depth_mult == 1.0 else {"depth_mult": depth_mult}
    return NETWORKS[architecture](**deeper, **settings)


def count_blocks(names: Iterable[str]) -> int:
    """How many blocks an EfficientNet-Lite has whose arrays have these names of efficientnet_lite_pytorch.

    Examples
    --------
    >>> count_blocks(["_conv_stem.weight", "_blocks.0._bn1.bias", "_blocks.15._bn1.bias"])
    16
    """
    return 1 + max((int(block[1]) for name in names if (block := _BLOCK.match(name))), default=-1)


def _numbered(architecture: str, depth_mult: float) -> Iterator[tuple[LayerCost, dict[str, int]]]:
    """Every layer with weights, in order, and what its block puts into the braces of the tables."""
    i, last = 0, ""
    for layer in layers(architecture, depth_mult):
        block = re.match(r"b[\d.]*\d", layer.name)
        if block is None:
            yield layer, {}
            continue
        if block[0] != last:
            i, last = i + 1, block[0]
        row, repeat = map(int, last[1:].split(".")) if "." in last else _V1_ROWS[i - 1]
        yield (
            layer,
            {"i": i, "i-1": i - 1, "i-2": i - 2, "2i-2": 2 * i - 2, "2i-1": 2 * i - 1, "row": row, "repeat": repeat},
        )


def _theirs(architecture: str, names: str, layer: LayerCost, leaf: str, numbers: dict[str, int]) -> str:
    """The library's name of one leaf of one of our layers."""
    table = _table(architecture, names)
    conv, bn = table[layer.name] if layer.name in table else table[layer.name.rpartition(".")[2]]
    place = re.sub(r"{(.+?)}", lambda field: str(numbers[field[1]]), conv if leaf in ("w", "b") else bn)
    prefix = "" if (names, layer.name) == ("hf", "fc") else _PREFIX.get((names, architecture), "")
    end = "/depthwise_weights" if (names, layer.kind, leaf) == ("slim", "depthwise", "w") else LEAVES[names][leaf]
    return prefix + place + end


@functools.cache
def _table(architecture: str, names: str) -> dict[str, tuple[str, str]]:
    lines = [line.split() for line in TABLES[architecture][names].strip().split("\n")]
    return {part: (conv, bn[0] if bn else "") for part, conv, *bn in lines}


def _layouts(names: str, kind: str) -> tuple[Layout, Layout]:
    if names == "npmnv2":
        return (lambda a: a), (lambda a: a)
    to, back = (TO_PYTORCH, FROM_PYTORCH) if LEAVES[names] is _PYTORCH else (TO_KERAS, FROM_KERAS)
    return to[kind], back[kind]


def schemes() -> list[tuple[str, str]]:
    """Every pair (architecture, names) there is, our own names first.

    Examples
    --------
    >>> ("mobilenet_v1", "torchvision") in schemes()        # torchvision has no MobileNetV1
    False
    """
    own = [(architecture, "npmnv2") for architecture in NETWORKS]
    return own + [(architecture, names) for architecture, tables in TABLES.items() for names in tables]


def translate(arrays: Mapping[str, Array], architecture: str, names: str, depth_mult: float = 1.0) -> dict[str, Array]:
    """Arrays of ours under a library's names, in its layouts: weights, gradients, whatever has a parameter's shape.

    Parameters
    ----------
    arrays : mapping of str -> ndarray
        By our names: the state of a network, or a part of it.
    architecture, names, depth_mult
        As in `entries`.

    Returns
    -------
    dict of str -> ndarray
        In the order of the network, contiguous, which means copies where the layout differs: some formats
        write the memory of a transposed view as it lies.

    Raises
    ------
    ValueError
        If one of the names is none of the network's.

    Examples
    --------
    >>> theirs = translate({"fc.w": np.zeros((1280, 10))}, "mobilenet_v2", "timm")
    >>> {name: value.shape for name, value in theirs.items()}
    {'classifier.weight': (10, 1280)}
    """
    known = {entry.ours: entry for entry in entries(architecture, names, depth_mult)}
    if unknown := [name for name in arrays if name not in known]:
        raise ValueError(f"arrays must have names of {architecture}; one was {unknown[0]!r}")
    return {e.theirs: np.ascontiguousarray(e.to_theirs(arrays[e.ours])) for e in known.values() if e.ours in arrays}


def counters(names: Iterable[str]) -> dict[str, Array]:
    """PyTorch's counter beside every batch norm of those names, at 0: `strict=True` wants to see them.

    Examples
    --------
    >>> counters(["bn1.running_mean", "bn1.running_var"])
    {'bn1.num_batches_tracked': array(0)}
    """
    end = _PYTORCH["var"]
    return {name.removesuffix(end) + COUNTER: np.zeros((), np.int64) for name in names if name.endswith(end)}
