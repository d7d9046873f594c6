"""The documentation is tested: its code runs, its quotations are the source, its links lead somewhere.

Conventions of the pages (docs/*.md, docs/derivations/*.md and README.md):

- ```python blocks run, in order, in one namespace a page; a block with ``>>>`` is a doctest.
- ```py blocks are quotations. The first line names the file (``# npmnv2/ops/conv.py``); the others stand in that file,
  in this order and without gaps, but for a line ``...`` where something was left out. Indentation may be taken off.
- ```sh blocks are commands. What they call must exist and know the options used; test_docs_commands.py runs them.

Each check is a function from a text to a list of problems, so that a test can hand it something broken.
"""

import contextlib
import contextvars
import doctest
import functools
import inspect
import io
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

import npmnv2
from npmnv2 import ops
from npmnv2.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
DERIVATIONS = sorted((ROOT / "docs" / "derivations").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *DERIVATIONS,
    *sorted((ROOT / "docs" / "labs").glob("*.md")),
]
IDS = [str(p.relative_to(ROOT)) for p in PAGES]
SOURCES = sorted([*(ROOT / "npmnv2").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])


class Fence(NamedTuple):
    """One fenced block: its language, the line it begins on (from 0), its text."""

    language: str
    line: int
    body: str


def fences(text):
    found, start = [], None
    for number, line in enumerate(text.split("\n")):
        if line.lstrip().startswith("```"):
            if start is None:
                start, language, body = number + 1, line.strip().strip("`").strip(), []
            else:
                found.append(Fence(language, start, textwrap.dedent("\n".join(body)) + "\n"))
                start = None
        elif start is not None:
            body.append(line)
    assert start is None, f"a fence opened on line {start} is never closed"
    return found


def prose(text):
    """The text without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```\s*?$", "", text, flags=re.MULTILINE | re.DOTALL)


def code_spans(text):
    return re.findall(r"`([^`\n]+)`", prose(text))


# -- the code runs


COMPILES = re.compile(r'npmnv2\.fuse\(|\bengine\(|backend\("numba"\)')


def run_blocks(text, name, kernels=True):
    """Run every ```python block; raise what it raises, AssertionError if a doctest's output differs.

    Without `kernels` those that compile for long are left out.
    """
    namespace = {"__name__": "docs"}
    flags = doctest.ELLIPSIS
    for fence in fences(text):
        if fence.language != "python" or (COMPILES.search(fence.body) and not kernels):
            continue
        if ">>>" in fence.body:
            example = doctest.DocTestParser().get_doctest(fence.body, namespace, name, name, fence.line)
            report = []
            result = doctest.DocTestRunner(optionflags=flags).run(example, out=report.append, clear_globs=False)
            assert result.failed == 0, "".join(report)
            namespace.update(example.globs)
        else:
            exec(compile("\n" * fence.line + fence.body, name, "exec"), namespace)


def pages_with_code():
    """Every page without the blocks that compile, and with -m compiled those that have any, whole."""
    for page, name in zip(PAGES, IDS, strict=True):
        yield pytest.param(page, False, id=name)
        if any(COMPILES.search(fence.body) for fence in fences(page.read_text(encoding="utf-8"))):
            yield pytest.param(page, True, id=f"{name}-compiled", marks=pytest.mark.compiled)


@pytest.mark.parametrize("page, kernels", list(pages_with_code()))
def test_code_runs(page, kernels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    contextvars.copy_context().run(run_blocks, text, str(page.relative_to(ROOT)), kernels)


# -- quotations are the source


def quotations(text):
    """(file, [runs of lines]) of every ```py block."""
    for fence in fences(text):
        if fence.language == "py":
            first, _, body = fence.body.partition("\n")
            runs = [run.strip("\n") for run in re.split(r"^\s*\.\.\.\s*$", body, flags=re.MULTILINE)]
            yield first.removeprefix("# ").strip(), runs


def stands_in(runs, source):
    """Whether the runs of lines stand in the source, in order, all indented alike."""
    for indent in range(0, 21, 4):
        at = 0
        for run in runs:
            at = ("\n" + source).find("\n" + textwrap.indent(run, " " * indent) + "\n", at)
            if at < 0:
                break
            at += 1
        else:
            return True
    return False


def wrong_quotations(text):
    problems = []
    for name, runs in quotations(text):
        path = ROOT / name
        if not name.endswith(".py") or not path.exists():
            problems.append(f"a quotation must begin with the name of a file, not with {name!r}")
        elif not stands_in(runs, path.read_text(encoding="utf-8")):
            problems.append(f"not in {name}:\n" + "\n...\n".join(runs))
    return problems


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_quotations(page):
    assert wrong_quotations(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", [n for n in ops.__all__ if re.search(r"_backward|softmax_cross", n)])
def test_every_backward_is_derived(name):
    """Its lines, or those it was derived into, are quoted on a page of derivations."""
    source = inspect.getsource(getattr(ops, name))
    pages = [page.read_text(encoding="utf-8") for page in DERIVATIONS]
    assert any(stands_in(runs, source) for page in pages for _, runs in quotations(page))


# -- links and names lead somewhere


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings(text):
    return re.findall(r"^#+ +(.+?) *$", prose(text), flags=re.MULTILINE)


def broken_links(text, page):
    problems = []
    for target in re.findall(r"\[[^\]\n]+\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`|\$[^$\n]+\$", "x", prose(text))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or ROOT not in (path, *path.parents):
            problems.append(f"{target}: no such file")
        elif anchor:
            linked = text if path == page else path.read_text(encoding="utf-8")
            if anchor not in map(slug, headings(linked)):
                problems.append(f"{target}: no such heading")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links(page):
    text = page.read_text(encoding="utf-8")
    assert broken_links(text, page) == []
    anchors = [slug(h) for h in headings(text)]
    assert len(anchors) == len(set(anchors)), "two headings with one anchor"


@pytest.mark.parametrize("name", ["index.md", "derivations/README.md"])
def test_index_leads_to_every_page(name):
    index = ROOT / "docs" / name
    pages = {p.name for p in index.parent.glob("*.md")} - {index.name}
    if name == "index.md":
        pages.add("derivations/README.md")
    assert {name for name in pages if f"]({name})" not in index.read_text(encoding="utf-8")} == set()


def broken_citations(source):
    """Pages, and headings of pages, that the text of a module names and that do not exist."""
    problems = []
    words = re.sub(r"\s+", " ", source)
    for name, heading in re.findall(r'(docs/[\w/]+\.md)(?:, "([^"]+)")?', words):
        if not (ROOT / name).exists():
            problems.append(f"{name}: no such page")
        elif heading and heading not in headings((ROOT / name).read_text(encoding="utf-8")):
            problems.append(f'{name}, "{heading}": no such heading')
    return problems


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_citations_in_docstrings(path):
    assert broken_citations(path.read_text(encoding="utf-8")) == []


def unknown_names(text):
    """`ops.something` and the like, in code spans, that the package has not."""
    problems = []
    for span in code_spans(text):
        match = re.match(r"(?:npmnv2\.)?((?:ops|gradcheck|shapes|layers|blocks|kernels|optim)\.[A-Za-z_]\w*)", span)
        if match and not re.match(r"[\w.]+\.py\b", span):  # a file is not a name
            module, _, name = match[1].partition(".")
            if not hasattr(getattr(npmnv2, module), name):
                problems.append(match[0])
    return problems


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_names(page):
    assert unknown_names(page.read_text(encoding="utf-8")) == []


# -- commands can be called


@functools.cache
def help_of(command):
    if command[:2] == ("-m", "npmnv2"):
        with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(io.StringIO()):
            status = main([*command[2:], "--help"])
        return shown.getvalue() if status == 0 else None
    done = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


FORMS = [["lab", "start"], ["lab", "grade"], ["lab", "claims"]]  # commands with options of their own


def wrong_commands(text):
    lines = [line for fence in fences(text) if fence.language == "sh" for line in fence.body.split("\n")]
    problems = []
    for line in [*lines, *code_spans(text)]:
        words = shlex.split(line.removeprefix("$ "), comments=True) if "python " in line else []
        if words[:1] != ["python"]:
            continue
        called = [w for w in words[1:] if not w.startswith("-") or w == "-m"]
        ours = 4 if called[2:4] in FORMS else 3
        called = called[: ours if called[0] == "-m" and called[1] == "npmnv2" else 2 if called[0] == "-m" else 1]
        if called[0] == "-m" and called[1] != "npmnv2":
            continue  # somebody else's module: pip, pytest
        if called[0] != "-m" and not (ROOT / called[0]).exists():
            problems.append(f"{line}: no such file")
            continue
        shown = help_of(tuple(called))
        if shown is None:
            problems.append(f"{line}: `{' '.join(called)} --help` failed")
        else:
            options = [w.partition("=")[0] for w in words if w.startswith("--")]
            problems += [f"{line}: no option {o}" for o in options if o not in shown]
    return problems


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands(page):
    assert wrong_commands(page.read_text(encoding="utf-8")) == []


# -- formulas survive Markdown


def fragile_formulas(text):
    """What Markdown could take apart before a formula is drawn."""
    plain = re.sub(r"`[^`\n]+`", "x", prose(text))
    blocks = re.findall(r"^\$\$$(.*?)^\$\$$", plain, flags=re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^\$\$$.*?^\$\$$", "", plain, flags=re.MULTILINE | re.DOTALL)
    marks = r"^\s*([-+*=#>]|\d+[.)])"
    problems = [
        f"{b.strip()}: a line must not begin like a list or a heading" for b in blocks if re.search(marks, b, re.M)
    ]
    if "$$" in rest:
        problems.append("$$ must stand on a line of its own")
    inline = re.findall(r"\$([^$\n]+)\$", rest)
    for line in rest.split("\n"):
        if line.count("$") % 2:
            problems.append(f"{line}: a formula must not be broken over two lines")
        for before, inside, after in re.findall(r"(^|.)\$([^$\n]+)\$(.|$)", line):
            if inside != inside.strip() or re.match(r"[\w$]", before) or re.match(r"[\w$]", after):
                problems.append(f"{inside}: needs no space inside and no letter outside its dollars")
    for formula in [*blocks, *inline]:
        if re.search(r"\\[^A-Za-z\s]|\\\\", formula):
            problems.append(f"{formula}: Markdown eats a backslash before a sign")
        if re.search(r"(?<![A-Za-z0-9])_|[*<>|]", formula):
            problems.append(f"{formula}: Markdown may read this sign as emphasis, HTML or a table")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_formulas(page):
    assert fragile_formulas(page.read_text(encoding="utf-8")) == []


# -- and the checks themselves notice what is wrong


def test_checks_notice():
    page = ROOT / "docs" / "derivations" / "convolutions.md"
    with pytest.raises(AssertionError):
        run_blocks("```python\n>>> 1 + 1\n3\n```\n", "broken")
    with pytest.raises(ZeroDivisionError):
        run_blocks("```python\na = 0\n```\n\n```python\n1 / a\n```\n", "broken")
    with pytest.raises(AssertionError):
        fences("```python\n")
    assert not wrong_quotations(
        "```py\n# npmnv2/ops/depthwise.py\ntap = xp[seen]\n...\ndxp[seen] += dout * w[i, j]\n```"
    )
    assert wrong_quotations("```py\n# npmnv2/ops/depthwise.py\nout += tap + w[i, j]\n```")
    assert wrong_quotations("```py\n# npmnv2/ops/depthwise.py\nout += tap * w[i\n```")  # part of a line
    assert wrong_quotations("```py\n# npmnv2/ops/depthwise.py\ntap = xp[seen]\ndxp[seen] += dout * w[i, j]\n```")
    assert wrong_quotations("```py\nout += tap * w[i, j]\n```")  # of which file?
    assert not broken_links("# A, b\n[x](#a-b)", page)
    assert broken_links("# A, b\n[x](#a--b)", page)
    assert broken_links("[x](nowhere.md)", page)
    assert not broken_links("[x](../index.md)", page)
    assert broken_links("[x](index.md)", page)
    assert broken_links("[x](../index.md#nowhere)", page)
    assert not broken_citations('see docs/derivations/convolutions.md,\n    "Standard convolution".')
    assert broken_citations('docs/derivations/convolutions.md, "Standard confusion"')
    assert broken_citations("docs/nowhere.md")
    assert not unknown_names("`ops.conv2d_forward(x, w)` `kernels/` `ops/conv.py` `shapes.py`")
    assert unknown_names("`ops.conv3d_forward`")
    assert wrong_commands("```sh\npython benchmarks/nowhere.py\n```")
    assert wrong_commands("```sh\npython -m npmnv2 nonsense\n```")
    assert wrong_commands("`python -m npmnv2 --nonsense`")
    assert not fragile_formulas("a $x_i$, then\n\n$$\n\\sum_{i} x[i]\n$$\n")
    for broken in ("$a\nb$", "$ a$", "a$b$", "$\\hat{x}_i$", "$a \\{ b$", "$a*b$", "$$ a $$", "$a<b$"):
        assert fragile_formulas(broken), broken
    for broken in ("- b", "= b", "1. b"):
        assert fragile_formulas(f"$$\na\n{broken}\n$$"), broken
