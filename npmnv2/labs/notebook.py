"""Notebooks: written from a stub, and read back as one text of Python in which every line has its cell.

A notebook is made from the percent-format stub. A student's notebook is judged as a file would be: its code cells, in
order, are one text. What is for IPython and not for Python is left out of it, and nothing else is.
"""

import json
import re
from typing import Any, NamedTuple

# Lines that only IPython reads, besides those that begin with % or !: help, an assignment of a magic, an installation.
IPYTHON = re.compile(r"\?{1,2}[\w.]+|[\w.]+\?{1,2}|\w+\s*=\s*[%!].*|(pip|conda|mamba)\s+install\s.*")
PYTHON_CELLS = ("%%time", "%%capture")  # cell magics under which a cell's code is run, and its names are kept


class Unusable(ValueError):
    """The file is no notebook that can be read; the text says why."""


class Source(NamedTuple):
    """What is run of a student's file."""

    code: str
    cells: tuple[int, ...] = ()  # of a notebook: the line of `code` on which each code cell begins
    left_out: tuple[str, ...] = ()  # what is for IPython, with its place

    def place(self, line: int) -> str:
        """Where a line of `code` stands: a line of the file, or a line of a cell.

        Cells are counted as a notebook numbers them when all are run: code cells alone, and no empty ones.

        Examples
        --------
        >>> Source("a = 1").place(1), Source("a = 1\\n\\nb = 2\\nc = 3", cells=(1, 3)).place(4)
        ('line 1', 'cell 2, line 2')
        """
        if not self.cells:
            return f"line {line}"
        cell = max(1, sum(first <= line for first in self.cells))
        return f"cell {cell}, line {line - self.cells[cell - 1] + 1}"


def is_notebook(path: str) -> bool:
    """Whether the name is that of a notebook."""
    return path.lower().endswith(".ipynb")


# -- from a stub to a notebook


def from_stub(stub: str) -> str:
    """The notebook of a percent-format stub, as text: the same stub gives the same bytes."""
    cells = [_cell(k, part) for k, part in enumerate(re.split(r"^# %%", stub, flags=re.MULTILINE)[1:])]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, part: str) -> dict[str, Any]:
    """A cell from what follows its `# %%`."""
    mark, _, text = part.partition("\n")
    text = text.strip("\n")
    named = {"id": f"cell-{number}", "metadata": {}}
    if mark.strip() == "[markdown]":
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        return {"cell_type": "markdown", **named, "source": text.splitlines(keepends=True)}
    code = {"source": text.splitlines(keepends=True), "execution_count": None, "outputs": []}
    return {"cell_type": "code", **named, **code}


# -- from a notebook to one text


def joined(text: str | bytes) -> Source:
    """The code cells of a notebook, in order. Raises `Unusable` if it is none."""
    lines: list[str] = []
    cells: list[int] = []
    left_out: list[str] = []
    for source in _code_cells(text):
        cells.append(len(lines) + 1)
        kept, left = _without_magics(source.replace("\r\n", "\n").split("\n"))
        lines += kept
        left_out += [f"cell {len(cells)}, {what}" for what in left]
    code = "\n".join(lines) + "\n"
    code = code.encode("utf-8", "replace").decode("utf-8")  # JSON can hold halves of characters, a file cannot
    return Source(code, tuple(cells), tuple(left_out))


def _code_cells(text: str | bytes) -> list[str]:
    """The texts of the code cells that are not empty."""
    again = "Save it from Jupyter again, or begin a new one with `lab start N --notebook`."
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"A notebook is JSON; this file was none ({error}). {again}") from None
    version = document.get("nbformat") if isinstance(document, dict) else None
    if version != 4:
        found = "of none" if version is None else f"of nbformat {version!r:.20}"
        raise Unusable(f"A notebook must be of nbformat 4; this one is {found}. {again}")
    cells = document.get("cells")
    cells = [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []
    sources = [cell.get("source") for cell in cells if cell.get("cell_type") == "code"]
    texts = ["".join(map(str, source)) if isinstance(source, list) else str(source or "") for source in sources]
    if not any(text.strip() for text in texts):
        raise Unusable(f"A notebook must have code cells that are not empty; this one had none. {again}")
    return [text for text in texts if text.strip()]


def _without_magics(lines: list[str]) -> tuple[list[str], list[str]]:
    """As many lines, without those for IPython, and which those were."""
    first = next(k for k, line in enumerate(lines) if line.strip())
    magic = lines[first].split()[0]
    if magic.startswith("%%") and magic not in PYTHON_CELLS:
        return [""] * len(lines), [f"all of it: {lines[first].strip()}"]
    kept, left, inside, continued = [], [], _Inside("", 0, False), False
    for number, line in enumerate(lines, 1):
        words = line.lstrip()
        starts = inside == ("", 0, False) and (words.startswith(("%", "!")) or IPYTHON.fullmatch(words.rstrip()))
        if starts or continued:
            indent = "" if continued else line[: len(line) - len(words)]
            kept.append(indent and f"{indent}pass")  # an `if` may need something to do
            continued = line.endswith("\\")
            left.append(f"line {number}: {words.rstrip()}")
        else:
            kept.append(line)
            inside = _after(line, inside)
    return kept, left


class _Inside(NamedTuple):
    """In what a line begins. In any of these a `%` is Python's own: a remainder, or part of a string."""

    quote: str  # of a string that has not ended
    depth: int  # of brackets
    backslash: bool  # at the end of the line before


def _after(line: str, inside: _Inside) -> _Inside:
    quote, depth = inside.quote, inside.depth
    for piece in re.findall(r"\\.|\"\"\"|'''|[\"'#()\[\]{}]", line):
        if quote:
            quote = "" if piece.startswith(quote) else quote
        elif piece == "#":
            return _Inside("", depth, False)
        elif piece[0] in "\"'":
            quote = piece
        elif piece in "([{":
            depth += 1
        elif piece in ")]}":
            depth = max(0, depth - 1)
    backslash = line.endswith("\\")
    return _Inside(quote if len(quote) == 3 or backslash else "", depth, backslash)
