"""The command line: which command, and its exit status. Results go to stdout, progress to stderr.

The commands are in `cli/`, a file each: parse, call, print.
"""

import os
import sys

if __name__ == "__main__" and (sys.path[0] == "" or sys.path[0] == os.getcwd()):
    del sys.path[0]  # `python -m` puts the folder of the caller first: a random.py in it is not the library's

import argparse
import difflib
import io
import signal
from collections.abc import Mapping

from npmnv2 import __version__

if __name__ == "__main__":
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if on_ctrl_c is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of the imports

from npmnv2.cli import classify, compile, convert, experiment, figures, gradcheck, lab, summary, tour, train
from npmnv2.cli.options import check_options, with_dashes
from npmnv2.cli.output import complain

BELONGS = {  # where a word without an option belongs
    "train": "; what there is to train on is given by --data, with a space in its name in quotes",
    "summary": "; what is in a file of weights is told by convert --explain FILE",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 success, 1 a failed check or bad input, 2 a usage error.

    Examples
    --------
    >>> main(["summary", "--resolution", "0"])      # stderr: npmnv2 summary: --resolution must be at least 1; was 0
    1
    """
    command, status, arguments = "npmnv2", 0, argparse.Namespace()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for is no error
    try:
        arguments = _parsed(sys.argv[1:] if argv is None else argv)
        command = f"npmnv2 {arguments.command}"
        check_options(arguments)
        status = arguments.run(arguments)
    except SystemExit as stop:  # argparse has printed the help or a usage error
        status = int(stop.code or 0)
    except BrokenPipeError:  # the reader of a pipe has what it wanted, as in `... | head`
        status = 0
    except KeyboardInterrupt as stop:
        complain(str(stop) or "stopped")
        status = 130
    except (ValueError, TypeError, OSError, MemoryError) as error:
        line = with_dashes(str(error), vars(arguments))
        if isinstance(error, OSError) and error.filename is not None:  # [Errno 2] No such file or directory: 'a.pth'
            line = f"{error.filename}: {error.strerror}"
        complain(f"{command}: {line or 'out of memory'}")
        status = 1
    except ImportError as error:
        if error.name is not None:  # a mistake of ours; a reader that needs another library says so itself
            raise
        complain(f"{command}: {error}")
        status = 1
    return _flush(command, status)


def _parsed(words: list[str]) -> argparse.Namespace:
    """The words of a command line; what is wrong with them is said under the usage of the command."""
    parser, commands = _parsers()
    if words and not words[0].startswith("-") and words[0] not in commands:
        near = [f" (did you mean {name}?)" for name in difflib.get_close_matches(words[0], commands, 1)]
        parser.error(f"COMMAND must be one of {', '.join(commands)}; was {words[0]!r}{''.join(near)}")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        hint = "" if unknown[0].startswith("-") else BELONGS.get(arguments.command, "")
        commands.get(arguments.command, parser).error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return arguments if arguments.command else parser.parse_args(["tour"])


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command line, and that of each command."""
    parser = argparse.ArgumentParser(
        prog="python -m npmnv2",
        description="MobileNetV2 in plain NumPy, to be read, checked and timed. Without a command: the tour.",
        epilog="COMMAND --help explains a command. Exit status: 0 success, 1 a failed check or bad input, 2 bad usage.",
    )
    parser.add_argument("--version", action="version", version=f"npmnv2 {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in (tour, summary, gradcheck, train, classify, convert, compile, figures, experiment, lab):
        command.add_to(commands)
    return parser, commands.choices


def _flush(command: str, status: int) -> int:
    """Write out what is still held back, here and not as Python exits, when it would print a traceback if it failed."""
    if sys.stdout is None:  # the shell closed it, as in `... >&-`
        return status
    try:
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk; if it was full before, that has been said
        if status == 0:
            complain(f"{command}: {error}")
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGINT, on_ctrl_c)
    sys.exit(main())
