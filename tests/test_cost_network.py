"""Whole networks: V1 and its twin against their published table, sums, the backward pass, what an output sees."""

import numpy as np
import pytest
from cases import table

from npmnv2 import cost, ops
from npmnv2.models import efficientnet_lite, mobilenet_v1, mobilenet_v1_conv, mobilenet_v2

LAYERS = table("v1_table1_architecture.csv")
KINDS = {"conv": "standard", "dw": "depthwise", "pw": "pointwise", "fc": "linear"}
BUILDERS = {
    "efficientnet_lite": efficientnet_lite,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v1_conv": mobilenet_v1_conv,
    "mobilenet_v2": mobilenet_v2,
}


# -- V1 and its twin, layer by layer


PAIRS = list(zip(LAYERS, cost.mobilenet_v1(), strict=True))


@pytest.mark.parametrize("row, layer", PAIRS, ids=[row["layer"] for row in LAYERS])
def test_every_layer_of_v1(row, layer):
    hin, hout, cin, cout = (int(row[key]) for key in ("hin", "hout", "cin", "cout"))
    assert layer.kind == KINDS[row["kind"]]
    assert layer.in_shape == (hin, hin, cin) and layer.out_shape == (hout, hout, cout)
    assert (layer.stride, layer.kernel) == (int(row["stride"]), int(row["k"]))
    assert (layer.madds, layer.weights) == (int(row["macs"]), int(row["weights"]))
    assert (layer.batchnorm, layer.bias) == ((0, cout) if layer.kind == "linear" else (cout, 0))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v1_conv"])
@pytest.mark.parametrize(
    "resolution, options",
    [(33, {}), (31, {"padding": "same"}), (19, {"strides": "cifar", "in_channels": 1}), (8, {"strides": "digits"})],
)
def test_the_model_has_these_shapes_and_parameters(name, resolution, options):
    layers = cost.NETWORKS[name](0.25, resolution, 7, **options)
    model = BUILDERS[name](7, 0.25, **options).eval()
    x = np.zeros((1, resolution, resolution, options.get("in_channels", 3)), np.float32)
    seen, state = model.activations(x, [layer.name for layer in layers]), model.state_dict()
    for layer in layers:
        shape = seen[layer.name].shape[1:]
        assert layer.out_shape == (shape if len(shape) == 3 else (1, 1, *shape)), layer.name
        own = {key: value.size for key, value in state.items() if key.startswith(layer.name + ".")}
        assert layer.variables == sum(own.values()), layer.name
        assert layer.weights == sum(size for key, size in own.items() if key.endswith(".w")), layer.name
    assert cost.total(layers).parameters == sum(p.value.size for p in model.parameters())
    assert cost.total(layers).variables == sum(v.size for v in state.values())


def test_the_names_of_networks_are_those_of_the_models():
    assert set(cost.NETWORKS) == set(BUILDERS) and all(f.__name__ == name for name, f in cost.NETWORKS.items())


# -- layers: groups, the separable pair, the backward pass


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_divide_the_work(groups):
    layer = cost.convolution("grouped", 5, 7, 6, 12, 3, 2, groups=groups)
    x, w = np.ones((1, 5, 7, 6)), np.ones((3, 3, 6 // groups, 12))
    out, _ = ops.grouped_conv2d_forward(x, w, groups, stride=2, padding=1)
    assert layer.weights == w.size and layer.out_shape == out.shape[1:]
    assert layer.madds == out.size * 9 * 6 // groups
    standard = cost.convolution("standard", 5, 7, 6, 12, 3, 2)
    assert groups * layer.madds == standard.madds and layer.groups == groups


def test_as_many_groups_as_channels_is_depthwise():
    grouped = cost.convolution("grouped", 9, 8, 6, 6, 3, 2, groups=6)
    assert grouped._replace(kind="depthwise") == cost.convolution("depthwise", 9, 8, 6, 6, 3, 2)
    assert cost.convolution("grouped", 9, 8, 6, 4)._replace(kind="standard") == cost.convolution("standard", 9, 8, 6, 4)


@pytest.mark.parametrize("C, M, kernel, stride", [(3, 8, 3, 1), (16, 8, 5, 2), (1, 1, 1, 1), (8, 512, 3, 2)])
def test_the_gain_is_the_quotient_whatever_the_image(C, M, kernel, stride):
    for H, W in ((9, 8), (14, 14)):
        pair = cost.total(cost.separable(H, W, C, M, kernel, stride, kernel // 2, name="b"))
        standard = cost.convolution("standard", H, W, C, M, kernel, stride, kernel // 2)
        gain = cost.separable_gain(M, kernel)
        assert standard.madds / pair.madds == pytest.approx(gain, rel=1e-15)
        assert standard.weights / pair.weights == pytest.approx(gain, rel=1e-15)


def test_a_separable_pair():
    dw, pw = cost.separable(9, 8, 3, 5, 3, 2, name="b")
    assert (dw.name, pw.name, dw.kind, pw.kind) == ("b.dw", "b.pw", "depthwise", "pointwise")
    assert dw.out_shape == (5, 4, 3) == pw.in_shape and pw.out_shape == (5, 4, 5)
    assert [layer.name for layer in cost.separable(9, 8, 3, 5)] == ["dw", "pw"]


@pytest.mark.parametrize("kind", cost.KINDS)
def test_bytes_are_those_of_the_arrays_that_forward_and_backward_touch(kind):
    """Once each, in float32: x, w, b and out; then x, w, dout, dx, dw, db."""
    rng = np.random.default_rng(0)
    C, M, options = 4, (4 if kind == "depthwise" else 6), {"stride": 2, "padding": 1}
    x = rng.normal(size=(1, 6, 9, C)).astype(np.float32)
    w_shape = {
        "standard": (3, 3, C, M),
        "grouped": (3, 3, C // 2, M),
        "depthwise": (3, 3, C),
        "pointwise": (C, M),
        "linear": (C, M),
    }[kind]
    w, b = rng.normal(size=w_shape).astype(np.float32), np.zeros(M, np.float32)
    if kind == "linear":
        layer, x = cost.linear(C, M), x[:, 0, 0]
        out, cache = ops.linear_forward(x, w, b)
        gradients = ops.linear_backward(out, cache)
    elif kind == "pointwise":
        layer, (out, cache) = cost.convolution(kind, 6, 9, C, M), ops.pointwise_conv2d_forward(x, w)
        gradients = ops.pointwise_conv2d_backward(out, cache)
    else:
        groups = {"groups": 2} if kind == "grouped" else {}
        layer = cost.convolution(kind, 6, 9, C, M, 3, 2, 1, **groups)
        name = {"standard": "conv2d"}.get(kind, f"{kind}_conv2d")
        out, cache = getattr(ops, f"{name}_forward")(x, w, **groups, **options)
        gradients = getattr(ops, f"{name}_backward")(out, cache)
    read = x.nbytes + w.nbytes + (b.nbytes if kind == "linear" else 0)
    assert layer.activation_bytes == x.nbytes + out.nbytes and layer.weight_bytes == read - x.nbytes
    assert layer.bytes == read + out.nbytes
    assert layer.backward_bytes == x.nbytes + w.nbytes + out.nbytes + sum(g.nbytes for g in gradients)
    assert layer.backward_madds == 2 * layer.madds
    assert layer.backward_intensity == 2 * layer.madds / layer.backward_bytes


# -- sums


@pytest.mark.parametrize("name", cost.NETWORKS)
def test_totals_are_sums(name):
    layers = cost.NETWORKS[name](0.5, 96, 10)
    total = cost.total(layers)
    for what in total._fields:
        assert getattr(total, what) == sum(getattr(layer, what) for layer in layers), what
    assert total.bytes == total.weight_bytes + total.activation_bytes
    assert total.intensity == total.madds / total.bytes
    assert total.backward_intensity == total.backward_madds / total.backward_bytes
    assert cost.total([]) == cost.Total(*[0] * 9)


# -- receptive fields


@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("name, last", [("mobilenet_v1", "b4"), ("mobilenet_v1_conv", "b4"), ("mobilenet_v2", "b2.1")])
def test_an_output_sees_its_field_and_nothing_else(name, last, padding):
    """The gradient of one output pixel, in a network whose weights are all positive, is zero outside its field only."""
    model = BUILDERS[name](3, 0.25, padding=padding, dtype=np.float64).eval()
    for p in model.parameters():
        if p.role in ("weight", "depthwise"):
            p.value[...] = 1e-3
    size, y, x = 128, 5, 9
    layers = cost.NETWORKS[name](0.25, size, 3, padding=padding)
    fields = {field.name.rpartition(".")[0] or field.name: field for field in cost.receptive_fields(layers)}
    names = list(model.layers)
    parts = [model.layers[part] for part in names[: names.index(last) + 1]]
    out = np.full((1, size, size, 3), 1.0)
    for part in parts:
        out = part(out)
    dout = np.zeros_like(out)
    dout[0, y, x] = 1
    for part in reversed(parts):
        dout = part.backward(dout)
    field = fields[last]
    for axis, at in ((1, y), (2, x)):
        seen = np.flatnonzero(dout.any(axis=tuple({0, 1, 2, 3} - {axis})))
        first = field.start[axis - 1] + at * field.stride
        assert seen[0] == max(first, 0) and seen[-1] == min(first + field.size, size) - 1
        assert len(seen) == seen[-1] - seen[0] + 1


def test_fields_of_the_published_networks():
    """315 and 491 pixels: [1] in `receptive_fields` has the first; 224 is less than either."""
    v1, twin, v2 = (
        cost.receptive_fields(f())[-1] for f in (cost.mobilenet_v1, cost.mobilenet_v1_conv, cost.mobilenet_v2)
    )
    assert (v1.size, v1.stride, twin.size, v2.size, v2.stride) == (315, 32, 315, 491, 32)
    assert v1.start == (-157, -157)
    first = cost.receptive_fields(cost.mobilenet_v2(padding="same"))[0]
    assert (first.name, first.size, first.stride, first.start) == ("stem", 3, 2, (0, 0))
    assert [field.name for field in cost.receptive_fields(cost.mobilenet_v1())][-1] == "b13.pw"  # no linear layer


# -- what makes no network


@pytest.mark.parametrize("name", cost.NETWORKS)
@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"width_mult": 0}, ValueError, "width_mult must be more than 0"),
        ({"resolution": 0}, ValueError, "resolution must be at least 1; was 0"),
        ({"resolution": 2.5}, TypeError, "resolution must be an integer; was 2.5"),
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1; was 0"),
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1; was 0"),
        ({"strides": "mnist"}, ValueError, "strides must be one of imagenet, cifar, digits"),
        ({"padding": 0}, ValueError, 'padding must be 1 or "same", which keep the size at stride 1; was 0'),
        ({"padding": 2}, ValueError, 'padding must be 1 or "same", which keep the size at stride 1; was 2'),
        ({"padding": ((2, 2), (1, 1))}, ValueError, r'padding must be 1 or "same", .*; was \(\(2, 2\), \(1, 1\)\)'),
    ],
)
def test_what_makes_no_network_is_refused(name, options, error, match):
    if name == "efficientnet_lite":  # which has one padding
        match = match.replace(
            '1 or "same", which keep the size at stride 1', '"same", which keeps the size at k = 3 and at k = 5'
        )
        match = match.replace('1 or "same", .*', '"same", .*')
    if name.startswith("mobilenet_v1"):  # which has three
        match = match.replace('1 or "same"', '1, "same" or "keras_v1"')
    with pytest.raises(error, match=match):
        cost.NETWORKS[name](**options)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: cost.convolution("grouped", 5, 5, 4, 6, groups=4), "groups must divide C, 4, and M, 6; was 4"),
        (lambda: cost.convolution("grouped", 5, 5, 3, 4, groups=2), "groups must divide C, 3, and M, 4; was 2"),
        (lambda: cost.convolution("grouped", 5, 5, 3, 4, groups=0), "groups must be at least 1; was 0"),
        (
            lambda: cost.convolution("standard", 5, 5, 4, 4, groups=2),
            "groups must be 1 for a standard convolution; was",
        ),
        (lambda: cost.separable(2, 2, 4, 4, 5, padding=0), "kernel must fit the padded image"),
        (lambda: cost.separable_gain(0), "M must be at least 1; was 0"),
        (lambda: cost.separable_gain(8, 0), "kernel must be at least 1; was 0"),
        (lambda: cost.linear(0, 3), "C must be at least 1; was 0"),
    ],
)
def test_what_makes_no_layer_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
