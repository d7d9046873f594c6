"""What a model of PyTorch that was saved as a whole says besides its arrays, compared with the network here.

`torch.save(model)` keeps every module with its attributes. Those of a convolution are its stride, padding and dilation,
that of a batch norm its epsilon; an activation is a module of its own, and a block of torchvision's or timm's says
whether it has a shortcut. What else is written in a class is not in the file.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from npmnv2.files import FormatError, shown
from npmnv2.weights.conventions import one_epsilon, strides_of_rows
from npmnv2.weights.formats.places import SHORTCUT, Modules
from npmnv2.weights.names import layer_of, layers
from npmnv2.weights.recognise import Found
from npmnv2.weights.said import Said

_OUTPUTS = ("Softmax", "LogSoftmax", "Sigmoid")  # behind a classifier they are left out
_ACTIVATION = re.compile(r"(torch\.nn\.modules\.activation|timm\.layers\.activations\w*)\.(\w+)")


def compare(modules: Modules, found: Found, config: Mapping[str, Any]) -> Said:
    """The configuration with the strides and the epsilon of the file; and what it does not say.

    An error if padding, dilation, strides or an activation are none of the network here.

    Examples
    --------
    >>> from npmnv2.weights.names import bare_entries
    >>> found = Found("mobilenet_v2", "torchvision", 1.0, bare_entries("mobilenet_v2", "torchvision"), [])
    >>> config = {"width_mult": 1.0, "strides": "imagenet", "padding": 1, "eps": 1e-5}
    >>> modules = {"features.0.1": {"class": "torch.nn.modules.batchnorm.BatchNorm2d", "eps": 0.001}}
    >>> compare(modules, found, config).config["eps"]
    0.001
    >>> compare({"features.0.2": {"class": "torch.nn.modules.activation.SiLU"}}, found, config)
    Traceback (most recent call last):
        ...
    npmnv2.files.FormatError: has the activation SiLU at features.0.2; a mobilenet_v2 here has ReLU6
    """
    if any(said["class"].startswith("__torch__.") for said in modules.values()):
        unread = "strides, padding, epsilon and activations are those of its names: a TorchScript's code is not read"
        return Said(config, assumed=(unread,))
    theirs = {entry.ours: modules.get(layer_of(entry.theirs)[:-1], {}) for entry in found.known}
    eps = one_epsilon(said.get("eps") for name, said in theirs.items() if name.endswith("gamma"))
    config = {**config, "eps": config["eps"] if eps is None else eps}
    if strides := _strides(theirs, found, config):
        config["strides"] = strides
    _compare_layers(modules, theirs, found, config)
    return Said(config, left_out=tuple(_left_out(modules, found)))


def _strides(theirs: Mapping[str, Mapping[str, Any]], found: Found, config: Mapping[str, Any]) -> Any:
    """The stride of the stem and of every row, by its name if it has one."""
    own = layers(found.architecture, found.depth, width_mult=config["width_mult"])[:-1]
    said = {layer.name: theirs[f"{layer.name}.conv.w"].get("stride") for layer in own}
    strides = {name: stride[0] if isinstance(stride, tuple) and stride else stride for name, stride in said.items()}
    return None if None in strides.values() else strides_of_rows(found.architecture, strides)


def _compare_layers(
    modules: Modules, theirs: Mapping[str, Mapping[str, Any]], found: Found, config: Mapping[str, Any]
) -> None:
    """Convolutions and shortcuts with those here; the padding only if it is in the convolutions, as in PyTorch's."""
    try:
        own = layers(found.architecture, found.depth, width_mult=config["width_mult"], strides=config["strides"])[:-1]
    except (ValueError, TypeError, OverflowError):
        raise FormatError(f"has the strides {shown(repr(config['strides']))}, which no network here has") from None
    names = {entry.ours: entry.theirs for entry in found.known}
    for layer in own:
        wanted: dict[str, Any] = {"stride": layer.stride, "dilation": 1}
        if config["padding"] == 1:
            wanted |= {"padding": layer.kernel // 2, "padding_mode": "zeros"}
        said = dict(theirs[f"{layer.name}.conv.w"])
        if said.get("padding") in ("same", "valid"):  # PyTorch takes "same" at stride 1 only
            said["padding"] = layer.kernel // 2 if said["padding"] == "same" else 0
        for name, value in wanted.items():
            if name in said and said[name] not in (value, (value, value)):
                what = f"{name} {shown(str(said[name]), 30)} at {shown(names[f'{layer.name}.conv.w'])}"
                raise FormatError(f"has the {what}; the network here has {value}")
    for path, block in modules.items():  # built for one stride and set to another, a block keeps what it was built for
        has = next((block[name] for name in SHORTCUT if name in block), None)
        here = [bool(layer.shortcut) for layer in own if names[f"{layer.name}.conv.w"].startswith(f"{path}.")]
        if isinstance(has, bool) and here and has != any(here):
            there = "a shortcut" if has else "no shortcut"
            raise FormatError(
                f"has {there} around {shown(path)}; the network here has {'none' if has else 'one'} there"
            )


def _left_out(modules: Modules, found: Found) -> Iterator[str]:
    """What is left out: an activation behind the classifier. Another than ReLU6 elsewhere is an error, or a maximum."""
    for path, said in modules.items():
        kind = said["class"].rpartition(".")[2]
        if "Max" in said["class"] and "Pool" in kind:
            raise FormatError(f"has the layer {kind} at {shown(path)}; the network here averages")
        match = _ACTIVATION.fullmatch(said["class"])
        if match is None or match[2] == "ReLU6":
            continue
        around = layer_of(path)
        if match[2] in _OUTPUTS:
            yield f"{match[2]} at {shown(path)}: the network here answers with the logits"
        elif around and any(entry.theirs.startswith(around) for entry in found.known):
            raise FormatError(f"has the activation {match[2]} at {shown(path)}; a {found.architecture} here has ReLU6")
