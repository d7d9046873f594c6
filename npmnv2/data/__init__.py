"""Data to train on, and pictures as input. Embedded: the UCI handwritten digits."""

from npmnv2.data.digits import Dataset, load_digits
from npmnv2.data.images import open_image, prepare
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing

__all__ = ["PREPROCESSING", "Dataset", "Preprocessing", "load_digits", "open_image", "prepare"]
