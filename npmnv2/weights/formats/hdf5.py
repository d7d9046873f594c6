"""Read what Keras puts into an HDF5 file: groups, plain arrays of floats, the names of layers. Needs no library.

HDF5 is a file system inside of a file. Why this reader does not leave it to the library is said in the package's
`__init__`. It reads the part of the format that Keras uses, and refuses the rest. h5py writes that part unless it is
asked for another:

- the *superblock* has the address of the root group;
- an *object header* is a list of messages. A group has one that says where its symbol table is. A dataset has one each
  for its shape, its type and where its bytes lie. An attribute is a message too;
- a *symbol table* is a B-tree whose leaves list (name, address of an object header); a heap beside it holds the names;
- text of variable length lies in a *global heap*.

Refused are links to other places and files, chunks, filters, virtual and external data, and every type but floats.

References
----------
.. [1] The HDF Group, "HDF5 File Format Specification", version 3.0: sections II.A, III.A.1, III.B to III.E, IV.A.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from npmnv2.files import BFLOAT16, MOST_AXES, FormatError, brief, itemsize, shown, strided_view
from npmnv2.validate import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_STEPS = 500_000  # structures read of one file; a MobileNetV2 has 13,501
MOST_LINKS = 10_000  # names in all groups; a MobileNetV2 has 576
MOST_CHILDREN = 256  # of a node of a group's tree; h5py makes it 32
MOST_TEXT = 255  # bytes of a name

# Types of messages (section IV.A.2)
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x0B
ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x0C, 0x10, 0x11

# Classes of types (section IV.A.2.d)
FLOAT, TEXT, OPAQUE, VARIABLE_LENGTH = 1, 3, 5, 9

# A float says: bit offset, precision, where its exponent lies and how long it is, the same of its mantissa, its bias.
FLOATS = {
    (0, 16, 10, 5, 0, 10, 15): "float16",
    (0, 32, 23, 8, 0, 23, 127): "float32",
    (0, 64, 52, 11, 0, 52, 1023): "float64",
    (0, 16, 7, 8, 0, 7, 127): BFLOAT16,
}


class Message(NamedTuple):
    """One message of an object header: what it is about and where it begins."""

    kind: int
    start: int


_QUANTISED = ", as a quantised network has: load the file of the float network that it was made from"


class File:
    """An HDF5 file in memory, read as far as it is asked for. Objects go by their address; `root` is the root group's.

    It comes to an end with any bytes whatever, and soon: structures and names are counted, and all arrays together are
    no larger than the file. Every method raises `FormatError` for a file that is damaged, or uses more of HDF5 than
    Keras does.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self._steps = 0
        self._links = 0
        self._claimed = 0  # bytes, by all arrays so far
        if not data.startswith(SIGNATURE):
            raise FormatError("is no HDF5 file")
        (version,) = self._unpack("<B", 8)
        if version != 0:
            raise FormatError(f"has the superblock {version}, of a newer layout of HDF5 than Keras writes")
        if self._unpack("<BB", 13) != (8, 8) or self._unpack("<Q", 24) != (0,):  # bytes of an address; the first one
            raise FormatError("has addresses of a kind that Keras does not write")
        (end,) = self._unpack("<Q", 40)
        if end > len(data):
            raise FormatError(f"is cut short: {len(data)} of {end} bytes")
        (self.root,) = self._unpack("<Q", 64)

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise FormatError(f"has more than {MOST_STEPS} structures inside, or points in circles")
        if at + struct.calcsize(layout) > len(self.data):
            raise FormatError(f"is damaged: it points to byte {at}, and has {len(self.data)}")
        return struct.unpack_from(layout, self.data, at)

    def _expect(self, signature: bytes, at: int) -> None:
        if self._unpack("4s", at) != (signature,):
            raise FormatError(f"is damaged: no {signature.decode()} at byte {at}")

    def _text(self, start: int, size: int, most: int = MOST_TEXT) -> str:
        """The text at `start`, up to a zero byte or `size` bytes; an error if that is more than `most` bytes."""
        raw = self.data[start : start + min(size, most + 1)].partition(b"\0")[0]
        if len(raw) > most:
            raise FormatError(f"has a {'name' if most == MOST_TEXT else 'text'} of more than {most} bytes")
        return raw.decode()

    def _messages(self, address: int) -> Iterator[Message]:
        """What the object header at `address` says, its continuations included."""
        version, count, size = self._unpack("<BxHxxxxI", address)
        if version != 1:
            raise FormatError(f"is damaged, or newer HDF5 than Keras writes: no object at byte {address}")
        blocks = [(address + 16, size)]
        for start, length in blocks:  # grows as it is read
            at = start
            while count and at + 8 <= start + length:
                kind, size, flags = self._unpack("<HHB", at)
                if kind == CONTINUATION:
                    blocks.append(self._unpack("<QQ", at + 8))
                elif flags & 2 and kind in (DATASPACE, DATATYPE, LAYOUT, SYMBOL_TABLE):
                    raise FormatError("shares descriptions between objects, which Keras does not write")
                yield Message(kind, at + 8)
                at, count = at + 8 + size, count - 1

    # -- groups

    def is_group(self, address: int) -> bool:
        """Whether the object is a group, and not a dataset."""
        return any(message.kind in (SYMBOL_TABLE, LINK, LINK_INFO) for message in self._messages(address))

    def links(self, address: int) -> dict[str, int]:
        """What is in a group: names, sorted as HDF5 keeps them, and addresses."""
        found: dict[str, int] = {}
        for message in self._messages(address):
            if message.kind in (LINK, LINK_INFO):
                raise FormatError("has groups of a newer layout of HDF5 than Keras writes")
            if message.kind == SYMBOL_TABLE:
                tree, heap = self._unpack("<QQ", message.start)
                self._expect(b"HEAP", heap)
                (names,) = self._unpack("<Q", heap + 24)
                for name, target in self._entries(tree, names):
                    if name in found or not name:
                        raise FormatError(f"is damaged: two objects are called {shown(name)!r}")
                    found[name] = target
                    self._links += 1
                    if self._links > MOST_LINKS:
                        raise FormatError(f"has more than {MOST_LINKS} objects inside")
        return found

    def _entries(self, tree: int, names: int) -> Iterator[tuple[str, int]]:
        """The leaves of a group's B-tree from left to right: a name, found at `names`, and an address."""
        nodes: list[tuple[int, int | None]] = [(tree, None)]  # and the level that a node must have
        while nodes:
            at, level = nodes.pop()
            if level == -1:
                yield from self._leaf(at, names)
                continue
            self._expect(b"TREE", at)
            kind, found, count = self._unpack("<BBH", at + 4)
            if kind != 0 or level not in (None, found) or count > MOST_CHILDREN:  # so every path ends, after 255 levels
                raise FormatError(f"is damaged: no node of a group at byte {at}")
            children = [self._unpack("<Q", at + 32 + 16 * i)[0] for i in range(count)]
            nodes += [(child, found - 1) for child in reversed(children)]

    def _leaf(self, at: int, names: int) -> Iterator[tuple[str, int]]:
        self._expect(b"SNOD", at)
        (count,) = self._unpack("<H", at + 6)
        for i in range(count):
            offset, target, kind = self._unpack("<QQI", at + 8 + 40 * i)
            name = self._text(names + offset, MOST_TEXT + 1)
            if kind > 1:
                raise FormatError(f"has a link instead of an object, {shown(name)!r}; links are not followed")
            yield name, target

    # -- datasets

    def array(self, address: int, name: str) -> Array:
        """The array of a dataset, as a view of the file's bytes; the name is for errors."""
        name = shown(name)
        parts = {message.kind: message.start for message in self._messages(address)}
        if not {DATASPACE, DATATYPE, LAYOUT} <= parts.keys():
            raise FormatError(f"has something else instead of the array {name}")
        if EXTERNAL in parts or FILTERS in parts:
            raise FormatError(f"has {name} compressed or in another file, as Keras does not write it")
        version, storage = self._unpack("<BB", parts[LAYOUT])
        if version not in (3, 4) or storage != 1:  # not compact, chunked or virtual, but contiguous
            raise FormatError(f"has {name} in pieces (layout {version}.{storage}), as Keras does not write it")
        shape, (dtype, big_endian) = self._shape(parts[DATASPACE]), self._dtype(parts[DATATYPE], name)
        start, size = self._unpack("<QQ", parts[LAYOUT] + 2)
        claimed = math.prod(shape) * itemsize(dtype)
        self._claimed += claimed
        if claimed == 0 or claimed > size or start + claimed > len(self.data) or self._claimed > len(self.data):
            raise FormatError(f"has not the {brief((claimed,))[1:-2]} bytes for {name} of shape {brief(shape)}")
        return strided_view(memoryview(self.data)[start : start + claimed], dtype, shape, big_endian=big_endian)

    def _shape(self, at: int) -> tuple[int, ...]:
        version, axes, _, kind = self._unpack("<BBBB", at)
        if version not in (1, 2) or axes > MOST_AXES or (version == 2 and kind > 1):
            raise FormatError(f"is damaged: no shape at byte {at}")
        return self._unpack(f"<{axes}Q", at + (8 if version == 1 else 4))

    def _dtype(self, at: int, name: str) -> tuple[str, bool]:
        """A name of NumPy's, or "bfloat16", and whether it is big-endian."""
        kind, order, sign, size = self._unpack("<BBBxI", at)
        if kind & 15 == OPAQUE and size == 2:  # how Keras has h5py write bfloat16, which neither of the two knows
            return BFLOAT16, False
        dtype = FLOATS.get(self._unpack("<HHBBBBI", at + 8)) if kind & 15 == FLOAT else None
        if dtype is None or itemsize(dtype) != size or sign != 8 * size - 1 or order & 64:
            raise FormatError(f"must have floats of 16, 32 or 64 bits in {name}; has something else{_QUANTISED}")
        return dtype, bool(order & 1)

    # -- attributes

    def text(self, address: int, name: str, most: int = MOST_TEXT) -> str | None:
        """The attribute of that name of an object; None if it has none, or one that is no single text.

        One of more than `most` bytes is an error.
        """
        for dtype, shape, at in self._attributes(address, name):
            return self._value(dtype, at, most) if self._shape(shape) == () else None
        return None

    def texts(self, address: int, name: str) -> list[str]:
        """The attribute of that name that is a list of texts; empty if there is none."""
        for dtype, shape, at in self._attributes(address, name):
            count, (size,) = self._shape(shape), self._unpack("<I", dtype + 4)
            if len(count) == 1 and count[0] <= MOST_LINKS:
                found = [self._value(dtype, at + size * k, MOST_TEXT) for k in range(count[0])]
                return [text for text in found if text is not None]
        return []

    def _attributes(self, address: int, name: str) -> Iterator[tuple[int, int, int]]:
        """Where the type, the shape and the value of the attributes of that name are."""
        for message in self._messages(address):
            if message.kind != ATTRIBUTE:
                continue
            (version,), lengths = self._unpack("<B", message.start), self._unpack("<HHH", message.start + 2)
            at, starts = message.start + (9 if version == 3 else 8), []
            for length in lengths:  # of the name, the type and the shape; then comes the value
                starts.append(at)
                at += length + (-length % 8 if version == 1 else 0)
            if self._text(starts[0], lengths[0]) == name:
                yield starts[1], starts[2], at

    def _value(self, dtype: int, at: int, most: int) -> str | None:
        kind, flags, size = self._unpack("<BBxxI", dtype)
        if kind & 15 == TEXT:
            return self._text(at, size, most)
        if kind & 15 != VARIABLE_LENGTH or flags & 15 != 1:
            return None
        length, heap, index = self._unpack("<IQI", at)
        self._expect(b"GCOL", heap)
        (end,) = self._unpack("<Q", heap + 8)
        at = heap + 16
        while at + 16 <= heap + end:
            found, size = self._unpack("<HxxxxxxQ", at)
            if found == index:
                return self._text(at + 16, min(length, size), most)
            if found == 0:  # the rest is free
                break
            at += 16 + size + -size % 8  # libhdf5 2.0 lets this be 0, and runs for ever
        raise FormatError(f"is damaged: a text is not in the heap at byte {heap}")
