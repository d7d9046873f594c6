"""Files are written whole or not at all: what is killed in the middle of a save leaves the file that was there before.

A new file is written beside the old one and takes its place in one step (`os.replace`), once its bytes have reached the
disk. A process that is killed before that leaves a temporary file behind; the next save of the same target removes it.
A writer holds a lock (`flock`) on its temporary, which the system releases when the process ends in whatever way: so
a temporary that can be locked has no living writer.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, which refuses to remove an open file: that is as good as a lock
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".tmp-npmnv2"
MOST_LETTERS = 55  # of the target's name in a temporary's, which must not be too long where the target's is not


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file for writing that appears under its name when the block ends, complete, or not at all.

    Parameters
    ----------
    path : str or path-like
        A file that exists is replaced. A symbolic link stays and what it points to is replaced.

    Yields
    ------
    binary file
        A temporary in the same folder. On any error in the block it is removed and the old file stays as it was.

    Raises
    ------
    OSError
        With the path in its message: there is no such folder, the path is a folder or a device, may not be written,
        the disk is full, ...

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "model.npz")
    >>> with writing(path) as file:
    ...     _ = file.write(b"first")
    >>> with writing(path) as file:
    ...     _ = file.write(b"half of the sec")
    ...     raise RuntimeError("stopped")
    Traceback (most recent call last):
        ...
    RuntimeError: stopped
    >>> path.read_bytes(), [file.name for file in path.parent.iterdir()]
    (b'first', ['model.npz'])
    >>> folder.cleanup()
    """
    target, file = os.path.realpath(path), None
    try:
        _check(target)
        _sweep(target)
        file = _create(target)
        yield file
        file.flush()
        os.fsync(file.fileno())  # else the name could reach the disk before the bytes
        if fcntl is None:
            file.close()  # Windows moves no open file
        os.replace(file.name, target)  # before the lock goes
        file.close()
        _sync(os.path.dirname(target))
    except BaseException as error:
        if file is not None:
            with contextlib.suppress(OSError):  # of a full disk, again
                file.close()
            with contextlib.suppress(OSError):
                os.remove(file.name)
        if isinstance(error, OSError) and error.errno and _is_about(error, target):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # not the temporary's name
        raise


def _is_about(error: OSError, target: str) -> bool:
    return error.filename is None or error.filename == target or str(error.filename).endswith(SUFFIX)


def _check(target: str) -> None:
    """Nothing but a file is replaced: as root, moving a file over /dev/null would be possible."""
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "No such folder", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "Is a folder", target)
    if os.path.islink(target):  # `realpath` followed all others
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EINVAL, "Is not a regular file", target)


def _create(target: str) -> BinaryIO:
    folder, name = os.path.split(target)
    while True:
        file = open(os.path.join(folder, f".{name[:MOST_LETTERS]}.{secrets.token_hex(4)}{SUFFIX}"), "xb")  # noqa: SIM115
        if _lock(file) is not False and os.path.exists(file.name):
            return file
        file.close()  # the sweep of another process came between open and lock


def _lock(file: BinaryIO) -> bool | None:
    """Whether the lock was free and is now ours; None where files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:  # some network drives
        return None


def _sweep(target: str) -> None:
    """Remove the temporaries that killed processes left of this target."""
    folder, name = os.path.split(target)
    stale = re.compile(rf"\.{re.escape(name[:MOST_LETTERS])}\.[0-9a-f]{{8}}{re.escape(SUFFIX)}")
    for entry in os.listdir(folder):
        if stale.fullmatch(entry):
            with contextlib.suppress(OSError):  # another process was faster, or it belongs to somebody else
                _remove_if_dead(os.path.join(folder, entry))


def _remove_if_dead(temporary: str) -> None:
    if fcntl is None:
        os.remove(temporary)
        return
    with open(temporary, "r+b") as file:
        if _lock(file):
            os.remove(temporary)


def _sync(folder: str) -> None:
    """Make the new name itself survive a loss of power, where the system can be asked to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
