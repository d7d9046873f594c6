"""What the readers of weights share, beside what all files are read with (`npmnv2.files`)."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np

from npmnv2.files import FormatError, shown
from npmnv2.validate import Array, check_plain


def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`, which takes the last of two entries of one name.

    Examples
    --------
    >>> no_name_twice([("w", 1), ("w", 2)])
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: has two entries called w
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise FormatError(f"has two entries called {shown(name)}")
    return found


def storable(name: object, value: object, dtypes: Collection[str]) -> Array:
    """An array as files hold it: contiguous, little-endian. A copy only where it must be one.

    Raises
    ------
    TypeError
        If the name is no string, or the value no plain array of one of the dtypes.

    Examples
    --------
    >>> storable("w", np.ones((2, 3), ">f4").T, ["float32"]).strides
    (8, 4)
    """
    if not isinstance(name, str):
        raise TypeError(f"arrays must have names that are strings; one was {name!r}")
    array = check_plain(value, f"arrays[{name!r}]")
    if array.dtype.name not in dtypes:
        must = "be of floats, integers or booleans that the format knows"
        raise TypeError(f"arrays[{name!r}] must {must}; was {array.dtype}")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")
