"""What the forms of `python -m npmnv2 lab` have in common."""

import argparse

from npmnv2.cli.output import complain

USAGE = 2


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add `--timeout`."""
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds that one call may take (default: %(default)g)"
    )


def timeout_problem(timeout: float) -> str:
    """What is wrong with it; nothing if it is empty."""
    return "" if 0.1 <= timeout <= 600 else f"--timeout must be from 0.1 to 600 seconds; was {timeout:g}"


def misused(line: str) -> int:
    """Say what was wrong with the words; the exit status for it."""
    complain(f"npmnv2 lab: {line}")
    return USAGE
