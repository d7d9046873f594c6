"""The command line: parse, call, print. No logic of its own. Results go to stdout, progress to stderr."""

import argparse
import json
import os
import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 success, 1 a failed check or bad input, 2 a usage error."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of a pipe has what it wanted, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError) as error:
        print(f"npmnv2 {arguments.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m npmnv2",
        description="MobileNetV2 in plain NumPy, to be read, checked and timed. Without a command: the tour.",
    )
    commands = parser.add_subparsers(title="commands", metavar="")
    parser.set_defaults(run=_tour, command="tour", plot="npmnv2-tour.png")

    tour = commands.add_parser("tour", help="what the package is, shown by running it (the default)")
    tour.add_argument("--plot", metavar="FILE", default="npmnv2-tour.png", help="the picture (default: %(default)s)")
    tour.set_defaults(run=_tour, command="tour")

    summary = commands.add_parser("summary", help="every layer: shape, parameters, multiply-adds (runs no model)")
    summary.add_argument("--model", choices=["mobilenet_v2"], default="mobilenet_v2")
    summary.add_argument("--width", type=float, default=1.0, metavar="A", help="width multiplier (default: 1.0)")
    summary.add_argument("--resolution", type=int, default=224, metavar="R", help="image side in pixels (default: 224)")
    summary.add_argument("--classes", type=int, default=1000, metavar="K", help="default: 1000")
    summary.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    summary.set_defaults(run=_summary, command="summary")

    gradcheck = commands.add_parser("gradcheck", help="check every gradient numerically and print the errors")
    gradcheck.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    gradcheck.set_defaults(run=_gradcheck, command="gradcheck")

    train = commands.add_parser("train", help="train a MobileNetV2 on real images")
    train.add_argument("--data", choices=["digits"], required=True, help="digits: the embedded handwritten digits")
    train.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
    train.add_argument("--width", type=float, default=0.35, metavar="A", help="width multiplier (default: %(default)s)")
    train.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: %(default)s")
    train.add_argument("--optimizer", choices=["sgd", "rmsprop"], default="sgd", help="default: %(default)s")
    train.add_argument("--lr", type=float, help="highest learning rate (default: 0.02 for sgd, 0.005 for rmsprop)")
    train.add_argument("--label-smoothing", type=float, default=0.1, metavar="S", help="default: %(default)s")
    train.add_argument("--shift", action="store_true", help="move half of the images by up to a pixel, at random")
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.add_argument("--backend", choices=["numpy", "numba"], default="numba", help="default: %(default)s")
    train.add_argument("--plot", metavar="FILE", help="save curves, filters and predictions as a picture")
    train.add_argument("--json", action="store_true", help="one JSON document at the end instead of a line an epoch")
    train.set_defaults(run=_train, command="train")
    return parser


def _tour(arguments: argparse.Namespace) -> int:
    from npmnv2.tour import tour

    _check_writable(arguments.plot)
    return 0 if tour(arguments.plot, say=lambda line: print(line, flush=True)) else 1


def _summary(arguments: argparse.Namespace) -> int:
    from npmnv2 import cost

    layers = cost.mobilenet_v2(arguments.width, arguments.resolution, arguments.classes)
    total = {
        "madds": sum(layer.madds for layer in layers),
        "weights": sum(layer.weights for layer in layers),
        "parameters": sum(layer.parameters for layer in layers),
        "variables": sum(layer.variables for layer in layers),
    }
    if arguments.json:
        rows = [{**layer._asdict(), "parameters": layer.parameters, "bytes": layer.bytes} for layer in layers]
        head = {"model": arguments.model, "width": arguments.width, "resolution": arguments.resolution}
        _print_json({**head, "classes": arguments.classes, "total": total, "layers": rows})
        return 0
    print(f"{'layer':<14} {'kind':<10} {'output':>13} {'parameters':>11} {'multiply-adds':>14} {'share':>7}")
    for layer in layers:
        shape = "x".join(map(str, layer.out_shape))
        share = 100 * layer.madds / total["madds"]
        print(
            f"{layer.name:<14} {layer.kind:<10} {shape:>13} {layer.parameters:>11,} {layer.madds:>14,} {share:>5.2f} %"
        )
    print(f"{'total':<14} {'':<10} {'':>13} {total['parameters']:>11,} {total['madds']:>14,}")
    print(f"weights {total['weights']:,}; with running statistics {total['variables']:,}")
    print("multiply-adds of convolutions and the classifier, for one image; parameters with batch norm and bias")
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
    from npmnv2 import optim, set_backend
    from npmnv2.data import load_digits
    from npmnv2.models import mobilenet_v2
    from npmnv2.tour import EPOCH_HEADER, epoch_line
    from npmnv2.train import random_shift, train

    if arguments.plot:
        _check_writable(arguments.plot)
    set_backend(arguments.backend)
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
    history = train(
        model,
        optimizer,
        data,
        arguments.epochs,
        batch_size=arguments.batch_size,
        schedule=lambda step, steps: optim.cosine_schedule(lr, step, steps, warmup=steps // 20),
        label_smoothing=arguments.label_smoothing,
        augment=random_shift if arguments.shift else None,
        seed=arguments.seed,
        report=None if arguments.json else lambda epoch: print(epoch_line(epoch), flush=True),
    )
    if arguments.plot:
        from npmnv2 import plots

        plots.training(history, model, data, arguments.plot)
    if arguments.json:
        settings = {name: value for name, value in vars(arguments).items() if name not in ("run", "command", "json")}
        _print_json({**settings, "lr": lr, "history": [epoch._asdict() for epoch in history]})
    return 0


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2))


def _check_writable(path: str) -> None:
    """Fail before the work, not after it, if the picture cannot be saved."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"--plot must name a file in an existing folder; was {path}")
    if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise ValueError(f"--plot must name a file that can be written; was {path}")


if __name__ == "__main__":
    sys.exit(main())
