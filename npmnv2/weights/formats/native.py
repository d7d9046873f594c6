"""Checkpoints of this package: one file that holds all of a network, and all of a training run if it is one.

The file is NumPy's own .npz, uncompressed: a zip archive with one array a member. Nothing but NumPy is needed to look
into it, now or in twenty years:

    file = np.load("model.npz")
    file["npmnv2"].tobytes()             b'{"format": "npmnv2 checkpoint", "version": 1, "sha256": "9f0c..."}'
    file["info"].tobytes()               JSON: what the network is, how its pictures are prepared, its labels, ...
    file["model/stem.conv.w"]            an array of the state dictionary
    file["ema/stem.conv.w"]              its moving average, in the checkpoint of a training run
    file["optimizer/velocity/stem.conv.w"]

The SHA-256 is taken over the names, dtypes, shapes and bytes of all arrays but the first, in the order of the file. No
pickle is ever written or read. What a file claims is compared with its size before anything is allocated.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from npmnv2.atomic import writing
from npmnv2.files import DIRECTORY_BYTES, DTYPES, Archive, FormatError, FrugalFile, format_errors, shown
from npmnv2.validate import Array
from npmnv2.weights.formats.raw import storable

FORMAT = "npmnv2 checkpoint"
VERSION = 1  # goes up when an older npmnv2 would misread a file
HEADER, INFO = "npmnv2", "info"  # the two members that are JSON
INFO_BYTES = 1 << 21  # with room for ten thousand epochs
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same arrays give the same file, whenever it is written


class Checkpoint(NamedTuple):
    """What a file holds."""

    arrays: dict[str, Array]  # in the order of the file; those that `read` gives are read-only
    info: dict[str, Any]


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], info: Mapping[str, Any]) -> None:
    """Write a checkpoint. Its arrays may have any names but "npmnv2" and "info"; `info` is what JSON can hold.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "model.npz")
    >>> write(path, {"model/fc.b": np.array([0.5, -0.5], np.float32)}, {"labels": ["cat", "dog"]})
    >>> read(path)
    Checkpoint(arrays={'model/fc.b': array([ 0.5, -0.5], dtype=float32)}, info={'labels': ['cat', 'dog']})
    >>> np.load(path)["info"].tobytes()
    b'{"labels": ["cat", "dog"]}'
    >>> folder.cleanup()
    """
    members = {INFO: np.frombuffer(_as_json(info), np.uint8)}
    for name, value in arrays.items():
        array = storable(name, value, DTYPES)
        if name in (HEADER, INFO) or not name.isprintable() or not name:
            raise ValueError(f"arrays must have printable names other than {HEADER!r} and {INFO!r}; one was {name!r}")
        members[name] = array
    header = {"format": FORMAT, "version": VERSION, "sha256": _digest(members.items())}
    first = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with writing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {HEADER: first, **members}.items():
            member = zipfile.ZipInfo(f"{name}.npy", _WHEN)
            with archive.open(member, "w", force_zip64=array.nbytes > 1 << 30) as target:
                np.lib.format.write_array(target, array, version=(1, 0), allow_pickle=False)


def _as_json(info: Mapping[str, Any]) -> bytes:
    if not isinstance(info, Mapping):
        raise TypeError(f"info must be a mapping; was {type(info).__name__}")
    try:
        text = json.dumps(dict(info), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"info must be what JSON can hold: {error}") from None
    if len(text) > INFO_BYTES:
        raise ValueError(f"info must be at most {INFO_BYTES} bytes as JSON; was {len(text)}")
    return text


def _digest(members: Iterable[tuple[str, Array]]) -> str:
    digest = hashlib.sha256()
    for name, array in members:
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint; one of a newer version is an error."""
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path):
        archive = Archive(file)
        header, arrays = _header(archive), _arrays(archive)
        if _digest(arrays.items()) != header["sha256"]:
            raise FormatError("is damaged: its content does not have the checksum that it should")
        return Checkpoint(arrays, _info(arrays.pop(INFO, None)))


def read_plain(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays of any .npz, of `np.savez` or `np.savez_compressed`; with no checksum but the zip's own."""
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path):
        return _arrays(Archive(file))


def _arrays(archive: Archive) -> dict[str, Array]:
    """All arrays but the header, in the order of the file."""
    for member in archive.sizes:
        if not member.endswith(".npy"):
            raise FormatError(f"is no checkpoint of npmnv2: its member {shown(member)} is no array")
    names = [member.removesuffix(".npy") for member in archive.sizes if member != f"{HEADER}.npy"]
    return {name: archive.array(name) for name in names}


def _header(archive: Archive) -> dict[str, Any]:
    """What the first member says; it is looked at before the others, which a newer version may store otherwise."""
    size = archive.sizes.get(f"{HEADER}.npy")
    if size is None:
        raise FormatError(f"is no checkpoint of npmnv2: an .npz without the array {HEADER!r}")
    if size > 4096:
        raise FormatError(f"is no checkpoint of npmnv2: its array {HEADER!r} is too long")
    header = _json(HEADER, archive.array(HEADER))
    version = header.get("version")
    if header.get("format") != FORMAT or type(version) is not int or version < 1:
        raise FormatError(f"is no checkpoint of npmnv2: its array {HEADER!r} says something else")
    if version > VERSION:
        raise FormatError(f"is of format version {version}; this npmnv2 reads up to {VERSION}: update npmnv2")
    return {"sha256": None, **header}


def _info(array: Array | None) -> dict[str, Any]:
    if array is None:
        raise FormatError(f"is damaged: the array {INFO!r} is missing")
    if array.nbytes > INFO_BYTES:
        raise FormatError(f"is no checkpoint of npmnv2: its array {INFO!r} has {array.nbytes} bytes")
    return _json(INFO, array)


def _json(name: str, array: Array) -> dict[str, Any]:
    value = json.loads(array.tobytes()) if array.dtype == np.uint8 else None
    if not isinstance(value, dict):
        raise FormatError(f"is damaged: the array {name!r} is no JSON object")
    return value
