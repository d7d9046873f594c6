"""What `python -m npmnv2 gradcheck` runs: that it checks everything, and that a wrong backward does not pass."""

import inspect

import numpy as np
import pytest

import npmnv2
from npmnv2 import kernels, ops
from npmnv2.engine.numba_backend import TWINS
from npmnv2.gradcheck import cases
from npmnv2.gradcheck.cases import Check
from npmnv2.nn import blocks
from npmnv2.nn.blocks import InvertedResidual

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def checks():
    return cases.run()


def _failed(checks):
    return {(check.operation, check.gradient) for check in checks if not check.passed}


def test_everything_passes_with_room_to_spare(checks):
    check_all(checks)


def test_everything_passes_under_the_other_backend_too(loops, monkeypatch):
    whole = cases._check_model
    if loops == "python":  # a whole network takes long
        passed = Check("MobileNetV2", "all", "direction", 0.0, 1e-6)
        monkeypatch.setattr(
            cases, "_check_model", lambda name, *rest: passed if name == "MobileNetV2" else whole(name, *rest)
        )
    check_all(cases.run("numba"))


def check_all(checks):
    assert len(checks) > 30 and not _failed(checks)
    for check in checks:
        assert 0 <= check.error < check.tolerance / 10, check
        assert check.tolerance <= 1e-6 and check.method in ("differences", "complex step", "direction")


def test_each_gradient_is_listed_once(checks):
    listed = [(check.operation, check.gradient) for check in checks]
    assert len(listed) == len(set(listed))
    assert {("depthwise", "dx"), ("depthwise", "dw"), ("linear", "db"), ("MobileNetV2", "all")} <= set(listed)


def test_every_block_is_listed(checks):
    """Every class of nn/blocks.py is checked, or part of one that is."""
    listed = {check.operation for check in checks}
    within = {blocks.ConvBN: "inverted residual", blocks.ConvBNReLU6: "inverted residual"}
    within |= {blocks.SeparableConv: "separable convolution", blocks.InvertedResidual: "inverted residual"}
    classes = {c for c in vars(blocks).values() if isinstance(c, type) and c.__module__ == blocks.__name__}
    assert classes == within.keys() and set(within.values()) <= listed


def test_the_same_every_time(checks):
    assert cases.run() == checks


def test_no_backward_is_left_out():
    """Every public backward is called by one of the cases, or by the function one of them gives."""
    source = inspect.getsource(cases)
    for name in {*ops.__all__, *kernels.__all__}:
        if "_backward" in name:
            assert f"ops.{name}" in source, name


def _times(factor):
    def spoil(gradients):
        many = gradients if isinstance(gradients, tuple) else (gradients,)
        changed = tuple(g * factor for g in many)
        return changed if isinstance(gradients, tuple) else changed[0]

    return spoil


SPOILED = {  # a backward -> the operation it must show up under
    "conv2d_backward": "standard",
    "conv2d_im2col_backward": "standard, im2col",
    "grouped_conv2d_backward": "grouped",
    "depthwise_conv2d_backward": "depthwise",
    "pointwise_conv2d_backward": "pointwise",
    "pad_backward": "padding",
    "linear_backward": "linear",
    "avg_pool2d_backward": "average pool",
    "global_avg_pool_backward": "global average pool",
    "dropout_backward": "dropout",
    "batchnorm_backward": "batch norm",
    "batchnorm_backward_steps": "batch norm, by steps",
    "batchnorm_inference_backward": "batch norm, fixed",
    "batchnorm_relu6_inference_backward": "fixed norm, ReLU6",
    "batchnorm_relu6_backward": "batch norm, ReLU6",
    "relu_backward": "ReLU",
    "relu6_backward": "ReLU6",
}
AMONG_ALL = {"depthwise_conv2d_backward", "batchnorm_backward", "relu6_backward"}  # the others must pass beside it
PAIRS = [("numpy", name) for name in SPOILED] + [("numba", name) for name in SPOILED if getattr(ops, name) in TWINS]


def test_every_backward_is_spoiled():
    backwards = {name for name in {*ops.__all__, *kernels.__all__} if "_backward" in name}
    assert backwards == set(SPOILED) and {operation.__name__ for operation in TWINS} - set(ops.__all__) == set()


@pytest.fixture
def without_networks(monkeypatch):
    """The single operations alone: they are quick, and a network with a spoiled part says only that it is wrong."""
    monkeypatch.setattr(cases, "_check_model", lambda name, model, shape: Check(name, "all", "direction", 0.0, 1e-6))


def only(monkeypatch, operation):
    """Run the cases of one operation: all of them take a while."""
    for name in ("_convolutions", "_others"):
        made = getattr(cases, name)
        monkeypatch.setattr(cases, name, lambda made=made: [case for case in made() if case.operation == operation])


@pytest.mark.parametrize("backend, name", PAIRS)
@pytest.mark.parametrize("factor", [1.001, 0.0, np.nan], ids=["a little", "zeros", "NaN"])
def test_a_wrong_backward_is_found_and_named(backend, name, factor, monkeypatch, without_networks):
    operation = getattr(ops, name)
    if backend == "numpy":
        monkeypatch.setattr(ops, name, lambda *arguments: _times(factor)(operation(*arguments)))
    else:
        twin = TWINS[operation]
        monkeypatch.setitem(TWINS, operation, lambda *arguments: _times(factor)(twin(*arguments)))
    if factor != 1.001 or name not in AMONG_ALL:
        only(monkeypatch, SPOILED[name])
    checks = cases.run(backend)
    assert {operation for operation, _ in _failed(checks)} == {SPOILED[name]}
    if np.isnan(factor):
        assert all(check.error == np.inf for check in checks if not check.passed)


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
    only(monkeypatch, "standard")
    checks = cases.run()
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
    assert cases._check_model("right", right, (3, 5, 6, 4)).passed
    assert not cases._check_model("wrong", block, (3, 5, 6, 4)).passed


@pytest.mark.parametrize("when", [2, 3])
def test_a_nan_on_one_side_is_not_passed_over(when):
    calls = []

    class Wrong(InvertedResidual):
        def forward(self, x):
            calls.append(x)
            return super().forward(x) * (np.nan if len(calls) == when else 1)

    block = Wrong(4, 4, rng=np.random.default_rng(0), stride=1, t=6, dtype=np.float64)
    assert not cases._check_model("wrong", block, (3, 5, 6, 4)).passed and len(calls) == 3


@pytest.mark.parametrize(
    "error, passed", [(0.0, True), (1e-6, True), (1.1e-6, False), (np.nan, False), (np.inf, False)]
)
def test_passed(error, passed):
    assert Check("x", "dx", "differences", error, 1e-6).passed is passed


def test_the_backend_of_the_caller_is_left_alone(without_networks):
    for own, other in (("numpy", "numba"), ("numba", "numpy")):
        with npmnv2.backend(own):
            cases.run(other)
            assert npmnv2.current_backend() == own
