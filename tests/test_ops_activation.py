"""ReLU and ReLU6: gradients away from the kinks, and what they are defined to be at the kinks."""

import numpy as np
import pytest

from npmnv2 import gradcheck, ops

ACTIVATIONS = {"relu": (ops.relu_forward, ops.relu_backward), "relu6": (ops.relu6_forward, ops.relu6_backward)}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (7,), (3, 4)])
@pytest.mark.parametrize("method", ["differences", "complex"])
def test_gradients_away_from_the_kinks(name, shape, method):
    x = gradcheck.away_from_kinks(np.random.default_rng(1).normal(3, 5, shape))
    assert (x < 0).any() and ((x > 0) & (x < 6)).any() and (x > 6).any()
    tolerance = {"differences": 1e-11, "complex": 1e-15}[method]  # linear between the kinks
    gradcheck.check(*ACTIVATIONS[name], x, method=method, tolerance=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_at_the_kinks_and_one_ulp_beside(dtype):
    x = np.array([-0.0, 0.0, 6.0], dtype)
    above, below = np.nextafter(x, dtype(10)), np.nextafter(x, dtype(-10))
    dout = np.array([2.0, 3.0, 5.0], dtype)
    expected = {  # below, at, above each of 0, 0, 6
        "relu": ([0, 0, 5], [0, 0, 5], [2, 3, 5]),
        "relu6": ([0, 0, 5], [0, 0, 0], [2, 3, 0]),
    }
    for name, (forward, backward) in ACTIVATIONS.items():
        for values, dx in zip((below, x, above), expected[name], strict=True):
            assert backward(dout, forward(values)[1]).tolist() == dx, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(dtype):
    x = np.array([-np.inf, -1, -0.0, 0, 0.5, 6, 7, np.inf, np.nan], dtype)
    relu, relu6 = ops.relu_forward(x)[0], ops.relu6_forward(x)[0]
    np.testing.assert_array_equal(relu, np.array([0, 0, 0, 0, 0.5, 6, 7, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(relu6, np.array([0, 0, 0, 0, 0.5, 6, 6, 6, np.nan], dtype))
    assert relu.dtype == relu6.dtype == dtype
