"""Which of its kernels OpenBLAS runs: decided once, as the library loads, by the CPU or by ``OPENBLAS_CORETYPE``.

OpenBLAS has products of matrices written for many CPUs, and takes those for the CPU that it recognises. From 0.3.21 on
it goes by what a CPU can do where it does not know it, and every NumPy and SciPy that `pyproject.toml` allows brings
that version or a later one. So the package chooses nothing, its command line included; only the benchmarks still do.

Nothing here imports NumPy before it is needed: afterwards it would be too late.
"""

import contextlib
import os

NEEDED = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # by OpenBLAS's kernels for Skylake-X


def choose_kernel() -> None:
    """Set ``OPENBLAS_CORETYPE`` in this process's environment, if nobody has and `fitting_kernel` knows better.

    For the benchmarks. It must run before anything loads NumPy. Only Linux tells what the CPU can; elsewhere nothing is
    chosen.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            kernel = fitting_kernel(file.read(1 << 14))  # the first core is like the others
    except OSError:
        return
    if kernel is not None:
        os.environ["OPENBLAS_CORETYPE"] = kernel


def fitting_kernel(cpuinfo: str) -> str | None:
    """The kernel to ask for; None where OpenBLAS needs no help, or where another might be an illegal instruction.

    Parameters
    ----------
    cpuinfo : str
        What Linux has in ``/proc/cpuinfo``, for one core at least.

    Returns
    -------
    "SkylakeX" or None
        A name for an AMD with AVX-512.

    Examples
    --------
    >>> fitting_kernel("vendor_id: AuthenticAMD\\nflags: fma avx2 avx512f avx512cd avx512bw avx512dq avx512vl")
    'SkylakeX'
    >>> fitting_kernel("vendor_id: AuthenticAMD\\nflags: fma avx2")
    """
    told: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    if told.get("vendor_id") == "AuthenticAMD" and set(told.get("flags", "").split()) >= NEEDED:
        return "SkylakeX"
    return None


def running_kernels() -> str:
    """What NumPy's BLAS and SciPy's run in this process, for people: ``"SkylakeX"``; loads both.

    Examples
    --------
    >>> len(running_kernels()) > 0
    True
    """
    from npmnv2.runtime.blas import find_blas, load_scipy_blas

    with contextlib.suppress(ImportError):
        load_scipy_blas()
    found = {str(getattr(library, "architecture", None) or library.internal_api) for library in find_blas()}
    return ", ".join(sorted(found)) or "unknown"
