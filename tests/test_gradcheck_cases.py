"""What `python -m npmnv2 gradcheck` runs: that it checks everything, and that a wrong backward does not pass."""

import inspect

import numpy as np
import pytest

import npmnv2
from npmnv2 import kernels, ops
from npmnv2.gradcheck import cases as selfcheck
from npmnv2.gradcheck.cases import Check
from npmnv2.nn.blocks import InvertedResidual


@pytest.fixture(scope="module")
def checks():
    return selfcheck.run()


def _failed(checks):
    return {(check.operation, check.gradient) for check in checks if not check.passed}


def test_everything_passes_with_room_to_spare(checks):
    assert len(checks) > 40 and not _failed(checks)
    for check in checks:
        assert 0 <= check.error < check.tolerance / 10, check
        assert check.tolerance <= 1e-6 and check.method in ("differences", "complex step", "directions")


def test_each_gradient_is_listed_once(checks):
    listed = [(check.operation, check.gradient) for check in checks]
    assert len(listed) == len(set(listed))
    assert {("depthwise", "dx"), ("depthwise", "dw"), ("linear", "db"), ("MobileNetV2", "all")} <= set(listed)


def test_the_same_every_time(checks):
    assert selfcheck.run() == checks


@pytest.mark.parametrize("module", [ops, kernels], ids=["ops", "kernels"])
def test_no_backward_is_left_out(module):
    """Every public backward is called by one of the cases, or by the function one of them gives."""
    source = inspect.getsource(selfcheck)
    for name in module.__all__:
        if "_backward" in name:
            assert f"{module.__name__.rpartition('.')[2]}.{name}" in source, name


def _times(factor):
    def spoil(gradients):
        many = gradients if isinstance(gradients, tuple) else (gradients,)
        changed = tuple(g * factor for g in many)
        return changed if isinstance(gradients, tuple) else changed[0]

    return spoil


SPOILED = {  # a backward -> the operation it must show up under
    (ops, "conv2d_backward"): "standard",
    (ops, "conv2d_im2col_backward"): "standard, im2col",
    (ops, "conv2d_im2col_backward_weights"): "dw alone",
    (kernels, "conv2d_im2col_backward_weights"): "dw alone, compiled",
    (ops, "grouped_conv2d_backward"): "grouped",
    (ops, "depthwise_conv2d_backward"): "depthwise",
    (kernels, "depthwise_conv2d_backward"): "depthwise, compiled",
    (ops, "pointwise_conv2d_backward"): "pointwise",
    (ops, "pad_backward"): "padding",
    (ops, "linear_backward"): "linear",
    (ops, "avg_pool2d_backward"): "average pool",
    (ops, "global_avg_pool_backward"): "global average pool",
    (ops, "dropout_backward"): "dropout",
    (ops, "batchnorm_backward"): "batch norm",
    (ops, "batchnorm_backward_steps"): "batch norm, by steps",
    (kernels, "batchnorm_backward"): "batch norm, compiled",
    (ops, "batchnorm_inference_backward"): "batch norm, fixed",
    (ops, "batchnorm_relu6_backward"): "batch norm, ReLU6",
    (kernels, "batchnorm_relu6_backward"): "the same, compiled",
    (ops, "relu_backward"): "ReLU",
    (ops, "relu6_backward"): "ReLU6",
}


@pytest.fixture
def without_networks(monkeypatch):
    """The single operations alone: they are quick, and a network with a spoiled part says only that it is wrong."""
    monkeypatch.setattr(selfcheck, "_whole", lambda name, model, shape: Check(name, "all", "directions", 0.0, 1e-6))


@pytest.mark.parametrize("module, name", SPOILED, ids=[f"{name}-{m.__name__[7:]}" for m, name in SPOILED])
@pytest.mark.parametrize("factor", [1.001, 0.0, np.nan], ids=["a little", "zeros", "NaN"])
def test_a_wrong_backward_is_found_and_named(module, name, factor, monkeypatch, without_networks):
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: _times(factor)(real(*arguments)))
    failed = _failed(selfcheck.run())
    assert {operation for operation, _ in failed} == {SPOILED[module, name]}
    if np.isnan(factor):
        assert all(check.error == np.inf for check in selfcheck.run() if not check.passed)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda dx, dw: (dx, dw[:1]),
        lambda dx, dw: (dx,),
        lambda dx, dw: (dx, dw, dw),
        lambda dx, dw: (dx, None),
    ],
    ids=["shape", "too few", "too many", "None"],
)
def test_a_gradient_that_is_missing_or_misshapen_is_found(spoil, monkeypatch, without_networks):
    real = ops.conv2d_backward
    monkeypatch.setattr(ops, "conv2d_backward", lambda dout, cache: spoil(*real(dout, cache)))
    checks = selfcheck.run()
    assert ("standard", "dw") in _failed(checks)
    assert {operation for operation, _ in _failed(checks)} == {"standard"}


@pytest.mark.parametrize("wrong", ["dx", "a parameter", "NaN"])
def test_a_wrong_block_is_found(wrong):
    class Wrong(InvertedResidual):
        def backward(self, dout):
            dx = super().backward(dout)
            if wrong == "a parameter":
                self.dw.bn.beta.grad = self.dw.bn.beta.grad * 1.001
            return dx * {"dx": 1.001, "NaN": np.nan}.get(wrong, 1)

    options = {"stride": 1, "t": 6, "dtype": np.float64}
    right = InvertedResidual(4, 4, rng=np.random.default_rng(0), **options)
    block = Wrong(4, 4, rng=np.random.default_rng(0), **options)
    assert selfcheck._whole("right", right, (3, 5, 6, 4)).passed
    assert not selfcheck._whole("wrong", block, (3, 5, 6, 4)).passed


def test_a_nan_in_one_of_several_directions_is_not_passed_over():
    """max([1e-9, nan]) is 1e-9."""
    calls = []

    class Wrong(InvertedResidual):
        def forward(self, x):
            calls.append(x)
            return super().forward(x) * (np.nan if len(calls) == 5 else 1)  # in the second of three directions

    block = Wrong(4, 4, rng=np.random.default_rng(0), stride=1, t=6, dtype=np.float64)
    assert not selfcheck._whole("wrong", block, (3, 5, 6, 4)).passed


@pytest.mark.parametrize(
    "error, passed", [(0.0, True), (1e-6, True), (1.1e-6, False), (np.nan, False), (np.inf, False)]
)
def test_passed(error, passed):
    assert Check("x", "dx", "differences", error, 1e-6).passed is passed


def test_the_backend_of_the_caller_is_left_alone(without_networks):
    with npmnv2.backend("numpy"):
        selfcheck.run()
        assert npmnv2.current_backend() == "numpy"
