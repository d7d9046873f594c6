"""The shapes, tables and check functions that the tests share.

A table of convolutions that no symmetry protects: no square image with a square kernel at stride 1, because there H
and W, top and left, or stride and no stride can be mixed up without anybody noticing. `check_conv` is the one check of
a convolution's gradients; `test_mutants.py` shows that it rejects wrong ones.
"""

import contextlib
import csv
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from npmnv2 import gradcheck, kernels, ops
from npmnv2.backends import implementation
from npmnv2.nn.base import Layer
from npmnv2.nn.layers import BatchNormReLU6
from npmnv2.nn.parameter import Parameter
from npmnv2.shapes import Padding

# For pytest.mark.parametrize: a kernel is compiled for one dtype by default, for the other with -m compiled.
DTYPES = (np.float64, pytest.param(np.float32, marks=pytest.mark.compiled))
# Of kernels that run as plain Python by default: both are compiled with -m compiled.
DTYPES_AND_PYTHON = (
    pytest.param(np.float64, id="python"),
    *(pytest.param(dtype, marks=pytest.mark.compiled, id=dtype.__name__) for dtype in (np.float64, np.float32)),
)
TABLES = pathlib.Path(__file__).parent.parent / "docs" / "tables"


def operation(name: str) -> Any:
    """What the current backend runs for an operation of `ops`, by its name."""
    return implementation(getattr(ops, name))


class Conv(NamedTuple):
    """One convolution: what is in `CONVS`."""

    name: str
    image: tuple[int, int, int, int]  # N, H, W, C
    kernel: tuple[int, int]
    stride: int
    padding: Padding
    dilation: int = 1

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


CONVS = (
    Conv("no padding", (2, 5, 7, 3), (3, 3), 1, 0),
    Conv("one column wide kernel", (1, 5, 4, 2), (3, 1), 1, 0),
    Conv("stride 2 does not divide", (2, 6, 9, 2), (3, 3), 2, 1),
    Conv("stride 3 does not divide", (1, 9, 12, 2), (3, 2), 3, 1),
    Conv("dilation 2", (2, 7, 6, 2), (3, 2), 1, 2, 2),
    Conv("dilation 2, stride 2", (1, 9, 8, 2), (2, 3), 2, 1, 2),
    Conv("asymmetric", (2, 4, 6, 3), (3, 3), 1, ((2, 0), (1, 3))),
    Conv("asymmetric, stride 2", (1, 5, 8, 2), (3, 4), 2, ((0, 1), (2, 1))),
    Conv("same, stride 1, even kernel", (1, 5, 6, 2), (4, 2), 1, "same"),
    Conv("same, stride 2, even and odd", (2, 6, 7, 2), (3, 3), 2, "same"),
    Conv("same, stride 3, dilation 2", (1, 7, 10, 2), (3, 2), 3, "same", 2),
    Conv("stride beyond the kernel", (1, 8, 9, 2), (2, 1), 3, 0),
    Conv("padding beyond the kernel", (1, 3, 4, 2), (2, 2), 1, 3),
    Conv("kernel as large as the image", (2, 4, 3, 2), (4, 3), 1, 0),
    Conv("one pixel", (2, 1, 1, 3), (3, 3), 1, 1),
    Conv("3x3, padding beyond the kernel", (1, 4, 3, 2), (3, 3), 1, ((3, 0), (1, 4))),
    Conv("3x3, stride 2, asymmetric", (2, 5, 8, 2), (3, 3), 2, ((3, 1), (0, 2))),
    Conv("3x3, stride 3", (2, 8, 7, 2), (3, 3), 3, ((1, 0), (0, 2))),
    Conv("1x1 kernel, stride 2", (1, 5, 6, 3), (1, 1), 2, 0),
)

convs = {"argvalues": CONVS, "ids": [case.name for case in CONVS]}  # for pytest.mark.parametrize("case", **convs)

Function = Callable[..., Any]


def check_conv(
    forward: Function,
    backward: Function,
    case: Conv,
    w_shape: tuple[int, ...],
    tolerance: float = 1e-11,
    **options: Any,
) -> float:
    """Compare both gradients of a convolution with differences (exact, it is linear); return the larger error."""
    rng = np.random.default_rng(sum(map(ord, case.name)))
    x, w = rng.normal(size=case.image), rng.normal(size=w_shape)
    errors = gradcheck.check(
        lambda x, w: forward(x, w, **case.options, **options), backward, x, w, tolerance=tolerance, names="xw"
    )
    return max(error for _, error in errors)


def check_depthwise(forward: Function, backward: Function, case: Conv, tolerance: float = 1e-11) -> float:
    """`check_conv` for a depthwise convolution."""
    return check_conv(forward, backward, case, (*case.kernel, case.image[3]), tolerance)


# The shapes of batch norm's input: images, rows, more axes than an image has.
BATCHES = ((2, 3, 4, 3), (7, 2), (1, 5, 2, 4), (2, 2, 3, 2, 2))


def batchnorm_input(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x with a different mean and scale in every channel, gamma and beta that are not 1 and 0."""
    rng = np.random.default_rng([seed, *shape])
    C = shape[-1]
    x = rng.normal(rng.normal(0, 2, C), rng.uniform(0.2, 3, C), shape)
    return x, rng.uniform(0.5, 3, C) * rng.choice([-1, 1], C), rng.normal(1, 2, C)


def check_batchnorm(forward: Function, backward: Function, shape: tuple[int, ...], tolerance: float = 1e-12) -> float:
    """Compare the three gradients of a NumPy batch norm with the complex step; return the largest error.

    With eps as large as 0.1, so that a backward that forgets it is wrong by more than rounding.
    """
    x, gamma, beta = batchnorm_input(shape)
    errors = gradcheck.check(
        lambda x, gamma, beta: forward(x, gamma, beta, 0.1),
        backward,
        *(x, gamma, beta),
        method="complex",
        tolerance=tolerance,
        names=("x", "gamma", "beta"),
    )
    return max(error for _, error in errors)


def implementations(name: str) -> list[Any]:
    """The NumPy operation and, if there is one, its compiled twin."""
    return [getattr(module, name) for module in (ops, kernels) if name in module.__all__]


def table(name: str) -> list[dict[str, str]]:
    """The rows of a published table in docs/tables; its first line names the source."""
    with open(TABLES / name, newline="") as file:
        source = next(file)
        assert source.startswith("# "), f"{name} must name its source in the first line"
        return list(csv.DictReader(file))


# -- networks


def randomise(layer: Layer, seed: int = 0) -> Layer:
    """Give every parameter and statistic a value that hides nothing: no gamma of 1, no beta or mean of 0."""
    rng = np.random.default_rng(seed)
    for name, part in layer.state().items():
        kind = part.role if isinstance(part, Parameter) else name.rpartition(".")[2]
        shape = part.value.shape
        part.value[...] = {
            "weight": lambda s: rng.normal(0, 1 / np.sqrt(max(np.prod(s[:-1]), 1)), s),
            "depthwise": lambda s: rng.normal(0, 0.4, s),
            "gamma": lambda s: rng.uniform(0.5, 2, s) * rng.choice([-1, 1], s),
            "beta": lambda s: rng.normal(1, 1, s),
            "bias": lambda s: rng.normal(0, 1, s),
            "mean": lambda s: rng.normal(0, 0.3, s),
            "var": lambda s: rng.uniform(0.5, 2, s),
        }[kind](shape)
    return layer


def masks(layer: Layer) -> Iterator[np.ndarray]:
    """Which values of the last forward every ReLU6 clipped, from the caches: a kink was crossed if one changes."""
    for _, part in layer.named_layers():
        if isinstance(part, BatchNormReLU6):
            mode, c = part._cache
            if mode == "train":
                y = (c.x - c.mean) * c.inv_std * c.gamma + c.beta
                y = np.clip(y.real, 0, 6)
            else:
                x, mean, var = c
                y = ops.batchnorm_relu6_inference(x, part.gamma.value, part.beta.value, mean, var, part.eps).real
            yield np.concatenate([(y <= 0).ravel(), (y >= 6).ravel()])


@contextlib.contextmanager
def no_kink_crossed(model: Layer) -> Iterator[list[np.ndarray]]:
    """Inside, every forward of a model must clip the values that the first one clipped; a list of those masks."""
    first: list[np.ndarray] = []
    forward = model.forward

    def watched(x: np.ndarray) -> np.ndarray:
        out = forward(x)
        now = list(masks(model))
        first.extend(now if not first else [])
        assert all((a == b).all() for a, b in zip(first, now, strict=True)), "a kink was crossed"
        return out

    model.forward = watched  # type: ignore[method-assign]
    try:
        yield first
    finally:
        del model.forward
