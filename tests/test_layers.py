"""Layers: what they remember, what they forget, running statistics by hand, state in and out."""

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2 import gradcheck, ops
from npmnv2.gradcheck import relative_error
from npmnv2.nn.base import Layer
from npmnv2.nn.layers import (
    BatchNorm,
    BatchNormReLU6,
    Conv2d,
    DepthwiseConv2d,
    Dropout,
    GlobalAvgPool,
    Linear,
    PointwiseConv2d,
    ReLU6,
    Sequential,
    initial_weight,
)
from npmnv2.nn.parameter import Parameter

BACKENDS = pytest.mark.parametrize("backend", ["numpy", "numba"])
pytestmark = pytest.mark.usefixtures("one_thread")


def _rng():
    return np.random.default_rng(0)


# name -> (layer, shape of its input, tolerance of its gradients by differences, step)
LAYERS = {
    "conv": (lambda: Conv2d(2, 3, 3, stride=2, padding="same", rng=_rng(), dtype=np.float64), (2, 5, 6, 2)),
    "depthwise": (lambda: DepthwiseConv2d(3, 3, stride=2, padding=1, rng=_rng(), dtype=np.float64), (2, 5, 6, 3)),
    "pointwise": (lambda: PointwiseConv2d(3, 4, rng=_rng(), dtype=np.float64), (2, 3, 4, 3)),
    "linear": (lambda: Linear(4, 3, rng=_rng(), dtype=np.float64), (3, 4)),
    "batchnorm": (lambda: BatchNorm(3, eps=0.1, dtype=np.float64), (2, 3, 4, 3)),
    "batchnorm_relu6": (lambda: BatchNormReLU6(3, eps=0.1, dtype=np.float64), (2, 3, 4, 3)),
    "relu6": (ReLU6, (2, 3, 4, 3)),
    "pool": (GlobalAvgPool, (2, 3, 4, 3)),
    "dropout in eval": (lambda: Dropout(0.5, _rng()), (2, 5)),
}
STEPS = {"batchnorm": 1e-5, "batchnorm_relu6": 1e-5}  # the curved ones


def check_layer(layer, x, step, tolerance):
    """Differences for x and for every parameter of a layer, through its own forward and backward."""
    out = layer(x)
    dout = np.random.default_rng(5).normal(size=out.shape)
    dx = layer.backward(dout)
    grads = {name: p.grad.copy() for name, p in layer.named_parameters().items()}
    assert relative_error(dx, gradcheck.numerical_gradient(layer, x, dout, step)) < tolerance
    for name, p in layer.named_parameters().items():

        def of_parameter(value, p=p):
            kept, p.value = p.value, value
            try:
                return layer(x)
            finally:
                p.value = kept

        assert grads[name].shape == p.value.shape
        error = relative_error(grads[name], gradcheck.numerical_gradient(of_parameter, p.value, dout, step))
        assert error < tolerance, name


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@BACKENDS
def test_gradients(name, training, backend):
    make, shape = LAYERS[name]
    layer = randomise(make()).train(training and "eval" not in name)
    x = gradcheck.away_from_kinks(np.random.default_rng(1).normal(1, 3, shape))
    curved = training and name in STEPS
    with npmnv2.backend(backend):
        check_layer(layer, x, STEPS.get(name, 1e-2), 1e-7 if curved else 1e-11 if name not in STEPS else 1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_one_backward_a_forward(name, either):
    make, shape = LAYERS[name]
    layer = make()
    with pytest.raises(RuntimeError, match=f"^{type(layer).__name__}[.]backward needs a forward before it"):
        layer.backward(np.zeros(shape))
    out = layer(np.random.default_rng(1).normal(size=shape))
    dout = np.random.default_rng(2).normal(size=out.shape)
    layer.backward(dout)
    assert layer._cache is None  # the memory is free
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        layer.backward(dout)


@pytest.mark.parametrize("name", [*LAYERS, "batchnorm in eval", "batchnorm_relu6 in eval"])
@BACKENDS
def test_a_refused_dout_uses_nothing_up(name, backend):
    make, shape = LAYERS[name.removesuffix(" in eval")] if name not in LAYERS else LAYERS[name]
    layer, x = make().train("eval" not in name), np.random.default_rng(1).normal(size=shape)
    with npmnv2.backend(backend):
        out = layer(x)
        dout = np.random.default_rng(2).normal(size=out.shape)
        if name != "dropout in eval":  # that one hands on what it gets
            for bad in (dout[:1, ...], dout[..., :1], dout.astype(np.float32)):
                with pytest.raises((ValueError, TypeError), match=r"^dout must have the"):
                    layer.backward(bad)
        dx = layer.backward(dout)
        layer(x)
        np.testing.assert_array_equal(dx, layer.backward(dout))


def test_a_forward_that_fails_leaves_nothing_for_a_backward(either):
    net, x = _net().eval(), np.random.default_rng(1).normal(size=(2, 4, 5, 2)).astype(np.float32)
    dout = np.random.default_rng(2).normal(size=net(x).shape).astype(np.float32)
    for bad in (x.astype(np.float64), x[..., :1]):
        net(x)
        with pytest.raises((ValueError, TypeError)):
            net(bad)
        with pytest.raises(RuntimeError, match="needs a forward before it"):
            net.backward(dout)
    net(x)
    net.backward(dout)


def test_backward_sets_and_does_not_accumulate(either):
    layer = Linear(4, 3, rng=_rng(), dtype=np.float64)
    x, dout = np.random.default_rng(1).normal(size=(2, 4)), np.random.default_rng(2).normal(size=(2, 3))
    grads = []
    for _ in range(2):
        layer(x)
        layer.backward(dout)
        grads.append(layer.w.grad)
    np.testing.assert_array_equal(*grads)


# -- running statistics

HAND = np.array([[1.0], [3.0], [8.0]])  # mean 4; squared deviations 9 + 1 + 16 = 26


@pytest.mark.parametrize("running_var, new", [("unbiased", 13.0), ("biased", 26 / 3)])
@BACKENDS
def test_running_statistics_by_hand(running_var, new, backend):
    layer = BatchNorm(1, momentum=0.1, running_var=running_var, dtype=np.float64)
    mean, var = 0.0, 1.0
    with npmnv2.backend(backend):
        for _ in range(3):  # momentum is the share of the new
            layer(HAND)
            mean, var = 0.9 * mean + 0.1 * 4.0, 0.9 * var + 0.1 * new
            assert layer.mean.value.item() == pytest.approx(mean, rel=1e-14)
            assert layer.var.value.item() == pytest.approx(var, rel=1e-14)
        layer.eval()
        out = layer(HAND)  # uses them, and leaves them
        np.testing.assert_allclose(out, (HAND - mean) / np.sqrt(var + 1e-5), rtol=1e-14)
        assert layer.mean.value.item() == pytest.approx(mean, rel=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_at_its_ends(momentum, either):
    layer = BatchNorm(1, momentum=momentum, dtype=np.float64)
    layer(HAND)
    assert (layer.mean.value.item(), layer.var.value.item()) == ((0.0, 1.0), (4.0, 13.0))[int(momentum)]


def test_running_statistics_keep_their_dtype(either):
    layer = BatchNorm(1)
    layer(HAND.astype(np.float32))
    assert layer.mean.value.dtype == layer.var.value.dtype == np.float32


def test_a_single_value_has_no_unbiased_variance_and_changes_nothing(either):
    layer = BatchNorm(2, dtype=np.float64)
    with pytest.raises(ValueError, match="x must hold at least 2 values a channel"):
        layer(np.ones((1, 1, 1, 2)))
    assert layer.mean.value.tolist() == [0, 0] and layer.var.value.tolist() == [1, 1]
    BatchNorm(2, running_var="biased", dtype=np.float64)(np.ones((1, 1, 1, 2)))  # there it is 0


def test_a_forward_between_does_not_change_an_eval_backward(either):
    """The cache of an eval forward holds the statistics as they were, though training changes them in place."""
    x, dout = np.random.default_rng(1).normal(size=(4, 2)), np.random.default_rng(2).normal(size=(4, 2))
    layer = randomise(BatchNorm(2, dtype=np.float64)).eval()
    layer(x)
    expected = layer.backward(dout)
    layer(x)
    cache = layer._cache
    layer.train()(x * 3)
    layer._cache = cache
    np.testing.assert_array_equal(layer.backward(dout), expected)


@BACKENDS
def test_eval_relu6_at_the_kinks(backend):
    """out = x + beta with these statistics: 0 and 6 are hit to the bit, and nothing passes there."""
    layer = BatchNormReLU6(1, eps=0.0, dtype=np.float64).eval()
    x, dout = np.array([[-1.0], [0.0], [3.0], [6.0], [7.0]]), np.arange(2.0, 7.0)[:, None]
    with npmnv2.backend(backend):
        assert layer(x).ravel().tolist() == [0, 0, 3, 6, 6]
        assert layer.backward(dout).ravel().tolist() == [0, 0, 4, 0, 0]


# -- dropout


def test_dropout_masks_follow_the_generator(either):
    x = np.ones((4, 50))
    one, two = Dropout(0.3, np.random.default_rng(7)), Dropout(0.3, np.random.default_rng(7))
    first = one(x)
    np.testing.assert_array_equal(first, two(x))
    assert (one(x) != first).any()  # every forward draws a new mask
    np.testing.assert_array_equal(one.eval()(x), x)
    two(x)
    np.testing.assert_array_equal(one.train()(x), two(x))  # eval drew nothing


def test_dropout_backward_uses_the_mask_of_its_forward(either):
    layer = Dropout(0.5, _rng())
    x, dout = np.random.default_rng(1).normal(size=(2, 20)), np.random.default_rng(2).normal(size=(2, 20))
    scale = layer(x) / x
    np.testing.assert_allclose(layer.backward(dout), dout * scale, rtol=1e-14)


# -- the tree of layers


def _net():
    return Sequential(
        {
            "conv": Conv2d(2, 3, 3, padding=1, rng=_rng()),
            "bn": BatchNormReLU6(3),
            "pool": GlobalAvgPool(),
            "inner": Sequential({"fc": Linear(3, 2, rng=_rng())}),
        }
    )


def test_names_in_the_order_of_the_network():
    net = _net()
    assert [name for name, _ in net.named_layers()] == ["conv", "bn", "pool", "inner", "inner.fc"]
    assert list(net.named_parameters()) == ["conv.w", "bn.gamma", "bn.beta", "inner.fc.w", "inner.fc.b"]
    assert [p.role for p in net.parameters()] == ["weight", "gamma", "beta", "weight", "bias"]
    assert set(net.state_dict()) == {*net.named_parameters(), "bn.mean", "bn.var"}
    assert DepthwiseConv2d(3, 3, rng=_rng()).w.role == "depthwise"


def test_train_and_eval_reach_every_layer_and_return_the_layer():
    net = _net()
    assert net.eval() is net and not any(layer.training for _, layer in net.named_layers()) and not net.training
    assert net.train() is net and all(layer.training for _, layer in net.named_layers()) and net.training


def test_activations(either):
    net = _net().eval()
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 2)).astype(np.float32)
    out = net(x)
    seen = net.activations(x, ["inner", "conv", "inner.fc"])
    assert list(seen) == ["inner", "conv", "inner.fc"]
    np.testing.assert_array_equal(seen["inner"], out)
    convolved, _ = ops.conv2d_im2col_forward(x, net.layers["conv"].w.value, 1, 1)
    np.testing.assert_allclose(seen["conv"], convolved, rtol=1e-5, atol=1e-6)
    assert not any("forward" in vars(layer) for _, layer in net.named_layers())  # nobody watches afterwards
    with pytest.raises(ValueError, match=r"names must be names of layers; was 'inner\.fx'; did you mean 'inner\.fc'"):
        net.activations(x, ["inner.fx"])
    with pytest.raises(ValueError, match="x must have 4 axes"):
        net.activations(x[0], ["conv"])
    assert not any("forward" in vars(layer) for _, layer in net.named_layers())
    before = net.layers["conv"].forward = lambda x: x[..., :1].repeat(3, axis=3)  # somebody else's
    np.testing.assert_array_equal(net.activations(x, ["conv"])["conv"], x[..., :1].repeat(3, axis=3))
    assert net.layers["conv"].forward is before


def test_activations_are_copies(either):
    net, x = _net().eval(), np.random.default_rng(1).normal(size=(2, 4, 5, 2)).astype(np.float32)
    dout = np.random.default_rng(2).normal(size=net(x).shape).astype(np.float32)
    expected = net.backward(dout)
    for value in net.activations(x, ["conv", "bn", "inner"]).values():
        value[...] = 0
    np.testing.assert_array_equal(net.backward(dout), expected)


def test_activations_take_names_from_any_iterable(either):
    net, x = _net().eval(), np.ones((2, 4, 5, 2), np.float32)
    assert list(net.activations(x, (name for name in ("conv", "pool")))) == ["conv", "pool"]


def test_a_layer_must_be_written():
    with pytest.raises(NotImplementedError):
        Layer()(np.zeros(1))
    with pytest.raises(NotImplementedError):
        Layer().backward(np.zeros(1))


# -- state


def test_state_dict_is_a_copy_and_comes_back_to_the_bit():
    net, other = randomise(_net(), 1), randomise(_net(), 2)
    state = net.state_dict()
    other.load_state_dict(state)
    for name, value in other.state_dict().items():
        assert value.tobytes() == state[name].tobytes() and value.dtype == np.float32
    state["conv.w"][...] = np.nan
    assert np.isfinite(net.state_dict()["conv.w"]).all() and np.isfinite(other.state_dict()["conv.w"]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_load_converts_floats(dtype):
    net = _net()
    state = {name: value.astype(dtype) for name, value in randomise(_net(), 1).state_dict().items()}
    own = net.layers["conv"].w.value
    net.load_state_dict(state)
    assert net.layers["conv"].w.value is own and own.dtype == np.float32  # in place: optimisers hold on to it
    np.testing.assert_array_equal(own, state["conv.w"].astype(np.float32))


def _drop(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    "spoil, error, match",
    [
        (_drop("bn.var"), ValueError, r"missing: bn\.var"),
        (lambda s: {**s, "conv.b": s["bn.beta"]}, ValueError, r"unknown: conv\.b \(did you mean conv\.w\?\)"),
        (lambda s: {**s, "zzzz": s["bn.beta"]}, ValueError, r"unknown: zzzz"),
        (lambda s: {**s, "bn.beta": np.zeros(4)}, ValueError, r"misshapen: bn\.beta must be \(3,\), was \(4,\)"),
        (lambda s: {**s, "bn.beta": np.zeros((3, 1))}, ValueError, r"misshapen: bn\.beta"),
        (lambda s: {**s, "bn.beta": np.zeros(())}, ValueError, r"misshapen: bn\.beta"),
        (lambda s: {**s, "inner.fc.w": s["inner.fc.w"].T}, ValueError, r"misshapen: inner\.fc\.w"),
        (lambda s: {**s, "bn.beta": [0.0, 0.0, 0.0]}, TypeError, r"state\['bn\.beta'\] must be an array.*list"),
        (lambda s: {**s, "bn.beta": np.zeros(3, int)}, TypeError, r"state\['bn\.beta'\].*was int64"),
        (lambda s: {**s, "bn.beta": np.zeros(3, complex)}, TypeError, r"state\['bn\.beta'\].*complex128"),
        (lambda s: {**s, "bn.beta": np.array(["a"] * 3)}, TypeError, r"state\['bn\.beta'\].*<U1"),
        (lambda s: {**s, "bn.beta": None}, TypeError, r"state\['bn\.beta'\].*NoneType"),
        (lambda s: {}, ValueError, r"missing: conv\.w"),
        (lambda s: {**s, "inner.fc.b": np.array([0, 1e300])}, ValueError, r"too large for float32: inner\.fc\.b"),
        (lambda s: {**s, "bn.var": np.array([1.0, 1.0, -1.0])}, ValueError, r"less than 0: bn\.var"),
        (
            lambda s: {**s, "conv.w": np.ones((3, 3)).view(np.matrix)},
            TypeError,
            r"state\['conv\.w'\] must be a plain .*matrix",
        ),
    ],
)
def test_load_is_all_or_nothing(spoil, error, match):
    net = _net()
    before = net.state_dict()
    with pytest.raises(error, match=match):
        net.load_state_dict(spoil(randomise(_net(), 1).state_dict()))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_writes_nothing_if_one_array_is_read_only():
    net = _net()
    net.layers["inner"].layers["fc"].b.value.flags.writeable = False  # the last of them
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"read-only here: inner\.fc\.b"):
        net.load_state_dict(randomise(_net(), 1).state_dict())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_takes_the_layers_own_arrays_exchanged():
    layer = BatchNorm(2)
    state = {"gamma": layer.beta.value, "beta": layer.gamma.value, "mean": layer.var.value, "var": layer.mean.value}
    layer.load_state_dict(state)
    assert [value.tolist() for value in layer.state_dict().values()] == [[0, 0], [1, 1], [1, 1], [0, 0]]


def test_load_takes_what_is_not_finite():
    """NaN and infinity are values like any other; only what becomes infinite on the way is refused."""
    layer = BatchNorm(2)
    layer.load_state_dict({**layer.state_dict(), "beta": np.array([np.nan, np.inf]), "var": np.array([np.nan, 1.0])})
    np.testing.assert_array_equal(layer.beta.value, [np.nan, np.inf])


def test_load_lists_all_that_is_wrong_at_once():
    state = _net().state_dict()
    del state["conv.w"]
    state.update({"bn.beta": np.zeros(9), "bn.gamm": np.zeros(3)})
    with pytest.raises(ValueError) as error:
        _net().load_state_dict(state)
    for part in ("missing: conv.w", "misshapen: bn.beta", "unknown: bn.gamm (did you mean bn.gamma?)", "Sequential"):
        assert part in str(error.value)


# -- initial weights


def test_initial_weight():
    w = initial_weight((100, 1000), np.random.default_rng(0), np.float64)
    assert abs(w).max() <= 0.18 and abs(w.mean()) < 0.001
    assert w.std() == pytest.approx(0.88 * 0.09, rel=0.01)  # 0.8796 of it: a normal cut off at two deviations
    single = initial_weight((100, 1000), np.random.default_rng(0))
    np.testing.assert_array_equal(single, w.astype(np.float32))


def test_parameter():
    p = Parameter(np.ones(3), "gamma")
    assert p.grad is None and p.role == "gamma"
    with pytest.raises(ValueError, match=r"^role must be one of beta, bias, depthwise, gamma, weight; was 'wieght'$"):
        Parameter(np.ones(3), "wieght")


@pytest.mark.parametrize(
    "make, error, match",
    [
        (lambda: Linear(2, 3, rng=None), TypeError, r"rng must be a numpy.random.Generator; was NoneType"),
        (lambda: Dropout(0.5, 0), TypeError, r"rng must be a numpy.random.Generator; was int"),
        (lambda: Conv2d(2, 3, 3, stride=0, rng=_rng()), ValueError, "stride must be at least 1; was 0"),
        (lambda: DepthwiseConv2d(2, 3, stride=1.5, rng=_rng()), TypeError, "stride must be an integer; was 1.5"),
        (lambda: Conv2d(2, 3, 3, padding=-1, rng=_rng()), ValueError, "padding must not be negative"),
        (lambda: DepthwiseConv2d(2, 3, padding="foo", rng=_rng()), ValueError, "padding must be .* was 'foo'"),
        (lambda: Conv2d(2, 3, 3, rng=_rng(), dtype=int), TypeError, "dtype must be float32 or float64; was int64"),
        (lambda: BatchNorm(3, dtype=None), TypeError, "dtype must be float32 or float64; was None"),
        (lambda: Linear(2, 3, rng=_rng(), dtype="foo"), TypeError, "dtype must be float32 or float64; was 'foo'"),
    ],
)
def test_a_layer_that_cannot_work_is_refused_when_it_is_made(make, error, match):
    with pytest.raises(error, match=match):
        make()
