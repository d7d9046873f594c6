"""Architectures, as tables and the builders that read them."""

from npmnv2.models.mobilenet_v2 import MobileNetV2, mobilenet_v2

__all__ = ["MobileNetV2", "mobilenet_v2"]
