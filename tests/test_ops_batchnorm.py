"""Batch norm: gradients by complex step, the closed form against the step-by-step one, kinks, statistics."""

import inspect
import sys
from functools import partial

import numpy as np
import pytest
from cases import BATCHES, batchnorm_input, check_batchnorm, implementations

from npmnv2 import gradcheck, kernels, ops
from npmnv2.gradcheck import relative_error

pytestmark = pytest.mark.usefixtures("one_thread")

shapes = pytest.mark.parametrize("shape", BATCHES, ids=str)
both = pytest.mark.parametrize("module", [ops, kernels], ids=["ops", "kernels"])


@shapes
@pytest.mark.parametrize("backward", [ops.batchnorm_backward, ops.batchnorm_backward_steps])
def test_gradients_by_complex_step(shape, backward):
    check_batchnorm(ops.batchnorm_forward, backward, shape)


@shapes
@pytest.mark.parametrize("eps", [0.0, 1e-5, 1e-3, 0.5])
def test_both_forms_agree(shape, eps):
    x, gamma, beta = batchnorm_input(shape)
    _, cache = ops.batchnorm_forward(x, gamma, beta, eps)
    dout = np.random.default_rng(1).normal(size=shape)
    for name, a, b in zip(
        ("dx", "dgamma", "dbeta"),
        ops.batchnorm_backward(dout, cache),
        ops.batchnorm_backward_steps(dout, cache),
        strict=True,
    ):
        assert relative_error(a, b) < 1e-13, name


# The forward of `batchnorm_backward_steps`, an operation an entry: the name of its result, and how it is computed.
STEPS = {
    "mean": lambda v: v["x"].mean(axis=(0, 1, 2)),
    "centered": lambda v: v["x"] - v["mean"],
    "squared": lambda v: v["centered"] ** 2,
    "var": lambda v: v["squared"].mean(axis=(0, 1, 2)),
    "std": lambda v: (v["var"] + 0.1) ** 0.5,
    "inv_std": lambda v: v["std"] ** -1.0,
    "xhat": lambda v: v["centered"] * v["inv_std"],
    "out": lambda v: v["xhat"] * v["gamma"] + v["beta"],
}
NODES = [
    "beta",
    "gamma",
    "xhat",
    "inv_std",
    "std",
    "var",
    "squared",
    "centered",
    "mean",
    "x",
]  # in the backward's order


def _tail(values, node, changed):
    """The output, if one intermediate result is changed and all that comes after it is computed from it."""
    values = {**values, node: changed}
    after = list(STEPS)[list(STEPS).index(node) + 1 if node in STEPS else 0 :]
    if node in ("gamma", "beta"):
        after = ["out"]
    for name in after:
        values[name] = STEPS[name](values)
    return values["out"]


def _wrong_steps(backward):
    """The names of the nodes whose gradients, as `backward` leaves them in its variables, the complex step refutes.

    In the order in which the backward computes them: the first one names the line that is wrong.
    """
    x, gamma, beta = batchnorm_input((2, 3, 4, 5))
    values = {"x": x, "gamma": gamma, "beta": beta}
    for name, step in STEPS.items():
        values[name] = step(values)
    _, cache = ops.batchnorm_forward(x, gamma, beta, 0.1)
    dout = np.random.default_rng(1).normal(size=x.shape)
    found = {}

    def note(frame, event, returned):
        if event == "return" and frame.f_code is backward.__code__:
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(note)  # whose last call for a function comes when its variables have all their values
    try:
        backward(dout, cache)
    finally:
        sys.setprofile(before)
    wrong = []
    for node in NODES:
        exact = gradcheck.complex_step_gradient(partial(_tail, values, node), values[node], dout)
        if relative_error(np.broadcast_to(found[f"d{node}"], exact.shape), exact) > 1e-13:  # dsquared is (C,)
            wrong.append(node)
    return wrong


def test_every_step_by_complex_step():
    """Each intermediate gradient is the derivative of what follows its node, not only dx, dgamma and dbeta."""
    assert _wrong_steps(ops.batchnorm_backward_steps) == []


@pytest.mark.parametrize(
    "line, instead, node",
    [
        ("dbeta = dout.sum(axis=axes)", "dbeta = dout.mean(axis=axes)", "beta"),
        ("dgamma = (dout * xhat)", "dgamma = (dout * centered)", "gamma"),
        ("dxhat = dout * gamma", "dxhat = dout", "xhat"),
        ("dinv_std = (dxhat * centered)", "dinv_std = (dxhat * xhat)", "inv_std"),
        ("dstd = -dinv_std / std**2", "dstd = -dinv_std / std", "std"),
        ("dvar = dstd / (2 * std)", "dvar = dstd / std", "var"),
        ("dsquared = dvar / m", "dsquared = dvar / (m - 1)", "squared"),
        ("2 * centered * dsquared", "centered * dsquared", "centered"),
        ("dcentered = dxhat * inv_std", "dcentered = dxhat", "centered"),
        ("dmean = -dcentered.sum(axis=axes)", "dmean = dcentered.sum(axis=axes)", "mean"),
        ("dx = dx + dmean / m", "dx = dx + dmean", "x"),
    ],
)
def test_a_wrong_step_is_named(line, instead, node):
    source = inspect.getsource(ops.batchnorm_backward_steps)
    assert source.count(line) == 1
    namespace = dict(vars(sys.modules[ops.batchnorm_backward_steps.__module__]))
    exec(source.replace(line, instead), namespace)
    assert _wrong_steps(namespace["batchnorm_backward_steps"])[0] == node


@shapes
def test_gradients_of_the_kernel_by_differences(shape):
    x, gamma, beta = batchnorm_input(shape)
    gradcheck.check(
        lambda *a: kernels.batchnorm_forward(*a, 0.1), kernels.batchnorm_backward, x, gamma, beta, step=1e-5
    )


@shapes
def test_dx_has_no_part_along_the_constant_or_along_xhat(shape):
    """With eps = 0 the forward ignores a channel's mean and scale, so the backward may not move along them."""
    x, gamma, beta = batchnorm_input(shape)
    dout = np.random.default_rng(1).normal(size=shape)
    axes = tuple(range(x.ndim - 1))
    for module in (ops, kernels):
        out, cache = module.batchnorm_forward(x, gamma, beta, 0.0)
        dx, _, _ = module.batchnorm_backward(dout, cache)
        xhat = (out - beta) / gamma
        np.testing.assert_allclose(dx.sum(axes), 0, atol=1e-12 * np.abs(dx).sum())
        np.testing.assert_allclose((dx * xhat).sum(axes), 0, atol=1e-12 * np.abs(dx).sum())


@shapes
@both
def test_forward_by_the_definition(shape, module):
    x, gamma, beta = batchnorm_input(shape)
    out, cache = module.batchnorm_forward(x, gamma, beta, 0.1)
    for c in range(shape[-1]):
        values = x[..., c].ravel().tolist()
        mean = sum(values) / len(values)
        var = sum((v - mean) ** 2 for v in values) / len(values)
        assert cache.mean[c] == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert cache.var[c] == pytest.approx(var, rel=1e-12)  # biased
        expected = [(v - mean) / (var + 0.1) ** 0.5 * gamma[c] + beta[c] for v in values]
        np.testing.assert_allclose(out[..., c].ravel(), expected, rtol=1e-12, atol=1e-12)


@both
def test_float32_statistics_survive_a_large_mean(module):
    """What accumulating in float64 is for: E[x^2] - E[x]^2 in float32 would have no correct digit here."""
    x = (1000 + np.random.default_rng(0).normal(size=(4, 50, 50, 2))).astype(np.float32)
    _, cache = module.batchnorm_forward(x, np.ones(2, np.float32), np.zeros(2, np.float32))
    np.testing.assert_allclose(cache.var, x.astype(np.float64).var((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(cache.mean, x.astype(np.float64).mean((0, 1, 2)), rtol=1e-6)


@both
def test_constant_channel(module):
    """A channel without variance: eps alone keeps it finite, out is beta, and dx is 0 but for rounding."""
    x = np.full((2, 3, 3, 1), 7.0)
    out, cache = module.batchnorm_forward(x, np.full(1, 2.0), np.full(1, 5.0), 1e-5)
    np.testing.assert_array_equal(out, np.full_like(x, 5.0))
    dout = np.random.default_rng(0).normal(size=x.shape)
    dx, dgamma, dbeta = module.batchnorm_backward(dout, cache)
    np.testing.assert_allclose(dx, 2 / np.sqrt(1e-5) * (dout - dout.mean()), rtol=1e-12)
    assert dgamma == 0 and dbeta == pytest.approx(dout.sum(), rel=1e-12)


# -- with ReLU6


def _away_from_kinks(shape, forward):
    """An input whose normalised values all keep a distance from 0 and 6, so that differences cross no kink."""
    for seed in range(100):
        x, gamma, beta = batchnorm_input(shape, seed)
        y, _ = forward(x, gamma, beta, 0.1)
        if min(np.abs(y).min(), np.abs(y - 6).min()) > 1e-3 and (y < 0).any() and ((y > 0) & (y < 6)).any():
            return x, gamma, beta
    raise AssertionError("no seed keeps its distance")


@shapes
def test_relu6_gradients_by_complex_step(shape):
    gradcheck.check(
        lambda *a: ops.batchnorm_relu6_forward(*a, 0.1),
        ops.batchnorm_relu6_backward,
        *_away_from_kinks(shape, ops.batchnorm_forward),
        method="complex",
    )


@shapes
@both
def test_relu6_gradients_by_differences(shape, module):
    gradcheck.check(
        lambda *a: module.batchnorm_relu6_forward(*a, 0.1),
        module.batchnorm_relu6_backward,
        *_away_from_kinks(shape, ops.batchnorm_forward),
        step=1e-5,
    )


@both
def test_relu6_at_the_kinks(module):
    """x = -1, 0, 1 normalises to -a, 0, a exactly, so beta puts the middle value on a kink to the bit."""
    x, dout = np.array([[-1.0], [0.0], [1.0]]), np.array([[2.0], [30.0], [500.0]])
    for beta, passes in ((0.0, 500.0), (6.0, 2.0), (3.0, 532.0)):
        y, _ = ops.batchnorm_forward(x, np.ones(1), np.array([beta]))
        assert y[1, 0] == beta
        _, cache = module.batchnorm_relu6_forward(x, np.ones(1), np.array([beta]))
        assert module.batchnorm_relu6_backward(dout, cache)[2].item() == passes


@shapes
@both
def test_relu6_forward_is_the_pair(shape, module):
    x, gamma, beta = batchnorm_input(shape)
    out, _ = module.batchnorm_relu6_forward(x, gamma, beta, 0.1)
    assert relative_error(out, ops.relu6_forward(ops.batchnorm_forward(x, gamma, beta, 0.1)[0])[0]) < 1e-14


# -- inference


def _statistics(C):
    rng = np.random.default_rng(2)
    return rng.normal(size=C), rng.uniform(0.1, 3, C)


@shapes
def test_inference_gradients(shape):
    x, gamma, beta = batchnorm_input(shape)
    mean, var = _statistics(shape[-1])
    gradcheck.check(
        lambda x, gamma, beta: ops.batchnorm_inference(x, gamma, beta, mean.astype(x.dtype), var.astype(x.dtype), 0.1),
        lambda dout: ops.batchnorm_inference_backward(dout, x, gamma, mean, var, 0.1),
        *(x, gamma, beta),
        method="complex",
    )


@shapes
def test_inference_relu6_gradients(shape):
    """For an upstream gradient that is random, and by what ReLU6 is defined to be at its kinks."""
    mean, var = _statistics(shape[-1])

    def fixed(x, gamma, beta):
        return ops.batchnorm_inference(x, gamma, beta, mean, var, 0.1), None

    x, gamma, beta = _away_from_kinks(shape, lambda x, gamma, beta, eps: fixed(x, gamma, beta))
    gradcheck.check(
        lambda *a: ops.batchnorm_relu6_inference(*a, mean.astype(a[0].dtype), var.astype(a[0].dtype), 0.1),
        lambda dout: ops.batchnorm_relu6_inference_backward(dout, x, gamma, beta, mean, var, 0.1),
        *(x, gamma, beta),
        method="complex",
    )


def test_inference_relu6_at_the_kinks():
    x, one, dout = np.array([[-1.0], [0.0], [1.0]]), np.ones(1), np.array([[2.0], [30.0], [500.0]])
    for beta, passes in ((0.0, 500.0), (6.0, 2.0), (3.0, 532.0)):
        fixed = (one, np.array([beta]), 0 * one, one, 0.0)
        assert ops.batchnorm_relu6_inference_backward(dout, x, *fixed)[2].item() == passes
    with pytest.raises(ValueError, match=r"^dout must have the shape"):
        ops.batchnorm_relu6_inference_backward(dout[:1], x, one, one, one, one)


@shapes
@both
def test_inference_by_the_definition(shape, module):
    x, gamma, beta = batchnorm_input(shape)
    mean, var = _statistics(shape[-1])
    out = module.batchnorm_inference(x, gamma, beta, mean, var, 0.1)
    expected = gamma * (x - mean) / np.sqrt(var + 0.1) + beta
    assert relative_error(out, expected) < 1e-14
    clipped = module.batchnorm_relu6_inference(x, gamma, beta, mean, var, 0.1)
    assert relative_error(clipped, np.clip(expected, 0, 6)) < 1e-14


@shapes
def test_inference_with_the_batch_statistics_is_training(shape):
    x, gamma, beta = batchnorm_input(shape)
    for module in (ops, kernels):
        out, cache = module.batchnorm_forward(x, gamma, beta, 0.1)
        assert relative_error(module.batchnorm_inference(x, gamma, beta, cache.mean, cache.var, 0.1), out) < 1e-13


def test_every_kernel_has_its_twin():
    assert all(len(implementations(name)) == 2 for name in kernels.__all__)
