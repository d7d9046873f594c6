"""The comparison with other libraries' networks, the half that needs none of them: cases, weights, images.

`make_frameworks.py` is the other half: it builds each case in its library, gives it the weights of `state`, and returns
its logits. What it returned once lies in frameworks.npz, with the names and shapes of the library's own arrays, so
`test_weights.py` needs none of the libraries; `test_oracle_frameworks.py` runs both halves live, on files that the
libraries write. Weights are not stored: the values of an array follow from its name *there*.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from golden.recipe import Array, draw

CLASSES = 5


class Case(NamedTuple):
    """A network of a library, and the images it is asked about, by their side in pixels."""

    names: str  # "torchvision", "timm", "keras", "hf"
    architecture: str
    width: float
    sizes: tuple[int, ...]

    @property
    def id(self) -> str:
        return f"{self.names}, {self.architecture}, {self.width:g}"


GOLDENS = (
    Case("torchvision", "mobilenet_v2", 0.1, (96, 65)),
    Case("timm", "mobilenet_v2", 0.35, (96, 65)),
    Case("timm", "mobilenet_v1", 1.0, (64,)),
    Case("keras", "mobilenet_v2", 0.1, (96, 65)),
    Case("keras", "mobilenet_v1", 0.25, (96,)),
    Case("hf", "mobilenet_v2", 0.35, (96, 65)),
    Case("hf", "mobilenet_v1", 0.25, (96, 65)),
)


def state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Weights for a network of any library, by its own names: statistics far from trivial, ReLU6 that clips."""
    return {name: draw(name, shape, *_range(name, shape)) for name, shape in shapes.items()}


def _range(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    leaf = name.replace("/", ".").rpartition(".")[2]
    if leaf in ("running_var", "moving_variance"):
        return 0.5, 2.0
    if leaf in ("running_mean", "moving_mean"):
        return -1.0, 1.0
    if leaf in ("bias", "beta"):
        return -1.0, 2.0
    if len(shape) == 1:
        return 0.5, 2.5
    # PyTorch has the outputs first, Keras last, but for a depthwise kernel, whose last axis has length 1.
    inputs = shape[1:] if leaf == "weight" else shape[:2] if shape[-1] == 1 else shape[:-1]
    fan_in = math.prod(inputs)
    return -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in)


def images(size: int, count: int = 1) -> Array:
    """Images (N, H, W, 3) in float64, as a network sees them."""
    return draw(f"images of {size}", (count, size, size, 3), -2, 2)
