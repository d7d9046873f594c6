"""Weights in and out: native checkpoints, and the files of torchvision, timm, Keras, Hugging Face and others.

Every direction, with commands, is in docs/checkpoints.md; what the libraries do differently in docs/layouts.md.
"""

from npmnv2.files import FormatError
from npmnv2.weights.imagenet import pretrained, pretrained_path
from npmnv2.weights.load import explain, load_into, load_model
from npmnv2.weights.save import describe, save
from npmnv2.weights.source import Source, read

__all__ = [
    "FormatError",
    "Source",
    "describe",
    "explain",
    "load_into",
    "load_model",
    "pretrained",
    "pretrained_path",
    "read",
    "save",
]
