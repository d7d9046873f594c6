"""What is wrong with the form of a result: its type, its shape, its dtype, or an argument that was changed."""

from typing import Any

import numpy as np

from npmnv2.labs import wire
from npmnv2.labs.lab import Case, Function
from npmnv2.labs.product import Finding
from npmnv2.labs.wire import Other
from npmnv2.validate import Array


def results_of(function: Function, result: Any) -> Any:
    """What a function returned, as a tuple of arrays where it has the form that it must have; else as it is."""
    if function.word:  # is there anything to say?
        return (np.array(int(result is not None)) if result is None or isinstance(result, str) else result,)
    results = (result,) if len(function.results) == 1 else result
    return tuple(map(_whole, results)) if function.whole and type(results) is tuple else results


def _whole(value: Any) -> Any:
    """A whole number as an array of no axes; what is none stays as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, int | float) and type(value) is not bool and abs(value) < 2**53 and value == int(value):
        return np.array(int(value))
    return value


def form(function: Function, result: Any, wanted: tuple[Array, ...], case: Case) -> Finding | None:
    """Type, shape and dtype."""
    names = function.results
    if len(names) > 1 and not (type(result) is tuple and len(result) == len(names)):
        return Finding("wrong-type", f"{function.name} must return a tuple ({', '.join(names)}); was {kind(result)}.")
    results = results_of(function, result)
    for name, mine, array in zip(names, results, wanted, strict=True):
        if function.word and not isinstance(mine, np.ndarray):
            return Finding("wrong-type", f"{function.name} must return None or a text; was {kind(mine)}.")
        if function.whole and not (isinstance(mine, np.ndarray) and mine.ndim == 0):
            return _not_whole(name, mine)
        if not isinstance(mine, np.ndarray):
            if mine is None and len(names) == 1:
                return Finding("wrong-type", f"{function.name} must return an array; it returned nothing.")
            number = isinstance(mine, int | float | np.generic)
            was = f"one number ({kind(mine)})" if number else kind(mine)
            says = f"{name} must be an array of shape {array.shape}; was {was}."
            return Finding("wrong-type", says, "one number" if number else "")
    shapes, right = [mine.shape for mine in results], [array.shape for array in wanted]
    if shapes != right and sorted(shapes) == sorted(right):
        return Finding("exchanged", f"The results must be ({', '.join(names)}) in this order.")
    for name, mine, array in zip(names, results, wanted, strict=True):
        if mine.shape != array.shape:
            return _shape(name, mine, array, case)
        if mine.dtype.kind != array.dtype.kind or (case.dtype == "float32" and mine.dtype != array.dtype):
            return Finding("wrong-dtype", f"{name} must be {array.dtype}; was {mine.dtype}.")
    return None


def _not_whole(name: str, mine: Any) -> Finding:
    if isinstance(mine, float):
        return Finding("not-whole", f"{name} must be a whole number; was {mine:.12g}.")
    return Finding("wrong-type", f"{name} must be a whole number; was {kind(mine)}.")


def _shape(name: str, mine: Array, array: Array, case: Case) -> Finding:
    pad = case.sizes.get("pad", 0)
    if mine.size == 0:
        return Finding("crop-empty", f"{name} must have the shape {array.shape}; yours is empty: {mine.shape}.")
    if pad and mine.ndim == array.ndim == 4 and mine.shape == tuple(np.add(array.shape, (0, 2 * pad, 2 * pad, 0))):
        return Finding("not-cropped", f"{name} must have the shape {array.shape}; yours has that of xp, {mine.shape}.")
    says = f"{name} must have the shape {array.shape}; was {mine.shape}."
    if array.ndim and mine.ndim > array.ndim and mine.shape[-array.ndim :] == array.shape and mine.size > array.size:
        return Finding("axes-left", f"{says} There are axes left that must be summed over.")
    return Finding("wrong-shape", says)


def kind(value: Any) -> str:
    """What a value is, in a few words: "a tuple of 2", "float", "None"."""
    if isinstance(value, Other):
        return value.type_name
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else type(value).__name__


def unchanged(function: Function, before: tuple[Any, ...], after: tuple[Any, ...]) -> Finding | None:
    """The first argument that is another after the call, bit by bit; None if all are as they were."""
    names = (function.arguments[0], *[f"what {function.after} was given"] * len(before)) if function.after else ()
    for name, old, new in zip(names or function.arguments, before, after, strict=False):
        if wire.pack(old) != wire.pack(new):
            return Finding("input-changed", f"{function.name} must leave its arguments as they are; it changed {name}.")
    return None
