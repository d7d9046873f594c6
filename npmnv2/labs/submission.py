"""From a file as somebody hands it in to a verdict."""

import importlib.util
import os
import stat

from npmnv2.labs.grade import Verdict, grade, not_run
from npmnv2.labs.lab import Lab
from npmnv2.labs.notebook import Source, Unusable, is_notebook, joined
from npmnv2.labs.process import LIMIT

LARGEST = 1 << 19  # bytes of a file, or of a notebook's code
LARGEST_NOTEBOOK = 32 << 20  # bytes of a notebook: it holds pictures


class Unreadable(ValueError):
    """The file is none, or no text; `cause` is the verdict's."""

    def __init__(self, cause: str, says: str) -> None:
        super().__init__(says)
        self.cause = cause


def judge(lab: Lab, path: str, limit: float = LIMIT) -> Verdict:
    """The verdict on a file.

    Parameters
    ----------
    lab : Lab
    path : str
        A file that cannot be read has a verdict too, which says why.
    limit : float
        Seconds that one call may take.
    """
    try:
        source = _source(path)
    except Unreadable as error:
        return not_run(lab, error.cause, str(error))
    return grade(lab, source.code, path, limit)._replace(source=source)


def _source(path: str) -> Source:
    if not is_notebook(path):
        return Source(text(read(path)))
    try:
        source = joined(read(path))
    except Unusable as error:
        raise Unreadable("not-a-notebook", str(error)) from None
    if len(source.code) > LARGEST:
        raise Unreadable("not-a-notebook", f"The code has more than {LARGEST:,} bytes; a lab needs a few thousand.")
    return source


def read(path: str) -> bytes:
    """The bytes of a file; Unreadable if it is none, or too large."""
    largest = LARGEST_NOTEBOOK if is_notebook(path) else LARGEST
    try:
        with open(path, "rb", opener=_plain) as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise Unreadable("not-a-file", f"The file cannot be read: {error.strerror}.") from None
    if len(data) > largest:
        raise Unreadable("not-a-file", f"The file has more than {largest:,} bytes; a lab needs a few thousand.")
    return data


def _plain(path: str, flags: int) -> int:
    """Open without waiting for the other end, should it be a pipe."""
    number = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(number).st_mode):
        return number
    os.close(number)
    raise OSError(0, "it is no plain file")


def text(data: bytes) -> str:
    """The text of a Python file: UTF-8, with or without a mark at its beginning, or as its coding line says."""
    try:
        return importlib.util.decode_source(data)
    except (SyntaxError, UnicodeError, LookupError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise Unreadable("syntax", f"The file is no text in UTF-8 ({reason}): save it as UTF-8.") from None
