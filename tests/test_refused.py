"""A batch that is refused moves nothing, wherever the refusal comes from; and no backward uses another's cache."""

import contextlib
import copy

import numpy as np
import pytest

import npmnv2
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBN, ConvBNReLU6, InvertedResidual, SeparableConv
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, Dropout, GlobalAvgPool, Linear, PointwiseConv2d, Sequential

NETWORKS = {
    "V2": npmnv2.mobilenet_v2,
    "V1": npmnv2.mobilenet_v1,
    "twin": npmnv2.mobilenet_v1_conv,
}


@pytest.fixture(autouse=True)
def numpy_backend():
    with npmnv2.backend("numpy"):
        yield


def batch(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def everything(layer):
    """All that a forward may change: parameters, statistics and the generators of dropout."""
    arrays = {name: value.tobytes() for name, value in layer.state_dict().items()}
    drops = {name: part.rng.bit_generator.state for name, part in layer.named_layers() if isinstance(part, Dropout)}
    return arrays, drops


def norms(layer):
    return {name: part for name, part in layer.named_layers() if isinstance(part, BatchNorm)}


def check_refused(layer, bad, good, error=ValueError, match=""):
    """Refuse `bad`, and be as if it had never been: then and after the next good forward and its backward."""
    layer.backward(layer(good))  # statistics that an earlier forward has moved, and caches that it has left
    layer(good)
    twin, before = copy.deepcopy(layer), everything(layer)
    for _ in range(2):
        with pytest.raises(error, match=match):
            layer(bad)
        assert everything(layer) == before
        assert all(part._cache is None for _, part in layer.named_layers())
        with pytest.raises(RuntimeError, match="needs a forward before it"):
            layer.backward(good)
    found, right = layer(good), twin(good)
    np.testing.assert_array_equal(found, right)
    assert everything(layer) == everything(twin) != before
    np.testing.assert_array_equal(layer.backward(found), twin.backward(right))
    for p, q in zip(layer.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


# -- a single value per channel, far down in a network


def network(kind, **settings):
    return NETWORKS[kind](3, 0.1, **settings)


FROZEN = {
    "none": lambda names: [],
    "the last": lambda names: names[-1:],
    "the first": lambda names: names[:1],
    "every second": lambda names: names[1::2],
    "the other half": lambda names: names[0::2],
    "all but the last": lambda names: names[:-1],
    "all but the first and the last": lambda names: names[1:-1],
}


@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("kind", NETWORKS)
def test_one_picture_that_ends_as_one_pixel(kind, frozen):
    model = network(kind)
    for name in FROZEN[frozen](list(norms(model))):
        norms(model)[name].eval()
    check_refused(model, batch(1, 32, 32, 3), batch(2, 32, 32, 3), match="x must hold at least 2 values a channel")


@pytest.mark.parametrize("kind", NETWORKS)
def test_nothing_is_refused_where_nothing_learns_from_the_batch(kind):
    """Frozen altogether, or with the biased variance, one pixel is a batch like any other."""
    model = network(kind)
    for norm in norms(model).values():
        norm.eval()
    before = everything(model)[0]
    model(batch(1, 32, 32, 3))
    assert everything(model)[0] == before
    model = network(kind, running_var="biased")
    before = everything(model)[0]
    model(batch(1, 32, 32, 3))
    assert everything(model)[0] != before


@pytest.mark.parametrize(
    "bad", [batch(2, 32, 32, 1), batch(2, 32, 32), batch(2, 32, 32, 3).astype(np.float64), "images", None]
)
def test_what_is_no_picture(bad):
    check_refused(network("V2"), bad, batch(2, 32, 32, 3), (ValueError, TypeError), "x must")


# -- a part that raises


class Raises(Layer):
    """Hands on what it gets, unless there are three."""

    def __init__(self, error=ValueError):
        super().__init__()
        self.error = error

    def forward(self, x):
        if len(x) == 3:
            raise self.error("there are three")
        self._cache = ()
        return x

    def backward(self, dout):
        self._last_cache()
        self._cache = None
        return dout


def rng(seed=0):
    return np.random.default_rng(seed)


def sequential(*, error=ValueError, at=99):
    """Every kind of part, and the one that raises at some place among them."""
    drop = rng(5)
    parts = {
        "pointwise": PointwiseConv2d(4, 4, rng=rng()),
        "bn": BatchNorm(4),
        "conv": ConvBNReLU6(PointwiseConv2d(4, 8, rng=rng(1)), 8),
        "first": Dropout(0.25, drop),
        "inner": Sequential(
            {
                "separable": SeparableConv(8, 8, stride=1, rng=rng(2)),
                "second": Dropout(0.25, drop),  # of the same generator
                "inverted": InvertedResidual(8, 8, stride=1, t=2, rng=rng(3)),
            }
        ),
        "expansion": InvertedResidual(8, 8, stride=1, t=2, shortcut="expansion", linear=False, rng=rng(4)),
        "pool": GlobalAvgPool(),
        "biased": BatchNormReLU6(8, running_var="biased"),
        "third": Dropout(0.25, rng(6)),
        "fc": Linear(8, 4, rng=rng(7)),
    }
    items = list(parts.items())
    return Sequential(dict([*items[:at], ("raises", Raises(error)), *items[at:]]))


@pytest.mark.parametrize("at", range(11))
def test_a_part_that_raises_anywhere(at):
    check_refused(sequential(at=at), batch(3, 5, 6, 4), batch(2, 5, 6, 4), match="there are three")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit, RuntimeError])
def test_whatever_it_raises(error):
    check_refused(sequential(error=error), batch(3, 5, 6, 4), batch(2, 5, 6, 4), error, "there are three")


@pytest.mark.parametrize("at", [5, 99])
@pytest.mark.parametrize("frozen", FROZEN)
def test_a_part_that_raises_among_frozen_ones(frozen, at):
    layer = sequential(at=at)
    for name in FROZEN[frozen](list(norms(layer))):
        norms(layer)[name].eval()
    check_refused(layer, batch(3, 5, 6, 4), batch(2, 5, 6, 4), match="there are three")


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_part_of_a_network_that_raises(kind):
    """The classifier: every batch norm has moved by then, and the dropout has drawn."""
    model = network(kind)
    model.layers["fc"].forward = _three(model.layers["fc"].forward)
    check_refused(model, batch(3, 32, 32, 3), batch(2, 32, 32, 3), match="there are three")


@pytest.mark.parametrize("part", ["expand.conv", "expand.bn", "dw", "dw.bn", "project.conv", "project.bn"])
def test_a_part_inside_a_block_that_raises(part):
    model = network("V2")
    layer = dict(model.named_layers())[f"b3.1.{part}"]
    layer.forward = _three(layer.forward)
    check_refused(model, batch(3, 32, 32, 3), batch(2, 32, 32, 3), match="there are three")


class _three:
    """A forward that refuses three images; a class, for a closure would not be copied with its layer."""

    def __init__(self, forward):
        self.forward = forward

    def __call__(self, x):
        out = self.forward(x)
        if len(x) == 3:
            raise ValueError("there are three")
        return out


# -- a shortcut that does not fit


@pytest.mark.parametrize("shortcut", [True, "expansion"])
@pytest.mark.parametrize("t", [1, 6])
def test_a_padding_that_breaks_the_shortcut(shortcut, t):
    check_shortcut(shortcut, t)


def check_shortcut(shortcut, t):
    block = InvertedResidual(4, 4, stride=1, t=t, shortcut=shortcut, padding=0, rng=rng(1))
    layer = Sequential({"before": ConvBN(PointwiseConv2d(4, 4, rng=rng()), 4), "block": block})
    before = everything(layer)
    for side in (3, 5):  # of 3 a single pixel is left, which would be broadcast
        with pytest.raises(ValueError, match=r"padding must keep the image's size, to add x; x was \(2, "):
            layer(batch(2, side, side, 4))
        assert everything(layer) == before
    block.dw.conv.padding = 1
    check_refused(layer, batch(2, 5, 5, 3), batch(2, 5, 5, 4), match="w must have length 3")


# -- what is not undone


def test_a_refusal_that_is_caught_inside_takes_back_no_more_than_its_own():
    class Tries(Layer):
        def __init__(self):
            super().__init__()
            self.first, self.last = BatchNorm(4), BatchNorm(4)
            self.second = Sequential({"bn": BatchNorm(4), "raises": Raises()})

        def forward(self, x):
            x = self.first(x)
            with contextlib.suppress(ValueError):
                self.second(x)
            return self.last(x)

    layer = Tries()
    before, _ = everything(layer)
    layer(batch(3, 5, 6, 4))
    after, _ = everything(layer)
    moved = {name.rpartition(".")[0] for name in before if before[name] != after[name]}
    assert moved == {"first", "last"}


def test_a_refusal_of_another_model_takes_nothing_back_that_it_did_not_move():
    shared = ConvBN(PointwiseConv2d(4, 4, rng=rng()), 4)
    one = Sequential({"shared": shared, "fc": BatchNorm(4)})
    for at in ("before", "behind"):
        parts = {"raises": Raises(), "shared": shared} if at == "before" else {"shared": shared, "raises": Raises()}
        other = Sequential(parts)
        one(batch(2, 5, 6, 4))
        after = everything(shared)
        with pytest.raises(ValueError, match="there are three"):
            other(batch(3, 5, 6, 4))
        assert everything(shared) == after


def test_looking_inside_moves_nothing_either_if_it_is_refused():
    model = network("V2")
    before = everything(model)
    with pytest.raises(ValueError, match="x must hold at least 2 values"):
        model.activations(batch(1, 32, 32, 3), ["stem", "b1.0.dw", "fc"])
    assert everything(model) == before
    assert not any("forward" in vars(part) for _, part in model.named_layers())


# -- compiled


def test_blocks_that_run_as_a_whole_move_nothing_either(loops):
    """`engine.training_block`, which is also what the compiled test below is about."""
    for at in (5, 99):
        layer, good = sequential(at=at), batch(2, 3, 4, 4)
        with npmnv2.backend("numba"):
            layer(good)
            assert "backward" in vars(layer.layers["inner"].layers["inverted"])  # as a whole it runs
            check_refused(layer, batch(3, 3, 4, 4), good, match="there are three")
            check_shortcut(True, 2)


@pytest.mark.compiled
def test_the_compiled_blocks_of_a_network_move_nothing_either():
    model = network("V2")
    model.layers["fc"].forward = _three(model.layers["fc"].forward)
    frozen = network("V2")
    norms(frozen)["head.bn"].eval()
    norms(frozen)["b1.0.dw.bn"].eval()
    good = batch(2, 32, 32, 3)
    with npmnv2.backend("numba"):
        model(good)
        assert all("backward" in vars(model.layers[name]) for name in ("b1.0", "b3.1", "b6.0"))  # compiled they are
        check_refused(model, batch(3, 32, 32, 3), good, match="there are three")
        check_refused(network("V2"), batch(1, 32, 32, 3), good, match="x must hold at least 2 values a channel")
        check_refused(frozen, batch(1, 32, 32, 3), good, match="x must hold at least 2 values a channel")


# -- a block of two models


def two_models(kind):
    one, other = network(kind, seed=1, dropout=0), network(kind, seed=2, dropout=0)
    name = list(one.layers)[3]
    other.layers[name] = one.layers[name]
    return one, other, name


def check_shared(one, other, name):
    x, y = batch(2, 32, 32, 3), batch(2, 32, 32, 3, seed=1)
    dout = batch(2, 3)
    for model in (one, other):
        for p in model.parameters():
            p.grad = None
    one(x), other(y)
    with pytest.raises(RuntimeError, match=rf"^backward needs the caches of its own forward; {name} has run another"):
        one.backward(dout)
    assert all(p.grad is None for p in one.parameters())  # found out before anything is done
    other.backward(dout)  # whose forward was the last
    found = {name: p.grad for name, p in other.named_parameters().items()}
    other.eval(), one.eval()
    other(y), other.backward(dout)
    one(x), one.backward(dout)  # one after the other they may
    other.train(), one.train()
    other(y), other.backward(dout)
    for name, p in other.named_parameters().items():
        np.testing.assert_array_equal(p.grad, found[name])


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_block_of_two_models_has_one_cache(kind):
    check_shared(*two_models(kind))


@pytest.mark.compiled
def test_a_compiled_block_of_two_models_has_one_cache():
    with npmnv2.backend("numba"):
        check_shared(*two_models("V2"))


def test_a_block_of_two_models_that_runs_as_a_whole_has_one_cache(loops):
    shared = InvertedResidual(4, 4, stride=1, t=2, rng=rng())
    one, other = (Sequential({"bn": BatchNorm(4), "shared": shared}) for _ in range(2))
    x, y = batch(2, 3, 4, 4), batch(2, 3, 4, 4, seed=1)
    with npmnv2.backend("numba"):
        out = one(x), other(y)
        with pytest.raises(RuntimeError, match="shared has run another one since"):
            one.backward(out[0])
        found = other.backward(out[1])
        np.testing.assert_array_equal(found, (other(y), other.backward(out[1]))[1])
        dx = (one(x), one.backward(out[0]))[1]
    assert dx.shape == x.shape


def test_a_layer_that_ran_alone_between():
    model = network("V2")
    dout = model(batch(2, 32, 32, 3))
    model.layers["stem"](batch(2, 32, 32, 3))
    with pytest.raises(RuntimeError, match="stem has run another one since, here or in another model that shares it"):
        model.backward(dout)


def test_a_layer_that_is_twice_in_one_model():
    """Its cache is that of the second time, which would do for both without a word."""
    twice = ConvBN(PointwiseConv2d(4, 4, rng=rng()), 4)
    model = Sequential({"once": twice, "again": twice})
    dout = model(batch(2, 5, 6, 4))
    with pytest.raises(RuntimeError, match="once has run another one since"):
        model.backward(dout)
