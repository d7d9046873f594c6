"""One whole block: every element of every gradient by differences, without crossing a kink; what is added to what."""

import numpy as np
import pytest
from cases import masks, randomise

import npmnv2
from npmnv2.nn.blocks import ConvBN, ConvBNReLU6, InvertedResidual
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, DepthwiseConv2d, PointwiseConv2d

STEP = 1e-6


def differences(layer, x, parts, dout):
    """The gradient for every array of `parts` (changed in place) by differences, provided no ReLU6 switches."""
    layer(x)
    clipped = [mask.copy() for mask in masks(layer)]
    gradients = []
    for part in parts:
        gradient = np.empty_like(part)
        for k in np.ndindex(part.shape):
            original, sides = part[k], []
            for side in (STEP, -STEP):
                part[k] = original + side
                sides.append(layer(x))
                switched = sum(int((a != b).sum()) for a, b in zip(masks(layer), clipped, strict=True))
                assert switched == 0, "a kink was crossed: choose another seed"
            part[k] = original
            gradient[k] = np.sum((sides[0] - sides[1]) * dout) / (2 * STEP)
        gradients.append(gradient)
    return gradients


def check_block(block, x, tolerance=1e-7):
    """Every gradient of a block against differences; returns the largest error."""
    out = block(x)
    dout = np.random.default_rng(2).normal(size=out.shape)
    dx = block.backward(dout)
    named = block.named_parameters()
    parts = [x, *(p.value for p in named.values())]
    right = differences(block, x, parts, dout)
    found = [dx, *(p.grad for p in named.values())]
    floor = 1e-2 * max(np.abs(gradient).max() for gradient in found)  # a gradient of nearly 0 is as exact as the others
    errors = {}
    for name, a, b in zip(("x", *named), found, right, strict=True):
        errors[name] = float(np.abs(a - b).max() / max(np.abs(b).max(), floor))
    assert max(errors.values()) < tolerance, errors
    return max(errors.values())


BLOCKS = [
    (stride, t, size, padding)
    for stride in (1, 2)
    for t in (1, 6)
    for size in ((4, 6), (5, 3))
    for padding in (1, "same", ((0, 1), (2, 1)))
]


@pytest.mark.parametrize("stride, t, size, padding", BLOCKS, ids=lambda v: str(v).replace(" ", ""))
def test_inverted_residual_by_differences(stride, t, size, padding):
    """C = M at stride 1 with padding that keeps the size: then x is added, and its gradient is a sum of two."""
    keeps = padding in (1, "same")
    out_channels = 2 if keeps else 3
    rng = np.random.default_rng(0)
    options = {"stride": stride, "t": t, "padding": padding, "rng": rng, "dtype": np.float64, "eps": 1e-3}
    block = randomise(InvertedResidual(2, out_channels, **options))
    assert block.residual == (stride == 1 and keeps)
    x = np.random.default_rng(1).normal(size=(2, *size, 2))
    with npmnv2.backend("numpy"):
        check_block(block, x)


@pytest.mark.parametrize("stride, t", [(1, 6), (2, 6), (1, 1)])
def test_inverted_residual_in_eval(stride, t):
    """Batch norm as constants."""
    rng = np.random.default_rng(0)
    block = randomise(InvertedResidual(2, 2, stride=stride, t=t, rng=rng, dtype=np.float64)).eval()
    with npmnv2.backend("numpy"):
        check_block(block, np.random.default_rng(1).normal(size=(1, 3, 4, 2)))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("stride, t, size, padding", BLOCKS, ids=lambda v: str(v).replace(" ", ""))
def test_backends_agree(stride, t, size, padding, training, loops):
    x = np.random.default_rng(1).normal(size=(2, *size, 2))
    results = []
    for backend in ("numpy", "numba"):
        options = {"stride": stride, "t": t, "padding": padding, "rng": np.random.default_rng(0), "dtype": np.float64}
        block = randomise(InvertedResidual(2, 3, **options)).train(training)
        with npmnv2.backend(backend):
            out = block(x)
            dx = block.backward(np.random.default_rng(2).normal(size=out.shape))
        results.append([out, dx, *(p.grad for p in block.parameters()), *block.state_dict().values()])
    for a, b in zip(*results, strict=True):
        assert np.abs(a - b).max() < 1e-12 * max(np.abs(a).max(), 1)


def test_conv_bn_pairs_by_differences():
    for make in (ConvBN, ConvBNReLU6):
        conv = DepthwiseConv2d(3, 3, stride=2, padding="same", rng=np.random.default_rng(0), dtype=np.float64)
        block = randomise(make(conv, 3, dtype=np.float64, eps=1e-3))
        with npmnv2.backend("numpy"):
            check_block(block, np.random.default_rng(1).normal(size=(2, 4, 5, 3)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride, M, adds", [(1, 4, True), (1, 6, False), (2, 4, False), (2, 6, False)])
@pytest.mark.parametrize("t", [1, 6])
def test_the_shortcut_adds_x_when_it_fits(stride, M, adds, t, training):
    rng = np.random.default_rng(0)
    block = randomise(InvertedResidual(4, M, stride=stride, t=t, rng=rng, dtype=np.float64)).train(training)
    x = np.random.default_rng(1).normal(size=(2, 5, 6, 4))
    with npmnv2.backend("numpy"):  # layer by layer: the kernels that train a block have no layers inside
        seen = block.activations(x, ["project"])["project"]
        out = block(x)
        assert block.residual is adds
        np.testing.assert_array_equal(out, x + seen if adds else seen)
        dout = np.random.default_rng(2).normal(size=out.shape)
        dx = block.backward(dout)
        block(x)
        through = dout
        for layer in reversed(block.children().values()):
            through = layer.backward(through)
        np.testing.assert_array_equal(dx, dout + through if adds else through)


@pytest.mark.parametrize("padding, size", [(0, (3, 3)), (0, (5, 5)), (2, (1, 1)), (((1, 1), (0, 0)), (4, 3))])
def test_the_shortcut_is_not_broadcast(padding, size, either):
    """A 3x3 image without padding leaves 1x1, which NumPy would add to every pixel of x."""
    options = {"padding": padding, "rng": np.random.default_rng(0), "dtype": np.float64}
    block = InvertedResidual(4, 4, stride=1, t=1, **options)
    with pytest.raises(ValueError, match=r"^padding must keep the image's size, to add x; x was \(2, "):
        block(np.ones((2, *size, 4)))
    assert InvertedResidual(4, 6, stride=1, t=1, **options)(np.ones((2, *size, 4))).shape[3] == 6  # nothing to add


def test_a_dead_branch_leaves_the_identity(either):
    """gamma = beta = 0 at the end of the branch: out is x, dx is dout, to the bit."""
    block = randomise(InvertedResidual(4, 4, stride=1, t=6, rng=np.random.default_rng(0), dtype=np.float64))
    block.project.bn.gamma.value[...] = block.project.bn.beta.value[...] = 0
    x, dout = np.random.default_rng(1).normal(size=(2, 2, 5, 6, 4))
    np.testing.assert_array_equal(block(x), x)
    np.testing.assert_array_equal(block.backward(dout), dout)


def test_what_a_block_is_made_of():
    rng = np.random.default_rng(0)
    block = InvertedResidual(4, 6, stride=2, t=3, rng=rng, eps=0.5, momentum=0.25, running_var="biased")
    assert list(block.children()) == ["expand", "dw", "project"]
    assert [layer.conv.w.value.shape for layer in block.children().values()] == [(4, 12), (3, 3, 12), (12, 6)]
    assert [type(layer.bn) for layer in block.children().values()] == [BatchNormReLU6, BatchNormReLU6, BatchNorm]
    assert block.dw.conv.stride == 2 and block.dw.conv.padding == 1
    for layer in block.children().values():
        assert (layer.bn.eps, layer.bn.momentum, layer.bn.running_var) == (0.5, 0.25, "biased")
    thin = InvertedResidual(4, 6, stride=2, t=1, rng=rng)  # table 2's first row: nothing to expand
    assert list(thin.children()) == ["dw", "project"] and thin.dw.conv.w.value.shape == (3, 3, 4)


def test_the_bottleneck_is_linear(either):
    """No ReLU6 after the projection: a block gives values below 0 and above 6."""
    block = randomise(InvertedResidual(4, 8, stride=1, t=6, rng=np.random.default_rng(0), dtype=np.float64))
    block.project.bn.gamma.value[...] = 9
    out = block(np.random.default_rng(1).normal(size=(2, 5, 6, 4)))
    assert out.min() < 0 and out.max() > 6
    assert block.activations(np.ones((2, 5, 6, 4)), ["dw"])["dw"].min() >= 0


@pytest.mark.parametrize("make", [ConvBN, ConvBNReLU6])
def test_conv_bn_is_the_convolution_then_the_norm(make, either):
    conv = PointwiseConv2d(3, 4, rng=np.random.default_rng(0), dtype=np.float64)
    block = randomise(make(conv, 4, dtype=np.float64))
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 3))
    inside = x @ conv.w.value
    xhat = (inside - inside.mean((0, 1, 2))) / np.sqrt(inside.var((0, 1, 2)) + 1e-5)
    y = xhat * block.bn.gamma.value + block.bn.beta.value
    np.testing.assert_allclose(block(x), np.clip(y, 0, 6) if make is ConvBNReLU6 else y, rtol=1e-10, atol=1e-12)
