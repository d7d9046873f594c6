"""One look at a folder of pictures: which files are pictures, of which class and split each is, and what is left out.

A picture's class and split are read from the folders on its way, ``train/cat/1.jpg`` or ``cat/train/1.jpg`` alike: the
first folder that is called like a split is its split, the first that is not is its class. A folder that everything lies
in, and nothing directly, is neither: archives unpack to one. What is a picture is decided by its first bytes.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from npmnv2.data.images import HEIC, kind_of
from npmnv2.files import listed

# What people call their splits, without capitals, numbers and the words below.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SAY_NOTHING = frozenset(["set", "data", "dataset", "image", "images", "img", "imgs", "picture", "pictures", "split"])
CLUTTER = frozenset(["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"])  # of archivers and systems
ENDINGS = (  # of files that their owner takes for pictures
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".tif", ".tiff", ".webp"),
    *(".avif", ".heic", ".heif"),
)
MOST_FOLDERS = 100_000  # links can lead round and round

Parts = tuple[str, ...]  # the folders between the top and a file


class Scan(NamedTuple):
    """What a folder holds."""

    classes: tuple[str, ...]
    train: list[tuple[Path, int]]  # pictures and the numbers of their classes
    test: list[tuple[Path, int]] | None  # None: no folder of its own says what is held out
    said: list[str]  # what was decided, a line each
    left_out: dict[str, list[Path]]  # reason -> files and folders
    damaged: list[str]  # why files that are called pictures are none, a line each


class _Found(NamedTuple):
    """A folder's files and folders before anybody says what they mean."""

    folders: list[Parts]
    pictures: list[tuple[Parts, Path]]
    left_out: dict[str, list[Path]]
    damaged: list[tuple[Path, str]]  # called pictures, and why they are none

    def leave_out(self, reason: str, *paths: Path) -> None:
        if paths:
            self.left_out.setdefault(reason, []).extend(paths)


class _Place(NamedTuple):
    """What the folders on the way to a picture say."""

    split: str  # "train", "val", "test", or "": nothing
    label: str | None  # the class
    is_deeper: bool  # whether there are folders within that of the class


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, with ``~`` written out: a shell leaves it as it is behind a colon.

    Raises
    ------
    ValueError
        If there is none.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ValueError(f"{place}: no such folder{'; it is a file: unpack it first' if place.is_file() else ''}")
    return place


def scan(folder: str | os.PathLike[str]) -> Scan:
    """Look at a folder of pictures; nothing is decoded.

    Parameters
    ----------
    folder : str or path-like

    Returns
    -------
    Scan

    Raises
    ------
    ValueError
        If there is no such folder, fewer than two classes, or it can be understood in more than one way.
    """
    top = existing_folder(folder)
    found = _walk(top)
    roles = _roles(top, found.folders)
    places, wrapper = _places(found, roles)
    labelled: dict[str, list[tuple[Path, str]]] = {split: [] for split in ("", "train", "val", "test")}
    loose: dict[str, list[Path]] = {split: [] for split in labelled}
    for parts, path in found.pictures:
        place = places[parts]
        if place.label is None:
            loose[place.split].append(path)
        else:
            labelled[place.split].append((path, place.label))
    by_split = {split: sorted({p.label for p in places.values() if p.split == split and p.label}) for split in labelled}
    trained = "train" if by_split["train"] else ""
    held = next((split for split in ("val", "test") if labelled[split]), None)
    if not trained:
        _check_unsplit(top, by_split[""], loose, labelled)
    classes = tuple(by_split[trained])
    if len(classes) < 2:
        there = f"only {classes[0]!r}" if classes else "none"
        raise ValueError(
            f"{top.joinpath(*wrapper)}: must hold a folder for each of two classes or more; there is {there}"
        )
    for split in labelled.keys() - {trained, held}:
        reason = f"of the split {split}: {held} is held out" if split else "beside the folders of the splits"
        found.leave_out(reason, *(path for path, _ in labelled[split]))
    for paths in loose.values():
        found.leave_out("in no class's folder", *paths)
    names = {split: _names(roles, split) for split in ("train", "val", "test")}
    said = [f"classes: the folders in {'/'.join(wrapper)}"] if wrapper else []
    if alike := _within_each(found, places):
        inner = listed(map(repr, alike))
        said.append(f"within each class: the folders {inner}; if these are the classes, give a folder that holds them")
    if trained or held:
        trains = f"trained on: {names['train']}" if trained else f"trained on: what lies beside {names[held or 'val']}"
        said.append(f"{trains}; held out: {names[held] if held else 'a share of each class'}")
    train = _numbered(top, labelled[trained], classes)
    test = _numbered(top, labelled[held], classes) if held else None
    return Scan(classes, train, test, said, found.left_out, [f"{path}: {why}" for path, why in found.damaged])


def pictures(folder: str | os.PathLike[str]) -> tuple[list[Path], list[str]]:
    """All that a folder and those below have of pictures, without a class, and what is left out.

    Returns
    -------
    pictures : list of Path
        In the order of their names. Files that are called pictures and are none are among them.
    left_out : list of str
        A line a reason.

    Raises
    ------
    ValueError
        If there is no such folder, or no picture in it.
    """
    top = existing_folder(folder)
    found = _walk(top)
    paths = sorted([path for _, path in found.pictures] + [path for path, _ in found.damaged])
    lines = in_lines(top, found.left_out)
    if not paths:
        raise ValueError("; ".join([f"{top}: holds no picture (JPEG, PNG, GIF, WebP, TIFF, ...)", *lines]))
    return paths, lines


def in_lines(top: Path, left_out: Mapping[str, Sequence[Path]]) -> list[str]:
    """What is left out of a folder, a line a reason, with the first names.

    Examples
    --------
    >>> in_lines(Path("pets"), {"no picture": [Path("pets", "cat", "notes.txt")]})
    ['left out, no picture: 1 (cat/notes.txt)']
    """
    return [
        f"left out, {reason}: {len(paths)} ({listed(os.path.relpath(path, top) for path in paths)})"
        for reason, paths in left_out.items()
    ]


def _walk(top: Path) -> _Found:
    """Everything below a folder, in the order of names; links to folders are followed, once a way."""
    found = _Found([], [], {}, [])
    stack: list[tuple[Parts, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while stack:
        parts, above = stack.pop()
        place = top.joinpath(*parts)
        try:
            status = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            if not parts:
                raise
            found.leave_out(f"cannot be opened ({error.strerror})", place)
            continue
        if (status.st_dev, status.st_ino) in above:
            found.leave_out("a link to a folder that it lies in", place)
            continue
        found.folders.append(parts)
        if len(found.folders) > MOST_FOLDERS:
            raise ValueError(f"{top}: must hold at most {MOST_FOLDERS} folders, those that links lead to counted too")
        inner = []
        for entry in entries:
            path = place / entry.name
            if entry.name in CLUTTER or entry.name.startswith("."):
                found.leave_out("hidden, or of an archiver or a system", path)
            elif entry.is_dir():
                inner.append((parts + (entry.name,), above | {(status.st_dev, status.st_ino)}))
            else:
                _take(path, parts, found)
        stack += reversed(inner)
    return found


def _take(path: Path, parts: Parts, found: _Found) -> None:
    """Put a file with the pictures, or with what is left out and why."""
    if path.name.endswith("~"):
        found.leave_out("an editor's copy", path)
    elif not path.exists():
        found.leave_out("a link that leads nowhere", path)
    elif not path.is_file():  # to open a pipe is to wait for its writer
        found.leave_out("no file, but a pipe or a device", path)
    else:
        try:
            kind = kind_of(path)
        except OSError as error:
            found.damaged.append((path, f"cannot be opened ({error.strerror})"))
            return
        if kind == "HEIC":
            found.damaged.append((path, HEIC))
        elif kind is not None:
            found.pictures.append((parts, path))
        elif path.suffix.lower() in ENDINGS:
            found.damaged.append((path, "is no picture, though it is called one"))
        else:
            found.leave_out("no picture", path)


def _words(name: str) -> list[str]:
    """What is left of ``Training_set`` is ``training``."""
    words = [word.removesuffix("set") for word in re.findall("[^\\W\\d_]+", name.lower())]
    return [word for word in words if word and word not in SAY_NOTHING]


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Which of the folders beside each other are splits, by their names.

    Words that all of them begin or end with say nothing, if without them there is a training split and another.

    Examples
    --------
    >>> splits_of(["Training", "testing_set", "labels"])
    {'Training': 'train', 'testing_set': 'test'}
    >>> splits_of(["seg_train", "seg_test", "seg_pred"]), splits_of(["bullet_train", "tram"])
    ({'seg_train': 'train', 'seg_test': 'test'}, {})
    """
    words = {name: _words(name) for name in names}
    plain = {name: SPLITS[own[0]] for name, own in words.items() if len(own) == 1 and own[0] in SPLITS}
    if plain or len(names) < 2:
        return plain
    first = _alike(words.values())
    last = _alike([own[first:][::-1] for own in words.values()])
    inner = {name: own[first : len(own) - last] for name, own in words.items()}
    found = {name: SPLITS[own[0]] for name, own in inner.items() if len(own) == 1 and own[0] in SPLITS}
    return found if "train" in found.values() and len(set(found.values())) > 1 else {}


def _alike(lists: Collection[list[str]]) -> int:
    """How many words all of them begin with."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*lists, strict=False)))


def _roles(top: Path, folders: Iterable[Parts]) -> dict[Parts, str]:
    """The folders that are splits."""
    beside: dict[Parts, list[str]] = {}
    for parts in folders:
        if parts:
            beside.setdefault(parts[:-1], []).append(parts[-1])
    roles: dict[Parts, str] = {}
    for parent, names in beside.items():
        splits = splits_of(names)
        roles |= {(*parent, name): split for name, split in splits.items()}
        twice = [split for split, times in Counter(splits.values()).items() if times > 1]
        if twice:
            which = ", ".join(repr(name) for name, split in splits.items() if split == twice[0])
            raise ValueError(f"{top.joinpath(*parent)}: must hold one folder a split; {which} are all {twice[0]}")
    return roles


def _places(found: _Found, roles: Mapping[Parts, str]) -> tuple[dict[Parts, _Place], Parts]:
    """What each folder says, and the folders around everything, which say nothing."""
    wrapper: Parts = ()
    while True:
        places = {parts: _place(parts, roles, len(wrapper)) for parts in found.folders}
        labels = {place.label for place in places.values() if place.label is not None}
        directly = any(places[parts].label is not None and not places[parts].is_deeper for parts, _ in found.pictures)
        if len(labels) != 1 or directly or not any(places[parts].is_deeper for parts, _ in found.pictures):
            return places, wrapper
        wrapper += (labels.pop(),)


def _place(parts: Parts, roles: Mapping[Parts, str], wrappers: int) -> _Place:
    """The split before the class or right behind it, and the class."""
    split, label = "", None
    for depth, name in enumerate(parts, 1):
        role = roles.get(parts[:depth])
        if label is None and role:
            split = split or role
        elif label is None and wrappers:
            wrappers -= 1
        elif label is None:
            label, at = name, depth
        elif role and not split and depth == at + 1:
            split, at = role, depth
        else:
            return _Place(split, label, True)
    return _Place(split, label, False)


def _within_each(found: _Found, places: Mapping[Parts, _Place]) -> list[str]:
    """The folders that every class has, and no picture beside them: they may be the classes, and those be folds."""
    if any(places[parts].label is not None and not places[parts].is_deeper for parts, _ in found.pictures):
        return []
    inner: dict[str, set[str]] = {}
    for parts in found.folders:
        if parts and places[parts].is_deeper and not places[parts[:-1]].is_deeper:
            inner.setdefault(places[parts].label or "", set()).add(parts[-1])
    labels = {place.label for place in places.values() if place.label is not None}
    first = next(iter(inner.values()), set())
    is_alike = inner.keys() == labels and len(labels) > 1 and all(names == first for names in inner.values())
    return sorted(first) if is_alike and len(first) > 1 else []


def _check_unsplit(
    top: Path, classes: list[str], loose: Mapping[str, list[Path]], labelled: Mapping[str, list[tuple[Path, str]]]
) -> None:
    """Without a training split: that no folder is called like a split and used like a class, nor a split alone."""
    named = [path for split in ("train", "val", "test") for path in loose[split]]
    if named:
        name = str(named[0].parent.relative_to(top))
        raise ValueError(
            f"{top}: {name!r} is called like a split, but holds pictures and no folder for each class: rename it if it "
            f"is a class, put its pictures into a folder for each class if not, or move it away"
        )
    if not classes and any(labelled.values()):
        held = " and ".join(split for split in ("val", "test") if labelled[split])
        raise ValueError(f"{top}: holds pictures for {held}, but none to train on: there is no folder 'train'")


def _names(roles: Mapping[Parts, str], split: str) -> str:
    """What a split's folders are called."""
    return ", ".join(sorted({parts[-1] for parts, role in roles.items() if role == split}))


def _numbered(top: Path, pictures: list[tuple[Path, str]], classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Pictures with the numbers of their classes, class by class."""
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = next((label for _, label in pictures if label not in numbers), None)
    if unknown is not None:
        listed = ", ".join(map(repr, classes[:5])) + ", ..." * (len(classes) > 5)
        raise ValueError(f"{top}: holds a class that there is none of to train on: {unknown!r}; to train on: {listed}")
    return sorted(((path, numbers[label]) for path, label in pictures), key=lambda picture: picture[1])
