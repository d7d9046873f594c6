"""The choice of OpenBLAS's kernel: by whom, where, when, and that it arrives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npmnv2.runtime import cpu
from npmnv2.runtime.cpu import NEEDED, choose_kernel, fitting_kernel, running_kernels

ROOT = Path(__file__).resolve().parent.parent


def cpuinfo(vendor="AuthenticAMD", flags=NEEDED):
    """As on a machine with two cores."""
    flags = " ".join(["fpu", "avx2", *sorted(flags), "fma"])
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A: B\nflags\t\t: {flags}\n"
    return f"{core}bugs\t\t:\n\n{core}"


def test_an_amd_with_all_of_avx512_is_helped():
    assert fitting_kernel(cpuinfo()) == "SkylakeX"


@pytest.mark.parametrize("flag", sorted(NEEDED))
def test_without_one_of_its_instructions_nothing_is_chosen(flag):
    assert fitting_kernel(cpuinfo(flags=NEEDED - {flag})) is None
    assert fitting_kernel(cpuinfo(flags=NEEDED - {flag} | {f"{flag}_x"})) is None


@pytest.mark.parametrize(
    "text", [cpuinfo("GenuineIntel"), cpuinfo(flags=()), "", "\n:\n", "processor : 0\nFeatures : sve"]
)
def test_where_openblas_needs_no_help_nothing_is_chosen(text):
    assert fitting_kernel(text) is None


@pytest.mark.parametrize("chosen", ["Haswell", ""])
def test_what_somebody_has_chosen_is_left_alone(chosen, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", chosen)
    monkeypatch.setattr(cpu, "fitting_kernel", lambda _: "SkylakeX")
    choose_kernel()
    assert os.environ["OPENBLAS_CORETYPE"] == chosen


@pytest.mark.parametrize("fitting", ["SkylakeX", None])
def test_nobody_has_chosen(fitting, monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(cpu, "fitting_kernel", lambda _: fitting)
    choose_kernel()
    expected = fitting if Path("/proc/cpuinfo").exists() else None
    assert os.environ.pop("OPENBLAS_CORETYPE", None) == expected


def test_where_nothing_tells_about_the_cpu_nothing_is_chosen(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr("builtins.open", missing)
    choose_kernel()
    assert "OPENBLAS_CORETYPE" not in os.environ


def _fresh(code, **environment):
    """What a new process prints, as JSON, in whose environment nobody has chosen."""
    inherited = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=inherited, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_neither_the_library_nor_the_command_line_changes_the_environment():
    code = """
import json, os, runpy, sys
before = dict(os.environ)
import npmnv2, npmnv2.kernels
sys.argv = ["npmnv2", "--version"]
try:
    runpy.run_module("npmnv2", run_name="__main__")
except SystemExit:
    pass
os.environ.pop("KMP_DUPLICATE_LIB_OK", None)  # which threadpoolctl sets, when it looks for BLAS
before.pop("KMP_DUPLICATE_LIB_OK", None)
print(json.dumps(dict(os.environ) == before))
"""
    assert _fresh(code) is True


WORKER = """
import json, os, sys
sys.path.insert(0, "benchmarks")
from common.machine import environment
from common.measure import Worker
worker = Worker("benchmarks/separable.py", "npmnv2", 1)
told = ""
while not told and worker.process.poll() is None:  # nothing is there yet while it is only becoming that process
    with open(f"/proc/{worker.process.pid}/environ") as file:
        told = file.read()
chosen = dict(entry.split("=", 1) for entry in told.split("\\0") if entry).get("OPENBLAS_CORETYPE")
worker.close()
print(json.dumps([chosen, environment(())["blas kernel"]]))
"""


def test_a_benchmarks_processes_run_the_kernel_and_it_is_printed():
    if not Path("/proc/cpuinfo").exists():
        return  # nothing is chosen there
    chosen, _ = _fresh(WORKER)
    assert chosen == fitting_kernel(Path("/proc/cpuinfo").read_text())
    assert _fresh(WORKER, OPENBLAS_CORETYPE="Nehalem") == ["Nehalem", running_after("Nehalem")]


def running_after(kernel):
    return _fresh(
        "import json; from npmnv2.runtime.cpu import running_kernels; print(json.dumps(running_kernels()))",
        OPENBLAS_CORETYPE=kernel,
    )


def test_the_kernel_has_a_name():
    assert running_kernels()
