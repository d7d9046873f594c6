"""Named conventions: every figure that a tool prints for one network, to the unit, and what its factors weigh."""

import numpy as np
import pytest
from cases import table
from hypothesis import given, settings
from hypothesis import strategies as st

from npmnv2 import cost
from npmnv2.cost import counting
from npmnv2.models import mobilenet_v1, mobilenet_v1_conv, mobilenet_v2
from npmnv2.nn.layers import BatchNorm, BatchNormReLU6, GlobalAvgPool, Linear

FIGURES = table("flop_counters_same_net.csv")
EXACT = 300_774_272
TOOLS = {
    "convolutions and linear layers only": "paper",
    "paper / README": "readme",
    "torchvision weights meta _ops": "torchvision",
    "ptflops 0.7.5 backend=aten": "ptflops-aten",
    "torchinfo 1.8.0": "torchinfo",
    "fvcore 0.1.5": "fvcore",
    "ptflops 0.7.5 backend=pytorch": "ptflops",
    "thop 0.1.1": "thop",
    "torch FlopCounterMode 2.15": "flopcounter",
    "calflops 0.3.2 FLOPs": "calflops",
    "calflops 0.3.2 MACs": "calflops-macs",
}


def test_every_tool_has_a_convention():
    assert [row["tool"] for row in FIGURES] == list(TOOLS)
    assert set(TOOLS.values()) < set(counting.CONVENTIONS)
    assert len({int(float(row["mobilenet_v2_1.0_224"])) for row in FIGURES}) == 10  # two agree with the exact figure


@pytest.mark.parametrize("row", FIGURES, ids=[row["tool"] for row in FIGURES])
def test_every_figure_to_the_unit(row):
    counted = counting.count(cost.mobilenet_v2(), TOOLS[row["tool"]])
    assert counted == int(float(row["mobilenet_v2_1.0_224"]))
    if row["delta_vs_300774272"]:
        assert counted - EXACT == int(row["delta_vs_300774272"])


def test_the_readme_counts_1001_classes_and_cuts_off():
    layers = cost.mobilenet_v2(num_classes=1001)
    assert counting.count(layers) == 300_775_552 and counting.count(layers, "readme") == 300_000_000
    assert counting.count(layers, "torchvision") == 301_000_000  # the same, rounded


@pytest.mark.parametrize("build", [mobilenet_v1, mobilenet_v1_conv, mobilenet_v2], ids=lambda build: build.__name__)
def test_the_quantities_are_those_of_the_model(build):
    """Elements that batch norm, ReLU6 and the pool touch, and the numbers added as bias, seen in a forward pass."""
    resolution, classes, width = 37, 7, 0.25
    layers = getattr(cost, build.__name__)(width, resolution, classes)
    model = build(classes, width).eval()
    named = dict(model.named_layers())
    norms = [name for name, layer in named.items() if isinstance(layer, BatchNorm)]
    (pool,) = (name for name, layer in named.items() if isinstance(layer, GlobalAvgPool))
    before_pool = list(model.layers)[list(model.layers).index(pool) - 1]
    x = np.zeros((1, resolution, resolution, 3), np.float32)
    seen = model.activations(x, [*norms, before_pool])
    counted = counting.quantities(layers)
    assert counted.batchnorm == sum(seen[name].size for name in norms)
    assert counted.relu6 == sum(seen[name].size for name in norms if isinstance(named[name], BatchNormReLU6))
    assert counted.pool == seen[before_pool].size
    assert counted.bias == sum(layer.b.value.size for layer in named.values() if isinstance(layer, Linear)) == classes
    roles = [p.value.size for p in model.parameters() if p.role in ("gamma", "beta")]
    assert counted.batchnorm_parameter == sum(roles)
    assert counted.madd == sum(layer.madds for layer in layers)


@settings(max_examples=50, deadline=None)
@given(factors=st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_a_convention_is_its_factors(factors):
    mine = counting.Convention("mine", "", *factors)
    layers = cost.mobilenet_v2(0.35, 64, 10)
    quantities = counting.quantities(layers)
    assert quantities._fields == counting.Convention._fields[2:8]
    assert counting.count(layers, mine) == sum(f * q for f, q in zip(factors, quantities, strict=True))
    each = counting.count_each(layers, mine)
    assert sum(number for _, number in each) == counting.count(layers, mine)
    assert [name for name, _ in each] == [*(layer.name for layer in layers[:-1]), "pool", "fc"]


@pytest.mark.parametrize(
    "exact, unit, rounded, printed",
    [(1_499, 1000, False, 1000), (1_499, 1000, True, 1000), (1_500, 1000, True, 2000), (1_999, 1000, False, 1000)],
)
def test_units(exact, unit, rounded, printed):
    layer = cost.linear(exact, 1, bias=False)
    assert counting.count([layer], counting.Convention("", "", unit=unit, rounded=rounded)) == printed


def test_a_layer_alone_and_no_layer():
    head = cost.convolution("pointwise", 7, 7, 320, 1280)
    assert counting.count([head], "fvcore") == head.madds + 2 * 7 * 7 * 1280  # no linear layer behind it, so no pool
    assert counting.count([cost.linear(5, 3)], "ptflops") == 15 + 3
    biased = cost.convolution("standard", 5, 7, 2, 3, batchnorm=False, bias=True)
    assert counting.count([biased], "with-bias") == biased.madds + 5 * 7 * 3  # at every pixel
    assert (biased.bias, biased.parameters, biased.weight_bytes) == (3, 9 * 2 * 3 + 3, 4 * (9 * 2 * 3 + 3))
    assert counting.count([]) == 0 and counting.count_each([]) == []


def test_names_say_what_they_are():
    for name, convention in counting.CONVENTIONS.items():
        assert convention.name == name and 10 < len(convention.why) <= 70 and counting.find(name) is convention
    with pytest.raises(ValueError, match=r"convention must be one of paper, .*; was 'thpo', did you mean 'thop'\?"):
        counting.count(cost.mobilenet_v2(), "thpo")
    with pytest.raises(ValueError, match="was 7"):
        counting.find(7)
