"""An array that counts the multiplications done with it: the multiply-adds of a student's function.

Every product of two values counts once, whether a sum follows or not. What leaves NumPy leaves the count: a number
taken out with `float()`, an array copied with `np.array()`. So a count is believed only if it is at least what the
mathematics needs (see `grade.py`). Only NumPy is used, since the student's process runs this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_PRODUCTS = {np.multiply, np.square}
_ARITHMETIC = {"einsum", "tensordot", "dot", "inner", "outer", "clip", "where"}  # but neither copies nor joins
_UNKNOWN = {"convolve", "correlate", "polymul", "cross", "kron", "linalg", "fft"}  # they multiply out of sight


class Tally:
    """The multiplications so far; None once something multiplied out of sight."""

    def __init__(self) -> None:
        self.products: int | None = 0
        self.largest = 0  # elements of the largest array that arithmetic made

    def add(self, products: int) -> None:
        if self.products is not None:
            self.products += int(products)

    def made(self, result: Any) -> None:
        self.largest = max(self.largest, int(np.size(result)))


class Counted(np.ndarray):  # type: ignore[type-arg]
    """An array whose products are counted.

    Examples
    --------
    >>> tally = Tally()
    >>> x, w = count(np.ones((4, 3)), tally), count(np.ones((3, 2)), tally)
    >>> _ = x @ w, tally.products                # 4 * 3 * 2
    >>> _ = x * 2.0, np.einsum("ij,jk->ik", x, w)
    >>> tally.products                           # 24 + 12 + 24
    60
    """

    tally: Tally

    def __array_finalize__(self, parent: Any) -> None:
        self.tally = getattr(parent, "tally", None) or Tally()

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return found if isinstance(found, np.ndarray) else count(np.asarray(found), self.tally)

    def dot(self, other: Any, out: Any = None) -> Any:  # type: ignore[override]
        return np.dot(self, other) if out is None else np.dot(self, other, out)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(value) for value in inputs]
        out = options.pop("out", None)
        if out is not None:
            options["out"] = tuple(_plain(value) for value in out)
        if "where" in options:
            options["where"] = _plain(options["where"])
        result = getattr(ufunc, method)(*plain, **options)
        self.tally.made(result)
        if ufunc is np.matmul:
            self.tally.add(np.size(result) * np.shape(plain[0])[-1])
        elif ufunc in _PRODUCTS:
            self.tally.add(np.size(plain[0]) if method in ("reduce", "accumulate", "at") else np.size(result))
        elif ufunc.__name__ in ("vecdot", "matvec", "vecmat"):
            self.tally.add(np.size(result) * np.shape(plain[0])[-1])
        if out is not None:
            return out[0] if len(out) == 1 else out
        return _counted(result, self.tally)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = func.__name__
        if name in _UNKNOWN or any(part in _UNKNOWN for part in getattr(func, "__module__", "").split(".")):
            self.tally.products = None
        products = _products(name, args)
        before = self.tally.products
        # what it does inside is not counted again if it was counted as a whole
        result = func(*_deep(args, _plain), **{key: _deep(value, _plain) for key, value in kwargs.items()})
        if before is not None:
            self.tally.add(products(result))
        if name in _ARITHMETIC:
            self.tally.made(result)
        return kwargs.get("out") if kwargs.get("out") is not None else _deep(result, lambda r: _counted(r, self.tally))


def count(array: Any, tally: Tally) -> Counted:
    """A copy of the array that counts into `tally`."""
    counted = np.array(array).view(Counted)
    counted.tally = tally
    return counted


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Counted) else value


def _counted(value: Any, tally: Tally) -> Any:
    if not isinstance(value, np.ndarray | np.generic) or isinstance(value, Counted):
        return value
    seen = np.asarray(value).view(Counted)  # a view stays a view: `np.broadcast_to`, windows
    seen.tally = tally
    return seen


def _deep(value: Any, change: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(_deep(part, change) for part in value)
    return change(value)


def _products(name: str, args: Any) -> Any:
    """How many products a function of NumPy does, as a function of its result."""
    if name == "einsum" and isinstance(args[0], str):
        return lambda result: _einsum_products(args[0], args[1:])
    if name in ("dot", "inner"):
        a, b = args[:2]
        shared = np.shape(a)[-1] if np.ndim(a) and np.ndim(b) else 1
        return lambda result: np.size(result) * shared
    if name in ("outer", "prod", "vdot"):
        return lambda result: np.size(result) if name == "outer" else np.size(args[0])
    if name == "tensordot":
        a, b = args[:2]
        return lambda result: int(round((np.size(a) * np.size(b) * np.size(result)) ** 0.5))
    return lambda result: 0


def _einsum_products(subscripts: str, operands: Any) -> int:
    """Every combination of the letters once, for each operand after the first."""
    inputs = subscripts.replace(" ", "").split("->")[0].split(",")
    if len(operands) < 2:
        return 0
    sizes: dict[str, int] = {}
    for letters, operand in zip(inputs, operands, strict=True):
        shape = list(np.shape(operand))
        if "..." in letters:
            before, after = letters.split("...")
            middle = len(shape) - len(before) - len(after)
            named = [*before, *(f".{k}" for k in range(-middle, 0)), *after]
        else:
            named = list(letters)
        for letter, size in zip(named, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    total = 1
    for size in sizes.values():
        total *= size
    return total * (len(operands) - 1)
