"""MNIST and data sets in its formats: IDX files, packed with gzip or not, or Keras's one ``mnist.npz``.

An IDX file is a magic number (two zeros, the type of a value, the number of axes), the length of each axis as four
bytes, the highest first, and the values. A data set is four of them, whose names say all but what the set is called:
``emnist-letters-train-images-idx3-ubyte.gz``. In a ``.npz`` they are four arrays, ``x_train`` to ``y_test``.
"""

import contextlib
import gzip
import os
import re
import string
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.data.scan import existing_folder
from npmnv2.files import DIRECTORY_BYTES, Archive, FormatError, FrugalFile, format_errors
from npmnv2.validate import Array

MOST_BYTES = 1 << 30  # of the values in an IDX file, or in the four arrays of an .npz; MNIST has 47 MB
PACKED = 1040  # gzip makes at most so many bytes out of one
DEEP = 3  # folders within folders that are searched: MNIST/raw, and one more

# Some copies have a dot where the original has a dash; the test set is called t10k or test.
_NAME = re.compile(r"(.*?)(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
# What a data set consists of -> what it is called in a .npz
_FILES = {"train images": "x_train", "train labels": "y_train", "test images": "x_test", "test labels": "y_test"}


class _Known(NamedTuple):
    """What a data set of this format is called, and what its classes are."""

    classes: tuple[str, ...]
    mean: float | None = None  # of the training pixels; None: measured
    std: float | None = None
    first_label: int = 0
    lies_on_its_side: bool = False  # rows and columns exchanged


_DIGITS, _LETTERS = tuple(string.digits), tuple(string.ascii_uppercase)
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_MERGED = (*_DIGITS, *_LETTERS, *"abdefghnqrt")  # where small and capital letters look alike, they are one class

MNIST = _Known(_DIGITS, 0.1307, 0.3081)
_BY_PREFIX = {  # of the files' names
    "emnist-byclass": _Known((*_DIGITS, *_LETTERS, *string.ascii_lowercase), lies_on_its_side=True),
    "emnist-bymerge": _Known(_MERGED, lies_on_its_side=True),
    "emnist-balanced": _Known(_MERGED, lies_on_its_side=True),
    "emnist-letters": _Known(_LETTERS, first_label=1, lies_on_its_side=True),
    "emnist-digits": _Known(_DIGITS, lies_on_its_side=True),
    "emnist-mnist": _Known(_DIGITS, lies_on_its_side=True),
}
_BY_FOLDER = {  # sets whose files are called alike, by the first labels to train on, or else a folder they lie in
    "mnist": MNIST,
    "fashion": _Known(_CLOTHES),
    "kmnist": _Known(("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}
_BEGINS = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    "fashion": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
    "kmnist": (8, 7, 0, 1, 4, 2, 4, 8, 1, 1),
}


def load_mnist(folder: str | os.PathLike[str]) -> Dataset:
    """Load MNIST, or another data set in its format: Fashion-MNIST, KMNIST, the splits of EMNIST.

    Parameters
    ----------
    folder : str or path-like
        With the four files in it, or somewhere below it (``MNIST/raw``): those called ``train-images-idx3-ubyte`` and
        so on, with ``.gz`` behind the name or without, and with something before it or not. Or with a ``.npz`` of
        ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as Keras has it. If it holds several data sets, what is
        before the names says which: ``folder/emnist-letters``, ``folder/mnist.npz``.

    Returns
    -------
    Dataset
        Images as uint8 (`augment.normalise` makes floats of a batch), (60000, 28, 28, 1) to train on. EMNIST's, which
        lie on their side, are turned upright.

    Raises
    ------
    ValueError
        If the folder does not hold them, or more than one data set, or a file is damaged.
    OSError
        If a file cannot be read.

    References
    ----------
    .. [1] LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    .. [2] Cohen, Afshar, Tapson and van Schaik, "EMNIST: extending MNIST to handwritten letters", 2017.
    """
    wanted = Path(folder).expanduser()
    prefix = None if wanted.is_dir() or not wanted.parent.is_dir() else wanted.name
    place = existing_folder(wanted if prefix is None else wanted.parent)
    sets = _sets(place, prefix)
    if prefix is not None and not sets:
        existing_folder(wanted)  # which there is none of
    where, files = _choose(wanted, sets)
    train_y, test_y, train_x, test_x = (
        (_read_member if files[which].suffix == ".npz" else _read)(files[which], which)
        for which in ("train labels", "test labels", "train images", "test images")
    )
    known = _known(where, train_y)
    train_x, train_y = _pair(files["train labels"], train_x, train_y, known)
    test_x, test_y = _pair(files["test labels"], test_x, test_y, known)
    if train_x.shape[1:] != test_x.shape[1:]:
        shapes = f"{train_x.shape[1:3]} and {test_x.shape[1:3]}"
        raise ValueError(f"{place}: images to train on and to test on must be of one size; were {shapes}")
    H, W = train_x.shape[1:3]
    mean, std = _moments(train_x) if known.mean is None else (known.mean, known.std or 1.0)
    preprocessing = Preprocessing((H, W), None, "bilinear", (mean,), (std,), channels=1)
    most = train_x.max()
    found = (
        f"{where}: {len(known.classes)} classes, {len(train_y)} pictures to train on, {len(test_y)} held out",
        f"  classes: {' '.join(known.classes)}",
        *([f"  pixels are at most {most}, where 255 is white: multiply them"] if most < 128 else []),
        *(["  turned upright: rows and columns were exchanged"] if known.lies_on_its_side else []),
    )
    return Dataset(train_x, train_y, test_x, test_y, known.classes, preprocessing, found)


def _sets(place: Path, prefix: str | None) -> dict[Path, dict[str, Path]]:
    """The data sets in a folder and below: where, with what is before the names -> the files by what they hold."""
    found: dict[Path, dict[str, Path]] = {}
    for folder, inner, names in os.walk(place):
        if len(Path(folder).relative_to(place).parts) >= DEEP or prefix is not None:
            inner.clear()
        for name in sorted(names):  # so that the packed one comes after, and is not taken, of two
            match = _NAME.fullmatch(name)
            if name.endswith(".npz") and prefix in (None, name, name.removesuffix(".npz")):
                path = Path(folder, name)
                inside = _members(path, is_named=prefix is not None)
                files = {which: path for which, member in _FILES.items() if member in inside}
                found |= {path: files} if files or prefix is not None else {}
            if match is None or (prefix is not None and match[1].strip("-_. ") != prefix.strip("-_. ")):
                continue
            which = f"{'train' if match[2] == 'train' else 'test'} {match[3]}"
            found.setdefault(Path(folder, match[1].strip("-_. ")), {}).setdefault(which, Path(folder, name))
    return found


def _choose(folder: Path, found: dict[Path, dict[str, Path]]) -> tuple[Path, dict[str, Path]]:
    """The one that is whole."""
    whole = {where: files for where, files in found.items() if len(files) == len(_FILES)}
    if len(whole) > 1:
        raise ValueError(f"{folder}: holds several data sets; name one: {', '.join(map(str, sorted(whole)))}")
    if whole:
        return next(iter(whole.items()))
    where, files = max(found.items(), key=lambda item: len(item[1]), default=(folder, {}))
    if where.suffix == ".npz":
        raise ValueError(f"{where}: holds no MNIST: {', '.join(_FILES[w] for w in _FILES if w not in files)} missing")
    called = {which: which.replace("test", "t10k").replace(" ", "-") for which in _FILES}
    missing = [f"{called[w]}-idx{3 if 'images' in w else 1}-ubyte" for w in _FILES if w not in files]
    raise ValueError(f"{folder}: holds no MNIST: {', '.join(missing)} missing (with .gz or without)")


def _known(where: Path, labels: Array) -> _Known:
    """Which data set it is: by the names of its files, by its first labels, or by the folders it lies in."""
    if where.name.lower() in _BY_PREFIX:
        return _BY_PREFIX[where.name.lower()]
    begins, near = tuple(labels[:10].tolist()), "/".join(where.parts[-3:]).lower()
    names = [name for name in _BY_FOLDER if begins == _BEGINS[name]]
    names += [name for name in ("fashion", "kmnist") if name in near]
    return _BY_FOLDER[names[0]] if names else MNIST


def _moments(x: Array) -> tuple[float, float]:
    """Mean and deviation of pixels scaled to 0..1, from how often each of 256 values comes."""
    counts = sum(np.bincount(x[k : k + 1000].ravel(), minlength=256) for k in range(0, len(x), 1000))  # (256,)
    values = np.arange(256) / 255
    mean = float((counts * values).sum() / x.size)
    return round(mean, 4), round(float((counts * (values - mean) ** 2).sum() / x.size) ** 0.5, 4) or 1.0


def _pair(labelled: Path, x: Array, y: Array, known: _Known) -> tuple[Array, Array]:
    if len(x) != len(y):
        raise ValueError(f"{labelled}: must hold a label for each of {len(x)} images; holds {len(y)}")
    first, last = known.first_label, known.first_label + len(known.classes) - 1
    if y.min() < first or y.max() > last:
        wrong = y.min() if y.min() < first else y.max()
        raise ValueError(f"{labelled}: labels must lie between {first} and {last}; one is {wrong}")
    if known.lies_on_its_side:
        x = np.ascontiguousarray(x.transpose(0, 2, 1))
    return x[..., None], y.astype(np.int64) - first  # (N, H, W, 1), (N,)


@contextlib.contextmanager
def _npz(path: Path) -> Iterator[Archive]:
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path):
        yield Archive(file, min(PACKED * file.bytes, MOST_BYTES), [f"{name}.npy" for name in _FILES.values()])


def _members(path: Path, is_named: bool) -> set[str]:
    """The names of the arrays in a .npz; none if it is one of a folder and cannot be read."""
    try:
        with _npz(path) as archive:
            return {name.removesuffix(".npy") for name in archive.sizes}
    except FormatError:
        if is_named:
            raise
        return set()


def _read_member(path: Path, which: str) -> Array:
    """One of the arrays in a .npz: (N, H, W) bytes, or (N,) whole numbers."""
    is_image, name = which.endswith("images"), _FILES[which]
    with _npz(path) as archive:
        array = archive.array(name)
    if array.ndim == (4 if is_image else 2) and array.shape[-1] == 1:  # an axis of channels, or a column
        array = array[..., 0]
    kinds, axes, what = ("u", 3, "uint8") if is_image else ("iu", 1, "whole numbers")
    if array.dtype.kind not in kinds or array.ndim != axes or (is_image and array.itemsize > 1) or not array.size:
        was = f"{array.dtype} of shape {array.shape}"
        raise FormatError(f"{path}: {name} must be {what} with {axes} axes, none of length 0; was {was}")
    return np.ascontiguousarray(array)


def _read(path: Path, which: str) -> Array:
    """The array in an IDX file of bytes."""
    is_packed, axes = path.suffix == ".gz", 3 if which.endswith("images") else 1
    try:
        with gzip.open(path) if is_packed else open(path, "rb") as file:
            header = file.read(4 + 4 * axes)
            if header[:4] != bytes([0, 0, 8, axes]) or len(header) < 4 + 4 * axes:
                raise ValueError(f"{path}: is no IDX file of bytes with {axes} axes, or damaged")
            shape = tuple(int(length) for length in np.frombuffer(header[4:], ">u4"))
            count = _count(path, shape, PACKED if is_packed else 1)
            content = file.read(count + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as reason:
        raise ValueError(f"{path}: is no gzip file, or damaged ({reason})") from None
    _check_length(path, content, count)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _count(path: Path, shape: tuple[int, ...], packed: int) -> int:
    """How many values there are, if a file of its size, of which one byte becomes so many, can hold them."""
    count = int(np.prod(np.array(shape, object)))
    if min(shape) < 1 or count > min(path.stat().st_size * packed, MOST_BYTES):
        raise ValueError(f"{path}: claims {' x '.join(map(str, shape))} values, which it cannot hold")
    return count


def _check_length(path: Path, content: bytes, count: int) -> None:
    if len(content) != count:
        more = "more" if len(content) > count else f"{len(content)}"
        raise ValueError(f"{path}: is damaged: claims {count} bytes and holds {more}")
