"""A result as a sum of products: what the grader must know of it to say how a student's differs."""

from typing import NamedTuple

from npmnv2.validate import Array


class Axis(NamedTuple):
    """Rows, or columns: pixel = stride * window + tap - pad."""

    name: str  # "rows"
    pixel: str  # the column of the terms with the pixel, the window and the tap
    window: str
    tap: str
    size: int  # of the image along it
    windows: int
    taps: int
    stride: int
    pad: int


class Product(NamedTuple):
    """A result that is a sum of products, and its right terms.

    `terms` has a row a product and a column an index: those of the result, of the unit, of the coded argument.
    """

    result: str  # its name, "dx"
    output: int  # its place among the results
    unit: tuple[str, int]  # the argument that is set to unit vectors: its name and place
    coded: tuple[str, int]  # the argument whose values tell where they come from; its place is -1 if there is none
    columns: tuple[str, ...]  # "r.n", "u.y", "c.row": result, unit or coded, and the axis
    terms: Array
    axes: tuple[Axis, ...] = ()
    links: tuple[tuple[str, str, str], ...] = ()  # (kind, column, column) that are equal in every right term
    lost: tuple[tuple[str, str], ...] = ()  # (kind, column): what "the last ... is lost" can be about
    sizes: tuple[tuple[str, int], ...] = ()  # by which a mean would divide


class Finding(NamedTuple):
    """A cause and what is said of it."""

    cause: str
    says: str
    about: str = ""  # what was seen that makes another question the better one: see `questions.asked`
