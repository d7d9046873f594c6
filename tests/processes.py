"""Processes that tests start, terminals, memory: what differs from system to system, and with who started the tests."""

import contextlib
import errno
import os
import signal
import sys

import pytest

# Of tests about what only Unix has: signals to other processes, terminals as files, named pipes.
unix = pytest.mark.skipif(os.name == "nt", reason="Windows has nothing of the kind")
# Of tests about names of files that are no text; elsewhere a name is one.
raw_names = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")


@contextlib.contextmanager
def ctrl_c_works():
    """A process started inside obeys Ctrl-C, though ours may have been started with it ignored, as by `nohup ... &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def open_terminal():
    """Both ends of a terminal of 24 lines by 80 columns: what a window is, to the process in it."""
    import fcntl
    import pty
    import struct
    import termios

    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    return terminal, end


def read_terminal(terminal, until=None):
    """What comes out of a terminal until these words have come, or else until its other end is closed.

    It comes in parts: what one call has written may take several to read.
    """
    shown = b""
    while until is None or until not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError as error:  # as Linux says that nobody holds the other end any more
            if error.errno != errno.EIO:
                raise
            part = b""
        if not part:
            assert until is None, f"the terminal was closed before {until!r} came: {shown!r}"
            break
        shown += part
    return shown


def peak_memory():
    """The most bytes of memory that this process has ever had; 0 where nobody tells."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
