"""Imports run one way only, and importing the package is quick."""

import ast
import json
import pathlib
import statistics
import subprocess
import sys

import pytest

import npmnv2

ROOT = pathlib.Path(npmnv2.__file__).parent

# From the ground floor up: a module imports only what stands before it here (or beside it, in its own folder).
FLOORS = [
    "shapes",
    "validate",
    "blas",
    "blas_kernel",
    "ops",
    "kernels",
    "gradcheck",
    "backends",
    "threads",
    "roofline",
    "layer",
    "layers",
    "blocks",
    "models",
    "folding",
    "cost",
    "summary",
    "optim",
    "data",
    "weights",
    "onnx_export",
    "train",
    "training",
    "inference",
    "timing",
    "classify",
    "plots",
    "plots_classify",
    "selfcheck",
    "ahead",
    "tour",
    "cli",
    "__main__",
]
# ops and kernels are told apart further: the readable half must not know the compiled one exists.


def _files():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def _floor(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def _imports(path):
    """Every module that a file imports anywhere in it, functions included, as dotted names."""
    package = ("npmnv2", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def _floors_imported(path):
    """The floors of the package that a file imports. `from npmnv2 import x` counts as x (a lazy name as its home)."""
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "npmnv2" and len(parts) > 1:
            floor = parts[1]
            home = npmnv2._HOME.get(floor)
            yield home.split(".")[1] if home and floor not in FLOORS else floor


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    floor = _floor(path)
    assert floor in FLOORS, f"say in FLOORS where {floor} stands"
    for imported in _floors_imported(path):
        if not imported.startswith("__"):  # __version__ and the like
            assert imported in FLOORS, f"{path.name} imports npmnv2.{imported}, which has no floor"
            assert FLOORS.index(imported) <= FLOORS.index(floor), f"{floor} must not import {imported}"


@pytest.mark.parametrize("floor", ["shapes", "validate", "ops", "gradcheck"])
def test_the_readable_half_knows_numpy_only(floor):
    allowed = {"numpy", *sys.stdlib_module_names} | ({"npmnv2"} if floor != "gradcheck" else set())
    for path in _files():
        if _floor(path) == floor:
            assert {name.split(".")[0] for name in _imports(path)} <= allowed, path


def test_nothing_below_layers_holds_state_or_knows_layers():
    for path in _files():
        if _floor(path) in ("ops", "kernels"):
            assert not {"layers", "blocks", "models"} & set(_floors_imported(path)), path


def test_the_check_above_sees_a_wrong_import(tmp_path, monkeypatch):
    """The parser finds an import in any dress; else the tests above would pass on anything."""
    (tmp_path / "ops").mkdir()
    for line in (
        "import npmnv2.kernels",
        "from npmnv2 import kernels",
        "from npmnv2.kernels import depthwise",
        "from .. import kernels",
        "from ..kernels.depthwise import loops",
        "def f():\n    from npmnv2 import kernels",
        "importlib.import_module('npmnv2.kernels')",
    ):
        path = tmp_path / "ops" / "conv.py"
        path.write_text(line)
        monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
        assert list(_floors_imported(path)) == ["kernels"], line


def _fresh(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    ).stdout


def test_import_loads_neither_numba_nor_matplotlib():
    code = """
import json, sys
import npmnv2
first = [m for m in ("numba", "matplotlib", "PIL", "tqdm", "scipy") if m in sys.modules]
import npmnv2.ops, npmnv2.nn.layers, npmnv2.models, npmnv2.nn.optim, npmnv2.gradcheck
npmnv2.mobilenet_v2
second = [m for m in ("numba", "matplotlib", "PIL", "tqdm", "scipy") if m in sys.modules]
print(json.dumps([first, second]))
"""
    assert json.loads(_fresh(code)) == [[], []]


def test_import_is_quick():
    """A quarter of a second of processor time, NumPy included; on a busy machine wall time would measure the others."""
    code = """
import time
start = time.process_time()
import numpy, npmnv2, npmnv2.ops
print(time.process_time() - start)
"""
    assert statistics.median(float(_fresh(code)) for _ in range(5)) <= 0.25


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
