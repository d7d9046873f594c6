"""`python -m npmnv2 train`."""

import argparse
import contextlib
import os
import signal
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from npmnv2.cli.options import check_writable
from npmnv2.cli.output import complain, print_json, printable
from npmnv2.cli.waiting import first_time
from npmnv2.validate import check_number

if TYPE_CHECKING:
    from npmnv2.train.session import Session

NOT_KEPT = "nothing is kept without --save FILE"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    train = commands.add_parser(
        "train",
        help="train a MobileNetV2 on real images",
        epilog="docs/training.md explains the recipes, stopping and going on, and fine-tuning.",
    )
    begin = train.add_argument_group("one of these must be given").add_mutually_exclusive_group()
    begin.add_argument(
        "--data",
        type=_source,
        metavar="DATA",
        help="digits (embedded), folder:DIR with a folder of pictures a class, mnist:DIR (IDX files, or Keras's "
        "mnist.npz; EMNIST, ... too), "
        "cifar10:DIR, cifar100:DIR, or cifar100-coarse:DIR, its twenty groups",
    )
    begin.add_argument(
        "--resume", metavar="FILE", help="go on with the run in a checkpoint, as if it had never stopped"
    )
    _add_settings(train.add_argument_group("how it goes"))
    run = train.add_argument_group("how it runs, and what is kept")
    run.add_argument(
        "--save", metavar="FILE", help="checkpoint (.npz), after each epoch and on Ctrl-C (default: that of --resume)"
    )
    run.add_argument("--save-every", type=int, metavar="N", help="save after every N steps too")
    run.add_argument("--log", metavar="FILE", help="a row an epoch, as .csv or .jsonl")
    run.add_argument("--plot", metavar="FILE", help="save curves, filters and predictions as a picture (.png, ...)")
    run.add_argument("--confusion", metavar="FILE", help="save which classes are taken for which as a picture")
    run.add_argument("--threads", type=int, default=1, metavar="T", help="default: 1, the fastest for small images")
    run.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits at every number of threads, under --backend numpy too (numba's always are)",
    )
    run.add_argument("--json", action="store_true", help="one JSON document at the end instead of a line an epoch")

    def run_if_told_what(arguments: argparse.Namespace) -> int:  # argparse would ask before it told of unknown words
        if arguments.data is None and arguments.resume is None:
            train.error("--data or --resume must be given: what to train on, or a run to go on with")
        try:
            return _run(arguments)
        except KeyboardInterrupt as stop:
            kept = arguments.save or arguments.resume
            raise KeyboardInterrupt(str(stop) or f"stopped{'' if kept else f'; {NOT_KEPT}'}") from None

    train.set_defaults(run=run_if_told_what)


def _add_settings(group: Any) -> None:
    group.add_argument("--recipe", choices=["sgd", "paper"], help="sgd (default): SGD, cosine; paper: as published")
    group.add_argument("--epochs", type=int, metavar="E", help="default: 80 for sgd, 100 for paper")
    group.add_argument("--width", type=float, metavar="A", help="width multiplier (default: 0.35, or that of --init)")
    group.add_argument("--resolution", type=int, metavar="R", help="image side for folder:DIR (default: 96)")
    group.add_argument("--batch-size", type=int, metavar="N", help="default: 32")
    group.add_argument("--optimizer", choices=["sgd", "rmsprop"], help="default: the recipe's")
    group.add_argument(
        "--lr", type=float, metavar="R", help="highest learning rate (default: the recipe's, by batch size)"
    )
    group.add_argument(
        "--weight-decay", type=float, metavar="D", help="never of depthwise kernels (default: 1e-3; paper: 4e-5)"
    )
    group.add_argument("--label-smoothing", type=float, metavar="S", help="default: 0.1")
    group.add_argument("--dropout", type=float, metavar="P", help="the share dropped (default: 0.2)")
    group.add_argument("--bn-momentum", type=float, metavar="M", help="share of the new (default: 0.1; paper: 0.003)")
    group.add_argument(
        "--balance", action="store_true", default=None, help="every class as often: images of rare ones come again"
    )
    group.add_argument("--ema", type=float, metavar="D", help="decay of the averaged weights; 0: none are kept")
    group.add_argument("--seed", type=int, metavar="S", help="default: 0")
    group.add_argument(
        "--backend", choices=["numpy", "numba"], help="default: NPMNV2_BACKEND in the environment, or numba"
    )
    group.add_argument("--init", metavar="FILE", help="begin with the weights in a file of any kind that is read")
    group.add_argument(
        "--keep-head",
        action="store_true",
        default=None,
        help="keep the classifier of --init, which must have as many classes as DATA, in the same order "
        "(default: kept only if FILE names the same classes)",
    )
    group.add_argument("--freeze", choices=["backbone"], help="backbone: only the classifier learns (with --init)")
    group.add_argument(
        "--bn",
        choices=["keep", "update"],
        help="running statistics (with --init; default: keep if frozen, else update)",
    )


def _source(text: str) -> str:
    from npmnv2.train.datasets import check_source

    try:
        return check_source(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from npmnv2 import backend
    from npmnv2.runtime.threads import limit_threads
    from npmnv2.show.tables import epoch_header, epoch_line
    from npmnv2.train import log
    from npmnv2.train.progress import Epoch
    from npmnv2.train.session import Stopped

    _check(arguments)
    with warnings.catch_warnings(record=True) as caught:  # pictures that cannot be read and are left out
        warnings.simplefilter("always")  # whatever the environment says of warnings
        session = _session(arguments)
    for warning in caught:
        complain(f"npmnv2 train: {warning.message}")
    settings, save = session.settings, arguments.save or arguments.resume
    if save and os.path.exists(save) and not (arguments.resume and os.path.samefile(save, arguments.resume)):
        complain(f"npmnv2 train: --save: {save} is there, and is replaced")

    def show(line: str) -> None:
        if not arguments.json:
            print(line, flush=True)

    def report(epoch: Epoch) -> None:
        if arguments.log:
            log.write(arguments.log, session.position.history)
        show(epoch_line(epoch))

    threads = 1 if arguments.deterministic and settings.backend == "numpy" else arguments.threads
    quiet = np.errstate(over="ignore", invalid="ignore")  # the session says it in one line
    for line in _before(session, save):
        show(line)
    if settings.backend == "numba":
        from npmnv2.engine.compilation import for_training

        first_time(for_training(session.model))
    if session.has_ended and arguments.save:
        session.save(arguments.save)
    with backend(settings.backend), limit_threads(threads), quiet:
        if not session.has_ended:
            # After the imports, some of which run texts as code: Ctrl-C in those ends Python as if nobody listened.
            show(epoch_header(session.ema is not None))
        with _ctrl_c(wanted=save is not None) as pressed:
            try:
                session.run(report, save, arguments.save_every, stop=pressed.is_set)
            except Stopped:
                raise KeyboardInterrupt(f"stopped, {_how_to_go_on(arguments, save)}") from None
        recalled = _judge(arguments, session)
    for line in _after(session, save, recalled):
        show(line)
    if arguments.json:
        given = {name: value for name, value in vars(arguments).items() if name not in ("run", "command", "json")}
        history = [epoch._asdict() for epoch in session.position.history]
        found = list(session.data.found)
        print_json({**given, **settings._asdict(), "found": found, "history": history, "classes": recalled})
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """What can be known to be wrong before anything is read."""
    import numba

    from npmnv2.train import log
    from npmnv2.train.session import check_ending

    most = numba.config.NUMBA_NUM_THREADS
    check_number(arguments.threads, "--threads", 1, most, why="the cores, or NUMBA_NUM_THREADS in the environment")
    if arguments.save_every and not (arguments.save or arguments.resume):
        raise ValueError("--save-every needs --save: the file to write to")
    if arguments.log and os.path.splitext(arguments.log)[1] not in log.ENDINGS:
        raise ValueError(f"--log must end in {' or '.join(log.ENDINGS)}; was {arguments.log}")
    for option in ("save", "log"):
        if getattr(arguments, option) is not None:
            check_writable(getattr(arguments, option), f"--{option}")
    if arguments.save is not None:
        check_ending(arguments.save, "--save")


def _session(arguments: argparse.Namespace) -> "Session":
    from npmnv2.train.session import begin, resume
    from npmnv2.train.settings import Settings, resolve

    options = {name: getattr(arguments, name, None) for name in Settings._fields}
    given = {name: value for name, value in options.items() if value is not None}  # the recipe or the file says others
    if arguments.resume is None:
        return begin(resolve(given))
    session = resume(arguments.resume)
    for name, value in given.items():
        kept = getattr(session.settings, name)
        if value != kept:
            option = f"--{name.replace('_', '-')}"
            hint = f"a run with other settings begins with --init {arguments.resume}"
            raise ValueError(f"{option} must be left out or be {kept}, as in {arguments.resume}; was {value}: {hint}")
    return session


@contextlib.contextmanager
def _ctrl_c(wanted: bool) -> Iterator[Any]:
    """Inside, the first Ctrl-C only sets a flag; the second interrupts as ever. Who ignores it goes on ignoring it."""
    import threading

    pressed = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    if not wanted or before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _how_to_go_on(arguments: argparse.Namespace, save: str) -> str:
    import shlex

    words = ["python", "-m", "npmnv2", "train", "--resume", save]
    for option in ("save_every", "log", "plot", "confusion"):
        if getattr(arguments, option) is not None:
            words += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    return f"all is saved; to go on: {shlex.join(words)}"


def _judge(arguments: argparse.Namespace, session: "Session") -> list[dict[str, Any]]:
    """How well each class is told, and the pictures asked for: with the averaged weights if there are any."""
    import numpy as np

    from npmnv2.train.evaluation import confusion_matrix, predict, recall

    data, model = session.data, session.model
    classes = len(data.classes)
    with session.ema.applied() if session.ema else contextlib.nullcontext():
        said = predict(model, data.test_x, preprocessing=data.preprocessing).argmax(axis=1)
        if arguments.plot or arguments.confusion:
            from npmnv2.show import plots

            if arguments.plot:
                plots.training(session.position.history, model, data, arguments.plot)
            if arguments.confusion:
                plots.confusion(confusion_matrix(data.test_y, said, classes), data.classes, arguments.confusion)
    counts = [np.bincount(y, minlength=classes).tolist() for y in (data.train_y, data.test_y)]
    columns = (data.classes, *counts, recall(data.test_y, said, classes))
    names = ("class", "train", "held_out", "recall")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _before(session: "Session", save: str | None) -> Iterator[str]:
    """What there is to know before the first epoch."""
    if session.origin:
        yield session.origin
    yield from map(printable, session.data.found)
    yield f"pictures: {session.data.preprocessing}"
    if save is None:
        yield NOT_KEPT
    if not session.has_ended:
        averaged = "; averaged: held out, with the averaged weights" if session.ema else ""
        yield f"%: the images that are classified right{averaged}"


def _after(session: "Session", save: str | None, classes: list[dict[str, Any]]) -> Iterator[str]:
    """What there is to know after the last epoch."""
    if session.data.found:
        yield from ("", f"recall{' of the averaged weights' if session.ema else ''}, after the last epoch:")
        yield from _recall_lines(classes)
    if save is not None:
        averages = " and their averages, which classify, convert and --init take" if session.ema else ""
        yield f"{save} has the weights of the last epoch{averages}"


def _recall_lines(classes: list[dict[str, Any]]) -> Iterator[str]:
    """A line a class: how many of its held-out images are recognised."""
    width = max(len("class"), *(len(printable(row["class"])) for row in classes))
    yield f"{'class':<{width}}  held out   recall"
    for row in classes:
        share = "none" if row["recall"] is None else f"{100 * row['recall']:.2f} %"
        yield f"{printable(row['class']):<{width}}  {row['held_out']:>8} {share:>8}"
