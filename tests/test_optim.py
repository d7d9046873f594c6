"""Optimisers against three steps by hand, what decays, schedules."""

import math
from itertools import pairwise

import numpy as np
import pytest
from python_loops import plain

import npmnv2
from npmnv2.engine import optimisers
from npmnv2.kernels import sgd as sgd_kernel
from npmnv2.models import mobilenet_v2
from npmnv2.nn.optim import DECAYED, SGD, RMSProp
from npmnv2.nn.parameter import Parameter
from npmnv2.train.ema import EMA
from npmnv2.train.schedules import cosine_schedule, exponential_schedule

pytestmark = pytest.mark.usefixtures("one_thread")

GRADS = (3.0, -1.0, 0.5)


def _run(optimizer, p):
    values = []
    for grad in GRADS:
        p.grad = np.array([grad], p.value.dtype)
        optimizer.step()
        values.append(p.value.item())
    return values


def _parameter(role="weight", dtype=np.float64):
    return Parameter(np.array([2.0], dtype), role)


def test_sgd_by_hand():
    """lr 0.1, momentum 0.5: velocities 3; 1.5 - 1 = 0.5; 0.25 + 0.5 = 0.75."""
    p = _parameter()
    assert _run(SGD([p], lr=0.1, momentum=0.5), p) == pytest.approx([1.7, 1.65, 1.575], rel=1e-14)


def test_sgd_with_weight_decay_by_hand():
    """decay 0.5 adds value / 2: g = 3 + 1 = 4 -> 1.6; g = -1 + 0.8 = -0.2 -> 1.62; g = 0.5 + 0.81 = 1.31 -> 1.489."""
    p = _parameter()
    values = _run(SGD([p], lr=0.1, momentum=0.0, weight_decay=0.5), p)
    assert values == pytest.approx([1.6, 1.62, 1.489], rel=1e-14)


@pytest.mark.parametrize("weight_decay", [0.0, 0.25, 1e-50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_compiled_has_the_bits_of_the_plain_one(dtype, weight_decay):
    found = []
    for backend in ("numpy", "numba"):
        rng = np.random.default_rng(0)
        shapes = [(optimisers.LARGE,), (3, 4, 1001), (optimisers.LARGE + 1,), (70, 80), (5,)]
        parameters = [Parameter(rng.normal(size=shape).astype(dtype), "weight") for shape in shapes]
        parameters[3].role = "beta"  # which does not decay
        parameters[1].value[0, 0, :2] = np.inf, np.nan  # a decay that rounds to 0 makes NaN of them
        sgd = SGD(parameters, lr=0.1, momentum=0.9, weight_decay=weight_decay)
        with npmnv2.backend(backend):
            for _ in range(3):
                for p in parameters:
                    p.grad = rng.normal(size=p.value.shape).astype(dtype)
                parameters[3].grad = rng.normal(size=(80, 70)).astype(dtype).T
                with np.errstate(invalid="ignore"):
                    sgd.step()
        found.append([p.value for p in parameters] + sgd.velocity)
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_sgd_compiled_has_one_writer_for_each_value():
    """Each task alone, on arrays of its own."""
    size, chunk = 10, 4
    value, velocity, grad = np.random.default_rng(0).normal(size=(3, size))
    arguments = (grad, 0.1, 0.9, True, 0.5, chunk)
    whole = value.copy(), velocity.copy()
    sgd_kernel.loops(*whole, *arguments)
    writers = np.zeros(size, int)
    for task in range(3):
        alone = value.copy(), velocity.copy()
        plain(sgd_kernel.loops, prange=lambda n, task=task: [task])(*alone, *arguments)
        mine = alone[0] != value
        np.testing.assert_allclose(alone[0][mine], whole[0][mine], rtol=1e-14)
        np.testing.assert_allclose(alone[1][mine], whole[1][mine], rtol=1e-14)
        writers += mine
    assert (writers == 1).all()


def test_rmsprop_tensorflow_by_hand():
    """decay 0.5, momentum 0.5, lr 1, eps 1; the mean square starts at 1, eps is under the root, lr in the velocity."""
    p = _parameter()
    s1 = 0.5 * 1 + 0.5 * 9  # 5
    v1 = 3 / math.sqrt(s1 + 1)
    s2 = 0.5 * s1 + 0.5 * 1  # 3
    v2 = 0.5 * v1 - 1 / math.sqrt(s2 + 1)
    s3 = 0.5 * s2 + 0.5 * 0.25  # 1.625
    v3 = 0.5 * v2 + 0.5 / math.sqrt(s3 + 1)
    expected = [2 - v1, 2 - v1 - v2, 2 - v1 - v2 - v3]
    assert _run(RMSProp([p], lr=1.0, decay=0.5, momentum=0.5, eps=1.0), p) == pytest.approx(expected, rel=1e-14)
    assert expected[0] == pytest.approx(0.7752551286084111, rel=1e-15)  # 2 - 3 / sqrt(6)


def test_rmsprop_pytorch_by_hand():
    """The same numbers; the mean square starts at 0, eps is outside the root, lr outside the velocity."""
    p = _parameter()
    s1 = 0.5 * 9  # 4.5
    v1 = 3 / (math.sqrt(s1) + 1)
    s2 = 0.5 * s1 + 0.5 * 1
    v2 = 0.5 * v1 - 1 / (math.sqrt(s2) + 1)
    s3 = 0.5 * s2 + 0.5 * 0.25
    v3 = 0.5 * v2 + 0.5 / (math.sqrt(s3) + 1)
    expected = [2 - 0.1 * v1, 2 - 0.1 * (v1 + v2), 2 - 0.1 * (v1 + v2 + v3)]
    optimizer = RMSProp([p], lr=0.1, decay=0.5, momentum=0.5, eps=1.0, form="pytorch")
    assert _run(optimizer, p) == pytest.approx(expected, rel=1e-14)


def test_a_learning_rate_changed_on_the_way():
    """TensorFlow's velocity remembers the old rate, PyTorch's does not."""
    for form, moved in (("tensorflow", 0.5 * 1.0), ("pytorch", 0.5 * 0.1)):
        p = _parameter()
        optimizer = RMSProp([p], lr=1.0, decay=0.0, momentum=0.5, eps=0.0, form=form)
        p.grad = np.array([3.0])
        optimizer.step()  # by 1: a gradient over its own size
        optimizer.lr = 0.1
        before = p.value.item()
        p.grad = np.array([1e-300])  # negligible, but its own size is 1e-300 too: 1 again
        optimizer.square[0][...], optimizer.decay = 1.0, 1.0
        optimizer.step()
        assert before - p.value.item() == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize("make", [SGD, RMSProp])
def test_only_kernels_decay(make):
    roles = ("weight", "depthwise", "bias", "gamma", "beta")
    ps = [_parameter(role) for role in roles]
    for p in ps:
        p.grad = np.zeros(1)
    make(ps, lr=0.1, weight_decay=0.5).step()
    assert [p.value.item() != 2.0 for p in ps] == [True, False, False, False, False]
    make(ps, lr=0.1, weight_decay=0.5, decayed=set(roles)).step()
    assert all(p.value.item() != 2.0 for p in ps)
    assert frozenset({"weight"}) == DECAYED


def test_what_decays_in_the_network():
    model = mobilenet_v2(10, 0.35)
    decayed = [name for name, p in model.named_parameters().items() if p.role in DECAYED]
    assert len(decayed) == 1 + 16 + 17 + 1 + 1  # stem, expand, project, head, fc
    assert not [name for name in decayed if ".dw." in name or name.endswith(("gamma", "beta", ".b"))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [SGD, RMSProp, lambda *a, **k: RMSProp(*a, form="pytorch", **k)])
def test_steps_are_in_place_and_keep_the_dtype(make, dtype):
    p = _parameter(dtype=dtype)
    p.grad = np.array([3.0], dtype)
    value, grad = p.value, p.grad
    make([p], lr=0.1, weight_decay=0.1).step()
    assert p.value is value and value.dtype == dtype and value.item() != 2.0
    assert grad.item() == 3.0  # the gradient is read only


def test_step_needs_gradients():
    for optimizer in (SGD([_parameter()], lr=0.1), RMSProp([_parameter()], lr=0.1)):
        with pytest.raises(RuntimeError, match="step needs the gradient of every parameter"):
            optimizer.step()


@pytest.mark.parametrize("make", [SGD, RMSProp])
@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "decay", "eps"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_bad_numbers(make, name, value):
    if make is SGD and name in ("decay", "eps"):
        with pytest.raises(TypeError, match=name):  # SGD has none
            make([_parameter()], **{"lr": 0.1, name: value})
        return
    with pytest.raises(ValueError, match=f"{name} must (not be negative|lie between 0 and 1); was"):
        make([_parameter()], **{"lr": 0.1, name: value})


def test_bad_form_and_no_parameters():
    with pytest.raises(ValueError, match='form must be "tensorflow" or "pytorch"; was \'keras\''):
        RMSProp([_parameter()], lr=0.1, form="keras")
    with pytest.raises(ValueError, match="parameters must hold at least one"):
        SGD([], lr=0.1)


def test_cosine_schedule():
    rates = [cosine_schedule(2.0, step, steps=10, warmup=4) for step in range(10)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0 and rates[7] == pytest.approx(1.0)  # the peak, and half way down
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert cosine_schedule(2.0, 10, steps=10, warmup=4) == pytest.approx(0, abs=1e-15)
    assert cosine_schedule(2.0, 0, steps=5) == 2.0  # no warm-up
    assert cosine_schedule(2.0, 3, steps=3, warmup=3) == 2.0  # nothing but warm-up: no division by 0


def test_exponential_schedule():
    assert [exponential_schedule(0.045, epoch) for epoch in (0, 1, 2)] == pytest.approx([0.045, 0.0441, 0.043218])
    assert exponential_schedule(1.0, 3, rate=0.5) == 0.125


@pytest.mark.parametrize("make", [SGD, RMSProp])
def test_a_parameter_steps_once(make):
    p = _parameter()
    with pytest.raises(ValueError, match="parameters must hold each Parameter once"):
        make([p, _parameter(), p], lr=0.1)


@pytest.mark.parametrize("make", [SGD, RMSProp])
def test_a_step_changes_all_parameters_or_none(make):
    def no_gradient(p):
        p.grad = None

    def broadcast(p):
        p.grad = np.ones(2)

    def read_only(p):
        p.value.flags.writeable = False

    for spoil, error, match in (
        (no_gradient, RuntimeError, "step needs the gradient of every parameter"),
        (broadcast, ValueError, r"parameters\[1\].grad must have the shape of its value, \(2, 2\); was \(2,\)"),
        (read_only, ValueError, r"parameters\[1\].value must be writable"),
    ):
        first, last = Parameter(np.ones((2, 2)), "weight"), Parameter(np.ones((2, 2)), "weight")
        optimizer = make([first, last], lr=0.1)
        first.grad, last.grad = np.ones((2, 2)), np.ones((2, 2))
        spoil(last)
        with pytest.raises(error, match=match):
            optimizer.step()
        assert (first.value == 1).all() and not optimizer.velocity[0].any()


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: cosine_schedule(float("nan"), 0, 10), ValueError, "lr must not be negative; was nan"),
        (lambda: cosine_schedule(1.0, -5, 10), ValueError, "step must lie between 0 and 10; was -5"),
        (lambda: cosine_schedule(1.0, 15, 10), ValueError, "step must lie between 0 and 10; was 15"),
        (lambda: cosine_schedule(1.0, 0, 0), ValueError, "steps must be at least 1; was 0"),
        (lambda: cosine_schedule(1.0, 0, 10, warmup=-5), ValueError, "warmup must lie between 0 and 10; was -5"),
        (lambda: cosine_schedule(1.0, 0, 10, warmup=1.5), TypeError, "warmup must be an integer; was 1.5"),
        (lambda: exponential_schedule(1.0, -3), ValueError, "epoch must be at least 0; was -3"),
        (lambda: exponential_schedule("1", 0), TypeError, "lr must be a number; was '1'"),
    ],
)
def test_schedules_name_what_is_bad(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("value", [np.array([1, 2]), [1.0, 2.0], None])
def test_only_arrays_of_floats_are_trained(value):
    with pytest.raises(TypeError, match="parameters must have values that are arrays of floats; one was"):
        SGD([Parameter(value, "weight")], lr=0.1)


def test_what_decays_is_a_set():
    with pytest.raises(ValueError, match=r"decayed must be a set of roles .*; was None"):
        SGD([_parameter()], lr=0.1, decayed=None)


# -- averaged weights


def _layer():
    return mobilenet_v2(3, 0.1, strides="digits", in_channels=1, dtype=np.float64)


@pytest.mark.parametrize("most", [0.3, 0.1])
def test_the_average_is_tensorflows(most):
    """shadow -= (1 - decay) * (shadow - value), with decay = min(decay, (1 + n) / (10 + n)) after n updates."""
    model, rng = _layer(), np.random.default_rng(0)
    ema = EMA(model, decay=most)
    expected = model.state_dict()
    for n in range(6):  # (1 + n) / (10 + n) is 0.1, 0.18, 0.25, 0.31, ...
        for part in model.state().values():
            part.value += rng.normal(size=part.value.shape)
        ema.update()
        decay = min(most, (1 + n) / (10 + n))
        expected = {name: decay * expected[name] + (1 - decay) * value for name, value in model.state_dict().items()}
    assert ema.updates == 6 and set(ema.shadow) == set(expected)
    for name, value in ema.shadow.items():  # running statistics too
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-14)


def test_applied_averages_come_and_go_also_when_something_fails():
    model = _layer()
    ema, before = EMA(model), model.state_dict()
    model.layers["fc"].w.value += 1
    with pytest.raises(KeyError), ema.applied():
        np.testing.assert_array_equal(model.state_dict()["fc.w"], before["fc.w"])
        raise KeyError
    np.testing.assert_array_equal(model.state_dict()["fc.w"], before["fc.w"] + 1)


def test_the_average_is_of_the_models_dtype():
    model = mobilenet_v2(3, 0.1, strides="digits", in_channels=1)
    ema = EMA(model, 0.9)
    ema.update()
    assert {value.dtype for value in ema.shadow.values()} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match=r"decay must lie between 0 and 1; was 1\.5"):
        EMA(model, 1.5)


@pytest.mark.parametrize("kind, names", [(SGD, ["velocity"]), (RMSProp, ["square", "velocity"])])
def test_the_state_of_an_optimiser_is_its_own_arrays(kind, names):
    parameters = [_parameter(), _parameter()]
    optimizer = kind(parameters, lr=0.1)
    assert sorted(optimizer.state()) == names
    for name, arrays in optimizer.state().items():
        assert len(arrays) == 2 and arrays is getattr(optimizer, name)  # to be copied into, when a run goes on
