"""Layers, blocks and optimisers: objects that hold parameters, statistics and the last cache, and call `ops`.

Read `base.py` (what a layer is), then `layers.py`, `blocks.py` and `optim.py`.
"""

from npmnv2.nn import exact, printing  # first, so that `exact` knows the methods as they were  # noqa: F401
from npmnv2.nn.base import Layer
from npmnv2.nn.parameter import Parameter, Statistic

__all__ = ["Layer", "Parameter", "Statistic"]
