"""Architectures, as tables and the builders that read them.

One name, two things: the *module* ``npmnv2.models.mobilenet_v2`` holds the table, and the *function* of the same name
in it builds the network. ``from npmnv2.models import mobilenet_v2`` is the function (as is ``npmnv2.mobilenet_v2``);
``from npmnv2.models.mobilenet_v2 import ROWS`` reads from the module. ``cost.mobilenet_v2`` is a third: what the
network costs, layer by layer.
"""

from npmnv2.models import as_built  # here, so that it knows the methods as they were  # noqa: F401
from npmnv2.models.efficientnet_lite import EfficientNetLite, efficientnet_lite
from npmnv2.models.mobilenet_v1 import ConvMobileNet, MobileNetV1, mobilenet_v1, mobilenet_v1_conv
from npmnv2.models.mobilenet_v2 import MobileNetV2, mobilenet_v2

__all__ = [
    "ConvMobileNet",
    "EfficientNetLite",
    "MobileNetV1",
    "MobileNetV2",
    "efficientnet_lite",
    "mobilenet_v1",
    "mobilenet_v1_conv",
    "mobilenet_v2",
]
