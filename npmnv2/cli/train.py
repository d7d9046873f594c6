"""`python -m npmnv2 train`."""

import argparse
import math

from npmnv2.cli.output import print_json
from npmnv2.validate import check_number


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
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
    train.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
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
        print_json({**settings, "lr": lr, "history": [epoch._asdict() for epoch in history]})
    return 0
