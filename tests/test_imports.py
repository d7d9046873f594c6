"""Imports run one way only, importing loads little, and what is read first is short, plain and quoted rightly."""

import ast
import graphlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tokenize
import types

import pytest

import npmnv2

ROOT = pathlib.Path(npmnv2.__file__).parent
BENCHMARKS = ROOT.parent / "benchmarks"

# From the ground floor up, a file or a folder each: what stands here imports only what stands before it, or beside it
# in its own folder.
TEXTBOOK = [
    "shapes",
    "validate",
    "atomic",
    "files",
    "backends",
    "ops",
    "nn",
    "models",
    "mini",
    "cost",
    "gradcheck",
    "data",
    "weights",
    "train",
]
ENGINE_ROOM = ["runtime", "kernels", "engine"]  # which the textbook does not know
FLOORS = [*TEXTBOOK, *ENGINE_ROOM, "show", "experiments", "labs", "cli", "__main__"]
NUMPY_ONLY = ["shapes", "validate", "atomic", "files", "backends", "ops", "nn", "models", "cost", "gradcheck"]
ROUTE = [  # what a reader reads, in docs/index.md's order or another
    "mini.py",
    "ops/*.py",
    "nn/base.py",
    "nn/layers.py",
    "nn/blocks.py",
    "nn/optim.py",
    "nn/parameter.py",
    "models/efficientnet_lite.py",
    "models/mobilenet_v1.py",
    "models/mobilenet_v2.py",
    "models/network.py",
    "train/loop.py",
]
LONGEST = 40  # lines of code in a function of the route


def _files(folder=ROOT):
    """The Python files of a folder, without the package's own __init__.py, which names everything."""
    return sorted(path for path in folder.rglob("*.py") if path != ROOT / "__init__.py")


def _floor(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def _route():
    return sorted(path for pattern in ROUTE for path in ROOT.glob(pattern))


def _ids(path):
    return str(path.relative_to(ROOT))


# -- what a file imports


def _imports(path):
    """Every module that a file imports, as dotted names: in functions, under TYPE_CHECKING, by a string, lazily."""
    package = ("npmnv2", *path.relative_to(ROOT).parts[:-1]) if path.is_relative_to(ROOT) else ()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"npmnv2(\.\w+)+", str(node.value)):
            yield node.value  # for importlib, or for `backends.attach`
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "npmnv2":
            yield f"npmnv2.{node.attr}"


def _at_home(name):
    """`npmnv2.fuse` is a name that the package takes from `npmnv2.engine.fused` when it is asked for."""
    package, _, rest = name.partition(".")
    first, _, rest = rest.partition(".")
    if package != "npmnv2" or not hasattr(npmnv2, first) or first.startswith("__"):
        return name
    found = getattr(npmnv2, first)
    home = found.__name__ if isinstance(found, types.ModuleType) else f"{found.__module__}.{first}"
    return f"{home}.{rest}".rstrip(".")


def _floors_imported(path):
    """The floors of the package that a file imports; `npmnv2.__version__` and the like are on none."""
    for name in map(_at_home, _imports(path)):
        parts = name.split(".")
        if parts[0] == "npmnv2" and len(parts) > 1 and not parts[1].startswith("__"):
            yield parts[1]


@pytest.mark.parametrize("path", _files(), ids=_ids)
def test_imports_run_downwards(path):
    floor = _floor(path)
    assert floor in FLOORS, f"say in FLOORS where {floor} stands"
    for imported in _floors_imported(path):
        assert imported in FLOORS, f"{path.name} imports npmnv2.{imported}, which has no floor"
        assert FLOORS.index(imported) <= FLOORS.index(floor), f"{floor} must not import {imported}"


def test_kernels_know_arrays_only():
    """No layer, no network: those who compile stand below what they are attached to."""
    for path in _files():
        if _floor(path) in ("runtime", "kernels"):
            assert set(_floors_imported(path)) <= {"shapes", "validate", "backends", "ops", "runtime", "kernels"}, path


@pytest.mark.parametrize("floor", NUMPY_ONLY)
def test_the_readable_half_knows_numpy_only(floor):
    allowed = {"numpy", "npmnv2", *sys.stdlib_module_names}
    for path in _files():
        if _floor(path) == floor:
            assert {name.split(".")[0] for name in _imports(path)} <= allowed, path


def test_gradients_are_checked_by_strangers():
    """`gradcheck.check` is for anybody's functions, so it must not lean on what it checks."""
    for file in ("methods.py", "compare.py"):
        for name in _imports(ROOT / "gradcheck" / file):
            assert name.split(".")[0] in {"numpy", *sys.stdlib_module_names} or name.startswith(
                "npmnv2.gradcheck.methods."
            ), name


@pytest.mark.parametrize(
    "line",
    [
        "import npmnv2.kernels",
        "from npmnv2 import kernels",
        "from npmnv2.kernels import depthwise",
        "from .. import kernels",
        "from ..kernels.depthwise import loops",
        "def f():\n    from npmnv2 import kernels",
        "if TYPE_CHECKING:\n    from npmnv2.kernels import jit",
        "importlib.import_module('npmnv2.kernels')",
        "attach('numba', 'npmnv2.kernels.backend')",
        "import npmnv2.shapes\nnpmnv2.kernels.copy",
    ],
)
def test_the_checks_above_see_an_import_in_any_dress(line, tmp_path, monkeypatch):
    (tmp_path / "ops").mkdir()
    path = tmp_path / "ops" / "conv.py"
    path.write_text(line)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert set(_floors_imported(path)) - {"shapes"} == {"kernels"}


def test_a_lazy_name_counts_as_its_home(tmp_path, monkeypatch):
    path = tmp_path / "data.py"
    path.write_text(
        "import npmnv2\nfrom npmnv2 import layers, set_num_threads\nnpmnv2.fuse, npmnv2.backend, npmnv2.__version__\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert sorted(_floors_imported(path)) == ["backends", "engine", "nn", "runtime"]


# -- no cycles


def _graph(folder, prefix):
    """Which files of a folder import which, by dotted names.

    Only what an import names counts: that Python runs the `__init__.py` of the folders on the way too is not seen.
    """
    modules = {}
    for path in _files(folder):
        parts = (*prefix, *path.relative_to(folder).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in modules.items():
        graph[name] = set()
        for imported in map(_at_home, _imports(path)):
            while imported and imported not in modules:
                imported = imported.rpartition(".")[0]
            graph[name] |= {imported} - {"", name}
    return graph


def _cycle(graph):
    """The files of a cycle in the order in which they import each other, or none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("folder, prefix", [(ROOT, ["npmnv2"]), (BENCHMARKS, [])], ids=["npmnv2", "benchmarks"])
def test_no_two_files_import_each_other(folder, prefix):
    graph = _graph(folder, prefix)
    assert sum(map(len, graph.values())) > len(graph)  # imports were found
    assert _cycle(graph) == []


def test_the_check_above_sees_a_cycle(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.py").write_text("def f():\n    from b.c import d\n")
    (tmp_path / "b" / "c.py").write_text("import e.f.g\nimport b.d\n")
    (tmp_path / "b" / "d.py").write_text("if TYPE_CHECKING:\n    import a\n")
    graph = _graph(tmp_path, [])
    assert graph == {"a": {"b.c"}, "b.c": {"b.d"}, "b.d": {"a"}}
    assert set(_cycle(graph)) == {"a", "b.c", "b.d"}
    assert _cycle({"a": {"b"}, "b": set()}) == []


# -- what an import loads


def _fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    ).stdout


def _loaded(code):
    """(modules of the package, packages of others) that a new process loads for some imports."""
    print_them = "print(json.dumps([m for m in {*sys.modules} - before if getattr(sys.modules[m], '__file__', None)]))"
    found = json.loads(_fresh(f"import json, sys\nbefore = {{*sys.modules}}\n{code}\n{print_them}"))
    ours = {name for name in found if name.split(".")[0] == "npmnv2"}
    return ours, {name.split(".")[0] for name in found} - {"npmnv2", *sys.stdlib_module_names}


def test_import_loads_little():
    assert _loaded("import npmnv2") == ({"npmnv2", "npmnv2.backends"}, set())
    ours, others = _loaded("import npmnv2.ops")
    assert {name.split(".")[1] for name in ours if "." in name} == {"backends", "ops", "shapes", "validate"}
    assert others == {"numpy"}


def test_import_loads_neither_numba_nor_matplotlib_nor_scipy():
    """Neither does anything of the textbook that does not read a picture or a file of another library."""
    names = "npmnv2.nn.layers, npmnv2.models, npmnv2.nn.optim, npmnv2.gradcheck, npmnv2.cost, npmnv2.weights"
    ours, others = _loaded(f"import {names}\nnpmnv2.mobilenet_v2\nnpmnv2.layers")
    assert others == {"numpy"}
    assert not {name.split(".")[1] for name in ours if "." in name} & {*ENGINE_ROOM, "show", "cli"}


def test_public_names():
    for name in npmnv2.__all__:
        assert getattr(npmnv2, name) is not None
        assert name in dir(npmnv2)
    with pytest.raises(AttributeError, match="no attribute 'mobilenet_v9'"):
        getattr(npmnv2, "mobilenet_v9")  # noqa: B009
    for module in (npmnv2.ops, npmnv2.kernels):
        assert module.__all__ == sorted(module.__all__)
        assert all(callable(getattr(module, name)) for name in module.__all__)
    assert set(npmnv2.kernels.__all__) <= set(npmnv2.ops.__all__)


# -- what is read first


def _code_lines(source):
    """The lines of code of every function, by name: no docstrings, no comments, no blank lines."""
    spaces = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in spaces:
            code |= set(range(token.start[0], token.end[0] + 1))
    functions = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
            if not isinstance(node, ast.ClassDef):
                functions.append(node)
    return {node.name: len(code & set(range(node.lineno, node.end_lineno + 1))) for node in functions}


@pytest.mark.parametrize("path", _route(), ids=_ids)
def test_what_is_read_first_is_plain_and_short(path):
    source = path.read_text(encoding="utf-8")
    assert re.findall(r".*(?:deferred|kernels|numba).*", source) == []
    assert {name: lines for name, lines in _code_lines(source).items() if lines > LONGEST} == {}


def test_the_route_is_there():
    """A file that moves must not leave the check above without saying so."""
    missing = [pattern for pattern in ROUTE if not list(ROOT.glob(pattern))]
    assert set(missing) <= {"mini.py"}


def test_lines_of_code_are_counted():
    source = '''
def outer(a,
          b):
    """A docstring
    of two lines."""
    # a comment

    def inner():
        """Another."""
        return """a string
of two lines"""

    return inner
'''
    assert _code_lines(source) == {"outer": 6, "inner": 3}


# -- a backward quotes its forward


def _misquoted(source):
    """The `# forward was:` comments that quote no line of code further up in the file, word for word."""
    lines = source.splitlines()
    code = [line.partition("  #")[0].strip().removeprefix("return ") for line in lines]
    quoted = [(k, match[1]) for k, line in enumerate(lines) if (match := re.search(r"# forward was: (.*)", line))]
    return [text for k, text in quoted if text not in code[:k]]


@pytest.mark.parametrize("path", [p for p in _files() if _floor(p) in ("ops", "nn")], ids=_ids)
def test_a_backward_quotes_its_forward(path):
    assert _misquoted(path.read_text(encoding="utf-8")) == []


def test_a_line_that_is_not_the_forwards_is_found():
    forward = "def f(x):\n    out = x * w  # (N, C)\n    return g(x)\ndef b(dout):\n    # forward was: "
    assert _misquoted(forward + "out = x * w") == _misquoted(forward + "g(x)") == []
    assert _misquoted(forward + "out = x + w") == ["out = x + w"]
    assert _misquoted("# forward was: x + 1\nx + 1") == ["x + 1"]  # it must stand above
