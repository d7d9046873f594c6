"""Which kernel OpenBLAS runs: the package chooses none, and says which."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from npmnv2.runtime.blas import running_kernels

ROOT = Path(__file__).resolve().parent.parent


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


def running_after(kernel):
    return _fresh(
        "import json; from npmnv2.runtime.blas import running_kernels; print(json.dumps(running_kernels()))",
        OPENBLAS_CORETYPE=kernel,
    )


@pytest.mark.skipif(platform.machine() != "x86_64" or platform.system() != "Linux", reason="a kernel of x86")
def test_the_kernel_has_a_name():
    assert running_kernels()
    assert running_after("Nehalem") == "Nehalem"  # which any x86 can run, and none would take by itself today
