"""What a native file says about its network: every variant comes back as it was, and nonsense is one error."""

import json
import tracemalloc

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2 import weights
from npmnv2.weights import FormatError
from npmnv2.weights.formats import native

BUILDERS = {"mobilenet_v2": npmnv2.mobilenet_v2, "mobilenet_v1": npmnv2.mobilenet_v1}
VARIANTS = [  # all but the published one
    {"linear": linear, "shortcut": shortcut}
    for linear in (True, False)
    for shortcut in (True, False, "expansion")
    if (linear, shortcut) != (True, True)
]
# What each library's network has besides, so that the variant alone is in the way.
LIBRARIES = {
    "torchvision": ("a.pth", {}),
    "timm": ("a.safetensors", {}),
    "keras": ("a.weights.h5", {"padding": "same", "eps": 1e-3}),
    "hf": ("a.safetensors", {"padding": "same", "eps": 1e-3}),
}


def network(architecture="mobilenet_v2", **settings):
    return randomise(BUILDERS[architecture](3, **{"width_mult": 0.1, **settings}))


def images(side=32):
    return np.random.default_rng(side).normal(size=(2, side, side, 3)).astype(np.float32)


def write(path, model, change=(), info=(), without=()):
    """A native file of a network, with another configuration or other information than it has."""
    said = json.loads(json.dumps(weights.describe(model)))
    said["model"] |= dict(change)
    said |= dict(info)
    for name in without:
        del said["model"][name]
    native.write(path, {f"model/{name}": value for name, value in model.state_dict().items()}, said)
    return path


# -- the variants of the paper's figure 6


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_variant_comes_back_as_it_was(variant, tmp_path):
    model, x = network(**variant).eval(), images()
    weights.save(model, tmp_path / "model.npz")
    back = weights.load_model(tmp_path / "model.npz")
    assert back.config == model.config
    with npmnv2.backend("numpy"):
        np.testing.assert_array_equal(back(x), model(x))
        published = network().eval()
        published.load_state_dict(model.state_dict())
        assert (published(x) != model(x)).any()  # the same arrays, another network


@pytest.mark.parametrize("names", LIBRARIES)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_variant_is_no_library_s_network(variant, names, tmp_path):
    name, value = next((name, value) for name, value in variant.items() if value is not True)
    path, conventions = LIBRARIES[names]
    model = network(width_mult=0.35, **variant, **conventions)
    line = rf"^{name} must be True for names='{names}'; was {value!r}: the network that .* builds would answer differ"
    with pytest.raises(ValueError, match=line):
        weights.save(model, tmp_path / path, names=names)
    assert list(tmp_path.iterdir()) == []
    weights.save(network(width_mult=0.35, **conventions), tmp_path / path, names=names)  # the published one may go


def test_a_file_from_before_there_were_variants_is_the_published_network(tmp_path):
    model, x = network().eval(), images()
    path = write(tmp_path / "old.npz", model, without=("linear", "shortcut"))
    back = weights.load_model(path)
    assert back.config == model.config
    with npmnv2.backend("numpy"):
        np.testing.assert_array_equal(back(x), model(x))
    with pytest.raises(FormatError, match=r'its info\["model"\] must be a dictionary of .*linear'):
        weights.load_model(write(path, model, without=("eps",)))


def test_a_mobilenet_v1_has_no_variant(tmp_path):
    path = write(tmp_path / "model.npz", network("mobilenet_v1"), {"linear": True})
    with pytest.raises(FormatError, match=r'its info\["model"\] must be a dictionary of ') as error:
        weights.load_model(path)
    assert "linear" not in str(error.value)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_variant_is_not_loaded_into_another(variant, tmp_path):
    name, value = next((name, value) for name, value in variant.items() if value is not True)
    weights.save(network(**variant), tmp_path / "variant.npz")
    weights.save(network(), tmp_path / "published.pth", names="torchvision")
    for model, path, must, was in (
        (network(), "variant.npz", value, True),
        (network(**variant), "published.pth", True, value),
    ):
        before = model.state_dict()
        with pytest.raises(ValueError, match=rf"^{name} must be {must!r}, which .* the model has {was!r}$"):
            weights.load_into(model, tmp_path / path)
        assert all(np.array_equal(before[key], array) for key, array in model.state_dict().items())
    same = randomise(npmnv2.mobilenet_v2(3, 0.1, **variant), 1)
    assert weights.load_into(same, tmp_path / "variant.npz") == []


def test_every_argument_of_the_builder_is_in_the_file(tmp_path):
    """Whoever adds an argument and forgets it here would load another network than was saved."""
    for architecture, build in BUILDERS.items():
        arguments = set(build.__code__.co_varnames[: build.__code__.co_argcount + build.__code__.co_kwonlyargcount])
        said = weights.describe(network(architecture))["model"]
        assert said.keys() - {"name"} == arguments
        weights.load_model(write(tmp_path / "model.npz", network(architecture)))


# -- lies


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 10**9}, "misshapen"),
        ({"num_classes": 2**63}, "num_classes must lie between 1 and 2147483647"),
        ({"num_classes": 10**4000}, "num_classes must lie between 1 and 2147483647"),
        ({"num_classes": True}, "num_classes must be an integer"),
        ({"width_mult": 1.0}, "misshapen"),
        ({"width_mult": "wide"}, "width_mult must be a number"),
        ({"width_mult": float(10**300)}, "width_mult must"),
        ({"width_mult": 10**4000}, "width_mult must be finite"),
        ({"width_mult": -0.1}, "width_mult must"),
        ({"width_mult": [0.1] * 10**5}, "width_mult must be a number"),
        ({"strides": [1, 2]}, "strides must be"),
        ({"strides": {"a": 1}}, "strides must be"),
        ({"strides": [2**31] * 8}, "stride must be at most"),
        ({"strides": "x" * 10**6}, "strides must be"),
        ({"in_channels": -1}, "in_channels must"),
        ({"in_channels": 2**64}, "in_channels must lie between"),
        ({"dropout": 1}, "dropout must be at least 0 and less than 1"),
        ({"dropout": False}, "dropout must be a number"),
        ({"linear": 1}, "linear must be True or False; was 1"),
        ({"linear": None}, "linear must be"),
        ({"shortcut": "bottleneck"}, 'shortcut must be True, False or "expansion"'),
        ({"shortcut": 0}, "shortcut must be"),
        ({"eps": -1.0}, "eps must"),
        ({"eps": "small"}, "eps must"),
        ({"momentum": 1.5}, "momentum must lie between 0 and 1"),
        ({"padding": 7}, "padding must"),
        ({"padding": True}, "padding must"),
        ({"running_var": None}, "running_var must"),
        ({"dtype": "float16"}, "dtype must be float32 or float64; was 'float16'"),
        ({"dtype": ["float32"]}, "dtype must be float32 or float64"),
        ({"seed": []}, "seed must"),
        ({"seed": -1}, "seed must"),
        ({"name": "mobilenet_v1"}, "says it is a mobilenet_v1"),
        ({"name": ["x"]}, "says it is a"),
        ({"more": 1}, "must be a dictionary of"),
    ],
)
def test_a_native_file_that_lies(change, message, tmp_path):
    path = write(tmp_path / "model.npz", network(), change)
    with pytest.raises(FormatError, match=message) as error:
        weights.load_model(path)
    first, *_ = str(error.value).split("\n")
    assert first.startswith(f"{path}: ") and len(first) < len(str(path)) + 400


@pytest.mark.parametrize(
    "change",
    [
        {"model": 1},
        {"labels": "abcde"},
        {"labels": ["a"]},
        {"labels": [1, 2, 3]},
        {"preprocessing": {"mean": 1}},
        {"preprocessing": [1] * 10**5},
        {"preprocessing": {"x" * 10**6: 1}},
        {"preprocessing": npmnv2.data.preprocessing.PREPROCESSING["keras"]._replace(channels=1).to_dict()},
    ],
    ids=lambda change: str(change)[:40],
)
def test_native_information_that_makes_no_sense(change, tmp_path):
    path = write(tmp_path / "model.npz", network(), info=change)
    with pytest.raises(FormatError, match=next(iter(change))) as error:
        weights.load_model(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < len(str(path)) + 400
    if "model" not in change:
        model = randomise(npmnv2.mobilenet_v2(3, 0.1), 1)
        before = model.state_dict()
        with pytest.raises(FormatError):
            weights.load_into(model, path)
        assert all(np.array_equal(before[key], array) for key, array in model.state_dict().items())


NONSENSE = [None, True, -1, 2**63, 10**4000, -0.5, 1e308, 1e-320, "", "a\nb", [], [2**40] * 8, {"a": 1}, "\ud800"]
NONSENSE += [float("nan"), float("inf"), "x" * 10**5]
SIZES = ("num_classes", "width_mult", "in_channels", "strides")


@pytest.mark.parametrize("name", [*SIZES, *sorted(weights.describe(network())["model"].keys() - set(SIZES))])
@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_a_configuration_says_it_is_one_error_at_once(name, every, tmp_path, monkeypatch):
    """Or the network is as large as the file: what is claimed is compared before anything is allocated."""
    monkeypatch.setattr(native, "_as_json", lambda info: json.dumps(info).encode())  # which would refuse NaN
    model = network()
    for value in NONSENSE[len(name) % every :: every]:
        path = write(tmp_path / "model.npz", model, {name: value})
        if name in SIZES:
            tracemalloc.start()
        try:
            weights.load_model(path)
        except FormatError as error:
            assert str(error).startswith(f"{path}: "), value
            assert len(str(error)) < len(str(path)) + 2000, value  # twenty lines where nothing fits
        if name in SIZES:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 12 * path.stat().st_size, value
