"""Compiling before use: that it compiles what is run later, and nothing is left; what it says when it cannot."""

import re
import subprocess
import sys
import types

import numba
import numpy as np
import pytest

import npmnv2
from npmnv2.__main__ import main
from npmnv2.cli import waiting
from npmnv2.cli.waiting import Waiting, first_time
from npmnv2.engine import compilation
from npmnv2.kernels.training_block import block as training_block
from npmnv2.nn.blocks import InvertedResidual

LEFT = """
import sys
import numpy as np
import npmnv2
from npmnv2 import ops
from npmnv2.nn import optim
from npmnv2.engine import compilation
from npmnv2.kernels.jit import Kernel

def compiled():
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("npmnv2.kernels.")]
    kernels = {(m.__name__, name): v for m in modules for name, v in vars(m).items() if isinstance(v, Kernel)}
    return {(where, types) for where, kernel in kernels.items() for types in kernel.signatures}

npmnv2.set_default("numba")
for job in compilation.JOBS.values():
    job.do()
before, rng = compiled(), np.random.default_rng(0)
for build in (npmnv2.mobilenet_v1, npmnv2.mobilenet_v2, npmnv2.efficientnet_lite):
    model, x = build(5, 0.5), rng.normal(size=(3, 64, 96, 3)).astype(np.float32)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-3)
    for _ in range(2):
        model.backward(ops.softmax_cross_entropy(model(x), np.array([1, 2, 3]))[1])
        optimizer.step()
    npmnv2.fuse(model)(x)
    model.eval()(x)
print(len(before) >= 20, *(where for where, _ in compiled() - before))
"""


@pytest.mark.compiled
def test_nothing_is_left_to_compile():
    """Each kernel has been compiled for all types with which a network is trained, evaluated and fused."""
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("t, stride", [(1, 1), (6, 2), (6, 1)])
def test_the_types_of_a_backward_are_those_of_its_calls(monkeypatch, in_python, t, stride):
    block = InvertedResidual(16, 16, stride=stride, t=t, rng=np.random.default_rng(0))
    with npmnv2.backend("numba"):
        out = block(np.ones((2, 4, 6, 16), np.float32))
    seen, backward = [], training_block.steps.backward
    steps = types.SimpleNamespace(backward=lambda *a: seen.append(a) or backward(*a))
    monkeypatch.setattr(training_block, "steps", steps)
    block.backward(out)
    assert tuple(map(numba.typeof, seen[0])) == compilation.backward_types()


def with_jobs(monkeypatch, **jobs):
    """Jobs by name that run a line of Python each, in a process; returns the processes as they were started."""
    sign = types.SimpleNamespace(is_kept=True)
    monkeypatch.setattr(compilation, "JOBS", {name: compilation.Job(lambda: None, sign, 50) for name in jobs})
    start, started = subprocess.Popen, []

    def popen(command, **options):
        (name,) = (name for name in jobs if f"JOBS[{name!r}]" in command[-1])
        started.append((name, start([*command[:-1], jobs[name]], **options)))
        return started[-1][1]

    monkeypatch.setattr(compilation.subprocess, "Popen", popen)
    return sign, started


FOR_EVER = "import time; time.sleep(600)"


def test_so_many_at_a_time(monkeypatch, tmp_path):
    over = tmp_path / "c is done"
    with_jobs(monkeypatch, a=f"import os, time\nwhile not os.path.exists({str(over)!r}): time.sleep(0.02)", b="", c="")
    done, waits = [], []

    def report(name, seconds):
        done.append(name)
        if name == "c":
            over.touch()

    compilation.compile_jobs(["a", "b", "c"], 2, report, lambda: waits.append(1))
    assert done == ["b", "c", "a"] and waits  # c began when b was done, beside a
    done.clear()
    compilation.compile_jobs(["a", "b", "c"], 1, report)
    assert done == ["a", "b", "c"]


def test_what_fails_stops_all_and_is_told(monkeypatch):
    bad = "print('a line on stdout'); raise KeyError('nonsense')"
    _, started = with_jobs(monkeypatch, slow=FOR_EVER, bad=bad, last=FOR_EVER)
    with pytest.raises(OSError, match=r"^compiling bad failed: KeyError: 'nonsense'$"):
        compilation.compile_jobs(["slow", "bad", "last"], 2)
    assert [name for name, _ in started] == ["slow", "bad"]
    assert all(process.returncode not in (0, None) for _, process in started)


def test_ctrl_c_stops_all(monkeypatch):
    _, started = with_jobs(monkeypatch, slow=FOR_EVER, quick="")

    def press(name, seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compilation.compile_jobs(["slow", "quick"], 2, press)
    assert started[0][1].returncode not in (0, None)


def test_what_could_not_be_kept_is_told(monkeypatch):
    full = "import warnings; warnings.warn('npmnv2: compiled kernels are not kept on disk (full)', RuntimeWarning)"
    with_jobs(monkeypatch, job=full)[0].is_kept = False
    with pytest.raises(OSError, match=r"^compiling job was in vain: .*not kept on disk \(full\)"):
        compilation.compile_jobs(["job"], 1)


def test_a_file_in_the_current_folder_is_no_module(monkeypatch, tmp_path):
    (tmp_path / "colorsys.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    with_jobs(monkeypatch, job="import colorsys, npmnv2")
    compilation.compile_jobs(["job"], 1)


def test_switched_off(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(OSError, match="NUMBA_DISABLE_JIT"):
        compilation.compile_jobs(["the engine"], 1)


def test_what_is_missing(monkeypatch):
    names, jobs = list(compilation.JOBS), {}
    for name, kept in zip(names, (True, False, None, False, True), strict=True):
        jobs[name] = compilation.JOBS[name]._replace(sign=types.SimpleNamespace(is_kept=kept))
    monkeypatch.setattr(compilation, "JOBS", jobs)
    assert compilation.missing(names) == [names[1], names[3]]
    assert compilation.missing(names[:2]) == [names[1]]
    with pytest.raises(OSError, match="NUMBA_CACHE_DIR"):
        compilation.compile_jobs(names, 1)


def test_every_job_can_be_found_by_its_process():
    """A process imports the module and looks for the name; the shares are those of all the time."""
    assert sum(job.share for job in compilation.JOBS.values()) == 100


def test_training_compiles_what_it_runs():
    """The blocks of MobileNetV2 are compiled as a whole; those of V1 run layer by layer."""
    of_v1 = compilation.for_training(npmnv2.mobilenet_v1(2, 0.25))
    assert set(of_v1) == set(compilation.JOBS) - {"the engine"}
    for build in (npmnv2.mobilenet_v2, npmnv2.efficientnet_lite):
        assert set(compilation.for_training(build(2, 0.35))) == set(of_v1) - {"depthwise layers"}


# -- the command


def test_the_command(monkeypatch, capsys):
    calls = []

    def compile_jobs(names, processes, report, wait):
        calls.append((names, processes))
        report(names[0], 1.25)
        wait()

    monkeypatch.setattr(compilation, "compile_jobs", compile_jobs)
    assert main(["compile", "--processes", "2"]) == 0
    names = list(compilation.JOBS)
    assert calls == [(names, 2)]
    out, err = capsys.readouterr()
    assert re.fullmatch(rf"{names[0]} +1\.2 s\ntogether, 2 at a time +\d+\.\d s\n", out) and err == ""
    assert main(["compile", "--processes", "0"]) == 1
    assert "--processes must be at least 1; was 0" in capsys.readouterr().err


def test_the_first_time(monkeypatch, capsys):
    calls = []

    def refuse(names, processes, report=None, wait=None):
        calls.append(names)
        wait()
        raise OSError("no room")

    monkeypatch.setattr(compilation, "compile_jobs", refuse)
    monkeypatch.setattr(compilation, "missing", lambda names: [])
    first_time(["the engine"])
    assert calls == [] and capsys.readouterr().err == ""
    monkeypatch.setattr(compilation, "missing", lambda names: ["the engine"])
    first_time(["the engine"])  # what fails is compiled later, where it is used
    err = capsys.readouterr().err
    assert calls == [["the engine"]] and err.count("\n") == 1
    assert "Compiling the kernels, once: " in err and "--backend numpy" in err


class Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_said_while_it_goes_on(terminal, monkeypatch, capsys):
    """A line that is overwritten every second on a terminal, else one every ten seconds; a better guess with time."""
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "_is_terminal", lambda: terminal)
    longest, *others = compilation.JOBS
    progress = Waiting(list(compilation.JOBS), 2)
    assert progress.left() == "about 60 s left"  # half of all, at 1.3 s for each percent
    said = []
    for second in range(1, 26):
        clock.now = float(second)
        progress.wait()
        said.append(capsys.readouterr().err)
    assert [k for k, line in enumerate(said, 1) if line] == (list(range(1, 26)) if terminal else [10, 20])
    last = [line for line in said if line][-1]
    assert "compiling for" in last and "left" in last
    assert last.startswith("\r") == terminal and last.endswith("\n") != terminal
    progress.done(longest, compilation.JOBS[longest].share * 3.0)  # three seconds for each percent: a slow machine
    assert progress.left() == f"about {10 * round((150 - 25) / 10)} s left"
    clock.now = 145
    assert progress.left() == "some seconds left"
    clock.now = 1000
    assert progress.left().startswith("longer than expected")


def test_nobody_need_see_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Waiting(list(compilation.JOBS), 1) as progress:
        progress.wait()
