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
    summary.add_argument(
        "--resolution", type=_sides, default=224, metavar="R", help="image side in pixels, or HxW (default: 224)"
    )
    summary.add_argument(
        "--strides",
        type=_strides,
        default="imagenet",
        metavar="S",
        help="imagenet, cifar, digits, or those of the stem and every row: 1,1,2,2,2,1,2,1 (default: imagenet)",
    )
    summary.add_argument("--channels", type=int, default=3, metavar="C", help="of the image; 1 is grey (default: 3)")
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


def _sides(text: str) -> int | tuple[int, int]:
    try:
        high, times, wide = text.lower().partition("x")
        return (int(high), int(wide)) if times else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a side in pixels, or HxW; was {text!r}") from None


def _strides(text: str) -> str | tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        return text


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show import summary

    for name in ("batch", "threads"):
        if getattr(arguments, name) is not None and not arguments.time:
            raise ValueError(f"--{name} needs --time: without it nothing runs")
    if arguments.depth is not None and arguments.time:
        raise ValueError("--depth must be left out with --time: the time of a block is not the sum of its layers'")
    deeper: dict[str, Any] = {} if arguments.depth_mult is None else {"depth_mult": arguments.depth_mult}
    if deeper and arguments.model != "efficientnet_lite":
        raise ValueError(f"--depth-mult must be left out for {arguments.model}, whose rows have one depth")
    options = {**deeper, "strides": arguments.strides, "in_channels": arguments.channels}
    layers = summary.network(arguments.model, arguments.width, arguments.resolution, arguments.classes, **options)
    document = summary.document(layers, arguments.convention, arguments.depth)
    lines = summary.text(layers, arguments.convention, arguments.depth)
    H, W, C = layers[0].in_shape
    words = [arguments.model, f"width {arguments.width:g}"]
    words += [f"depth {arguments.depth_mult:g}"] if deeper else []
    if arguments.strides != "imagenet":
        named = isinstance(arguments.strides, str)
        words.append(f"strides {arguments.strides if named else ' '.join(map(str, arguments.strides))}")
    words.append(f"{H}x{W} pixels" if C == 3 else f"{H}x{W} pixels of {C} channel{'s' * (C != 1)}")
    title = ", ".join(words)
    if arguments.plot:
        from npmnv2.show import plots

        plots.costs(layers, f"{title}, {arguments.classes} classes", arguments.plot)
    if arguments.time:
        lines, document["time"] = _time(arguments, layers, options)
    if arguments.json:
        given = {
            name: getattr(arguments, name)
            for name in ("model", "width", "resolution", "classes", "strides", "channels")
        }
        print_json({**given, **deeper, **document})
    else:
        print(f"{title}, {arguments.classes} classes", "", *lines, sep="\n")
    return 0


def _time(
    arguments: argparse.Namespace, layers: "list[LayerCost]", options: dict[str, Any]
) -> tuple[list[str], dict[str, Any]]:
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
            arguments.batch or 1,
            say=_progress,
            **options,
        )
    return timing.text(found), timing.document(found)


def _progress(text: str) -> None:
    """One line on a terminal's stderr, overwritten by the next; an empty text clears it."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r{text:<78}" + "\r" * (not text), end="", file=sys.stderr, flush=True)
