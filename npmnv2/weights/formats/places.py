"""Where in a pickle the dictionaries of tensors lie, whatever stands around them; and the models that were pickled.

`torch.save(model)` leaves no dictionary, but the objects themselves. Each module has its arrays in the attributes
`_parameters` and `_buffers`, and the modules inside of it in `_modules`, each by a name. A module of TorchScript has
all of them as attributes. The names that lead to a tensor, joined by points, are those of `model.state_dict()`.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any, TypeGuard

from npmnv2.files import FormatError, shown
from npmnv2.weights.formats.pickled import Global, NumpyArray, Object, Storage, Tensor

DEPTH = 8  # of dictionaries in dictionaries
MOST_PLACES = 10_000  # dictionaries of tensors; the state of an optimiser has one for each parameter
MOST_ITEMS = 100_000  # in all modules of a file; a MobileNetV2 has some 700, of TorchScript 1,600
MOST_LETTERS = 255  # of the name of a tensor in a module
MOST_BESIDE = 100  # entries of a dictionary that hold no tensors

Places = dict[str, dict[str, Tensor]]  # dictionaries of tensors, by the keys that lead there
Modules = Mapping[str, dict[str, Any]]  # of a model: by name, what its class is called and what it has of `SETTINGS`
SHORTCUT = ("use_res_connect", "has_skip")  # whether a block has one, of torchvision's and of timm's
SETTINGS = ("stride", "padding", "padding_mode", "dilation", "eps", *SHORTCUT)


def find(value: object) -> dict[str, tuple[object, dict[str, Tensor]]]:
    """Every dictionary that holds tensors by name, and every model, in the order of the file: itself and its tensors.

    They go by the keys that lead there.

    Examples
    --------
    >>> weight = Tensor(Storage("0", "float32", 6, (0, 6)), 0, (3, 2), (2, 1))
    >>> list(find({"epoch": 3, "checkpoint": {"model": {"weight": weight}}}))
    ['checkpoint.model']
    """
    found: dict[str, tuple[object, dict[str, Tensor]]] = {}
    seen: set[int] = set()  # a pickle may refer to one object many times, and to one around it
    counted = iter(range(MOST_ITEMS))
    waiting: list[tuple[str, int, object]] = [("", 0, value)]
    while waiting and len(found) < MOST_PLACES:
        place, depth, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        inside: list[tuple[object, object]] = []
        tensors = dict(_state(value, counted)) if _is_module(value) else {}
        if not tensors:
            items = [(key, _meant(part)) for key, part in _items(value)]
            tensors = {name: part for name, part in items if isinstance(part, Tensor) and isinstance(name, str)}
            inside = [(key, part) for key, part in items if isinstance(part, Object) or _is_container(part)]
        if tensors:
            found[place] = value, tensors
        if depth < DEPTH:
            start = f"{place}." if place else ""
            waiting += [(f"{start}{shown(str(key), 60)}", depth + 1, part) for key, part in reversed(inside)]
    return found


def beside(value: object, place: str, places: Collection[str]) -> dict[str, object]:
    """What has no tensors in the dictionaries that lead to a place, and in the one there, by the keys that lead to it.

    Examples
    --------
    >>> whole = {"epoch": 3, "checkpoint": {"model": {}, "classes": ["a", "b"], "ema": {}}}
    >>> beside(whole, "checkpoint.model", ["checkpoint.model", "checkpoint.ema"])
    {'epoch': 3, 'checkpoint.classes': ['a', 'b']}
    """
    lies, inside = dict[str, object](), ""
    while isinstance(value, dict):
        plain = ((key, part) for key, part in value.items() if not isinstance(_meant(part), Tensor))
        start, value = inside, None
        for key, part in islice(plain, MOST_BESIDE):
            name = f"{start}{shown(str(key), 60)}"
            if f"{place}.".startswith(f"{name}."):
                value, inside = part, f"{name}."
            elif not any(f"{other}.".startswith(f"{name}.") for other in places):
                lies[name] = part
    return lies


def modules(model: object) -> Modules:
    """What the modules of a model say of themselves: strides, epsilons, ...; a dictionary says nothing.

    Examples
    --------
    >>> relu, model = Object("torch.nn.modules.activation.ReLU6"), Object("mine.Net")
    >>> weight = Tensor(Storage("0", "float32", 6, (0, 6)), 0, (3, 2), (2, 1))
    >>> model.build({"_parameters": {"weight": weight}, "_modules": {"act": relu}, "stride": 2})
    >>> modules(model)
    {'': {'class': 'mine.Net', 'stride': 2}, 'act': {'class': 'torch.nn.modules.activation.ReLU6'}}
    """
    said: dict[str, dict[str, Any]] = {}
    waiting = [("", model)] if _is_module(model) else []
    while waiting:  # which ended when the tensors were looked for
        name, module = waiting.pop()
        has = _attributes(module)
        plain = {key: has[key] for key in SETTINGS if key in has and _is_plain(has[key])}
        said[name] = {"class": module.name if isinstance(module, Object) else "", **plain}
        start = f"{name}." if name else ""
        waiting += [(start + key, part) for key, part in reversed(list(_named(module))) if isinstance(part, Object)]
    return said


def _is_plain(value: object) -> bool:
    numbers = value if isinstance(value, tuple) else (value,)
    return isinstance(value, str) or all(type(number) in (int, float, bool) for number in numbers)


def _meant(value: object) -> object:
    return value.tensor if isinstance(value, NumpyArray) else value


def _is_container(value: object) -> TypeGuard[dict[Any, Any] | list[Any] | tuple[Any, ...]]:
    return isinstance(value, dict | list | tuple) and not isinstance(value, Tensor | Storage | Global)


def _items(value: object) -> list[tuple[Any, Any]]:
    """What is in a dictionary or a list; what an object is made of, and its attributes."""
    if isinstance(value, Object):
        return [*enumerate(value.arguments), *(value.attributes or {}).items()]
    if not _is_container(value):
        return []
    return list(value.items() if isinstance(value, dict) else enumerate(value))


# -- models


def _attributes(value: object) -> dict[Any, Any]:
    """Of a module; that of `torch.fx` is made of a dictionary of them."""
    value = value.attributes if isinstance(value, Object) else value
    return value if isinstance(value, dict) else {}


def _is_module(value: object) -> bool:
    is_program = isinstance(value, Object) and value.name.startswith("__torch__.")
    return is_program or isinstance(_attributes(value).get("_modules"), dict)


def _state(model: object, counted: Iterator[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model by name, in the order of its state_dict()."""
    waiting = [("", model)]
    while waiting:
        start, module = waiting.pop()
        inside = []
        for name, part in _named(module):
            if next(counted, None) is None:
                raise FormatError(f"holds models of more than {MOST_ITEMS} parts, or one that is inside of itself")
            if len(start) + len(name) > MOST_LETTERS:
                raise FormatError(f"has a name of more than {MOST_LETTERS} letters in a model, or one inside of itself")
            part = _meant(part)
            if isinstance(part, Tensor):
                yield f"{start}{name}", part
            elif isinstance(part, Object):
                inside.append((f"{start}{name}.", part))
        waiting += reversed(inside)


def _named(module: object) -> Iterator[tuple[str, object]]:
    """The arrays and modules of a module; no buffers that its state_dict() leaves out."""
    attributes = _attributes(module)
    if "_modules" not in attributes:  # of TorchScript
        yield from ((name, part) for name, part in attributes.items() if isinstance(name, str))
        return
    left_out = attributes.get("_non_persistent_buffers_set")
    for kind in ("_parameters", "_buffers", "_modules"):
        parts = attributes.get(kind)
        for name, part in parts.items() if isinstance(parts, dict) else ():
            is_left_out = kind == "_buffers" and isinstance(left_out, list) and name in left_out
            if isinstance(name, str) and not is_left_out:
                yield name, part
