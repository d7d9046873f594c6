"""`python -m npmnv2 compile`: all kernels compiled now, side by side, not one after the other when first used."""

import argparse
import contextlib
import time

from npmnv2.cli.output import complain


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    command = commands.add_parser("compile", help="compile all kernels now, side by side, not when they are first used")
    command.add_argument("--processes", type=int, metavar="N", help="at a time (default: one for each core)")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2 import ahead

    names, start = ahead.possible(), time.perf_counter()
    processes = min(arguments.processes or ahead.cores(), len(names))
    ahead.compile_ahead(names, processes, lambda name, seconds: print(f"{name:<30}{seconds:>6.1f} s", flush=True))
    together = f"together, {processes} at a time"
    print(f"{together:<30}{time.perf_counter() - start:>6.1f} s")
    return 0


def first_time(names: tuple[str, ...]) -> None:
    """Compile those of these jobs that were never done. What fails is done when it is first used, which tells why."""
    from npmnv2 import ahead

    missing = ahead.missing(names)
    if missing:
        complain("The first time the kernels are compiled, which takes half a minute or a whole one.")
        with contextlib.suppress(OSError):
            ahead.compile_ahead(missing, ahead.cores())
