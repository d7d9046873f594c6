"""The comparison of `test_golden.py` live and wider: random shapes, published widths, odd sizes. Runs with -m oracle.

Needs PyTorch, and torchvision for the whole network. `golden/recipe.py` computes our side, `golden/make_golden.py`
theirs, both in float64.
"""

import numba
import numpy as np
import pytest
from golden import recipe

from npmnv2 import backend, ops

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def theirs(torch):
    from golden import make_golden

    return make_golden


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def implementation(request, torch):
    threads = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(1)  # pools of threads that run at the same time fight for the cores
    torch.set_num_threads(1)
    with backend(request.param):
        yield request.param
    numba.set_num_threads(threads[0])
    torch.set_num_threads(threads[1])


def random_conv(seed):
    """Any kind of convolution, any stride, dilation and padding, on an image it fits; square by rare accident only."""
    rng = np.random.default_rng(seed)
    kind = ("standard", "depthwise", "grouped", "pointwise")[seed % 4]
    N, C = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    KH, KW = (1, 1) if kind == "pointwise" else (int(k) for k in rng.integers(1, 6, 2))
    stride, dilation = (1, 1) if kind == "pointwise" else (int(s) for s in rng.integers(1, 4, 2))
    groups, M = 1, int(rng.integers(1, 9))
    if kind == "depthwise":
        groups = M = C
    elif kind == "grouped":
        groups = int(rng.integers(1, 4))
        C, M = C * groups, M * groups
    pads = ((0, 0), (0, 0)) if kind == "pointwise" else tuple(map(tuple, rng.integers(0, 4, (2, 2)).tolist()))
    H, W = (max(1, dilation * (k - 1) + 1 - sum(p)) for k, p in zip((KH, KW), pads, strict=True))
    H, W = H + int(rng.integers(0, 9)), W + int(rng.integers(0, 9))
    return recipe.Conv(f"random {seed}", (N, H, W, C), (KH, KW, C // groups, M), groups, stride, pads, dilation)


def assert_close(ours, expected, tolerance):
    error, where = recipe.worst(ours, expected)
    assert error < tolerance, where


@pytest.mark.parametrize("seed", range(80))
def test_convolution(seed, theirs):
    case = random_conv(seed)
    expected = theirs.conv(case)
    for results in recipe.conv(case).values():
        assert_close(results, expected, 1e-13)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 57, 55, 48), (2, 15, 13, 96), (1, 8, 7, 320)])
def test_depthwise_at_the_sizes_of_the_network(shape, stride, theirs):
    C = shape[3]
    case = recipe.Conv("large depthwise", shape, (3, 3, 1, C), C, stride, ((1, 1), (1, 1)))
    expected = theirs.conv(case)
    for results in recipe.conv(case).values():
        assert_close(results, expected, 1e-13)


def test_the_cases_of_the_golden_files_hold_live(theirs):
    for case in recipe.CONVS:
        expected = theirs.conv(case)
        for results in recipe.conv(case).values():
            assert_close(results, expected, 1e-14)
    for case in recipe.POOLS:
        assert_close(recipe.pool(case), theirs.pool(case), 1e-14)
    for case in recipe.LOSSES:
        assert_close(recipe.loss(case), theirs.loss(case), 1e-13)
    assert_close(recipe.linear(), theirs.linear(), 1e-14)
    ours, expected = recipe.activations(), theirs.activations()
    for key, value in expected.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


@pytest.mark.parametrize("seed", range(24))
def test_batchnorm(seed, theirs):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 12, (2, 4)[seed % 2]))
    eps, momentum = (1e-5, 1e-3)[seed // 2 % 2], float(rng.uniform(0.001, 1))
    case = recipe.Norm(f"random {seed}", shape, eps, momentum, relu6=seed % 3 == 0)
    assert_close(recipe.norm(case), theirs.norm(case), 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_cross_entropy(seed, theirs):
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 9)), int(rng.integers(2, 30))
    case = recipe.Loss(f"random {seed}", shape, float(rng.uniform(0, 1)), 10.0 ** int(rng.integers(-2, 4)))
    assert_close(recipe.loss(case), theirs.loss(case), 1e-12)


@pytest.mark.parametrize("seed", range(24))
def test_pooling(seed, theirs):
    rng = np.random.default_rng(seed)
    size, stride = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    shape = tuple(int(n) for n in (rng.integers(1, 4), *rng.integers(size, size + 9, 2), rng.integers(1, 6)))
    # PyTorch allows half a window of padding; more only through pad_forward
    case = recipe.Pool(f"random {seed}", shape, size, stride, int(rng.integers(0, size // 2 + 1)), bool(seed % 2))
    assert_close(recipe.pool(case), theirs.pool(case), 1e-13)


@pytest.mark.parametrize(
    "case",
    [
        recipe.Network("width 0.35, even", 0.35, (2, 96, 64, 3), 10),
        recipe.Network("width 0.35, odd", 0.35, (2, 97, 65, 3), 10, eps=1e-3, momentum=0.003),
        recipe.Network("width 1, even", 1.0, (2, 96, 64, 3), 10),
        recipe.Network("width 1, odd", 1.0, (2, 65, 97, 3), 10),
        recipe.Network("width 1.4, even", 1.4, (2, 64, 96, 3), 10),
        recipe.Network("width 1.4, odd", 1.4, (2, 97, 65, 3), 10),
    ],
    ids=lambda case: case.name,
)
def test_whole_network(case, theirs):
    ours = recipe.network(case)
    assert sum("/grad/" in key for key in ours) == 2 * 158
    assert_close(ours, theirs.network(case), 1e-9)


def test_float32_is_float64_rounded(theirs):
    """The same network in float32, the precision people use, stays within what its rounding explains."""
    case = recipe.Network("width 1, float32", 1.0, (2, 96, 64, 3), 10)
    expected = theirs.network(case)
    model = recipe.build(case, np.float32)
    model.load_state_dict(recipe.state(case.name, model))
    x, dlogits = (value.astype(np.float32) for value in recipe.network_inputs(case))
    assert recipe.relative_error(model(x), expected["train/logits"]) < 5e-5
    dx = model.backward(dlogits)
    assert dx.dtype == np.float32
    assert np.linalg.norm(dx - expected["train/dx"]) / np.linalg.norm(expected["train/dx"]) < 5e-4


@pytest.mark.parametrize(
    "case",
    [
        *recipe.TRAININGS,
        recipe.Training("ten steps of sgd", "SGD", lr=0.02, steps=10),
        recipe.Training("rmsprop, PyTorch's epsilon", "RMSProp", lr=1e-3, eps=1e-8),
        recipe.Training("whole, sgd", "SGD", lr=0.01, network=recipe.Network("", 0.35, (3, 65, 48, 3), num_classes=5)),
        recipe.Training(
            "whole, rmsprop",
            "RMSProp",
            lr=1e-3,
            eps=1e-3,
            network=recipe.Network("", 0.35, (3, 65, 48, 3), num_classes=5),
        ),
    ],
    ids=lambda case: case.name,
)
def test_training(case, theirs):
    assert_close(recipe.training(case), theirs.training(case), 1e-8)


def test_softmax_of_rows_with_one_winner(torch):
    logits = np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1000.0, -1000.0]])
    np.testing.assert_allclose(ops.softmax(logits), torch.from_numpy(logits).softmax(1).numpy(), rtol=1e-15)
