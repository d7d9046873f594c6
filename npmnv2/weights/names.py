"""The names and the layouts of every library's arrays, worked out from `tables`."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2.cost.layer import LayerCost
from npmnv2.cost.network import NETWORKS
from npmnv2.validate import Array
from npmnv2.weights.tables import COUNTER, LEAVES, PREFIX, PYTORCH, TABLES

# timm gathers V1's blocks into rows of one width each: (row, repeat) of the thirteen
_V1_ROWS = [(row, repeat) for row, repeats in enumerate((1, 2, 2, 6, 2)) for repeat in range(repeats)]

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

    The names "npmnv2" are every network's own; not every library has every network, see `schemes`. Only an
    `efficientnet_lite` has a depth multiplier.

    Examples
    --------
    >>> {e.ours: e.theirs for e in entries("mobilenet_v2", "torchvision")}["b1.0.dw.bn.var"]
    'features.2.conv.1.1.running_var'
    """
    result = []
    for layer, numbers in _numbered(architecture, depth_mult):
        if layer.bias:
            leaves = {"w": f"{layer.name}.w", "b": f"{layer.name}.b"}
        else:
            bn = {leaf: f"{layer.name}.bn.{leaf}" for leaf in ("gamma", "beta", "mean", "var")}
            leaves = {"w": f"{layer.name}.conv.w", **bn}
        kind = "pointwise" if layer.bias and (names, architecture) in _CONVOLUTION_AT_THE_END else layer.kind
        for leaf, ours in leaves.items():
            theirs = ours if names == "npmnv2" else _theirs(architecture, names, layer, leaf, numbers)
            result.append(Entry(ours, theirs, *layouts(names, kind if leaf == "w" else "vector")))
    return result


def layers(architecture: str, depth_mult: float = 1.0, **settings: Any) -> list[LayerCost]:
    """`cost.NETWORKS` by name, with a depth multiplier for those that have one."""
    deeper = {} if depth_mult == 1.0 else {"depth_mult": depth_mult}
    return NETWORKS[architecture](**deeper, **settings)


@functools.lru_cache(maxsize=64)
def bare_entries(architecture: str, names: str, depth_mult: float = 1.0) -> list[Entry]:
    """The entries of a backbone, without what some libraries put before all names: a file may have it or not."""
    prefix = PREFIX.get((names, architecture), "")
    known = [entry for entry in entries(architecture, names, depth_mult) if not entry.ours.startswith("fc.")]
    return [entry._replace(theirs=entry.theirs.removeprefix(prefix)) for entry in known]


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
        counts = {"i": i, "i-1": i - 1, "i-2": i - 2, "2i-2": 2 * i - 2, "2i-1": 2 * i - 1}
        yield layer, {**counts, "row": row, "repeat": repeat}


def _theirs(architecture: str, names: str, layer: LayerCost, leaf: str, numbers: dict[str, int]) -> str:
    """The library's name of one leaf of one of our layers."""
    table = _table(architecture, names)
    conv, bn = table[layer.name] if layer.name in table else table[layer.name.rpartition(".")[2]]
    place = re.sub(r"{(.+?)}", lambda field: str(numbers[field[1]]), conv if leaf in ("w", "b") else bn)
    prefix = "" if (names, layer.name) == ("hf", "fc") else PREFIX.get((names, architecture), "")
    end = "/depthwise_weights" if (names, layer.kind, leaf) == ("slim", "depthwise", "w") else LEAVES[names][leaf]
    return prefix + place + end


@functools.cache
def _table(architecture: str, names: str) -> dict[str, tuple[str, str]]:
    lines = [line.split() for line in TABLES[architecture][names].strip().split("\n")]
    return {part: (conv, bn[0] if bn else "") for part, conv, *bn in lines}


def layouts(names: str, kind: str) -> tuple[Layout, Layout]:
    """How an array of this kind gets from here to a library, and back."""
    if names == "npmnv2":
        return (lambda a: a), (lambda a: a)
    to, back = (TO_PYTORCH, FROM_PYTORCH) if LEAVES[names] is PYTORCH else (TO_KERAS, FROM_KERAS)
    return to[kind], back[kind]


def shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a network's state, worked out from its configuration: nothing is allocated."""
    settings = {name: config[name] for name in ("width_mult", "num_classes", "strides", "in_channels")}
    result: dict[str, tuple[int, ...]] = {}
    for layer in layers(architecture, config.get("depth_mult", 1.0), **settings):
        K, C, M = layer.kernel, layer.in_shape[2], layer.out_shape[2]
        if layer.bias:
            result |= {f"{layer.name}.w": (C, M), f"{layer.name}.b": (M,)}
            continue
        kernels = {"standard": (K, K, C, M), "depthwise": (K, K, C), "pointwise": (C, M)}
        result[f"{layer.name}.conv.w"] = kernels[layer.kind]
        result |= {f"{layer.name}.bn.{leaf}": (M,) for leaf in ("gamma", "beta", "mean", "var")}
    return result


def shape_there(entry: Entry, ours: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a library gives an array of this shape of ours."""
    return entry.to_theirs(np.broadcast_to(np.float32(0), ours)).shape  # of no memory


def layer_of(name: str) -> str:
    """What stands before an array's own name, in any library's spelling.

    Examples
    --------
    >>> layer_of("features.0.0.weight"), layer_of("dense/kernel"), layer_of("weight")
    ('features.0.0.', 'dense/', '')
    """
    return name[: max(name.rfind("."), name.rfind("/")) + 1]


def schemes() -> list[tuple[str, str]]:
    """Every pair (architecture, names) there is, our own names first."""
    own = [(architecture, "npmnv2") for architecture in NETWORKS]
    return own + [(architecture, names) for architecture, tables in TABLES.items() for names in tables]


def translate(arrays: Mapping[str, Array], architecture: str, names: str, depth_mult: float = 1.0) -> dict[str, Array]:
    """Arrays of ours under a library's names, in its layouts: weights, gradients, whatever has a parameter's shape.

    They are in the order of the network, and contiguous, which means copies where the layout differs: some formats
    write the memory of a transposed view as it lies. Names that are none of the network's are a ValueError.

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
    """PyTorch's counter beside every batch norm of those names, at 0: `strict=True` wants to see them."""
    end = PYTORCH["var"]
    return {name.removesuffix(end) + COUNTER: np.zeros((), np.int64) for name in names if name.endswith(end)}
