"""The one error for a file that cannot be read, from where every reader has it."""

from npmnv2.files import FormatError

__all__ = ["FormatError"]
