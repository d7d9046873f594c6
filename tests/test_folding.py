"""Whole networks with their batch norms folded: the model's logits, to rounding."""

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2 import backend
from npmnv2.engine.folding import folded
from npmnv2.gradcheck import relative_error
from npmnv2.nn.layers import Linear

MODELS = {
    "V2 0.35": (npmnv2.mobilenet_v2, {"width_mult": 0.35}),
    "V2 0.5, Keras": (npmnv2.mobilenet_v2, {"width_mult": 0.5, "padding": "same", "eps": 1e-3}),
    "V2": (npmnv2.mobilenet_v2, {}),
    "V2 1.4": (npmnv2.mobilenet_v2, {"width_mult": 1.4}),
    "V1 0.25": (npmnv2.mobilenet_v1, {"width_mult": 0.25, "padding": "same"}),
    "V1": (npmnv2.mobilenet_v1, {}),
    "twin 0.25": (npmnv2.mobilenet_v1_conv, {"width_mult": 0.25}),
}
# The logits of a network 14 to 52 convolutions deep, each of which rounds. In float64 they come out as near as a single
# layer's output, because the average over the image cancels much of it (before it, 2e-14 was seen). In float32 the
# model is up to about 1e-6 from the exact logits, and so is the folded network, each to its own side.
FLOAT64 = 1e-14
FLOAT32 = 2e-6


def images(*shape, dtype=np.float32):
    return np.random.default_rng(list(shape)).normal(size=shape).astype(dtype)


def build(name, dtype, seed=0):
    make, options = MODELS[name]
    return randomise(make(num_classes=20, dtype=dtype, **options), seed).eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("implementation", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_float64(name, implementation):
    model = build(name, np.float64)
    net = folded(model)
    x = images(2, 49, 64, 3, dtype=np.float64)
    with backend(implementation):
        assert relative_error(model(x), net(x)) < FLOAT64


@pytest.mark.parametrize("eps", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("make", [npmnv2.mobilenet_v2, npmnv2.mobilenet_v1])
def test_every_batch_norm_is_folded_with_its_own_epsilon(make, eps):
    """Not seen in the logits: a small one is hardly there beside a variance of 1, and beside a small one all clips."""
    model = randomise(make(3, 0.1, eps=eps, dtype=np.float64))
    layers = dict(model.named_layers())
    for name, part in model.state().items():
        part.value *= max(eps, 1e-12) if name.endswith(".var") else 1
    for block in folded(model).blocks:
        for conv in block.convs:
            w, bn = layers[conv.name].conv.w.value, layers[conv.name].bn
            scale = bn.gamma.value / np.sqrt(bn.var.value + eps)
            np.testing.assert_allclose(conv.w, w * scale, rtol=1e-14)
            np.testing.assert_allclose(conv.bias, bn.beta.value - bn.mean.value * scale, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("implementation", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_float32(name, implementation):
    model, exact = build(name, np.float32), build(name, np.float64)
    exact.load_state_dict(model.state_dict())
    x = images(2, 49, 64, 3)
    with backend(implementation):
        ours, theirs, right = folded(model)(x), model(x), exact(x.astype(np.float64))
    assert relative_error(ours, theirs) < FLOAT32
    assert relative_error(ours, right) < FLOAT32 and relative_error(theirs, right) < FLOAT32
    assert ours.dtype == np.float32


@pytest.mark.parametrize("make", [npmnv2.mobilenet_v1, npmnv2.mobilenet_v1_conv, npmnv2.mobilenet_v2])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, FLOAT32), (np.float64, FLOAT64)])
def test_every_layer(make, dtype, tolerance):
    """Each convolution on the model's own input of it, so that what earlier layers rounded is not counted.

    (2e-6 in float32, where test_fold.py asks for 1e-6: ReLU6 has cut off the large values, not their rounding.)
    """
    model = randomise(make(10, 0.35, strides="digits", in_channels=1, dtype=dtype)).eval()
    net = folded(model)
    x = images(3, 9, 8, 1, dtype=dtype)
    right = model.activations(x, [block.name for block in net.blocks] + [c.name for b in net.blocks for c in b.convs])
    for block in net.blocks:
        out = x
        for conv in block.convs:
            assert relative_error(conv(out), right[conv.name]) < tolerance, conv.name
            out = right[conv.name]
        assert relative_error(block(x), right[block.name]) < 3 * tolerance, block.name  # at most three layers
        x = right[block.name]


def test_the_list_is_the_network():
    net = folded(npmnv2.mobilenet_v2(10, 0.35))
    assert [block.name for block in net.blocks[:3]] == ["stem", "b0.0", "b1.0"] and net.blocks[-1].name == "head"
    assert (len(net.blocks), sum(len(block.convs) for block in net.blocks)) == (19, 52)
    assert sum(block.residual for block in net.blocks) == 10
    stem, first, second = (block.convs for block in net.blocks[:3])
    assert [(c.kind, c.stride, c.padding, c.relu6) for c in stem] == [("standard", 2, 1, True)]
    assert [c.name for c in first] == ["b0.0.dw", "b0.0.project"]
    assert [(c.kind, c.stride, c.padding, c.relu6) for c in second] == [
        ("pointwise", 1, 0, True),
        ("depthwise", 2, 1, True),
        ("pointwise", 1, 0, False),
    ]
    assert [len(folded(make(10, 0.25)).blocks) for make in (npmnv2.mobilenet_v1, npmnv2.mobilenet_v1_conv)] == [14, 14]


def test_it_is_a_copy_and_the_model_is_left_alone():
    model = randomise(npmnv2.mobilenet_v2(5, 0.35, strides="digits", in_channels=1)).train()
    before = model.state_dict()
    net = folded(model)
    x = images(2, 8, 8, 1)
    first = net(x)
    assert model.training and all((before[name] == value).all() for name, value in model.state_dict().items())
    assert relative_error(first, model.eval()(x)) < FLOAT32  # dropout is out, the running statistics are in
    randomise(model, seed=1)
    assert (net(x) == first).all() and relative_error(model(x), first) > 0.1
    with pytest.raises(RuntimeError, match="backward needs a forward"):  # no cache of the model was touched
        npmnv2.mobilenet_v2(5, 0.35).backward(first)


def test_the_image_is_not_written_to():
    net = folded(randomise(npmnv2.mobilenet_v1(5, 0.25)))
    x = images(1, 17, 16, 3)
    x.flags.writeable = False
    net(x)


@pytest.mark.parametrize("shape", [(0, 8, 8, 1), (1, 1, 1, 1), (1, 2, 9, 1)])
def test_small_images(shape):
    model = randomise(npmnv2.mobilenet_v2(5, 0.35, strides="digits", in_channels=1)).eval()
    assert relative_error(model(images(*shape)), folded(model)(images(*shape))) < FLOAT32


def test_bad_input():
    net = folded(npmnv2.mobilenet_v2(5, 0.35))
    with pytest.raises(TypeError, match="x must be a NumPy array; was list"):
        net([1.0])
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, 3\); was \(1, 3, 8, 8\)"):
        net(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(TypeError, match="x must have the network's dtype, float32; was float64"):
        net(np.zeros((1, 8, 8, 3)))
    with pytest.raises(TypeError, match=r"model must be a network, as mobilenet_v2\(\) makes it; was Linear"):
        folded(Linear(3, 2, rng=np.random.default_rng(0)))
