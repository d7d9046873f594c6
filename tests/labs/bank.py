"""What a bank of mistakes is made of: a right solution, and what is wrong in it."""

from typing import NamedTuple


class Wrong(NamedTuple):
    """A wrong version, and the cause by which it must be named."""

    name: str
    cause: str
    source: str


def edited(source, *changes):
    """A source with pieces of it replaced; each must be there once."""
    for old, new in changes:
        assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
        source = source.replace(old, new)
    return source
