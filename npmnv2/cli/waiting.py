"""Waiting for kernels that compile: what is said meanwhile, for `compile` and for `train`."""

import contextlib
import sys
import time
from collections.abc import Sequence

from npmnv2.cli.output import complain

EVERY = 10.0  # seconds between two lines where they do not overwrite each other


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


def show_seconds(what: str, seconds: float) -> None:
    """How long something took: a line on stdout."""
    print(f"{what:<30}{seconds:>6.1f} s", flush=True)


class Waiting:
    """What there is to wait for, on stderr: a line that is overwritten on a terminal, else one every ten seconds.

    How fast this machine compiles is known when the first job is done; until then it is taken for the one on which
    all jobs together took about two minutes of one core.
    """

    def __init__(self, names: Sequence[str], processes: int) -> None:
        from npmnv2.engine.compilation import JOBS

        self._shares = {name: JOBS[name].share for name in names}
        self._processes, self._seconds_of_one = processes, 1.3
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
        show_seconds(name, seconds)
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
