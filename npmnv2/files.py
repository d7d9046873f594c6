"""Files from anywhere, read with care: one kind of error, zip archives, and arrays laid over the bytes of a file.

Of weights, and of data sets that come as an .npz. What a file claims is compared with its size before it is believed.
"""

import contextlib
import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator

import numpy as np

from npmnv2.validate import Array

BFLOAT16 = "bfloat16"  # a dtype that NumPy lacks; every other one goes by NumPy's own name
MOST_AXES = 32  # of NumPy 1; NumPy 2 has 64
DIRECTORY_BYTES = 1 << 20  # of a zip archive, with room for some ten thousand members
MOST_UNPACKED = 16  # times the file's size; float32 weights of which 95 % were pruned shrink to a seventh
BLOCK_BYTES = 1 << 16  # unpacked in one step
_SIZES = {"uint": (8, 16, 32, 64), "int": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64, 128)}
DTYPES = frozenset({"bool", *(f"{kind}{bits}" for kind, sizes in _SIZES.items() for bits in sizes)})  # of an .npz
# The header of an .npy file as NumPy writes it, of any version: a dtype, the order of the axes, a shape; L by Python 2.
_NPY = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)\{'descr': '([<>|])([^']{1,20})', "
    rb"'fortran_order': (False|True), 'shape': \((\d{1,19}L?,|\d{1,19}L?(?:, \d{1,19}L?)+|)\), \} *\n",
    re.DOTALL,
)

# What damaged and hostile files make Python and its libraries raise; a Warning where it runs as `python -W error`.
# No OSError: a disk that fails is no fault of the file.
_OF_PYTHON = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, EOFError, Warning)
_DAMAGE = (*_OF_PYTHON, struct.error, zipfile.BadZipFile, zlib.error)


class FormatError(ValueError):
    """A file is not what it should be: damaged, of another format, or made to deceive.

    The message begins with the path and says in one line what is wrong. Whatever a reader of this package meets in a
    file, this is the only error it raises for it; a file that is missing or may not be read is an `OSError` as ever.

    Examples
    --------
    >>> raise FormatError("model.pth: ends in the middle of a tensor")
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: model.pth: ends in the middle of a tensor
    """


@contextlib.contextmanager
def format_errors(path: str | os.PathLike[str], *others: type[Exception]) -> Iterator[None]:
    """Whatever a reader raises about the content of a file becomes a `FormatError` that begins with the file's path.

    Parameters
    ----------
    path : str or path-like
    *others : exception classes
        Errors of a library, beside those of Python's own.

    Examples
    --------
    >>> with format_errors("model.pth"):
    ...     raise FormatError("ends in the middle of a tensor")
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: model.pth: ends in the middle of a tensor
    >>> with format_errors("model.pth"):
    ...     raise KeyError("data/3")
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: model.pth: is damaged (KeyError: 'data/3')
    """
    damage: tuple[type[Exception], ...] = (*_DAMAGE, *others)
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    except damage as error:
        raise FormatError(f"{path}: is damaged ({type(error).__name__}: {shown(str(error), 200)})") from None


def shown(text: str, most: int = 60) -> str:
    r"""Text from a file, fit for one line of an error: no line breaks, no control characters, not endless.

    Examples
    --------
    >>> print(shown("two\nlines"), shown("long" * 99, 8))
    two\nlines longlong...
    """
    cut = text[:most] + ("..." if len(text) > most else "")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def listed(parts: Iterable[str], most: int = 5) -> str:
    """The first few of a list, and whether there are more.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2), listed([])
    ('a, b, ...', '')
    """
    parts = list(parts)
    return ", ".join(parts[:most]) + ", ..." * (len(parts) > most)


def check_no_pipe(path: str | os.PathLike[str]) -> None:
    """Raise FormatError for a pipe or a device: to open a pipe is to wait, maybe for ever, for who writes into it.

    Examples
    --------
    >>> check_no_pipe(os.devnull)
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: /dev/null: is no file, but a pipe or a device
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise FormatError(f"{os.fspath(path)}: is no file, but a pipe or a device")


class FrugalFile(io.FileIO):
    """A file that refuses to hand out much at once: `zipfile` reads as much as the file itself says it should.

    Nor does it go where the file says if that is outside of it.

    Parameters
    ----------
    path : str or path-like
    most : int
        Bytes that one `read` may return, until `allow_all` is called.

    Raises
    ------
    FormatError
        When more is wanted.

    Examples
    --------
    >>> with FrugalFile(__file__, most=100) as file:
    ...     _ = file.read(10**9)
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: has a part of 1000000000 bytes where 100 are much
    """

    def __init__(self, path: str | os.PathLike[str], most: int) -> None:
        check_no_pipe(path)
        super().__init__(os.fspath(path), "rb")
        self.bytes = os.fstat(self.fileno()).st_size
        self.most = most

    def allow_all(self) -> None:
        """Hand out as much as there is: for when what the file says of itself has been compared with its size."""
        self.most = self.bytes + 4096  # what zipfile reads at least

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= self.bytes:  # else an OSError, as of a broken disk
            raise FormatError("is damaged: something in it should lie outside of it")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        wanted = max(0, self.bytes - self.tell()) if size is None or size < 0 else size
        if wanted > self.most:
            raise FormatError(f"has a part of {wanted} bytes where {self.most} are much")
        return super().read(wanted) or b""


class Archive:
    """A zip archive, compressed or not, of which is known what it unpacks to: the one reader of all that are zip files.

    Attributes
    ----------
    sizes : dict of name -> int
        The members, in the order of the directory, and the bytes that `read` returns.

    Parameters
    ----------
    file : FrugalFile
    most : int, optional
        Bytes that all of it may unpack to, instead of `MOST_UNPACKED` times the file's and a mebibyte.
    wanted : collection of str, optional
        The members that `most` is about, where no other will be read.

    Raises
    ------
    FormatError
        If two members have one name, one is encrypted or compressed otherwise than zip files usually are, or they claim
        more than there is: all of them together the file's bytes, and `most` when unpacked.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     np.savez_compressed(file, w=np.zeros(3))
    ...     archive = Archive(FrugalFile(file.name, DIRECTORY_BYTES))
    ...     archive.sizes, archive.read("w.npy")[:6]
    ({'w.npy': 152}, bytearray(b'\\x93NUMPY'))
    """

    def __init__(self, file: FrugalFile, most: int | None = None, wanted: Collection[str] | None = None) -> None:
        self._zip = zipfile.ZipFile(file)
        self.sizes: dict[str, int] = {}
        packed = 0
        for member in self._zip.infolist():
            name = shown(member.filename)
            if member.filename in self.sizes:
                raise FormatError(f"has two members called {name}")
            if member.flag_bits & 1:
                raise FormatError(f"is encrypted ({name}): save it without a password")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FormatError(f"is compressed ({name}) in a way that is not read; zip's usual one, deflate, is")
            if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
                raise FormatError(f"is damaged: {name} has two sizes")
            self.sizes[member.filename] = member.file_size
            packed += member.compress_size
        if packed > file.bytes:
            raise FormatError(f"is damaged: its members claim {packed} bytes, the file has {file.bytes}")
        claimed = sum(size for name, size in self.sizes.items() if wanted is None or name in wanted)
        most = MOST_UNPACKED * file.bytes + (1 << 20) if most is None else most
        if claimed > most:
            raise FormatError(f"would unpack to {claimed} bytes; from a file of {file.bytes}, {most} are the most")
        file.allow_all()

    def read(self, name: str) -> bytearray:
        """The content of a member, never more than it claims; `zipfile` compares the checksum at its end."""
        content, end = bytearray(self.sizes[name]), 0
        with self._zip.open(name) as file:
            while block := file.read(BLOCK_BYTES):
                start, end = end, end + len(block)
                if end > len(content):
                    break
                content[start:end] = block
        if end != len(content):
            raise FormatError(f"is damaged: {shown(name)} is not as long as it claims")
        return content

    def array(self, name: str) -> Array:
        """The array in the member `name`.npy, as a view of its bytes, which are read once its size is known.

        NumPy's own `read_array` evaluates the header as a Python literal and allocates what it claims.
        """
        member = f"{name}.npy"
        with self._zip.open(member) as file:
            header = _NPY.match(file.read(BLOCK_BYTES))
        if header is None:
            raise FormatError(f"is damaged: the array {shown(name)} has a header that is never written")
        order, code, is_fortran, lengths = (part.decode("latin-1") for part in header.groups())
        if not re.fullmatch("[biufc][1248]6?", code):
            raise FormatError(f"has the array {shown(name)} of {shown(order + code)}, which are no numbers")
        dtype = np.dtype(code)
        shape = tuple(int(length.rstrip("L")) for length in lengths.split(",") if length.strip())
        there = self.sizes[member] - header.end()
        if dtype.name not in DTYPES or len(shape) > MOST_AXES or math.prod(shape) * dtype.itemsize != there:
            raise FormatError(f"is damaged: the array {shown(name)} has {there} bytes and claims others")
        numbers = memoryview(self.read(member))[header.end() :]
        strides = contiguous(shape[::-1])[::-1] if is_fortran == "True" else None
        return strided_view(numbers, dtype.name, shape, strides, big_endian=order == ">")


def itemsize(dtype: str) -> int:
    """Bytes of one number in the file.

    Examples
    --------
    >>> itemsize("bfloat16"), itemsize("float64")
    (2, 8)
    """
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def strided_view(
    buffer: bytes | bytearray | memoryview,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
    big_endian: bool = False,
) -> Array:
    """An array over bytes that are there already: as large as it claims to be, it takes no memory of its own.

    Only bfloat16, which NumPy does not know, and the byte order of another machine need a copy.

    Parameters
    ----------
    buffer : bytes-like
    dtype : str
        A name of NumPy's, or "bfloat16", which becomes float32.
    shape : tuple of int
    strides : tuple of int, optional
        In elements, as PyTorch has them; without it the elements lie in order.
    offset : int
        In elements.
    big_endian : bool
        How the bytes lie in the buffer. The array has the byte order of this machine.

    Raises
    ------
    FormatError
        If any element would lie outside the buffer.

    Examples
    --------
    >>> strided_view(bytes([0, 1, 2, 3, 4, 5]), "uint8", (3, 2), strides=(1, 3)).tolist()      # a transposed (2, 3)
    [[0, 3], [1, 4], [2, 5]]
    >>> strided_view(bytes([0, 1]), "uint8", (2, 2))
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: a tensor of shape (2, 2) reaches beyond the 2 bytes that are there
    >>> strided_view(bytes([0x80, 0x3F]), "bfloat16", ()).item()       # the upper half of a float32
    1.0
    """
    if strides is None:
        strides = contiguous(shape)
    size = itemsize(dtype)
    stored = np.dtype("uint16" if dtype == BFLOAT16 else dtype).newbyteorder(">" if big_endian else "<")
    if 0 in shape:  # no element, so none lies outside
        return np.zeros(shape, "float32" if dtype == BFLOAT16 else dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (last + 1) * size > len(buffer):
        raise FormatError(f"a tensor of shape {brief(shape)} reaches beyond the {len(buffer)} bytes that are there")
    steps = [s * size if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]  # in bytes
    view: Array = np.ndarray(shape, stored, buffer, offset * size, steps)  # NumPy checks the bounds again
    if dtype == BFLOAT16:
        bits = view.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    native = view.astype(stored.newbyteorder("="), copy=False)
    native.flags.writeable = False
    return native


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of an array whose elements lie in order.

    Examples
    --------
    >>> contiguous((32, 3, 3, 3))
    (27, 9, 3, 1)
    """
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def brief(shape: tuple[int, ...]) -> str:
    """A shape for an error message; digits beyond any array's are left out.

    Examples
    --------
    >>> print(brief((32, 1, 10**30)))
    (32, 1, 1e+30)
    """
    parts = [str(n) if abs(n) < 1 << 64 else f"{n:.3g}" for n in shape[:MOST_AXES]]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
