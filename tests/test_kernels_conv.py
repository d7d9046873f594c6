"""The compiled standard and pointwise convolutions agree with NumPy, whatever tiles and bands they are cut into."""

import numba
import numpy as np
import pytest
from cases import DTYPES_AND_PYTHON
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from python_loops import plain

from npmnv2 import ops
from npmnv2.kernels.conv import loops as conv_loops
from npmnv2.kernels.conv import operations as conv
from npmnv2.runtime.threads import limit_threads
from npmnv2.shapes import conv_geometry

pytestmark = pytest.mark.usefixtures("one_thread")
quick = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
thorough = settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
MOST = numba.config.NUMBA_NUM_THREADS


@st.composite
def convolutions(draw, dtype):
    """x, w, options, dout; more taps than go in one sum (`loops.DEPTH`) among them."""
    size = st.integers(1, 24)
    N, H, W = draw(st.integers(0, 3)), draw(size), draw(size)
    C, M = draw(st.one_of(st.integers(1, 20), st.integers(90, 130))), draw(st.integers(1, 20))
    KH, KW = draw(st.one_of(st.just((3, 3)), st.tuples(st.integers(1, 5), st.integers(1, 5))))
    pad = st.integers(0, 4)
    padding = draw(st.one_of(pad, st.just("same"), st.tuples(st.tuples(pad, pad), st.tuples(pad, pad))))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    try:
        g = conv_geometry(H, W, KH, KW, stride, padding, dilation)
    except ValueError:
        assume(False)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = ((N, H, W, C), (KH, KW, C, M), (N, g.OH, g.OW, M))
    x, w, dout = (rng.standard_normal(s).astype(dtype) for s in shapes)
    return x, w, {"stride": stride, "padding": padding, "dilation": dilation}, dout


def close(got, exact, bound, dtype, terms):
    """Rounding of a sum of `terms` products adds like a random walk; `bound` is the sum of their sizes."""
    assert got.dtype == dtype and got.shape == exact.shape
    assert (np.abs(got - exact) <= 4 * np.sqrt(terms) * np.finfo(dtype).eps * bound).all()


def check_conv(problem):
    x, w, options, dout = problem
    wide = [a.astype(np.float64) for a in (x, w, dout)]
    out, cache = conv.conv2d_forward(x, w, **options)
    results = []
    for x64, w64, d64 in (wide, [np.abs(a) for a in wide]):
        exact, exact_cache = ops.conv2d_forward(x64, w64, **options)
        results.append((exact, *ops.conv2d_backward(d64, exact_cache)))
    close(out, results[0][0], results[1][0], x.dtype, w[..., 0].size)
    assert cache.x is x and cache.w is w
    dx, dw = conv.conv2d_backward(dout, cache)
    close(dx, results[0][1], results[1][1], x.dtype, w.size // w.shape[2])
    close(dw, results[0][2], results[1][2], x.dtype, max(1, dout[..., 0].size))


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
@given(st.data())
@quick
def test_standard_agrees(dtype, data):
    check_conv(data.draw(convolutions(dtype)))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(st.data())
@thorough
def test_standard_agrees_thoroughly(dtype, data):
    check_conv(data.draw(convolutions(dtype)))


@pytest.mark.parametrize("C, M", [(1, 1), (3, 70), (60, 5), (1100, 100), (70, 1000)])
@pytest.mark.parametrize("pixels", [(0, 3, 4), (2, 1, 1), (1, 1, 1), (2, 13, 11)])
def test_pointwise_agrees(pixels, C, M, compiled_too):
    rng = np.random.default_rng(C)
    x, w, dout = (rng.standard_normal(s) for s in ((*pixels, C), (C, M), (*pixels, M)))
    out, cache = conv.pointwise_conv2d_forward(x, w)
    exact, exact_cache = ops.pointwise_conv2d_forward(x, w)
    np.testing.assert_allclose(out, exact, rtol=1e-11, atol=1e-11)
    for got, want in zip(
        conv.pointwise_conv2d_backward(dout, cache), ops.pointwise_conv2d_backward(dout, exact_cache), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def kernel_calls():
    """Every kernel on small arrays, its arguments with the result last, and what it must give; cut unevenly."""
    rng = np.random.default_rng(3)
    for M, stride, dilation, padding in (
        (8, 1, 1, ((2, 0), (0, 1))),
        (24, 1, 2, 1),
        (16, 2, 1, 1),
        (8, 3, 2, ((1, 3), (2, 2))),
    ):
        x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 2, 3, M))
        exact, cache = ops.conv2d_forward(x, w, stride, padding, dilation)
        dout, window = rng.standard_normal(exact.shape), conv._window(w, cache.geometry)
        rows = exact.shape[0] * exact.shape[1]
        for threads, bands in ((1, 1), (2, rows), (3, min(3, rows))):
            seen = np.full_like(conv._scratch(threads, bands, x, window, exact), np.nan)
            out = np.full_like(exact, np.nan)
            yield conv_loops.forward, (x, w.reshape(-1, M), window, bands, seen, out), exact
        for groups, pieces, bands in ((1, 1, 1), (1, 4, 2), (2, 3, rows)):
            seen = np.full_like(conv._scratch(groups * pieces, bands, x, window, exact), np.nan)
            dw = np.full((groups, 18, M), np.nan)
            yield (
                conv_loops.backward_w,
                (dout, x, window, bands, seen, dw),
                gradients_of_groups(dout, cache, groups, bands),
            )
        if dilation == 1:
            wt, sent = conv._widened(w.reshape(18, M).T.copy()), np.full((2, exact.shape[2], 24), np.nan)
            dx = np.full_like(x, np.nan)
            yield conv_loops.backward_x, (dout, wt, window, sent, dx), ops.conv2d_backward(dout, cache)[0]
    x, w, out = rng.standard_normal((1, 13, 1, 3)), rng.standard_normal((3, 8)), np.full((1, 13, 1, 8), np.nan)
    for bands in (1, 4, 13):
        yield conv_loops.forward, (x, w, conv.POINT, bands, np.empty((2, 0)), out.copy()), x @ w


def gradients_of_groups(dout, cache, groups, bands):
    """dw of each group of the bands, as if all other rows had no gradient."""
    rows, found = dout.shape[0] * dout.shape[1], []
    for g in range(groups):
        alone = np.zeros((rows, *dout.shape[2:]))
        first, last = (k * bands // groups * rows // bands for k in (g, g + 1))
        alone[first:last] = dout.reshape(alone.shape)[first:last]
        found.append(ops.conv2d_backward(alone.reshape(dout.shape), cache)[1].reshape(-1, dout.shape[3]))
    return np.stack(found)


def test_source_and_compiled_agree_and_no_element_has_two_owners(compiled_too):
    check_owners(kernel_calls())


def check_owners(calls):
    """Each iteration alone, as plain Python, on a result full of NaN: what it writes is right and its alone."""
    for kernel, (*arguments, result), exact in calls:
        kernel(*arguments, result)
        np.testing.assert_allclose(result, exact, rtol=1e-11, atol=1e-11)
        iterations = []
        plain(kernel, prange=lambda n, seen=iterations: seen.append(n) or [])(*arguments, np.empty_like(result))
        writers = np.zeros(result.shape, int)
        for k in range(iterations[0]):
            alone = np.full_like(result, np.nan)
            plain(kernel, prange=lambda n, k=k: [k])(*arguments, alone)
            mine = ~np.isnan(alone)
            np.testing.assert_allclose(alone[mine], exact[mine], rtol=1e-11, atol=1e-11)
            writers += mine
        assert (writers == 1).all()


def framed(values):
    """`values` contiguous in the middle of a longer array of NaN, which must stay as it is."""
    room = np.full(values.size + 400, np.nan)
    inner = room[200:-200].reshape(values.shape)
    inner[...] = values
    return room, inner


def test_nothing_outside_is_read_or_written(compiled_too):
    check_frames(kernel_calls())


def check_frames(calls):
    for kernel, (*arguments, result), exact in calls:
        frames = [framed(a) if isinstance(a, np.ndarray) else (None, a) for a in (*arguments, result)]
        kernel(*(inner for _, inner in frames))
        np.testing.assert_allclose(frames[-1][1], exact, rtol=1e-11, atol=1e-11)
        for room, _ in frames:
            assert room is None or (np.isnan(room[:200]).all() and np.isnan(room[-200:]).all())


@pytest.mark.parametrize("dtype", DTYPES_AND_PYTHON)
@pytest.mark.parametrize("C, M, H, stride", [(5, 8, 20, 1), (100, 24, 21, 1), (30, 40, 15, 2)])
def test_same_bits_at_any_number_of_threads(C, M, H, stride, dtype):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, H, H, C), (3, 3, C, M)))
    seen = set()
    for n in range(1, MOST + 1):
        with limit_threads(n):
            out, cache = conv.conv2d_forward(x, w, stride, 1)
            gradients = conv.conv2d_backward(np.sin(out), cache)
            mixed, rows = conv.pointwise_conv2d_forward(x, w[0, 0])
            results = (out, *gradients, mixed, *conv.pointwise_conv2d_backward(mixed, rows))
            seen.add(b"".join(a.tobytes() for a in results))
    assert len(seen) == 1


def test_any_layout_is_accepted(compiled_too):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 2, 8, 9)).transpose(0, 2, 3, 1)[:, ::-1]  # as from PyTorch, and upside down
    w = rng.standard_normal((5, 2, 3, 3)).T[..., ::-1]
    x.flags.writeable = False
    out, cache = conv.conv2d_forward(x, w, 1, 1)
    exact, exact_cache = ops.conv2d_forward(x, w, 1, 1)
    np.testing.assert_allclose(out, exact, rtol=1e-11, atol=1e-11)
    dout = rng.standard_normal(out.shape).swapaxes(1, 2).copy().swapaxes(1, 2)
    for got, want in zip(conv.conv2d_backward(dout, cache), ops.conv2d_backward(dout, exact_cache), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_what_does_not_fit_is_refused_by_name():
    x, w = np.ones((1, 5, 5, 3)), np.ones((3, 3, 3, 2))
    out, cache = conv.conv2d_forward(x, w)
    _, mixed_cache = conv.pointwise_conv2d_forward(x, w[0, 0])
    for error, message, call in (
        (ValueError, "^w must have .* channels of x", lambda: conv.conv2d_forward(x, w[:, :, :2])),
        (TypeError, "^x must", lambda: conv.conv2d_forward(x.astype(complex), w)),
        (TypeError, "^w must", lambda: conv.conv2d_forward(x, w.astype(np.float32))),
        (ValueError, "^stride must", lambda: conv.conv2d_forward(x, w, stride=0)),
        (ValueError, "^dout must", lambda: conv.conv2d_backward(out[:, 1:], cache)),
        (ValueError, "^w must", lambda: conv.pointwise_conv2d_forward(x, w[0, 0, :2])),
        (ValueError, "^dout must", lambda: conv.pointwise_conv2d_backward(x, mixed_cache)),
    ):
        with pytest.raises(error, match=message):
            call()
