"""Keras's files: `.weights.h5`, the older `.h5`, and `.keras`. Reading needs no library, writing needs h5py.

All three hold the same arrays, and all are read into names like ``Conv1/kernel``: the layer, and what it is to it.

**`.weights.h5`**, of Keras 3 (and of 2.12 and later, if saved under that ending). A group per layer, an array per
variable. Neither has the name that it has in the model:

    layers/conv2d/vars/0                 the class of the layer, counted in the order of model.layers
    layers/conv2d_1/vars/0
    layers/batch_normalization/vars/3    the variables of a layer, counted as in `keras_layers.VARIABLES`
    layers/functional/layers/...         a model inside of the model has layers of its own

Since 3.6 the layer's real name is in the attribute "name" of the group ``vars``. A file older than that has only the
counted names; `read` then calls the layers by those (``conv2d_7/kernel``), and `source.read` finds the network that has
as many layers of each class. Keras itself never looks at the attribute: a model finds the weights of its eighth Conv2D
under ``conv2d_7``, whatever the layer is called. So in a file for Keras the layers of a class must stand in the order
of the model, one must not be missing, and a variable must have the number that the layer gives it. Nothing more is
needed: layers without variables need no group.

**`.h5`**, of Keras 1 to 3. A group per layer under its real name, inside of it an array under the variable's full name:

    model_weights/Conv1/Conv1/kernel:0   of a whole model; of weights alone, without model_weights
    Conv1/Conv1/kernel                   Keras 3 has no ":0"; until then depthwise kernels were "depthwise_kernel:0"
    mobilenet/Conv1/kernel:0             of a model inside of the model, which here is a layer

Keras goes by the lists "layer_names" and "weight_names" in the attributes, and their order (by the names, if asked to).
Here they are read for their order, by which a network is found whose layers have names of one's own.

**`.keras`** is a zip archive with a `.weights.h5` (``model.weights.h5``) and ``config.json``, the description of the
model. The `.h5` of a whole model has the same in the attribute "model_config". From that nothing is built here;
`keras_graph` reads it, and if the weights are older than 3.6, it has the names of the layers.

Also in these files and not read: the optimiser's state, and the seeds of dropout layers.
"""

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from npmnv2.atomic import writing
from npmnv2.files import DIRECTORY_BYTES, Archive, FormatError, FrugalFile, format_errors, shown
from npmnv2.validate import Array
from npmnv2.weights.formats.hdf5 import SIGNATURE, File
from npmnv2.weights.formats.keras_layers import VARIABLES, GroupPath, class_of, class_with, names_in, variables
from npmnv2.weights.formats.raw import storable

T = TypeVar("T")
ROOTS = ("layers", "_layer_checkpoint_dependencies")  # the second in Keras 2.12
DEPTH = 16  # of models within models, and of groups
WEIGHTS, CONFIG = "model.weights.h5", "config.json"  # in a .keras
CONFIG_BYTES = 1 << 20  # a MobileNetV2 has 162,980
OPTIMISERS = ("optimizer", "optimizer_weights")  # groups with its state: of Keras 3, and of the older .h5


class KerasFile(NamedTuple):
    """What a file holds."""

    arrays: dict[str, Array]  # by ``layer/variable``
    config: bytes  # the description of the model as JSON; empty in a file of weights alone
    trained: bool  # whether the optimiser's state lies beside the weights


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The weights of a Keras model in a file of any of the three kinds, by ``layer/variable``; without Keras and h5py.

    The variables are ``kernel``, ``bias``, ``gamma``, ``beta``, ``moving_mean`` and ``moving_variance`` in any kind of
    file, and numbers in layers of another class. The layers of a class are in the order of the model, where the file
    says it. Links, compressed arrays and arrays of anything but floats are errors.
    """
    return read_whole(path).arrays


def read_whole(path: str | os.PathLike[str]) -> KerasFile:
    """The same with the description of the model, where the file has one."""
    with FrugalFile(path, DIRECTORY_BYTES) as file, format_errors(path):
        start = file.read(8)
        data: bytes | bytearray = b""
        config = b""
        if start == SIGNATURE:
            file.allow_all()
            file.seek(0)
            data = file.read()
        elif start.startswith(b"PK"):
            data, config = _unzip(file)
        else:
            raise FormatError("is no Keras file: neither HDF5 nor a zip archive" if start else "is empty")
        hdf5 = File(data)
        links = hdf5.links(hdf5.root)
        config = config or (hdf5.text(hdf5.root, "model_config", CONFIG_BYTES) or "").encode()
        roots = [links[root] for root in ROOTS if root in links]
        if "vars" in links:  # of a class of one's own some layers are attributes, named before "layers"
            roots.append(hdf5.root)
        if not roots:
            arrays = dict(_legacy(hdf5, links.get("model_weights", hdf5.root)))
        else:
            layers = [layer for root in roots for layer in _layers(hdf5, root)]
            arrays = _named(layers, config)
        if not arrays:
            raise FormatError("holds no weights of a Keras model")
        return KerasFile(arrays, config, any(group in links for group in OPTIMISERS))


def _unzip(file: FrugalFile) -> tuple[bytes | bytearray, bytes]:
    """The weights and the description out of a .keras; the description only if it is one that can be looked at."""
    archive = Archive(file)
    if WEIGHTS not in archive.sizes:
        raise FormatError(f"is no Keras file: a zip archive without {WEIGHTS}")
    small = archive.sizes.get(CONFIG, CONFIG_BYTES + 1) <= CONFIG_BYTES
    return archive.read(WEIGHTS), bytes(archive.read(CONFIG)) if small else b""


# -- the layers of Keras 3


class Layer(NamedTuple):
    """A layer as a `.weights.h5` has it."""

    path: GroupPath  # ("conv2d_7",), or ("functional", "conv2d_7")
    name: str | None  # such as block_1_project, where the file says it
    arrays: dict[str, Array]  # by variable


def _layers(file: File, address: int, above: GroupPath = ()) -> Iterator[Layer]:
    """The layers with variables in a group of layers, and in the models among them."""
    if len(above) > DEPTH:
        raise FormatError(f"has models in models, more than {DEPTH} deep")
    for group, target in file.links(address).items():
        if address == file.root and group in OPTIMISERS:
            continue
        inside = file.links(target)
        own = target if address == file.root and group == "vars" else inside.get("vars")
        found = file.links(own) if own is not None else {}
        if own is not None and found:
            names = variables(class_of(group), len(found))
            arrays = {names.get(key, key): file.array(at, f"{group}/{key}") for key, at in found.items()}
            yield Layer((*above, group), file.text(own, "name"), arrays)
        for root in ROOTS:
            if root in inside:
                yield from _layers(file, inside[root], (*above, group))


def _named(layers: Sequence[Layer], config: bytes) -> dict[str, Array]:
    """The arrays by layer and variable. Layers without a name have it from the config, or are called by their group."""
    nameless = config and any(layer.name is None for layer in layers)
    names = names_in(json.loads(config), [layer.path for layer in layers]) if nameless else {}
    arrays: dict[str, Array] = {}
    for layer in sorted(layers, key=lambda layer: [(len(group), group) for group in layer.path]):  # as they are counted
        name = layer.name if layer.name is not None else names.get(layer.path, "/".join(layer.path))
        for variable, value in layer.arrays.items():
            if f"{name}/{variable}" in arrays:
                raise FormatError(f"has two layers called {shown(name)}")
            arrays[f"{name}/{variable}"] = value
    return arrays


# -- the older .h5


def _legacy(file: File, root: int) -> Iterator[tuple[str, Array]]:
    """The arrays in the groups of the layers, by layer and variable, in Keras's order where the file says it."""
    seen = set()
    for group, address in _listed_first(file.links(root), file.texts(root, "layer_names")).items():
        if group == "top_level_model_weights" or not file.is_group(address):
            continue
        inside = {"/".join(path): (path, target) for path, target in _datasets(file, address)}
        for path, target in _listed_first(inside, file.texts(address, "weight_names")).values():
            *_, layer, variable = group, *path
            if re.fullmatch(re.escape(group) + r"_\d+", layer):  # TensorFlow 1 counted layers of the same name
                layer = group
            variable = re.sub(r":\d+$", "", variable)
            name = f"{layer}/{'kernel' if variable == 'depthwise_kernel' else variable}"
            if name in seen:
                raise FormatError(f"has two arrays called {shown(name)}")
            seen.add(name)
            yield name, file.array(target, name)


def _listed_first(found: Mapping[str, T], listed: Sequence[str]) -> dict[str, T]:
    """The same in the order of a list, and what the list does not name after it."""
    return {name: found[name] for name in [*dict.fromkeys(n for n in listed if n in found), *found]}


def _datasets(file: File, address: int, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every dataset below a group: the names on the way there, and its address."""
    if len(path) > DEPTH:
        raise FormatError(f"has groups in groups, more than {DEPTH} deep")
    for name, target in file.links(address).items():
        if file.is_group(target):
            yield from _datasets(file, target, (*path, name))
        else:
            yield (*path, name), target


# -- writing


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write weights for ``model.load_weights(path)`` of a Keras model with these layers. It needs h5py.

    The path's ending says which kind of file it is: ``.weights.h5`` for Keras 3, any other ``.h5`` for Keras 2 and 3,
    which go by the ending too. The arrays are called ``layer/variable``, as `read` returns them. Layers of a class must
    come in the order of the model: Keras counts them, and does not look at their names. A kernel of 4 axes is depthwise
    if its last is 1 and it is not 1x1.

    Examples
    --------
    >>> write("model.keras", {})
    Traceback (most recent call last):
        ...
    ValueError: path must end in .weights.h5 or .h5 (a .keras needs the code of the model); was 'model.keras'
    """
    name = os.fspath(path)
    if not name.endswith((".h5", ".hdf5")):
        raise ValueError(f"path must end in .weights.h5 or .h5 (a .keras needs the code of the model); was {name!r}")
    content = encode(arrays, legacy=not name.endswith(".weights.h5"))
    with writing(path) as file:
        file.write(content)


def encode(arrays: Mapping[str, Array], *, legacy: bool = False) -> bytes:
    """The bytes of a `.weights.h5`, or of an older `.h5`: what `write` writes."""
    try:
        import h5py
    except ImportError:
        raise ImportError("writing files of Keras needs h5py: pip install 'npmnv2[weights]'") from None
    layers = _split(arrays)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:  # the layout that every Keras reads, and hdf5.py
        (_fill_legacy if legacy else _fill)(file, layers)
    return buffer.getvalue()


def _split(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The arrays by layer and then variable, in the order of Keras, checked."""
    layers: dict[str, dict[str, Array]] = {}
    for name, value in arrays.items():
        array = storable(name, value, ("float16", "float32", "float64"))
        if array.size == 0:
            raise ValueError(f"arrays[{name!r}] must not be empty; its shape was {array.shape}")
        layer, _, variable = name.rpartition("/")
        if not layer or "/" in layer or not any(variable in names for names in VARIABLES.values()):
            raise ValueError(f"arrays must have names like 'Conv1/kernel', a layer and what it is to it; was {name!r}")
        layers.setdefault(layer, {})[variable] = array
    if not layers:
        raise ValueError("arrays must not be empty")
    return {layer: _ordered(layer, found) for layer, found in layers.items()}


def _class(found: Mapping[str, Array]) -> str:
    return class_with({name: value.shape for name, value in found.items()})


def _ordered(layer: str, found: dict[str, Array]) -> dict[str, Array]:
    names = VARIABLES[_class(found)]
    if not found.keys() <= set(names) or ("kernel" in found and found["kernel"].ndim not in (2, 4)):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in found.items())
        raise ValueError(f"arrays of {layer!r} must be of a convolution, a dense layer or a batch norm; were {shapes}")
    return {name: found[name] for name in names if name in found}


def _fill(file: Any, layers: Mapping[str, dict[str, Array]]) -> None:
    counts: Counter[str] = Counter()
    for layer, found in layers.items():
        kind = _class(found)
        group = file.create_group(f"layers/{kind}_{counts[kind]}/vars" if counts[kind] else f"layers/{kind}/vars")
        counts[kind] += 1
        group.attrs["name"] = layer
        for i, value in enumerate(found.values()):
            group[str(i)] = value


def _fill_legacy(file: Any, layers: Mapping[str, dict[str, Array]]) -> None:
    file.attrs["layer_names"] = [layer.encode() for layer in layers]
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = b"2.15.0"  # without it Keras 2 takes the file for one of Keras 1
    for layer, found in layers.items():
        group = file.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{variable}".encode() for variable in found]
        for variable, value in found.items():
            group[f"{layer}/{variable}"] = value
