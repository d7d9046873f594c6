"""MobileNetV2 in plain NumPy: every forward and backward pass by hand, to be read, checked and timed.

Where to begin: docs/index.md gives a reading order; ``python -m npmnv2`` is a tour. Submodules load when first used,
so that ``import npmnv2`` stays quick: Numba and Matplotlib are imported only by what needs them.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from npmnv2.backends import attach, backend, current_backend, set_backend, set_default

if TYPE_CHECKING:
    from npmnv2 import cost, gradcheck, kernels, ops, train, weights
    from npmnv2.engine.fused import fuse
    from npmnv2.models.efficientnet_lite import efficientnet_lite
    from npmnv2.models.mobilenet_v1 import mobilenet_v1, mobilenet_v1_conv
    from npmnv2.models.mobilenet_v2 import mobilenet_v2
    from npmnv2.nn import blocks, layers, optim
    from npmnv2.runtime.threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "backend",
    "blocks",
    "cost",
    "current_backend",
    "efficientnet_lite",
    "fuse",
    "get_num_threads",
    "gradcheck",
    "kernels",
    "layers",
    "mobilenet_v1",
    "mobilenet_v1_conv",
    "mobilenet_v2",
    "ops",
    "optim",
    "set_backend",
    "set_num_threads",
    "train",
    "weights",
]

attach("numba", "npmnv2.engine.numba_backend")  # the compiled kernels, which run unless somebody chooses otherwise:
if os.environ.get("NPMNV2_BACKEND"):  # for a whole process, and those that it starts
    try:
        set_default(os.environ["NPMNV2_BACKEND"])
    except ValueError as error:
        raise ValueError(f"NPMNV2_BACKEND in the environment: {error}") from None

_HOME = {  # where a name is that is no submodule
    "blocks": "npmnv2.nn",
    "efficientnet_lite": "npmnv2.models",
    "fuse": "npmnv2.engine.fused",
    "get_num_threads": "npmnv2.runtime.threads",
    "layers": "npmnv2.nn",
    "mobilenet_v1": "npmnv2.models",
    "mobilenet_v1_conv": "npmnv2.models",
    "mobilenet_v2": "npmnv2.models",
    "optim": "npmnv2.nn",
    "set_num_threads": "npmnv2.runtime.threads",
}
_SUBMODULES = {
    "atomic",
    "backends",
    "cost",
    "data",
    "engine",
    "gradcheck",
    "kernels",
    "labs",
    "models",
    "nn",
    "ops",
    "runtime",
    "shapes",
    "show",
    "train",
    "validate",
    "weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = importlib.import_module(_HOME[name])
        return getattr(home, name) if hasattr(home, name) else importlib.import_module(f"{_HOME[name]}.{name}")
    if name in _SUBMODULES:
        return importlib.import_module(f"npmnv2.{name}")
    raise AttributeError(f"module 'npmnv2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBMODULES})
