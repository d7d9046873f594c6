"""The comparison with efficientnet_lite_pytorch, the half that needs neither it nor PyTorch.

`make_efficientnet_lite.py` is the other half. What it returned once lies in efficientnet_lite.npz, for narrow networks
with drawn weights; `test_oracle_efficientnet_lite.py` makes the comparison live, with the weights that were trained.

A gradient is stored as two numbers: its length, and its product with drawn numbers. The one that lies across an axis
the wrong way round, or is shifted by a pixel, has another product.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from golden.recipe import Array, draw

CLASSES = 5


class Case(NamedTuple):
    """A network and the images it is asked about, by height and width."""

    width: float
    depth: float
    sizes: tuple[tuple[int, int], ...]

    @property
    def id(self) -> str:
        return f"width {self.width:g}, depth {self.depth:g}"


GOLDENS = (
    Case(0.25, 1.0, ((64, 64), (65, 97))),
    Case(0.35, 1.1, ((97, 66),)),
    Case(0.2, 1.4, ((49, 66),)),
)


def images(size: tuple[int, int], count: int = 2) -> Array:
    """Images (N, H, W, 3) in float64, as a network sees them."""
    return draw(f"images of {size}", (count, *size, 3), -2, 2)


def summary(gradients: Mapping[str, Array]) -> dict[str, Array]:
    """Two numbers of every gradient, by its name in the library and in its layout."""
    return {
        name: np.array([np.sqrt((g**2).sum()), (g * draw(f"against {name}", g.shape)).sum()])
        for name, g in gradients.items()
    }
