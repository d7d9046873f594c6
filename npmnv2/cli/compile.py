"""`python -m npmnv2 compile`: what networks run is compiled now, side by side, not one by one when it is first used."""

import argparse
import time

from npmnv2.cli.waiting import Waiting, show_seconds


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
    show_seconds(f"together, {processes} at a time", time.perf_counter() - start)
    return 0
