"""PyTorch's files (.pth, .pt, .bin, .ckpt), read and written without PyTorch.

A .pth is what `torch.save(model.state_dict(), path)` leaves: a dictionary of tensors, often with others around and
beside it. `read_whole` finds them all by their structure, and whoever calls it chooses one. There are two kinds.

**Since PyTorch 1.6: a zip archive**, not compressed. The name of its folder may be anything:

    archive/data.pkl      a pickle: names, shapes, and for each tensor the number of its storage (`torch_pickle`)
    archive/byteorder     "little" or "big"; older files have none and are little
    archive/data/0        the first storage: its numbers, one after the other, and nothing else
    archive/data/1        ...
    archive/version       "3"

Every storage begins at a multiple of 64 bytes, so that it can be mapped into memory and used as it lies. The gap before
it is a field of the zip's own header, filled with the letter Z.

**Before: five pickles and then the storages.** A magic number, the version of the protocol, a description of the
machine, the dictionary, and the list of the storages' keys. Then for each key, in that order, the number of elements
(8 bytes) and the elements, little-endian whatever the machine was. Nothing is aligned, and no checksum is kept.

A model that was saved as a whole (`torch.save(model)`, `torch.jit.save`) is read as its state dict (`places`). NumPy's
arrays lie in the pickle itself. A dictionary of them is read as well, of `torch.save` or of `pickle.dump`.

A *tensor* is a view of a storage: an offset, a shape and strides. A transposed weight is stored as it lay, and weights
that were tied share a storage. Both come back as NumPy views, which are read-only and take no memory of their own.

No byte of a file is ever run, see `torch_pickle`. Everything that a file claims is checked before it is believed: a
zip's members and directory against the file's size, every tensor against its storage, and all tensors together against
the file again, since a tensor whose strides are 0 is as large as it likes.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from npmnv2.atomic import writing
from npmnv2.files import (
    BFLOAT16,
    DIRECTORY_BYTES,
    Archive,
    FormatError,
    FrugalFile,
    brief,
    contiguous,
    format_errors,
    itemsize,
    listed,
    shown,
    strided_view,
)
from npmnv2.validate import Array
from npmnv2.weights.formats import torch_pickle
from npmnv2.weights.formats.pickled import STORAGES, Object, Storage, Tensor, content_of
from npmnv2.weights.formats.places import Places, beside, find, modules
from npmnv2.weights.formats.raw import storable

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

# Times the file's size, all tensors together: twice for bfloat16, which becomes float32, twice for tied weights
MOST_CLAIMED = 4
ALIGNMENT = 64
SAVE = "save its state_dict() instead"


class TorchFile(NamedTuple):
    """What a file holds."""

    arrays: dict[str, Array]  # of the dictionary that was chosen
    place: str  # the keys that lead to it, such as "checkpoint.model"; "" for the whole
    others: tuple[str, ...]  # those that lead to the other dictionaries of tensors
    dropped: tuple[str, ...]  # names of classes and functions, none of which was looked up
    modules: Mapping[str, dict[str, Any]] = {}  # of a model that was saved as a whole: what they say of themselves
    beside: Mapping[str, object] = {}  # what has no tensors, by the keys that lead to it


def the_only(among: Mapping[str, Mapping[str, Any]]) -> str:
    """The place of the one dictionary of tensors there is."""
    if len(among) > 1:
        named = listed(shown(place or "the whole", 30) for place in among)
        raise FormatError(f"holds {len(among)} dictionaries of tensors ({named}); one is read")
    return next(iter(among))


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The state dict of a .pth of either kind: the only dictionary of tensors in it, wherever it is."""
    return read_whole(path).arrays


def read_whole(path: str | os.PathLike[str], choose: Callable[[Places], str] = the_only) -> TorchFile:
    """The same with what stands around it, and a choice where there are several dictionaries of tensors.

    `choose` takes the dictionaries by place, each of name -> `Tensor`, which has a shape and no numbers, and returns a
    place. Only the numbers of that one are read.
    """
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path):
        start = file.read(4)
        if start == b"PK\x03\x04":
            return _read_zip(file, choose)
        if start[:1] == b"\x80":  # of every pickle since its protocol 2
            return _read_legacy(file, choose)
        raise FormatError("is no PyTorch file: neither a zip archive nor a pickle" if start else "is empty")


# -- the zip archive


def _read_zip(file: FrugalFile, choose: Callable[[Places], str]) -> TorchFile:
    archive = Archive(file)
    folder = _folder(archive.sizes)

    def content(name: str) -> bytearray:
        if folder + name not in archive.sizes:
            raise FormatError(f"is no PyTorch file, or a damaged one: {shown(folder + name)} is missing")
        return archive.read(folder + name)

    order = content("byteorder") if folder + "byteorder" in archive.sizes else b"little"
    if order not in (b"little", b"big"):
        raise FormatError("is damaged: its byte order is neither little nor big")
    whole = torch_pickle.load(io.BytesIO(content("data.pkl")))
    chosen, tensors = _chosen(whole, choose, file.bytes, is_program=folder + "constants.pkl" in archive.sizes)
    keys = dict.fromkeys(tensor.storage.key for tensor in tensors.values() if tensor.storage.content is None)
    return chosen._replace(arrays=_arrays(tensors, {key: content(f"data/{key}") for key in keys}, order == b"big"))


def _folder(members: Mapping[str, int]) -> str:
    """The folder of data.pkl, with its slash."""
    found = [name for name in members if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(found) != 1:
        raise FormatError(f"is no PyTorch file: a zip archive with {len(found) or 'no'} data.pkl")
    return found[0].removesuffix("data.pkl")


# -- the legacy format, and a pickle alone


def _read_legacy(file: FrugalFile, choose: Callable[[Places], str]) -> TorchFile:
    file.allow_all()
    file.seek(0)
    data = file.read()
    pickles = io.BytesIO(data)
    whole = torch_pickle.load(pickles)
    keys: object = []
    if whole.value == MAGIC_NUMBER:  # of torch.save, not pickle.dump
        if torch_pickle.load(pickles).value != PROTOCOL_VERSION:
            raise FormatError(f"must have the protocol version {PROTOCOL_VERSION}; has another")
        torch_pickle.load(pickles)  # about the machine, of no use
        whole, keys = torch_pickle.load(pickles), torch_pickle.load(pickles).value
    chosen, tensors = _chosen(whole, choose, len(data))
    storages = {storage.key: storage for storage in whole.storages}
    raw = _legacy_storages(memoryview(data)[pickles.tell() :], keys, storages)
    return chosen._replace(arrays=_arrays(tensors, raw))


def _legacy_storages(data: memoryview, keys: object, storages: dict[str, Storage]) -> dict[str, memoryview]:
    """Cut the rest of the file into storages. A storage says how many elements it has, the pickle of which type."""
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise FormatError("is damaged: it lists storages that no tensor uses")
    raw, position = {}, 0
    for key in keys:
        count = int.from_bytes(data[position : position + 8], "little")
        position, start = position + 8 + count * itemsize(storages[key].dtype), position + 8
        if position > len(data):
            raise FormatError("ends in the middle of a tensor")
        raw[key] = data[start:position]
    return raw


# -- both


def _chosen(
    whole: torch_pickle.Loaded, choose: Callable[[Places], str], size: int, is_program: bool = False
) -> tuple[TorchFile, dict[str, Tensor]]:
    """The tensors that were chosen of all that a training script put around and beside them."""
    found = find(whole.value)
    if is_program and not found:  # with arrays it is read like a pickled model
        raise FormatError(f"is a TorchScript program without arrays of its own, as after torch.jit.freeze; {SAVE}")
    if not found:
        asks = f"; it asks for {listed(whole.dropped, 3)}, none of which is looked up or run" * bool(whole.dropped)
        hint = f". If it is a model: {SAVE}" * bool(whole.dropped)
        raise FormatError(f"{_nothing(whole.value)}{asks}{hint}")
    place = choose({place: tensors for place, (_, tensors) in found.items()})
    holder, tensors = found[place]
    claimed = 0
    for tensor in tensors.values():
        size_here = 4 if tensor.storage.dtype == BFLOAT16 else itemsize(tensor.storage.dtype)
        # An axis may have a negative length, until `strided_view` refuses it: it must make no room for other tensors.
        claimed += math.prod(map(abs, tensor.shape)) * size_here
    if claimed > MOST_CLAIMED * size:
        times = f"{MOST_CLAIMED} times its size is the most that weights need"
        raise FormatError(f"has tensors that claim {brief((claimed,))[1:-2]} bytes, in a file of {size}; {times}")
    others = tuple(other for other in found if other != place)
    more = beside(whole.value, place, found)
    return TorchFile({}, place, others, tuple(whole.dropped), modules(holder), more), tensors


def _nothing(value: object) -> str:
    if not isinstance(value, dict):
        kind = "a single tensor" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"
        kind = "an object" if isinstance(value, Object) else kind
        return f"holds no dictionary of tensors by name, but {kind}"
    keys = listed(shown(str(key), 30) for key in value)
    return f"holds no tensors by name; what it holds is called: {keys or 'nothing'}"


def _arrays(
    tensors: Mapping[str, Tensor], raw: Mapping[str, bytearray | memoryview], big_endian: bool = False
) -> dict[str, Array]:
    """The tensors as views of their storages: those of the file, by key, or those in the pickle."""
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        inside = storage.content is not None
        if not inside and storage.key not in raw:
            raise FormatError(f"is damaged: the numbers of {shown(name)} are missing")
        content, size = content_of(storage) if inside else raw[storage.key], itemsize(storage.dtype)
        if storage.size * size > len(content):
            raise FormatError(
                f"is damaged: storage {shown(storage.key)} has {len(content)} bytes, fewer than it claims"
            )
        first, count = storage.location
        part = memoryview(content)[first * size : (first + count) * size]
        big = storage.big_endian if inside else big_endian
        arrays[name] = strided_view(part, storage.dtype, shape, strides, offset, big)
    return arrays


# -- writing

_CLASSES = {np.dtype(dtype): name for name, dtype in STORAGES.items() if dtype != BFLOAT16}
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # GLOBAL, EMPTY_TUPLE, REDUCE


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write a zip .pth that ``torch.load(path, weights_only=True)`` reads, bit for bit.

    A 0-d int64 array is one of PyTorch's counters.

    Examples
    --------
    >>> write("model.pth", {"weight": np.zeros(3, np.complex64)})
    Traceback (most recent call last):
        ...
    TypeError: arrays['weight'] must be of floats, integers or booleans that the format knows; was complex64
    """
    stored = {name: storable(name, value, STORAGES.values()) for name, value in arrays.items()}
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, file, "data.pkl", _pickled(stored))
        _add(archive, file, "byteorder", b"little")
        for key, value in enumerate(stored.values()):
            _add(archive, file, f"data/{key}", value.reshape(-1).view(np.uint8).data)
        _add(archive, file, "version", b"3\n")


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: bytes | memoryview) -> None:
    """Add a member whose content begins at a multiple of 64."""
    member = zipfile.ZipInfo(f"archive/{name}", date_time=(1980, 1, 1, 0, 0, 0))  # the same arrays, the same file
    start = file.tell() + 30 + len(member.filename) + 4  # a header, the name, and the head of the padding
    padding = -start % ALIGNMENT
    member.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(member, content)


def _pickled(arrays: dict[str, Array]) -> bytes:
    """The pickle of an OrderedDict of tensors, written by hand: what `torch_pickle` describes."""
    parts = [b"\x80\x02", _ORDERED_DICT, b"("]
    for key, (name, value) in enumerate(arrays.items()):
        storage = _CLASSES[value.dtype.newbyteorder("=")].encode()
        identity = [_text("storage"), b"ctorch\n" + storage + b"\n", _text(str(key)), _text("cpu"), _int(value.size)]
        shape, strides = value.shape, contiguous(value.shape)
        parts += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n("]
        parts += [_tuple(*identity), b"Q", _int(0), _tuple(*map(_int, shape)), _tuple(*map(_int, strides))]
        parts += [b"\x89", _ORDERED_DICT, b"tR"]  # NEWFALSE: no gradient; no hooks; TUPLE, REDUCE
    return b"".join([*parts, b"u."])  # SETITEMS, STOP


def _text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded  # BINUNICODE


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)  # or LONG1


def _tuple(*parts: bytes) -> bytes:
    return b"".join([b"(", *parts, b"t"])  # MARK, TUPLE
