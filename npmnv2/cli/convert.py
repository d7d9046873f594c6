"""`python -m npmnv2 convert`: weights from one library's file to another's."""

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npmnv2.data.preprocessing import Preprocessing


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    convert = commands.add_parser(
        "convert", help="weights from and to PyTorch, timm, Keras and Hugging Face; to ONNX (docs/checkpoints.md)"
    )
    convert.add_argument("source", metavar="IN", help="a file of weights; what it is is found by its content")
    convert.add_argument(
        "target",
        metavar="OUT",
        nargs="?",
        help=".npz, .pth, .safetensors, .weights.h5 or .onnx: the ending chooses the format",
    )
    convert.add_argument(
        "--explain", action="store_true", help="print what was found in IN, left out and assumed; OUT may be missing"
    )
    convert.add_argument(
        "--names",
        choices=["npmnv2", "torchvision", "timm", "keras", "hf", "efficientnet_pytorch"],
        help="whose names OUT has (default: IN's if OUT can have them, else the only ones that fit; in a .pth "
        "torchvision's, if they do)",
    )
    convert.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.cli.output import complain
    from npmnv2.weights import read
    from npmnv2.weights.formats.shards import index_of
    from npmnv2.weights.load import build, explain, notes
    from npmnv2.weights.save import ENDINGS, save

    target = arguments.target
    if arguments.explain:
        print(*explain(read(arguments.source, partial=True)), sep="\n")
        if target is None:
            return 0
    if target is None:
        raise ValueError("OUT must be given, the file to write; only with --explain it may be missing")
    names, why = arguments.names, ""
    is_onnx = target.lower().endswith(".onnx")
    if is_onnx and names:
        raise ValueError(f"--names must be left out for an .onnx file, which has no names of a library; was {names}")
    if not is_onnx and not target.lower().endswith(tuple(ENDINGS)):
        raise ValueError(f"OUT must end in {', '.join(ENDINGS)} or .onnx; was {target}")
    source = read(arguments.source)
    if os.path.exists(target) and os.path.samefile(source.path, index_of(target)):
        raise ValueError(f"OUT must be another file than IN, which would be lost; was {target}, which is {source.path}")
    model = build(source, source.dtype)  # float64 stays float64
    if not is_onnx and names is None:
        names, why = _names(target, source, model)
    if not is_onnx:
        _check(model, target, names)
    for line in [] if arguments.explain else notes(source):
        complain(f"npmnv2 convert: {line}")
    if is_onnx:
        from npmnv2.engine.onnx_export import export

        export(model, target)
    else:
        save(model, target, names)
    said = source.config
    classes, width = said["num_classes"], said["width_mult"]
    print(
        f"{source.architecture}, width {width:g}, {classes} classes: {source.names} -> {names or 'onnx'}, "
        f"{sum(value.size for value in source.state.values()):,} numbers"
    )
    if why:
        print(f"  names: {names}, {why}")
    for line in _lost(source, target):
        complain(f"npmnv2 convert: {target}: {line}")
    return 0


def _lost(source: Any, target: str) -> list[str]:
    """What reading OUT does not give back as IN said it, with the options of `classify` that say it."""
    from npmnv2.files import listed, shown
    from npmnv2.show.classify import default_labels
    from npmnv2.weights import read
    from npmnv2.weights.load import said_of

    wanted, names = said_of(source)
    taken, others = said_of(read(target))
    lines = []
    if names is not None and names != (others or default_labels(len(names))):
        order = listed(map(shown, names), 100)
        lines.append(f"left out: the names of the classes; classify --labels FILE gives them, one a line: {order}")
    if wanted is None and taken is not None:
        lines.append(f"pictures: {source.path} does not say how they are prepared; classify takes {taken}")
    elif wanted is not None and wanted != taken:
        options = _options(wanted, taken)
        how = f"classify {options} prepares them so" if options else "no options of classify do so"
        otherwise = f"; else they are {taken}" if taken else ""
        lines.append(f"left out: how pictures are prepared, {wanted}; {how}{otherwise}")
    return lines


def _options(wanted: "Preprocessing", taken: "Preprocessing | None") -> str:
    """The fewest options of `classify` that prepare pictures as wanted, where without any they are as taken.

    Examples
    --------
    >>> from npmnv2.data.preprocessing import PREPROCESSING
    >>> _options(PREPROCESSING["timm"].changed(size=96, mean=(-0.5,)), PREPROCESSING["torchvision"])
    '--preprocessing timm --resize 110 --size 96 --mean=-0.5'
    """
    from npmnv2.data.preprocessing import PREPROCESSING

    bases = {f"--preprocessing {name}": made.for_channels(wanted.channels) for name, made in PREPROCESSING.items()}
    found = []
    for option, base in {"": taken, **bases}.items():
        if base is None:
            continue
        changes: dict[str, Any] = {}
        if (base.resize, base.crop) != (wanted.resize, wanted.crop):
            if wanted.resize is None or isinstance(wanted.resize, tuple) != (wanted.crop is None):
                continue  # no options say so
            changes = {"resize": wanted.resize} | ({} if wanted.crop is None else {"size": wanted.crop})
        for name in ("mean", "std"):
            if getattr(base, name) != getattr(wanted, name):
                changes[name] = getattr(wanted, name)
        if base._replace(resize=wanted.resize, crop=wanted.crop, mean=wanted.mean, std=wanted.std) == wanted:
            found.append(" ".join(filter(None, (option, *(_option(*change) for change in changes.items())))))
    return min(found, key=lambda options: options.count("--"), default="")


def _option(name: str, value: Any) -> str:
    """An option as it is typed: a number that begins with a minus would be taken for another option."""
    between = "x" if name == "resize" else ","
    text = between.join(map(repr, value)) if isinstance(value, tuple) else repr(value)
    return f"--{name}={text}" if text.startswith("-") else f"--{name} {text}"


def _check(model: Any, target: str, names: str) -> None:
    """The errors of `save` with what to do about them."""
    from npmnv2.weights.save import check_fits, endings_of, names_in

    if names not in names_in(target):
        raise ValueError(f"OUT must end in {' or '.join(endings_of(names))} for --names {names}; was {target}")
    if names == "npmnv2":
        return
    try:
        check_fits(model, names)
    except ValueError as error:
        is_convention = str(error).startswith(("padding", "eps"))
        begin = f"; what train --init makes of a file of {names}'s names keeps it" if is_convention else ""
        raise ValueError(f"{error}. OUT can be .npz or .onnx{begin}") from None


def _names(target: str, source: Any, model: Any) -> tuple[str, str]:
    """Whose names a file gets if nobody says it, and why those where others could be meant."""
    from npmnv2.weights.save import check_fits, names_in

    possible, fit, unfit = names_in(target), list[str](), list[str]()
    if len(possible) == 1:
        return possible[0], ""
    for names in possible:
        try:
            check_fits(model, names)
            fit.append(names)
        except ValueError as error:
            unfit.append(str(error))
    if source.names in fit:
        return source.names, f"as in {source.path}"
    if len(fit) == 1:
        return fit[0], "the only library of such files that builds this network"
    if "torchvision" in fit and target.lower().endswith((".pth", ".pt")):
        others = ", ".join(f"--names {names}" for names in fit if names != "torchvision")
        return "torchvision", f"whose files end so; others: {others}"
    if fit:
        raise ValueError(f"--names must be given for {target}: {' or '.join(fit)}")
    reason = min(unfit, key=lambda text: text.startswith("names"))  # best of a library that has the architecture
    try:
        check_fits(model, "keras")
    except ValueError:
        endings = ".npz or .onnx"
    else:
        endings = ".weights.h5, .npz or .onnx"
    raise ValueError(f"OUT must end in {endings}: no library whose names it can have builds this network; {reason}")
