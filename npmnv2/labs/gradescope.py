"""The verdicts of one student in the form that Gradescope reads: `results.json`.

Source of the form: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from collections.abc import Sequence
from typing import Any

from npmnv2 import labs
from npmnv2.labs.batch import Row
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.notebook import is_notebook

POINTS = 10.0  # of a lab


def results(rows: Sequence[Row], expected: Sequence[int]) -> dict[str, Any]:
    """The document for one submission.

    Parameters
    ----------
    rows : sequence of Row
    expected : sequence of int
        The labs that must be there. One that is not, or is there twice, has no points and a test that says so.
    """
    tests, best = [], []
    for number in sorted({*expected, *(row.submission.lab for row in rows)}):
        mine = [row for row in rows if row.submission.lab == number]
        tests.append(_test(number, mine))
        if len(mine) == 1 and mine[0].verdict["madds"] is not None:
            best.append({"name": f"lab {number}: multiply-adds", "value": mine[0].verdict["madds"], "order": "asc"})
    output = "" if tests else "There is no file for a lab here: its name must have the lab in it, such as lab2.py."
    document: dict[str, Any] = {"visibility": "visible", "output": output, "tests": tests, "leaderboard": best}
    return document if tests else {**document, "score": 0.0}


def _test(number: int, rows: list[Row]) -> dict[str, Any]:
    verdict: dict[str, Any] = {"passed": False, "score": 0.0}
    if not rows:
        output = f"There is no file lab{number}.py."
    elif len(rows) > 1:
        output = f"Hand in one file for lab {number}; there are {', '.join(row.submission.file for row in rows)}."
    else:
        verdict = rows[0].verdict
        output = _output(verdict, " of all code cells together" if is_notebook(rows[0].submission.file) else "")
    return {
        "name": f"lab {number}: {labs.find(number).title.lower()}",
        "number": str(number),
        "score": round(POINTS * verdict["score"], 2),
        "max_score": POINTS,
        "status": "passed" if verdict["passed"] else "failed",
        "output": output,
        "visibility": "visible",
    }


def _output(verdict: dict[str, Any], counted: str) -> str:
    if verdict["passed"]:
        cost = "" if verdict["madds"] is None else f" Multiply-adds: {verdict['madds']:,}; par {verdict['par']:,}."
        return f"Every case is right.{cost}"
    where = "" if verdict["line"] is None else f" (line {verdict['line']}{counted})"
    question = CAUSES[verdict["cause"]].question if verdict["cause"] in CAUSES else ""
    return f"Not yet: {verdict['cause']}{where}. {verdict['says']} {question}".strip()
