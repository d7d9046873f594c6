"""What a training script puts around the weights in a .pth: other tensors, objects, the names of the classes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from npmnv2.files import listed, shown

if TYPE_CHECKING:
    from npmnv2.weights.formats.torch_file import TorchFile

LABELS = ("classes", "class_names", "labels", "class_to_idx")  # what such scripts call the names of the classes


def passed_over(file: "TorchFile") -> list[str]:
    """Sentences on the tensors and the objects that are left out."""
    left_out = []
    if file.others:
        left_out.append(f"tensors under {listed(shown(other or 'the whole', 30) for other in file.others)}")
    if file.dropped:
        left_out.append(f"objects of {', '.join(file.dropped)}: none of these names was looked up or run")
    return left_out


def labels_in(beside: Mapping[str, object], classes: int) -> tuple[list[str] | None, list[str], list[str]]:
    """The names of so many classes, if they lie beside the weights; sentences on what was found, and is left out.

    Examples
    --------
    >>> labels_in({"epoch": 3, "classes": ["apple", "pear"]}, 2)
    (['apple', 'pear'], ['the names of the classes, in classes'], ['what lies beside the weights: epoch'])
    """
    called = {name: value for name, value in beside.items() if name.rpartition(".")[2].lower() in LABELS}
    fit = {name: names for name, value in called.items() if len(names := names_in(value)) == classes > 0}
    labels: list[str] | None = next(iter(fit.values()), None)
    where, why = listed(map(shown, fit)), ""
    if any(other != labels for other in fit.values()):
        labels, fit, why = None, {}, f"; {where} name the classes differently"
    found = [f"the names of the classes, in {where}"] * (labels is not None)
    rest = listed((shown(name) for name in beside if name not in fit), 10)
    return labels, found, [f"what lies beside the weights: {rest}{why}"] * bool(rest)


def names_in(value: object) -> list[str]:
    """Names in the order of their classes, from a list of them or a dictionary that numbers them; else nothing.

    Examples
    --------
    >>> names_in(("apple", "pear")), names_in({"pear": 1, "apple": 0}), names_in({"pear": 1}), names_in([3])
    (['apple', 'pear'], ['apple', 'pear'], [], [])
    """
    if isinstance(value, dict) and all(type(number) is int for number in value.values()):
        value = sorted(value, key=value.__getitem__) if sorted(value.values()) == list(range(len(value))) else ()
    names = list(value) if isinstance(value, list | tuple) else []
    return names if all(isinstance(name, str) for name in names) else []
