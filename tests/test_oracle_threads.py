"""With PyTorch imported and at work in the same process: our pools keep their numbers, and nobody starts more."""

import os
import sys
import threading
import time

import numba
import numpy as np
import pytest
from test_fused import trained
from threadpoolctl import threadpool_info

import npmnv2
from npmnv2.runtime.blas import find_blas
from npmnv2.runtime.threads import limit_threads

pytestmark = pytest.mark.oracle
MOST = numba.config.NUMBA_NUM_THREADS


class Busy:
    """PyTorch, multiplying in another Python thread for as long as the block runs; counts what it got done."""

    def __enter__(self):
        import torch

        self.done, self._stop = 0, threading.Event()

        def work():
            a = torch.ones(512, 512)
            while not self._stop.is_set():
                a @ a
                self.done += 1

        self._thread = threading.Thread(target=work)
        self._thread.start()
        while self.done == 0:
            time.sleep(0.001)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def _numbers():
    """How many threads NumPy's BLAS uses; SciPy's, which others load, is none of ours."""
    known = {library.filepath for library in find_blas()}
    return {
        os.path.basename(library["filepath"]): library["num_threads"]
        for library in threadpool_info()
        if library["filepath"] in known and "openblas" in library["internal_api"] and "numpy" in library["filepath"]
    }


def _os_threads():
    return len(os.listdir("/proc/self/task"))


def _least(call, times=20):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return 1e3 * min(found)


@pytest.mark.parametrize("what", ["engine", "model", "training step"])
def test_our_pools_keep_their_numbers_while_pytorch_works(what, monkeypatch):
    monkeypatch.undo()  # kernels are compiled: what runs in threads is what this is about
    model = trained(npmnv2.mobilenet_v2(10, 0.35))
    engine, x = npmnv2.fuse(model), np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)
    seen = []
    if what == "engine":
        from npmnv2.kernels.inference_block import head

        real = head.classify
        monkeypatch.setattr(
            head, "classify", lambda *a: (seen.append((_numbers(), numba.get_num_threads())), real(*a))[1]
        )
    else:
        pool = model.layers["pool"]
        for name in ("forward", "backward"):
            real = getattr(pool, name)
            watched = lambda v, real=real: (seen.append((_numbers(), numba.get_num_threads())), real(v))[1]  # noqa: E731
            monkeypatch.setattr(pool, name, watched)

    def call():
        if what == "engine":
            return engine(x)
        logits = model.train(what == "training step")(x)
        return model.backward(logits) if what == "training step" else logits

    expected = call()
    alone, outside = _least(call), _numbers()
    with Busy() as torch_at_work:
        call()
        threads, before = _os_threads(), torch_at_work.done
        seen.clear()
        beside = _least(call)
        assert _os_threads() <= threads, "no call starts threads"
        assert torch_at_work.done > before, "PyTorch goes on"
        result = call()
    assert seen and all(set(blas.values()) == {1} and numba_has == MOST for blas, numba_has in seen)
    assert _numbers() == outside
    if what != "training step":  # whose running statistics change, and nothing else
        np.testing.assert_array_equal(result, expected)
    print(f"{what}: {alone:.2f} ms alone, {beside:.2f} beside PyTorch, which did {torch_at_work.done} products")


def test_pytorchs_own_number_is_not_touched():
    import torch

    engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
    before = torch.get_num_threads()
    with limit_threads(1):
        engine(np.zeros((1, 32, 32, 3), np.float32))
        assert torch.get_num_threads() == before
    npmnv2.set_num_threads(1)
    assert torch.get_num_threads() == before
    npmnv2.set_num_threads(MOST)


@pytest.mark.parametrize("first", ["torch", "npmnv2"])
def test_whichever_is_imported_first(first):
    """Each brings an OpenMP of its own; that they live side by side is not a matter of course."""
    import subprocess

    code = f"""
import {first}
import torch, npmnv2, numpy as np, numba
a, x = torch.ones(300, 300), np.zeros((1, 64, 64, 3), np.float32)
engine = npmnv2.fuse(npmnv2.mobilenet_v2(10, 0.35))
for _ in range(3):
    a @ a
    logits = engine(x)
print(numba.threading_layer(), logits.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{numba.threading_layer()} (1, 10)"
