"""What the library says of a file of weights, in the words of the command line."""

import contextlib
import re
from collections.abc import Iterator

ARGUMENTS = re.compile(r"(^|; )(names|preprocessing|size|resize|mean|std)(?= must be )")  # that are options


@contextlib.contextmanager
def worded(path: str) -> Iterator[None]:
    """Inside, errors call options what they are, and begin with the file if the system says them: by default `path`.

    Examples
    --------
    >>> with worded("model.pth"):
    ...     raise ValueError("padding must be 1 for names='timm'; was 'same'")
    Traceback (most recent call last):
        ...
    ValueError: padding must be 1 for --names timm; was 'same'
    """
    from npmnv2.show.classify import complaint, printable
    from npmnv2.weights.head import ONLY_NETWORK

    try:
        yield
    except ValueError as error:
        said = ARGUMENTS.sub(r"\1--\2", str(error))
        said = re.sub(r"\bnames='(\w+)'", r"--names \1", said)
        raise ValueError(said.replace(ONLY_NETWORK, "train --init takes the network below the classifier")) from None
    except OSError as error:
        raise ValueError(printable(complaint(path if error.filename is None else error.filename, error))) from None
