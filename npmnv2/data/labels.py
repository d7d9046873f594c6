"""What classes are called: the 1000 of ImageNet, and files of names."""

import json
import os
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("imagenet_labels.txt")
MOST_BYTES = 16 * 2**20  # no list of names is that long; a file of weights, given by mistake, is


def imagenet_labels(background: bool = False) -> list[str]:
    """The classes of ImageNet (ILSVRC 2012) in the order that every published checkpoint has them.

    Parameters
    ----------
    background : bool
        Put ``"background"`` before them, as TF-slim and Hugging Face's MobileNets have it: 1001 classes.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the file is missing or damaged.

    Examples
    --------
    >>> labels = imagenet_labels()
    >>> len(labels), labels[0], labels[207], labels[-1]
    (1000, 'tench', 'golden retriever', 'toilet tissue')
    >>> imagenet_labels(background=True)[:2]
    ['background', 'tench']
    """
    try:
        labels = FILE.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        raise ValueError(f"{FILE} is missing or damaged: install npmnv2 again ({reason})") from reason
    if len(labels) != 1000:
        raise ValueError(f"{FILE} does not hold the 1000 names it should: install npmnv2 again")
    return ["background", *labels] if background else labels


def read_labels(path: str | os.PathLike[str]) -> list[str]:
    """Read what classes are called.

    Parameters
    ----------
    path : path
        One of

        - text: one name a line, in the order of the classes;
        - JSON: a list of names;
        - JSON: a dictionary from the number of a class to its name, or to a list that ends in its name, as Keras'
          ``imagenet_class_index.json`` has it; or one that has such a dictionary as ``id2label``, as Hugging Face's
          ``config.json`` has it.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If the file is none of these; the message begins with the path.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "names.json")
    ...     _ = path.write_text('{"1": ["n02", "dog"], "0": ["n01", "cat"]}')
    ...     read_labels(path)
    ['cat', 'dog']
    """
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    try:
        if len(content) > MOST_BYTES or b"\0" in content:
            raise ValueError
        text = content.decode("utf-8-sig")
    except ValueError:
        raise ValueError(f"{path}: is not a list of names: it must be UTF-8 text or JSON") from None
    if text.lstrip()[:1] in ("[", "{"):
        try:
            labels = _from_json(json.loads(text))
        except (ValueError, RecursionError) as reason:
            raise ValueError(f"{path}: is not a list of names: {reason}") from None
    else:
        labels = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    for number, label in enumerate(labels):
        if not label:
            raise ValueError(f"{path}: the name of class {number} (from 0) is empty")
    if not labels:
        raise ValueError(f"{path}: is empty; it must hold one name a line")
    return labels


def _from_json(value: Any) -> list[str]:
    """Names in the order of their classes; a ValueError says what is wrong."""
    if isinstance(value, dict):
        value = value.get("id2label", value)
    if isinstance(value, dict):
        try:
            by_number = {int(number): name for number, name in value.items()}
            value = [by_number[number] for number in range(len(value))]
        except (ValueError, KeyError):
            raise ValueError(f"the keys of the dictionary must be the numbers 0 to {len(value) - 1}") from None
    if not isinstance(value, list):
        raise ValueError("JSON must hold a list of names, or a dictionary from numbers to names")
    names = [entry[-1] if isinstance(entry, list) and entry else entry for entry in value]
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f"the name of class {number} (from 0) must be a text; was {str(name)[:40]}")
    return [name.strip() for name in names]
