"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels (provenance and licence in data/README.md)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from npmnv2.validate import Array


class Dataset(NamedTuple):
    """Images and labels, split into what is trained on and what is held out."""

    train_x: Array  # (N, H, W, C) float32, about zero mean
    train_y: Array  # (N,) int64
    test_x: Array
    test_y: Array
    classes: tuple[str, ...]


def load_digits(held_out: int = 360, seed: int = 0) -> Dataset:
    """Load the handwritten digits, shuffled and split the same way for the same seed.

    Pixels 0 to 16 are mapped to -1 to 1: ``x = pixel / 8 - 1``.

    Parameters
    ----------
    held_out : int
        How many of the 1,797 images to keep for testing.
    seed : int
        Of the shuffle before the split. The file is ordered by writer, so without it the held-out digits would be
        those of other people: a harder question, but a different one.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If `held_out` leaves nothing on either side.

    References
    ----------
    .. [1] Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.train_x.shape, digits.test_x.shape, float(digits.train_x.min()), float(digits.train_x.max())
    ((1437, 8, 8, 1), (360, 8, 8, 1), -1.0, 1.0)
    """
    with np.load(Path(__file__).with_name("digits.npz")) as archive:
        images, labels = archive["images"], archive["labels"]
    if not 1 <= held_out < len(images):
        raise ValueError(f"held_out must lie between 1 and {len(images) - 1}; was {held_out!r}")
    order = np.random.default_rng(seed).permutation(len(images))
    x = images[order].astype(np.float32)[..., None] / 8 - 1  # (1797, 8, 8, 1)
    y = labels[order].astype(np.int64)  # (1797,)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset(x[held_out:], y[held_out:], x[:held_out], y[:held_out], classes)
