"""The separable convolution in one pass, which `benchmarks/separable.py` measures: it agrees with NumPy.

It takes long to compile, so by default it runs as plain Python on images of a few pixels.
"""

import doctest

import numba
import numpy as np
import one_pass
import one_pass_loops
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kernels_conv import check_frames, check_owners, close, convolutions, quick

from npmnv2 import ops
from npmnv2.runtime.threads import limit_threads

pytestmark = pytest.mark.usefixtures("one_thread")
MOST = numba.config.NUMBA_NUM_THREADS


def separable_calls():
    """Both kernels on small arrays, arguments with the result last, and what it must give; cut unevenly."""
    rng = np.random.default_rng(3)
    for H, W, stride, padding in (
        (7, 9, 1, 1),
        (9, 8, 1, ((2, 0), (0, 3))),
        (9, 13, 2, 1),
        (8, 12, 2, ((0, 1), (2, 1))),
    ):
        x, w, mix = rng.standard_normal((2, H, W, 3)), rng.standard_normal((3, 3, 3)), rng.standard_normal((3, 4))
        between, cache = ops.depthwise_conv2d_forward(x, w, stride, padding)
        exact, _ = ops.pointwise_conv2d_forward(between, mix)
        (top, _), (left, _) = cache.geometry.pads
        kernel = one_pass_loops.forward_stride1 if stride == 1 else one_pass_loops.forward_stride2
        for bands, group in ((1, 1), (3, 2), (2, 4), (1, 5), (3, 20)):
            cut = one_pass_loops.Cut(top, left, group, bands)
            yield kernel, (x, w, mix, cut, np.full_like(exact, np.nan)), exact


def check_separable(problem):
    x, w, options, _ = problem
    w, mix = w[..., 0], np.random.default_rng(0).standard_normal((x.shape[3], 7)).astype(x.dtype)
    del options["dilation"]
    results = []
    for x64, w64, mix64 in ((x, w, mix), (abs(x), abs(w), abs(mix))):
        between, _ = ops.depthwise_conv2d_forward(x64.astype(float), w64.astype(float), **options)
        results.append(ops.pointwise_conv2d_forward(between, mix64.astype(float))[0])
    close(one_pass.separable_conv2d(x, w, mix, **options), *results, x.dtype, w[..., 0].size + x.shape[3])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("image", [(2, 7, 9, 3), (1, 1, 1, 2), (1, 9, 12, 5), (0, 4, 5, 1)], ids=str)
@pytest.mark.parametrize("padding", [1, "same", ((2, 0), (1, 3))], ids=str)
def test_separable_agrees_in_python(image, stride, padding, in_python):
    rng = np.random.default_rng([*image, stride])
    x, w = rng.standard_normal(image), rng.standard_normal((3, 3, image[3], 1))
    check_separable((x, w, {"stride": stride, "padding": padding, "dilation": 1}, None))


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@quick
def test_separable_agrees(dtype, data):
    check_separable(data.draw(convolutions(dtype)))


def test_source_and_compiled_agree_and_no_element_has_two_owners(loops):
    check_owners(separable_calls())


def test_nothing_outside_is_read_or_written(loops):
    check_frames(separable_calls())


@pytest.mark.compiled
@pytest.mark.parametrize("C, M, H, stride", [(5, 8, 20, 1), (100, 24, 21, 1), (30, 40, 15, 2)])
def test_same_bits_at_any_number_of_threads(C, M, H, stride):
    rng = np.random.default_rng(0)
    x, w, mix = (rng.standard_normal(s).astype(np.float32) for s in ((2, H, H, C), (3, 3, C), (C, M)))
    seen = set()
    for n in range(1, MOST + 1):
        with limit_threads(n):
            seen.add(one_pass.separable_conv2d(x, w, mix, stride, 1).tobytes())
    assert len(seen) == 1


def test_what_does_not_fit_is_refused_by_name():
    x, w, mix = np.ones((1, 5, 5, 3)), np.ones((3, 3, 3)), np.ones((3, 2))
    for error, message, weights in (
        (ValueError, "^w must", (w[:, :, :2], mix)),
        (ValueError, "^mix must", (w, mix[:2])),
        (TypeError, "^mix must", (w, mix.astype(np.float32))),
    ):
        with pytest.raises(error, match=message):
            one_pass.separable_conv2d(x, *weights)


def test_its_example(in_python):
    assert doctest.testmod(one_pass) == (0, 3)
