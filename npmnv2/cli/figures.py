"""`python -m npmnv2 figures`: the figures of the documentation, written anew."""

import argparse
import os


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    figures = commands.add_parser(
        "figures",
        help="the figures of the documentation as SVG: convolutions, the block, batch norm, costs, a trained network",
        description="Write the figures of the documentation as SVG, each a slide (16:9) with one message: a tap and a "
        "window, and the gradients of two taps; which inputs an output value sees; the inverted residual; the shapes "
        "through a block, and the 17 blocks; the gradient of batch norm as a graph; where multiply-adds and bytes sit; "
        "a trained network's filters, what ReLU6 does in it, what it is without a shortcut. "
        "Prints each path; a file that is there is replaced.",
    )
    figures.add_argument("folder", metavar="DIR", help="an existing folder, such as docs/figures")
    figures.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show import figures

    if not os.path.isdir(arguments.folder):
        raise ValueError(f"DIR must be an existing folder; was {arguments.folder}")
    for name in figures.FIGURES:
        print(figures.write(name, arguments.folder), flush=True)
    return 0
