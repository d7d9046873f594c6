"""The compiled kernels agree with NumPy and with their own source run as plain Python, to the bit at any thread count.

They take any layout, refuse by name what they cannot take, and survive a broken cache.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from cases import DTYPES, DTYPES_AND_PYTHON
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from python_loops import plain
from test_races import batchnorm_calls, depthwise_calls, depthwise_cases

from npmnv2 import kernels, ops
from npmnv2.shapes import conv_geometry

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = pathlib.Path(kernels.__file__).parents[2]
quick = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
thorough = settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def convolutions(draw, dtype):
    """x, w, options, dout of a valid depthwise convolution; half of them 3x3, which has kernels of its own."""
    size = st.integers(1, 20)
    N, H, W, C = draw(st.integers(0, 3)), draw(size), draw(size), draw(st.integers(1, 67))
    KH, KW = draw(st.one_of(st.just((3, 3)), st.tuples(st.integers(1, 7), st.integers(1, 7))))
    pad = st.integers(0, 4)
    padding = draw(st.one_of(pad, st.just("same"), st.tuples(st.tuples(pad, pad), st.tuples(pad, pad))))
    stride = draw(st.integers(1, 3))
    dilation = draw(st.one_of(st.just(1), st.integers(1, 2)))
    try:
        g = conv_geometry(H, W, KH, KW, stride, padding, dilation)
    except ValueError:
        assume(False)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, w, dout = (rng.standard_normal(s).astype(dtype) for s in ((N, H, W, C), (KH, KW, C), (N, g.OH, g.OW, C)))
    return x, w, {"stride": stride, "padding": padding, "dilation": dilation}, dout


def wide(*arrays):
    return [a.astype(np.float64) for a in arrays]


def sizes(*arrays):
    return [np.abs(a) for a in wide(*arrays)]


def check_forward(problem):
    x, w, options, _ = problem
    out, cache = kernels.depthwise_conv2d_forward(x, w, **options)
    exact, _ = ops.depthwise_conv2d_forward(*wide(x, w), **options)
    bound, _ = ops.depthwise_conv2d_forward(*sizes(x, w), **options)  # sum |x||w| under each window
    units = 4 if w.shape[:2] == (3, 3) else w[..., 0].size
    assert out.dtype == x.dtype and out.shape == exact.shape
    assert (np.abs(out - exact) <= units * np.finfo(x.dtype).eps * bound).all()
    assert isinstance(cache, ops.depthwise.DepthwiseCache) and cache.x is x and cache.w is w


def check_backward(problem):
    x, w, options, dout = problem
    _, cache = ops.depthwise_conv2d_forward(x, w, **options)  # NumPy's cache serves the kernel
    dx, dw = kernels.depthwise_conv2d_backward(dout, cache)
    exact = ops.depthwise_conv2d_backward(dout.astype(np.float64), cache._replace(x=wide(x)[0], w=wide(w)[0]))
    bound = ops.depthwise_conv2d_backward(np.abs(dout).astype(np.float64), cache._replace(x=sizes(x)[0], w=sizes(w)[0]))
    eps = np.finfo(x.dtype).eps
    units = 4 if w.shape[:2] == (3, 3) else w[..., 0].size
    assert dx.dtype == dw.dtype == x.dtype and dx.shape == x.shape and dw.shape == w.shape
    assert (np.abs(dx - exact[0]) <= units * eps * bound[0]).all()
    terms = max(1, dout[..., 0].size)  # dw sums so many; rounding errors of a sum add like a random walk
    assert (np.abs(dw - exact[1]) <= 4 * np.sqrt(terms) * eps * bound[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.data())
@quick
def test_depthwise_forward_agrees(dtype, data):
    check_forward(data.draw(convolutions(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.data())
@quick
def test_depthwise_backward_agrees(dtype, data):
    check_backward(data.draw(convolutions(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@thorough
def test_depthwise_forward_agrees_thoroughly(dtype, data):
    check_forward(data.draw(convolutions(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@thorough
def test_depthwise_backward_agrees_thoroughly(dtype, data):
    check_backward(data.draw(convolutions(dtype)))


@st.composite
def batches(draw, dtype):
    """x, gamma, beta, dout: any rank, C up to 67, offset from zero as activations are."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))) + (draw(st.integers(1, 67)),)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = (rng.standard_normal(shape) * 2 + draw(st.integers(-5, 5))).astype(dtype)
    gamma, beta = (rng.standard_normal(shape[-1]).astype(dtype) * 3 for _ in range(2))
    return x, gamma, beta, rng.standard_normal(shape).astype(dtype)


PAIRS = [
    (
        (getattr(kernels, name + "_forward"), getattr(ops, name + "_forward")),
        (getattr(kernels, name + "_backward"), getattr(ops, name + "_backward")),
        (getattr(kernels, name + "_inference"), getattr(ops, name + "_inference")),
    )
    for name in ("batchnorm", "batchnorm_relu6")
]


def check_batchnorm_forward(problem):
    x, gamma, beta, _ = problem
    eps = np.finfo(x.dtype).eps
    for (kernel, op), _, (kernel_inference, op_inference) in PAIRS:
        out, cache = kernel(x, gamma, beta)
        exact, wanted = op(*wide(x, gamma, beta))
        scale = np.abs(x).max() * wanted.inv_std * np.abs(gamma) + np.abs(beta) + 1  # (C,)
        assert type(cache) is type(wanted) and out.dtype == x.dtype
        assert (np.abs(cache.mean - wanted.mean) <= 4 * eps * np.abs(x).max()).all()
        assert (np.abs(cache.var - wanted.var) <= 64 * eps * (wanted.var + eps * np.abs(x).max() ** 2)).all()
        assert (np.abs(out - exact) <= 64 * eps * scale).all()
        fixed = kernel_inference(x, gamma, beta, cache.mean, cache.var)
        exact = op_inference(*wide(x, gamma, beta, cache.mean, cache.var))
        assert (np.abs(fixed - exact) <= 64 * eps * scale).all()


def check_batchnorm_backward(problem):
    x, gamma, beta, dout = problem
    eps = np.finfo(x.dtype).eps
    for (forward, _), (kernel, op), _ in PAIRS:
        _, cache = forward(x, gamma, beta)  # the kernel's cache serves NumPy
        got, exact = kernel(dout, cache), op(dout, cache)
        xhat = np.abs((x - cache.mean) * cache.inv_std).max(initial=1)
        terms = dout[..., 0].size
        scale = np.abs(gamma) * cache.inv_std * xhat**2 * np.abs(dout).max()  # (C,)
        for value, want, bound in zip(got, exact, (scale, terms * xhat, terms), strict=True):
            assert value.dtype == x.dtype and value.shape == want.shape
            assert (np.abs(value - want) <= 64 * eps * bound * max(1, np.abs(dout).max())).all()


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
@given(st.data())
@quick
def test_batchnorm_forward_agrees(dtype, data):
    check_batchnorm_forward(data.draw(batches(dtype)))


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
@given(st.data())
@quick
def test_batchnorm_backward_agrees(dtype, data):
    check_batchnorm_backward(data.draw(batches(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@thorough
def test_batchnorm_forward_agrees_thoroughly(dtype, data):
    check_batchnorm_forward(data.draw(batches(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@thorough
def test_batchnorm_backward_agrees_thoroughly(dtype, data):
    check_batchnorm_backward(data.draw(batches(dtype)))


def test_source_numpy_and_compiled_agree():
    """The third implementation: the loops as Python runs them."""
    for image, g in depthwise_cases(12, K=3) + depthwise_cases(12, big=7):
        for kernel, arguments, results in depthwise_calls(image, g):
            again = (*arguments[:-results], *(np.empty_like(a) for a in arguments[-results:]))
            kernel(*arguments)
            plain(kernel, prange=range)(*again)
            for a, b in zip(arguments[-results:], again[-results:], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_3x3_kernels_equal_the_plain_loops():
    """Each clever kernel beside the loops it replaces, in float64, however many tasks share an image."""
    for image, g in depthwise_cases(150, K=3, strides=(1, 2), big=24):
        calls = {kernel.py_func.__name__: (kernel, arguments) for kernel, arguments, _ in depthwise_calls(image, g)}
        wanted = {}
        for name in ("_forward", "_backward_x", "_backward_w"):
            kernel, (*arguments, result) = calls.pop(name)
            wanted[name] = np.empty_like(result)
            kernel(*arguments, wanted[name])
        for name, (kernel, arguments) in calls.items():
            forward = name.startswith("_forward")
            for tasks in (None,) if forward else (1, 2, 3, 7):
                if forward:
                    kernel(*arguments)
                    pairs = [(arguments[-1], wanted["_forward"])]
                else:
                    kernel(*arguments[:5], tasks, *arguments[6:])
                    pairs = [(arguments[-2], wanted["_backward_x"]), (arguments[-1], wanted["_backward_w"])]
                for got, want in pairs:
                    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11, err_msg=f"{name} {image} {g} {tasks}")


def test_batchnorm_source_and_compiled_agree(compiled_too):
    for R, C, size in ((1, 1, 1), (7, 3, 2), (9, 5, 4), (20, 4, 20)):
        for kernel, arguments in batchnorm_calls(R, C, size):
            again = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
            kernel(*arguments)
            plain(kernel, prange=range)(*again)
            for a, b in zip(arguments, again, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
def test_statistics_stay_accurate_far_from_zero(dtype):
    """Far from zero for the dtype, deviation 1, 100,352 values: the textbook E[x^2] - E[x]^2 has no correct digit."""
    far, digits = (1000, 5) if dtype == np.float32 else (1e8, 7)
    x = (np.random.default_rng(0).standard_normal((100_352, 4)) + far).astype(dtype)
    _, cache = kernels.batchnorm_forward(x, np.ones(4, dtype), np.zeros(4, dtype))
    exact = x.astype(np.float64) - far  # without rounding
    np.testing.assert_allclose(cache.var, exact.var(axis=0), rtol=10.0**-digits)
    np.testing.assert_allclose(cache.mean, exact.mean(axis=0) + far, rtol=1e-7)


BITS = """
import hashlib, sys
import numba, numpy as np
from npmnv2 import kernels
dtype, everything, digests = sys.argv[1], sys.argv[2] == "True", set()
for threads in (1, 2, 3, 8):
    numba.set_num_threads(threads)
    digest, rng = hashlib.sha256(), np.random.default_rng(0)
    for image, K, s, p, d in [((2, 23, 31, 33), 3, 1, 1, 1), ((3, 22, 17, 16), 3, 2, 1, 1),
                              ((1, 7, 7, 960), 3, 1, 1, 1), ((2, 19, 14, 8), 5, 2, 2, 1),
                              ((1, 15, 12, 5), 3, 1, 2, 2)]:
        if K == 3 and d == 1 and not everything:
            continue
        x = rng.standard_normal(image).astype(dtype)
        w = rng.standard_normal((K, K, image[3])).astype(dtype)
        out, cache = kernels.depthwise_conv2d_forward(x, w, s, p, d)
        dx, dw = kernels.depthwise_conv2d_backward(rng.standard_normal(out.shape).astype(dtype), cache)
        results = [out, dx, dw]
        if everything:
            big = rng.standard_normal((4000, image[3])).astype(dtype)
            y, cache = kernels.batchnorm_relu6_forward(big, w[0, 0], w[0, 1])
            grads = kernels.batchnorm_relu6_backward(rng.standard_normal(y.shape).astype(dtype), cache)
            results += [y, cache.mean, cache.var, *grads]
        for a in results:
            digest.update(a.tobytes())
    digests.add(digest.hexdigest())
print(len(digests))
"""


@pytest.mark.parametrize(
    "dtype, everything",
    [("float64", False), pytest.param("float32", True, marks=pytest.mark.compiled)],
)
def test_results_are_the_same_bits_at_any_number_of_threads(dtype, everything):
    command = [sys.executable, "-c", BITS, dtype, str(everything)]
    environment = os.environ | {"NUMBA_NUM_THREADS": "8"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
def test_any_layout_is_taken_and_nothing_is_written(dtype):
    rng = np.random.default_rng(1)
    base = rng.standard_normal((4, 18, 7, 9)).astype(dtype)
    x = base.transpose(0, 2, 3, 1)[::2, :, ::-1, ::2]  # (2, 7, 9, 9): nothing about it is contiguous
    w = np.asfortranarray(rng.standard_normal((3, 3, 9)).astype(dtype))
    dout = rng.standard_normal((7, 9, 9, 2)).astype(dtype).transpose(3, 0, 1, 2)
    gamma, beta = rng.standard_normal((2, 18)).astype(dtype)[:, ::2]
    for a in (x, w, dout, gamma, beta):
        a.flags.writeable = False
    before = hashlib.sha256(b"".join(a.tobytes() for a in (base, w, dout, gamma, beta))).digest()

    out, cache = kernels.depthwise_conv2d_forward(x, w, 1, 1)
    copy, copied = kernels.depthwise_conv2d_forward(x.copy(), w.copy(), 1, 1)
    results = [out, *kernels.depthwise_conv2d_backward(dout, cache)]
    wanted = [copy, *kernels.depthwise_conv2d_backward(dout.copy(), copied)]
    out, cache = kernels.batchnorm_relu6_forward(x, gamma, beta)
    copy, copied = kernels.batchnorm_relu6_forward(x.copy(), gamma.copy(), beta.copy())
    results += [out, *kernels.batchnorm_relu6_backward(dout, cache)]
    wanted += [copy, *kernels.batchnorm_relu6_backward(dout.copy(), copied)]
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.flags.writeable and not any(np.may_share_memory(got, a) for a in (base, w, dout, gamma, beta))
    assert before == hashlib.sha256(b"".join(a.tobytes() for a in (base, w, dout, gamma, beta))).digest()


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_goes_where_numpy_sends_it(value, dtype):
    rng = np.random.default_rng(2)
    for stride in (1, 2):
        x = rng.standard_normal((1, 9, 12, 3)).astype(dtype)
        x[0, 4, 0, 1] = x[0, 0, 7, 2] = value
        w = rng.standard_normal((3, 3, 3)).astype(dtype)
        with np.errstate(invalid="ignore"):
            out, cache = kernels.depthwise_conv2d_forward(x, w, stride, 1)
            wanted, _ = ops.depthwise_conv2d_forward(x, w, stride, 1)
            np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
            dout = rng.standard_normal(out.shape).astype(dtype)
            dout[0, 0, 2, 0] = value  # at the border, where NumPy multiplies it with the zeros of the padding too
            for got, want in zip(
                kernels.depthwise_conv2d_backward(dout, cache), ops.depthwise_conv2d_backward(dout, cache), strict=True
            ):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
            fixed = [rng.random(3).astype(dtype) for _ in range(4)]
            np.testing.assert_allclose(
                kernels.batchnorm_relu6_inference(x, *fixed), ops.batchnorm_relu6_inference(x, *fixed), rtol=1e-4
            )


def test_relu6_kinks_block_the_gradient():
    """Pre-activations of exactly 0 and 6: gamma = 0, so that y = beta."""
    x = np.arange(6.0).reshape(3, 2)
    _, cache = kernels.batchnorm_relu6_forward(x, np.zeros(2), np.array([0.0, 6.0]))
    assert kernels.batchnorm_relu6_backward(np.array([[1.0, 2], [3, 4], [5, 6]]), cache)[2].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_images_give_empty_results(dtype):
    x, w = np.zeros((0, 6, 7, 4), dtype), np.ones((3, 3, 4), dtype)
    out, cache = kernels.depthwise_conv2d_forward(x, w, stride=2, padding=1)
    dx, dw = kernels.depthwise_conv2d_backward(out, cache)
    assert out.shape == (0, 3, 4, 4) and dx.shape == x.shape and dw.shape == w.shape and not dw.any()
    one = np.ones(4, dtype)
    assert kernels.batchnorm_inference(x, one, one, one, one).shape == x.shape
    with pytest.raises(ValueError, match=r"^x must hold at least one value"):
        kernels.batchnorm_forward(x, one, one)


x4, w3, v2 = np.zeros((1, 5, 6, 2)), np.zeros((3, 3, 2)), np.ones(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.depthwise_conv2d_forward(x4.astype(np.float16), w3), TypeError, "^x must be float32"),
        (lambda: kernels.depthwise_conv2d_forward(x4.astype(complex), w3), TypeError, "^x must be float32"),
        (lambda: kernels.depthwise_conv2d_forward(x4.astype(">f8"), w3), TypeError, "^x must be float32"),
        (lambda: kernels.depthwise_conv2d_forward(np.ma.array(x4), w3), TypeError, "^x must be a plain"),
        (lambda: kernels.depthwise_conv2d_forward(x4.tolist(), w3), TypeError, "^x must be a NumPy array"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3.astype("f4")), TypeError, "^w must have the dtype"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3[..., :1]), ValueError, "^w must have length 2"),
        (lambda: kernels.depthwise_conv2d_forward(x4[0], w3), ValueError, "^x must have 4 axes"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3, stride=0), ValueError, "^stride must be"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3, stride=True), TypeError, "^stride must be"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3, padding=((True, 1), (1, 1))), TypeError, "^padding must be"),
        (lambda: kernels.depthwise_conv2d_forward(x4, w3, padding="valid"), ValueError, "^padding must be"),
        (lambda: kernels.depthwise_conv2d_forward(x4, np.zeros((6, 3, 2))), ValueError, "^kernel must fit"),
        (lambda: backward(x4[:, 1:]), ValueError, "^dout must have the shape"),
        (lambda: backward(np.zeros((1, 3, 4, 2), "f4")), TypeError, "^dout must have the dtype"),
        (lambda: kernels.batchnorm_forward(x4, v2[:1], v2), ValueError, "^gamma must have length 2"),
        (lambda: kernels.batchnorm_forward(x4, v2, v2.astype("f4")), TypeError, "^beta must have the dtype"),
        (lambda: kernels.batchnorm_forward(x4, v2, v2, eps=-1), ValueError, "^eps must not be negative"),
        (lambda: kernels.batchnorm_forward(x4, v2, v2, eps=np.nan), ValueError, "^eps must not be negative"),
        (lambda: kernels.batchnorm_inference(x4, v2, v2, v2, -v2), ValueError, "^var must not be negative"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    kernels.depthwise_conv2d_forward(x4, w3, 1, ((1, 1), (1, 1)))  # a good call first: no check may be remembered away
    with pytest.raises(error, match=message):
        call()


def backward(dout):
    return kernels.depthwise_conv2d_backward(dout, kernels.depthwise_conv2d_forward(x4, w3)[1])
