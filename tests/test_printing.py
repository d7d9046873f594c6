"""What a layer prints: a line if it is what its class says, else its parts too; a network is a tree. Nothing runs."""

import numpy as np
import pytest

import npmnv2
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.models.network import Network
from npmnv2.nn import Layer, Parameter
from npmnv2.nn.blocks import ConvBN, ConvBNReLU6, InvertedResidual, SeparableConv
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
)

RNG = np.random.default_rng(0)


class Scale(Layer):
    """A layer of somebody's own."""

    def __init__(self, channels):
        super().__init__()
        self.s = Parameter(np.ones((1, channels), np.float32), "gamma")

    def forward(self, x):
        return x * self.s.value


class Mine(InvertedResidual):
    pass


def block(in_channels=32, out_channels=64, **options):
    return InvertedResidual(in_channels, out_channels, **{"stride": 2, "t": 6, "rng": RNG, **options})


@pytest.mark.parametrize(
    "layer, line",
    [
        (Conv2d(3, 8, 5, stride=2, padding=2, rng=RNG), "Conv2d(3 -> 8, 5x5, stride 2, padding 2)"),
        (DepthwiseConv2d(8, 3, padding="same", rng=RNG), 'DepthwiseConv2d(8, 3x3, stride 1, padding "same")'),
        (PointwiseConv2d(8, 4, rng=RNG), "PointwiseConv2d(8 -> 4)"),
        (BatchNorm(4, eps=1e-3), "BatchNorm(4, eps 0.001)"),
        (BatchNormReLU6(4), "BatchNormReLU6(4, eps 1e-05)"),
        (ReLU6(), "ReLU6()"),
        (GlobalAvgPool(), "GlobalAvgPool()"),
        (Dropout(0.25, RNG), "Dropout(0.25)"),
        (Linear(4, 2, rng=RNG), "Linear(4 -> 2)"),
        (ConvBN(PointwiseConv2d(8, 4, rng=RNG), 4), "ConvBN(PointwiseConv2d(8 -> 4))"),
        (ConvBNReLU6(PointwiseConv2d(8, 4, rng=RNG), 4), "ConvBNReLU6(PointwiseConv2d(8 -> 4))"),
        (SeparableConv(8, 16, stride=2, rng=RNG), "SeparableConv(8 -> 16, stride 2)"),
        (block(), "InvertedResidual(32 -> 64, stride 2, t 6)"),
        (block(8, 8, stride=1, t=1), "InvertedResidual(8 -> 8, stride 1, t 1, shortcut)"),
        (block(8, 8, stride=1, shortcut=False), "InvertedResidual(8 -> 8, stride 1, t 6)"),
        (
            block(8, 4, stride=1, shortcut="expansion", padding="same", linear=False),
            'InvertedResidual(8 -> 4, stride 1, t 6, padding "same", shortcut between expansions, ReLU6 at the end)',
        ),
        (Scale(4), "Scale(s 1x4)"),
    ],
    ids=lambda value: value.split("(")[0] if isinstance(value, str) else "",
)
def test_a_layer_is_a_line(layer, line):
    assert repr(layer) == str(layer) == line


@pytest.mark.parametrize("width", [1.0, 0.35])
def test_a_network_is_a_tree(width):
    model = npmnv2.mobilenet_v2(10, width)
    header, *lines, last = repr(model).splitlines()
    assert header == f"MobileNetV2(num_classes=10, width_mult={width}, strides='imagenet', padding=1, eps=1e-05)"
    assert [line.split()[0] for line in lines] == list(model.layers) and len(lines) == 22
    assert len({line.index(repr(layer)) for line, layer in zip(lines, model.layers.values(), strict=True)}) == 1
    stem, blocks, head = plan(width)
    for line, b in zip(lines[1:18], blocks, strict=True):
        assert f"InvertedResidual({b.in_channels} -> {b.out_channels}, stride {b.stride}, t {b.t}" in line
        assert ("shortcut" in line) == model.layers[b.name].residual
    assert lines[-1].endswith(f"Linear({head} -> 10)")
    numbers = sum(p.value.size for p in model.parameters())
    assert last == f"{numbers:,} parameters, float32, in training mode"
    assert repr(model.eval()).endswith("in eval mode")
    assert max(map(len, [header, *lines])) <= 100


def test_mobilenet_v1_is_a_tree_too():
    lines = repr(npmnv2.mobilenet_v1(10, 0.25)).splitlines()
    assert len(lines) == 19 and lines[2] == "  b1       SeparableConv(8 -> 16, stride 1)"
    lines = repr(npmnv2.mobilenet_v1_conv(10, 0.25)).splitlines()
    assert len(lines) == 19
    assert lines[2] == "  b1       ConvBNReLU6(Conv2d(8 -> 16, 3x3, stride 1, padding 1))"


def test_a_replaced_part_is_seen():
    model = npmnv2.mobilenet_v2(10, 0.35)
    usual = repr(model).splitlines()
    model.layers["b1.0"].project = Scale(48)
    model.layers["fc"] = Sequential({"hidden": Linear(1280, 8, rng=RNG), "out": Linear(8, 10, rng=RNG)})
    lines = repr(model).splitlines()
    assert lines[:3] == usual[:3] and lines[7:-4] == usual[4:-2]  # all others are a line, as before
    assert lines[3:7] == [
        "  b1.0     InvertedResidual(...)",
        "    expand   ConvBNReLU6(PointwiseConv2d(8 -> 48))",
        "    dw       ConvBNReLU6(DepthwiseConv2d(48, 3x3, stride 2, padding 1))",
        "    project  Scale(s 1x48)",
    ]
    assert lines[-4:-1] == ["  fc       Sequential()", "    hidden  Linear(1280 -> 8)", "    out     Linear(8 -> 10)"]


def test_what_is_printed_is_what_is_there():
    """Not what the builder was told: the numbers are those of the arrays."""
    pruned = block(16, 16, stride=1)
    pruned.expand, pruned.dw = (
        ConvBNReLU6(PointwiseConv2d(16, 40, rng=RNG), 40),
        ConvBNReLU6(DepthwiseConv2d(40, 5, padding=2, rng=RNG), 40),
    )
    pruned.project = ConvBN(PointwiseConv2d(40, 16, rng=RNG), 16)
    assert repr(pruned) == "InvertedResidual(16 -> 16, stride 1, t 2.5, 5x5, padding 2, shortcut)"


def test_what_watches_or_replaces_a_method_is_seen():
    watched = block()
    watched.dw.bn.forward = lambda x: x
    assert repr(watched).splitlines()[2:5] == [
        "  dw       ConvBNReLU6(DepthwiseConv2d(192, 3x3, stride 2, padding 1))",
        "    conv  DepthwiseConv2d(192, 3x3, stride 2, padding 1)",
        "    bn    BatchNormReLU6(192, eps 1e-05)  # it has an attribute `forward` of its own",
    ]
    mine = Mine(8, 8, stride=1, t=6, rng=RNG)
    assert [line.split("(")[0] for line in repr(mine).splitlines()] == [
        "Mine", "  expand   ConvBNReLU6", "  dw       ConvBNReLU6", "  project  ConvBN",
    ]  # fmt: skip


def test_printing_runs_nothing_and_changes_nothing():
    model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    before = model.state_dict()
    assert repr(model)
    assert {layer._number for layer in (model, *dict(model.named_layers()).values())} == {0}  # of its last forward
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_printing_never_fails():
    model = npmnv2.mobilenet_v2(10, 0.1)
    model.layers["stem"].conv.w.value = np.zeros(3)  # a shape that no convolution has
    assert "ConvBNReLU6(Conv2d(...))" in repr(model)
    assert repr(object.__new__(Conv2d)).startswith("Conv2d(...)")  # as a debugger may meet it
    by_hand = Network({"act": ReLU6()}, {"in_channels": 3, "dtype": "float32"})
    assert repr(by_hand) == "Network()\n  act  ReLU6()\n0 parameters, float32, in training mode"


def test_a_network_inside_another_layer_is_a_tree_in_it():
    from npmnv2.train.fine_tuning import ClassifierOnly

    first, second, *_ = repr(ClassifierOnly(npmnv2.mobilenet_v2(10, 0.1))).splitlines()
    assert first == "ClassifierOnly()" and second.startswith("  model  MobileNetV2(num_classes=10")
