"""How many threads run, and that BLAS gets its own back: after a model, after an exception, whatever the backend."""

import importlib
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numba
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import npmnv2
from npmnv2 import kernels
from npmnv2.models import mobilenet_v1, mobilenet_v2
from npmnv2.runtime import blas
from npmnv2.runtime.threads import get_num_threads, limit_threads, one_pool, set_num_threads

ROOT = Path(__file__).resolve().parent.parent
MOST = numba.config.NUMBA_NUM_THREADS


def _blas():
    """How many threads each BLAS that the package knows uses, if it is one that can be told: Apple's cannot.

    SciPy's comes into a process whenever some other test imports that. Nothing here calls it.
    """
    known = {library.filepath for library in blas.find_blas()}
    return {library["num_threads"] for library in ThreadpoolController().info() if library["filepath"] in known}


@pytest.fixture(autouse=True)
def as_before():
    with ThreadpoolController().limit(limits=MOST, user_api="blas"):
        set_num_threads(MOST)
        yield
        set_num_threads(MOST)


def test_there_is_a_blas_to_limit():
    assert _blas() == {MOST} or sys.platform == "darwin", "else the tests here would pass on anything"


@pytest.mark.parametrize("n", range(1, MOST + 1))
def test_both_pools_get_the_number(n):
    set_num_threads(n)
    assert get_num_threads() == numba.get_num_threads() == n
    assert _blas() <= {n}


def test_numbers_of_numpy_are_taken():
    set_num_threads(np.int64(1))
    assert get_num_threads() == 1 and type(get_num_threads()) is int


@pytest.mark.parametrize("n", [0, -1, MOST + 1, 10**6])
def test_more_or_fewer_than_the_machine_has_are_refused(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match=rf"^n must lie between 1 and {MOST} \(set NUMBA_NUM_THREADS .*\); was {n}$"):
        set_num_threads(n)
    assert get_num_threads() == before and _blas() <= {MOST}


@pytest.mark.parametrize("n", [1.5, 1.0, True, "1", None, [1]])
def test_what_is_no_integer_is_refused(n):
    with pytest.raises(TypeError, match=r"^n must be an integer; was "):
        set_num_threads(n)


def test_a_limit_ends_with_its_block():
    with limit_threads(1):
        assert get_num_threads() == 1 and _blas() <= {1}
    assert get_num_threads() == MOST and _blas() <= {MOST}


def test_a_limit_ends_with_an_exception():
    with pytest.raises(ZeroDivisionError), limit_threads(1):
        raise ZeroDivisionError
    assert get_num_threads() == MOST and _blas() <= {MOST}


def test_a_refused_limit_changes_nothing():
    with pytest.raises(ValueError, match=r"^n must lie between 1 and"), limit_threads(0):
        pass
    assert get_num_threads() == MOST and _blas() <= {MOST}


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
        assert _blas() <= {1}
    assert _blas() <= {MOST}
    with npmnv2.backend("numpy"), one_pool():
        assert _blas() <= {MOST}


def test_one_pool_restores_after_an_exception():
    with npmnv2.backend("numba"), pytest.raises(ZeroDivisionError), one_pool():
        assert _blas() <= {1}
        _ = 1 / 0
    assert _blas() <= {MOST}


def test_one_pool_restores_what_was_chosen_not_what_there_is():
    set_num_threads(1)
    with npmnv2.backend("numba"), one_pool():
        pass
    assert _blas() <= {1}


def test_pools_nest():
    with npmnv2.backend("numba"), one_pool():
        with one_pool():
            assert _blas() <= {1}
        assert _blas() <= {1}
    assert _blas() <= {MOST}


@pytest.mark.parametrize("block", [one_pool, lambda: limit_threads(1)])
def test_pools_that_overlap_restore_what_the_first_found(block):
    """As models in two Python threads do: the first in is the first out, and the second found the first's limit."""
    first, second = ExitStack(), ExitStack()
    with npmnv2.backend("numba"):
        first.enter_context(one_pool())
        second.enter_context(block())
        first.close()
        assert _blas() <= {1}, "the second block is still running"
        second.close()
    assert _blas() <= {MOST}


def test_a_pool_inside_a_limit_gives_the_limit_back():
    with limit_threads(MOST), npmnv2.backend("numba"):
        with one_pool():
            assert _blas() <= {1}
        assert _blas() <= {MOST}


def test_models_in_several_python_threads_leave_blas_as_it_was(loops):
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 1))
    models = [mobilenet_v2(3, 0.1, strides="digits", in_channels=1, dtype="float64").eval() for _ in range(3)]
    with npmnv2.backend("numba"):
        expected, seen = models[0](x), []

    def run(model):
        with npmnv2.backend("numba"):
            for _ in range(10 if loops == "compiled" else 2):
                seen.append(np.array_equal(model(x), expected))

    pool = [threading.Thread(target=run, args=(model,)) for model in models]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert seen and all(seen) and _blas() <= {MOST}


@pytest.mark.parametrize("backend, inside", [("numba", {1}), ("numpy", {MOST})])
def test_blas_is_limited_in_every_product_of_a_model_and_nowhere_else(backend, inside, monkeypatch, loops):
    model = mobilenet_v1(3, 0.1, strides="digits", in_channels=1, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    products, between = [], []
    for module in ("pointwise", "linear"):  # each begins and ends its work with a check
        operations = importlib.import_module(f"npmnv2.ops.{module}")
        for name in ("check_array", "check_dout"):
            real = getattr(operations, name)
            noted = lambda *a, real=real, **k: (products.append(_blas()), real(*a, **k))[1]  # noqa: E731
            monkeypatch.setattr(operations, name, noted)
    pool = model.layers["pool"]
    for name in ("forward", "backward"):
        real = getattr(pool, name)
        monkeypatch.setattr(pool, name, lambda value, real=real: (between.append(_blas()), real(value))[1])
    with npmnv2.backend(backend):
        model.backward(model(x))
    assert len(products) >= 2 * 14 and all(numbers <= inside for numbers in products)
    assert len(between) == 2 and all(numbers <= {MOST} for numbers in between)
    assert _blas() <= {MOST}


def test_a_model_that_fails_gives_blas_back(loops, monkeypatch):
    model = mobilenet_v2(3, 0.1, strides="digits", in_channels=1, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 1))

    def fail(*_):
        raise KeyError

    with npmnv2.backend("numba"):
        out = model(x)
        monkeypatch.setattr("npmnv2.ops.linear.check_dout", fail)  # inside a product
        with pytest.raises(KeyError):
            model.backward(out)
        assert _blas() <= {MOST}
        monkeypatch.setattr("npmnv2.ops.linear.check_array", fail)
        with pytest.raises(KeyError):
            model(x)
    assert _blas() <= {MOST}


def test_the_libraries_are_looked_for_once():
    assert blas.find_blas() is blas.find_blas()


TWO = {"NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "NPMNV2_BACKEND": "numba"}


# -- several Python threads


def in_another_thread(call):
    """What a call returns there."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(call()))
    thread.start()
    thread.join()
    return seen[0]


def number_in_a_pool():
    """Numba's own number, where a model would run."""
    with npmnv2.backend("numba"), one_pool():
        return numba.get_num_threads()


def test_any_python_thread_can_limit_blas():
    """threadpoolctl 3.8 lets only the first that sets it, and is deaf to the others without a word."""
    set_num_threads(MOST)

    def inside():
        with npmnv2.backend("numba"), one_pool():
            return _blas()

    assert in_another_thread(inside) == {1} and _blas() <= {MOST}
    with npmnv2.backend("numba"), one_pool():
        assert in_another_thread(inside) == {1} and _blas() <= {1}
    assert _blas() <= {MOST}


def test_the_number_holds_in_every_python_thread():
    for n in (1, MOST):
        set_num_threads(n)
        assert in_another_thread(get_num_threads) == in_another_thread(number_in_a_pool) == n


def test_a_python_thread_that_ran_before_takes_a_new_number_too():
    set_num_threads(MOST)
    go, seen = [threading.Event() for _ in range(2)], []

    def work():
        for event in go:
            event.wait()
            seen.append(number_in_a_pool())

    thread = threading.Thread(target=work)
    thread.start()
    go[0].set()
    while not seen:
        time.sleep(0.001)
    set_num_threads(1)
    go[1].set()
    thread.join()
    assert seen == [MOST, 1]


def test_a_limit_is_that_of_its_python_thread_and_outlasts_a_choice():
    with limit_threads(1):
        assert in_another_thread(get_num_threads) == MOST
        in_another_thread(lambda: set_num_threads(MOST))
        assert get_num_threads() == number_in_a_pool() == 1 and _blas() <= {1}
        set_num_threads(MOST)
        assert get_num_threads() == numba.get_num_threads() == 1 and _blas() <= {1}
    assert get_num_threads() == numba.get_num_threads() == MOST and _blas() <= {MOST}


def test_a_number_chosen_while_a_model_runs_is_kept():
    with npmnv2.backend("numba"), one_pool():
        in_another_thread(lambda: set_num_threads(1))
    assert _blas() <= {1} and get_num_threads() == 1
    with npmnv2.backend("numba"), one_pool():
        in_another_thread(lambda: set_num_threads(MOST))
        assert _blas() <= {1}, "the block is still running"
    assert _blas() <= {MOST}


SEVERAL = """
import sys, threading
import numba, numpy as np, npmnv2
from threadpoolctl import threadpool_info

npmnv2.set_num_threads(2)
together, wrong, expected = threading.Barrier(3), [], {}

def work(k):
    together.wait()  # the first kernels of all, which compile or load, at once too
    first = results(k)
    for _ in range(5):
        for a, b in zip(results(k), first):
            if not np.array_equal(a, b):
                wrong.append(k)
    expected[k] = first

workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
for worker in workers: worker.start()
for worker in workers: worker.join()
for k in range(3):
    wrong += [k for a, b in zip(results(k), expected[k]) if not np.array_equal(a, b)]
blas = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
print(numba.threading_layer(), wrong, sorted(expected), blas <= {2})
"""
KERNELS = """
import numpy as np
from npmnv2 import kernels
rng = np.random.default_rng(0)
x, w = [rng.normal(size=(3, 20 + 8 * k, 30, 8)) for k in range(3)], rng.normal(size=(5, 5, 8))

def results(k):
    out, cache = kernels.depthwise_conv2d_forward(x[k], w, 1, 2)
    return out, *kernels.depthwise_conv2d_backward(out, cache)
"""
MODELS = """
import sys
import numpy as np, npmnv2
sys.path.insert(0, "tests")
from test_fused import trained
x = [np.random.default_rng(k).normal(size=(2, 32 + 8 * k, 40, 3)).astype(np.float32) for k in range(3)]
models = [trained(npmnv2.mobilenet_v2(5, 0.35)) for _ in x]
shared = npmnv2.fuse(models[0])

def results(k):
    own = npmnv2.fuse(models[k])
    logits = models[k](x[k])
    return logits, models[k].backward(logits), own(x[k]), shared(x[k])
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
@pytest.mark.parametrize(
    "what", [KERNELS, pytest.param(MODELS, marks=pytest.mark.compiled)], ids=["kernels", "models and engines"]
)
def test_several_python_threads_at_once(what, layer):
    """Numba's layer "workqueue" would end the process when two of them run a kernel at once."""
    environment = os.environ | TWO | {"NUMBA_THREADING_LAYER": layer}
    command = [sys.executable, "-c", what + SEVERAL]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    used, rest = done.stdout.split(maxsplit=1)
    assert rest == "[] [0, 1, 2] True\n" and layer in (used, "default")
