"""The command line: parse, call, print. No logic of its own. Results go to stdout, progress to stderr."""

import argparse
import json
import math
import os
import sys
from typing import Any

from npmnv2 import __version__
from npmnv2.validate import check_number

# The least and the most that an option may be, and, as intervals are written, which of the two it may be itself.
LIMITS = {
    "width": (0, 100, "()"),
    "resolution": (1, math.inf, "[]"),
    "classes": (1, math.inf, "[]"),
    "epochs": (1, math.inf, "[]"),
    "batch_size": (1, math.inf, "[]"),
    "lr": (0, math.inf, "[]"),
    "label_smoothing": (0, 1, "[]"),
    "seed": (0, math.inf, "[]"),
    "threads": (1, math.inf, "[]"),  # the most is Numba's to say, see _train
}
PICTURES = (".png", ".svg", ".pdf", ".jpg")  # what Matplotlib writes without the help of other programs


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 success, 1 a failed check or bad input, 2 a usage error.

    Examples
    --------
    >>> main(["summary", "--resolution", "0"])      # stderr: npmnv2 summary: --resolution must be at least 1; was 0
    1
    """
    command, status = "npmnv2", 0
    try:
        arguments = _parser().parse_args(argv)
        if arguments.command is None:
            arguments = _parser().parse_args(["tour"])
        command = f"npmnv2 {arguments.command}"
        _check_options(arguments)
        status = arguments.run(arguments)
    except SystemExit as stop:  # argparse has printed the help or a usage error
        status = int(stop.code or 0)
    except BrokenPipeError:  # the reader of a pipe has what it wanted, as in `... | head`
        status = 0
    except KeyboardInterrupt:
        _complain("stopped")
        status = 130
    except (ValueError, TypeError, OSError, MemoryError) as error:
        _complain(f"{command}: {str(error) or 'out of memory'}")
        status = 1
    return _flush(command, status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m npmnv2",
        description="MobileNetV2 in plain NumPy, to be read, checked and timed. Without a command: the tour.",
        epilog="COMMAND --help explains a command. Exit status: 0 success, 1 a failed check or bad input, 2 bad usage.",
    )
    parser.add_argument("--version", action="version", version=f"npmnv2 {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")

    tour = commands.add_parser("tour", help="what the package is, shown by running it (the default)")
    tour.add_argument("--plot", metavar="FILE", default="npmnv2-tour.png", help="the picture (default: %(default)s)")
    tour.set_defaults(run=_tour)

    summary = commands.add_parser(
        "summary", help="every layer: output, parameters, multiply-adds, bytes; runs no model"
    )
    models = ["mobilenet_v1", "mobilenet_v1_conv", "mobilenet_v2"]
    summary.add_argument("--model", choices=models, default="mobilenet_v2", help="default: %(default)s")
    summary.add_argument("--width", type=float, default=1.0, metavar="A", help="width multiplier (default: 1.0)")
    summary.add_argument("--resolution", type=int, default=224, metavar="R", help="image side in pixels (default: 224)")
    summary.add_argument("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    summary.add_argument(
        "--convention", metavar="NAME", default="paper", help="what counts: paper, fvcore, thop, ... (docs/costs.md)"
    )
    summary.add_argument("--plot", metavar="FILE", help="save where the costs sit along the network as a picture")
    summary.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    summary.set_defaults(run=_summary)

    gradcheck = commands.add_parser("gradcheck", help="check every gradient numerically and print the errors")
    gradcheck.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    gradcheck.set_defaults(run=_gradcheck)

    train = commands.add_parser("train", help="train a MobileNetV2 on real images")
    train.add_argument("--data", choices=["digits"], required=True, help="digits: the embedded handwritten digits")
    train.add_argument("--epochs", type=int, default=20, metavar="E", help="default: %(default)s")
    train.add_argument("--width", type=float, default=0.35, metavar="A", help="width multiplier (default: %(default)s)")
    train.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: %(default)s")
    train.add_argument("--optimizer", choices=["sgd", "rmsprop"], default="sgd", help="default: %(default)s")
    train.add_argument(
        "--lr", type=float, metavar="R", help="highest learning rate (default: 0.02 for sgd, 0.005 for rmsprop)"
    )
    train.add_argument("--label-smoothing", type=float, default=0.1, metavar="S", help="default: %(default)s")
    train.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    train.add_argument("--backend", choices=["numpy", "numba"], default="numba", help="default: %(default)s")
    train.add_argument(
        "--threads", type=int, default=1, metavar="T", help="default: %(default)s, the fastest for images this small"
    )
    train.add_argument("--plot", metavar="FILE", help="save curves, filters and predictions as a picture (.png, ...)")
    train.add_argument("--json", action="store_true", help="one JSON document at the end instead of a line an epoch")
    train.set_defaults(run=_train)
    return parser


def _tour(arguments: argparse.Namespace) -> int:
    from npmnv2.tour import tour

    return 0 if tour(arguments.plot, say=lambda line: print(line, flush=True)) else 1


def _summary(arguments: argparse.Namespace) -> int:
    from npmnv2 import summary

    layers = summary.network(arguments.model, arguments.width, arguments.resolution, arguments.classes)
    document = summary.document(layers, arguments.convention)
    title = f"{arguments.model}, width {arguments.width:g}, {arguments.resolution}x{arguments.resolution} pixels"
    if arguments.plot:
        from npmnv2 import plots

        plots.costs(layers, f"{title}, {arguments.classes} classes", arguments.plot)
    if arguments.json:
        given = {name: getattr(arguments, name) for name in ("model", "width", "resolution", "classes")}
        _print_json({**given, **document})
    else:
        print(f"{title}, {arguments.classes} classes", "", *summary.text(layers, arguments.convention), sep="\n")
    return 0


def _gradcheck(arguments: argparse.Namespace) -> int:
    from npmnv2.selfcheck import run
    from npmnv2.tour import gradient_table

    checks = run()
    passed = all(check.passed for check in checks)
    if arguments.json:
        _print_json({"passed": passed, "checks": [{**c._asdict(), "passed": c.passed} for c in checks]})
    else:
        print(*gradient_table(checks), sep="\n")
    return 0 if passed else 1


def _train(arguments: argparse.Namespace) -> int:
    import numba
    import numpy as np

    from npmnv2 import backend, optim
    from npmnv2.data import load_digits
    from npmnv2.models import mobilenet_v2
    from npmnv2.threads import limit_threads
    from npmnv2.tour import EPOCH_HEADER, epoch_line
    from npmnv2.train import Epoch, random_shift, train

    def report(epoch: Epoch) -> None:
        if not math.isfinite(epoch.loss):
            raise ValueError(f"the loss was {epoch.loss} in epoch {epoch.epoch}: --lr must be lower; was {lr:g}")
        if not arguments.json:
            print(epoch_line(epoch), flush=True)

    most = numba.config.NUMBA_NUM_THREADS
    check_number(arguments.threads, "--threads", 1, most, why="the cores, or NUMBA_NUM_THREADS in the environment")
    data = load_digits()
    model = mobilenet_v2(len(data.classes), arguments.width, strides="digits", in_channels=1, seed=arguments.seed)
    optimizer: optim.Optimizer
    if arguments.optimizer == "sgd":
        lr = 0.02 if arguments.lr is None else arguments.lr
        optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=4e-5)
    else:
        lr = 0.005 if arguments.lr is None else arguments.lr
        optimizer = optim.RMSProp(model.parameters(), lr, decay=0.9, momentum=0.9, weight_decay=4e-5)
    if not arguments.json:
        print(EPOCH_HEADER)
    quiet = np.errstate(over="ignore", invalid="ignore")  # report() says it in one line
    with backend(arguments.backend), limit_threads(arguments.threads), quiet:
        history = train(
            model,
            optimizer,
            data,
            arguments.epochs,
            batch_size=arguments.batch_size,
            schedule=lambda step, steps: optim.cosine_schedule(lr, step, steps, warmup=steps // 20),
            label_smoothing=arguments.label_smoothing,
            augment=random_shift,
            seed=arguments.seed,
            report=report,
        )
        if arguments.plot:
            from npmnv2 import plots

            plots.training(history, model, data, arguments.plot)
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("run", "command", "json")}
        _print_json({**settings, "lr": lr, "history": [epoch._asdict() for epoch in history]})
    return 0


def _complain(line: str) -> None:
    if sys.stderr is not None:  # the shell closed it, as in `... 2>&-`; print would take stdout instead
        print(line, file=sys.stderr)


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(_strict(document), indent=2))


def _strict(value: Any) -> Any:
    """The same, with null for NaN and infinity: JSON has no word for them, though Python's json writes one."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_options(arguments: argparse.Namespace) -> None:
    """Fail before the work, not in it or after it, by the option's name."""
    for name, (low, high, ends) in LIMITS.items():
        value = getattr(arguments, name, None)
        if value is not None:
            check_number(value, f"--{name.replace('_', '-')}", low, high, ends)
    path = getattr(arguments, "plot", None)
    if path is None:
        return
    folder, ending = os.path.dirname(path) or ".", os.path.splitext(path)[1].lower()
    if ending not in PICTURES:
        raise ValueError(f"--plot must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}; was {path}")
    if not os.path.isdir(folder):
        raise ValueError(f"--plot must name a file in an existing folder; was {path}")
    is_new = not os.path.exists(path)
    try:
        open(path, "ab").close()  # the surest way to know, and it changes nothing
        if is_new:
            os.remove(path)
    except OSError as error:  # a folder, a name that is too long, no permission, ...
        raise ValueError(f"--plot must name a file that can be written ({error.strerror}); was {path}") from None


def _flush(command: str, status: int) -> int:
    """Write out what is still held back, here and not as Python exits, when it would print a traceback if it failed."""
    if sys.stdout is None:  # the shell closed it, as in `... >&-`
        return status
    try:
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk; if it was full before, that has been said
        if status == 0:
            _complain(f"{command}: {error}")
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


if __name__ == "__main__":
    sys.exit(main())
