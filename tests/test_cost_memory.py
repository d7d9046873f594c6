"""Memory: against tensors followed one by one, and against blocks that are really computed in parts."""

import numpy as np
import pytest
from cases import randomise
from hypothesis import given, settings
from hypothesis import strategies as st

from npmnv2 import cost, ops
from npmnv2.cost import memory
from npmnv2.nn.blocks import InvertedResidual

NETWORKS = pytest.mark.parametrize("name", cost.NETWORKS)


def _alive(layers, element_size=4):
    """Bytes alive while each layer runs, by following every tensor from its writer to its last reader.

    Operations: the layers, the pool, and each addition of a shortcut, in place: its result is the tensor it adds to.
    """
    tensor, sizes = "image", {"image": layers[0].inputs}  # tensors are called like their writers
    reads, inputs = [], {}
    for layer in layers:
        if layer.kind == "linear":
            reads.append(("pool", {tensor}))
            tensor = "pool"
            sizes[tensor] = layer.inputs
        inputs[layer.name] = tensor
        reads.append((layer.name, {tensor} | ({inputs[layer.shortcut]} if layer.shortcut else set())))
        tensor = layer.name
        sizes[tensor] = layer.outputs
    order = [name for name, _ in reads]
    last = {}
    for step, (_, tensors) in enumerate(reads):
        last.update(dict.fromkeys(tensors, step))
    bytes_alive = []
    for step, (name, tensors) in enumerate(reads):
        written = {"image", *order[:step]}
        held = {t for t in written if last[t] >= step} | {name}
        assert tensors <= held
        bytes_alive.append((name, element_size * sum(sizes[t] for t in held)))
    return bytes_alive


@NETWORKS
@pytest.mark.parametrize("width, resolution, element_size", [(1.0, 224, 4), (0.35, 97, 2)])
def test_layer_by_layer_as_if_tensors_were_followed(name, width, resolution, element_size):
    layers = cost.NETWORKS[name](width, resolution, 10)
    steps = memory.schedule(layers, element_size)
    assert [(step.name, step.bytes) for step in steps] == _alive(layers, element_size)


def test_a_shortcut_is_held_and_let_go():
    steps = {step.name: step for step in memory.schedule(cost.mobilenet_v2())}
    bytes_of_x = 4 * 56 * 56 * 24
    held = {name: step.shortcut for name, step in steps.items() if name.startswith(("b1", "b2.0"))}
    assert held == {"b1.0.expand": 0, "b1.0.dw": 0, "b1.0.project": 0, "b1.1.expand": 0, "b1.1.dw": bytes_of_x,
                    "b1.1.project": bytes_of_x, "b2.0.expand": 0, "b2.0.dw": 0, "b2.0.project": 0}  # fmt: skip
    assert sum(step.shortcut > 0 for step in steps.values()) == 2 * 10  # 10 of 17 blocks have one
    assert steps["pool"].input == 4 * 7 * 7 * 1280 and steps["pool"].output == 4 * 1280


@pytest.mark.parametrize("C, M, stride, t", [(4, 4, 1, 6), (3, 5, 2, 6), (4, 6, 1, 1), (5, 5, 1, 3)])
@pytest.mark.parametrize("splits", [1, 2, 3, 4, 5])
def test_a_block_really_computed_in_parts(C, M, stride, t, splits):
    """Expanded, filtered, projected and added up part by part: the same numbers, in no more memory than it says."""
    H, wide = 9, t * C
    if splits > wide:
        splits = wide
    block = randomise(InvertedResidual(C, M, stride=stride, t=t, rng=np.random.default_rng(0), dtype=np.float64))
    block.eval()
    x = np.random.default_rng(1).normal(size=(1, H, H, C))
    layers = [] if t == 1 else [cost.convolution("pointwise", H, H, C, wide, name="b.expand")]
    layers.append(cost.convolution("depthwise", H, H, wide, wide, 3, stride, name="b.dw"))
    layers.append(cost.convolution("pointwise", *layers[-1].out_shape[:2], wide, M, name="b.project", relu6=False))

    bn = block.project.bn
    scale = bn.gamma.value / np.sqrt(bn.var.value + bn.eps)  # batch norm as a scale and a shift, so that parts add up
    y = np.zeros((1, *layers[-1].out_shape))
    y += bn.beta.value - bn.mean.value * scale
    largest = 0
    for c in np.array_split(np.arange(wide), -(-wide // -(-wide // splits))):
        e = x[..., c] if t == 1 else _normed(x @ block.expand.conv.w.value[:, c], block.expand.bn, c)
        d = ops.depthwise_conv2d_forward(e, block.dw.conv.w.value[..., c], stride, 1)[0]
        d = _normed(d, block.dw.bn, c)
        y += d @ (block.project.conv.w.value[c] * scale)
        largest = max(largest, (0 if t == 1 else e.nbytes) + d.nbytes)
    if block.residual:
        y += x
    np.testing.assert_allclose(y, block(x), rtol=0, atol=1e-12)
    step = memory.inverted_residual(layers, splits, element_size=8)
    assert step.bytes == x.nbytes + y.nbytes + largest and step.name == "b"


def _normed(x, bn, channels):
    p = (bn.gamma.value, bn.beta.value, bn.mean.value, bn.var.value)
    return np.clip(ops.batchnorm_inference(x, *(v[channels] for v in p), bn.eps), 0, 6)


@settings(max_examples=40, deadline=None)
@given(splits=st.integers(1, 40), width=st.sampled_from([0.35, 1.0, 1.4]), element_size=st.sampled_from([1, 2, 4]))
def test_more_parts_never_need_more(splits, width, element_size):
    layers = cost.mobilenet_v2(width)
    few = memory.split_schedule(layers, splits, element_size)
    more = memory.split_schedule(layers, splits + 1, element_size)
    assert all(a.bytes >= b.bytes for a, b in zip(few, more, strict=True))
    assert [step.name for step in few][:3] == ["stem", "b0.0", "b1.0"] and len(few) == 1 + 17 + 3
    assert all(step.bytes == element_size * (step.bytes // element_size) for step in few)


def test_with_parts_of_one_channel_the_papers_bound():
    """s*s*k + s'*s'*k' + O(max(s*s, s'*s')): two images of one channel, as e and d are alive at once."""
    layers = cost.mobilenet_v2()
    blocks = {step.name: step for step in memory.split_schedule(layers, 10**6, element_size=1)}
    for name, step in blocks.items():
        parts = [layer for layer in layers if layer.name.startswith(f"{name}.")]
        if parts:
            pixels = [layer.out_shape[0] ** 2 for layer in parts[:-1]]
            assert step.bytes == parts[0].inputs + parts[-1].outputs + sum(pixels)
            assert sum(pixels) <= 2 * max(pixels)


def test_the_block_of_v1_in_parts():
    layers = cost.mobilenet_v1()
    whole, halves = (memory.split_schedule(layers, splits, 2) for splits in (1, 2))
    assert [step.name for step in whole] == ["stem", *(f"b{k}" for k in range(1, 14)), "pool", "fc"]
    for one, two in zip(whole[1:14], halves[1:14], strict=True):
        assert one.inside == 2 * two.inside > 0 and one.input == two.input


def test_peak():
    steps = [memory.Step("a", 1, 2, 0, 0), memory.Step("b", 2, 3, 1, 4), memory.Step("c", 10, 0, 0, 0)]
    assert memory.peak(steps).name == "b" and [step.bytes for step in steps] == [3, 10, 10]


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda layers: memory.schedule(layers, 0), ValueError, "element_size must be at least 1; was 0"),
        (lambda layers: memory.schedule(layers, 2.0), TypeError, "element_size must be an integer; was 2.0"),
        (lambda layers: memory.split_schedule(layers, 0), ValueError, "splits must be at least 1; was 0"),
        (lambda layers: memory.inverted_residual(layers[1:3], 33), ValueError, "splits must be at most 32, .*; was 33"),
        (lambda layers: memory.inverted_residual([]), ValueError, "block must be .* pointwise, .*; was empty"),
        (lambda layers: memory.inverted_residual(layers[:2]), ValueError, "block must be .*; was standard, depthwise"),
        (lambda layers: memory.inverted_residual(layers[-2:]), ValueError, "block must be .*; was pointwise, linear"),
        (lambda layers: memory.peak([]), ValueError, "steps must not be empty"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call(cost.mobilenet_v2())
