"""What passes between the grader and the student's process: values as JSON, arrays as raw bytes, nothing pickled.

A pickle can name any function for its reader to call. These messages cannot: what is not a number, a text, a plain
array or a tuple, list or dict of those arrives as the name of its type. Only NumPy and the standard library are used,
since the student's process runs this file too.
"""

import json
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_HEAD = struct.Struct("<QQ")  # the bytes of the JSON, the bytes of the arrays
LARGEST = 1 << 28  # bytes of the arrays
LARGEST_TEXT = 1 << 22  # of the JSON: while Python reads it, no other thread runs
MOST_PARTS = 10_000  # of a tuple, list or dict
DEEPEST = 6  # a tuple in a tuple in ...
LONGEST = 1 << 10  # bits of a whole number


class Other(NamedTuple):
    """In place of a value that no message can carry."""

    type_name: str


def pack(message: Any) -> bytes:
    """A value as bytes.

    Examples
    --------
    >>> unpack(pack(("dx", np.arange(3.0), {"stride": 2}, len)))
    ('dx', array([0., 1., 2.]), {'stride': 2}, Other(type_name='builtin_function_or_method'))
    """
    arrays = _Arrays()
    text = json.dumps(_written(message, arrays, 0)).encode()
    blob = b"".join(arrays.parts)
    return _HEAD.pack(len(text), len(blob)) + text + blob


def unpack(data: bytes) -> Any:
    """The value back; ValueError if the bytes are no message."""
    text, blob = _sizes(data[: _HEAD.size])
    body = data[_HEAD.size :]
    if len(body) != text + blob:
        raise ValueError("not a message: its length is wrong")
    try:
        return _read(json.loads(body[:text].decode()), body[text:], 0)
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"not a message: {error!r}") from None


def receive(read: Callable[[int], bytes]) -> bytes | None:
    """The bytes of the next message, from a function that reads so many; None at the end."""
    head = _exactly(read, _HEAD.size)
    if head is None:
        return None
    body = _exactly(read, sum(_sizes(head)))
    return None if body is None else head + body


def _sizes(head: bytes) -> tuple[int, int]:
    if len(head) != _HEAD.size:
        raise ValueError("not a message: too short")
    text, blob = _HEAD.unpack(head)
    if text > LARGEST_TEXT or blob > LARGEST:
        raise ValueError("not a message: too long")
    return text, blob


def _exactly(read: Callable[[int], bytes], size: int) -> bytes | None:
    parts = []
    while size > 0:
        part = read(min(size, 1 << 16))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Arrays:
    """The bytes of the arrays of a message, one after the other."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> int:
        """Where this part begins."""
        self.parts.append(part)
        self.size += len(part)
        return self.size - len(part)


def _written(value: Any, arrays: _Arrays, depth: int) -> Any:
    """A tree for JSON, whose branches are one-entry dicts: {kind: content}."""
    if type(value) is int and value.bit_length() > LONGEST:  # Python refuses to write or read longer ones
        return {"other": f"int of {value.bit_length()} bits"}
    if type(value) in (bool, int, str, type(None)) or (type(value) is float and math.isfinite(value)):
        return {"value": value}
    if type(value) is float:
        return {"float": repr(value)}
    if isinstance(value, tuple | list | dict) and len(value) > MOST_PARTS:
        return {"other": f"{type(value).__name__[:80]} of {len(value)}"}
    if (type(value) is list or isinstance(value, tuple)) and depth < DEEPEST:  # a named tuple is one
        kind = "list" if type(value) is list else "tuple"
        return {kind: [_written(part, arrays, depth + 1) for part in value]}
    if isinstance(value, np.str_):
        return {"value": str(value)}
    if type(value) is dict and depth < DEEPEST and all(type(name) is str for name in value):
        return {"dict": {name: _written(part, arrays, depth + 1) for name, part in value.items()}}
    if (type(value) is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biufc":
        plain = np.asarray(value, value.dtype.newbyteorder("="))
        kind = "scalar" if isinstance(value, np.generic) else "array"
        return {kind: [plain.dtype.str, list(plain.shape), arrays.add(plain.tobytes())]}
    if type(value) is np.ndarray:
        return {"other": f"array of dtype {value.dtype}"}
    return {"other": type(value).__name__[:80]}


def _read(tree: Any, blob: bytes, depth: int) -> Any:
    if depth > DEEPEST + 1 or not isinstance(tree, dict) or len(tree) != 1:
        raise ValueError("not a message: malformed")
    ((kind, content),) = tree.items()
    if kind == "value" and isinstance(content, bool | int | float | str | None):
        return content
    if kind == "float":
        return float(content)
    if kind in ("tuple", "list"):
        parts = [_read(part, blob, depth + 1) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "dict":
        return {str(name): _read(part, blob, depth + 1) for name, part in content.items()}
    if kind in ("array", "scalar"):
        name, shape, start = content
        dtype = np.dtype(name)
        if dtype.kind not in "biufc" or not all(type(size) is int and size >= 0 for size in [*shape, start]):
            raise ValueError("not a message: no such array")
        end = start + dtype.itemsize * math.prod(shape)
        if end > len(blob):
            raise ValueError("not a message: an array is cut off")
        array = np.frombuffer(blob[start:end], dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind == "other":
        return Other(str(content))
    raise ValueError(f"not a message: {kind}")
