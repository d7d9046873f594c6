"""Clear errors for bad arrays and numbers: what the argument is called, what it was, what it must be.

NumPy broadcasts and promotes where it can, and Numba checks nothing at all, so a wrong shape or dtype would give a
wrong number instead of an error. Every public operation therefore asks these few questions first. Nothing here copies
or changes data; NaN and infinity are values like any other and pass.
"""

import math
from typing import Any

import numpy as np

from npmnv2.shapes import is_int

Array = np.ndarray[Any, np.dtype[Any]]

_REAL = (np.dtype(np.float32), np.dtype(np.float64))
_COMPLEX = np.dtype(np.complex128)
_OTHER_RULES = (np.matrix, np.ma.MaskedArray)  # `*` is another operation, a reduction keeps its axis; a mask is ignored


def check_array(value: object, name: str, axes: str, *, like: Array | None = None, compiled: bool = False) -> Array:
    """Return `value` if it is a usable array, raise the one error that says why not.

    Parameters
    ----------
    value : object
        What the caller passed.
    name : str
        The argument's name, for the message.
    axes : str
        The axes it must have, as they are written in docstrings: ``"N H W C"``; ``"... C"`` takes any number before C,
        ``"..."`` any number at all.
    like : ndarray, optional
        Another argument whose dtype this one must have: results are never silently promoted. Only its dtype is read.
    compiled : bool
        For a compiled kernel, which takes float32 and float64 only. The NumPy operations also let complex128 pass,
        because the complex-step method of `gradcheck` differentiates them that way.

    Raises
    ------
    TypeError
        If it is not a plain array, or of another dtype.
    ValueError
        If it has another number of axes, or an axis other than N of length 0.

    Examples
    --------
    >>> check_array(np.zeros((2, 3), np.int8), "x", "N C")
    Traceback (most recent call last):
        ...
    TypeError: x must be float32 or float64; was int8
    """
    value = check_plain(value, name)
    if value.dtype not in _REAL and (compiled or value.dtype != _COMPLEX):
        raise TypeError(f"{name} must be float32 or float64; was {value.dtype}")
    names = axes.split()
    if names[0] == "...":
        if value.ndim < len(names):
            raise ValueError(f"{name} must have at least {len(names)} axes ({axes}); its shape was {value.shape}")
        names = ["N"] + ["axis"] * (value.ndim - len(names)) + names[1:]
    elif value.ndim != len(names):
        raise ValueError(f"{name} must have {len(names)} axes ({axes}); its shape was {value.shape}")
    if 0 in value.shape:
        for axis, length in zip(names, value.shape, strict=True):
            if length == 0 and axis != "N":
                raise ValueError(f"{name} must not be empty along {axis}; its shape was {value.shape}")
    if like is not None and value.dtype != like.dtype:
        raise TypeError(f"{name} must have the dtype of the input, {like.dtype}; was {value.dtype}")
    return value


def check_plain(value: object, name: str) -> Array:
    """Return `value` if it is an array that computes as arrays do, elementwise: no list, no matrix, no masked array.

    Examples
    --------
    >>> check_plain([1.0], "x")
    Traceback (most recent call last):
        ...
    TypeError: x must be a NumPy array; was list
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array; was {type(value).__name__}")
    if isinstance(value, _OTHER_RULES):
        raise TypeError(f"{name} must be a plain NumPy array; was a {type(value).__name__}, which has rules of its own")
    return value


def check_labels(value: object, name: str, images: int) -> Array:
    """Return `value` if it is a plain array of integers, one for each of so many images; nothing is broadcast.

    Examples
    --------
    >>> check_labels(np.array([[0], [1]]), "y", 2)
    Traceback (most recent call last):
        ...
    ValueError: y must have shape (2,), one class for each image; was (2, 1)
    """
    if not isinstance(value, np.ndarray) or isinstance(value, _OTHER_RULES) or value.dtype.kind not in "iu":
        was = value.dtype if type(value) is np.ndarray else type(value).__name__
        raise TypeError(f"{name} must be a plain NumPy array of integers; was {was}")
    if value.shape != (images,):
        raise ValueError(f"{name} must have shape ({images},), one class for each image; was {value.shape}")
    return value


def check_dtype(value: object) -> np.dtype[Any]:
    """Return the dtype that `value` names if parameters may have it: float32 or float64. None names none.

    Examples
    --------
    >>> check_dtype("float64"), check_dtype(np.float32)
    (dtype('float64'), dtype('float32'))
    """
    try:
        dtype = np.dtype(value) if value is not None else None  # type: ignore[call-overload]
    except TypeError:
        dtype = None
    if dtype is None or dtype not in _REAL:  # to NumPy, None equals float64
        raise TypeError(f"dtype must be float32 or float64; was {repr(value) if dtype is None else dtype}")
    return dtype


def check_generator(value: object) -> np.random.Generator:
    """Return `value` if random numbers can be drawn from it; a seed, or None, is not turned into one.

    Examples
    --------
    >>> check_generator(0)
    Traceback (most recent call last):
        ...
    TypeError: rng must be a numpy.random.Generator; was int
    """
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator; was {type(value).__name__}")
    return value


def check_length(value: Array, name: str, axis: int, length: int, why: str) -> None:
    """Raise ValueError unless `value` has `length` entries along `axis`; `why` names what it must agree with.

    Examples
    --------
    >>> check_length(np.zeros(3), "gamma", 0, 4, "the channels of x")
    Traceback (most recent call last):
        ...
    ValueError: gamma must have length 4 along axis 0 (the channels of x); its shape was (3,)
    """
    if value.shape[axis] != length:
        raise ValueError(f"{name} must have length {length} along axis {axis} ({why}); its shape was {value.shape}")


def check_dout(dout: object, shape: tuple[int, ...], like: Array, *, compiled: bool = False) -> Array:
    """Return the upstream gradient `dout` if it has the shape and dtype that the forward returned.

    `shape` is that shape; of `like`, which is the forward's input or an empty stand-in for it, only the dtype is read.

    Examples
    --------
    >>> check_dout(np.ones((1, 2)), (1, 3), np.ones((1, 3)))
    Traceback (most recent call last):
        ...
    ValueError: dout must have the shape of the forward's output, (1, 3); was (1, 2)
    """
    dout = check_plain(dout, "dout")
    if dout.shape != shape:
        raise ValueError(f"dout must have the shape of the forward's output, {shape}; was {dout.shape}")
    if dout.dtype != like.dtype and (compiled or dout.dtype != _COMPLEX):
        raise TypeError(f"dout must have the dtype of the forward's input, {like.dtype}; was {dout.dtype}")
    return dout


def check_number(
    value: object, name: str, low: float = -math.inf, high: float = math.inf, ends: str = "[]", why: str = ""
) -> float:
    """Return `value` as a float if it is a finite real number from `low` to `high`.

    Parameters
    ----------
    value : object
        What the caller passed; numbers of Python and NumPy pass, a bool or a string is none.
    name : str
        The argument's name, for the message.
    low, high : float
    ends : "[]", "[)", "(]" or "()"
        Which of the two are allowed themselves, as intervals are written: a round bracket leaves its end out.
    why : str
        Added to the message in brackets.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it lies outside, or is NaN or infinite.

    Examples
    --------
    >>> check_number(1, "rate", 0, 1, "[)", "the share dropped")
    Traceback (most recent call last):
        ...
    ValueError: rate must be at least 0 and less than 1 (the share dropped); was 1
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number; was {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be finite; was an integer beyond the largest float") from None
    if (low < number if ends[0] == "(" else low <= number) and (number < high if ends[1] == ")" else number <= high):
        if math.isfinite(number):
            return number
        raise ValueError(f"{name} must be finite; was {value}")
    least = f"more than {low:g}" if ends[0] == "(" else f"at least {low:g}"
    most = f"less than {high:g}" if ends[1] == ")" else f"at most {high:g}"
    must = f"be {least} and {most}"
    if math.isinf(high):
        must = "not be negative" if (low, ends[0]) == (0, "[") else f"be {least}"
    elif ends == "[]":
        must = f"lie between {low:g} and {high:g}"
    raise ValueError(f"{name} must {must}{f' ({why})' if why else ''}; was {value}")


def check_int(value: object, name: str, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int if it is an integer from `low` to `high`; a bool or a float is none.

    Examples
    --------
    >>> check_int(0, "epochs")
    Traceback (most recent call last):
        ...
    ValueError: epochs must be at least 1; was 0
    """
    if not is_int(value):
        raise TypeError(f"{name} must be an integer; was {value!r}")
    number = int(value)  # type: ignore[call-overload]
    if number < low or (high is not None and number > high):
        must = f"be at least {low}" if high is None else f"lie between {low} and {high}"
        raise ValueError(f"{name} must {must}; was {number}")
    return number
