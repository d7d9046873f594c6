"""Compiling ahead: that it compiles what is run later, and nothing is left; what it says when it cannot."""

import subprocess
import sys
import types

import numba
import numpy as np
import pytest

from npmnv2 import ahead
from npmnv2.__main__ import main
from npmnv2.blocks import InvertedResidual
from npmnv2.cli.compile import first_time
from npmnv2.kernels import deferred, deferred_steps
from npmnv2.kernels.compile import compile_kernel

LEFT = """
import sys
import numpy as np
import npmnv2
from npmnv2 import ops, optim, selfcheck
from npmnv2 import ahead
from npmnv2.kernels.compile import Kernel

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("npmnv2.kernels.")]
    kernels = {(m.__name__, name): v for m in modules for name, v in vars(m).items() if isinstance(v, Kernel)}
    return {(where, types) for where, kernel in kernels.items() for types in kernel.signatures}

for job, _ in ahead.JOBS.values():
    job()
before, rng = compiled(), np.random.default_rng(0)
for build in (npmnv2.mobilenet_v1, npmnv2.mobilenet_v2):
    model, x = build(5, 0.5), rng.normal(size=(3, 64, 96, 3)).astype(np.float32)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-3)
    for _ in range(2):
        model.backward_parameters(ops.softmax_cross_entropy(model(x), np.array([1, 2, 3]))[1])
        optimizer.step()
    npmnv2.fuse(model)(x)
    model.eval()(x)
selfcheck.run()
print(len(before) > 20, *(where for where, _ in compiled() - before))
"""


def test_nothing_is_left_to_compile():
    """Each kernel has been compiled for all types with which a network is trained, evaluated, fused and checked."""
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("t, stride", [(1, 1), (6, 2), (6, 1)])
def test_the_types_of_a_backward_are_those_of_its_calls(monkeypatch, t, stride):
    seen = []
    block = InvertedResidual(8, 8, stride=stride, t=t, rng=np.random.default_rng(0))
    out = block(np.ones((2, 4, 6, 8), np.float32))
    steps = types.SimpleNamespace(backward=lambda *a: seen.append(a) or deferred_steps.backward(*a))
    monkeypatch.setattr(deferred, "steps", steps)
    block.backward(np.ones_like(out))
    assert tuple(map(numba.typeof, seen[0])) == ahead.backward_types()


def test_what_fails_in_a_process_is_told():
    with pytest.raises(OSError, match=r"^compiling nonsense failed: KeyError: 'nonsense'"):
        ahead.JOBS["nonsense"] = ahead.JOBS["the engine"]
        try:
            ahead.compile_ahead(["nonsense"], 1)
        finally:
            del ahead.JOBS["nonsense"]


def job_kept_in(path):
    return lambda: None, types.SimpleNamespace(kept_in=path)


def test_what_is_missing(monkeypatch, tmp_path):
    (tmp_path / "there").touch()
    names = list(ahead.JOBS)
    paths = [tmp_path / "there", tmp_path / "not", tmp_path / "not", None, tmp_path / "not"]
    jobs = {name: job_kept_in(path) for name, path in zip(names, paths, strict=True)}
    monkeypatch.setattr(ahead, "JOBS", jobs)
    assert ahead.missing(names) == [names[1], names[2], names[4]]
    assert ahead.missing(names[:2]) == [names[1]]
    monkeypatch.setattr(ahead, "has_scipy", lambda: False)
    assert ahead.missing(names) == [names[2], names[4]]
    with pytest.raises(OSError, match="NUMBA_CACHE_DIR"):
        ahead.compile_ahead(names, 1)


def test_the_command(monkeypatch, capsys):
    calls = []

    def compile_ahead(names, processes, report):
        calls.append((names, processes))
        report(names[0], 1.25)

    monkeypatch.setattr(ahead, "compile_ahead", compile_ahead)
    assert main(["compile", "--processes", "2"]) == 0
    assert calls == [(ahead.possible(), 2)]
    assert capsys.readouterr().out.splitlines()[0].split("  ")[0] == ahead.possible()[0]
    assert main(["compile", "--processes", "0"]) == 1
    assert "--processes must be at least 1; was 0" in capsys.readouterr().err


def test_the_first_time(monkeypatch, capsys):
    calls = []

    def refuse(names, processes):
        calls.append(names)
        raise OSError("no room")

    monkeypatch.setattr(ahead, "compile_ahead", refuse)
    monkeypatch.setattr(ahead, "missing", lambda names: [])
    first_time(ahead.TOUR)
    assert calls == [] and capsys.readouterr().err == ""
    monkeypatch.setattr(ahead, "missing", lambda names: ["the engine"])
    first_time(ahead.TOUR)  # what fails is compiled later, where it is used
    assert calls == [["the engine"]] and "first time" in capsys.readouterr().err


KERNEL = """
from npmnv2.kernels.compile import compile_kernel

def _double(x, out):
    for i in range(x.shape[0]):
        out[i] = 2 * x[i]

double = compile_kernel(_double, parallel=False)
"""


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
    assert compile_kernel(scope["_double"], parallel=False).kept_in.parent == next(tmp_path.rglob("*.nbi")).parent
