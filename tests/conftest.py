"""Before anything is imported: no test compiles by accident, not even in a process that it starts; BLAS on one thread.

A test of the compiled kernels says so, with ``npmnv2.backend("numba")`` or in the environment that it gives a process.
"""

import gc
import os

import pytest

os.environ["NPMNV2_BACKEND"] = "numpy"
# On a busy machine the threads of OpenBLAS wait for each other: a small network is trained twenty times as slowly on
# two of them. Tests of threads set their number.
os.environ["OPENBLAS_NUM_THREADS"] = "1"


def pytest_collection_finish():
    """The garbage collector takes a tenth of the time: what is there before the first test stays; it comes seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """A save waits for the disk, for the case that the power fails. No test can tell, and a thousand take long."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(autouse=True)
def long_kernels_in_python(request, monkeypatch):
    """What takes long to compile is compiled in tests that are marked so, and runs as plain Python in all others."""
    if request.node.get_closest_marker("compiled") is None:
        from python_loops import run_long_ones_in_python

        run_long_ones_in_python(monkeypatch)


@pytest.fixture
def in_python(monkeypatch):
    """Kernels run as plain Python, and nothing compiles: for arrays of a few values."""
    from python_loops import run_in_python

    run_in_python(monkeypatch)


@pytest.fixture(params=["python", pytest.param("compiled", marks=pytest.mark.compiled)])
def loops(request):
    """How the kernels of a test run: as plain Python by default, and compiled with ``-m compiled``."""
    if request.param == "python":
        request.getfixturevalue("in_python")
    return request.param


@pytest.fixture(params=["default", pytest.param("compiled", marks=pytest.mark.compiled)])
def compiled_too(request):
    """A test runs twice: by default as all do, long kernels as plain Python, and with ``-m compiled`` all compiled."""


@pytest.fixture
def numba_backend():
    """The backend of a test that is about the kernels."""
    import npmnv2

    with npmnv2.backend("numba"):
        yield


@pytest.fixture(params=["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def either(request):
    """A backend for a test that is about neither: plain NumPy by default, the kernels with ``-m compiled``."""
    import npmnv2

    with npmnv2.backend(request.param):
        yield request.param


@pytest.fixture(scope="module")
def one_thread():
    """Kernels on one thread: on a busy machine the threads of thousands of tiny calls wait for each other."""
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)


@pytest.fixture(scope="session")
def torch():
    """PyTorch, for tests that run with ``-m oracle``; on one thread, for the same reason."""
    import torch

    torch.set_num_threads(1)
    return torch
