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
from npmnv2.files import BFLOAT16, FormatError, format_errors, shown, strided_view
from npmnv2.validate import Array
from npmnv2.weights.formats.raw import no_name_twice, storable

HEADER_BYTES = 1 << 20  # with room for some ten thousand tensors
DTYPES = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": BFLOAT16}
DTYPES |= {f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (64, 32, 16, 8)}
DTYPES["BOOL"] = "bool"


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """All tensors, and the metadata: often ``{"format": "pt"}``, or empty."""
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
    """Write floats, integers or booleans, and the metadata.

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
