"""What the library says of a file of weights, in the words of the command line."""

import contextlib
import re
from collections.abc import Iterator


@contextlib.contextmanager
def worded() -> Iterator[None]:
    """Inside, what an error says to do can be typed.

    Examples
    --------
    >>> with worded():
    ...     raise ValueError("padding must be 1 for names='timm'; was 'same'")
    Traceback (most recent call last):
        ...
    ValueError: padding must be 1 for --names timm; was 'same'
    """
    from npmnv2.weights.head import ONLY_NETWORK

    try:
        yield
    except ValueError as error:
        said = re.sub(r"\bnames='(\w+)'", r"--names \1", str(error))
        raise ValueError(said.replace(ONLY_NETWORK, "train --init takes the network below the classifier")) from None
