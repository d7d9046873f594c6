"""Lab 4: the backward of batch norm."""

from typing import Any

import numpy as np

from npmnv2.labs import normalised
from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.ops.batchnorm import batchnorm_backward, batchnorm_forward
from npmnv2.validate import Array

_NAME = "batchnorm_backward"
_ROWS: dict[str, Any] = {"R": 7, "C": 1}
_IMAGES: dict[str, Any] = {"N": 3, "H": 4, "W": 5, "C": 2}


def _case(adds: str, dtype: str = "float64", **sizes: Any) -> Case:
    return Case(_NAME, adds, {"eps": 0.0, "gamma": "any", **sizes}, dtype)


CASES = (
    _case("one channel, gamma 1, eps 0", gamma="1", **_ROWS),
    _case("gamma", **_ROWS),
    _case("three channels", R=7, C=3),
    _case("eps, and it is not small", eps=0.5, R=7, C=3),
    _case("images: rows and columns", eps=0.5, **_IMAGES),
    _case("float32", "float32", eps=1e-5, **_IMAGES),
)
COUNTED = _case("", eps=1e-5, N=2, H=7, W=5, C=3)


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(dout, x, gamma, eps)`; no mean is near 0, no variance near 1, no gamma near 0 or 1."""
    s = case.sizes
    shape = tuple(s[name] for name in ("R", "N", "H", "W", "C") if name in s)
    C = shape[-1]
    x = rng.normal(size=shape) * rng.uniform(2, 3, C) + rng.uniform(3, 5, C)
    gamma = np.ones(C) if s["gamma"] == "1" else rng.uniform(1.2, 1.9, C)
    return (*(a.astype(case.dtype) for a in (rng.normal(size=shape), x, gamma)), s["eps"])


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(dx, dgamma, dbeta)`."""
    dout, x, gamma, eps = given
    return batchnorm_backward(dout, batchnorm_forward(x, gamma, np.zeros_like(gamma), eps)[1])


LAB = Lab(
    4,
    "Batch norm backwards",
    "the mean and the variance are functions of x too",
    45,
    (Function(_NAME, ("dout", "x", "gamma", "eps"), ("dx", "dgamma", "dbeta")),),
    CASES,
    arguments,
    right,
    explain=normalised.explain,
    counted=COUNTED,
)
