"""`python -m npmnv2 classify`."""

import argparse
import math
import os
import warnings
import zipfile

from npmnv2.cli.output import complain, print_json
from npmnv2.data.preprocessing import LONGEST_SIDE


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    classify = commands.add_parser("classify", help="name what pictures show, with any file of weights")
    classify.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a picture: JPEG, PNG, WebP, ...; or a folder of them"
    )
    classify.add_argument(
        "--weights",
        metavar="FILE",
        help="from train --save, torchvision, timm, Keras, Hugging Face, ... "
        "(default: an EfficientNet-Lite0 trained on ImageNet, if the extra 'pretrained' is installed)",
    )
    classify.add_argument(
        "--labels",
        metavar="FILE",
        help="the names of the classes: one a line, or JSON (default: the weights', ImageNet's)",
    )
    classify.add_argument(
        "--preprocessing",
        choices=["torchvision", "timm", "keras", "hf", "efficientnet_pytorch"],
        help="how pictures are prepared (default: what the weights, or the files beside them, say)",
    )
    classify.add_argument("--size", type=_side, metavar="S", help="side of the square that the network gets, in pixels")
    classify.add_argument(
        "--resize",
        type=_side_or_sides,
        metavar="R",
        help="the shorter side becomes R before the square is cut out of the centre; HxW stretches, and cuts nothing",
    )
    classify.add_argument(
        "--mean",
        type=_numbers,
        metavar="M",
        help="taken off pixels of 0 to 1: 0.5, or red,green,blue: 0.485,0.456,0.406",
    )
    classify.add_argument("--std", type=_numbers, metavar="D", help="what they are divided by then, in the same form")
    classify.add_argument("--top", type=int, default=5, metavar="K", help="classes to name (default: %(default)s)")
    classify.add_argument("--plot", metavar="FILE", help="save what the first layers saw of the one image as a picture")
    classify.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    classify.set_defaults(run=_run)


def _side(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= LONGEST_SIDE:
        raise argparse.ArgumentTypeError(f"must be a number of pixels from 1 to {LONGEST_SIDE}; was {text!r}")
    return int(text)


def _side_or_sides(text: str) -> int | tuple[int, int]:
    high, times, wide = text.lower().partition("x")
    return (_side(high), _side(wide)) if times else _side(text)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"must be a number, or three with commas between them; was {text!r}")
    return numbers


def _hint(image: str) -> str:
    """What to do about a picture that is none."""
    if "*" in image and not os.path.exists(image):
        return "; where it is not in quotes, the shell puts the names of the files in the place of a *"
    if os.path.isfile(image) and zipfile.is_zipfile(image):
        return "; it is a zip archive: unpack it, and give the folder"
    return ""


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.show.classify import about, classify, document, load_explained, pictures_in, printable, text
    from npmnv2.weights import pretrained_path
    from npmnv2.weights.formats.containers import ENDINGS

    for image in arguments.images:
        if image.lower().endswith(ENDINGS):
            raise ValueError(f"{image} is called as a file of weights is, not a picture: --weights {image} gives them")
    images, left_out = pictures_in(arguments.images)
    if arguments.plot and len(images) != 1:
        raise ValueError(f"--plot shows what became of one image; was given {len(images)}")
    weights = arguments.weights
    try:
        weights = pretrained_path() if weights is None else weights
        with warnings.catch_warnings(record=True) as caught:  # what a file of weights does not say
            warnings.simplefilter("always")  # whatever the environment says of warnings
            changes = {name: getattr(arguments, name) for name in ("size", "resize", "mean", "std")}
            model, why = load_explained(weights, arguments.preprocessing, arguments.labels, changes)
    except ImportError as missing:
        if arguments.weights is not None:
            raise
        raise ValueError(f"--weights must name a file: {missing}") from None
    for line in [str(warning.message) for warning in caught] + left_out:
        complain(f"npmnv2 classify: {printable(line)}")
    if not arguments.json:
        print(about(model))
        if model.labels is None:
            print("the classes have no names here: --labels FILE gives them, one a line")
        if arguments.weights is None:
            print(f"without --weights, trained on ImageNet: {printable(weights)}")
        print(f"pictures: {model.preprocessing}", f"  {printable(why)}", sep="\n")
    answers = []
    for answer in classify(model, images, arguments.top):
        answers.append(answer)
        for note in answer.notes:
            complain(f"npmnv2 classify: {printable(note)}")
        if answer.error is not None:
            complain(f"npmnv2 classify: {printable(answer.error)}{_hint(answer.image)}")
        elif not arguments.json:
            print("", *text(answer), sep="\n", flush=True)
    if arguments.plot and answers[0].error is None:
        from npmnv2.data.images import open_image
        from npmnv2.show.first_layers import first_layers

        first_layers(model, open_image(images[0]), answers[0].top, arguments.plot)
    if arguments.json:
        settings = {
            "weights": weights,
            "network": about(model),
            "preprocessing": model.preprocessing.to_dict(),
            "prepared": why,
            "left_out": left_out,
        }
        print_json({**settings, "images": [document(answer) for answer in answers]})
    return 1 if any(answer.error is not None for answer in answers) else 0
