"""CIFAR-10 and CIFAR-100: 60,000 pictures of 32x32 pixels in ten or a hundred classes, from their authors' files.

Both of their downloads are read, unpacked: "python" (pickles) and "binary". A row of either is one picture, 1,024 red
values, then the green and the blue ones, each row by row: channels first, where everything here has them last.
CIFAR-100 has two labels a picture: its class (fine), and which of twenty groups that is in (coarse).

A pickle is a program, and loading it runs whatever its author wanted. These are not run: `pickletools` takes the
program apart into operations with arguments, and what is needed lies among the arguments. The pixels are the one long
string, the labels the integers behind the word "labels".
"""

import os
import pickletools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.data.scan import existing_folder
from npmnv2.validate import Array

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_COARSE = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2
"""
_FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
COARSE, FINE = tuple(_COARSE.split()), tuple(_FINE.split())
# Channel by channel, the mean and the deviation of the training pixels
PREPROCESSING = Preprocessing(32, 32, "bilinear", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
PREPROCESSING_100 = PREPROCESSING._replace(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762))

PIXELS = 3 * 32 * 32


class _Layout(NamedTuple):
    """The files of a data set, and what each holds."""

    name: str
    train: tuple[str, ...]
    test: str
    folders: tuple[str, ...]  # in which the archives unpack
    most: int  # pictures in a file
    steps: int  # of a pickle: five a picture, or so
    key: str  # of the labels in a pickle
    column: int  # of the label in a row of the binary files
    columns: int  # before the pixels of a row
    classes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of a pickle: Python 3 writes half of the pixels as two bytes in old protocols."""
        return self.most * PIXELS * 2


_TEN = _Layout(
    "CIFAR-10",
    tuple(f"data_batch_{k}" for k in range(1, 6)),
    "test_batch",
    ("", "cifar-10-batches-py", "cifar-10-batches-bin"),
    *(10_000, 200_000, "labels", 0, 1),
    CLASSES,
)
_HUNDRED = {
    labels: _Layout(
        "CIFAR-100",
        ("train",),
        "test",
        ("", "cifar-100-python", "cifar-100-binary"),
        *(50_000, 1_000_000, f"{labels}_labels", column, 2),
        classes,
    )
    for labels, column, classes in (("coarse", 0, COARSE), ("fine", 1, FINE))
}


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
    return _load(folder, _TEN, PREPROCESSING)


def load_cifar100(folder: str | os.PathLike[str], labels: str = "fine") -> Dataset:
    """Load CIFAR-100, with its hundred classes or their twenty groups.

    Parameters
    ----------
    folder : str or path-like
        With train and test in it, or with the folder cifar-100-python or cifar-100-binary that holds them.
    labels : "fine" or "coarse"

    Returns
    -------
    Dataset
        As of `load_cifar10`.

    Raises
    ------
    ValueError, OSError
        As `load_cifar10` does.
    """
    if labels not in _HUNDRED:
        raise ValueError(f"labels must be one of {', '.join(_HUNDRED)}; was {labels!r}")
    return _load(folder, _HUNDRED[labels], PREPROCESSING_100)


def _load(folder: str | os.PathLike[str], layout: _Layout, preprocessing: Preprocessing) -> Dataset:
    place, ending = _find(existing_folder(folder), layout)
    read = _read_binary if ending else _read_pickle
    batches = [read(place / f"{name}{ending}", layout) for name in (*layout.train, layout.test)]
    train_x = np.concatenate([x for x, _ in batches[:-1]])  # (N, 32, 32, 3)
    train_y = np.concatenate([y for _, y in batches[:-1]])  # (N,)
    held = len(batches[-1][1])
    found = (
        f"{place}: {layout.name}, {len(layout.classes)} classes, {len(train_y)} pictures to train on, {held} held out",
    )
    return Dataset(train_x, train_y, *batches[-1], layout.classes, preprocessing, found)


def _find(folder: Path, layout: _Layout) -> tuple[Path, str]:
    """Where the batches are, and what their names end in."""
    found = {}
    for place in [folder / name for name in layout.folders]:
        for ending in ("", ".bin"):
            names = [f"{name}{ending}" for name in (*layout.train, layout.test)]
            missing = [name for name in names if not (place / name).is_file()]
            if not missing:
                return place, ending
            found[len(missing)] = missing
    missing = found[min(found)]
    if len(missing) == len(layout.train) + 1:
        first = layout.train[0]
        raise ValueError(f"{folder}: holds no {layout.name}: no {first} or {first}.bin; unpack the archive there")
    raise ValueError(f"{folder}: is incomplete: {', '.join(missing)} missing")


def _read_binary(path: Path, layout: _Layout) -> tuple[Array, Array]:
    """A row of the file is a label, or two, and a picture."""
    size, row = path.stat().st_size, layout.columns + PIXELS
    if size == 0 or size % row or size > layout.most * row:
        raise ValueError(f"{path}: must hold 1 to {layout.most} pictures of {row} bytes; has {size} bytes")
    rows = np.fromfile(path, np.uint8).reshape(-1, row)  # (N, 3073)
    return _checked(path, rows[:, layout.columns :], rows[:, layout.column], layout)


def _read_pickle(path: Path, layout: _Layout) -> tuple[Array, Array]:
    size = path.stat().st_size
    if size > layout.bytes:
        raise ValueError(f"{path}: must be at most {layout.bytes} bytes; has {size}")
    try:
        pixels, labels = _take_apart(path.read_bytes(), layout)
    except OSError:
        raise
    except Exception as reason:  # of pickletools, about garbage
        said = " ".join(str(reason).split())[:200]
        raise ValueError(f"{path}: is no {layout.name} batch, or damaged ({said})") from None
    if not labels or len(pixels) != len(labels) * PIXELS:
        raise ValueError(f"{path}: is damaged: {len(labels)} labels and {len(pixels)} values of pixels")
    return _checked(path, np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS), np.array(labels), layout)


def _take_apart(pickled: bytes, layout: _Layout) -> tuple[bytes, list[int]]:
    """The longest string and the integers behind the labels' key, from the program of a pickle."""
    pixels: bytes = b""
    labels: list[int] = []
    after_labels = by_columns = fortran = False
    for step, (operation, argument, _) in enumerate(pickletools.genops(pickled)):
        if step == layout.steps:
            raise ValueError(f"more than {layout.steps} steps")
        if operation.name in ("NEWTRUE", "NEWFALSE"):
            fortran = operation.name == "NEWTRUE"  # the last of an array's state before its bytes
        elif isinstance(argument, str | bytes | bytearray):
            if argument != "latin1":  # by which Python 3 says that the text before it is bytes
                after_labels = argument in (layout.key, layout.key.encode())
            if len(argument) > len(pixels):
                pixels, by_columns = _as_bytes(argument), fortran
        elif after_labels and type(argument) is int and operation.name.startswith("BININT"):
            labels.append(argument)
            if len(labels) > layout.most:
                raise ValueError(f"more than {layout.most} labels")
    if by_columns:
        raise ValueError("its pixels are stored column by column")
    return pixels, labels


def _as_bytes(argument: Any) -> bytes:
    """Strings of Python 2 were bytes, and come as text of 256 letters."""
    return argument.encode("latin-1") if isinstance(argument, str) else bytes(argument)


def _checked(path: Path, rows: Array, labels: Array, layout: _Layout) -> tuple[Array, Array]:
    last = len(layout.classes) - 1
    if labels.min() < 0 or labels.max() > last:
        reach = f"they reach from {labels.min()} to {labels.max()}"
        raise ValueError(f"{path}: labels must lie between 0 and {last}; {reach}")
    x = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N, 32, 32, 3)
    return np.ascontiguousarray(x), labels.astype(np.int64)
