"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels (provenance and licence in data/README.md)."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npmnv2.data.preprocessing import Preprocessing
from npmnv2.validate import Array, check_int

FILE = Path(__file__).with_name("digits.npz")
# Of the pixels, then the labels; `python -m npmnv2.data.make_digits` prints it.
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


class Dataset(NamedTuple):
    """Images and labels, split into what is trained on and what is held out."""

    train_x: Array  # (N, H, W, C): float32 of about zero mean, or uint8 pixels that `augment.normalise` makes into that
    train_y: Array  # (N,) int64
    test_x: Array
    test_y: Array
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None = None  # makes a picture into such an image; its mean and std are the pixels'
    found: tuple[str, ...] = ()  # of data read from files: what was found there, in lines


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
        If `held_out` leaves nothing on either side, or the file is damaged.
    TypeError
        If `held_out` or `seed` is not an integer.

    References
    ----------
    .. [1] Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.train_x.shape, digits.test_x.shape, float(digits.train_x.min()), float(digits.train_x.max())
    ((1437, 8, 8, 1), (360, 8, 8, 1), -1.0, 1.0)
    """
    images, labels = _read(FILE)
    held_out = check_int(held_out, "held_out", 1, len(images) - 1)
    order = np.random.default_rng(check_int(seed, "seed", 0)).permutation(len(images))
    x = images[order].astype(np.float32)[..., None] / 8 - 1  # (1797, 8, 8, 1)
    y = labels[order].astype(np.int64)  # (1797,)
    classes = tuple(str(digit) for digit in range(10))
    # A picture of a white digit on black, made into such an image: 0..1 instead of 0..16, the same -1..1.
    preprocessing = Preprocessing((8, 8), None, "bilinear", (0.5,), (0.5,), channels=1)
    return Dataset(x[held_out:], y[held_out:], x[:held_out], y[:held_out], classes, preprocessing)


def _read(path: Path) -> tuple[Array, Array]:
    try:
        with np.load(path) as archive:
            images, labels = archive["images"], archive["labels"]
    except Exception as reason:  # whatever unpacking garbage can raise
        raise ValueError(f"{path} is missing or damaged: install npmnv2 again ({reason})") from reason
    if checksum(images, labels) != SHA256:
        raise ValueError(f"{path} does not hold the digits it should: install npmnv2 again")
    return images, labels


def checksum(images: Array, labels: Array) -> str:
    """SHA-256 of the pixels, then the labels, a byte each, in the order of the file.

    Examples
    --------
    >>> checksum(np.zeros((1, 8, 8), np.uint8), np.zeros(1, np.uint8))[:8]
    '98ce42de'
    """
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
