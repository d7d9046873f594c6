"""Hugging Face's .safetensors, read and written with the library `safetensors` (the extra ``npmnv2[weights]``).

The simplest of the formats: 8 bytes with the length of the header, the header, and the numbers.

    8 bytes   88, little-endian
    88 bytes  {"conv.weight": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}, "__metadata__": {...}}
    24 bytes  six float32, little-endian, in C order

No strides, no shared memory, no code: whatever can be said in it is harmless, but for the sizes. The library sees to it
that the tensors fill the file without gaps and without an overlap, so they are never larger than the file. Left to
check here are the length of the header, before anything is made of it, and names that stand in it twice.

Two things the library does not do. It writes the memory of an array as it lies, so that a transposed array comes out as
another one, without an error; here every array is put in order first. And NumPy has no bfloat16; it is read as float32.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from npmnv2.atomic import writing
from npmnv2.validate import Array
from npmnv2.weights.errors import FormatError
from npmnv2.weights.formats.raw import BFLOAT16, format_errors, no_name_twice, shown, storable, strided_view

HEADER_BYTES = 1 << 20  # with room for some ten thousand tensors
DTYPES = {
    "F32": "float32",
    "F64": "float64",
    "F16": "float16",
    "BF16": BFLOAT16,
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Read all tensors and the metadata.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    arrays : dict of name -> ndarray
        In the order of the file. bfloat16 as float32, exactly; all others as they are. Read-only.
    metadata : dict of str -> str
        Often ``{"format": "pt"}``, or empty.

    Raises
    ------
    FormatError
        For anything that is no such file, or a damaged one.
    ImportError
        Without the library.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.safetensors")
    >>> write(path, {"bias": np.array([0.5, -0.5], np.float32)}, {"format": "pt"})
    >>> read(path)
    ({'bias': array([ 0.5, -0.5], dtype=float32)}, {'format': 'pt'})
    >>> folder.cleanup()
    """
    library = _library()
    with open(path, "rb") as file, format_errors(path, library.SafetensorError):
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
        if size < 8 or length > size - 8:
            raise FormatError("is no .safetensors file, or its end is missing: the header would not fit")
        if length > HEADER_BYTES:
            raise FormatError(f"has a header of {length} bytes; {HEADER_BYTES} is room for ten thousand tensors")
        header = json.loads(file.read(length).decode(), object_pairs_hook=no_name_twice)
        file.seek(0)
        data = file.read(size)
        tensors = dict(library.deserialize(data))  # copies, in no order
        del data
        metadata = header.pop("__metadata__", None) or {}
        return {name: _array(name, tensors[name]) for name in header}, metadata


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write a .safetensors file.

    Parameters
    ----------
    path : str or path-like
        Replaced in one step when all is written (`atomic.writing`).
    arrays : mapping of name -> ndarray
        Floats, integers or booleans, in any memory layout; they are written in C order.
    metadata : mapping of str -> str, optional

    Raises
    ------
    TypeError
        If a name or a part of the metadata is no string, or an array is none or of a dtype that the format has not.
    ImportError
        Without the library.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> write("model.safetensors", {"weight": [1.0, 2.0]})
    Traceback (most recent call last):
        ...
    TypeError: arrays['weight'] must be a NumPy array; was list
    """
    _library()
    from safetensors.numpy import save

    for text in [*arrays, *(metadata or {}), *(metadata or {}).values()]:
        if not isinstance(text, str):
            raise TypeError(f"arrays and metadata must have names and texts that are strings; one was {text!r}")
    stored = {name: storable(name, value, DTYPES.values()) for name, value in arrays.items()}
    data = save(stored, dict(metadata) if metadata else None)
    with writing(path) as file:
        file.write(data)


def _library() -> Any:
    try:
        import safetensors
    except ImportError:
        raise ImportError(".safetensors files need the library safetensors: pip install 'npmnv2[weights]'") from None
    return safetensors


def _array(name: str, tensor: dict[str, Any]) -> Array:
    if tensor["dtype"] not in DTYPES:
        raise FormatError(f"has {shown(name)} as {shown(str(tensor['dtype']))}; known are {', '.join(DTYPES)}")
    return strided_view(tensor["data"], DTYPES[tensor["dtype"]], tuple(tensor["shape"]))
