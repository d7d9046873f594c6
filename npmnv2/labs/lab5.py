"""Lab 5: the inverted residual, forward and backward."""

from typing import Any

import numpy as np

from npmnv2.data.digits import FILE
from npmnv2.labs import block, residual
from npmnv2.labs.form import kind
from npmnv2.labs.lab import Case, Function, Lab, Opened
from npmnv2.labs.product import Finding
from npmnv2.ops.activation import relu6_backward, relu6_forward
from npmnv2.ops.batchnorm import batchnorm_backward, batchnorm_forward
from npmnv2.ops.depthwise import depthwise_conv2d_backward, depthwise_conv2d_forward
from npmnv2.ops.pointwise import pointwise_conv2d_backward, pointwise_conv2d_forward
from npmnv2.shapes import conv_geometry
from npmnv2.validate import Array

FORWARD, BACKWARD = "block_forward", "block_backward"
_SIZES = {"N": 1, "H": 11, "W": 7, "C": 2, "E": 5, "M": 3, "stride": 1}  # E None: there is no expansion
_ADDED: list[tuple[str, dict[str, Any]]] = [
    ("no expansion, no shortcut, stride 1", {"C": 3, "E": None, "M": 2}),
    ("expansion", {}),
    ("shortcut: C and M are equal", {"C": 3}),
    ("shortcut without expansion", {"C": 3, "E": None}),
    ("stride 2", {"C": 3, "stride": 2}),
    ("two images", {"N": 2, "C": 3}),
]
CASES = (
    *(Case(FORWARD, adds, {**_SIZES, **sizes}) for adds, sizes in _ADDED),
    *(Case(BACKWARD, f"{adds}; backward", {**_SIZES, **sizes}) for adds, sizes in _ADDED),
    Case(BACKWARD, "another call of block_forward before block_backward", {**_SIZES, "C": 3, "calls": 2}),
    Case(FORWARD, "float32", {**_SIZES, "C": 3}, "float32"),
    Case(BACKWARD, "float32; backward", {**_SIZES, "C": 3}, "float32"),
)
COUNTED = Case(FORWARD, "", {**_SIZES, "C": 3})
_CONVOLUTIONS = 11 * 7 * (3 * 5 + 9 * 5 + 5 * 3)  # multiply-adds: N H W (C E + 9 E + E M)
NEAREST = 1e-4  # no value lies so near to 0 or 6 that rounding could decide whether ReLU6 cuts it


def arguments(case: Case, rng: np.random.Generator) -> tuple[Any, ...]:
    """`(x, p, stride)`; for the backward `dout`, and the arguments of each call of the forward before it."""
    given = _given(case, rng)
    if case.function == FORWARD:
        return given
    s = case.sizes
    g = conv_geometry(s["H"], s["W"], 3, 3, s["stride"], 1)
    dout = rng.normal(size=(s["N"], g.OH, g.OW, s["M"])).astype(case.dtype)
    return (dout, given, *(_given(case, rng) for _ in range(s.get("calls", 1) - 1)))


def _given(case: Case, rng: np.random.Generator) -> tuple[Array, dict[str, Array], int]:
    """Weights are small, so that epsilon is not; gamma and beta put values on both sides of 0 and of 6."""
    s = case.sizes
    C, M, E = s["C"], s["M"], s["E"] or s["C"]
    while True:
        x = rng.normal(size=(s["N"], s["H"], s["W"], C)) * 2 + 1
        p = {"we": rng.normal(size=(C, E)) * 0.03, "wd": rng.normal(size=(3, 3, E)) * 0.02}
        p["wp"] = rng.normal(size=(E, M)) * 0.02
        for k, channels in (("1", E), ("2", E)):
            p["gamma" + k], p["beta" + k] = rng.uniform(2, 4, channels), rng.uniform(2, 4, channels)
        p["gamma3"], p["beta3"] = rng.uniform(2, 4, M), rng.uniform(-2, 2, M)
        if s["E"] is None:
            p = {name: array for name, array in p.items() if name not in block.EXPANSION}
        x, p = x.astype(case.dtype), {name: array.astype(case.dtype) for name, array in p.items()}
        steps = block.forward(x, p, s["stride"])
        cut = [steps[name] for name in ("wide_norm", "filtered_norm") if name in steps]
        if min(float(np.min(np.abs(a - edge))) for a in cut for edge in (0, 6)) > NEAREST:
            return x, p, s["stride"]


def right(case: Case, given: tuple[Any, ...]) -> tuple[Array, ...]:
    """`(out,)`, or the gradients in the order of the way back."""
    dout = None if case.function == FORWARD else given[0].astype(np.float64)
    x, p, stride = given if dout is None else given[1]
    x, p = x.astype(np.float64), {name: array.astype(np.float64) for name, array in p.items()}
    caches: dict[str, Any] = {}
    wide = x
    if "we" in p:
        wide, caches["we"] = pointwise_conv2d_forward(x, p["we"])
        wide, caches["norm1"] = batchnorm_forward(wide, p["gamma1"], p["beta1"])
        wide, caches["relu1"] = relu6_forward(wide)
    filtered, caches["wd"] = depthwise_conv2d_forward(wide, p["wd"], stride, 1)
    filtered, caches["norm2"] = batchnorm_forward(filtered, p["gamma2"], p["beta2"])
    filtered, caches["relu2"] = relu6_forward(filtered)
    narrow, caches["wp"] = pointwise_conv2d_forward(filtered, p["wp"])
    out, caches["norm3"] = batchnorm_forward(narrow, p["gamma3"], p["beta3"])
    shortcut = stride == 1 and x.shape == out.shape
    if dout is None:
        return ((x + out if shortcut else out).astype(case.dtype),)
    grads = {}
    d, grads["gamma3"], grads["beta3"] = batchnorm_backward(dout, caches["norm3"])
    d, grads["wp"] = pointwise_conv2d_backward(d, caches["wp"])
    d, grads["gamma2"], grads["beta2"] = batchnorm_backward(relu6_backward(d, caches["relu2"]), caches["norm2"])
    d, grads["wd"] = depthwise_conv2d_backward(d, caches["wd"])
    if "we" in p:
        d, grads["gamma1"], grads["beta1"] = batchnorm_backward(relu6_backward(d, caches["relu1"]), caches["norm1"])
        d, grads["we"] = pointwise_conv2d_backward(d, caches["we"])
    grads["dx"] = dout + d if shortcut else d
    return tuple(grads[name].astype(case.dtype) for name in block.way_back(p))


def opened(case: Case, result: Any) -> Opened | Finding:
    """`out`, or `dx` and the arrays in `grads`, in the order of the way back."""
    function = case.function
    names = ("out", "cache") if function == FORWARD else ("dx", "grads")
    if not (type(result) is tuple and len(result) == 2):
        was = "nothing" if result is None else kind(result)
        return Finding("wrong-type", f"{function} must return a tuple ({', '.join(names)}); it returned {was}.")
    if function == FORWARD:
        return Opened(("out",), (result[0],))
    dx, grads = result
    if type(grads) is not dict:
        return Finding("wrong-type", f"grads must be a dict with the names of p; was {kind(grads)}.")
    shapes = _shapes(case)
    lacking, extra = [k for k in shapes if k not in grads], [k for k in grads if k not in shapes]
    if lacking or extra:
        said = [f"missing: {', '.join(lacking)}" if lacking else "", f"not in p: {', '.join(extra)}" if extra else ""]
        return Finding("wrong-keys", f"grads must have the names that p has; {'; '.join(filter(None, said))}.")
    for name, shape in shapes.items():
        if not isinstance(grads[name], np.ndarray):
            return Finding("wrong-type", f"grads['{name}'] must be an array; was {kind(grads[name])}.")
        other = next((k for k, s in shapes.items() if grads[name].shape == s and s != shape), None)
        if other and isinstance(grads[other], np.ndarray) and grads[other].shape == shape:
            return Finding(
                "exchanged", f"grads['{name}'] has the shape of {other}, and grads['{other}'] that of {name}."
            )
        if name in ("we", "wp") and grads[name].shape == shape[::-1] != shape:
            return Finding("transposed", f"grads['{name}'] must have the shape {shape}; was {grads[name].shape}.")
    order = block.way_back(shapes)
    return Opened(
        tuple("dx" if name == "dx" else f"grads['{name}']" for name in order),
        tuple(dx if name == "dx" else grads[name] for name in order),
    )


def _shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """Those of p."""
    C, M, E = case.sizes["C"], case.sizes["M"], case.sizes["E"] or case.sizes["C"]
    shapes: dict[str, tuple[int, ...]] = {"we": (C, E), "gamma1": (E,), "beta1": (E,), "wd": (3, 3, E)}
    shapes |= {"gamma2": (E,), "beta2": (E,), "wp": (E, M), "gamma3": (M,), "beta3": (M,)}
    return shapes if case.sizes["E"] else {k: v for k, v in shapes.items() if k not in block.EXPANSION}


LAB = Lab(
    5,
    "The inverted residual",
    "widen, filter, project linearly, add if it fits",
    50,
    (
        Function(FORWARD, ("x", "p", "stride"), ("out",)),
        Function(BACKWARD, ("dout", "cache"), ("dx", "grads"), after=FORWARD),
    ),
    CASES,
    arguments,
    right,
    counted=COUNTED,
    par=_CONVOLUTIONS + 11 * 7 * (5 + 5 + 3) + 11 * 7 * (5 + 3),  # gamma; squares, where the array is one that counts
    least=_CONVOLUTIONS - 11 * 7 * 9 * 5 + (3 * 11 - 2) * (3 * 7 - 2) * 5,  # without the taps that see the border
    explain=residual.explain,
    opened=opened,
    beside=FILE,
)
