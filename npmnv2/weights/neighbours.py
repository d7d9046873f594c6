"""What lies beside a file of weights and says how its pictures are prepared and what its classes are called.

Hugging Face's libraries save weights in a folder, with ``preprocessor_config.json`` (transformers: the pictures) and
``config.json`` (transformers: the names of the classes; timm: both) beside them. The file of weights says neither.
"""

import hashlib
import json
import math
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from npmnv2.data.preprocessing import INTERPOLATIONS, PREPROCESSING, Preprocessing
from npmnv2.files import FormatError, shown

PICTURES, CONFIG = "preprocessor_config.json", "config.json"
MOST_BYTES = 16 * 2**20
RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
# What other processors of transformers do to a picture, and nothing here does.
STRANGE = ("crop_pct", "rescale_offset", "do_flip_channel_order", "do_pad")
# What transformers' and timm's options must be, if they are there.
NETWORK = {
    "hidden_act": "relu6",
    "act_layer": "relu6",
    "global_pool": "avg",
    "output_stride": 32,
    "norm_layer": "batchnorm2d",
}
# torchvision names a file by the beginning of its SHA-256. Weights of 2022 are for pictures of a side of 232 pixels.
TORCHVISION_V2 = "7ebf99e0"


class Beside(NamedTuple):
    """What was found; None where nothing is said."""

    preprocessing: Preprocessing | None = None
    prepared_by: str = ""  # the name of the file that says so
    labels: list[str] | None = None
    labelled_by: str = ""
    ignored: str = ""  # what lies there and is not of this network, in a line


def beside(path: str | PathLike[str], names: str, classes: int) -> Beside:
    """Read the configuration in the folder of a file of weights.

    Only Hugging Face's and timm's libraries, as `names` says, write such files. A list of other than that many classes
    is not the network's own. A file there that is no JSON, or asks for what is not done here, is a `FormatError` which
    begins with its path.
    """
    folder = Path(fspath(path)).parent
    found = Beside()
    if names not in ("hf", "timm"):
        return found
    for name, understand in ((PICTURES, _pictures), (CONFIG, _config)):
        file = folder / name
        if file.is_file():
            try:
                preprocessing, labels = understand(_json(file))
            except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
                raise _unfit(file, error) from None
            if preprocessing is not None and found.preprocessing is None:
                found = found._replace(preprocessing=preprocessing, prepared_by=name)
            if labels is not None and len(labels) == classes:
                found = found._replace(labels=labels, labelled_by=name)
            elif labels is not None:
                other = f"names {len(labels)} classes, which are not those of the network, which has {classes}"
                other = other if labels else "id2label must give each number from 0 on a name, and does not"
                found = found._replace(ignored=f"{file}: {other}; not used")
    return found


def conventions(path: str | PathLike[str], names: str) -> dict[str, Any]:
    """What ``config.json`` says of the network that is in none of its arrays: padding and epsilon.

    A `FormatError` if it asks for another activation, pooling or output stride than the networks here have.
    """
    file = Path(fspath(path)).parent / CONFIG
    if names not in ("hf", "timm") or not file.is_file():
        return {}
    try:
        said = _json(file)
        if names == "timm":
            arguments = said.get("model_args") or {}
            said = {**said, **arguments, "layer_norm_eps": arguments.get("bn_eps")}
            said["tf_padding"] = {"same": True, "": False}.get(arguments.get("pad_type", ""))
        eps = said.get("layer_norm_eps")
        made: dict[str, Any] = {} if eps is None else {"eps": _numbers(eps)[0]}
        for name, here in NETWORK.items():
            if said.get(name) not in (None, here):
                raise ValueError(f"{name} is {said[name]!r}; that of the networks here is {here!r}")
        paddings: dict[Any, Any] = {True: {"padding": "same"}, False: {"padding": 1}}
        made |= paddings.get(said.get("tf_padding"), {})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unfit(file, error) from None
    return made


def _unfit(file: Path, error: Exception) -> FormatError:
    said = shown(str(error), 200)
    return FormatError(f"{file}: does not go with the weights beside it: {said}; mend it or move it away")


def torchvision_preprocessing(path: str | PathLike[str]) -> Preprocessing:
    """torchvision's own, which differs between its two sets of weights; which they are, their name or content says."""
    known, file = PREPROCESSING["torchvision"], Path(fspath(path))
    newer = TORCHVISION_V2 in file.name
    if not newer and file.is_file():
        with open(file, "rb") as content:
            newer = hashlib.file_digest(content, "sha256").hexdigest().startswith(TORCHVISION_V2)
    return known._replace(resize=232) if newer else known


def _json(file: Path) -> dict[str, Any]:
    with open(file, "rb") as content:
        text = content.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    value = json.loads(text.decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError("it must hold a dictionary")
    return value


def _pictures(said: dict[str, Any]) -> tuple[Preprocessing | None, None]:
    """transformers' image processor: resize, cut, multiply, normalise, each of which may be left out."""
    strange = [name for name in STRANGE if said.get(name)]
    if strange:
        raise ValueError(
            f"{strange[0]} is not done here: --preprocessing, --size, --resize, --mean and --std say what is"
        )
    known = PREPROCESSING["hf"]
    resample = said.get("resample", 2)
    if not isinstance(resample, int) or resample not in RESAMPLE:
        raise ValueError(f"resample must be 0, 2 or 3 ({', '.join(INTERPOLATIONS)}); was {resample!r}")
    crop = _size(said.get("crop_size", known.crop))
    if isinstance(crop, tuple) and crop[0] != crop[1]:
        raise ValueError(f"crop_size must be a square; was {crop[0]} x {crop[1]}")
    scale = 255 * _numbers(said.get("rescale_factor", 1 / 255))[0] if said.get("do_rescale", True) else 255.0
    normalised = said.get("do_normalize", True)
    mean = _numbers(said.get("image_mean", known.mean)) if normalised else (0.0,)
    std = _numbers(said.get("image_std", known.std)) if normalised else (1.0,)
    if math.isclose(scale, 1):  # so that nothing is rounded that need not be
        scale = 1.0
    made = Preprocessing(
        _size(said.get("size", known.resize)) if said.get("do_resize", True) else None,
        (crop[0] if isinstance(crop, tuple) else crop) if said.get("do_center_crop", True) else None,
        RESAMPLE[resample],
        tuple(value / scale for value in mean),
        tuple(value / scale for value in std),
        channels=1 if len(mean) == len(std) == 1 and said.get("num_channels") == 1 else 3,
        crop_rounds="down",
    )
    return made.checked(), None


def _config(said: dict[str, Any]) -> tuple[Preprocessing | None, list[str] | None]:
    """transformers' names of classes; or timm's names, and how it prepares pictures."""
    named = said.get("id2label")
    if named is not None:
        numbers = range(len(named)) if isinstance(named, dict) else ()
        given = [named.get(str(number)) for number in numbers]
        labels = [str(name) for name in given if type(name) is int or (isinstance(name, str) and name)]
        if not isinstance(named, dict) or len(labels) < len(given):
            return None, []
        return None, None if labels == [f"LABEL_{k}" for k in range(len(labels))] else labels
    timm = said.get("pretrained_cfg")
    if not isinstance(timm, dict):
        return None, None
    named = said.get("label_names", timm.get("label_names"))
    _, high, wide = timm["input_size"]
    if high != wide or timm.get("crop_mode", "center") != "center":
        raise ValueError(
            f"input_size must be a square and crop_mode center; were {high} x {wide}, {timm.get('crop_mode')}"
        )
    made = PREPROCESSING["timm"]._replace(
        resize=math.floor(high / _numbers(timm.get("crop_pct", 0.875))[0]),
        crop=high,
        interpolation=str(timm.get("interpolation", "bicubic")),
        mean=_numbers(timm["mean"]),
        std=_numbers(timm["std"]),
        channels=timm["input_size"][0],
    )
    return made.checked(), [str(name) for name in named] if isinstance(named, list) else None


def _size(said: Any) -> int | tuple[int, int]:
    """A side, or height and width."""
    if isinstance(said, dict) and "shortest_edge" in said:
        return int(said["shortest_edge"])
    if isinstance(said, dict) and {"height", "width"} <= said.keys():
        return int(said["height"]), int(said["width"])
    if isinstance(said, int):
        return said
    raise ValueError(f"a size must be a number, shortest_edge, or height and width; was {said!r}")


def _numbers(said: Any) -> tuple[float, ...]:
    """One number or several."""
    return tuple(float(value) for value in said) if isinstance(said, list | tuple) else (float(said),)
