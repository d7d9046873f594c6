"""What a command prints: one JSON document, or one line about what went wrong."""

import json
import math
import sys
from typing import Any


def complain(line: str) -> None:
    """One line on stderr, if there is one."""
    if sys.stderr is not None:  # the shell closed it, as in `... 2>&-`; print would take stdout instead
        print(line, file=sys.stderr)


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
