"""Pictures in folders, a class each: the way most people keep their own."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from npmnv2.data.digits import Dataset
from npmnv2.data.images import fit, open_image
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing
from npmnv2.data.scan import Scan, existing_folder, in_lines, scan
from npmnv2.validate import Array, check_int, check_number

RARE = 4  # times as many pictures of one class as of another are worth a word
MOST_LINES = 100  # of classes; of more the rarest have a line


def load_folder(folder: str | os.PathLike[str], size: int = 224, held_out: float = 0.1, seed: int = 0) -> Dataset:
    """Load pictures from a folder for each class.

    Two arrangements are known. ``folder/cat/1.jpg, folder/dog/2.png, ...``: a share of each class is held out.
    ``folder/train/cat/1.jpg, folder/val/cat/2.jpg, ...``: what lies in ``val``, or else in ``test``, is held out.
    Other usual names of splits will do, with capitals or without (``Training``, ``valid``, ``test_set``), and so will
    ``folder/cat/train/1.jpg``; a folder that is called like a split is never a class. The classes are numbered in the
    order of their names. Folders within a class's folder belong to it. What is a picture is decided by its content.
    `Dataset.found` says what was found, and what was left out and why.

    A picture's shorter side becomes `size`, and the square in its middle is kept.

    Parameters
    ----------
    folder : str or path-like
        ``~`` is the home of whoever runs it.
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
        held out and is not trained on, more pictures than fit into memory, or if the names of the folders can be
        understood in more than one way.
    TypeError
        If `size` or `seed` is not an integer.

    Warns
    -----
    UserWarning
        Pictures that cannot be read are left out, and integers of 16 or 32 bits may not fill their range; it says how
        many and names the first of them.
    """
    size, seed = check_int(size, "size", 1, 4096), check_int(seed, "seed", 0)
    share = check_number(held_out, "held_out", 0, 1, "()")
    seen = scan(folder)
    pictures, apart = seen.train, seen.test
    if apart is None:
        pictures, apart = _split(pictures, share, seed)
    _check_memory(folder, len(pictures) + len(apart), size)
    preprocessing = PREPROCESSING["torchvision"]._replace(resize=size, crop=size)
    problems, notes = list(seen.damaged), list[str]()
    train_x, train_y = _read(pictures, preprocessing, problems, notes)
    test_x, test_y = _read(apart, preprocessing, problems, notes)
    there = len(pictures) + len(apart) + len(seen.damaged)
    if problems:
        warnings.warn(
            f"{folder}: {len(problems)} of {there} pictures cannot be read and are left out: {_some(problems)}",
            stacklevel=2,
        )
    if notes:
        warnings.warn(
            f"{folder}: {len(notes)} of {there} pictures are not what they seem: {_some(notes)}", stacklevel=2
        )
    _check_counts(folder, seen.classes, train_y, test_y)
    found = tuple(_report(folder, seen, train_y, test_y))
    return Dataset(train_x, train_y, test_x, test_y, seen.classes, preprocessing, found)


def _some(lines: list[str]) -> str:
    return "; ".join(lines[:5]) + ("; ..." if len(lines) > 5 else "")


def _report(folder: str | os.PathLike[str], seen: Scan, train_y: Array, test_y: Array) -> Iterator[str]:
    """What was found: the classes, how many pictures of each, and what was left out and why."""
    yield f"{folder}: {len(seen.classes)} classes, {len(train_y)} pictures to train on, {len(test_y)} held out"
    yield from (f"  {line}" for line in seen.said)
    counts = [np.bincount(y, minlength=len(seen.classes)) for y in (train_y, test_y)]  # (classes,) each
    rows = list(zip(seen.classes, *(count.tolist() for count in counts), strict=True))
    shown = rows if len(rows) <= MOST_LINES else sorted(rows, key=lambda row: row[1])[:MOST_LINES]
    width = max(len(name) for name, _, _ in shown)
    yield f"  {'class':<{width}}  to train on  held out"
    yield from (f"  {name:<{width}}  {trained:>11}  {held:>8}" for name, trained, held in shown)
    if len(shown) < len(rows):
        yield f"  and {len(rows) - len(shown)} classes with more"
    rarest, commonest = min(rows, key=lambda row: row[1]), max(rows, key=lambda row: row[1])
    if commonest[1] >= RARE * rarest[1]:
        times = commonest[1] // rarest[1]
        yield f"  {rarest[0]} is {times} times as rare as {commonest[0]}: train --balance shows each class as often"
    yield from (f"  {line}" for line in in_lines(existing_folder(folder), seen.left_out))


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


def _read(
    pictures: list[tuple[Path, int]], preprocessing: Preprocessing, problems: list[str], notes: list[str]
) -> tuple[Array, Array]:
    """The pictures that can be read and their classes; what was wrong with the others, and what is odd with these."""
    from tqdm import tqdm

    side = preprocessing.crop or 0
    x = np.empty((len(pictures), side, side, 3), np.uint8)  # (N, size, size, 3)
    y: list[int] = []
    quiet = sys.stderr is None or None  # None: on a terminal alone
    for path, number in tqdm(pictures, desc="reading", unit="picture", leave=False, disable=quiet):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                x[len(y)] = fit(open_image(path), preprocessing)
            y.append(number)
            notes += [str(warning.message) for warning in caught]
        except (ValueError, OSError) as error:
            problems.append(str(error))
    return x[: len(y)], np.array(y, np.int64)  # (N, size, size, 3), (N,)


def _check_counts(folder: str | os.PathLike[str], classes: tuple[str, ...], train_y: Array, test_y: Array) -> None:
    counts = np.bincount(train_y, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if len(empty) == len(classes):
        raise ValueError(f"{folder}: holds no pictures that can be read (JPEG, PNG, GIF, WebP, TIFF, ...)")
    if empty:
        hint = "if it is a class put pictures there, if not move the folder away"
        raise ValueError(f"{folder}: its class {empty[0]!r} has no picture to train on; {hint}")
    if len(test_y) == 0:
        raise ValueError(f"{folder}: has no picture to hold out for testing")
