"""Numbers: of the wrong type, NaN, infinite or out of range, refused wherever one is asked for, by the argument's name.

(Arrays: test_bad_input.py.)
"""

import re
from fractions import Fraction

import numpy as np
import pytest

from npmnv2 import cost, ops
from npmnv2.models import mobilenet_v2
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.nn.layers import BatchNorm, Conv2d, Dropout, Linear, PointwiseConv2d
from npmnv2.nn.optim import ROLES, SGD, RMSProp
from npmnv2.nn.parameter import Parameter
from npmnv2.validate import check_int, check_number

NO_NUMBERS = ("1", "a", None, True, np.True_, [0.5], (), {}, 1j, np.array(0.5), np.array([0.5]), Fraction(1, 2))
NOT_FINITE = (float("nan"), float("inf"), float("-inf"), np.float32("nan"))

X, V, LOGITS, LABELS = np.ones((2, 3, 4, 2)), np.ones(2), np.ones((2, 3)), np.array([0, 2])


def _rng():
    return np.random.default_rng(0)


def _parameters():
    return [Parameter(np.ones(3), "weight")]


def _momentum(value):
    return RMSProp(_parameters(), 0.1, momentum=value)


# what is called "<argument>, <where>" -> (a function of the argument, a good value, values out of range)
NUMBERS = {
    "eps, batchnorm_forward": (lambda v: ops.batchnorm_forward(X, V, V, v), 1e-3, [-1e-5]),
    "eps, batchnorm_inference": (lambda v: ops.batchnorm_inference(X, V, V, V, V, v), 1e-3, [-1e-5]),
    "eps, batchnorm_inference_backward": (lambda v: ops.batchnorm_inference_backward(X, X, V, V, V, v), 0, [-1]),
    "eps, BatchNorm": (lambda v: BatchNorm(2, eps=v), 1e-3, [-1e-5]),
    "eps, mobilenet_v2": (lambda v: mobilenet_v2(3, 0.1, eps=v), 1e-3, [-1e-5]),
    "eps, RMSProp": (lambda v: RMSProp(_parameters(), 0.1, eps=v), 1, [-1e-5]),
    "momentum, BatchNorm": (lambda v: BatchNorm(2, momentum=v), 0.1, [-0.1, 1.1]),
    "momentum, SGD": (lambda v: SGD(_parameters(), 0.1, momentum=v), 0.9, [-0.1]),
    "momentum, RMSProp": (_momentum, 0.9, [-0.1]),
    "decay, RMSProp": (lambda v: RMSProp(_parameters(), 0.1, decay=v), 0.9, [-0.1, 1.1]),
    "weight_decay, SGD": (lambda v: SGD(_parameters(), 0.1, weight_decay=v), 4e-5, [-0.1]),
    "lr, SGD": (lambda v: SGD(_parameters(), v), 0.1, [-0.1]),
    "lr, RMSProp": (lambda v: RMSProp(_parameters(), lr=v), 0.1, [-0.1]),
    "lr, between steps": (lambda v: setattr(SGD(_parameters(), 0.1), "lr", v), 0.1, [-0.1]),
    "rate, dropout_forward": (lambda v: ops.dropout_forward(X, v, _rng()), 0.2, [-0.1, 1, 1.5]),
    "rate, Dropout": (lambda v: Dropout(v, _rng()), 0.2, [-0.1, 1, 1.5]),
    "label_smoothing, loss": (lambda v: ops.softmax_cross_entropy(LOGITS, LABELS, v), 0.1, [-0.1, 1.1]),
    "width_mult, mobilenet_v2": (lambda v: mobilenet_v2(3, v), 0.1, [0, -0.5, 100]),
    "width_mult, plan": (plan, 0.5, [0, -0.5, 1e9]),
    "width_mult, cost": (lambda v: cost.mobilenet_v2(v), 0.5, [0, -0.5]),
}

INTEGERS = {
    "seed, mobilenet_v2": (lambda v: mobilenet_v2(3, 0.1, seed=v), 0, [-1]),
    "channels, BatchNorm": (BatchNorm, 3, [0, -1]),
    "each length in shape, Linear": (lambda v: Linear(v, 2, rng=_rng()), 3, [0, -1]),
    "each length in shape, PointwiseConv2d": (lambda v: PointwiseConv2d(2, v, rng=_rng()), 3, [0, -1]),
    "each length in shape, Conv2d": (lambda v: Conv2d(2, 3, v, rng=_rng()), 3, [0, -1]),
    "resolution, cost": (lambda v: cost.mobilenet_v2(resolution=v), 225, [0, -1]),
    "num_classes, cost": (lambda v: cost.mobilenet_v2(num_classes=v), 10, [0, -1]),
    "in_channels, cost": (lambda v: cost.mobilenet_v2(in_channels=v), 1, [0, -1]),
    "H, convolution": (lambda v: cost.convolution("standard", v, 5, 2, 3), 4, [0, -4]),
    "W, convolution": (lambda v: cost.convolution("pointwise", 5, v, 2, 3), 4, [0, -4]),
    "C, convolution": (lambda v: cost.convolution("pointwise", 5, 5, v, 3), 4, [0, -4]),
    "M, convolution": (lambda v: cost.convolution("standard", 5, 5, 2, v), 4, [0, -4]),
    "kernel, convolution": (lambda v: cost.convolution("standard", 5, 5, 2, 3, v), 2, [0, -1]),
    "stride, convolution": (lambda v: cost.convolution("depthwise", 5, 5, 2, 2, 3, v), 2, [0, -1]),
}


def _name(case):
    return case.partition(",")[0]


@pytest.mark.parametrize("case", [*NUMBERS, *INTEGERS])
def test_what_is_no_number_is_refused_by_name(case):
    call, _, _ = {**NUMBERS, **INTEGERS}[case]
    values, kind = (NO_NUMBERS, "a number") if case in NUMBERS else ((*NO_NUMBERS, 1.0, *NOT_FINITE), "an integer")
    for value in values:
        with pytest.raises(TypeError, match=f"^{_name(case)} must be {kind}; was "):
            call(value)


@pytest.mark.parametrize("case", NUMBERS)
def test_what_is_not_finite_is_refused_by_name(case):
    for value in NOT_FINITE:
        with pytest.raises(ValueError, match=f"^{_name(case)} must .*; was -?(nan|inf)$"):
            NUMBERS[case][0](value)


@pytest.mark.parametrize("case", [*NUMBERS, *INTEGERS])
def test_what_is_out_of_range_is_refused_by_name(case):
    call, _, outside = {**NUMBERS, **INTEGERS}[case]
    for value in outside:
        with pytest.raises(ValueError, match=f"^{_name(case)} must .*; was {re.escape(str(value))}$"):
            call(value)


@pytest.mark.parametrize("case", [*NUMBERS, *INTEGERS])
def test_numbers_of_numpy_are_numbers(case):
    call, good, _ = {**NUMBERS, **INTEGERS}[case]
    call(good)
    for kind in (np.float32, np.float64) if case in NUMBERS else (np.int64, np.uint8):
        call(kind(good))


def test_a_number_comes_back_as_a_plain_float():
    """Else a NumPy float64 in the arithmetic would make float32 arrays wider without a word."""
    for value in (1, 0.5, np.float32(0.5), np.float64(0.5), np.int8(1)):
        assert type(check_number(value, "x")) is float and check_number(value, "x") == value
    assert type(check_int(np.uint8(3), "n")) is int
    x = X.astype(np.float32)
    v = V.astype(np.float32)
    eps = np.float64(1e-3)
    assert ops.batchnorm_forward(x, v, v, eps)[0].dtype == np.float32
    assert ops.batchnorm_inference(x, v, v, v, v, eps).dtype == np.float32
    loss, dlogits = ops.softmax_cross_entropy(LOGITS.astype(np.float32), LABELS, np.float64(0.1))
    assert loss.dtype == dlogits.dtype == np.float32
    assert ops.dropout_forward(x, np.float64(0.5), _rng())[0].dtype == np.float32


@pytest.mark.parametrize(
    "ends, inside, outside, must",
    [
        ("[]", (1, 1.5, 2), (0.9, 2.1), "lie between 1 and 2"),
        ("[)", (1, 1.5), (0.9, 2), "be at least 1 and less than 2"),
        ("(]", (1.5, 2), (1, 2.1), "be more than 1 and at most 2"),
        ("()", (1.1, 1.9), (1, 2), "be more than 1 and less than 2"),
    ],
)
def test_intervals(ends, inside, outside, must):
    for value in inside:
        assert check_number(value, "x", 1, 2, ends) == value
    for value in (*outside, float("nan")):
        with pytest.raises(ValueError, match=f"^x must {must}; was {value}$"):
            check_number(value, "x", 1, 2, ends)


def test_half_open_ranges_say_what_they_want():
    for low, ends, must in ((0, "[]", "not be negative"), (0, "(]", "be more than 0"), (3, "[]", "be at least 3")):
        with pytest.raises(ValueError, match=f"^x must {must}; was -1$"):
            check_number(-1, "x", low, ends=ends)
    with pytest.raises(ValueError, match=r"^x must be finite; was inf$"):
        check_number(float("inf"), "x", 0)
    assert check_number(-1e300, "x") == -1e300
    with pytest.raises(ValueError, match=r"^n must lie between 2 and 4; was 5$"):
        check_int(5, "n", 2, 4)
    assert [check_int(n, "n", 2, 4) for n in (2, 3, 4)] == [2, 3, 4]


def test_a_learning_rate_that_was_refused_leaves_the_old_one():
    optimizer = SGD(_parameters(), 0.1)
    with pytest.raises(TypeError, match="lr must be a number; was None"):
        optimizer.lr = None
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("make", [SGD, RMSProp])
def test_optimizers_take_parameters_and_known_roles_only(make):
    for parameters in ([np.ones(3)], ["w"], {"w": Parameter(np.ones(3), "weight")}):
        with pytest.raises(TypeError, match="parameters must hold Parameter objects only; one was"):
            make(parameters, 0.1)
    for decayed in ("weight", {"weigth"}, [""]):
        with pytest.raises(
            ValueError, match=r"decayed must be a set of roles \(beta, bias, depthwise, gamma, weight\)"
        ):
            make(_parameters(), 0.1, decayed=decayed)
    assert make(_parameters(), 0.1, decayed=set()).decayed == frozenset()
    assert {p.role for p in mobilenet_v2(3, 0.1).parameters()} == ROLES


def test_a_stride_is_no_bool():
    with pytest.raises(ValueError, match="strides must be one of"):
        mobilenet_v2(3, 0.1, strides=(True, 1, 1, 2, 1, 1, 2, 1))
    assert mobilenet_v2(3, 0.1, strides=np.array([1, 1, 1, 2, 1, 1, 2, 1])).layers["b1.0"].dw.conv.stride == 1


# -- states


@pytest.mark.parametrize(
    "spoil, error, match",
    [
        (lambda s: list(s.items()), TypeError, "state must be a mapping of names to arrays; was list"),
        (lambda s: None, TypeError, "state must be a mapping of names to arrays; was NoneType"),
        (lambda s: "state.npz", TypeError, "state must be a mapping of names to arrays; was str"),
        (lambda s: {**s, 3: s["b"]}, TypeError, "state must have names that are strings; one was 3"),
        (lambda s: {**s, b"b": s["b"]}, TypeError, "state must have names that are strings; one was b'b'"),
        (
            lambda s: {**s, "b": np.ma.masked_array(s["b"], [1, 0])},
            TypeError,
            r"state\['b'\] must be a plain",
        ),
        (
            lambda s: {**s, "b": s["b"].astype(object)},
            TypeError,
            r"state\['b'\] must be an array of floats; was object",
        ),
        (lambda s: {**s, "b": 0.0}, TypeError, r"state\['b'\] must be an array of floats; was float"),
    ],
)
def test_what_is_no_state_is_refused_and_changes_nothing(spoil, error, match):
    layer, other = Linear(3, 2, rng=_rng()), Linear(3, 2, rng=np.random.default_rng(1))
    before = layer.state_dict()
    with pytest.raises(error, match=match):
        layer.load_state_dict(spoil(other.state_dict()))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
