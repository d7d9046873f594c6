"""ONNX files, read without the library that writes them.

An ONNX file is one message of Google's protobuf. A message is a row of fields: a number, how long the value is, the
value. Which number means what is in no file, but in `MODEL` and the tables above it, as far as it is needed here. The
library onnx would read the file into a copy of everything. Here the arrays are views of the file's bytes, and those of
a file beside it are read only from the same folder.
"""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2.validate import Array
from npmnv2.weights.errors import FormatError
from npmnv2.weights.formats.raw import FrugalFile, brief, check_no_pipe, format_errors, itemsize, shown, strided_view

MOST = 20_000  # values of one field: nodes, arrays, inputs; the networks here have some thousand
INTEGER, FLOAT, BYTES, TEXT = "integer", "float", "bytes", "text"
Fields = Mapping[int, tuple[str, Any]]  # number -> (name, one of these four, or the fields of a message)
Message = dict[str, list[Any]]  # by those names; every field may be there several times

ENTRY: Fields = {1: ("key", TEXT), 2: ("value", TEXT)}
TENSOR: Fields = {
    1: ("dims", INTEGER),
    2: ("data_type", INTEGER),
    4: ("float_data", BYTES),
    5: ("int32_data", INTEGER),
    7: ("int64_data", INTEGER),
    8: ("name", TEXT),
    9: ("raw_data", BYTES),
    10: ("double_data", BYTES),
    13: ("external_data", ENTRY),
    14: ("data_location", INTEGER),
}
ATTRIBUTE: Fields = {
    1: ("name", TEXT),
    2: ("f", FLOAT),
    3: ("i", INTEGER),
    4: ("s", TEXT),
    5: ("t", TENSOR),
    7: ("floats", FLOAT),
    8: ("ints", INTEGER),
    20: ("type", INTEGER),
}
NODE: Fields = {
    1: ("input", TEXT),
    2: ("output", TEXT),
    3: ("name", TEXT),
    4: ("op_type", TEXT),
    5: ("attribute", ATTRIBUTE),
    7: ("domain", TEXT),
}
SHAPE: Fields = {1: ("dim", {1: ("dim_value", INTEGER), 2: ("dim_param", TEXT)})}
VALUE: Fields = {1: ("name", TEXT), 2: ("type", {1: ("tensor_type", {1: ("elem_type", INTEGER), 2: ("shape", SHAPE)})})}
GRAPH: Fields = {
    1: ("node", NODE),
    2: ("name", TEXT),
    5: ("initializer", TENSOR),
    11: ("input", VALUE),
    12: ("output", VALUE),
}
MODEL: Fields = {
    1: ("ir_version", INTEGER),
    2: ("producer_name", TEXT),
    3: ("producer_version", TEXT),
    7: ("graph", GRAPH),
    8: ("opset_import", {1: ("domain", TEXT), 2: ("version", INTEGER)}),
    14: ("metadata_props", ENTRY),
}
DTYPES = {  # ONNX's numbers for the dtypes that are read
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}
ATTRIBUTES = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints"}  # by the number of their type


class Node(NamedTuple):
    """One operator of the graph."""

    operator: str
    inputs: list[str]  # "" where one is left out
    outputs: list[str]
    attributes: dict[str, Any]
    name: str


class Graph(NamedTuple):
    """What a file holds, as far as it is read."""

    nodes: list[Node]  # in the order of the file, in which they run
    arrays: dict[str, Array]  # the initialisers, by name: read-only views
    inputs: dict[str, tuple[int | None, ...]]  # those that are no initialisers, and their shapes; None: any size
    outputs: list[str]
    metadata: dict[str, str]


def read(path: str | os.PathLike[str]) -> Graph:
    """Read an ONNX file, and the arrays that lie in files beside it.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Graph

    Raises
    ------
    FormatError
        If the file is damaged, or refers to a file that is not in its folder.
    OSError
        If a file cannot be opened.
    """
    with FrugalFile(path, 0) as file, format_errors(path):
        file.allow_all()  # no part is copied
        data = memoryview(file.read())
        model = decode(data, MODEL)
        graph = _one(model, "graph", {})
        outside = _Beside(os.path.dirname(os.fspath(path)))
        tensors = {_one(tensor, "name", ""): _array(tensor, outside) for tensor in graph.get("initializer", [])}
        inputs = {_one(value, "name", ""): _shape(value) for value in graph.get("input", [])}
        return Graph(
            [_node(node, outside) for node in graph.get("node", [])],
            {name: array for name, array in tensors.items() if array is not None},
            {name: shape for name, shape in inputs.items() if name not in tensors},
            [_one(value, "name", "") for value in graph.get("output", [])],
            {_one(entry, "key", ""): _one(entry, "value", "") for entry in model.get("metadata_props", [])},
        )


# -- protobuf


def decode(data: memoryview, fields: Fields) -> Message:
    r"""A message, by the names of its fields; fields without a name are passed over.

    Examples
    --------
    >>> decode(memoryview(b"\x0a\x01w\x12\x02ok\x30\x07"), ENTRY)
    {'key': ['w'], 'value': ['ok']}
    """
    found: Message = {}
    for number, wire, value in _split(data):
        if number not in fields:
            continue
        name, kind = fields[number]
        values = found.setdefault(name, [])
        if isinstance(kind, Mapping):
            values.append(decode(_bytes(value), kind))
        elif kind == TEXT:
            values.append(str(_bytes(value), "utf-8"))
        elif kind == BYTES:
            values.append(_bytes(value))
        elif kind == FLOAT:
            values += np.frombuffer(_bytes(value), "<f4", min(len(value) // 4, MOST)).tolist()
        else:
            values += _integers(value) if wire == 2 else [_signed(value)]
        if len(values) > MOST:
            raise FormatError(f"has more than {MOST} of {name}")
    return found


def _split(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message: number, wire type, and a whole number or the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise FormatError(f"is damaged: a field has the unknown wire type {wire}")
        if length > len(data) - at:
            raise FormatError("is damaged: it ends in the middle of a field")
        yield number, wire, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for k in range(10):
        if at + k >= len(data):
            raise FormatError("is damaged: it ends in the middle of a number")
        byte = data[at + k]
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value & (1 << 64) - 1, at + k + 1
    raise FormatError("is damaged: a number has more than ten bytes")


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise FormatError("is damaged: a field that is a number holds bytes")
    return value - (1 << 64) if value >> 63 else value


def _integers(data: memoryview) -> list[int]:
    """Numbers one after the other."""
    found, at = list[int](), 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(_signed(value))
        if len(found) > MOST:
            raise FormatError(f"has more than {MOST} numbers in one field")
    return found


def _bytes(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise FormatError("is damaged: a field that is bytes holds a number")
    return value


def _one(message: Message, name: str, default: Any) -> Any:
    """The value of a field that is there once; of several the last, as protobuf says."""
    return message[name][-1] if message.get(name) else default


# -- ONNX


def _node(message: Message, outside: "_Beside") -> Node:
    attributes = {_one(a, "name", ""): _attribute(a, outside) for a in message.get("attribute", [])}
    domain = _one(message, "domain", "")
    operator = _one(message, "op_type", "") if domain in ("", "ai.onnx") else f"{domain}.{_one(message, 'op_type', '')}"
    return Node(operator, message.get("input", []), message.get("output", []), attributes, _one(message, "name", ""))


def _attribute(message: Message, outside: "_Beside") -> Any:
    """A number, a text, an array, or a list of numbers; None if it is something else."""
    kind = ATTRIBUTES.get(_one(message, "type", 0), "")
    if kind == "t":
        return _array(_one(message, "t", {}), outside)
    if kind in ("floats", "ints"):
        return message.get(kind, [])
    return _one(message, kind, {"f": 0.0, "i": 0, "s": ""}[kind]) if kind else None


def _array(message: Message, outside: "_Beside") -> Array | None:
    """A view of the numbers of a tensor; None if their dtype is none that is read."""
    dims, dtype = tuple(message.get("dims", [])), DTYPES.get(_one(message, "data_type", 0))
    if dtype is None:
        return None
    what = f"the array {shown(_one(message, 'name', ''))} of shape {brief(dims)}"
    if min((*dims, 0)) < 0 or len(dims) > 8:
        raise FormatError(f"{what} has no shape")
    wanted = math.prod(dims) * itemsize(dtype)
    is_outside = _one(message, "data_location", 0) == 1
    data = outside.bytes(message, wanted, what) if is_outside else _inside(message, dtype)
    if len(data) != wanted:
        raise FormatError(f"{what} needs {wanted} bytes; has {len(data)}")
    return strided_view(data, dtype, dims)


def _inside(message: Message, dtype: str) -> memoryview:
    """The bytes of an array in the file: as they lie, or as a list of numbers, which a short one may be."""
    of_floats = {"float32": "float_data", "float64": "double_data"}.get(dtype, "")
    for name in ("raw_data", of_floats):
        if message.get(name):
            return memoryview(message[name][-1])
    numbers = message.get("int64_data" if dtype == "int64" else "int32_data", [])
    if dtype in ("float16", "bfloat16"):
        return memoryview(np.array(numbers, "<u2").tobytes())
    return memoryview(np.array(numbers, np.dtype(dtype).newbyteorder("<")).tobytes())


def _shape(value: Message) -> tuple[int | None, ...]:
    """The shape of an input, None for a size that is free."""
    tensor = _one(_one(value, "type", {}), "tensor_type", {})
    sizes = [_one(dim, "dim_value", None) for dim in _one(tensor, "shape", {}).get("dim", [])]
    return tuple(size if size and size > 0 else None for size in sizes)


class _Beside:
    """The files in a folder that hold arrays. No byte is handed out twice: small files make no large networks."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.left: dict[str, int] = {}  # bytes of each file that are not read yet

    def bytes(self, message: Message, wanted: int, what: str) -> memoryview:
        """The bytes of an array that lies in another file."""
        said = {_one(entry, "key", ""): _one(entry, "value", "") for entry in message.get("external_data", [])}
        name, offset, length = said.get("location", ""), said.get("offset", "0"), said.get("length", str(wanted))
        if not name or name in (".", "..") or any(c in "/\\:\0" for c in name):
            raise FormatError(f"{what} lies in {shown(repr(name))}; only a file in the same folder is read")
        if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in (offset, length)):
            raise FormatError(f"{what} lies at {shown(offset)} and has {shown(length)} bytes, which must be numbers")
        path = os.path.join(self.folder, name)
        check_no_pipe(path)
        if not os.path.isfile(path):
            raise FormatError(f"{what} lies in {shown(name)}, which must be in the same folder and is not")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            left = self.left.setdefault(name, size)
            if int(length) != wanted or int(offset) + wanted > size or wanted > left:
                raise FormatError(f"{what} needs {wanted} bytes; {shown(name)} has {size}, and not so many for it")
            self.left[name] = left - wanted
            file.seek(int(offset))
            return memoryview(file.read(wanted))
