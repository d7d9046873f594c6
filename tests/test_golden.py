"""What PyTorch computed once (golden/*.npz), and what this package computes: the same, by NumPy and by Numba.

Needs no PyTorch. `golden/recipe.py` says what is compared, `golden/make_golden.py` made the files, and
`test_oracle_torch.py` makes the comparison live and wider.
"""

from pathlib import Path

import numpy as np
import pytest
from golden import recipe

from npmnv2 import backend

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = Path(__file__).parent / "golden"


@pytest.fixture(params=["numpy", "numba", pytest.param("compiled", marks=pytest.mark.compiled)])
def implementation(request):
    with backend("numpy" if request.param == "numpy" else "numba"):
        yield


@pytest.fixture(scope="module")
def golden():
    """File name -> its arrays, each file read once."""
    return {path.stem: dict(np.load(path)) for path in FOLDER.glob("*.npz")}


def part(arrays, prefix):
    """The arrays of one case, without the case's name."""
    return {key[len(prefix) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{prefix}/")}


def test_drawn_inputs_are_those_the_files_were_made_from():
    expected = [0.031364641745720734, 0.25745356653912377, 0.7573554328569088]
    assert recipe.draw("pinned", (3,)).tolist() == expected


def test_every_file_says_what_made_it(golden):
    assert set(golden) == {"efficientnet_lite", "frameworks", "network", "operations", "training"}
    for arrays in golden.values():
        assert "torch" in str(arrays["versions"])


def test_every_stored_operation_is_compared(golden):
    cases = [*recipe.CONVS, *recipe.NORMS, *recipe.LOSSES, *recipe.POOLS]
    names = {case.name for case in cases} | {"linear", "activations", "versions"}
    assert {key.split("/")[0] for key in golden["operations"]} == names


@pytest.mark.parametrize("case", recipe.CONVS, ids=lambda case: case.name)
def test_convolution(case, golden, implementation):
    expected = part(golden["operations"], case.name)
    for name, results in recipe.conv(case).items():
        error, where = recipe.worst(results, expected)
        assert error < 1e-14, f"{name}: {where}"


@pytest.mark.parametrize("case", recipe.NORMS, ids=lambda case: case.name)
def test_batchnorm(case, golden, implementation):
    error, where = recipe.worst(recipe.norm(case), part(golden["operations"], case.name))
    # a mean of 1000 costs its three digits in x - mean, whoever computes it
    assert error < (1e-11 if case.offset else 1e-13), where


@pytest.mark.parametrize("case", recipe.LOSSES, ids=lambda case: case.name)
def test_cross_entropy(case, golden, implementation):
    error, where = recipe.worst(recipe.loss(case), part(golden["operations"], case.name))
    assert error < 1e-13, where


@pytest.mark.parametrize("case", recipe.POOLS, ids=lambda case: case.name)
def test_pooling(case, golden, implementation):
    error, where = recipe.worst(recipe.pool(case), part(golden["operations"], case.name))
    assert error < 1e-14, where


def test_linear(golden, implementation):
    error, where = recipe.worst(recipe.linear(), part(golden["operations"], "linear"))
    assert error < 1e-14, where


def test_activations_at_and_beside_their_kinks(golden, implementation):
    expected = part(golden["operations"], "activations")
    ours = recipe.activations()
    assert set(ours) == set(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)  # to the bit; NaN equals NaN


def test_whole_network(golden, either):
    expected = {key: value for key, value in golden["network"].items() if key != "versions"}
    ours = {key: value for key, value in recipe.network(recipe.NETWORK).items() if not key.startswith("eval/grad/")}
    assert sum(key.startswith("train/grad/") for key in expected) == 158  # every parameter of a MobileNetV2
    error, where = recipe.worst(ours, expected)
    assert error < 1e-11, where


@pytest.mark.parametrize("case", recipe.TRAININGS, ids=lambda case: case.name)
def test_five_steps_of_training(case, golden, either):
    expected = part(golden["training"], case.name)
    before = recipe.state(case.name, recipe.build_small())
    error, where = recipe.worst(recipe.training(case), expected)
    assert error < 1e-11, where
    moved = {key: recipe.relative_error(value, expected[key]) for key, value in before.items()}
    # far more than the tolerance; beta of a linear bottleneck has no gradient (recipe.errors) and only decays
    assert min(value for key, value in moved.items() if not key.endswith("project.bn.beta")) > 1e-4
    assert expected["losses"][-1] < expected["losses"][0]
