"""What a lab is: data, its right answer, and how its results are sums of products."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npmnv2.labs.product import Finding, Product
from npmnv2.validate import Array

Call = Callable[[tuple[Any, ...]], tuple[Array, ...]]  # the student's function: arguments to results


class Case(NamedTuple):
    """One call that the student's function must get right; a lab lists them smallest first."""

    function: str
    adds: str  # what this case has and those before it have not, for people
    sizes: dict[str, Any]
    dtype: str = "float64"

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return sizes if self.dtype in ("float64", "int64") else f"{sizes}, {self.dtype}"


class Function(NamedTuple):
    """A function that the student writes."""

    name: str
    arguments: tuple[str, ...]  # their names
    results: tuple[str, ...]  # more than one are returned as a tuple
    whole: bool = False  # they are whole numbers, not arrays
    word: bool = False  # it returns None, or a text
    after: str = ""  # the function that is called before it, and whose second result is its second argument

    @property
    def kind(self) -> str:
        """What it returns: a "word", "numbers" or "arrays"."""
        return "word" if self.word else "numbers" if self.whole else "arrays"


class Measured(NamedTuple):
    """What a call of a student's function took."""

    bytes: int | None  # the most at one time, beyond the arguments
    largest: int | None  # the elements of the largest array that its arithmetic made


Measure = Callable[[tuple[Any, ...]], Measured]


class Wrong(NamedTuple):
    """A case that a student's function gets wrong, for a lab that finds causes in its own way."""

    case: Case
    call: Call  # raises if what comes back has another shape
    arguments: tuple[Any, ...]
    results: tuple[Array, ...]
    right: tuple[Array, ...]
    places: list[int]  # of the results that are wrong
    seen: Any = ()  # the calls that it made of the functions that it was given
    returned: Any = None  # all that it returned, as it came


class NoCause(Exception):
    """Why no cause could be looked for: what is said beside the value that is wrong."""


class Opened(NamedTuple):
    """The arrays in what a function returned, and their names."""

    names: tuple[str, ...]
    arrays: tuple[Any, ...]


class Lab(NamedTuple):
    """A lab. Whoever adds one writes a module `labN.py` with a `LAB` and a stub beside it: see `__init__.py`."""

    number: int
    title: str
    sentence: str  # what it teaches
    minutes: int
    functions: tuple[Function, ...]
    cases: tuple[Case, ...]
    arguments: Callable[[Case, np.random.Generator], tuple[Any, ...]]
    right: Callable[[Case, tuple[Any, ...]], tuple[Array, ...]]  # one array a result
    products: Callable[[Case], Sequence[Product]] = lambda case: ()  # how each result is a sum of products
    counted: Case | None = None  # the case whose cost is counted,
    par: int | None = None  # the multiply-adds of a good solution in it,
    least: int | None = None  # and those that no solution does without: fewer means that some were not seen
    explain: Callable[[Wrong], Finding] | None = None  # how the cause is found where results are no sums of products
    held: Callable[[Case, tuple[Any, ...], Measure], Finding | None] | None = None  # what is wrong with its memory
    more: str = ""  # what a variant adds to the stub
    opened: Callable[[Case, Any], Opened | Finding] | None = None  # where arrays come in a dict, or with a cache
    overall: Callable[[Sequence[bool]], str] | None = None  # what is said of all cases, given which of them are right
    beside: Path | None = None  # a file that is copied beside the student's

    def function(self, name: str) -> Function:
        """The function of that name."""
        return next(f for f in self.functions if f.name == name)
