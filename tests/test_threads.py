"""How many threads run, and that BLAS gets its own back: after a model, after an exception, whatever the backend."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import numba
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import npmnv2
from npmnv2 import blas, kernels, threads
from npmnv2.models import mobilenet_v2
from npmnv2.threads import get_num_threads, limit_threads, one_pool, set_num_threads

MOST = numba.config.NUMBA_NUM_THREADS


def _blas():
    """How many threads every BLAS of this process uses."""
    return {library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def as_before():
    before, limit = get_num_threads(), ThreadpoolController()
    blas = limit.limit(limits=MOST, user_api="blas")
    yield
    blas.restore_original_limits()
    numba.set_num_threads(before)


def test_there_is_a_blas_to_limit():
    assert _blas() == {MOST}, "else the tests here would pass on anything"


@pytest.mark.parametrize("n", range(1, MOST + 1))
def test_both_pools_get_the_number(n):
    set_num_threads(n)
    assert get_num_threads() == numba.get_num_threads() == n
    assert _blas() == {n}


def test_numbers_of_numpy_are_taken():
    set_num_threads(np.int64(1))
    assert get_num_threads() == 1 and type(get_num_threads()) is int


@pytest.mark.parametrize("n", [0, -1, MOST + 1, 10**6])
def test_more_or_fewer_than_the_machine_has_are_refused(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match=rf"^n must lie between 1 and {MOST} \(set NUMBA_NUM_THREADS .*\); was {n}$"):
        set_num_threads(n)
    assert get_num_threads() == before and _blas() == {MOST}


@pytest.mark.parametrize("n", [1.5, 1.0, True, "1", None, [1]])
def test_what_is_no_integer_is_refused(n):
    with pytest.raises(TypeError, match=r"^n must be an integer; was "):
        set_num_threads(n)


def test_a_limit_ends_with_its_block():
    with limit_threads(1):
        assert get_num_threads() == 1 and _blas() == {1}
    assert get_num_threads() == MOST and _blas() == {MOST}


def test_a_limit_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), limit_threads(1):
        raise ZeroDivisionError
    assert get_num_threads() == MOST and _blas() == {MOST}


def test_a_refused_limit_changes_nothing():
    with pytest.raises(ValueError, match=r"^n must lie between 1 and"), limit_threads(0):
        pass
    assert get_num_threads() == MOST and _blas() == {MOST}


def test_the_environment_sets_the_limit():
    code = "import npmnv2; npmnv2.set_num_threads(3); print(npmnv2.get_num_threads())"
    environment = {**os.environ, "NUMBA_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "3\n"


def test_the_number_changes_no_result():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 9, 8, 5)), rng.normal(size=(3, 3, 5))
    seen = set()
    for n in range(1, MOST + 1):
        set_num_threads(n)
        seen.add(kernels.depthwise_conv2d_forward(x, w, stride=2, padding=1)[0].tobytes())
    assert len(seen) == 1


# -- one pool at a time


def test_one_pool_limits_blas_under_numba_only():
    with npmnv2.backend("numba"), one_pool():
        assert _blas() == {1}
    assert _blas() == {MOST}
    with npmnv2.backend("numpy"), one_pool():
        assert _blas() == {MOST}


def test_one_pool_restores_after_an_exception():
    with npmnv2.backend("numba"), pytest.raises(ZeroDivisionError), one_pool():
        assert _blas() == {1}
        _ = 1 / 0
    assert _blas() == {MOST}


def test_one_pool_restores_what_was_chosen_not_what_there_is():
    set_num_threads(1)
    with npmnv2.backend("numba"), one_pool():
        pass
    assert _blas() == {1}


def test_pools_nest():
    with npmnv2.backend("numba"), one_pool():
        with one_pool():
            assert _blas() == {1}
        assert _blas() == {1}
    assert _blas() == {MOST}


@pytest.mark.parametrize("block", [one_pool, lambda: limit_threads(1)])
def test_pools_that_overlap_restore_what_the_first_found(block):
    """As models in two Python threads do: the first in is the first out, and the second found the first's limit."""
    first, second = ExitStack(), ExitStack()
    with npmnv2.backend("numba"):
        first.enter_context(one_pool())
        second.enter_context(block())
        first.close()
        assert _blas() == {1}, "the second block is still running"
        second.close()
    assert _blas() == {MOST}


def test_a_pool_inside_a_limit_gives_the_limit_back():
    with limit_threads(MOST), npmnv2.backend("numba"):
        with one_pool():
            assert _blas() == {1}
        assert _blas() == {MOST}


def test_models_in_several_python_threads_leave_blas_as_it_was():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    models = [mobilenet_v2(3, 0.1, strides="digits", in_channels=1).eval() for _ in range(3)]
    expected, seen = models[0](x), []

    def run(model):
        for _ in range(10):
            seen.append(np.array_equal(model(x), expected))

    pool = [threading.Thread(target=run, args=(model,)) for model in models]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert seen == [True] * 30 and _blas() == {MOST}


@pytest.mark.parametrize("backend, inside", [("numba", {1}), ("numpy", {MOST})])
def test_a_model_limits_blas_while_it_runs(backend, inside, monkeypatch):
    model = mobilenet_v2(3, 0.1, strides="digits", in_channels=1)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    seen = []
    pool = model.layers["pool"]
    for name in ("forward", "backward"):
        real = getattr(pool, name)
        monkeypatch.setattr(pool, name, lambda value, real=real: (seen.append(_blas()), real(value))[1])
    with npmnv2.backend(backend):
        model(x)  # and Numba has loaded all it loads
        seen.clear()
        model.backward(model(x))
    assert seen == [inside, inside]
    assert _blas() == {MOST}


def test_a_model_that_fails_gives_blas_back():
    model = mobilenet_v2(3, 0.1, strides="digits", in_channels=1)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)

    def fail(_):
        raise KeyError

    with npmnv2.backend("numba"):
        out = model(x)
        model.layers["head"].backward = model.layers["pool"].forward = fail
        with pytest.raises(KeyError):
            model.backward(out)
        assert _blas() == {MOST}
        with pytest.raises(KeyError):
            model(x)
    assert _blas() == {MOST}


def test_the_libraries_are_looked_for_once_and_again_when_scipy_has_come(monkeypatch):
    """Numba loads SciPy, if there is one, and with it a second BLAS, after the first kernel was asked for."""
    monkeypatch.delitem(sys.modules, "scipy.linalg", raising=False)
    alone = blas.find_blas()
    assert blas.find_blas() is alone
    monkeypatch.setitem(sys.modules, "scipy.linalg", threads)
    assert blas.find_blas() is not alone and blas.find_blas() is blas.find_blas()
