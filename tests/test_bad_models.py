"""Bad input of layers, models and optimisers, refused by name."""

import numpy as np
import pytest
from test_bad_input import F

from npmnv2.models import mobilenet_v2
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.nn.layers import BatchNorm, Dropout, Linear
from npmnv2.nn.optim import SGD, RMSProp


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"num_classes": 0}, ValueError, "num_classes must be an integer of at least 1; was 0"),
        ({"num_classes": -5}, ValueError, "num_classes must be"),
        ({"num_classes": 10.0}, ValueError, "num_classes must be"),
        ({"num_classes": True}, ValueError, "num_classes must be"),
        ({"in_channels": 0}, ValueError, "in_channels must be an integer of at least 1"),
        ({"width_mult": 0}, ValueError, "width_mult must be more than 0"),
        ({"width_mult": -1.0}, ValueError, "width_mult must be"),
        ({"width_mult": float("nan")}, ValueError, "width_mult must be"),
        ({"width_mult": float("inf")}, ValueError, "width_mult must be"),
        ({"strides": "mnist"}, ValueError, "strides must be one of imagenet, cifar, digits .*'mnist'"),
        ({"strides": (1, 2)}, ValueError, "strides must be one of"),
        ({"strides": (1, 1, 1, 2, 1, 1, 2, 0)}, ValueError, "strides must be one of"),
        ({"strides": (1, 1, 1, 2.5, 1, 1, 2, 1)}, ValueError, "strides must be one of"),
        ({"strides": 2}, ValueError, "strides must be one of"),
        ({"strides": {1, 2, 3, 4, 5, 6, 7, 8}}, ValueError, "strides must be one of"),
        ({"padding": -1}, ValueError, 'padding must be 1 or "same", .*; was -1'),
        ({"padding": 0}, ValueError, 'padding must be 1 or "same"'),
        ({"padding": 2}, ValueError, 'padding must be 1 or "same"'),
        ({"padding": True}, ValueError, 'padding must be 1 or "same"'),
        ({"padding": "foo"}, ValueError, "padding must be 1 or \"same\", .*; was 'foo'"),
        ({"padding": ((1, 1), (0, 0))}, ValueError, 'padding must be 1 or "same"'),
        ({"dtype": None}, TypeError, "dtype must be float32 or float64; was None"),
        ({"dtype": "foo"}, TypeError, "dtype must be float32 or float64; was 'foo'"),
        ({"dtype": np.float16}, TypeError, "dtype must be float32 or float64; was float16"),
        ({"dtype": int}, TypeError, "dtype must be float32 or float64; was int64"),
        ({"dropout": 1.0}, ValueError, "dropout must be at least 0 and less than 1"),
        ({"dropout": -0.2}, ValueError, "dropout must be at least 0"),
        ({"running_var": "Biased"}, ValueError, 'running_var must be "unbiased" or "biased"; was \'Biased\''),
        ({"momentum": 1.5}, ValueError, "momentum must lie between 0 and 1"),
        ({"momentum": -0.1}, ValueError, "momentum must lie between 0 and 1"),
    ],
)
def test_no_such_network(options, error, match):
    with pytest.raises(error, match=match):
        mobilenet_v2(**{"num_classes": 3, "width_mult": 0.1, **options})


@pytest.mark.parametrize("width", [0, -0.5, float("nan"), 1e9])
def test_no_such_plan(width):
    with pytest.raises(ValueError, match="width_mult must be more than 0"):
        plan(width)


@pytest.mark.parametrize(
    "x, error, match",
    [
        (F(1, 8, 8, 1, dtype="f"), ValueError, r"x must have shape \(N, H, W, 3\); was \(1, 8, 8, 1\)"),
        (F(1, 3, 8, 8, dtype="f"), ValueError, r"x must have shape \(N, H, W, 3\)"),  # NCHW
        (F(8, 8, 3, dtype="f"), ValueError, r"x must have shape"),
        (F(1, 8, 8, 3), TypeError, "x must have the model's dtype, float32; was float64"),
        (np.zeros((1, 8, 8, 3), np.uint8), TypeError, "x must have the model's dtype, float32; was uint8"),
        ([[1.0]], TypeError, "x must be a NumPy array; was list"),
        (np.zeros((1, 0, 8, 3), "f"), ValueError, "x must not be empty along H"),
        (np.ma.zeros((1, 8, 8, 3), "f"), TypeError, "x must be a plain NumPy array"),
    ],
)
def test_no_such_image(x, error, match):
    with pytest.raises(error, match=match):
        mobilenet_v2(3, 0.1)(x)


def test_an_empty_batch_has_no_statistics():
    model = mobilenet_v2(3, 0.1, strides="digits")
    with pytest.raises(ValueError, match="x must hold at least one value a channel"):
        model(np.zeros((0, 8, 8, 3), np.float32))


def test_layers_refuse_at_once():
    with pytest.raises(ValueError, match="running_var must be"):
        BatchNorm(3, running_var="none")
    with pytest.raises(ValueError, match="rate must be at least 0"):
        Dropout(1.0, np.random.default_rng(0))
    layer = Linear(3, 2, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="w must have length 4 along axis 0"):
        layer(np.zeros((1, 4), np.float32))
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        layer.backward(np.zeros((1, 2), np.float32))
    with pytest.raises(RuntimeError, match="step needs the gradient"):
        SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(ValueError, match="form must be"):
        RMSProp(layer.parameters(), lr=0.1, form="Keras")
