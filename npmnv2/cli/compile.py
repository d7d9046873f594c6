"""`python -m npmnv2 compile`: what networks run is compiled now, side by side, not one by one when it is first used."""

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence

from npmnv2.cli.output import complain

EVERY = 10.0  # seconds between two lines where they do not overwrite each other


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    command = commands.add_parser(
        "compile", help="compile what networks run, now and side by side, not when it is first used"
    )
    command.add_argument(
        "--processes", type=int, metavar="N", help="at a time (default: one for each core, up to four)"
    )
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.engine import compilation

    names, start = list(compilation.JOBS), time.perf_counter()
    processes = min(arguments.processes or compilation.cores(), len(names))
    waiting = Waiting(names, processes)
    with waiting:
        compilation.compile_jobs(names, processes, waiting.done, waiting.wait)
    _show(f"together, {processes} at a time", time.perf_counter() - start)
    return 0


def _show(what: str, seconds: float) -> None:
    print(f"{what:<30}{seconds:>6.1f} s", flush=True)


def first_time(names: Sequence[str]) -> None:
    """Compile those of these jobs that were never done. What fails is done when it is first used, which tells why."""
    from npmnv2.engine import compilation

    missing = compilation.missing(names)
    if missing:
        processes = min(compilation.cores(), len(missing))
        waiting = Waiting(missing, processes)
        complain(f"Compiling the kernels, once: {waiting.left()}. (--backend numpy needs none.)")
        with waiting, contextlib.suppress(OSError):
            compilation.compile_jobs(missing, processes, wait=waiting.wait)


class Waiting:
    """What there is to wait for, on stderr: a line that is overwritten on a terminal, else one every ten seconds.

    How fast this machine compiles is known when the first job is done; until then it is taken for the one on which
    all jobs together took about a minute of one core.
    """

    def __init__(self, names: Sequence[str], processes: int) -> None:
        from npmnv2.engine.compilation import JOBS

        self._shares = {name: JOBS[name].share for name in names}
        self._processes, self._seconds_of_one = processes, 0.65
        self._start = self._said = time.perf_counter()

    def left(self) -> str:
        """The time left, in words."""
        total = max(sum(self._shares.values()) / self._processes, max(self._shares.values())) * self._seconds_of_one
        left = total - (time.perf_counter() - self._start)
        if left < 10:
            return "some seconds left" if left > 0 else "longer than expected, a busy machine or a slow one"
        return f"about {10 * round(left / 10)} s left"

    def done(self, name: str, seconds: float) -> None:
        """One job is done: a line on stdout, and a better estimate."""
        self._clear()
        _show(name, seconds)
        self._seconds_of_one = max(seconds / self._shares[name], 0.05)

    def wait(self) -> None:
        """Say that it is not over, if nothing was said for a while."""
        now, terminal = time.perf_counter(), _is_terminal()
        if now - self._said < (1 if terminal else EVERY):
            return
        self._said = now
        line = f"compiling for {now - self._start:.0f} s, {self.left()}"
        if terminal:
            print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
        else:
            complain(line)

    def _clear(self) -> None:
        if _is_terminal():
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
