"""`python -m npmnv2 tour`, which is what runs without a command."""

import argparse


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    tour = commands.add_parser("tour", help="what the package is, shown by running it (the default)")
    tour.add_argument("--plot", metavar="FILE", default="npmnv2-tour.png", help="the picture (default: %(default)s)")
    tour.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show.tour import tour

    return 0 if tour(arguments.plot, say=lambda line: print(line, flush=True)) else 1
