"""`ops.fold_batchnorm` equals the pair it replaces, for every kind of convolution; wrong versions are noticed."""

import math

import numpy as np
import pytest
from cases import batchnorm_input, operation

from npmnv2 import backend, ops
from npmnv2.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures("one_thread")

# kind -> the convolution, and the kernel's shape for C input and M output channels
KINDS = {
    "standard": ("conv2d_forward", lambda C, M: (3, 2, C, M)),
    "im2col": ("conv2d_im2col_forward", lambda C, M: (2, 3, C, M)),
    "depthwise": ("depthwise_conv2d_forward", lambda C, M: (3, 3, C)),
    "pointwise": ("pointwise_conv2d_forward", lambda C, M: (C, M)),
}
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}
EPS = 0.1  # large enough that a fold which forgets it is wrong by more than rounding


def problem(kind, C, M, dtype, seed=0):
    """An image, a kernel, and a batch norm that hides nothing: gamma of either sign, a mean and a beta that are not 0,
    a variance between a hundredth and four."""
    rng = np.random.default_rng([seed, C, M])
    w = rng.normal(size=KINDS[kind][1](C, M))
    x, _, _ = batchnorm_input((2, 5, 7, C), seed)
    M = w.shape[-1]
    gamma = rng.uniform(0.5, 3, M) * rng.choice([-1, 1], M)
    beta, mean = rng.normal(1, 2, (2, M))
    var = 10.0 ** rng.uniform(-2, 0.6, M)
    return [a.astype(dtype) for a in (x, w, gamma, beta, mean, var)]


def error_of(fold, kind, C, M, dtype, eps=EPS):
    """How far a folded convolution is from the convolution and its batch norm; the variances shrink with eps."""
    x, w, *norm = problem(kind, C, M, dtype)
    norm[3] = (norm[3] * (eps / EPS)).astype(dtype)
    convolve = operation(KINDS[kind][0])
    right = operation("batchnorm_inference")(convolve(x, w)[0], *norm, eps)
    w_folded, bias = fold(w, *norm, eps)
    return relative_error(convolve(x, w_folded)[0] + bias, right)


CHANNELS = [(1, 1), (3, 5), (4, 4), (48, 6), (160, 320)]  # 4, 4: here a wrong axis is no wrong shape


@pytest.mark.parametrize(
    "implementation, dtype",
    [("numpy", np.float64), ("numpy", np.float32), ("numba", np.float64)]
    + [pytest.param("numba", np.float32, marks=pytest.mark.compiled)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_folded_is_the_pair(kind, implementation, dtype):
    for C, M in CHANNELS:
        terms = math.prod(KINDS[kind][1](C, M)[:-1])  # of both sums, whose rounding errors add like a random walk
        bound = max(TOLERANCE[dtype], math.sqrt(terms) * np.finfo(dtype).eps)
        for eps in (EPS, 1e-7):
            with backend(implementation):
                assert error_of(ops.fold_batchnorm, kind, C, M, dtype, eps) < bound, (C, M, eps)


@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-12, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_epsilon_counts_where_the_variance_is_as_small(kind, eps):
    """Beside variances of about 1, as in a network that learns well, an epsilon of 1e-7 or 1e-5 is hardly there."""
    for dtype in TOLERANCE:
        _, w, gamma, beta, mean, _ = problem(kind, 4, 4, dtype)
        var = (max(eps, 1e-12) * np.array([0.5, 1, 3, 0 if eps else 2])).astype(dtype)
        w_folded, bias = ops.fold_batchnorm(w, gamma, beta, mean, var, eps)
        scale = [float(g) / math.sqrt(float(v) + eps) for g, v in zip(gamma, var, strict=True)]  # by the definition
        assert relative_error(w_folded, w * np.array(scale)) < TOLERANCE[dtype]
        assert relative_error(bias, beta - mean * np.array(scale)) < TOLERANCE[dtype]
        assert not eps or error_of(ops.fold_batchnorm, kind, 4, 4, dtype, eps) < TOLERANCE[dtype]


def test_without_an_epsilon_it_is_that_of_pytorch():
    _, w, *norm = problem("standard", 3, 5, np.float64)
    norm[3] *= 1e-5
    for found, expected in zip(ops.fold_batchnorm(w, *norm), ops.fold_batchnorm(w, *norm, 1e-5), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_grouped_convolutions_fold_too():
    x, w, *norm = problem("standard", 3, 8, np.float64)
    x = np.concatenate([x, x[::-1]], axis=3)  # two groups of 3 channels
    right = ops.batchnorm_inference(ops.grouped_conv2d_forward(x, w, 2)[0], *norm, EPS)
    w_folded, bias = ops.fold_batchnorm(w, *norm, EPS)
    assert relative_error(ops.grouped_conv2d_forward(x, w_folded, 2)[0] + bias, right) < 1e-14


@pytest.mark.parametrize("kind", KINDS)
def test_dtype_shape_and_arguments(kind):
    for dtype in TOLERANCE:
        _, w, *norm = problem(kind, 3, 5, dtype)
        before = [a.copy() for a in (w, *norm)]
        w_folded, bias = ops.fold_batchnorm(w, *norm, EPS)
        assert (w_folded.shape, w_folded.dtype, bias.shape, bias.dtype) == (w.shape, dtype, norm[1].shape, dtype)
        assert not np.shares_memory(w_folded, w)
        assert all((a == b).all() for a, b in zip(before, (w, *norm), strict=True))


def test_rounded_once():
    """In float32, the nearest float32 to what float64 gives: no rounding of the scale comes between."""
    _, w, *norm = problem("standard", 16, 32, np.float32)
    w64, b64 = ops.fold_batchnorm(w.astype(np.float64), *(a.astype(np.float64) for a in norm), EPS)
    w32, b32 = ops.fold_batchnorm(w, *norm, EPS)
    assert (w32 == w64.astype(np.float32)).all() and (b32 == b64.astype(np.float32)).all()


def test_what_stands_before_a_convolution_does_not_fold():
    """Under zero padding the shift of a batch norm *before* a convolution is missing at the border, only there."""
    x, w, *_ = problem("standard", 3, 5, np.float64)
    w = np.concatenate([w, w[:, :1]], axis=1)  # 3x3
    _, _, gamma, beta, mean, var = problem("depthwise", 3, 3, np.float64, seed=1)
    scale = gamma / np.sqrt(var + EPS)
    shift = beta - mean * scale
    before, _ = ops.conv2d_forward(ops.batchnorm_inference(x, gamma, beta, mean, var, EPS), w, padding=1)
    attempt = ops.conv2d_forward(x, w * scale[:, None], padding=1)[0] + np.einsum("ijcm,c->m", w, shift)
    inside = np.s_[:, 1:-1, 1:-1]
    assert relative_error(before[inside], attempt[inside]) < 1e-14
    wrong = abs(before - attempt).min(axis=(0, 3)) > 1e-3
    wrong[1:-1, 1:-1] = True
    assert wrong.all()  # every pixel of the border is


BAD = {
    "w must be a NumPy array; was list": (TypeError, {"w": [[1.0]]}),
    "w must be float32 or float64; was int64": (TypeError, {"w": np.ones((2, 3), np.int64)}),
    "gamma must have length 3 along axis 0 (the output channels: the last axis of w); its shape was (2,)": (
        ValueError,
        {"gamma": np.ones(2)},
    ),
    "beta must have 1 axes (M); its shape was (1, 3)": (ValueError, {"beta": np.ones((1, 3))}),
    "mean must have the dtype of the input, float64; was float32": (TypeError, {"mean": np.ones(3, np.float32)}),
    "var must not be negative; its smallest value was -1.0": (ValueError, {"var": np.array([1.0, -1.0, 2.0])}),
    "eps must not be negative; was -1": (ValueError, {"eps": -1}),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    kind, changed = BAD[message]
    good = {"w": np.ones((2, 3)), **{name: np.ones(3) for name in ("gamma", "beta", "mean", "var")}, "eps": 0.1}
    with pytest.raises(kind) as error:
        ops.fold_batchnorm(**{**good, **changed})
    assert str(error.value) == message


# -- known wrong versions, planted: see test_mutants.py


def fold(
    *,
    scale=lambda gamma, beta, mean, var, eps: gamma / np.sqrt(var + eps),
    weights=lambda w, scale: w * scale,
    bias=lambda gamma, beta, mean, scale: beta - mean * scale,
):
    """The right fold as parts, of which a mutant replaces one."""

    def folded(w, gamma, beta, mean, var, eps):
        s = scale(gamma, beta, mean, var, eps)
        return weights(w, s), bias(gamma, beta, mean, s)

    return folded


def _along(axis):
    """Scale an axis other than the last: the right one in PyTorch's layout, say."""

    def weights(w, scale):
        shape = [1] * w.ndim
        shape[axis % w.ndim] = -1
        return w * np.resize(scale, w.shape[axis % w.ndim]).reshape(shape)

    return weights


MUTANTS = {
    "eps left out": fold(scale=lambda gamma, beta, mean, var, eps: gamma / np.sqrt(var)),
    "eps no smaller than PyTorch's": fold(
        scale=lambda gamma, beta, mean, var, eps: gamma / np.sqrt(var + max(eps, 1e-5))
    ),
    "eps no larger than Keras's": fold(scale=lambda gamma, beta, mean, var, eps: gamma / np.sqrt(var + min(eps, 1e-3))),
    "var no smaller than eps": fold(scale=lambda gamma, beta, mean, var, eps: gamma / np.sqrt(np.maximum(var, eps))),
    "eps outside the root": fold(scale=lambda gamma, beta, mean, var, eps: gamma / (np.sqrt(var) + eps)),
    "sqrt left out": fold(scale=lambda gamma, beta, mean, var, eps: gamma / (var + eps)),
    "multiplied by the deviation": fold(scale=lambda gamma, beta, mean, var, eps: gamma * np.sqrt(var + eps)),
    "gamma left out": fold(scale=lambda gamma, beta, mean, var, eps: 1 / np.sqrt(var + eps)),
    "gamma and mean swapped": lambda w, gamma, beta, mean, var, eps: fold()(w, mean, beta, gamma, var, eps),
    "gamma and beta swapped": lambda w, gamma, beta, mean, var, eps: fold()(w, beta, gamma, mean, var, eps),
    "mean and var swapped": lambda w, gamma, beta, mean, var, eps: fold()(w, gamma, beta, var, abs(mean), eps),
    "first axis scaled": fold(weights=_along(0)),
    "last axis but one scaled": fold(weights=_along(-2)),
    "weights not scaled": fold(weights=lambda w, scale: w),
    "one scale for all": fold(weights=lambda w, scale: w * scale[0]),
    "mean not scaled": fold(bias=lambda gamma, beta, mean, scale: beta - mean),
    "mean scaled by gamma only": fold(bias=lambda gamma, beta, mean, scale: beta - mean * gamma),
    "mean added": fold(bias=lambda gamma, beta, mean, scale: beta + mean * scale),
    "mean left out": fold(bias=lambda gamma, beta, mean, scale: beta),
    "beta left out": fold(bias=lambda gamma, beta, mean, scale: -mean * scale),
    "beta scaled": fold(bias=lambda gamma, beta, mean, scale: (beta - mean) * scale),
}


def verdict(candidate, kind):
    """Whether a fold passes on images, by the check above."""
    cases = [(C, M, eps) for C, M in ((4, 4), (3, 5)) for eps in (EPS, 1e-3, 1e-7)]
    return all(error_of(candidate, kind, C, M, np.float64, eps) < TOLERANCE[np.float64] for C, M, eps in cases)


def test_the_right_folds_pass():
    for kind in KINDS:
        assert verdict(fold(), kind) and verdict(ops.fold_batchnorm, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_rejected(mutant, kind):
    assert not verdict(MUTANTS[mutant], kind)


def test_a_fresh_batch_norm_lets_most_mutants_pass():
    """The check one writes first, on a network as it is initialised: gamma 1, beta 0, mean 0, variance 1."""
    x, w, *_ = problem("standard", 4, 4, np.float64)
    norm = np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)
    right = ops.batchnorm_inference(ops.conv2d_forward(x, w)[0], *norm, 1e-5)

    def passes(candidate):
        w_folded, bias = candidate(w, *norm, 1e-5)
        return np.allclose(ops.conv2d_forward(x, w_folded)[0] + bias, right, rtol=1e-4)

    assert passes(ops.fold_batchnorm)
    passed = [name for name, candidate in MUTANTS.items() if passes(candidate)]
    assert len(passed) == 18, f"{len(passed)} of {len(MUTANTS)} mutants pass: {passed}"
