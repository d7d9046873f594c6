"""Compiling ahead: that it compiles what is run later, and nothing is left; what it says when it cannot."""

import subprocess
import sys
import time
import types

import numba
import numpy as np
import pytest

from npmnv2.__main__ import main
from npmnv2.cli.compile import first_time
from npmnv2.engine import compilation as ahead
from npmnv2.kernels.training_block import block as training_block
from npmnv2.nn.blocks import InvertedResidual

LEFT = """
import sys
import numpy as np
import npmnv2
from npmnv2 import ops
from npmnv2.nn import optim
from npmnv2.gradcheck import cases as selfcheck
from npmnv2.engine import compilation as ahead
from npmnv2.kernels.jit import Kernel

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("npmnv2.kernels.")]
    kernels = {(m.__name__, name): v for m in modules for name, v in vars(m).items() if isinstance(v, Kernel)}
    return {(where, types) for where, kernel in kernels.items() for types in kernel.signatures}

for job in ahead.JOBS.values():
    job.do()
before, rng = compiled(), np.random.default_rng(0)
for build in (npmnv2.mobilenet_v1, npmnv2.mobilenet_v2):
    model, x = build(5, 0.5), rng.normal(size=(3, 64, 96, 3)).astype(np.float32)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-3)
    for _ in range(2):
        model.backward(ops.softmax_cross_entropy(model(x), np.array([1, 2, 3]))[1])
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
    steps = types.SimpleNamespace(backward=lambda *a: seen.append(a) or steps.backward(*a))
    monkeypatch.setattr(training_block, "steps", steps)
    block.backward(out)
    assert tuple(map(numba.typeof, seen[0])) == ahead.backward_types()


def with_jobs(monkeypatch, **jobs):
    """Jobs by name that run a line of Python each, in a process."""
    sign = types.SimpleNamespace(is_kept=True)
    monkeypatch.setattr(ahead, "JOBS", {name: ahead.Job(lambda: None, sign, False) for name in jobs})
    start = subprocess.Popen

    def popen(command, **options):
        (name,) = (name for name in jobs if f"JOBS[{name!r}]" in command[-1])
        return start([*command[:-1], jobs[name]], **options)

    monkeypatch.setattr(ahead.subprocess, "Popen", popen)
    return sign


SLEEP = "import time; time.sleep(60)"


def test_so_many_at_a_time(monkeypatch):
    with_jobs(monkeypatch, a="import time; time.sleep(2)", b="", c="")
    done = []
    ahead.compile_ahead(["a", "b", "c"], 2, lambda name, seconds: done.append((name, seconds)))
    assert [name for name, _ in done] == ["b", "c", "a"] and done[-1][1] > 2
    done.clear()
    ahead.compile_ahead(["a", "b", "c"], 1, lambda name, seconds: done.append((name, seconds)))
    assert [name for name, _ in done] == ["a", "b", "c"]


def test_what_fails_stops_all_and_is_told(monkeypatch):
    with_jobs(monkeypatch, slow=SLEEP, bad="print('a line on stdout'); raise KeyError('nonsense')", last=SLEEP)
    start = time.perf_counter()
    with pytest.raises(OSError, match=r"^compiling bad failed: KeyError: 'nonsense'$"):
        ahead.compile_ahead(["slow", "bad", "last"], 2)
    assert time.perf_counter() - start < 30


def test_ctrl_c_stops_all(monkeypatch):
    with_jobs(monkeypatch, slow=SLEEP, quick="")

    def press(name, seconds):
        raise KeyboardInterrupt

    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        ahead.compile_ahead(["slow", "quick"], 2, press)
    assert time.perf_counter() - start < 30


def test_what_could_not_be_kept_is_told(monkeypatch):
    full = "import warnings; warnings.warn('npmnv2: compiled kernels are not kept on disk (full)', RuntimeWarning)"
    with_jobs(monkeypatch, job=full).is_kept = False
    with pytest.raises(OSError, match=r"^compiling job was in vain: .*not kept on disk \(full\)"):
        ahead.compile_ahead(["job"], 1)


def test_a_file_in_the_current_folder_is_no_module(monkeypatch, tmp_path):
    (tmp_path / "colorsys.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    with_jobs(monkeypatch, job="import colorsys, npmnv2")
    ahead.compile_ahead(["job"], 1)


def test_switched_off(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(OSError, match="NUMBA_DISABLE_JIT"):
        ahead.compile_ahead(["the engine"], 1)


def test_what_is_missing(monkeypatch):
    names, jobs = list(ahead.JOBS), {}
    for name, kept in zip(names, (True, False, False, None, False), strict=True):
        jobs[name] = ahead.JOBS[name]._replace(sign=types.SimpleNamespace(is_kept=kept))
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
    assert calls == [["the engine"]] and "this once" in capsys.readouterr().err
