"""A page to play with, docs/play.html: convolutions, two paddings, the block, costs. ``python -m npmnv2.show.play``.

The page is one file that loads nothing. It computes by itself, in the browser, and has with it what NumPy computed for
every position of its switches: opened as ``play.html#selftest`` it compares the two and says what differs.

- `answers`: the arrays of the page, and what `ops`, `shapes` and `cost` make of them.
- ``page.html``: the frame, with a place for each of the others.
- ``page.css``: how it looks.
- ``compute.js``: the convolution as a list of products, and the costs: all arithmetic of the page.
- ``convolution.js``, ``paddings.js``, ``block.js``, ``costs.js``: one view each.
- ``draw.js``, ``main.js``: what the views share; switches, keys, the address.
- ``selftest.js``: the comparison.
"""

import json
import os
from pathlib import Path

from npmnv2.atomic import writing
from npmnv2.show.play.answers import expected

FOLDER = Path(__file__).parent
SCRIPTS = (
    "compute.js",
    "draw.js",
    "convolution.js",
    "paddings.js",
    "block.js",
    "costs.js",
    "selftest.js",
    "main.js",
)


def page() -> str:
    """The whole page.

    Returns
    -------
    str
        HTML, with its style, its scripts and its data inside.

    Examples
    --------
    >>> text = page()
    >>> text.startswith("<!DOCTYPE html>"), "http://" in text or "https://" in text
    (True, False)
    """
    parts = {
        "/* page.css */": _read("page.css"),
        "/* data */": f"const DATA = {json.dumps(expected(), separators=(',', ':'))};\n",
        "/* scripts */": "\n".join(_read(name) for name in SCRIPTS),
    }
    text = _read("page.html")
    for place, part in parts.items():
        before, after = text.split(place)  # each place occurs once
        text = before + part + after
    return text


def write(path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all (`atomic`).

    Parameters
    ----------
    path : path
        A file that is there is replaced.

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/play.html")
    ...     pathlib.Path(folder, "play.html").read_text(encoding="utf-8") == page()
    True
    """
    with writing(path) as file:
        file.write(page().encode("utf-8"))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
