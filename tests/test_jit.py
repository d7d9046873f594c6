"""The one place that compiles: what is kept on disk, when it is compiled anew, and what is said if it cannot be."""

import ast
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest

import npmnv2.kernels
from npmnv2.kernels import jit, numba_private

PACKAGE = Path(npmnv2.__file__).parent

KERNEL = """
from npmnv2.kernels.jit import compile_kernel

def _double(x, out):
    for i in range(x.shape[0]):
        out[i] = 2 * x[i]

double = compile_kernel(_double, parallel=False)
"""


def doubled(path, monkeypatch):
    """Import the kernel in `path` as a new process would, call it, and return the warnings."""
    monkeypatch.setattr(numba_private, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        spec = importlib.util.spec_from_file_location("some_kernel", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        out = np.zeros(3)
        module.double(np.arange(3.0), out)
    assert out.tolist() == [0, 2, 4]
    return [str(w.message) for w in caught if "npmnv2" in str(w.message)]


def test_a_broken_cache_file_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")  # beside the source, wherever the other kernels are kept
    path = tmp_path / "some_kernel.py"
    path.write_text(KERNEL)
    assert doubled(path, monkeypatch) == []
    files = sorted(f for f in tmp_path.rglob("*") if f.suffix in (".nbi", ".nbc"))
    assert {f.suffix for f in files} == {".nbi", ".nbc"}
    for file in files:
        whole = file.read_bytes()
        for rest in (b"", whole[: len(whole) // 2], b"not a pickle"):
            file.write_bytes(rest)
            (message,) = doubled(path, monkeypatch)
            assert "unreadable file of compiled kernels is replaced" in message and "\n" not in message
            assert doubled(path, monkeypatch) == []  # and has been


RUN = """
import json, sys, warnings
warnings.simplefilter("always")
import numpy as np
from npmnv2.kernels import sgd
from npmnv2.kernels.copy import copy
kept = [copy.is_kept, sgd.loops.is_kept]
out = np.zeros((1, 1))
copy(np.ones((1, 1)), out)
sgd.step(np.ones(1), np.ones(1), np.ones(1), 0.125, 0.5, 1.0)
print(json.dumps([*kept, out.item()]))
"""


def run(root, tmp_path, **environment):
    """Two kernels of the package in `root`, in a new process: was each on disk before it was called, and a result."""
    inherited = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | environment
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=inherited | {"PYTHONPATH": str(root)}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_change_in_any_file_is_seen_and_a_new_date_is_not(tmp_path):
    package = tmp_path / "new" / "npmnv2"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(package.parent, tmp_path, **cache)[0] == [False, False, 1]
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
    assert run(package.parent, tmp_path, **cache)[0] == [True, True, 1]
    changed = package / "kernels" / "depthwise" / "loops.py"  # which neither calls
    changed.write_text(changed.read_text() + "# changed\n")
    assert run(package.parent, tmp_path, **cache)[0] == [False, False, 1]
    for folder in (package, *filter(Path.is_dir, package.rglob("*"))):
        folder.chmod(0o555)  # as an administrator installs it (who may write there all the same)
    assert run(package.parent, tmp_path, **cache)[0] == [True, True, 1]


def test_a_package_in_a_zip_file_runs(tmp_path):
    """Newer versions of Numba keep its kernels, in the folder of the user; older ones cannot, which is a warning."""
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", PACKAGE.parent, PACKAGE.name)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    (*kept, out), said = run(archive, tmp_path, **home)
    assert out == 1
    if kept == [None, None]:
        assert said.count("compiled kernels are not kept on disk") == 1
    else:
        assert kept == [False, False] and run(archive, tmp_path, **home)[0] == [True, True, 1]


def test_the_hash_is_of_names_and_contents(tmp_path):
    """Of the files of Python alone, in folders below too, and the same in a zip file."""

    def of(files):
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        for name, text in files.items():
            path = tmp_path / "a" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "a")
        found = numba_private.content(tmp_path / "a")
        assert numba_private.content(zipfile.Path(archive, "a/")) == found
        return found

    files = {"a.py": "x", "b/c.py": "y"}
    same, *others = (
        of(files | {"b/__pycache__/c.pyc": "z", "notes.txt": "n"}),
        of({"a.py": "x", "b/c.py": "z"}),
        of({"a.py": "x", "b/d.py": "y"}),
        of({"a.py": "x", "c.py": "y"}),
        of({"a.py": "xy", "b/c.py": ""}),
        of({"a.py": "x"}),
    )
    assert same == of(files)
    assert len({same, *others}) == 6


def test_what_compiled_code_names_stands_where_the_hash_sees_it():
    """A global of a compiled function is a module, belongs to a package of others, or stands in a file of kernels/."""
    for module in pkgutil.walk_packages(npmnv2.kernels.__path__, "npmnv2.kernels."):
        importlib.import_module(module.name)
    for name, module in list(sys.modules.items()):
        if not name.startswith("npmnv2.kernels"):
            continue
        outside = set()
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and re.match(r"npmnv2(?!\.kernels)", node.module):
                outside |= {alias.asname or alias.name for alias in node.names}
        for value in vars(module).values():
            if hasattr(value, "py_func"):
                assert not outside & set(value.py_func.__code__.co_names), value


# -- what else is private to Numba


def test_only_prange_is_parallel():
    """Of a sum and `np.zeros` Numba would make parallel loops too."""
    scope = {"np": np, "prange": numba.prange}
    exec(
        "def loops(x, out):\n"
        "    s = np.zeros(x.shape[0]) + x\n"
        "    for i in prange(x.shape[0]):\n"
        "        out[i] = s[i] + x.sum()\n",
        scope,
    )
    kernel = numba.njit(parallel=numba_private.PARALLEL)(scope["loops"])
    kernel(np.ones(3), np.ones(3))
    found = kernel.get_metadata(kernel.signatures[0])["parfor_diagnostics"].count_parfors()
    assert found == 1


def test_arrays_of_a_task_do_not_overlap():
    def loops(x, out):
        for i in range(x.shape[0]):
            out[i] = 2 * x[i]

    promised = numba.njit(pipeline_class=numba_private.NoOverlap)
    for task, told in ((numba.njit(loops), [False, False]), (promised(loops), [True, True])):
        task(np.ones(3), np.ones(3))
        (code,) = task.inspect_llvm().values()
        line = next(line for line in code.splitlines() if line.startswith("define") and "%arg.x" in line)
        assert ["noalias" in argument for argument in line.split(", ") if argument.endswith((".x.4", ".out.4"))] == told


@pytest.mark.parametrize("part", ["_cache_file", "_source_stamp", "_index_name", "_data_name", "_load_index"])
def test_a_numba_that_lacks_a_part_keeps_nothing(part, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "some_kernel.py"
    path.write_text(KERNEL)

    class Lacking:
        """Numba's object without that part, if it is the one that has it."""

        def __init__(self, whole):
            vars(self)["whole"] = whole

        def __getattr__(self, name):
            if name == part:
                raise AttributeError(f"no {name}")
            found = getattr(self.whole, name)
            return Lacking(found) if name == "_cache_file" else found

    complete = numba_private.keep

    def keep(dispatcher, loops):
        dispatcher._cache = Lacking(dispatcher._cache)
        complete(dispatcher, loops)

    monkeypatch.setattr(jit, "keep", keep)
    (message,) = doubled(path, monkeypatch)
    assert f"compiled kernels are not kept on disk (no {part})" in message
    assert list(tmp_path.rglob("*.nbi")) == []


def test_nowhere_to_keep_the_cache_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(numba_private, "_warned", set())
    scope = {}
    with pytest.warns(RuntimeWarning, match="compiled kernels are not kept on disk") as caught:
        exec(KERNEL, scope)  # code from no file: Numba finds no folder for it, as in a read-only installation
        exec(KERNEL, scope)
    assert len(caught) == 1
    out = np.zeros(2)
    scope["double"](np.ones(2), out)
    assert out.tolist() == [2, 2]


def test_a_full_disk_is_one_warning(tmp_path, monkeypatch):
    path = tmp_path / "some_kernel.py"
    path.write_text(KERNEL)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba_private._Cache, "load_overload", lambda *_: None)
    from numba.core.caching import FunctionCache

    monkeypatch.setattr(FunctionCache, "save_overload", full)
    (message,) = doubled(path, monkeypatch)
    assert "compiled kernels are not kept on disk" in message and "No space left" in message


def test_two_types_never_share_a_file(tmp_path, monkeypatch):
    """Not even if two processes compile them at once, of which neither sees what the other writes into the index."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    (tmp_path / "some_kernel.py").write_text(KERNEL)
    for dtype in (np.float32, np.float64):
        for index in tmp_path.rglob("*.nbi"):
            index.unlink()
        scope = {"__name__": "some_kernel", "__file__": str(tmp_path / "some_kernel.py")}
        exec(compile(KERNEL, str(tmp_path / "some_kernel.py"), "exec"), scope)
        scope["double"](np.ones(2, dtype), np.empty(2, dtype))
    assert len(list(tmp_path.rglob("*.nbc"))) == 2


def test_whether_a_kernel_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    path = tmp_path / "some_kernel.py"

    def made(source):
        path.write_text(source)
        scope = {"__name__": "some_kernel", "__file__": str(path)}
        exec(compile(source, str(path), "exec"), scope)
        return scope["double"]

    kernel = made(KERNEL)
    assert kernel.is_kept is False
    kernel(np.ones(2), np.empty(2))
    assert kernel.is_kept is True and made(KERNEL + "# changed").is_kept is False
    for index in tmp_path.rglob("*.nbi"):
        index.write_bytes(b"garbage")
    assert kernel.is_kept is False
    scope = {}
    monkeypatch.setattr(numba_private, "_warned", {"compiled kernels are not kept on disk "})
    exec(KERNEL, scope)  # code from no file
    assert scope["double"].is_kept is None
