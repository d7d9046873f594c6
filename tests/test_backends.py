"""Which implementation runs is the caller's choice, in his thread, and nothing else depends on it."""

import contextvars
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import npmnv2
from npmnv2 import kernels, ops
from npmnv2.backends import implementation
from npmnv2.engine.numba_backend import PRODUCTS
from npmnv2.nn.layers import DepthwiseConv2d

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_operation_follows_the_backend():
    operations = [getattr(ops, name) for name in ops.__all__]
    with npmnv2.backend("numpy"):
        assert all(implementation(operation) is operation for operation in operations)
    with npmnv2.backend("numba"):
        for name in kernels.__all__:
            assert implementation(getattr(ops, name)) is getattr(kernels, name)
        for operation in PRODUCTS:  # BLAS does these, on one thread
            assert implementation(operation).__wrapped__ is operation
        assert implementation(ops.relu6_forward) is ops.relu6_forward
        assert implementation(print) is print  # nothing that anybody calls is replaced unasked
    assert len(kernels.__all__) >= 8


def test_blocks_nest_and_an_error_ends_them():
    before = npmnv2.current_backend()
    with npmnv2.backend("numpy") as outer:
        with npmnv2.backend("numba"):
            with outer:  # the same object again
                assert npmnv2.current_backend() == "numpy"
            assert npmnv2.current_backend() == "numba"
        assert npmnv2.current_backend() == "numpy"
        with pytest.raises(KeyError), npmnv2.backend("numba"):
            raise KeyError
        assert npmnv2.current_backend() == "numpy"
    assert npmnv2.current_backend() == before


def test_set_backend_is_for_this_context_only():
    def inside():
        npmnv2.set_backend("numpy")
        return npmnv2.current_backend()

    before = npmnv2.current_backend()
    assert contextvars.copy_context().run(inside) == "numpy"
    assert npmnv2.current_backend() == before


@pytest.fixture
def numba_by_default():
    npmnv2.set_default("numba")
    yield
    npmnv2.set_default("numpy")


def test_the_default_is_numba_or_what_the_environment_says():
    code = "import npmnv2; print(npmnv2.current_backend())"
    for environment, said in (({}, "numba"), ({"NPMNV2_BACKEND": "numpy"}, "numpy")):
        kept = {name: value for name, value in os.environ.items() if name != "NPMNV2_BACKEND"}
        done = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"NPMNV2_BACKEND": "torch"}, capture_output=True, text=True
    )
    assert done.returncode != 0 and 'NPMNV2_BACKEND in the environment: name must be "numpy" or' in done.stderr


def test_a_thread_of_its_own_has_the_default(numba_by_default):
    seen = []
    with npmnv2.backend("numpy"):
        thread = threading.Thread(target=lambda: seen.append(npmnv2.current_backend()))
        thread.start()
        thread.join()
    assert seen == ["numba"]


def test_one_object_may_be_used_in_two_threads_at_once(numba_by_default):
    block, entered, leave, seen = npmnv2.backend("numpy"), threading.Event(), threading.Event(), []

    def other():
        with block:
            seen.append(npmnv2.current_backend())
            entered.set()
            leave.wait(10)
        seen.append(npmnv2.current_backend())

    before, thread = npmnv2.current_backend(), threading.Thread(target=other)
    with block:
        thread.start()
        entered.wait(10)
    assert npmnv2.current_backend() == before
    leave.set()
    thread.join()
    assert seen == ["numpy", "numba"]


def test_set_backend_inside_a_block_ends_with_it():
    before = npmnv2.current_backend()
    with npmnv2.backend("numpy"):
        npmnv2.set_backend("numba")
        assert npmnv2.current_backend() == "numba"
        with npmnv2.backend("numpy"):
            pass
        assert npmnv2.current_backend() == "numba"
    assert npmnv2.current_backend() == before


def test_a_layer_asks_at_every_call():
    layer = DepthwiseConv2d(2, 3, padding=1, rng=np.random.default_rng(0), dtype=np.float64)
    x = np.random.default_rng(1).normal(size=(1, 4, 5, 2))
    with npmnv2.backend("numba"):
        out = layer(x)
    with npmnv2.backend("numpy"):  # a cache of one backend is good for the other
        dx = layer.backward(out)
        other = layer(x)
    with npmnv2.backend("numba"):
        other_dx = layer.backward(out)
    np.testing.assert_allclose(out, other, rtol=1e-13)
    np.testing.assert_allclose(dx, other_dx, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["torch", "NumPy", "", None, 3])
def test_unknown_backend(name):
    before = npmnv2.current_backend()
    for call in (npmnv2.backend, npmnv2.set_backend, npmnv2.set_default):
        with pytest.raises(ValueError, match='name must be "numpy" or "numba"; was'):
            call(name)
    assert npmnv2.current_backend() == before
