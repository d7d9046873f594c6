"""What a file of weights holds: found out from its content, checked whole, before a network is built for it."""

import difflib
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.models.efficientnet_lite import VARIANTS
from npmnv2.shapes import LARGEST
from npmnv2.validate import Array, check_int
from npmnv2.weights.conventions import (
    CONVENTIONS,
    PUBLISHED,
    VARIANT,
    channels,
    find_depth,
    find_width,
    lacks_shortcut,
    published_variant,
)
from npmnv2.weights.errors import FormatError
from npmnv2.weights.formats.keras_layers import rename_counted
from npmnv2.weights.formats.raw import DIRECTORY_BYTES, FrugalFile, check_no_pipe, format_errors, shown
from npmnv2.weights.names import COUNTER, Entry, count_blocks, entries, layers, schemes

Path = str | os.PathLike[str]
CONTAINERS = ("npz", "pth", "safetensors", "keras")
SETTINGS = ("strides", "in_channels", "dropout", "padding", "eps", "momentum", "running_var", "dtype", "seed")
MOST_LETTERS = 300  # of an error that quotes what a file says
_LINES = 20  # of an error


class Source(NamedTuple):
    """What `read` found in a file: which network it is, and its state under our names, in our layouts."""

    path: str
    container: str  # "npz", "pth", "safetensors" or "keras"
    names: str  # "npmnv2", "torchvision", "timm", "keras", "hf", "slim" or "efficientnet_pytorch"
    architecture: str  # "mobilenet_v2", "mobilenet_v1", "mobilenet_v1_conv" or "efficientnet_lite"
    config: dict[str, Any]  # the builder's arguments, as far as the file or the conventions of its names say
    state: dict[str, Array]  # by our names; views of what the file holds, in its dtype
    info: dict[str, Any]  # what a file says besides: preprocessing, and a native one labels and training
    assumed: tuple[str, ...] = ()  # what a Keras model of one's own does not say, a sentence each
    left_out: tuple[str, ...] = ()  # what it has and no network here, a sentence each

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 if any of the arrays is, else float32, which holds everything smaller exactly."""
        double = any(value.dtype == np.float64 for value in self.state.values())
        return np.dtype(np.float64 if double else np.float32)


def read(path: Path, partial: bool = False) -> Source:
    """Find out what a file of weights is, and read it.

    The container is found by the file's first bytes, the library by the names in it, the width multiplier and the
    number of classes by the shapes, the depth multiplier by the number of blocks. The name of the file says nothing.

    Parameters
    ----------
    path : str or path-like
        A native checkpoint (.npz), a state dictionary of PyTorch (.pth), a .safetensors file, or weights of Keras.
    partial : bool
        Whether the classifier may be missing, as in the files of Keras that end in ``no_top``, or be one that cannot be
        read.

    Returns
    -------
    Source

    Raises
    ------
    FormatError
        If it is none of these, is damaged, or is no such network: then all names that are missing, unknown or misshapen
        are listed, with the nearest ones.
    OSError
        If the file cannot be opened.
    """
    name = os.fspath(path)
    container = _container(name)
    if container == "keras":
        return _read_keras(name, partial)
    arrays, info = _arrays(name, container)
    architecture, names = _scheme(name, arrays, container, info)
    own = names == "npmnv2"
    config = _own_config(name, info, architecture) if own else _config(name, arrays, architecture, names)
    state = _checked(name, arrays, architecture, names, config, partial)
    return Source(name, container, names, architecture, config, state, info)


def _read_keras(path: str, partial: bool) -> Source:
    """A network of ``keras.applications``, alone or with layers of one's own around it."""
    from npmnv2.weights.formats import keras_file
    from npmnv2.weights.keras_head import adapt

    file = keras_file.read_whole(path)
    arrays = _with_names(file.arrays)
    architecture, names = _scheme(path, arrays, "keras", {})
    width = _config(path, arrays, architecture, names)["width_mult"]
    with format_errors(path):
        found = adapt(file, arrays, architecture, width, partial)
    config = {**_config(path, found.arrays, architecture, names), **found.config}
    state = _checked(path, found.arrays, architecture, names, config, partial)
    info = {} if found.preprocessing is None else {"preprocessing": found.preprocessing}
    return Source(path, "keras", names, architecture, config, state, info, found.assumed, found.left_out)


# -- the container


def _container(path: str) -> str:
    check_no_pipe(path)
    with open(path, "rb") as file:
        start = file.read(9)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if start.startswith(b"PK"):
        return _zip(path)
    if start[8:] == b"{":  # eight bytes of length, then JSON
        return "safetensors"
    if start.startswith(b"\x80"):  # a pickle: torch.save before version 1.6
        return "pth"
    raise FormatError(f"{path}: no known format; known are native .npz, .pth, .safetensors and Keras's .h5 and .keras")


def _zip(path: str) -> str:
    """Three formats are zip archives. They are told apart by what lies in them."""
    with format_errors(path), FrugalFile(path, DIRECTORY_BYTES) as file, zipfile.ZipFile(file) as archive:
        members = archive.namelist()
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in members):
        return "pth"
    if any(name.endswith((".weights.h5", ".h5")) for name in members):
        return "keras"
    if any(name.endswith(".npy") for name in members):
        return "npz"
    raise FormatError(f"{path}: a zip archive of no known format; known are native .npz, .pth and .keras")


def _arrays(path: str, container: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """What the reader of the container gives. Each is imported when it is first needed."""
    if container == "npz":
        from npmnv2.weights.formats import native

        arrays, info = native.read(path)
        kept = "ema/" if any(name.startswith("ema/") for name in arrays) else "model/"  # what a run is judged by
        return {name.removeprefix(kept): array for name, array in arrays.items() if name.startswith(kept)}, info
    if container == "safetensors":
        from npmnv2.weights.formats import safetensors_file

        return safetensors_file.read(path)[0], {}
    from npmnv2.weights.formats import torch_file

    return torch_file.read(path), {}


def _with_names(arrays: dict[str, Array]) -> dict[str, Array]:
    """Layers that Keras only counted, as it did before 3.6, under the names that they have in the network they fit."""
    config = {"num_classes": 1000, "width_mult": 1.0, "strides": "imagenet", "in_channels": 3}  # any will do
    models = sorted({name.rpartition("/")[0].rpartition("/")[0] for name in arrays})  # "functional", of a model inside
    for architecture in ("mobilenet_v2", "mobilenet_v1"):
        ours, known = shapes(architecture, config), entries(architecture, "keras")
        without_classifier = [entry for entry in known if not entry.ours.startswith("fc.")]
        for part in (known, without_classifier):
            like = {entry.theirs: _shape_there(entry, ours[entry.ours]) for entry in part}
            for model in models:
                above = f"{model}/" if model else ""
                inside = {name.removeprefix(above): a for name, a in arrays.items() if name.startswith(above)}
                named = rename_counted(inside, like)
                if named.keys() != inside.keys():
                    return {name: a for name, a in arrays.items() if not name.startswith(above)} | named
    return arrays


# -- the library and the network


def _scheme(path: str, arrays: Mapping[str, Array], container: str, info: Mapping[str, Any]) -> tuple[str, str]:
    """The network and the library whose names the most arrays have; of our own names, the network that the file says.

    A deep network of ours has all the names of one that is less deep.
    """
    possible = [scheme for scheme in schemes() if (scheme[1] == "npmnv2") == (container == "npz")]
    if container == "keras":
        possible = [scheme for scheme in possible if scheme[1] == "keras"]
    theirs = {scheme: {entry.theirs for entry in entries(*scheme)} for scheme in possible}
    common = {scheme: len(known & arrays.keys()) / len(known) for scheme, known in theirs.items()}
    said = info.get("model")
    own = said.get("name") if isinstance(said, dict) else None
    best = max(common, key=lambda scheme: (common[scheme] >= 0.5 and scheme == (own, "npmnv2"), common[scheme]))
    if common[best] >= 0.5:
        return best
    if arrays.keys() & {entry.theirs for entry in entries("mobilenet_v2", "npmnv2")}:
        raise FormatError(
            f"{path}: holds npmnv2's own names, but only a native .npz says which padding and epsilon belong to them: "
            "write the file with weights.save"
        )
    first = ", ".join(map(shown, sorted(arrays)[:3])) or "nothing"
    raise FormatError(
        f"{path}: holds no MobileNet or EfficientNet-Lite under names of torchvision, timm, Keras, Hugging Face or "
        f"efficientnet_pytorch; it begins with {first}"
    )


def _config(path: str, arrays: Mapping[str, Array], architecture: str, names: str) -> dict[str, Any]:
    """The builder's arguments from the names and the shapes; `_checked` compares all shapes with them later."""
    found: dict[str, int] = {}
    num_classes, in_channels = 1000, 3
    depth = find_depth(count_blocks(arrays)) if architecture == "efficientnet_lite" else 1.0
    for entry in entries(architecture, names, depth):
        try:
            shape = entry.to_ours(arrays[entry.theirs]).shape
        except (KeyError, IndexError, ValueError):  # missing or of another rank: reported by _checked
            continue
        layer, _, leaf = entry.ours.rpartition(".")
        if layer == "fc":
            num_classes = shape[-1] if shape else num_classes
        elif leaf == "w" and len(shape) > 1:
            found[layer.removesuffix(".conv")] = shape[-1]
            if layer == "stem.conv" and len(shape) == 4:
                in_channels = shape[2]
    width = find_width(architecture, found, depth) or _nearest_width(path, architecture, found, depth)
    if block := lacks_shortcut(names, architecture, width):
        whose = {"hf": "Hugging Face"}.get(names, names)
        raise FormatError(
            f"{path}: holds a network of {whose} of width {width:g}, which lacks the shortcut around {block} that "
            f"{_A[architecture]} has at that width"
        )
    arguments = {"num_classes": num_classes, "width_mult": width, "strides": "imagenet", "in_channels": in_channels}
    arguments |= CONVENTIONS[names, architecture]
    return arguments if architecture != "efficientnet_lite" else _as_published({**arguments, "depth_mult": depth})


_A = {"mobilenet_v2": "a MobileNetV2", "efficientnet_lite": "an EfficientNet-Lite"}


def _as_published(config: dict[str, Any]) -> dict[str, Any]:
    """The depth multiplier and the dropout that were published with this width and so many blocks, if any were."""
    name = published_variant(config["width_mult"], config["depth_mult"])
    if name is None:
        return config
    return {**config, "depth_mult": VARIANTS[name].depth_mult, "dropout": VARIANTS[name].dropout}


def _nearest_width(path: str, architecture: str, found: Mapping[str, int], depth: float) -> float:
    """The published width that most channels agree with, for the list of those that do not; at least half have to."""
    agree = {w: sum(n == found.get(layer) for layer, n in channels(architecture, w, depth).items()) for w in PUBLISHED}
    best = max(agree, key=lambda width: agree[width])
    if agree[best] < len(found) / 2 or not found:
        first = ", ".join(str(count) for count in list(found.values())[:8])
        raise FormatError(f"{path}: no width multiplier gives a {architecture} the channels {first}, ...")
    return best


def _own_config(path: str, info: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """The builder's arguments as a native file says them."""
    said, variant = info.get("model"), VARIANT if architecture == "mobilenet_v2" else {}
    wanted = {"name", "num_classes", "width_mult", *SETTINGS, *variant}
    wanted |= {"depth_mult"} if architecture == "efficientnet_lite" else set()
    if not isinstance(said, dict) or said.keys() | variant.keys() != wanted:  # older files are of the published one
        raise FormatError(f'{path}: its info["model"] must be a dictionary of {", ".join(sorted(wanted))}')
    if said["name"] != architecture:
        raise FormatError(f"{path}: says it is a {shown(str(said['name']))}; its names are those of a {architecture}")
    if said["dtype"] not in ("float32", "float64"):  # which nobody asks for: `load_model` has an argument
        raise FormatError(f"{path}: dtype must be float32 or float64; was {shown(repr(said['dtype']))}")
    return {**variant, **{name: value for name, value in said.items() if name != "name"}}


# -- one error for all that does not fit


def shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a network's state, worked out from its configuration: nothing is allocated.

    Examples
    --------
    >>> config = {"num_classes": 10**9, "width_mult": 1.0, "strides": "imagenet", "in_channels": 3}
    >>> shapes("mobilenet_v2", config)["fc.w"]
    (1280, 1000000000)
    """
    own = layers(
        architecture,
        config.get("depth_mult", 1.0),
        width_mult=config["width_mult"],
        num_classes=config["num_classes"],
        strides=config["strides"],
        in_channels=config["in_channels"],
    )
    result: dict[str, tuple[int, ...]] = {}
    for layer in own:
        K, C, M = layer.kernel, layer.in_shape[2], layer.out_shape[2]
        if layer.bias:
            result |= {f"{layer.name}.w": (C, M), f"{layer.name}.b": (M,)}
            continue
        kernels = {"standard": (K, K, C, M), "depthwise": (K, K, C), "pointwise": (C, M)}
        result[f"{layer.name}.conv.w"] = kernels[layer.kind]
        result |= {f"{layer.name}.bn.{leaf}": (M,) for leaf in ("gamma", "beta", "mean", "var")}
    return result


def _checked(
    path: str,
    arrays: Mapping[str, Array],
    architecture: str,
    names: str,
    config: Mapping[str, Any],
    partial: bool,
) -> dict[str, Array]:
    """The state under our names; or the error that lists everything that keeps it from being one."""
    try:
        for name in ("num_classes", "in_channels"):  # beyond it NumPy takes no shape
            check_int(config[name], name, 1, LARGEST)
        wanted = shapes(architecture, config)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{path}: describes no network: {shown(str(error), MOST_LETTERS)}") from None
    known = entries(architecture, names, config.get("depth_mult", 1.0))
    theirs = {entry.theirs for entry in known}
    classifier = [entry.theirs for entry in known if entry.ours.startswith("fc.")]
    may_miss = classifier if partial and not any(name in arrays for name in classifier) else []
    missing = [entry.theirs for entry in known if entry.theirs not in arrays and entry.theirs not in may_miss]
    unknown = [name for name in arrays if name not in theirs and not _is_counter(name, theirs)]
    present = [entry for entry in known if entry.theirs in arrays]
    misshapen = [problem for entry in present if (problem := _problem(arrays[entry.theirs], entry, wanted[entry.ours]))]
    problems = [f"missing: {shown(name, 90)}" for name in missing]
    problems += [f"unknown: {shown(name, 90)}{_near(name, missing or sorted(theirs))}" for name in unknown[:_LINES]]
    problems += misshapen
    count = len(missing) + len(unknown) + len(misshapen)
    if problems:
        what = f"{architecture}, width {config['width_mult']:g}, {config['num_classes']} classes"
        raise FormatError(f"{path}: does not fit {names}'s names of a {what}:{_listed(problems, count)}")
    return {entry.ours: entry.to_ours(arrays[entry.theirs]) for entry in present}


def _listed(problems: Sequence[str], count: int) -> str:
    """One behind the colon, several below it: at most nineteen lines, twenty with the one above them."""
    if count == 1:
        return f" {problems[0]}"
    if count > _LINES - 1:
        problems = [*problems[: _LINES - 2], f"... and {count - _LINES + 2} more"]
    return "".join(f"\n  {problem}" for problem in problems)


def _problem(array: Array, entry: Entry, wanted: tuple[int, ...]) -> str:
    """What is wrong with an array of a known name, or nothing."""
    shape = _shape_there(entry, wanted)
    if array.shape != shape:
        return f"misshapen: {entry.theirs} must be {shape}, was {array.shape}"
    if array.dtype.kind != "f":
        return f"no floats: {entry.theirs} was {array.dtype}"
    steps = zip(array.strides, array.shape, strict=True)
    memory = array.itemsize + sum(abs(stride) * (length - 1) for stride, length in steps)
    if memory < array.nbytes:  # a small file would become a large network
        return f"no array of its own: {entry.theirs} repeats {memory} bytes to be {array.nbytes}"
    return ""


def _shape_there(entry: Entry, ours: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the library gives an array of this shape of ours."""
    return entry.to_theirs(np.broadcast_to(np.float32(0), ours)).shape  # of no memory


def _is_counter(name: str, theirs: set[str]) -> bool:
    return name.endswith(COUNTER) and name.removesuffix(COUNTER) + ".running_var" in theirs


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if len(name) < 200 else []
    return f" (did you mean {near[0]}?)" if near else ""
