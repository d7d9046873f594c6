"""`python -m npmnv2 compile`: what networks run is compiled now, side by side, not one by one when it is first used."""

import argparse
import contextlib
import time

from npmnv2.cli.output import complain


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    command = commands.add_parser(
        "compile", help="compile what networks run, now and on all cores, not when it is first used"
    )
    command.add_argument("--processes", type=int, metavar="N", help="at a time (default: one for each core)")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2 import ahead

    names, start = ahead.possible(), time.perf_counter()
    processes = min(arguments.processes or ahead.cores(), len(names))
    ahead.compile_ahead(names, processes, _show)
    _show(f"together, {processes} at a time", time.perf_counter() - start)
    return 0


def _show(what: str, seconds: float) -> None:
    print(f"{what:<30}{seconds:>6.1f} s", flush=True)


def first_time(names: tuple[str, ...]) -> None:
    """Compile those of these jobs that were never done. What fails is done when it is first used, which tells why."""
    from npmnv2 import ahead

    missing = ahead.missing(names)
    if missing:
        complain("Compiling the kernels, this once: half a minute to a minute.")
        with contextlib.suppress(OSError):
            ahead.compile_ahead(missing, ahead.cores())
