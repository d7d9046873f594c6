"""Costs: against published tables, against loops that count every multiplication, against the real network."""

import itertools

import numpy as np
import pytest
from cases import table
from hypothesis import given, settings
from hypothesis import strategies as st

from npmnv2 import cost
from npmnv2.models import mobilenet_v2

LAYERS = table("v2_layers_1.0_224.csv")
CHECKPOINTS = table("v2_22_checkpoints.csv")
KINDS = {"conv": "standard", "dw": "depthwise", "pw": "pointwise", "fc": "linear"}


def _total(layers, what):
    return sum(getattr(layer, what) for layer in layers)


# -- published tables


@pytest.mark.parametrize("row", LAYERS, ids=[row["layer"] for row in LAYERS])
def test_every_layer_of_the_published_network(row):
    (layer,) = [layer for layer in cost.mobilenet_v2() if layer.name == row["layer"]]
    hin, hout, cin, cout = (int(row[key]) for key in ("hin", "hout", "cin", "cout"))
    assert layer.kind == KINDS[row["kind"]]
    assert layer.in_shape == (hin, hin, cin) and layer.out_shape == (hout, hout, cout)
    assert layer.stride == int(row["stride"])
    assert layer.madds == int(row["macs"]) and layer.weights == int(row["weights"])
    assert layer.batchnorm == int(row["bn_channels"])
    assert layer.bias == (cout if layer.kind == "linear" else 0)


def test_the_layers_are_those_of_the_table_in_its_order():
    assert [layer.name for layer in cost.mobilenet_v2()] == [row["layer"] for row in LAYERS]


@pytest.mark.parametrize("row", CHECKPOINTS, ids=[f"{row['width']}_{row['res']}" for row in CHECKPOINTS])
@pytest.mark.parametrize("classes", [1000, 1001])
def test_every_published_checkpoint(row, classes):
    layers = cost.mobilenet_v2(float(row["width"]), int(row["res"]), classes)
    assert _total(layers, "madds") == int(row[f"exact_macs_{classes}"])
    assert _total(layers, "weights") == int(row[f"weights_{classes}"])
    trainable = row["trainable_1000(w+bias+BN gamma/beta)" if classes == 1000 else "trainable_1001"]
    assert _total(layers, "parameters") == int(trainable)
    if classes == 1000:
        assert _total(layers, "variables") == int(row["all_vars_1000(+BN moving)"])


def test_the_published_columns_come_out_of_the_exact_ones():
    """The README prints millions: multiply-adds cut off, not rounded; weights alone, rounded."""
    for row in CHECKPOINTS:
        layers = cost.mobilenet_v2(float(row["width"]), int(row["res"]))
        assert _total(layers, "madds") // 10**6 == int(row["pub_macs_M"])
        assert round(_total(layers, "weights") / 1e6, 2) == float(row["pub_params_M"])


# -- by counting


class Counted:
    """A number that counts how often one is multiplied and added to a sum."""

    count = 0

    def multiply_add(self, other, total):
        Counted.count += 1
        return total


def _loops(kind, H, W, C, M, kernel, stride, pads):
    """A convolution by its definition, over objects that count; returns the count and the output's size."""
    (top, bottom), (left, right) = pads
    x = np.array([Counted() for _ in range((H + top + bottom) * (W + left + right) * C)])
    x = x.reshape(H + top + bottom, W + left + right, C)
    w, total = Counted(), 0
    Counted.count = 0
    rows = [y for y in range(0, x.shape[0], stride) if y + kernel <= x.shape[0]]
    cols = [y for y in range(0, x.shape[1], stride) if y + kernel <= x.shape[1]]
    for y, z, m, i, j in itertools.product(rows, cols, range(M), range(kernel), range(kernel)):
        for c in range(C) if kind != "depthwise" else (m,):
            total = x[y + i, z + j, c].multiply_add(w, total)
    return Counted.count, (len(rows), len(cols))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["standard", "depthwise", "pointwise"]),
    H=st.integers(1, 7),
    W=st.integers(1, 7),
    C=st.integers(1, 3),
    M=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pads=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2),
)
def test_multiply_adds_by_counting(kind, H, W, C, M, kernel, stride, pads):
    if kind == "depthwise":
        M = C
    if kind == "pointwise":
        kernel, stride, pads = 1, 1, ((0, 0), (0, 0))
    if kernel > min(H + sum(pads[0]), W + sum(pads[1])):
        with pytest.raises(ValueError, match="kernel must fit"):
            cost.convolution(kind, H, W, C, M, kernel, stride, pads)
        return
    layer = cost.convolution(kind, H, W, C, M, kernel, stride, pads)
    count, size = _loops(kind, H, W, C, M, kernel, stride, pads)
    assert layer.madds == count
    assert layer.out_shape == (*size, M) and layer.in_shape == (H, W, C)
    weights = {"standard": np.empty((kernel, kernel, C, M)), "depthwise": np.empty((kernel, kernel, C))}
    assert layer.weights == weights.get(kind, np.empty((C, M))).size
    traffic = np.empty((H, W, C), "f").nbytes + np.empty((*size, M), "f").nbytes + 4 * layer.weights
    assert layer.bytes == traffic and layer.intensity == count / traffic


def test_what_batch_norm_and_bias_add():
    plain = cost.convolution("standard", 5, 6, 2, 7, batchnorm=False)
    normed = cost.convolution("standard", 5, 6, 2, 7, name="stem")
    assert (plain.name, plain.batchnorm, normed.name, normed.batchnorm) == ("", 0, "stem", 7)
    assert plain.parameters == plain.variables == plain.weights == 3 * 3 * 2 * 7
    assert normed.parameters == plain.weights + 2 * 7 and normed.variables == plain.weights + 4 * 7
    assert normed.madds == plain.madds and normed.bytes == plain.bytes  # neither is counted
    fc = cost.mobilenet_v2(num_classes=10)[-1]
    assert (fc.bias, fc.weights, fc.madds, fc.parameters) == (10, 12800, 12800, 12810)
    assert fc.bytes == 4 * (1280 + 10 + 12800 + 10)


def test_numpy_integers_do_not_wrap_around():
    """A uint8 of 224 times a uint8 of 224 is 0 to NumPy."""
    exact = cost.convolution("standard", 224, 224, 3, 32, 3, 2)
    for dtype in (np.uint8, np.int16, np.int64):
        assert cost.convolution("standard", *np.array([224, 224, 3, 32, 3, 2], dtype)) == exact
    assert cost.mobilenet_v2(resolution=np.uint8(224), in_channels=np.int8(3)) == cost.mobilenet_v2()


def test_numbers_too_large_for_64_bits_stay_exact():
    assert cost.convolution("pointwise", 10**9, 10**9, 10**3, 10**3).madds == 10**24


# -- against the network


@pytest.mark.parametrize(
    "resolution, options",
    [
        (33, {}),
        (31, {"padding": "same"}),
        (40, {"padding": "same", "in_channels": 1}),
        (19, {"strides": "cifar"}),
        (8, {"strides": "digits", "in_channels": 1}),
        (9, {"strides": (1, 2, 1, 3, 1, 1, 2, 1), "padding": "same"}),
        (1, {}),
    ],
)
def test_the_model_has_these_shapes_and_parameters(resolution, options):
    width, classes = 0.35, 7
    layers = cost.mobilenet_v2(width, resolution, classes, **options)
    model = mobilenet_v2(classes, width, **options).eval()
    x = np.zeros((1, resolution, resolution, options.get("in_channels", 3)), np.float32)
    seen = model.activations(x, [layer.name for layer in layers])
    parameters, state = model.named_parameters(), model.state_dict()
    before = x.shape[1:]
    for layer in layers:
        shape = seen[layer.name].shape[1:]
        assert layer.out_shape == (shape if len(shape) == 3 else (1, 1, *shape)), layer.name
        assert layer.in_shape == before or layer.kind == "linear", layer.name
        before = layer.out_shape
        own = {name: p.value.size for name, p in parameters.items() if name.startswith(layer.name + ".")}
        assert layer.parameters == sum(own.values()), layer.name
        assert layer.weights == sum(n for name, n in own.items() if name.endswith(".w")), layer.name
        assert layer.variables == sum(v.size for name, v in state.items() if name.startswith(layer.name + "."))
    assert _total(layers, "parameters") == sum(p.value.size for p in model.parameters())
    assert _total(layers, "variables") == sum(v.size for v in state.values())


@settings(max_examples=40, deadline=None)
@given(resolution=st.integers(1, 500), width=st.sampled_from([0.1, 0.35, 1.0, 1.4]))
def test_any_resolution(resolution, width):
    """Every stride 2 halves, rounding up, under padding 1 and "same" alike; parameters know no resolution."""
    layers = cost.mobilenet_v2(width, resolution)
    size = resolution
    for layer in layers[:-1]:
        size = -(-size // layer.stride)
        assert layer.out_shape[:2] == (size, size)
    same = cost.mobilenet_v2(width, resolution, padding="same")
    assert [layer._replace(pads=None) for layer in same] == [layer._replace(pads=None) for layer in layers]
    assert _total(layers, "parameters") == _total(cost.mobilenet_v2(width), "parameters")


# -- bad input (numbers: test_validate.py)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: cost.convolution("dense", 5, 5, 2, 2), 'kind must be "standard", .* or "pointwise"; was'),
        (lambda: cost.convolution("depthwise", 5, 5, 2, 4), "M must be C, 2, for a depthwise convolution; was 4"),
        (lambda: cost.convolution("standard", 5, 5, 2, 4, 7, padding=0), "kernel must fit the padded image"),
        (lambda: cost.convolution("standard", 5, 5, 2, 4, padding=-1), "padding must not be negative"),
        (lambda: cost.mobilenet_v2(strides="mnist"), "strides must be one of imagenet, cifar, digits"),
        (lambda: cost.convolution("pointwise", 8, 8, 2, 4, 1, 2), "stride must be 1 for a pointwise .*; was 2"),
        (lambda: cost.mobilenet_v2(strides=(1,) * 7), "strides must be one of imagenet, .* or 8 integers"),
    ],
)
def test_what_makes_no_layer_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
