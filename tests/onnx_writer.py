"""ONNX files for tests, written without the library onnx, by the reader's own description of the fields."""

import struct

import numpy as np

from npmnv2.engine import onnx_export
from npmnv2.engine.folding import folded
from npmnv2.weights.formats.onnx_file import BYTES, DTYPES, FLOAT, INTEGER, MODEL

NUMBERS = {name: number for number, name in DTYPES.items()}


def encode(message, fields):
    """A message, from a dictionary by the names of its fields; a list where there are several."""
    numbers = {name: (number, kind) for number, (name, kind) in fields.items()}
    out = b""
    for name, values in message.items():
        number, kind = numbers[name]
        for value in values if isinstance(values, list) else [values]:
            if kind == INTEGER:
                out += varint(number << 3) + varint(value)
            elif kind == FLOAT:
                out += varint(number << 3 | 5) + struct.pack("<f", value)
            else:
                inside = value if kind == BYTES else value.encode() if isinstance(value, str) else encode(value, kind)
                out += varint(number << 3 | 2) + varint(len(inside)) + inside
    return out


def varint(value):
    value, out = value % (1 << 64), b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def tensor(name, array, **more):
    array = np.asarray(array)
    data = {} if more else {"raw_data": np.ascontiguousarray(array).tobytes()}
    return {"name": name, "dims": list(array.shape), "data_type": NUMBERS[array.dtype.name], **data, **more}


def node(operator, inputs, output, **attributes):
    return {
        "op_type": operator,
        "input": list(inputs),
        "output": output,
        "attribute": [_attribute(*a) for a in attributes.items()],
    }


def _attribute(name, value):
    if isinstance(value, list):
        return {"name": name, "ints": value, "type": 7}
    if isinstance(value, np.ndarray):
        return {"name": name, "t": tensor("", value), "type": 4}
    field, number = {int: ("i", 2), float: ("f", 1), str: ("s", 3)}[type(value)]
    return {"name": name, field: value, "type": number}


def graph(nodes, arrays, shape=("N", 3, "H", "W"), output=None, **more):
    """The message of a whole file; `arrays` by name, or tensors."""
    dims = [{"dim_value": n} if isinstance(n, int) else {"dim_param": n} for n in shape]
    type_ = {"tensor_type": {"elem_type": 1, "shape": {"dim": dims}}}
    tensors = [a if isinstance(a, dict) else tensor(name, a) for name, a in arrays.items()]
    return {
        "ir_version": 8,
        "producer_name": "tests",
        "opset_import": {"domain": "", "version": 17},
        "graph": {
            "node": nodes,
            "initializer": tensors,
            "input": {"name": "x", "type": type_},
            "output": {"name": output or nodes[-1]["output"]},
        },
        **more,
    }


def exported(model, **more):
    """The graph of `onnx_export`: nodes and arrays."""
    nodes, arrays = onnx_export.graph(folded(model))
    return [node(n.operator, n.inputs, n.output, **n.attributes) for n in nodes], arrays


def write(path, *message, **more):
    path.write_bytes(encode(graph(*message, **more), MODEL))
    return path
