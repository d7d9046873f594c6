"""What a file of weights holds: found out from its content, checked whole, before a network is built for it."""

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.files import FormatError, format_errors, listed, shown
from npmnv2.shapes import LARGEST
from npmnv2.validate import Array, check_int
from npmnv2.weights import around, head, recognise, whole_model
from npmnv2.weights.conventions import VARIANT, as_published, channels
from npmnv2.weights.formats import containers, shards
from npmnv2.weights.formats.keras_layers import rename_counted
from npmnv2.weights.formats.places import Modules
from npmnv2.weights.names import Entry, entries, layer_of, schemes, shape_there, shapes
from npmnv2.weights.neighbours import conventions
from npmnv2.weights.said import Said, Usual

Path = str | os.PathLike[str]
SETTINGS = ("strides", "in_channels", "dropout", "padding", "eps", "momentum", "running_var", "dtype", "seed")
MOST_LETTERS = 300  # of an error that quotes what a file says
_LINES = 20  # of an error


class Source(NamedTuple):
    """What `read` found in a file: which network it is, and its state under our names, in our layouts."""

    path: str
    container: str  # "npz" (ours), "plain npz", "pth", "safetensors", "keras" or "onnx"
    names: str  # of `names.schemes`; "onnx" of a graph, which needs none
    architecture: str  # "mobilenet_v2", "mobilenet_v1", "mobilenet_v1_conv" or "efficientnet_lite"
    config: dict[str, Any]  # the builder's arguments, as far as the file or the conventions of its names say
    state: dict[str, Array]  # by our names; views of what the file holds, in its dtype
    info: dict[str, Any]  # what a file says besides: preprocessing, and a native one labels and training
    assumed: tuple[str, ...] = ()  # what the file does not say and was guessed, a sentence each
    left_out: tuple[str, ...] = ()  # what it has and no network here, a sentence each
    found: tuple[str, ...] = ()  # where the network was in the file, a sentence each

    @property
    def describes_itself(self) -> bool:
        """Whether the file itself says what of others only a library's conventions say: padding, epsilon, pictures."""
        return self.names in ("npmnv2", "onnx")

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 if any of the arrays is, else float32, which holds everything smaller exactly."""
        double = any(value.dtype == np.float64 for value in self.state.values())
        return np.dtype(np.float64 if double else np.float32)


def read(path: Path, partial: bool = False) -> Source:
    """Find out what a file of weights is, and read it.

    The container is found by the file's first bytes, the library by the names in it, the width multiplier and the
    number of classes by the shapes, the depth multiplier by the number of blocks. The name of the file says nothing.
    The network may lie in dictionaries, and behind any prefix; its classifier may have any name. If no library's names
    are in the file, it is the order of the arrays and their shapes that tell.

    Parameters
    ----------
    path : str or path-like
        A file of any of the containers in `Source`, or a folder with one; of a network in shards the folder, the index
        or any shard.
    partial : bool
        Whether the classifier may be missing, as in the files of Keras that end in ``no_top``, or be one that cannot be
        read, of several layers.

    Raises
    ------
    FormatError
        If it is none of these, is damaged, or is no such network: then all names that are missing, unknown or misshapen
        are listed, with the nearest ones.
    OSError
        If the file cannot be opened.
    """
    given = containers.file_in(os.fspath(path))
    name = shards.index_of(given)
    container = containers.container(name)
    if container == "keras":
        return _read_keras(name, partial)
    if container == "npz":
        return _read_native(name)
    if container == "onnx":
        return _read_onnx(name)
    among = [scheme for scheme in schemes() if scheme[1] != "npmnv2"]
    place, left_out, notes = "", list[str](), tuple[str, ...]()
    modules: Modules = {}
    more: Mapping[str, object] = {}
    if container == "plain npz":
        from npmnv2.weights.formats import native

        arrays = native.read_plain(name)
    elif container == "safetensors":
        from npmnv2.weights.formats import safetensors_file

        arrays = safetensors_file.read(name)[0]
    elif container == "shards":
        container, arrays, files = shards.read(name)
        note = f"all its shards were read: {listed(map(shown, files))}"
        notes = (note if os.fspath(path) == given != name else Usual(note),)  # a shard was given: it is not alone
    else:
        from npmnv2.weights.formats import torch_file

        file = torch_file.read_whole(name, lambda places: recognise.choose(places, among))
        arrays, place, modules, more = file.arrays, file.place, file.modules, file.beside
        left_out = around.passed_over(file)
    with shards.advice(name), format_errors(name):
        found = recognise.recognise(arrays, among, place) or _nothing(arrays)
        found, counted = recognise.without_counters(arrays, found)
        found, said = _said_elsewhere(name, arrays, found, modules)
        found = found._replace(notes=(*notes, *found.notes))
        said = said._replace(left_out=(*left_out, *counted, *said.left_out))
        source = _source(name, container, arrays, found, partial, said)
        classes = max(2, source.config["num_classes"]) if "fc.w" in source.state else 0  # one output is a yes or no
        labels, called, rest = around.labels_in(more, classes)
        source.info.update({} if labels is None else {"labels": labels})
        return source._replace(found=(*source.found, *called), left_out=(*source.left_out, *rest))


def _said_elsewhere(
    path: str, arrays: Mapping[str, Array], found: recognise.Found, modules: Modules
) -> tuple[recognise.Found, Said]:
    """The configuration, as a model that was saved as a whole, or ``config.json`` beside a file, says it too."""
    beside = conventions(path, found.names)
    recognise.check_design(arrays, found)
    usual = recognise.config_of(arrays, found)
    said, where = Said({**usual, **beside}), "config.json beside the weights"
    if modules:
        said, where = whole_model.compare(modules, found, said.config), "the model that was saved as a whole"
    unusual = [f"{name} {value!r}" for name, value in said.config.items() if value != usual[name]]
    notes = [f"{where} says {', '.join(unusual)}"] * bool(unusual)
    return found._replace(notes=(*found.notes, *notes)), said


def _read_native(path: str) -> Source:
    """A checkpoint of our own, which says everything."""
    from npmnv2.weights.formats import native

    arrays, info = native.read(path)
    kept = "ema/" if any(name.startswith("ema/") for name in arrays) else "model/"  # what a run is judged by
    arrays = {name.removeprefix(kept): array for name, array in arrays.items() if name.startswith(kept)}
    with format_errors(path):
        architecture, config = _own_config(arrays, info)
        state = _described(architecture, config, arrays)
    return Source(path, "npz", "npmnv2", architecture, config, state, info)


def _read_onnx(path: str) -> Source:
    """A graph, which says all that changes an answer."""
    from npmnv2.weights import onnx_network

    architecture, arrays, found, said = onnx_network.read(path)
    config = as_published(said.config)
    with format_errors(path):
        state = _described(architecture, config, arrays)
    info = dict(said.info)
    return Source(path, "onnx", "onnx", architecture, config, state, info, said.assumed, said.left_out, found)


def _described(architecture: str, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The state of a network whose configuration is in the file; the arrays have our names."""
    wanted = _wanted(architecture, config)
    depth = config.get("depth_mult", 1.0)
    known = entries(architecture, "npmnv2", depth)
    beside = sorted(arrays.keys() - wanted.keys())
    return _checked(arrays, recognise.Found(architecture, "npmnv2", depth, known, beside), config, wanted)


def _read_keras(path: str, partial: bool) -> Source:
    """A network of ``keras.applications``, alone or with layers of one's own around it."""
    from npmnv2.weights.formats import keras_file
    from npmnv2.weights.keras_head import adapt

    file = keras_file.read_whole(path)
    arrays = _with_names(file.arrays)
    among = [scheme for scheme in schemes() if scheme[1].startswith("keras")]
    with format_errors(path):
        found = recognise.recognise(arrays, among) or _nothing(arrays)
        config = recognise.config_of(arrays, found)
        said = adapt(file, arrays, found, config["width_mult"], partial)
        said = said._replace(config={**config, **said.config})
        return _source(path, "keras", arrays, found, partial, said)


def _source(
    path: str, container: str, arrays: Mapping[str, Array], found: recognise.Found, partial: bool, said: Said
) -> Source:
    """The state of a network that was recognised, once its classifier is found and everything is compared."""
    _check_layers(arrays, found)
    between = _between_layers(found)  # before the classifier's own layers are known
    config = dict(said.config)
    last = list(channels(found.architecture, config["width_mult"], found.depth).values())[-1]
    own = next(entry.theirs for entry in entries(found.architecture, found.names, found.depth) if entry.ours == "fc.w")
    classifier = head.find(arrays, [] if said.unread else found.beside, last, found.names, own)
    classifier = classifier._replace(problem=said.unread or classifier.problem)
    if classifier.known:
        config["num_classes"] = classifier.classes
    known = {entry.theirs for entry in classifier.known}
    beside = [name for name in found.beside if name not in known]
    found = found._replace(known=[*found.known, *classifier.known], beside=beside)
    state = _checked(arrays, found, config, _wanted(found.architecture, config))
    if classifier.problem and (between or not partial):
        why = recognise.computed(found.beside) or between
        raise FormatError(f"{why}; {head.ONLY_NETWORK}" if why else classifier.problem)
    left_out = [*found.left_out, *said.left_out, *classifier.left_out]
    if classifier.problem:  # of several layers, no part is the whole
        what = f"the classifier, for the file {classifier.problem.removesuffix(f'; {head.ONLY_NETWORK}')}"
        left_out.append(what if found.beside else Usual(what))  # of one without: who reads it has asked for that
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if "fc.w" in state and "fc.b" not in state:
        state["fc.b"] = np.zeros(classifier.classes, state["fc.w"].dtype)
    notes = (*found.assumed, *said.assumed), tuple(left_out), (*found.notes, *classifier.notes)
    return Source(path, container, found.names, found.architecture, config, state, dict(said.info), *notes)


def _check_layers(arrays: Mapping[str, Array], found: recognise.Found) -> None:
    """That no layer of a whole backbone has an array more, such as a bias: without it the answers would differ."""
    layers = {layer_of(entry.theirs) for entry in found.known}
    more = [name for name in found.beside if layer_of(name) in layers]
    if more and len(layers) > 1 and all(entry.theirs in arrays for entry in found.known):  # one: names without layers
        what = f"has {shown(more[0])}, in a layer that has no such array in a {found.architecture} here"
        raise FormatError(recognise.computed(more) or what)


def _between_layers(found: recognise.Found) -> str:
    """What is wrong if there is an array between the layers of the backbone: it is no part of a classifier."""
    first = entries(found.architecture, found.names, found.depth)[0].theirs
    prefix = found.known[0].theirs.removesuffix(first)
    layers = [_modules(layer_of(entry.theirs)) for entry in found.known]
    modules = {module for inside in layers for module in inside if len(module) > len(prefix)}
    between = [name for name in found.beside if not modules.isdisjoint(_modules(layer_of(name)))]
    what = f"between layers that have nothing there in a {found.architecture} here"
    return f"has {shown(between[0])}, {what}" if between else ""


def _modules(layer: str) -> list[str]:
    """The modules that a layer is in, itself too: ["a.", "a.b."] of "a.b."."""
    return [layer[: k + 1] for k, letter in enumerate(layer) if letter in "./"]


def _nothing(arrays: Mapping[str, Array]) -> recognise.Found:
    """The error for arrays that are no network."""
    if arrays.keys() & {entry.theirs for entry in entries("mobilenet_v2", "npmnv2")}:
        raise FormatError(
            "holds npmnv2's own names, but only a native .npz says which padding and epsilon belong to them: "
            "write the file with weights.save"
        )
    first = listed(map(shown, sorted(arrays)), 3) or "nothing"
    raise FormatError(
        f"holds no MobileNet or EfficientNet-Lite under names of torchvision, timm, Keras, Hugging Face or "
        f"efficientnet_pytorch, nor one by the order and shapes of its arrays; it begins with {first}"
    )


def _with_names(arrays: dict[str, Array]) -> dict[str, Array]:
    """Layers that Keras only counted, as it did before 3.6, under the names that they have in the network they fit."""
    config = {"num_classes": 1000, "width_mult": 1.0, "strides": "imagenet", "in_channels": 3}  # any will do
    models = sorted({name.rpartition("/")[0].rpartition("/")[0] for name in arrays})  # "functional", of a model inside
    for architecture in ("mobilenet_v2", "mobilenet_v1"):
        ours, known = shapes(architecture, config), entries(architecture, "keras")
        without_classifier = [entry for entry in known if not entry.ours.startswith("fc.")]
        for part in (known, without_classifier):
            like = {entry.theirs: shape_there(entry, ours[entry.ours]) for entry in part}
            for model in models:
                above = f"{model}/" if model else ""
                inside = {name.removeprefix(above): a for name, a in arrays.items() if name.startswith(above)}
                named = rename_counted(inside, like)
                if named.keys() != inside.keys():
                    return {name: a for name, a in arrays.items() if not name.startswith(above)} | named
    return arrays


def _own_config(arrays: Mapping[str, Array], info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network and the builder's arguments as a native file says them."""
    said = info.get("model")
    architecture = said.get("name") if isinstance(said, dict) else None
    if architecture is not None:
        scheme = (architecture, "npmnv2")
        theirs = {entry.theirs for entry in entries(*scheme)} if scheme in schemes() else set()
        if len(theirs & arrays.keys()) < recognise.LEAST * len(theirs) or not theirs:
            raise FormatError(f"says it is a {shown(str(architecture))}; its arrays have other names")
    variant = VARIANT if architecture == "mobilenet_v2" else {}
    wanted = {"name", "num_classes", "width_mult", *SETTINGS, *variant}
    wanted |= {"depth_mult"} if architecture == "efficientnet_lite" else set()
    if not isinstance(said, dict) or said.keys() | variant.keys() != wanted:  # older files are of the published one
        raise FormatError(f'its info["model"] must be a dictionary of {", ".join(sorted(wanted))}')
    if said["dtype"] not in ("float32", "float64"):  # which nobody asks for: `load_model` has an argument
        raise FormatError(f"dtype must be float32 or float64; was {shown(repr(said['dtype']))}")
    return str(architecture), {**variant, **{name: value for name, value in said.items() if name != "name"}}


# -- one error for all that does not fit


def _wanted(architecture: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network that was described, if there can be one."""
    try:
        for name in ("num_classes", "in_channels"):  # beyond it NumPy takes no shape
            check_int(config[name], name, 1, LARGEST)
        return shapes(architecture, config)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"describes no network: {shown(str(error), MOST_LETTERS)}") from None


def _checked(
    arrays: Mapping[str, Array],
    found: recognise.Found,
    config: Mapping[str, Any],
    wanted: Mapping[str, tuple[int, ...]],
) -> dict[str, Array]:
    """The state under our names; or the error that lists everything that keeps it from being one."""
    missing = [entry.theirs for entry in found.known if entry.theirs not in arrays]
    present = [entry for entry in found.known if entry.theirs in arrays]
    misshapen = [problem for entry in present if (problem := _problem(arrays[entry.theirs], entry, wanted[entry.ours]))]
    if not missing and not misshapen and found.names != "npmnv2":  # what is beside a whole backbone is its classifier
        return {entry.ours: entry.to_ours(arrays[entry.theirs]) for entry in present}
    if missing and (why := recognise.computed(found.beside) or _without_statistics(found, missing)):
        raise FormatError(why)
    likely = missing or sorted(entry.theirs for entry in found.known)
    problems = [f"missing: {shown(name, 90)}" for name in missing]
    problems += [f"unknown: {shown(name, 90)}{_near(name, likely)}" for name in found.beside[:_LINES]]
    problems += misshapen
    if problems:
        what = f"{found.architecture}, width {config['width_mult']:g}, {config['num_classes']} classes"
        count = len(missing) + len(found.beside) + len(misshapen)
        raise FormatError(f"does not fit {found.names}'s names of a {what}:{_in_lines(problems, count)}")
    return {entry.ours: entry.to_ours(arrays[entry.theirs]) for entry in present}


def _without_statistics(found: recognise.Found, missing: Sequence[str]) -> str:
    """Whether the running statistics of all batch norms are what is missing, and nothing else."""
    statistics = {entry.theirs for entry in found.known if entry.ours.endswith(("bn.mean", "bn.var"))}
    if statistics != set(missing):
        return ""
    return (
        f"has no running statistics of its batch norms ({shown(missing[0])}, ...), as after saving the parameters "
        "alone: save the whole state_dict()"
    )


def _in_lines(problems: Sequence[str], count: int) -> str:
    """One behind the colon, several below it: at most nineteen lines, twenty with the one above them."""
    if count == 1:
        return f" {problems[0]}"
    if count > _LINES - 1:
        problems = [*problems[: _LINES - 2], f"... and {count - _LINES + 2} more"]
    return "".join(f"\n  {problem}" for problem in problems)


def _problem(array: Array, entry: Entry, wanted: tuple[int, ...]) -> str:
    """What is wrong with an array of a known name, or nothing."""
    shape = shape_there(entry, wanted)
    if array.shape != shape:
        return f"misshapen: {entry.theirs} must be {shape}, was {array.shape}"
    if array.dtype.kind != "f":
        return f"no floats: {entry.theirs} was {array.dtype}"
    steps = zip(array.strides, array.shape, strict=True)
    memory = array.itemsize + sum(abs(stride) * (length - 1) for stride, length in steps)
    if memory < array.nbytes:  # a small file would become a large network
        return f"no array of its own: {entry.theirs} repeats {memory} bytes to be {array.nbytes}"
    return ""


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if len(name) < 200 else []
    return f" (did you mean {near[0]}?)" if near else ""
