"""Clear errors for bad arrays: what the argument is called, what it was, what it must be.

NumPy broadcasts and promotes where it can, and Numba checks nothing at all, so a wrong shape or dtype would give a
wrong number instead of an error. Every public operation therefore asks these few questions first. Nothing here copies
or changes data; NaN and infinity are values like any other and pass.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_REAL = (np.dtype(np.float32), np.dtype(np.float64))
_COMPLEX = np.dtype(np.complex128)


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
        Another argument whose dtype this one must have: results are never silently promoted.
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
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array; was {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain NumPy array; was a MaskedArray, whose mask would be ignored")
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

    Examples
    --------
    >>> check_dout(np.ones((1, 2)), (1, 3), np.ones((1, 3)))
    Traceback (most recent call last):
        ...
    ValueError: dout must have the shape of the forward's output, (1, 3); was (1, 2)
    """
    if not isinstance(dout, np.ndarray):
        raise TypeError(f"dout must be a NumPy array; was {type(dout).__name__}")
    if isinstance(dout, np.ma.MaskedArray):
        raise TypeError("dout must be a plain NumPy array; was a MaskedArray, whose mask would be ignored")
    if dout.shape != shape:
        raise ValueError(f"dout must have the shape of the forward's output, {shape}; was {dout.shape}")
    if dout.dtype != like.dtype and (compiled or dout.dtype != _COMPLEX):
        raise TypeError(f"dout must have the dtype of the forward's input, {like.dtype}; was {dout.dtype}")
    return dout
