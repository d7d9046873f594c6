"""`python -m npmnv2 summary`."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from npmnv2.cli.output import print_json
from npmnv2.validate import check_number

if TYPE_CHECKING:
    from npmnv2.cost import LayerCost


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    summary = commands.add_parser(
        "summary", help="every layer: output, parameters, multiply-adds, bytes; runs no model without --time"
    )
    models = ["mobilenet_v1", "mobilenet_v1_conv", "mobilenet_v2", "efficientnet_lite"]
    summary.add_argument("--model", choices=models, default="mobilenet_v2", help="default: %(default)s")
    summary.add_argument("--width", type=float, default=1.0, metavar="A", help="width multiplier (default: 1.0)")
    summary.add_argument(
        "--depth-mult",
        type=float,
        metavar="D",
        help="depth multiplier, which efficientnet_lite alone has (default: 1.0)",
    )
    summary.add_argument("--resolution", type=int, default=224, metavar="R", help="image side in pixels (default: 224)")
    summary.add_argument("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    summary.add_argument(
        "--convention", metavar="NAME", default="paper", help="what counts: paper, fvcore, thop, ... (docs/costs.md)"
    )
    summary.add_argument(
        "--depth",
        type=int,
        metavar="D",
        help="parts of a name that get a line: 1 for b1, a row of the paper's table, 2 for b1.0, a block; default: all",
    )
    summary.add_argument("--plot", metavar="FILE", help="save where the costs sit along the network as a picture")
    summary.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    timed = summary.add_argument_group("with a clock")
    timed.add_argument(
        "--time", action="store_true", help="run it: the time of every layer and fused block, and what limits it"
    )
    timed.add_argument("--batch", type=int, metavar="N", help="images at a time (default: 1)")
    timed.add_argument("--threads", type=int, metavar="T", help="default: all cores")
    summary.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show import summary

    for name in ("batch", "threads"):
        if getattr(arguments, name) is not None and not arguments.time:
            raise ValueError(f"--{name} needs --time: without it nothing runs")
    if arguments.depth is not None and arguments.time:
        raise ValueError("--depth must be left out with --time: the time of a block is not the sum of its layers'")
    deeper = {} if arguments.depth_mult is None else {"depth_mult": arguments.depth_mult}
    if deeper and arguments.model != "efficientnet_lite":
        raise ValueError(f"--depth-mult must be left out for {arguments.model}, whose rows have one depth")
    layers = summary.network(arguments.model, arguments.width, arguments.resolution, arguments.classes, **deeper)
    document = summary.document(layers, arguments.convention, arguments.depth)
    lines = summary.text(layers, arguments.convention, arguments.depth)
    depth = f", depth {arguments.depth_mult:g}" if deeper else ""
    side = arguments.resolution
    title = f"{arguments.model}, width {arguments.width:g}{depth}, {side}x{side} pixels"
    if arguments.plot:
        from npmnv2.show import plots

        plots.costs(layers, f"{title}, {arguments.classes} classes", arguments.plot)
    if arguments.time:
        lines, document["time"] = _time(arguments, layers)
    if arguments.json:
        given = {name: getattr(arguments, name) for name in ("model", "width", "resolution", "classes")}
        print_json({**given, **deeper, **document})
    else:
        print(f"{title}, {arguments.classes} classes", "", *lines, sep="\n")
    return 0


def _time(arguments: argparse.Namespace, layers: "list[LayerCost]") -> tuple[list[str], dict[str, Any]]:
    import numba

    from npmnv2.runtime.threads import get_num_threads, limit_threads
    from npmnv2.show import timing

    threads, most = arguments.threads or get_num_threads(), numba.config.NUMBA_NUM_THREADS
    check_number(threads, "--threads", 1, most, why="the cores, or NUMBA_NUM_THREADS in the environment")
    with limit_threads(threads):
        found = timing.profile(
            arguments.model,
            layers,
            arguments.width,
            arguments.resolution,
            arguments.batch or 1,
            say=_progress,
            depth_mult=arguments.depth_mult,
        )
    return timing.text(found), timing.document(found)


def _progress(text: str) -> None:
    """One line on a terminal's stderr, overwritten by the next; an empty text clears it."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r{text:<78}" + "\r" * (not text), end="", file=sys.stderr, flush=True)
