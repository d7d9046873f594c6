"""Data to train on. Embedded: the UCI handwritten digits."""

from npmnv2.data.digits import Dataset, load_digits

__all__ = ["Dataset", "load_digits"]
