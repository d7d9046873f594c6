"""MobileNetV2 in plain NumPy: every forward and backward pass by hand, to be read, checked and timed.

Where to begin: docs/index.md gives a reading order; ``python -m npmnv2`` is a tour. Submodules load when first used,
so that ``import npmnv2`` stays quick: Numba and Matplotlib are imported only by what needs them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npmnv2 import cost, gradcheck, kernels, layers, ops, optim, weights
    from npmnv2.backends import backend, current_backend, set_backend
    from npmnv2.inference import fuse
    from npmnv2.models import mobilenet_v1, mobilenet_v1_conv, mobilenet_v2
    from npmnv2.threads import get_num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "backend",
    "cost",
    "current_backend",
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
    "weights",
]

_HOME = {
    "backend": "npmnv2.backends",
    "current_backend": "npmnv2.backends",
    "set_backend": "npmnv2.backends",
    "fuse": "npmnv2.inference",
    "get_num_threads": "npmnv2.threads",
    "mobilenet_v1": "npmnv2.models",
    "mobilenet_v1_conv": "npmnv2.models",
    "mobilenet_v2": "npmnv2.models",
    "set_num_threads": "npmnv2.threads",
}
_SUBMODULES = {
    "backends",
    "blocks",
    "cost",
    "data",
    "folding",
    "gradcheck",
    "inference",
    "kernels",
    "layer",
    "layers",
    "models",
    "onnx_export",
    "ops",
    "optim",
    "plots",
    "selfcheck",
    "shapes",
    "summary",
    "threads",
    "train",
    "training",
    "weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"npmnv2.{name}")
    raise AttributeError(f"module 'npmnv2' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_SUBMODULES})
