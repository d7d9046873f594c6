"""A network as a tree of layers with what each of them costs: the text and the document of ``npmnv2 summary``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from npmnv2.cost import NETWORKS, LayerCost, total
from npmnv2.cost.counting import Convention, count, count_each, find
from npmnv2.cost.layer import FLOAT32
from npmnv2.cost.memory import peak, schedule


class Row(NamedTuple):
    """One line of the tree: a layer, or a block with its layers in `parts`."""

    name: str
    output: tuple[int, int, int]  # (OH, OW, M)
    parameters: int
    operations: int  # as the convention counts them, before it rounds
    bytes: int
    parts: tuple["Row", ...] = ()


def network(
    model: str, width: float = 1.0, resolution: int | tuple[int, int] = 224, num_classes: int = 1000, **options: Any
) -> list[LayerCost]:
    """The layers of a network that has an image left to look at everywhere.

    Padding lets a network run on a single pixel. But then its strides skip nothing, and its kernels see padding: its
    costs would be those of no sensible network.

    Parameters
    ----------
    model : str
        A key of `cost.NETWORKS`.
    width, resolution, num_classes
        As in `cost.mobilenet_v2`.
    **options
        `strides`, `in_channels`, `depth_mult`: as in `cost.efficientnet_lite`.

    Returns
    -------
    list of LayerCost

    Raises
    ------
    ValueError
        If there is no such model, or a layer's stride is larger than the image it gets.

    Examples
    --------
    >>> len(network("mobilenet_v1", resolution=17))
    28
    >>> network("mobilenet_v1", resolution=16)
    Traceback (most recent call last):
        ...
    ValueError: resolution must be larger: at 16 only 1x1 pixels are left for b12.dw, which has stride 2
    """
    if model not in NETWORKS:
        raise ValueError(f"model must be one of {', '.join(NETWORKS)}; was {model!r}")
    layers = NETWORKS[model](width, resolution, num_classes, **options)
    for layer in layers:
        H, W, _ = layer.in_shape
        if layer.stride > min(H, W):
            raise ValueError(
                f"resolution must be larger: at {sides(resolution)} only {H}x{W} pixels are left for {layer.name}, "
                f"which has stride {layer.stride}"
            )
    return layers


def sides(resolution: int | tuple[int, int]) -> str:
    """A resolution in words: its side, or height x width.

    Examples
    --------
    >>> sides(224), sides((256, 128))
    ('224', '256x128')
    """
    return "x".join(map(str, resolution)) if isinstance(resolution, tuple) else str(resolution)


def tree(layers: Sequence[LayerCost], convention: str | Convention = "paper") -> list[Row]:
    """The layers and the global pool in the order they run, those of a block together.

    Parameters
    ----------
    layers : sequence of LayerCost
        Each of another name; a block's layers share the part of theirs before the last dot.
    convention : str or Convention
        How operations are counted.

    Returns
    -------
    list of Row

    Raises
    ------
    ValueError
        If there is no convention of that name, no layer, or a name twice.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> rows = tree(mobilenet_v2())
    >>> rows[1].name, rows[1].operations, [part.name for part in rows[1].parts]
    ('b0.0', 10035200, ['b0.0.dw', 'b0.0.project'])
    """
    if not layers:
        raise ValueError("layers must not be empty")
    named = {layer.name: layer for layer in layers}
    for name, times in Counter(layer.name for layer in layers).items():
        if times > 1:
            raise ValueError(f"layers must each have a name of their own; {name!r} was that of {times}")
    rows: list[Row] = []
    for (name, operations), step in zip(count_each(layers, convention), schedule(layers), strict=True):
        if name in named:
            layer = named[name]
            row = Row(name, layer.out_shape, layer.parameters, operations, layer.bytes)
        else:  # the pool
            row = Row(name, (1, 1, step.output // FLOAT32), 0, operations, step.input + step.output)
        block = name.rpartition(".")[0]
        if not block:
            rows.append(row)
        elif rows and rows[-1].name == block:
            rows[-1] = _block(block, (*rows[-1].parts, row))
        else:
            rows.append(_block(block, (row,)))
    return rows


def fold(rows: Sequence[Row], depth: int) -> list[Row]:
    """The layers whose names have their first `depth` parts in common, as one row that is their sum.

    ``b1.0.dw`` is part of ``b1`` at depth 1, which is a row of the paper's table, and of the block ``b1.0`` at depth 2.

    Parameters
    ----------
    rows : sequence of Row
        From `tree`.
    depth : int
        At least 1.

    Returns
    -------
    list of Row
        In the same order, with the layers in their `parts`; a row of one layer has that layer's name.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> [(row.name, len(row.parts)) for row in fold(tree(mobilenet_v2()), 1)][:3]
    [('stem', 0), ('b0', 2), ('b1', 6)]
    """
    folded = []
    for name, together in groupby(_leaves(rows), lambda leaf: ".".join(leaf.name.split(".")[:depth])):
        parts = tuple(together)
        folded.append(_block(name, parts) if parts[0].name != name else parts[0])
    return folded


def _leaves(rows: Iterable[Row]) -> list[Row]:
    """The layers, without the blocks they are in."""
    return [leaf for row in rows for leaf in (row.parts or (row,))]


def _block(name: str, parts: tuple[Row, ...]) -> Row:
    parameters, operations, moved = (
        sum(getattr(part, what) for part in parts) for what in ("parameters", "operations", "bytes")
    )
    return Row(name, parts[-1].output, parameters, operations, moved, parts)


def text(layers: Sequence[LayerCost], convention: str | Convention = "paper", depth: int | None = None) -> list[str]:
    """The tree and its totals, at 80 columns for every published width and resolution.

    Parameters
    ----------
    layers, convention
        As in `tree`.
    depth : int, optional
        As in `fold`; without it every layer has a line. With it the largest moment is left out: it lies in one layer.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If there is no convention of that name.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v1
    >>> for line in text(mobilenet_v1())[:5]:
    ...     print(line)
    layer      output  parameters  multiply-adds       bytes   share
    stem   112x112x32         928     10,838,016   2,211,200  1.91 %
    b1     112x112x64       2,528     29,302,784   8,037,504  5.15 %
      dw   112x112x32         352      3,612,672   3,212,416  0.64 %
      pw   112x112x64       2,176     25,690,112   4,825,088  4.52 %
    """
    convention = find(convention)
    rows = tree(layers, convention)
    most_parts = max(leaf.name.count(".") + 1 for leaf in _leaves(rows))
    shown = _flat(rows) if depth is None or depth >= most_parts else fold(rows, depth)
    sums, most = total(layers), peak(schedule(layers))
    return [
        *_table(shown, rows, convention),
        "",
        f"parameters: {sums.weights:,} of them weights; {sums.variables:,} with running statistics",
        f"{convention.name}: {count(layers, convention):,}",
        f"  {convention.why}",
        *([f"activations: at most {most.bytes:,} bytes at once, in {most.name}"] if depth is None else []),
        "bytes: float32, each layer's input, weights and output once; for one image",
    ]


def _table(shown: Sequence[Row], rows: Sequence[Row], convention: Convention) -> list[str]:
    """The rows to be shown, and the sum of all."""
    whole, blocks = _block("total", tuple(rows)), {row.name for row in shown if row.parts}
    madds_alone = convention._replace(unit=1, rounded=False) == Convention(convention.name, convention.why)
    cells = [["layer", "output", "parameters", "multiply-adds" if madds_alone else "operations", "bytes", "share"]]
    for row in shown:
        block, _, part = row.name.rpartition(".")
        share = 100 * row.operations / (whole.operations or 1)  # a convention of your own may count nothing
        label = f"  {part}" if block in blocks else row.name
        cells.append([label, "x".join(map(str, row.output)), *_thousands(row), f"{share:.2f} %"])
    cells.append(["total", "", *_thousands(whole), ""])
    widths = [max(len(line[k]) for line in cells) for k in range(6)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    ]
    return [line.rstrip() for line in lines]


def _flat(rows: Iterable[Row]) -> list[Row]:
    """Every block, followed by its layers."""
    return [line for row in rows for line in (row, *row.parts)]


def _thousands(row: Row) -> list[str]:
    return [f"{number:,}" for number in (row.parameters, row.operations, row.bytes)]


def document(
    layers: Sequence[LayerCost], convention: str | Convention = "paper", depth: int | None = None
) -> dict[str, Any]:
    """The same for a program: the convention, totals, the largest moment, and every layer with all its figures.

    Parameters
    ----------
    layers, convention
        As in `tree`.
    depth : int, optional
        As in `fold`: several layers of one row are a sum, of the kind ``"sum"``, that names them.

    Returns
    -------
    dict
        Of what JSON knows. A layer's share is that of the operations, from 0 to 1. Without `depth` blocks are left out:
        they are the part of a name before its last dot.

    Raises
    ------
    ValueError
        If there is no convention of that name.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v1
    >>> d = document(mobilenet_v1(), "thop")
    >>> d["convention"]["counted"], d["total"]["madds"], d["layers"][1]["name"], round(d["layers"][1]["share"], 4)
    (588911104, 568740352, 'b1.dw', 0.0089)
    """
    convention = find(convention)
    rows = tree(layers, convention)
    operations = sum(row.operations for row in rows)
    named = {layer.name: layer for layer in layers}
    sums, most = total(layers), peak(schedule(layers))
    entries = [
        _entry(row, named) | {"share": row.operations / (operations or 1)}
        for row in (_leaves(rows) if depth is None else fold(rows, depth))
    ]
    return {
        "convention": {"name": convention.name, "why": convention.why, "counted": count(layers, convention)},
        "total": {
            **{what: getattr(sums, what) for what in ("madds", "weights", "parameters", "variables")},
            "bytes": sum(row.bytes for row in rows),
            "operations": operations,
        },
        "peak": {"name": most.name, "bytes": most.bytes},
        "layers": entries,
    }


def _entry(row: Row, named: dict[str, LayerCost]) -> dict[str, Any]:
    """What is known of a layer, of the pool, or of several layers together."""
    entry: dict[str, Any] = {"name": row.name, "kind": "pool", "out_shape": row.output}
    if row.name in named:
        layer = named[row.name]
        entry = {**layer._asdict(), "parameters": layer.parameters, "backward_madds": layer.backward_madds}
    elif row.parts:
        inside = [named[part.name] for part in row.parts]
        entry |= {"kind": "sum", "layers": [layer.name for layer in inside], "in_shape": inside[0].in_shape}
        for what in ("madds", "backward_madds", "weights", "parameters"):
            entry[what] = sum(getattr(layer, what) for layer in inside)
    return {**entry, "bytes": row.bytes, "operations": row.operations}
