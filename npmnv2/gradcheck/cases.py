"""Check every backward of `ops` and every block, in a few seconds: what ``python -m npmnv2 gradcheck`` prints.

The tests check the same at many more shapes; this is the short form that a reader can run and see.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import ops
from npmnv2.backends import backend, implementation
from npmnv2.gradcheck import compare, methods
from npmnv2.models import mobilenet_v2
from npmnv2.nn.blocks import InvertedResidual, SeparableConv
from npmnv2.validate import Array

LABELS = {"differences": "differences", "complex": "complex step", "direction": "direction"}  # as they are printed


class Check(NamedTuple):
    """One gradient, one error."""

    operation: str
    gradient: str
    method: str  # one of `LABELS`, as printed
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance


class _Case(NamedTuple):
    operation: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: tuple[Array, ...]
    names: str
    method: str  # of `compare.check`
    step: float
    tolerance: float


def run(backend_name: str = "numpy") -> list[Check]:
    """Compare every backward pass with differences of its forward, in float64.

    Linear operations by differences with a step of 1e-2 (exact but for rounding), smooth ones by the complex step,
    ReLU6 away from its kinks, the blocks and a whole network along one direction.

    Parameters
    ----------
    backend_name : str
        The backend that is checked.

    Returns
    -------
    list of Check

    Examples
    --------
    >>> all(check.passed for check in run())
    True
    """
    with backend(backend_name):
        checks = [check for case in [*_convolutions(), *_others()] for check in _case(case)]
        separable = SeparableConv(4, 6, stride=2, rng=_rng(), dtype=np.float64)
        block = InvertedResidual(4, 4, stride=1, t=6, rng=_rng(), dtype=np.float64)
        network = mobilenet_v2(5, 0.1, strides="digits", in_channels=1, dropout=0, dtype=np.float64)
        return [
            *checks,
            _check_model("separable convolution", separable, (3, 5, 6, 4)),
            _check_model("inverted residual", block, (3, 5, 6, 4)),
            _check_model("MobileNetV2", network, (3, 8, 8, 1)),
        ]


def _case(case: _Case) -> list[Check]:
    names = case.names.split()
    try:
        found = compare.check(
            case.forward,
            case.backward,
            *case.inputs,
            method=case.method,
            step=case.step,
            tolerance=np.inf,
            names=names,
        )
    except AssertionError:  # a gradient that is NaN or has the wrong shape has no finite error
        found = ()
    errors = dict(found)  # nor has one that is missing
    return [
        Check(case.operation, f"d{name}", LABELS[case.method], errors.get(f"d{name}", np.inf), case.tolerance)
        for name in names
    ]


def _linear(operation: str, forward: Any, backward: Any, inputs: tuple[Array, ...], names: str = "x w") -> _Case:
    """Differences with a large step: exact but for rounding, for what is linear in every input."""
    return _Case(operation, _as_run(forward), _as_run(backward), inputs, names, "differences", 1e-2, 1e-11)


def _smooth(operation: str, forward: Any, backward: Any, inputs: tuple[Array, ...], names: str) -> _Case:
    """The complex step; differences with a small step where a backend has code that takes no complex numbers."""
    method = ("complex", 1e-30, 1e-12) if _as_run(forward) is forward else ("differences", 1e-5, 1e-8)
    return _Case(operation, _as_run(forward), _as_run(backward), inputs, names, *method)


def _as_run(operation: Any) -> Any:
    """What the backend runs for an operation, or for a partial call of one."""
    if isinstance(operation, partial):
        return partial(implementation(operation.func), *operation.args, **operation.keywords)
    return implementation(operation)


def _convolutions() -> list[_Case]:
    rng = _rng()
    x = rng.normal(size=(2, 7, 6, 4))  # not square, so that H and W cannot be confused
    strided: dict[str, Any] = {"stride": 2, "padding": ((0, 1), (2, 1)), "dilation": 1}  # a different number each side
    image = (x, rng.normal(size=(3, 2, 4, 6)))
    groups = (x, rng.normal(size=(3, 2, 2, 6)))
    depth = (x, rng.normal(size=(3, 2, 4)))
    grouped = partial(ops.grouped_conv2d_forward, groups=2, **strided)
    im2col = partial(ops.conv2d_im2col_forward, **strided)
    depthwise = partial(ops.depthwise_conv2d_forward, **strided)
    return [
        _linear("standard", partial(ops.conv2d_forward, **strided), ops.conv2d_backward, image),
        _linear("standard, im2col", im2col, ops.conv2d_im2col_backward, image),
        _linear("grouped", grouped, ops.grouped_conv2d_backward, groups),
        _linear("depthwise", depthwise, ops.depthwise_conv2d_backward, depth),
        _linear("pointwise", ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward, (x, rng.normal(size=(4, 6)))),
        _linear("padding", partial(ops.pad_forward, padding=strided["padding"]), ops.pad_backward, (x,), "x"),
    ]


def _others() -> list[_Case]:
    rng = _rng()
    x = rng.normal(size=(2, 7, 6, 4))
    rows = (rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=5))
    affine = (rng.normal(size=(2, 3, 2, 4)), rng.normal(size=4), rng.normal(size=4))
    mean, var = rng.normal(size=4), rng.uniform(0.5, 2, size=4)
    y = rng.choice([-3.0, 3.0, 9.0], size=(2, 3, 2, 4)) + rng.normal(0, 0.2, size=(2, 3, 2, 4))  # far from 0 and 6
    scale, shift = rng.uniform(0.5, 2, size=4), rng.normal(size=4)
    clipped = ((y - shift) / scale * np.sqrt(var) + mean, scale, shift)  # the input that becomes y, all but for eps
    away = methods.away_from_kinks(rng.uniform(-3, 9, size=(4, 5)))
    logits, labels = rng.normal(size=(4, 5)), np.array([0, 4, 2, 2])
    bn = "x gamma beta"

    def dropout(x: Array) -> Any:
        return implementation(ops.dropout_forward)(x, 0.5, np.random.default_rng(1))  # the same mask every time

    def inference(x: Array, gamma: Array, beta: Array) -> Any:
        return implementation(ops.batchnorm_inference)(x, gamma, beta, mean, var), (x, gamma)

    def inference_backward(dout: Array, cache: tuple[Array, Array]) -> Any:
        return implementation(ops.batchnorm_inference_backward)(dout, *cache, mean, var)

    def clipping(x: Array, gamma: Array, beta: Array) -> Any:
        return implementation(ops.batchnorm_relu6_inference)(x, gamma, beta, mean, var), (x, gamma, beta)

    def clipping_backward(dout: Array, cache: tuple[Array, Array, Array]) -> Any:
        return implementation(ops.batchnorm_relu6_inference_backward)(dout, *cache, mean, var)

    def loss(z: Array) -> Any:
        return implementation(ops.softmax_cross_entropy)(z, labels, 0.1)

    return [
        _linear("linear", ops.linear_forward, ops.linear_backward, rows, "x w b"),
        _linear("average pool", partial(ops.avg_pool2d_forward, size=3, padding=1), ops.avg_pool2d_backward, (x,), "x"),
        _linear("global average pool", ops.global_avg_pool_forward, ops.global_avg_pool_backward, (x,), "x"),
        _linear("dropout", dropout, ops.dropout_backward, (x,), "x"),
        _smooth("batch norm", ops.batchnorm_forward, ops.batchnorm_backward, affine, bn),
        _smooth("batch norm, by steps", ops.batchnorm_forward, ops.batchnorm_backward_steps, affine, bn),
        _linear("batch norm, fixed", inference, inference_backward, affine, bn),
        _linear("fixed norm, ReLU6", clipping, clipping_backward, clipped, bn),
        _smooth("batch norm, ReLU6", ops.batchnorm_relu6_forward, ops.batchnorm_relu6_backward, affine, bn),
        _linear("ReLU", ops.relu_forward, ops.relu_backward, (away,), "x"),
        _linear("ReLU6", ops.relu6_forward, ops.relu6_backward, (away,), "x"),
        _smooth("softmax cross-entropy", loss, lambda dout, dlogits: dout * dlogits, (logits,), "logits"),
    ]


def _check_model(name: str, model: Any, shape: tuple[int, ...]) -> Check:
    """The gradient of all parameters and the input of a model at once, along a random direction.

    The step is tiny because the network has thousands of ReLU6: within 1e-6 one of them changes sides (error 1e-3),
    within 1e-8 none does and rounding leaves less than 1e-8.
    """
    rng = _rng()
    for p in model.parameters():
        if p.role in ("gamma", "beta"):
            p.value[...] = rng.uniform(0.5, 1.5, p.value.shape)  # zeros and ones would hide mistakes
    x = rng.normal(size=shape)
    try:
        ((_, error),) = compare.check_layer(model, x, method="direction", step=1e-8, tolerance=np.inf)
    except AssertionError:  # as in `_case`
        error = np.inf
    return Check(name, "all", LABELS["direction"], error, 1e-6)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
