"""The one place that compiles: what is kept on disk, when it is compiled anew, and what is said if it cannot be."""

import importlib
import importlib.util
import sys
import warnings

import numba
import numpy as np
import pytest

from npmnv2.kernels import jit as compiling

KERNEL = """
from npmnv2.kernels.jit import compile_kernel

def _double(x, out):
    for i in range(x.shape[0]):
        out[i] = 2 * x[i]

double = compile_kernel(_double, parallel=False)
"""


def doubled(path, monkeypatch):
    """Import the kernel in `path` as a new process would, call it, and return the warnings."""
    monkeypatch.setattr(compiling, "_warned", set())
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


CALLER = """
import numpy as np
from far import kernels
from far.kernels import near
from npmnv2.kernels.jit import compile_kernel

def _both(out):
    out[0], out[1] = near(), kernels.far()

both = compile_kernel(_both, parallel=False)
"""
HELPERS = """
from npmnv2.kernels.jit import compile_scalar
from far.deep import deep

@compile_scalar
def near():
    return 1.0

@compile_scalar
def far():
    return deep()
"""
DEEP = """
from npmnv2.kernels.jit import compile_scalar

@compile_scalar
def deep():
    return 2.0
"""


def test_a_change_in_a_file_that_a_kernel_calls_into_is_seen(tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    (tmp_path / "caller.py").write_text(CALLER)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)

    def result(helpers, deep):
        """As of a new process: all is imported anew."""
        for name, source in (("kernels.py", helpers), ("deep.py", deep)):
            path = tmp_path / "far" / name
            if not path.exists() or path.read_text() != source:
                path.write_text(source)
        importlib.invalidate_caches()
        for name in ("caller", "far", "far.kernels", "far.deep"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        both, out = importlib.import_module("caller").both, np.zeros(2)
        kept = both.is_kept
        both(out)
        return [*out.tolist(), kept]

    assert result(HELPERS, DEEP) == [1, 2, False]
    assert result(HELPERS, DEEP) == [1, 2, True]
    assert result(HELPERS, DEEP.replace("2.0", "20.0")) == [1, 20, False]
    assert result(HELPERS.replace("1.0", "10.0"), DEEP.replace("2.0", "20.0")) == [10, 20, False]


def test_nowhere_to_keep_the_cache_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "_warned", set())
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

    monkeypatch.setattr(compiling._ForgivingCache, "load_overload", lambda *_: None)
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
    monkeypatch.setattr(compiling, "_warned", {"compiled kernels are not kept on disk "})
    exec(KERNEL, scope)  # code from no file
    assert scope["double"].is_kept is None
