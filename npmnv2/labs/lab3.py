"""Lab 3: a check of a backward, tried on right and wrong ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npmnv2.labs import planted, suspect
from npmnv2.labs.lab import Case, Function, Lab, Wrong
from npmnv2.labs.planted import FORWARD, PLANTED
from npmnv2.labs.product import Finding
from npmnv2.validate import Array

CASES = tuple(Case("check", one.title, {"backward": name}, "int64") for name, one in PLANTED.items())


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(forward, backward)`, as sources that become functions in the student's process."""
    if case.function == "which":
        return ()
    return (
        {"function": "forward", "names": ["x", "w", "stride", "pad"], "source": FORWARD},
        {
            "function": "backward",
            "names": ["dout", "x", "w", "stride", "pad"],
            "source": PLANTED[case.sizes["backward"]].text(),
        },
    )


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """Is there anything to say? Or the number of the mistake."""
    if case.function == "which":
        return (np.array(suspect.right(case.sizes["variant"])),)
    return (np.array(int(bool(PLANTED[case.sizes["backward"]].wrong))),)


def explain(wrong: Wrong) -> Finding:
    """What a check does not see, or that a mistake is another one."""
    return (suspect if wrong.case.function == "which" else planted).explain(wrong)


def overall(cases: Sequence[bool]) -> str:
    """Does the check reject all that it is given? Cases are right where a wrong backward is rejected."""
    rejected = [right == bool(one.wrong) for right, one in zip(cases, PLANTED.values(), strict=False)]
    return f"It rejects all {len(rejected)} backwards that it was given." if all(rejected) else ""


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
    overall=overall,
)


def variant(text: str) -> Lab:
    """The lab with one question more, which belongs to a student."""
    functions, cases = (*LAB.functions, suspect.FUNCTION), (*LAB.cases, suspect.case(text))
    return LAB._replace(functions=functions, cases=cases, more=suspect.more(text))
