"""No kernel lets two parallel iterations touch the same element, and none leaves its arrays.

Running a kernel many times and comparing finds races badly (on two cores, not at all). So the loops are run as plain
Python, one iteration after another, on arrays that remember which iteration read and wrote what; that finds a conflict
whatever the timing would have been. Because Numba checks no bounds, compiled kernels are also run on arrays that lie in
the middle of larger ones full of NaN: a stray read shows up in the result, a stray write in the frame.
"""

import itertools
import types
from collections import defaultdict

import numpy as np
import pytest
from cases import DTYPES
from python_loops import plain

from npmnv2.kernels.batchnorm import loops as batchnorm_loops
from npmnv2.kernels.depthwise import loops as depthwise_loops
from npmnv2.kernels.depthwise import loops_3x3 as depthwise_3x3
from npmnv2.kernels.depthwise import loops_3x3_backward as depthwise_3x3_backward
from npmnv2.shapes import conv_geometry

pytestmark = pytest.mark.usefixtures("one_thread")


class Log:
    """Who touched what, in the parallel loop now running."""

    def __init__(self):
        self.iteration = None
        self.readers = defaultdict(set)
        self.writers = defaultdict(set)

    def prange(self, count):
        assert self.iteration is None, "parallel loops are not nested"
        for self.iteration in range(count):
            yield self.iteration
        self.iteration = None
        for element, writers in self.writers.items():
            assert len(writers) == 1, f"{element} has several writers: iterations {sorted(writers)}"
            others = self.readers[element] - writers
            assert not others, f"{element} is written by iteration {writers} and read by {sorted(others)}"
        self.readers.clear()
        self.writers.clear()

    def array(self, values, name):
        return LoggedArray(values, name, self)

    @property
    def numpy(self):
        """A stand-in for the module `np` in a kernel, whose scratch arrays log as well."""
        made = iter(range(1000))
        scratch = {
            name: lambda *a, make=make: self.array(make(*a), f"scratch {next(made)}")
            for name, make in (("zeros", np.zeros), ("empty", np.empty))
        }
        return types.SimpleNamespace(float64=np.float64, inf=np.inf, **scratch)


class LoggedArray:
    def __init__(self, values, name, log):
        self.values, self.name, self.log = values, name, log
        self.shape, self.dtype = values.shape, values.dtype

    def elements(self, key):
        """The elements that an index with integers and slices means, each index checked."""
        key = key if isinstance(key, tuple) else (key,)
        key += (slice(None),) * (len(self.shape) - len(key))
        assert len(key) == len(self.shape)
        axes = []
        for position, length in zip(key, self.shape, strict=True):
            if isinstance(position, slice):
                axes.append(range(length)[position])
            else:
                if not 0 <= position < length:
                    raise IndexError(f"{self.name}{list(map(str, key))} is outside {self.shape}")
                axes.append([int(position)])
        return [(self.name, *element) for element in itertools.product(*axes)]

    def reshape(self, *shape):
        assert self.log.iteration is None, "not logged"
        return self.values.reshape(*shape)

    def __getitem__(self, key):
        for element in self.elements(key):
            if self.log.iteration is not None:
                self.log.readers[element].add(self.log.iteration)
        return self.values[key]

    def __setitem__(self, key, value):
        for element in self.elements(key):
            if self.log.iteration is not None:
                self.log.writers[element].add(self.log.iteration)
        self.values[key] = value


def run_logged(kernel, *arguments):
    log = Log()

    def watched(value, name):
        if type(value) is tuple:
            return tuple(watched(v, f"{name}[{k}]") for k, v in enumerate(value))
        return log.array(value, name) if isinstance(value, np.ndarray) else value

    logged = [watched(a, f"argument {k}") for k, a in enumerate(arguments)]
    with np.errstate(all="ignore"):
        plain(kernel, prange=log.prange, np=log.numpy)(*logged)


rng = np.random.default_rng(7)


def random(*shape):
    return rng.standard_normal(shape)


def depthwise_cases(count, K=None, strides=(1, 2, 3), big=10):
    """Random valid geometries: image, kernel, stride, dilation, pads, output size."""
    cases = []
    while len(cases) < count:
        N, H, W, C = (int(rng.integers(1, high)) for high in (3, big, big, 4))
        KH, KW = (K, K) if K else (int(k) for k in rng.integers(1, 6, 2))
        stride = int(rng.choice(strides))
        dilation = 1 if K else int(rng.integers(1, 3))
        pads = tuple(tuple(int(p) for p in rng.integers(0, 4, 2)) for _ in range(2))
        try:
            cases.append(((N, H, W, C), conv_geometry(H, W, KH, KW, stride, pads, dilation)))
        except ValueError:  # the kernel does not fit
            continue
    return cases


def depthwise_calls(image, g):
    """Every kernel that may run on this geometry, its arguments, and how many of them, the last, are results."""
    (top, _), (left, _) = g.pads
    N, H, W, C = image
    x, w, dout = random(*image), random(g.KH, g.KW, C), random(N, g.OH, g.OW, C)
    out, dx, dw = np.full_like(dout, np.nan), np.full_like(x, np.nan), np.full_like(w, np.nan)
    yield depthwise_loops.forward, (x, w, g.stride, g.dilation, top, left, out), 1
    yield depthwise_loops.backward_x, (dout, w, g.stride, g.dilation, top, left, dx), 1
    yield depthwise_loops.backward_w, (dout, x, g.stride, g.dilation, top, left, dw), 1
    if (g.KH, g.KW, g.dilation) == (3, 3, 1):
        for stride, kernel in ((1, depthwise_3x3.forward_3x3_stride1), (2, depthwise_3x3.forward_3x3_stride2)):
            if g.stride == stride:
                yield kernel, (x, w, top, left, out), 1
        tasks = 1 + (H + W) % 4  # more than `depthwise._tasks` takes for so small an image
        for stride, kernel in (
            (1, depthwise_3x3_backward.backward_3x3_stride1),
            (2, depthwise_3x3_backward.backward_3x3_stride2),
        ):
            if g.stride == stride:
                yield kernel, (dout, x, w, top, left, tasks, dx, dw), 2


def batchnorm_calls(R, C, size):
    x, dout, vectors = random(R, C), random(R, C), random(6, C)
    mean, inv_std, gamma, beta, one, two = (v.copy() for v in vectors)
    for clip in (False, True):
        yield batchnorm_loops.statistics, (x, size, one, two)
        yield batchnorm_loops.normalise, (x, mean, inv_std, gamma, beta, clip, size, np.empty_like(x))
        norm = mean, inv_std, gamma, beta
        yield batchnorm_loops.backward, (dout, x, norm, clip, size, one, two, np.empty_like(x))


@pytest.mark.parametrize("strides", [(1,), (2,), (3,)])
def test_3x3_kernels_have_no_races(strides):
    for image, geometry in depthwise_cases(20, K=3, strides=strides):
        for kernel, arguments, _ in depthwise_calls(image, geometry):
            run_logged(kernel, *arguments)


def test_general_kernels_have_no_races():
    for image, geometry in depthwise_cases(20):
        for kernel, arguments, _ in depthwise_calls(image, geometry):
            run_logged(kernel, *arguments)


def test_batchnorm_kernels_have_no_races():
    for _ in range(20):
        R, C, size = (int(rng.integers(1, high)) for high in (12, 5, 5))
        for kernel, arguments in batchnorm_calls(R, C, size):
            run_logged(kernel, *arguments)


# The detector itself: each of these is wrong in one way.


def _scatter(dout, w, dx):  # the textbook dx, parallel over the wrong thing: neighbouring windows overlap
    for y in prange(dout.shape[0]):  # noqa: F821
        for i in range(w.shape[0]):
            dx[y + i] = dx[y + i] + dout[y] * w[i]


def _read_neighbour(x, out):  # in place, one writer an element, but the neighbour's element may be old or new
    for y in prange(1, x):  # noqa: F821
        out[y] = out[y - 1] + 1


def _shared_sum(x, total):
    for y in prange(x.shape[0]):  # noqa: F821
        total[0] = total[0] + x[y]


def _row_slices(x, out):
    for y in prange(x.shape[0] - 1):  # noqa: F821
        out[y : y + 2] = x[y : y + 2]


def _one_too_far(x, out):
    for y in prange(x.shape[0]):  # noqa: F821
        out[y] = x[y + 1]


def _before_the_start(x, out):  # NumPy would take the last element, Numba whatever lies there
    for y in prange(x.shape[0]):  # noqa: F821
        out[y] = x[y - 1]


def test_the_detector_finds_planted_races():
    with pytest.raises(AssertionError, match="several writers"):
        run_logged(_scatter, random(4), random(3), np.zeros(6))
    with pytest.raises(AssertionError, match="several writers"):
        run_logged(_shared_sum, random(4), np.zeros(1))
    with pytest.raises(AssertionError, match="several writers"):
        run_logged(_row_slices, random(4, 2), np.zeros((4, 2)))
    log = Log()
    with pytest.raises(AssertionError, match="is written by iteration"):
        loops = plain(_read_neighbour, prange=lambda first, last: (k + first for k in log.prange(last - first)))
        loops(4, log.array(np.zeros(4), "out"))


def test_the_detector_finds_planted_overruns():
    for bad in (_one_too_far, _before_the_start):
        with pytest.raises(IndexError, match="is outside"):
            run_logged(bad, random(4), np.zeros(4))


def framed(a, dtype):
    """A contiguous copy of `a` inside a larger array of NaN; returns the copy and the whole."""
    whole = np.full(a.size + 2 * 64, np.nan, dtype)
    inner = whole[64 : 64 + a.size].reshape(a.shape)
    inner[...] = a
    return inner, whole


def check_frames(kernel, arguments, results, dtype):
    pairs = [framed(a, dtype) if isinstance(a, np.ndarray) else (a, None) for a in arguments]
    kernel(*(inner for inner, _ in pairs))
    for _, whole in pairs:
        if whole is not None:
            assert np.isnan(whole[:64]).all() and np.isnan(whole[-64:]).all(), kernel
    for inner, _ in pairs[-results:]:
        assert np.isfinite(inner).all(), kernel  # nothing from the frames was read, and every element was written


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_kernels_stay_inside_their_arrays(dtype):
    for image, geometry in depthwise_cases(150, K=3, big=20) + depthwise_cases(50):
        for kernel, arguments, results in depthwise_calls(image, geometry):
            check_frames(kernel, arguments, results, dtype)


def test_compiled_batchnorm_kernels_stay_inside_their_arrays(compiled_too):
    for _ in range(200):
        R, C, size = (int(rng.integers(1, high)) for high in (40, 40, 8))
        for kernel, arguments in batchnorm_calls(R, C, size):
            pairs = [framed(a, np.float64) if isinstance(a, np.ndarray) else (a, None) for a in arguments]
            kernel(*(inner for inner, _ in pairs))
            for inner, whole in pairs:
                if whole is not None:
                    assert np.isnan(whole[:64]).all() and np.isnan(whole[-64:]).all(), kernel
                    assert np.isfinite(inner).all(), kernel
