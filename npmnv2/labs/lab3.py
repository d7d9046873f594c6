"""Lab 3: a check of a backward, tried on right and wrong ones."""

from typing import Any

import numpy as np

from npmnv2.labs.lab import Case, Function, Lab
from npmnv2.labs.planted import FORWARD, PLANTED, explain
from npmnv2.validate import Array

CASES = tuple(Case("check", planted.title, {"backward": name}, "int64") for name, planted in PLANTED.items())


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(forward, backward)`, as sources that become functions in the student's process."""
    planted = PLANTED[case.sizes["backward"]]
    return (
        {"function": "forward", "names": ["x", "w", "stride", "pad"], "source": FORWARD},
        {"function": "backward", "names": ["dout", "x", "w", "stride", "pad"], "source": planted.text()},
    )


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """Is there anything to say?"""
    return (np.array(int(bool(PLANTED[case.sizes["backward"]].wrong))),)


LAB = Lab(
    3,
    "Break it",
    "a check is worth what it rejects",
    30,
    (Function("check", ("forward", "backward"), ("the result",), word=True),),
    CASES,
    arguments,
    right,
    explain=explain,
)
