"""Pictures in folders, a class each: the way most people keep their own."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.images import fit, open_image
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing
from npmnv2.validate import Array, check_int, check_number

ENDINGS = frozenset([".jpg", ".jpeg", ".png", ".gif", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp", ".avif"])
HELD_OUT = ("val", "test")  # beside train; ImageNet has both, and its test has no labels
NAMED = 5  # pictures that cannot be read, in the warning


def load_folder(folder: str | os.PathLike[str], size: int = 224, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """Load pictures from a folder for each class.

    Two arrangements are known. ``folder/cat/1.jpg, folder/dog/2.png, ...``: a share of each class is held out.
    ``folder/train/cat/1.jpg, folder/val/cat/2.jpg, ...``: what lies in ``val``, or else in ``test``, is held out.
    The classes are numbered in the order of their names. Folders within a class's folder belong to it; hidden files
    and what has not the ending of a picture are left alone.

    A picture's shorter side becomes `size`, and the square in its middle is kept.

    Parameters
    ----------
    folder : str or path-like
    size : int
        Side of the images in pixels.
    held_out : float
        The share of each class that is held out for testing, of two pictures or more at least one. Without a meaning
        where there is a ``val`` or a ``test``.
    seed : int
        Of the choice of what is held out. The same folder and seed give the same choice.

    Returns
    -------
    Dataset
        Images as uint8, (N, size, size, 3), to be normalised with ImageNet's mean and deviation by
        `augment.normalise`. For others, as a network that is trained further may want:
        ``data._replace(preprocessing=data.preprocessing._replace(mean=..., std=...))``.

    Raises
    ------
    ValueError
        If there is no such folder, fewer than two classes, a class without a picture that can be read, one that was
        held out and is not trained on, or more pictures than fit into memory.
    TypeError
        If `size` or `seed` is not an integer.

    Warns
    -----
    UserWarning
        Pictures that cannot be read are left out; it says how many and names the first of them.
    """
    size, seed = check_int(size, "size", 1, 4096), check_int(seed, "seed", 0)
    share = check_number(held_out, "held_out", 0, 1, "()")
    train, test = _places(Path(folder))
    classes = _classes(train)
    pictures = _listed(train, classes)
    if test is None:
        pictures, apart = _split(pictures, share, seed)
    else:
        apart = _listed(test, classes)
    _check_memory(folder, len(pictures) + len(apart), size)
    preprocessing = PREPROCESSING["torchvision"]._replace(resize=size, crop=size)
    problems: list[str] = []
    train_x, train_y = _read(pictures, preprocessing, problems)
    test_x, test_y = _read(apart, preprocessing, problems)
    if problems:
        named = "; ".join(problems[:NAMED]) + ("; ..." if len(problems) > NAMED else "")
        count = f"{len(problems)} of {len(pictures) + len(apart)} pictures cannot be read and are left out"
        warnings.warn(f"{folder}: {count}: {named}", stacklevel=2)
    _check_counts(folder, classes, train_y, test_y)
    return Dataset(train_x, train_y, test_x, test_y, classes, preprocessing)


def _places(folder: Path) -> tuple[Path, Path | None]:
    """The folder of the classes to train on, and that of those held out if it has one of its own."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    train = folder / "train"
    if not train.is_dir() or not _folders(train):  # without folders in it, a class of that name
        return folder, None
    return train, next((folder / name for name in HELD_OUT if (folder / name).is_dir()), None)


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _classes(folder: Path) -> tuple[str, ...]:
    classes = tuple(_folders(folder))
    if len(classes) < 2:
        there = f"only {classes[0]!r}" if classes else "none"
        raise ValueError(f"{folder}: must hold a folder for each of two classes or more; there is {there}")
    return classes


def _listed(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Every picture with the number of its class, in the order of their names."""
    unknown = [name for name in _folders(folder) if name not in classes]
    if unknown:
        raise ValueError(f"{folder}: holds a class that there is none of to train on: {unknown[0]!r}")
    pictures = []
    for number, name in enumerate(classes):
        for place, folders, files in os.walk(folder / name):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in sorted(files):
                if os.path.splitext(file)[1].lower() in ENDINGS and not file.startswith("."):
                    pictures.append((Path(place, file), number))
    return pictures


def _split(pictures: list[tuple[Path, int]], share: float, seed: int) -> tuple[list[tuple[Path, int]], ...]:
    """What is trained on and what is held out. The choice within a class depends on no other class."""
    held: set[Path] = set()
    for number in sorted({number for _, number in pictures}):
        own = [path for path, its in pictures if its == number]
        count = min(max(1, round(share * len(own))), len(own) - 1)
        held.update(own[k] for k in np.random.default_rng([seed, number]).permutation(len(own))[:count])
    return [p for p in pictures if p[0] not in held], [p for p in pictures if p[0] in held]


def _check_memory(folder: str | os.PathLike[str], count: int, size: int) -> None:
    """Before it is allocated: what does not fit is no error of Python's, but the end of the process."""
    wanted = count * size * size * 3
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return
    if wanted > there:
        raise ValueError(
            f"{folder}: its {count} pictures take {wanted / 1e9:.1f} GB at {size} x {size} pixels, the machine has "
            f"{there / 1e9:.1f}: choose a smaller size"
        )


def _read(pictures: list[tuple[Path, int]], preprocessing: Preprocessing, problems: list[str]) -> tuple[Array, Array]:
    """The pictures that can be read and their classes; `problems` says what was wrong with the others."""
    from tqdm import tqdm

    side = preprocessing.crop or 0
    x = np.empty((len(pictures), side, side, 3), np.uint8)  # (N, size, size, 3)
    y: list[int] = []
    quiet = sys.stderr is None or None  # None: on a terminal alone
    for path, number in tqdm(pictures, desc="reading", unit="picture", leave=False, disable=quiet):
        try:
            x[len(y)] = fit(open_image(path), preprocessing)
            y.append(number)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return x[: len(y)], np.array(y, np.int64)  # (N, size, size, 3), (N,)


def _check_counts(folder: str | os.PathLike[str], classes: tuple[str, ...], train_y: Array, test_y: Array) -> None:
    counts = np.bincount(train_y, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if len(empty) == len(classes):
        raise ValueError(f"{folder}: holds no pictures that can be read ({', '.join(sorted(ENDINGS))})")
    if empty:
        raise ValueError(f"{folder}: its class {empty[0]!r} has no picture to train on")
    if len(test_y) == 0:
        raise ValueError(f"{folder}: has no picture to hold out for testing")
