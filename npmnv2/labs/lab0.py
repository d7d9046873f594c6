"""Lab 0: nothing to write; it finds out whether the labs run here."""

import sys
from typing import Any

import numpy as np

from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.validate import Array


def _right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    numpy = [int(part) for part in np.__version__.split(".")[:2]]
    return (np.array([list(sys.version_info[:2]), numpy]),)


LAB = Lab(
    0,
    "It runs here",
    "Python, NumPy, and where files go",
    10,
    (Function("versions", (), ("versions",)),),
    (Case("versions", "nothing but the call", {}, "int64"),),
    lambda case, rng: (),
    _right,
)
