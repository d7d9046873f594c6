"""Why a student's check may reject a right backward: what the calls show that it made of forward and of backward.

A check moves one element by a step, so forward must see arrays that differ by it from those that backward was given.
"""

from typing import Any

import numpy as np

from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding
from npmnv2.validate import Array

MANY = 2  # one call of forward for the shape of dout, one for its result; more are for a difference quotient
LEAST_STEP = 1e-9  # a smaller one drowns in the rounding of L


def explain(wrong: Wrong) -> Finding:
    """A cause that the calls show, or that the check rejects what is right."""
    said = repr(wrong.returned)
    says = f"This backward is right, and your check rejects it: it returned {said[:60]}{'...' * (len(said) > 60)}."
    calls = [call for call in wrong.seen if isinstance(call, dict) and _arrays(call)]
    backwards = [call for call in calls if "dout" in call]
    forwards = [call for call in calls if "dout" not in call and any(_same_shapes(call, b) for b in backwards)]
    if forwards:
        moved = {name: [_moved(call, backwards, name) for call in forwards] for name in ("x", "w")}
        still = sum(not x.any() and not w.any() for x, w in zip(moved["x"], moved["w"], strict=True))
        lost = still > MANY * len(backwards)
        finding = _coarse(forwards, moved, lost) or _steps(moved, lost)
        if finding:
            return Finding(finding.cause, f"{says} {finding.says}")
    return Finding("rejects-the-right", says)


def _arrays(call: dict[str, Any]) -> bool:
    return all(isinstance(call.get(name), np.ndarray) and call[name].size for name in ("x", "w"))


def _same_shapes(call: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(call[name].shape == other[name].shape for name in ("x", "w"))


def _moved(call: dict[str, Any], backwards: list[dict[str, Any]], name: str) -> Array:
    """By how much the elements differ from those that backward was given, in the call of it that is nearest.

    What was moved and moved back may differ by rounding, which is no step.
    """
    found = [np.abs(call[name] - b[name].astype(float)) for b in backwards if _same_shapes(call, b)]
    nearest: Array = min(found, key=np.max)
    return np.where(nearest > 2 * np.spacing(np.abs(call[name].astype(float))), nearest, 0.0)


def _coarse(forwards: list[dict[str, Any]], moved: dict[str, list[Array]], lost: bool) -> Finding | None:
    """Arrays in which a small step is lost; `lost`: forward was called too often with what backward was given."""
    for name in ("x", "w"):
        dtype, largest = forwards[0][name].dtype, max(float(np.max(m)) for m in moved[name])
        if any(call[name].dtype != dtype for call in forwards):
            continue
        if dtype.kind in "biu" and lost:
            return Finding("argument-dtype", f"{name} holds whole numbers ({dtype}): smaller steps are lost in it.")
        if dtype.kind == "f" and dtype.itemsize < 8 and largest < 0.01:
            return Finding("argument-dtype", f"{name} is {dtype}, which rounds a small step, and forward's results.")
    return None


def _steps(moved: dict[str, list[Array]], lost: bool) -> Finding | None:
    """Steps that never came, are too small, or were not taken back."""
    largest = max(float(np.max(m)) for found in moved.values() for m in found)
    if largest == 0 and lost:
        many = len(moved["x"])
        return Finding("no-step", f"In {many} calls of forward x and w were those that backward was given.")
    if 0 < largest < LEAST_STEP:
        return Finding("step-too-small", f"The largest step that forward saw is {largest:.0e}.")
    for name, found in moved.items():
        counts = [int(np.count_nonzero(m > LEAST_STEP)) for m in found]
        if counts == sorted(counts) and 2 < counts[-1] < found[0].size and counts[0] <= 2:
            says = f"In the last call of forward that was seen, {counts[-1]} elements of {name} had been moved."
            return Finding("not-restored", says)
    return None
