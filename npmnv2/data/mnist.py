"""MNIST and data sets in its format: IDX files, packed with gzip or not.

An IDX file is a magic number (two zeros, the type of a value, the number of axes), the length of each axis as four
bytes, the highest first, and the values.
"""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.validate import Array

CLASSES = tuple(str(digit) for digit in range(10))
MEAN, STD = (0.1307,), (0.3081,)  # of the training pixels
MOST_BYTES = 1 << 30  # of the values in a file; MNIST has 47 MB
PACKED = 1040  # gzip makes at most so many bytes out of one

PARTS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}


def load_mnist(folder: str | os.PathLike[str]) -> Dataset:
    """Load MNIST, or another data set of ten classes in the same four files, such as Fashion-MNIST.

    Parameters
    ----------
    folder : str or path-like
        With train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte in it,
        each with .gz behind its name or without.

    Returns
    -------
    Dataset
        Images as uint8 (`augment.normalise` makes floats of a batch), (60000, 28, 28, 1) to train on.

    Raises
    ------
    ValueError
        If the folder does not hold them, or a file is damaged.
    OSError
        If a file cannot be read.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"{place}: no such folder")
    paths = {name: _find(place, name, axes) for pair in PARTS.values() for name, axes in zip(pair, (3, 1), strict=True)}
    missing = [f"{name}-idx{3 if 'images' in name else 1}-ubyte" for name, path in paths.items() if path is None]
    if missing:
        raise ValueError(f"{place}: holds no MNIST: {', '.join(missing)} missing (with .gz or without)")
    train_x, train_y = _read_pair(*(paths[name] for name in PARTS["train"]))
    test_x, test_y = _read_pair(*(paths[name] for name in PARTS["test"]))
    if train_x.shape[1:] != test_x.shape[1:]:
        shapes = f"{train_x.shape[1:3]} and {test_x.shape[1:3]}"
        raise ValueError(f"{place}: images to train on and to test on must be of one size; were {shapes}")
    H, W = train_x.shape[1:3]
    preprocessing = Preprocessing((H, W), None, "bilinear", MEAN, STD, channels=1)
    return Dataset(train_x, train_y, test_x, test_y, CLASSES, preprocessing)


def _find(folder: Path, name: str, axes: int) -> Path | None:
    """A file by its name; some copies have a dot where the original has a dash."""
    names = [f"{name}{sign}idx{axes}-ubyte{packed}" for packed in ("", ".gz") for sign in ("-", ".")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_pair(images: Path | None, labels: Path | None) -> tuple[Array, Array]:
    assert images is not None and labels is not None
    x, y = _read(images, 3), _read(labels, 1)
    if len(x) != len(y):
        raise ValueError(f"{labels}: must hold a label for each of {len(x)} images; holds {len(y)}")
    if y.max() >= len(CLASSES):
        raise ValueError(f"{labels}: labels must lie between 0 and 9; one is {y.max()}")
    return x[..., None], y.astype(np.int64)  # (N, H, W, 1), (N,)


def _read(path: Path, axes: int) -> Array:
    """The array in an IDX file of bytes."""
    is_packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if is_packed else open(path, "rb") as file:
            header = file.read(4 + 4 * axes)
            if header[:4] != bytes([0, 0, 8, axes]) or len(header) < 4 + 4 * axes:
                raise ValueError(f"{path}: is no IDX file of bytes with {axes} axes, or damaged")
            shape = tuple(int(length) for length in np.frombuffer(header[4:], ">u4"))
            count = int(np.prod(np.array(shape, object)))
            there = path.stat().st_size * (PACKED if is_packed else 1)
            if count == 0 or count > min(there, MOST_BYTES):
                raise ValueError(f"{path}: claims {' x '.join(map(str, shape))} values, which it cannot hold")
            content = file.read(count + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as reason:
        raise ValueError(f"{path}: is no gzip file, or damaged ({reason})") from None
    if len(content) != count:
        more = "more" if len(content) > count else f"{len(content)}"
        raise ValueError(f"{path}: is damaged: claims {count} values and holds {more}")
    return np.frombuffer(content, np.uint8).reshape(shape)
