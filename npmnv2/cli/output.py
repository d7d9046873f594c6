"""What a command prints: one JSON document, or one line about what went wrong."""

import json
import math
import sys
from typing import Any


def complain(line: str) -> None:
    """One line on stderr, if there is one; what a terminal would obey, which a file's name may hold, as escapes."""
    if sys.stderr is not None:  # the shell closed it, as in `... 2>&-`; print would take stdout instead
        shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in line)
        print(shown, file=sys.stderr)


def printable(line: str) -> str:
    """Without what a terminal would obey, which a file's name or what a program printed may hold.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a[2Jb'
    """
    return "".join(c for c in line if c.isprintable())


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout."""
    print(json.dumps(_strict(document), indent=2))


def _strict(value: Any) -> Any:
    """The same, with null for NaN and infinity: JSON has no word for them, though Python's json writes one."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
