"""ONNX files, read with the library `onnx` (the extra ``npmnv2[onnx]``).

The library takes a file apart and makes arrays of what it holds. The arrays of a large network lie in a file beside
it, whose name stands in the first: that one is opened here, never by the library, and only in the same folder.

What the library makes of a file takes at most a hundred times the file's bytes: two bytes are enough for an operator
without a name. Arrays are as large as what holds them, but for bfloat16, which becomes float32, and numbers that are
written one by one, which may take one byte in the file and eight in an array.
"""

import math
import os
from typing import Any, NamedTuple

import numpy as np

from npmnv2.files import FormatError, FrugalFile, brief, check_no_pipe, format_errors, itemsize, shown, strided_view
from npmnv2.validate import Array

MOST = 20_000  # operators, arrays and inputs of a graph; the networks here have some hundred
# ONNX's numbers for the dtypes that are read.
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}
DTYPES[16] = "bfloat16"


class Node(NamedTuple):
    """One operator of the graph."""

    operator: str
    inputs: list[str]  # "" where one is left out
    outputs: list[str]
    attributes: dict[str, Any]  # numbers, lists of them, text and arrays
    name: str


class Graph(NamedTuple):
    """What a file holds, as far as it is read."""

    nodes: list[Node]  # in the order of the file, in which they run
    arrays: dict[str, Array]  # the initialisers, by name
    inputs: dict[str, tuple[int | None, ...]]  # those that are no initialisers, and their shapes; None: any size
    outputs: list[str]
    metadata: dict[str, str]
    opset: int  # the version of the operators


def read(path: str | os.PathLike[str]) -> Graph:
    """Read an ONNX file, and the arrays that lie in files beside it, which must be in its folder."""
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from onnx import ModelProto
    except ImportError as missing:
        raise ImportError("reading ONNX files needs the library onnx: pip install 'npmnv2[onnx]'") from missing

    with FrugalFile(path, 0) as file, format_errors(path, DecodeError):
        file.allow_all()
        model = ModelProto.FromString(file.read())
        graph, outside = model.graph, _Beside(os.path.dirname(os.fspath(path)))
        for what, values in (("operators", graph.node), ("arrays", graph.initializer), ("inputs", graph.input)):
            if len(values) > MOST:
                raise FormatError(f"has {len(values)} {what}; networks here have some hundred")
        arrays = {tensor.name: _array(tensor, outside) for tensor in graph.initializer}
        return Graph(
            [_node(node, outside) for node in graph.node],
            {name: array for name, array in arrays.items() if array is not None},
            {value.name: _shape(value) for value in graph.input if value.name not in arrays},
            [value.name for value in graph.output[:MOST]],
            {entry.key: entry.value for entry in model.metadata_props[:MOST]},
            max((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), default=1),
        )


def _node(node: Any, outside: "_Beside") -> Node:
    operator = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    attributes = {attribute.name: _attribute(attribute, outside) for attribute in node.attribute}
    return Node(operator, list(node.input), list(node.output), attributes, node.name)


def _attribute(attribute: Any, outside: "_Beside") -> Any:
    """A number, a text, an array, or a list of numbers; None if it is something else."""
    from onnx import AttributeProto, helper

    if attribute.type == AttributeProto.TENSOR:
        return _array(attribute.t, outside)
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode()
    plain = (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.FLOATS, AttributeProto.INTS)
    return helper.get_attribute_value(attribute) if attribute.type in plain else None


def _array(tensor: Any, outside: "_Beside") -> Array | None:
    """The numbers of a tensor; None if their dtype is none that is read."""
    from onnx import TensorProto, numpy_helper

    dtype, dims = DTYPES.get(tensor.data_type), tuple(tensor.dims[:9])
    if dtype is None:
        return None
    what = f"the array {shown(tensor.name)} of shape {brief(dims)}"
    if min((*dims, 0)) < 0 or len(dims) > 8:
        raise FormatError(f"{what} has no shape")
    if tensor.data_location == TensorProto.EXTERNAL:
        return strided_view(outside.bytes(tensor, math.prod(dims) * itemsize(dtype), what), dtype, dims)
    array: Array = numpy_helper.to_array(tensor)
    return array.astype(np.float32) if dtype == "bfloat16" else array


def _shape(value: Any) -> tuple[int | None, ...]:
    """The shape of an input, None for a size that is free."""
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in value.type.tensor_type.shape.dim[:9])


class _Beside:
    """The files in a folder that hold arrays. No byte is handed out twice: small files make no large networks."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.left: dict[str, int] = {}  # bytes of each file that are not read yet

    def bytes(self, tensor: Any, wanted: int, what: str) -> bytes:
        """The bytes of an array that lies in another file."""
        said = {entry.key: entry.value for entry in tensor.external_data}
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
            return file.read(wanted)
