"""What the operators of an ONNX file make of known numbers: sizes and paddings that are worked out in the graph."""

import numpy as np

from npmnv2.validate import Array
from npmnv2.weights.formats.onnx_file import DTYPES, Node

SHORT = 64  # numbers that are computed with


def computed(node: Node, known: list[Array], opset: int) -> Array | None:
    """What an operator makes of numbers, by the library's own evaluator; None if it is not computed.

    Large arrays are handed on, as views; new ones are made only of short ones.
    """
    from onnx import ValueInfoProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    x, names = known[0], [f"x{k}" for k in range(len(known))]
    to = DTYPES.get(node.attributes.get("to", 0), "")
    is_widening = x.dtype.kind == "f" and to.startswith("float") and np.dtype(to).itemsize >= x.itemsize
    if node.operator in ("Identity", "Dropout") or (node.operator == "Cast" and is_widening):
        return x
    if node.operator != "Transpose" and any(value.size > SHORT for value in known):
        return None
    if node.operator == "ConstantOfShape" and np.prod(x.clip(0), dtype=float) > SHORT:
        return None
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    graph = helper.make_graph(
        [helper.make_node(node.operator, names, ["y"], **attributes)],
        "",
        [ValueInfoProto(name=name) for name in names],
        [ValueInfoProto(name="y")],
    )
    found = ReferenceEvaluator(graph, opsets={"": opset}).run(None, dict(zip(names, known, strict=True)))
    return np.asarray(found[0])
