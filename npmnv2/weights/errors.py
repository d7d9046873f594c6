"""The one error for a file that cannot be read."""


class FormatError(ValueError):
    """A file is not what it should be: damaged, of another format, or made to deceive.

    The message begins with the path and says in one line what is wrong. Whatever a reader of this package meets in a
    file, this is the only error it raises for it; a file that is missing or may not be read is an `OSError` as ever.
    """
