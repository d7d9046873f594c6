"""Lab 6: what a layer and a network cost, from their shapes alone."""

from typing import Any

import numpy as np

from npmnv2.labs import factors, network
from npmnv2.labs.factors import Layer
from npmnv2.labs.lab import Case, Function, Lab, Wrong
from npmnv2.labs.product import Finding
from npmnv2.validate import Array


def _layer(adds: str, *sizes: Any) -> Case:
    return Case("layer_cost", adds, Layer(*sizes)._asdict(), "int64")


def _network(adds: str, table: int) -> Case:
    return Case("network_cost", adds, {"rows": [list(row) for row in network.TABLES[table]]}, "int64")


# Different primes, so that a product tells its factors; at stride 2 the sizes of the output are primes too.
CASES = (
    _layer("a standard convolution", "standard", 17, 13, 11, 7, 5, 1),
    _layer("a pointwise convolution", "pointwise", 17, 13, 11, 7, 1, 1),
    _layer("a depthwise convolution", "depthwise", 17, 13, 11, 11, 5, 1),
    _layer("a linear layer", "linear", 1, 1, 19, 7, 1, 1),
    _layer("stride 2, and odd sizes", "standard", 37, 61, 11, 7, 5, 2),
    _layer("stride 2, depthwise", "depthwise", 37, 61, 7, 7, 3, 2),
    _network("no rows: stem, head and classifier", 0),
    _network("a block that does not widen", 1),
    _network("a block that widens", 2),
    _network("stride 2", 3),
    _network("a row of three blocks", 4),
    _network("MobileNetV2", 5),
)


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(kind, H, W, C, M, k, s)`, or `(rows,)`."""
    if case.function == "layer_cost":
        return tuple(case.sizes.values())
    return ([tuple(row) for row in case.sizes["rows"]],)


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(madds, weights, bytes)`, or the total."""
    found = Layer(*given).cost() if case.function == "layer_cost" else (network.network_cost(*given),)
    return tuple(np.array(number) for number in found)


def explain(wrong: Wrong) -> Finding:
    """By the factors of a layer's count, or by the totals of several tables."""
    return (factors if wrong.case.function == "layer_cost" else network).explain(wrong)


LAB = Lab(
    6,
    "Count first",
    "cost follows from shapes; write down the convention",
    30,
    (
        Function("layer_cost", ("kind", "H", "W", "C", "M", "k", "s"), ("madds", "weights", "bytes"), whole=True),
        Function("network_cost", ("rows",), ("total",), whole=True),
    ),
    CASES,
    arguments,
    right,
    explain=explain,
)
