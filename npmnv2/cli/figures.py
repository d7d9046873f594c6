"""`python -m npmnv2 figures`: the figures of the documentation and of lectures, and the pictures of experiments."""

import argparse
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from npmnv2.cli.output import complain
from npmnv2.experiments import NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Drawings = dict[str, Callable[[], Figure]]

FORMATS = ("svg", "png")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    figures = commands.add_parser(
        "figures",
        help="slides with one message each, as SVG and PNG: convolutions, the block, batch norm, costs, experiments",
        description="Write figures, each a slide (16:9) with one message as its title: those of the documentation, and "
        "the picture of every experiment of which the package has a full run. --list names all, with their messages. "
        "Prints each path; a file that is there is replaced.",
    )
    figures.add_argument("folder", metavar="DIR", nargs="?", help="an existing folder")
    figures.add_argument("names", metavar="NAME", nargs="*", help="only these (default: all that there are)")
    figures.add_argument(
        "--format", choices=FORMATS, help="only SVG, or only PNG of 1920x1080 pixels (default: a file of each)"
    )
    figures.add_argument("--list", action="store_true", help="write nothing: the names, and what each figure says")
    figures.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show import figures

    there, absent = drawings()
    if arguments.list:
        if arguments.folder or arguments.format:
            raise ValueError("--list must stand alone: it writes nothing")
        for name, drawing in there.items():
            print(f"{name:<28} {figures.message(drawing)}", flush=True)
        for name, why in absent.items():
            print(f"{name:<28} not drawn: {why}")
        return 0
    if arguments.folder is None:
        raise ValueError("DIR is missing: the folder to write to; or --list, which writes nothing")
    if not os.path.isdir(arguments.folder):
        raise ValueError(f"DIR must be an existing folder; was {arguments.folder}")
    for name in arguments.names:
        if name not in there:
            raise ValueError(absent.get(name, f"NAME must be one of {', '.join(there)}; was {name}"))
    for name in arguments.names or there:
        for ending in [arguments.format] if arguments.format else FORMATS:
            path = os.path.join(arguments.folder, f"{name}.{ending}")
            figures.write(there[name], path)
            print(path, flush=True)
    for name, why in absent.items():
        if not arguments.names:
            complain(f"{name} is not drawn: {why}")
    return 0


def drawings() -> "tuple[Drawings, dict[str, str]]":
    """All figures by name; and why the pictures of some experiments cannot be drawn."""
    from npmnv2.experiments import full_run
    from npmnv2.show.figures import FIGURES

    there, absent = dict(FIGURES), {}
    for experiment_name in NAMES:
        name = f"experiment_{experiment_name.replace('-', '_')}"
        try:
            experiment, results = full_run(experiment_name)
        except ValueError as error:
            absent[name] = str(error).partition(":")[0]  # what follows is advice on `experiment`
            continue
        there[name] = functools.partial(experiment.draw, results)
    return there, absent
