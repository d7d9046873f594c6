"""The machine that figures come from: what a report says of it, and how one with AVX-512 stands in for one without.

`--core avx2` is for a machine whose cores have AVX-512: everything that is timed runs in processes that were told to do
without, by the variables below, before they load anything. Who heeds what was found by looking at the code that runs:

    OPENBLAS_CORETYPE      NumPy's products and those of our kernels
    NUMBA_CPU_NAME         our kernels; it takes the second too, for Numba otherwise adds all that this core can do, and
    NUMBA_CPU_FEATURES     kernels for "znver3" alone were full of 512-bit registers
    ONEDNN_MAX_CPU_ISA     oneDNN in PyTorch; OpenVINO: its convolutions, all 52, are then named avx2, but the average
                           pool stays AVX-512, and the classifier's product is done by another library, MLAS
    ATEN_CPU_CAPABILITY    PyTorch's own loops, and the vectors of what torch.compile generates

MKL, which multiplies matrices for PyTorch, takes its kernel for Zen (AVX2) on an AMD with these variables and without;
what it does on an Intel was not tried.
onnxruntime has no such switch: it runs AVX-512 all the same.
"""

import contextlib
import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common import ROOT
from npmnv2.runtime.processor import cpuinfo

STAND_IN = {
    "avx2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "NUMBA_CPU_NAME": "znver3",
        "NUMBA_CPU_FEATURES": "",  # those of that name, no others
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    }
}
WHEN_AND_HOW = ("date", "committed", "system", "threading layer")  # the rest of an environment is the machine


def become(core):
    """Run this program as if on another kind of core: once more, in a process that knows it before it loads anything.

    Returns if this is that process.
    """
    if _stands_in(core):
        return
    if kind() != "AVX-512":
        raise SystemExit(f"error: --core {core} is for a machine with AVX-512; this one has {kind()}")
    raise SystemExit(subprocess.call([sys.executable, *sys.argv], env=os.environ | STAND_IN[core]))


def _stands_in(core):
    return all(os.environ.get(name) == value for name, value in STAND_IN[core].items())


def kind():
    """The kind of core that everything runs on that can be told: "AVX-512", "AVX2", or what the system calls it."""
    if _stands_in("avx2"):
        return "AVX2"
    flags = cpuinfo().get("flags", "").split()
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else platform.machine()


def environment(packages=()):
    """The machine, the day and the versions that figures depend on."""
    import numpy as np

    import npmnv2

    info = {"npmnv2": npmnv2.__version__, "python": platform.python_version(), "system": platform.platform()}
    info |= {"date": datetime.date.today().isoformat(), "core": kind(), "stands in": _stands_in("avx2")}
    info["cores"] = os.cpu_count()
    told = cpuinfo()
    with contextlib.suppress(KeyError):
        info["cpu"] = told["model name"]
        info["cpu model"] = f"family {told['cpu family']}, model {told['model']}"
    info["caches"] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, what, size = ((index / part).read_text().strip() for part in ("level", "type", "size"))
            info["caches"][f"L{level} {what}"] = size
    for package in ("numpy", "numba", "llvmlite", *packages):
        with contextlib.suppress(PackageNotFoundError):
            info[package] = version(package)
    info["numba cpu"] = {key: os.environ[key] for key in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if key in os.environ}
    info["blas"] = np.show_config(mode="dicts")["Build Dependencies"]["blas"].get("name")
    info["blas kernel"] = _blas_kernel()
    return info


def _blas_kernel():
    """In a process of its own: this one may have loaded other libraries that bring a BLAS."""
    code = "from npmnv2.runtime.blas import running_kernels; print(running_kernels())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def differences(one, other):
    """In what two environments are not the same machine with the same packages, as words; those that both name."""
    keys = [key for key in one if key in other and key not in WHEN_AND_HOW]
    return [f"{key}: {one[key]} and {other[key]}" for key in keys if one[key] != other[key]]
