"""What every loading says of a file: what is unusual in it, and nothing where a library wrote its own network."""

import warnings

import numpy as np
import pytest
from PIL import Image
from test_weights import ENDING, network, write

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.weights.load import notes
from npmnv2.weights.names import counters, schemes, translate

PUBLISHED = {**ENDING, "npmnv2": ".npz", "tonylins": ".pth", "d-li14": ".pth", "keras_2018": ".h5"}


def of(names, architecture="mobilenet_v2", classes=5):
    """The arrays of a library's file."""
    model = network(architecture, 0.35, names, classes)
    arrays = translate(model.state_dict(), architecture, names)
    return arrays if names.startswith("keras") else arrays | counters(arrays)


def renamed(arrays, before, after):
    return {name.replace(before, after): value for name, value in arrays.items()}


UNUSUAL = {  # the arrays, and the line about them
    "a prefix": ({f"module.{k}": v for k, v in of("torchvision").items()}, "found: behind the prefix module."),
    "two words": (
        {f"a.mobilenet_v2.{k}": v for k, v in of("timm").items()},
        "found: behind the prefix a.mobilenet_v2.",
    ),
    "a head": (renamed(of("timm"), "classifier", "head.1"), "found: the classifier is head.1.weight"),
    "one logit": (
        of("torchvision", classes=1),
        "found: classifier.1.weight has one output, a yes or no: its sigmoid is the probability of the second of two "
        "labels",
    ),
    "a profiler": (
        of("torchvision") | {"total_ops": np.zeros(1), "total_params": np.zeros(1)},
        "left out: single numbers that no network needs: num_batches_tracked (52), total_ops (1), total_params (1)",
    ),
}


@pytest.mark.parametrize(("architecture", "names"), [pair for pair in schemes() if pair[1] in PUBLISHED])
def test_nothing_is_said_of_what_a_library_writes(architecture, names, tmp_path):
    path = str(tmp_path / f"model{PUBLISHED[names]}")
    if names == "npmnv2":
        weights.save(network(architecture, 0.35), path)
    else:
        write(path, of(names, architecture))
    assert notes(weights.read(path)) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = weights.load_model(path)
        weights.load_into(model, path)


@pytest.mark.parametrize("names", ["timm", "keras"])
def test_who_asks_for_the_network_below_hears_nothing_of_a_classifier_that_is_not_there(names, tmp_path):
    own = ("fc", "classifier", "predictions")
    path = write(str(tmp_path / f"model{ENDING[names]}"), {k: v for k, v in of(names).items() if not k.startswith(own)})
    assert notes(weights.read(path, partial=True)) == []


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_is_unusual_is_said_by_whatever_loads(case, tmp_path, capsys):
    arrays, said = UNUSUAL[case]
    path = write(str(tmp_path / "model.pth"), arrays)
    for load in (weights.load_model, lambda path: weights.load_into(weights.load_model(path), path)):
        with pytest.warns(UserWarning) as caught:
            load(path)
        assert {str(warning.message) for warning in caught} == {f"{path}: {said}"}
        assert {warning.filename for warning in caught} == {__file__}
    image = str(tmp_path / "image.png")
    Image.new("RGB", (32, 32)).save(image)
    other = str(tmp_path / "other.npz")
    for words in (["convert", path, other], ["classify", image, "--weights", path, "--size", "32"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert err == f"npmnv2 {words[0]}: {path}: {said}\n"
    assert "\nthe classes have no names here: --labels FILE gives them, one a line\n" in out
    assert main(["convert", "--explain", path, other]) == 0
    out, err = capsys.readouterr()
    assert f"  {said}\n" in out and err == ""


def test_a_run_says_what_it_begins_with(tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (16, 16), (60 * k, 0, 0)).save(tmp_path / "pictures" / name / f"{k}.png")
    arrays, said = UNUSUAL["a head"]
    path = write(str(tmp_path / "model.pth"), arrays)
    words = ["train", "--data", f"folder:{tmp_path / 'pictures'}", "--resolution", "16", "--epochs", "1"]
    assert main([*words, "--init", path, "--freeze", "backbone"]) == 0
    assert capsys.readouterr().err == f"npmnv2 train: {path}: {said}\n"


def test_a_kind_is_a_line(tmp_path):
    arrays = {f"net.{k}": v for k, v in renamed(of("torchvision"), "classifier.1", "out").items()}
    path = write(str(tmp_path / "model.pth"), arrays | {"net.total_ops": np.zeros(1)})
    lines = notes(weights.read(path))
    assert lines[0] == f"{path}: found: behind the prefix net.; the classifier is net.out.weight"
    assert len(lines) == 2 and lines[1].startswith(f"{path}: left out: single numbers")
    assert isinstance(weights.load_into(npmnv2.mobilenet_v2(7, 0.35), path, partial=True), list)
