"""The network: its published counts and shapes, its gradients as a whole, its state, both backends."""

from itertools import pairwise

import numpy as np
import pytest
from cases import no_kink_crossed, randomise, table

import npmnv2
from npmnv2 import gradcheck, ops
from npmnv2.gradcheck import relative_error
from npmnv2.models import mobilenet_v1, mobilenet_v1_conv, mobilenet_v2
from npmnv2.models.mobilenet_v2 import ROWS, STRIDES, plan
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.nn.layers import BatchNorm, Conv2d, DepthwiseConv2d, PointwiseConv2d
from npmnv2.nn.optim import SGD

pytestmark = pytest.mark.usefixtures("one_thread")

# -- counts, against the published tables

CHECKPOINTS = {row["width"]: row for row in table("v2_22_checkpoints.csv")}


@pytest.mark.parametrize("width", CHECKPOINTS)
def test_parameters_of_the_published_widths(width):
    row = CHECKPOINTS[width]
    model = mobilenet_v2(width_mult=float(width))
    kernels = sum(p.value.size for p in model.parameters() if p.role in ("weight", "depthwise"))
    trainable = sum(p.value.size for p in model.parameters())
    everything = sum(value.size for value in model.state_dict().values())
    assert kernels == int(row["weights_1000"])
    assert trainable == int(row["trainable_1000(w+bias+BN gamma/beta)"])
    assert everything == int(row["all_vars_1000(+BN moving)"])
    assert round(kernels / 1e6, 2) == float(row["pub_params_M"])  # as the README prints it


def test_six_widths_were_published():
    assert sorted(CHECKPOINTS) == ["0.35", "0.5", "0.75", "1.0", "1.3", "1.4"]
    assert len(table("v2_22_checkpoints.csv")) == 22


def test_classes_of_tf_slim():
    row = CHECKPOINTS["1.0"]
    model = mobilenet_v2(num_classes=1001)
    assert sum(p.value.size for p in model.parameters()) == int(row["trainable_1001"])


def test_every_layer_has_the_shape_of_the_table():
    rows = table("v2_layers_1.0_224.csv")
    model = mobilenet_v2().eval()
    parts = dict(model.named_layers())
    x = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    seen = model.activations(x, [row["layer"] for row in rows])
    assert len(rows) == 53
    for row in rows:
        size, M = int(row["hout"]), int(row["cout"])
        expected = (1, M) if row["kind"] == "fc" else (1, size, size, M)
        assert seen[row["layer"]].shape == expected, row["layer"]
        assert seen[row["layer"]].dtype == np.float32
        layer = parts[row["layer"]]
        conv = layer if row["kind"] == "fc" else layer.conv
        assert conv.w.value.size == int(row["weights"]), row["layer"]
        if row["kind"] != "fc":
            assert getattr(conv, "stride", 1) == int(row["stride"])
            assert layer.bn.gamma.value.shape == (int(row["bn_channels"]),)


def test_blocks_and_convolutions():
    layers = [layer for _, layer in mobilenet_v2(10, 0.35).named_layers()]
    blocks = [layer for layer in layers if isinstance(layer, InvertedResidual)]
    assert len(blocks) == 17 == sum(row.n for row in ROWS)  # not the 19 of the paper's text
    assert sum(isinstance(layer, Conv2d | DepthwiseConv2d | PointwiseConv2d) for layer in layers) == 52
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == 52
    full = [layer for _, layer in mobilenet_v2(10).named_layers() if isinstance(layer, InvertedResidual)]
    assert sum(block.residual for block in full) == 10
    assert [hasattr(block, "expand") for block in full] == [False] + [True] * 16


@pytest.mark.parametrize(
    "width, head", [(0.1, 1280), (0.35, 1280), (0.999, 1280), (1.0, 1280), (1.3, 1664), (1.4, 1792)]
)
def test_the_last_convolution_never_gets_thinner(width, head):
    assert plan(width)[2] == head


def test_plan_reads_the_table():
    stem, blocks, _ = plan(1.0)
    assert stem == 32 and len(blocks) == 17
    assert [b.name for b in blocks[:4]] == ["b0.0", "b1.0", "b1.1", "b2.0"]
    assert [b.stride for b in blocks] == [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    assert [b.t for b in blocks] == [1] + [6] * 16
    assert blocks[0].in_channels == stem
    assert all(a.out_channels == b.in_channels for a, b in pairwise(blocks))
    assert [b.out_channels for b in blocks] == [16] + [24] * 2 + [32] * 3 + [64] * 4 + [96] * 3 + [160] * 3 + [320]
    own = plan(1.0, [1, 3, 1, 1, 1, 2, 1, 1])[1]
    assert [b.stride for b in own if b.name.endswith(".0")] == [3, 1, 1, 1, 2, 1, 1]


@pytest.mark.parametrize("strides, size, last", [("imagenet", 224, 7), ("cifar", 32, 4), ("digits", 8, 2)])
def test_the_three_sets_of_strides(strides, size, last):
    x = np.zeros((1, size, size, 3), np.float32)
    model = mobilenet_v2(10, 0.1, strides=strides).eval()
    assert model.activations(x, ["head"])["head"].shape == (1, last, last, 1280)
    assert size // np.prod(STRIDES[strides]) == last


# -- any image


@pytest.mark.parametrize("N, H, W", [(1, 33, 47), (2, 225, 64), (1, 1, 1), (3, 32, 31), (0, 32, 32)])
@pytest.mark.parametrize("padding", [1, "same"])
def test_any_size_forward_and_backward(N, H, W, padding, either):
    model = mobilenet_v2(5, 0.1, padding=padding).eval()
    x = np.random.default_rng(0).normal(size=(N, H, W, 3)).astype(np.float32)
    logits = model(x)
    assert logits.shape == (N, 5) and logits.dtype == np.float32 and np.isfinite(logits).all()
    dx = model.backward(np.random.default_rng(1).normal(size=(N, 5)).astype(np.float32))
    assert dx.shape == x.shape and dx.dtype == np.float32 and np.isfinite(dx).all()
    for name, p in model.named_parameters().items():
        assert p.grad.shape == p.value.shape and p.grad.dtype == np.float32, name


def test_other_channels_and_padding_reach_every_convolution(either):
    model = mobilenet_v2(5, 0.1, in_channels=1, padding="same", strides="digits")
    assert model(np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)).shape == (2, 5)
    convs = [layer for _, layer in model.named_layers() if isinstance(layer, Conv2d | DepthwiseConv2d)]
    assert len(convs) == 18 and all(conv.padding == "same" for conv in convs)


def test_batch_norm_settings_reach_every_norm():
    model = mobilenet_v2(5, 0.1, eps=0.25, momentum=0.5, running_var="biased")
    norms = [layer for _, layer in model.named_layers() if isinstance(layer, BatchNorm)]
    assert {(bn.eps, bn.momentum, bn.running_var) for bn in norms} == {(0.25, 0.5, "biased")}
    assert model.config["eps"] == 0.25 and model.config["dtype"] == "float32"


# -- the gradient of the whole

FLOOR = 1e-3  # errors are relative to a gradient's largest value, or to this: some gradients are 0 (see below)


def small(training=True, seed=0):
    """A whole network that differences can reach: 8 channels nearly everywhere, images of 6x9, float64."""
    model = mobilenet_v2(3, 0.1, strides="digits", dropout=0.0, dtype=np.float64, eps=1e-2, seed=seed)
    randomise(model, seed).train(training)
    x = np.random.default_rng([seed, 1]).normal(size=(2, 6, 9, 3))
    return model, x, np.random.default_rng([seed, 2]).normal(size=(2, 3))


def gradients(model, x, dlogits):
    """name -> gradient, x among them."""
    logits = model(x)
    dx = model.backward(dlogits)
    return logits, {"x": dx, **{name: p.grad for name, p in model.named_parameters().items()}}


def forward_only(model, x):
    """The forward without the question for the model's dtype: complex numbers for the complex step."""
    for layer in model.layers.values():
        x = layer(x)
    return x


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_whole_network_in_random_directions(training):
    """All parameters and the image at once, along random directions: by complex step and by differences.

    The complex step changes no real part, so it crosses no kink; the differences prove on both sides that they did not.
    """
    model, x, dlogits = small(training)
    with npmnv2.backend("numpy"):
        with no_kink_crossed(model) as clipped:
            for seed in range(4):
                clipped.clear()
                gradcheck.check_layer(model, x, method="direction", step=1e-8, tolerance=1e-7, seed=seed)
                assert len(clipped) == 35 and 0.05 < np.concatenate(clipped).mean() < 0.6  # both sides are in play
        _, grads = gradients(model, x, dlogits)
        parts = {"x": x, **{name: p.value for name, p in model.named_parameters().items()}}
        state = {name: part.value for name, part in model.state().items()}
        for seed in range(4):
            rng = np.random.default_rng(seed)
            v = {name: rng.normal(size=value.shape) for name, value in parts.items()}
            terms = [float(np.sum(grads[name] * v[name])) for name in parts]
            for name, part in model.state().items():
                part.value = state[name] + 1e-30j * v.get(name, 0)
            exact = float(np.sum(forward_only(model, x + 1e-30j * v["x"]).imag * dlogits)) / 1e-30
            assert abs(exact - sum(terms)) < 1e-11 * sum(map(abs, terms)), seed


@pytest.mark.parametrize("elements", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_whole_network_element_by_element(training, elements):
    """So many elements of every parameter, and of the image, by complex step."""
    model, x, dlogits = small(training)
    rng = np.random.default_rng(9)
    with npmnv2.backend("numpy"):
        _, grads = gradients(model, x, dlogits)
        state = {name: part.value for name, part in model.state().items()}
        for part in model.state().values():
            part.value = part.value.astype(complex)
        z = x.astype(complex)
        parts = {"x": z, **{name: p.value for name, p in model.named_parameters().items()}}
        originals = {**state, "x": x}
        for name, part in parts.items():
            largest = max(np.abs(grads[name]).max(), FLOOR)
            for _ in range(elements):
                k = tuple(rng.integers(0, part.shape))
                part[k] += 1e-30j
                exact = float(np.sum(forward_only(model, z).imag * dlogits)) / 1e-30
                part[k] = originals[name][k]
                assert abs(exact - grads[name][k]) < 1e-10 * largest, (name, k)


def test_the_shift_of_a_linear_bottleneck_has_no_gradient_in_training():
    """A constant added to a channel passes the shortcut and the 1x1 convolution and dies in the next batch mean.

    So 17 of the network's parameters have a gradient of 0 but for rounding (in eval they do not), and none other has.
    """
    with npmnv2.backend("numpy"):
        for training in (True, False):
            _, grads = gradients(*small(training))
            dead = {name for name, value in grads.items() if np.abs(value).max() < 1e-13}
            assert dead == ({f"{b.name}.project.bn.beta" for b in plan()[1]} if training else set())
            assert min(np.abs(grads[name]).max() for name in grads.keys() - dead) > 1e-2


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_backends_agree(training, loops):
    model, x, dlogits = small(training)
    results = {}
    for backend in ("numpy", "numba"):
        with npmnv2.backend(backend):
            model.load_state_dict(small()[0].state_dict())
            results[backend] = (*gradients(model, x, dlogits), model.state_dict())
    assert relative_error(results["numpy"][0], results["numba"][0]) < 1e-11
    for which in (1, 2):
        for name, value in results["numpy"][which].items():
            difference = np.abs(value - results["numba"][which][name]).max()
            assert difference < 1e-11 * max(np.abs(value).max(), FLOOR), name


@pytest.mark.compiled
def test_backends_agree_in_float32_at_a_real_size():
    x = np.random.default_rng(0).normal(size=(1, 96, 96, 3)).astype(np.float32)
    model = mobilenet_v2(10, 0.35).eval()
    dlogits = np.random.default_rng(1).normal(size=(1, 10)).astype(np.float32)
    results = []
    for backend in ("numpy", "numba"):
        with npmnv2.backend(backend):
            results.append(gradients(model, x, dlogits))
    assert relative_error(results[0][0], results[1][0]) < 1e-5
    for name, value in results[0][1].items():
        assert relative_error(value, results[1][1][name]) < 1e-4, name


# -- state, modes, seeds


def test_a_seed_gives_the_same_network_in_either_dtype():
    one, two, other = (mobilenet_v2(5, 0.35, seed=seed) for seed in (3, 3, 4))
    wide = mobilenet_v2(5, 0.35, seed=3, dtype=np.float64).state_dict()
    for name, value in one.state_dict().items():
        assert value.tobytes() == two.state_dict()[name].tobytes()
        np.testing.assert_array_equal(value, wide[name].astype(np.float32))
        assert wide[name].dtype == np.float64
    assert (one.state_dict()["stem.conv.w"] != other.state_dict()["stem.conv.w"]).any()


def test_state_dict_round_trip_gives_the_same_logits_to_the_bit(either):
    model, fresh = randomise(mobilenet_v2(5, 0.35, seed=0), 1).eval(), mobilenet_v2(5, 0.35, seed=2).eval()
    x = np.random.default_rng(0).normal(size=(2, 32, 40, 3)).astype(np.float32)
    assert (model(x) != fresh(x)).any()
    fresh.load_state_dict(model.state_dict())
    assert model(x).tobytes() == fresh(x).tobytes()


def test_a_float64_state_loads_into_a_float32_network(either):
    wide, single = randomise(mobilenet_v2(5, 0.1, dtype=np.float64)).eval(), mobilenet_v2(5, 0.1).eval()
    single.load_state_dict(wide.state_dict())
    assert {value.dtype for value in single.state_dict().values()} == {np.dtype(np.float32)}
    x = np.random.default_rng(0).normal(size=(2, 33, 40, 3))
    assert relative_error(wide(x), single(x.astype(np.float32))) < 1e-4


@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen", "wrong type"])
def test_a_state_that_does_not_fit_changes_nothing(change):
    model = mobilenet_v2(5, 0.1)
    before, state = model.state_dict(), randomise(mobilenet_v2(5, 0.1), 1).state_dict()
    if change == "missing":
        del state["fc.b"]
    elif change == "unknown":
        state["fc.bias"] = state["fc.b"]
    elif change == "misshapen":
        state["fc.w"] = state["fc.w"].T
    else:
        state["fc.b"] = state["fc.b"].astype(int)
    with pytest.raises((ValueError, TypeError), match=r"fc\."):
        model.load_state_dict(state)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())


def test_another_width_is_one_clear_error():
    with pytest.raises(ValueError, match=r"state does not fit this MobileNetV2:\n  misshapen: stem.conv.w") as error:
        mobilenet_v2(5, 1.0).load_state_dict(mobilenet_v2(5, 0.35).state_dict())
    assert len(str(error.value).splitlines()) == 22 and "more" in str(error.value)


def test_train_and_eval(either):
    model, x, _ = small()
    before = model.state_dict()
    model.eval()
    first = model(x)
    assert (model(x) == first).all()
    assert (model(x[:1]) == first[:1]).all() or relative_error(model(x[:1]), first[:1]) < 1e-12  # images are apart
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    model.train()
    assert (model(x) != first).any()
    changed = [name for name, value in model.state_dict().items() if (value != before[name]).any()]
    assert len(changed) == 2 * 52 and all(name.endswith(("mean", "var")) for name in changed)


def test_dropout_masks_follow_the_seed(either):
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    runs = [mobilenet_v2(5, 0.1, strides="digits", dropout=0.5, seed=seed) for seed in (1, 1)]
    assert (runs[0](x) == runs[1](x)).all()
    dropped = runs[0].activations(x, ["dropout", "pool"])
    zero = (dropped["dropout"] == 0) & (dropped["pool"] != 0)
    assert 0.4 < zero.sum() / (dropped["pool"] != 0).sum() < 0.6
    kept = dropped["dropout"] != 0
    np.testing.assert_allclose(dropped["dropout"][kept], 2 * dropped["pool"][kept], rtol=1e-6)


@pytest.mark.parametrize("build", [mobilenet_v2, mobilenet_v1, mobilenet_v1_conv])
def test_one_backward_for_one_forward(build, either):
    model, dout = build(5, 0.1, strides="digits", dtype="float64", dropout=0.0), np.ones((2, 5))
    x = np.random.default_rng(0).normal(size=(2, 8, 9, 3))
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        model.backward(dout)
    model(x)
    with pytest.raises(ValueError, match=r"^dout must have the shape"):
        model.backward(dout[:1])
    first = model.backward(dout)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        model.backward(dout)
    model(x)
    np.testing.assert_array_equal(model.backward(dout), first)


def test_a_network_learns(either):
    """Fifty steps bring the loss of twelve images near zero: signs, scales and the update fit together."""
    model = mobilenet_v2(3, 0.1, strides="digits", dropout=0.0)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(12, 8, 8, 3)).astype(np.float32), np.arange(12) % 3
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(50):
        loss, dlogits = ops.softmax_cross_entropy(model(x), labels)
        model.backward(dlogits)
        optimizer.step()
        losses.append(float(loss))
    assert losses[0] > 0.8 and max(losses[-3:]) < 0.1 * losses[0], losses


@pytest.mark.parametrize("build", [mobilenet_v2, mobilenet_v1, mobilenet_v1_conv])
def test_a_forward_without_variance_leaves_the_statistics_as_they_were(build, either):
    """One image that shrinks to one pixel: every batch norm up to the last small map could still be computed."""
    model = build(5, 0.1)
    before, x = model.state_dict(), np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    with pytest.raises(ValueError, match=r"^x must hold at least 2 values a channel .* here it holds 1: train on more"):
        model(x)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert model(np.repeat(x, 2, axis=0)).shape == (2, 5) and model(x.repeat(2, axis=2)).shape == (1, 5)
    assert model.eval()(x).shape == (1, 5)
    assert build(5, 0.1, running_var="biased")(x).shape == (1, 5)
    model.train()
    [layer for _, layer in model.named_layers() if isinstance(layer, BatchNorm)][-1].eval()
    with pytest.raises(ValueError, match=r"^x must hold at least 2 values a channel"):
        model(x)  # the one before it has no variance either, and says so itself


@pytest.mark.parametrize("build", [mobilenet_v1, mobilenet_v1_conv])
def test_every_builder_refuses_a_padding_that_changes_the_size(build):
    for padding in (0, 2, True, "foo"):
        with pytest.raises(ValueError, match=r'padding must be .*"same"'):
            build(5, 0.1, padding=padding)
    with pytest.raises(TypeError, match="dtype must be float32 or float64; was None"):
        build(5, 0.1, dtype=None)


def test_a_refused_dout_uses_up_no_cache(either):
    model = mobilenet_v2(5, 0.1, strides="digits")
    out = model(np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32))
    for bad in (np.ones((2, 4), np.float32), np.ones((2, 5)), None):
        with pytest.raises((ValueError, TypeError), match="dout must"):
            model.backward(bad)
    assert model.backward(out).shape == (2, 8, 8, 3)
