"""CIFAR-10: 60,000 pictures of 32x32 pixels in ten classes, from the files that its authors offer.

Both of their downloads are read, unpacked: "python" (pickles) and "binary". A row of either is one picture, 1,024 red
values, then the green and the blue ones, each row by row: channels first, where everything here has them last.

A pickle is a program, and loading it runs whatever its author wanted. These are not run: `pickletools` takes the
program apart into operations with arguments, and what is needed lies among the arguments. The pixels are the one long
string, the labels the integers behind the word "labels".
"""

import os
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.validate import Array

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Channel by channel, the mean and the deviation of the training pixels
PREPROCESSING = Preprocessing(32, 32, "bilinear", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

TRAIN, TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), "test_batch"
FOLDERS = ("", "cifar-10-batches-py", "cifar-10-batches-bin")
PIXELS = 3 * 32 * 32
MOST = 10_000  # pictures in a file
FILE_BYTES = MOST * PIXELS * 2  # of a pickle; Python 3 writes half of the pixels as two bytes in old protocols
STEPS = 200_000  # of a pickle: five a picture


def load_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """Load CIFAR-10.

    Parameters
    ----------
    folder : str or path-like
        With data_batch_1 to data_batch_5 and test_batch in it, or with the folder cifar-10-batches-py or
        cifar-10-batches-bin that holds them.

    Returns
    -------
    Dataset
        Images as uint8 (`augment.normalise` makes floats of a batch), (50000, 32, 32, 3) to train on: 154 MB.

    Raises
    ------
    ValueError
        If the folder does not hold them, or a file is damaged.
    OSError
        If a file cannot be read.

    References
    ----------
    .. [1] Krizhevsky, "Learning multiple layers of features from tiny images", technical report, 2009.
    """
    place, ending = _find(Path(folder))
    read = _read_binary if ending else _read_pickle
    batches = [read(place / f"{name}{ending}") for name in (*TRAIN, TEST)]
    train_x = np.concatenate([x for x, _ in batches[:-1]])  # (N, 32, 32, 3)
    train_y = np.concatenate([y for _, y in batches[:-1]])  # (N,)
    return Dataset(train_x, train_y, *batches[-1], CLASSES, PREPROCESSING)


def _find(folder: Path) -> tuple[Path, str]:
    """Where the batches are, and what their names end in."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    found = {}
    for place in [folder / name for name in FOLDERS]:
        for ending in ("", ".bin"):
            missing = [f"{name}{ending}" for name in (*TRAIN, TEST) if not (place / f"{name}{ending}").is_file()]
            if not missing:
                return place, ending
            found[len(missing)] = missing
    missing = found[min(found)]
    if len(missing) == len(TRAIN) + 1:
        raise ValueError(f"{folder}: holds no CIFAR-10: no data_batch_1 or data_batch_1.bin; unpack the archive there")
    raise ValueError(f"{folder}: is incomplete: {', '.join(missing)} missing")


def _read_binary(path: Path) -> tuple[Array, Array]:
    """A row of the file is a label and a picture."""
    size = path.stat().st_size
    if size == 0 or size % (1 + PIXELS) or size > MOST * (1 + PIXELS):
        raise ValueError(f"{path}: must hold 1 to {MOST} pictures of {1 + PIXELS} bytes; has {size} bytes")
    rows = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)  # (N, 3073)
    return _checked(path, rows[:, 1:], rows[:, 0])


def _read_pickle(path: Path) -> tuple[Array, Array]:
    size = path.stat().st_size
    if size > FILE_BYTES:
        raise ValueError(f"{path}: must be at most {FILE_BYTES} bytes; has {size}")
    try:
        pixels, labels = _take_apart(path.read_bytes())
    except OSError:
        raise
    except Exception as reason:  # of pickletools, about garbage
        raise ValueError(f"{path}: is no CIFAR-10 batch, or damaged ({' '.join(str(reason).split())[:200]})") from None
    if not labels or len(pixels) != len(labels) * PIXELS:
        raise ValueError(f"{path}: is damaged: {len(labels)} labels and {len(pixels)} values of pixels")
    return _checked(path, np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS), np.array(labels))


def _take_apart(pickled: bytes) -> tuple[bytes, list[int]]:
    """The longest string and the integers behind "labels", from the program of a pickle."""
    pixels: bytes = b""
    labels: list[int] = []
    after_labels = by_columns = fortran = False
    for step, (operation, argument, _) in enumerate(pickletools.genops(pickled)):
        if step == STEPS:
            raise ValueError(f"more than {STEPS} steps")
        if operation.name in ("NEWTRUE", "NEWFALSE"):
            fortran = operation.name == "NEWTRUE"  # the last of an array's state before its bytes
        elif isinstance(argument, str | bytes | bytearray):
            if argument != "latin1":  # by which Python 3 says that the text before it is bytes
                after_labels = argument in ("labels", b"labels")
            if len(argument) > len(pixels):
                pixels, by_columns = _as_bytes(argument), fortran
        elif after_labels and type(argument) is int and operation.name.startswith("BININT"):
            labels.append(argument)
            if len(labels) > MOST:
                raise ValueError(f"more than {MOST} labels")
    if by_columns:
        raise ValueError("its pixels are stored column by column")
    return pixels, labels


def _as_bytes(argument: Any) -> bytes:
    """Strings of Python 2 were bytes, and come as text of 256 letters."""
    return argument.encode("latin-1") if isinstance(argument, str) else bytes(argument)


def _checked(path: Path, rows: Array, labels: Array) -> tuple[Array, Array]:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise ValueError(f"{path}: labels must lie between 0 and 9; they reach from {labels.min()} to {labels.max()}")
    x = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N, 32, 32, 3)
    return np.ascontiguousarray(x), labels.astype(np.int64)
