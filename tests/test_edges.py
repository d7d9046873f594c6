"""Both backends compute the same, up to rounding: from 1e-30 to 1e30, with NaN and infinity in the same places.

Magnitudes are those of float32, whose largest number is 3e38: what goes beyond it is infinite, and where it does so on
the way to a sum depends on the order. So products of two magnitudes stay below 1e33 here, or there is an infinity that
a test has put there itself.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import npmnv2
from npmnv2 import kernels, ops
from npmnv2.engine.folding import folded
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6
from npmnv2.shapes import conv_geometry

pytestmark = pytest.mark.usefixtures("one_thread")
few = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=2000)
exponents = st.integers(-30, 30)
strange = st.sampled_from([np.nan, np.inf, -np.inf])
seeds = st.integers(0, 2**32 - 1)


def check(got, want, bound):
    """NaN and infinity in the same places, and elsewhere no more than `bound` apart; 1e-42 is where float32 ends."""
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.where(np.isinf(got), got, 0), np.where(np.isinf(want), want, 0))
    finite = np.isfinite(want)
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(float) - want)
        bound = np.broadcast_to(bound + 1e-42, got.shape)
    assert (error[finite] <= bound[finite]).all(), (error[finite] / bound[finite]).max()


@st.composite
def planted(draw, *arrays):
    """Copies, in up to three places of which stands something that is not finite."""
    arrays = [a.copy() for a in arrays]
    for _ in range(draw(st.integers(0, 3))):
        k = draw(st.integers(0, len(arrays) - 1))
        if arrays[k].size:
            arrays[k].flat[draw(st.integers(0, arrays[k].size - 1))] = draw(strange)
    return arrays


# -- depthwise convolution


@st.composite
def convolutions(draw):
    """x, w, dout, options: half of them 3x3; padding up to 4, where some windows see nothing else."""
    N, H, W, C = draw(st.integers(0, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    KH, KW = draw(st.one_of(st.just((3, 3)), st.tuples(st.integers(1, 5), st.integers(1, 5))))
    pad = st.integers(0, 4)
    padding = draw(st.one_of(st.just("same"), pad, st.tuples(st.tuples(pad, pad), st.tuples(pad, pad))))
    options = {
        "stride": draw(st.integers(1, 3)),
        "padding": padding,
        "dilation": draw(st.sampled_from([1, 1, 2])),
    }
    try:
        g = conv_geometry(H, W, KH, KW, *options.values())
    except ValueError:
        assume(False)
    ex = draw(exponents)
    ew = draw(st.integers(-30, min(30, 33 - ex)))
    ed = draw(st.integers(-30, min(30, 33 - ex, 33 - ew)))
    rng = np.random.default_rng(draw(seeds))
    shapes = (N, H, W, C), (KH, KW, C), (N, g.OH, g.OW, C)
    arrays = [(rng.standard_normal(s) * 10.0**e).astype("f") for s, e in zip(shapes, (ex, ew, ed), strict=True)]
    return *draw(planted(*arrays)), options


def check_depthwise(problem):
    x, w, dout, options = problem
    with np.errstate(all="ignore"):
        out, cache = kernels.depthwise_conv2d_forward(x, w, **options)
        got = (out, *kernels.depthwise_conv2d_backward(dout, cache))
        wanted, cache = ops.depthwise_conv2d_forward(x, w, **options)
        want = (wanted, *ops.depthwise_conv2d_backward(dout, cache))
        x, w, dout = (np.abs(a).astype(float) for a in (x, w, dout))  # the sums of what is added up, without signs
        sums, cache = ops.depthwise_conv2d_forward(x, w, **options)
        bounds = (sums, *ops.depthwise_conv2d_backward(dout, cache))
    for a, b, bound in zip(got, want, bounds, strict=True):
        check(a, b, 1e-5 * bound)


@few
@given(problem=convolutions())
def test_depthwise(loops, problem):
    check_depthwise(problem)


@pytest.mark.compiled
@many
@given(problem=convolutions())
def test_depthwise_at_length(problem):
    check_depthwise(problem)


@pytest.mark.parametrize("stride", [1, 2])
def test_nan_in_a_gradient_at_the_corner_reaches_all_of_dw(loops, stride):
    """The formula multiplies it with the padding too: 9 elements, not the 4 whose taps lie in the image.

    PyTorch's own loops have 9, those that it takes from oneDNN 4.
    """
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 7, 7, 2)).astype("f"), rng.standard_normal((3, 3, 2)).astype("f")
    out, cache = kernels.depthwise_conv2d_forward(x, w, stride, 1)
    dout = rng.standard_normal(out.shape).astype("f")
    dout[0, 0, 0, 1] = np.nan
    for module in (ops, kernels):
        dx, dw = module.depthwise_conv2d_backward(dout, cache)
        assert np.isnan(dw).sum(axis=(0, 1)).tolist() == [0, 9]
        assert np.isnan(dx).sum() == 4


# -- batch norm


@st.composite
def batch_norms(draw):
    """x, gamma, beta, dout, eps, relu6: a mean beside the deviations from it, or ten of them away."""
    N, H, W, C = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    ex, eg, ed = draw(exponents), draw(exponents), draw(exponents)
    assume(eg + ed <= 30 and eg - ex >= -34)  # gamma / std * dout, and gamma / std alone, can be represented
    rng = np.random.default_rng(draw(seeds))
    x = rng.standard_normal((N, H, W, C)) + draw(st.sampled_from([0, 1, -10]))
    arrays = [x * 10.0**ex, rng.standard_normal(C) * 10.0**eg, rng.standard_normal(C) * 10.0 ** draw(exponents)]
    arrays.append(rng.standard_normal((N, H, W, C)) * 10.0**ed)
    arrays = draw(planted(*(a.astype("f") for a in arrays)))
    return *arrays, draw(st.sampled_from([1e-5, 1e-3])), draw(st.booleans())


def is_near_a_kink(x, cache):
    """Whether rounding decides what the ReLU6 lets through."""
    with np.errstate(all="ignore"):
        xhat = (x.astype(float) - cache.mean) * cache.inv_std
        terms = np.abs(xhat * cache.gamma) + np.abs(cache.beta)
        y = xhat * cache.gamma + cache.beta
        return any((np.abs(y - kink) <= 1e-4 * (terms + kink)).any() for kink in (0.0, 6.0))


def check_batch_norm(problem):
    x, gamma, beta, dout, eps, clips = problem
    name = "batchnorm_relu6" if clips else "batchnorm"
    results = []
    with np.errstate(all="ignore"):
        for module in (kernels, ops):
            out, cache = getattr(module, f"{name}_forward")(x, gamma, beta, eps)
            assume(not clips or not is_near_a_kink(x, cache))
            dx, dgamma, dbeta = getattr(module, f"{name}_backward")(dout, cache)
            results.append((out, cache.mean, cache.var, cache.inv_std, dx, dgamma, dbeta))
        size = np.nanmax(np.abs(np.where(np.isfinite(x), x, 0)).astype(float))
        xhat, dy = float(x.size), np.abs(np.where(np.isfinite(dout), dout, 0)).max().astype(float)
        slope = np.abs(gamma.astype(float)) * cache.inv_std
        sums = dy * x.size
        bounds = (
            np.abs(gamma.astype(float)) * 20 + np.abs(beta),
            size,
            size**2,
            np.abs(cache.inv_std),
            slope * dy * xhat,
            sums * 20,
            sums,
        )
        bounds = [np.where(np.isnan(bound), 0, bound) for bound in bounds]
        one = cache._replace(gamma=np.ones_like(gamma))
        dxhat = getattr(ops, f"{name}_backward")(dout, one)[0]
        cancelled = np.isinf(gamma) & (np.abs(dxhat) <= 1e-5 * cache.inv_std * dy * xhat)
    for result in results:
        result[4][cancelled] = 0  # infinity times what rounding alone decides
    for got, want, bound in zip(*results, bounds, strict=True):
        check(got, want, 1e-5 * bound)


@few
@given(problem=batch_norms())
def test_batch_norm_in_training(loops, problem):
    check_batch_norm(problem)


@pytest.mark.compiled
@many
@given(problem=batch_norms())
def test_batch_norm_in_training_at_length(problem):
    check_batch_norm(problem)


@pytest.mark.parametrize("size", [1e-15, 1e15, 1e17, 1e18, 1e19, 1e20, 1e25, 1e30, 1e37])
@pytest.mark.parametrize("layer", [BatchNorm, BatchNormReLU6])
def test_what_is_large_is_normalised(loops, layer, size):
    """Though its square is too large for float32; then a variance is, but not the standard deviation."""
    x = np.random.default_rng(0).standard_normal((4, 9, 16, 3)).astype("f")
    want = layer(3, eps=0.0)(x)
    for backend in ("numpy", "numba"):
        with npmnv2.backend(backend), np.errstate(all="ignore"):
            norm = layer(3, eps=0.0)
            np.testing.assert_allclose(norm(x * np.float32(size)), want, rtol=1e-4, atol=1e-5)
        assert np.isinf(norm.var.value).all() == (size > 2e19)


@st.composite
def fixed_norms(draw):
    """x, gamma, beta, mean, var, eps, relu6."""
    rng = np.random.default_rng(draw(seeds))
    C = draw(st.integers(1, 3))
    arrays = [rng.standard_normal(s) * 10.0 ** draw(exponents) for s in ((2, 3, 4, C), C, C, C, C)]
    arrays = draw(planted(*(a.astype("f") for a in arrays)))
    return *arrays[:-1], np.abs(arrays[-1]), draw(st.sampled_from([0.0, 1e-5, 1e-3])), draw(st.booleans())


def check_fixed_norm(problem):
    *arrays, eps, clips = problem
    name = "batchnorm_relu6_inference" if clips else "batchnorm_inference"
    with np.errstate(all="ignore"):
        got, want = (getattr(module, name)(*arrays, eps) for module in (kernels, ops))
        x, gamma, beta, mean, var = (np.abs(a).astype(float) for a in arrays)
        bound = (x + mean) * (gamma / np.sqrt(var + eps)) + beta
    check(got, want, 1e-6 * np.where(np.isnan(bound), 0, bound))


@few
@given(problem=fixed_norms())
def test_batch_norm_in_eval(loops, problem):
    check_fixed_norm(problem)


@pytest.mark.compiled
@many
@given(problem=fixed_norms())
def test_batch_norm_in_eval_at_length(problem):
    check_fixed_norm(problem)


# -- a network, in eval mode, fused, and in training


def made(dtype):
    """Stride 1 and 2, blocks with a shortcut and without; statistics, scales and shifts that are not 0 and 1."""
    model = npmnv2.mobilenet_v2(10, 0.35, strides="digits", dropout=0.0, dtype=dtype)
    rng, state = np.random.default_rng(0), model.state_dict()
    for name, value in state.items():
        if name.endswith((".var", ".gamma")):
            state[name] = rng.uniform(0.5, 1.5, value.shape)
        elif name.endswith((".mean", ".beta", ".b")):
            state[name] = 0.3 * rng.standard_normal(value.shape)
    model.load_state_dict(state)
    return model


@pytest.fixture(scope="module")
def network():
    return made(np.float32).eval()


@st.composite
def pictures(draw):
    """Of an odd number of rows and columns; with something in up to three places that is not finite."""
    rng = np.random.default_rng(draw(seeds))
    x = rng.standard_normal((draw(st.integers(1, 2)), 9, 7, 3)) * 10.0 ** draw(exponents)
    return draw(planted(x.astype("f")))[0]


def check_network(network, x, fused):
    with np.errstate(all="ignore"):
        with npmnv2.backend("numpy"):
            want = network(x)
            plain = folded(network)(x)
        if fused:
            got = npmnv2.fuse(network)(x)
        else:
            with npmnv2.backend("numba"):
                got = network(x)
    size = np.abs(want[np.isfinite(want)]).max(initial=1.0)
    check(plain, want, 1e-4 * size)
    check(got, want, 1e-4 * size)


PLACES = {
    "finite": (None, None),
    "NaN": ((0, 4, 3, 1), np.nan),
    "inf": ((0, 0, 0, 0), np.inf),
    "-inf": ((1, 8, 6, 2), -np.inf),
}


@pytest.mark.parametrize("fused", [False, True], ids=["eval", "fused"])
@pytest.mark.parametrize("what", PLACES)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_network(loops, network, size, what, fused):
    check_network(network, picture(size, what, np.float32), fused)


def picture(size, what, dtype):
    x = (np.random.default_rng(1).standard_normal((2, 9, 7, 3)) * size).astype(dtype)
    place, value = PLACES[what]
    if place is not None:
        x[place] = value
    return x


@pytest.mark.compiled
@pytest.mark.parametrize("fused", [False, True], ids=["eval", "fused"])
@settings(few, max_examples=200)
@given(x=pictures())
def test_a_network_at_length(network, fused, x):
    check_network(network, x, fused)


@pytest.mark.parametrize("what", PLACES)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_network_in_training(loops, size, what):
    """In float64, so that no rounding decides what a ReLU6 lets through."""
    results = []
    for backend in ("numpy", "numba"):
        model = made(np.float64).train()
        with npmnv2.backend(backend), np.errstate(all="ignore"):
            logits = model(picture(size, what, np.float64))
            dlogits = np.random.default_rng(2).standard_normal(logits.shape)
            model.backward(dlogits)
        results.append([logits, *(p.grad for p in model.parameters()), *model.state_dict().values()])
    for want, got in zip(*results, strict=True):
        check(got, want, 1e-6 * np.abs(want[np.isfinite(want)]).max(initial=0) + 1e-10)  # some are 0, but for rounding
