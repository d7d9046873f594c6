"""`torchvision`, also beside a build of PyTorch for the CPU alone.

The published wheel of torchvision is linked against CUDA: elsewhere its compiled operators do not load, and the import
fails for want of their *names*. Its models are plain Python and never call them, so names without a body are enough.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError:  # operator torchvision::nms does not exist
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # the half-imported modules
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms", "deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"):
        library.define(f"{operator}() -> ()")
        library.define(f"_{operator}_backward() -> ()")
    import torchvision

__all__ = ["torchvision"]
