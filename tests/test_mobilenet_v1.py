"""MobileNetV1 and its convolutional twin: published counts and shapes, gradients of the whole, both backends."""

from itertools import pairwise

import numpy as np
import pytest
from cases import no_kink_crossed, randomise, table

import npmnv2
from npmnv2 import cost, gradcheck
from npmnv2.gradcheck import relative_error
from npmnv2.models import mobilenet_v1, mobilenet_v1_conv
from npmnv2.models.mobilenet_v1 import ROWS, STRIDES, plan
from npmnv2.nn.blocks import ConvBNReLU6, SeparableConv
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, Conv2d, DepthwiseConv2d, PointwiseConv2d
from npmnv2.shapes import make_divisible

ROWS_OF_TABLE_1 = table("v1_table1_architecture.csv")
CHECKPOINTS = table("v1_16_checkpoints.csv")
WIDTHS = {row["width"]: row for row in CHECKPOINTS}
BUILDERS = [mobilenet_v1, mobilenet_v1_conv]
both = pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)


def name_in_csv(name):
    """b3.pw -> pw3, as in the table of layers."""
    block, _, part = name.partition(".")
    return {"stem": "conv0", "fc": "fc"}.get(name) or part + block[1:]


# -- counts and shapes


def test_sixteen_checkpoints_of_four_widths():
    assert len(CHECKPOINTS) == 16 and sorted(WIDTHS) == ["0.25", "0.5", "0.75", "1.0"]


@pytest.mark.parametrize("width", WIDTHS)
def test_parameters_of_the_published_widths(width):
    row = WIDTHS[width]
    model = mobilenet_v1(1001, float(width))
    count = {}
    for p in model.parameters():
        count[p.role] = count.get(p.role, 0) + p.value.size
    weights = count["weight"] + count["depthwise"]
    assert weights == int(row["weights_1001"])
    assert sum(count.values()) == int(row["trainable_1001"])
    # the published column: one of batch norm's four numbers a channel is left out
    assert weights + count["bias"] + 3 * count["gamma"] == int(row["weights+bias+3xBN_1001"])
    assert sum(value.size for value in model.state_dict().values()) == sum(count.values()) + 2 * count["gamma"]


def test_every_layer_has_the_shape_of_table_1():
    model = mobilenet_v1().eval()
    names = [layer.name for layer in cost.mobilenet_v1()]
    x = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)
    seen, parts = model.activations(x, names), dict(model.named_layers())
    assert [name_in_csv(name) for name in names] == [row["layer"] for row in ROWS_OF_TABLE_1]
    for name, row in zip(names, ROWS_OF_TABLE_1, strict=True):
        size, M = int(row["hout"]), int(row["cout"])
        assert seen[name].shape == ((1, M) if name == "fc" else (1, size, size, M)), name
        conv = parts[name] if name == "fc" else parts[name].conv
        assert conv.w.value.size == int(row["weights"]), name
        if name != "fc":
            assert getattr(conv, "stride", 1) == int(row["stride"])


def test_the_twin_has_the_same_shapes_from_the_same_table():
    one, two = mobilenet_v1(7, 0.25).eval(), mobilenet_v1_conv(7, 0.25).eval()
    x = np.zeros((1, 65, 33, 3), np.float32)
    names = ["stem", *(f"b{k}" for k in range(1, 14))]
    shapes = [{name: out.shape for name, out in model.activations(x, names).items()} for model in (one, two)]
    assert shapes[0] == shapes[1]
    convs = [layer for _, layer in two.named_layers() if isinstance(layer, Conv2d)]
    assert [conv.w.value.shape[:2] for conv in convs] == [(3, 3)] * 14
    assert not [layer for _, layer in two.named_layers() if isinstance(layer, DepthwiseConv2d | PointwiseConv2d)]


def test_layers_are_counted():
    """28 layers with weights, as the paper counts them: "depthwise and pointwise as separate layers"."""
    layers = [layer for _, layer in mobilenet_v1(10, 0.25).named_layers()]
    assert sum(isinstance(layer, SeparableConv) for layer in layers) == 13 == len(ROWS)
    assert sum(isinstance(layer, Conv2d | DepthwiseConv2d | PointwiseConv2d) for layer in layers) + 1 == 28
    norms = [layer for layer in layers if isinstance(layer, BatchNorm)]
    assert len(norms) == 27 and all(isinstance(norm, BatchNormReLU6) for norm in norms)


def test_plan_reads_the_table():
    stem, blocks = plan()
    assert stem == 32 and [b.name for b in blocks] == [f"b{k}" for k in range(1, 14)]
    assert blocks[0].in_channels == stem
    assert all(a.out_channels == b.in_channels for a, b in pairwise(blocks))
    assert [b.out_channels for b in blocks] == [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert [b.stride for b in blocks] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]  # the last is no s2, see ROWS
    own = plan(1.0, [1, *range(1, 14)])[1]
    assert [b.stride for b in own] == list(range(1, 14))


def test_channels_are_cut_off_not_rounded():
    """The authors' rule for V1; V2's agrees with it at the published widths and nowhere else."""
    assert [b.out_channels for b in plan(0.33)[1]][:4] == [21, 42, 42, 84] and plan(0.33)[0] == 10
    assert plan(0.1)[0] == 8 and plan(0.01)[1][-1].out_channels == 10
    for width in WIDTHS:
        stem, blocks = plan(float(width))
        wanted = [32, *(row.c for row in ROWS)]
        assert [stem, *(b.out_channels for b in blocks)] == [make_divisible(float(width) * c) for c in wanted]


@pytest.mark.parametrize("strides, size, last", [("imagenet", 224, 7), ("cifar", 32, 4), ("digits", 8, 2)])
@both
def test_the_three_sets_of_strides(build, strides, size, last):
    x = np.zeros((1, size, size, 3), np.float32)
    model = build(10, 0.25, strides=strides).eval()
    assert model.activations(x, ["b13"])["b13"].shape == (1, last, last, 256)
    assert size // np.prod(STRIDES[strides]) == last and len(STRIDES[strides]) == 14


@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("N, H, W", [(1, 33, 47), (2, 65, 32), (1, 1, 1), (0, 32, 32)])
@both
def test_any_size_forward_and_backward(build, N, H, W, padding, either):
    model = build(5, 0.1, padding=padding).eval()
    x = np.random.default_rng(0).normal(size=(N, H, W, 3)).astype(np.float32)
    logits = model(x)
    assert logits.shape == (N, 5) and logits.dtype == np.float32 and np.isfinite(logits).all()
    dx = model.backward(np.random.default_rng(1).normal(size=(N, 5)).astype(np.float32))
    assert dx.shape == x.shape and dx.dtype == np.float32 and np.isfinite(dx).all()
    for name, p in model.named_parameters().items():
        assert p.grad.shape == p.value.shape and p.grad.dtype == np.float32, name


@both
def test_every_argument_reaches_every_layer(build):
    settings = {"padding": "same", "eps": 0.25, "momentum": 0.5, "running_var": "biased", "dtype": np.float64}
    model = build(5, 0.1, strides="digits", in_channels=1, dropout=0.5, seed=3, **settings)
    layers = [layer for _, layer in model.named_layers()]
    norms = [layer for layer in layers if isinstance(layer, BatchNorm)]
    assert {(bn.eps, bn.momentum, bn.running_var) for bn in norms} == {(0.25, 0.5, "biased")}
    assert {layer.padding for layer in layers if isinstance(layer, Conv2d | DepthwiseConv2d)} == {"same"}
    assert {p.value.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert model.layers["stem"].conv.w.value.shape == (3, 3, 1, 8) and model.layers["dropout"].rate == 0.5
    assert model.config == dict(settings, dtype="float64", num_classes=5, width_mult=0.1, strides="digits",
                                in_channels=1, dropout=0.5, seed=3)  # fmt: skip
    assert type(model)(model.layers, model.config).config is model.config


# -- gradients of the whole


def small(build, training=True, seed=0):
    """A whole network that differences can reach: 8 to 10 channels, images of 6x9, float64."""
    model = build(3, 0.01, strides="digits", dropout=0.0, dtype=np.float64, eps=1e-2, seed=seed)
    randomise(model, seed).train(training)
    x = np.random.default_rng([seed, 1]).normal(size=(2, 6, 9, 3))
    return model, x, np.random.default_rng([seed, 2]).normal(size=(2, 3))


def gradients(model, x, dlogits):
    """The logits, and name -> gradient, x among them."""
    logits = model(x)
    dx = model.backward(dlogits)
    return logits, {"x": dx, **{name: p.grad for name, p in model.named_parameters().items()}}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@both
def test_whole_network_by_differences(build, training):
    """All parameters and the image at once, along random directions, without crossing a kink of ReLU6."""
    model, x, _ = small(build, training)
    with npmnv2.backend("numpy"), no_kink_crossed(model) as clipped:
        for seed in range(4):
            clipped.clear()
            gradcheck.check_layer(model, x, method="direction", step=1e-8, tolerance=1e-7, seed=seed)
            assert len(clipped) == (27 if build is mobilenet_v1 else 14)
            assert 0.05 < np.concatenate(clipped).mean() < 0.6  # both sides are in play


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@both
def test_whole_network_element_by_element(build, training):
    """Two elements of every parameter, and of the image, by complex step: it crosses no kink."""
    model, x, dlogits = small(build, training)
    rng = np.random.default_rng(9)
    with npmnv2.backend("numpy"):
        _, grads = gradients(model, x, dlogits)
        originals = {"x": x, **{name: part.value for name, part in model.state().items()}}
        for part in model.state().values():
            part.value = part.value.astype(complex)
        parts = {"x": x.astype(complex), **{name: p.value for name, p in model.named_parameters().items()}}
        for name, part in parts.items():
            largest = max(np.abs(grads[name]).max(), 1e-3)
            for _ in range(2):
                k = tuple(rng.integers(0, part.shape))
                part[k] += 1e-30j
                out = parts["x"]
                for layer in model.layers.values():
                    out = layer(out)
                part[k] = originals[name][k]
                assert abs(float(np.sum(out.imag * dlogits)) / 1e-30 - grads[name][k]) < 1e-10 * largest, (name, k)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@both
def test_backends_agree(build, training, loops):
    model, x, dlogits = small(build, training)
    results = {}
    for backend in ("numpy", "numba"):
        with npmnv2.backend(backend):
            model.load_state_dict(small(build)[0].state_dict())
            results[backend] = (*gradients(model, x, dlogits), model.state_dict())
    assert relative_error(results["numpy"][0], results["numba"][0]) < 1e-11
    for which in (1, 2):
        for name, value in results["numpy"][which].items():
            difference = np.abs(value - results["numba"][which][name]).max()
            assert difference < 1e-11 * max(np.abs(value).max(), 1e-3), name


@pytest.mark.compiled
def test_backends_agree_in_float32_at_a_real_size():
    x = np.random.default_rng(0).normal(size=(1, 96, 64, 3)).astype(np.float32)
    model = mobilenet_v1(10, 0.25).eval()
    dlogits = np.random.default_rng(1).normal(size=(1, 10)).astype(np.float32)
    results = []
    for backend in ("numpy", "numba"):
        with npmnv2.backend(backend):
            results.append(gradients(model, x, dlogits))
    assert relative_error(results[0][0], results[1][0]) < 1e-5
    for name, value in results[0][1].items():
        assert relative_error(value, results[1][1][name]) < 1e-4, name


# -- the block


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [1, "same", ((0, 1), (2, 1))])
def test_a_separable_block_is_depthwise_then_pointwise(stride, padding, either):
    options = {"stride": stride, "padding": padding, "dtype": np.float64, "rng": np.random.default_rng(0)}
    block = randomise(SeparableConv(3, 5, **options))
    x = np.random.default_rng(1).normal(size=(2, 6, 9, 3))
    inside = block.activations(x, ["dw", "pw"])
    assert inside["dw"].shape[3] == 3 and inside["pw"].shape[3] == 5
    np.testing.assert_array_equal(block(x), inside["pw"])
    for values in inside.values():
        assert values.min() >= 0 and values.max() <= 6  # both end in ReLU6, unlike an inverted residual
    assert block.dw.conv.stride == stride and not hasattr(block.pw.conv, "stride")
    assert isinstance(block.dw, ConvBNReLU6) and isinstance(block.pw, ConvBNReLU6)


def test_a_state_of_another_network_is_one_clear_error():
    with pytest.raises(ValueError, match=r"state does not fit this ConvMobileNet:\n  missing: b1.conv.w"):
        mobilenet_v1_conv(5, 0.1).load_state_dict(mobilenet_v1(5, 0.1).state_dict())


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"width_mult": 0}, ValueError, "width_mult must be more than 0"),
        ({"width_mult": "1"}, TypeError, "width_mult must be a number; was '1'"),
        ({"num_classes": 0}, ValueError, "num_classes must be an integer of at least 1; was 0"),
        ({"in_channels": 1.5}, ValueError, "in_channels must be an integer of at least 1; was 1.5"),
        ({"strides": "mnist"}, ValueError, "strides must be one of imagenet, cifar, digits or 14 integers; was"),
        ({"strides": (2, 1, 2)}, ValueError, "strides must be one of .* or 14 integers of at least 1; was"),
        ({"dtype": np.int8}, TypeError, "dtype must be float32 or float64; was int8"),
        ({"seed": -1}, ValueError, "seed must be at least 0; was -1"),
        ({"dropout": 1}, ValueError, "dropout must be at least 0 and less than 1"),
    ],
)
@both
def test_what_makes_no_network_is_refused(build, options, error, match):
    with pytest.raises(error, match=match):
        build(**{"num_classes": 3, "width_mult": 0.1, **options})


@both
def test_input_is_checked(build, either):
    model = build(3, 0.1)
    for x, error, match in (
        ([[1.0]], TypeError, "x must be a NumPy array; was list"),
        (np.zeros((1, 8, 8, 4), np.float32), ValueError, r"x must have shape \(N, H, W, 3\); was \(1, 8, 8, 4\)"),
        (np.zeros((1, 8, 8, 3)), TypeError, "x must have the model's dtype, float32; was float64"),
    ):
        with pytest.raises(error, match=match):
            model(x)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        model.backward(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("size", [(100, 100), (150, 150), (200, 200), (224, 224), (96, 160)])
def test_the_padding_of_keras_v1(size, tmp_path):
    """Strided depthwise layers pad (0, 1) at every size; fused, saved and loaded too."""
    model = npmnv2.mobilenet_v1(5, 0.25, padding="keras_v1", eps=1e-3)
    by_hand = npmnv2.mobilenet_v1(5, 0.25, padding="same", eps=1e-3)
    for _, layer in by_hand.named_layers():
        if isinstance(layer, DepthwiseConv2d) and layer.stride == 2:
            layer.padding = ((0, 1), (0, 1))
    model.eval(), by_hand.eval()
    x = np.random.default_rng(0).standard_normal((1, *size, 3)).astype(np.float32)
    expected = by_hand(x)
    np.testing.assert_array_equal(model(x), expected)
    np.testing.assert_allclose(npmnv2.fuse(model)(x), expected, atol=1e-5)
    npmnv2.weights.save(model, tmp_path / "a.npz")
    loaded = npmnv2.weights.load_model(tmp_path / "a.npz")
    assert loaded.config["padding"] == "keras_v1"
    np.testing.assert_array_equal(loaded(x), expected)
