"""Weights in and out: native checkpoints, and the files of PyTorch, Keras and Hugging Face."""

from npmnv2.weights.errors import FormatError

__all__ = ["FormatError"]
