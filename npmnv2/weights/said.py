"""What is said of a file: sentences, and whether they are worth saying each time."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Usual(str):
    """A sentence that holds of every file that a library writes of its own networks: told only who asks."""


class Said(NamedTuple):
    """What a file says beside its arrays."""

    config: Mapping[str, Any] = {}  # arguments of the builder
    info: Mapping[str, Any] = {}
    assumed: tuple[str, ...] = ()  # what it does not say and was guessed, a sentence each
    left_out: tuple[str, ...] = ()  # what it has and no network here, a sentence each
    unread: str = ""  # why its classifier is none of ours, if it is not
