"""`python -m npmnv2 convert`."""

import json
import re
import sys

import numpy as np
import pytest
from golden import frameworks
from PIL import Image
from test_weights import same, theirs, write

import npmnv2
from npmnv2 import data, weights
from npmnv2.__main__ import main
from npmnv2.data.preprocessing import PREPROCESSING, Preprocessing


def test_convert(tmp_path, capsys):
    first, second, third = (str(tmp_path / name) for name in ("a.pth", "b.npz", "c.safetensors"))
    write(first, theirs(frameworks.GOLDENS[0]))  # float64
    assert main(["convert", first, second]) == 0
    assert main(["convert", second, third, "--names", "timm"]) == 0
    count = sum(value.size for value in theirs(frameworks.GOLDENS[0]).values())
    assert capsys.readouterr().out.split("\n") == [
        f"mobilenet_v2, width 0.1, 5 classes: torchvision -> npmnv2, {count:,} numbers",
        f"mobilenet_v2, width 0.1, 5 classes: npmnv2 -> timm, {count:,} numbers",
        "",
    ]
    assert same(weights.read(third).state, weights.read(first).state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth", "b.npz"], "npmnv2 convert: nowhere.pth: No such file or directory"),
        (["no_head.pth", "b.npz"], "has no classifier; train --init takes the network below the classifier"),
        (["own.npz", "b.npz", "--names", "hf"], "OUT must end in .pth or .pt or .safetensors or .bin for --names hf; "),
        (["own.npz", "b.pth", "--names", "hf"], "padding must be 'same' for --names hf; was 1: the network that "),
        (
            ["own.npz", "b.pth", "--names", "hf"],
            "OUT can be .npz or .onnx; what train --init makes of a file of hf's names keeps",
        ),
        (["own.npz", "b.safetensors"], "--names must be given for b.safetensors: torchvision or timm"),
        (["own.npz", "b.bin"], "--names must be given for b.bin: torchvision or timm"),
        (
            ["small.npz", "b.pth"],
            "OUT must end in .npz or .onnx: no library whose names it can have builds this network; strides must be",
        ),
        (["small_v1.npz", "b.safetensors"], "builds this network; strides must be"),
        (["v1_conv.npz", "b.pth"], "builds this network; --names must be npmnv2 for a mobilenet_v1_conv"),
        (["a.pth", "b.h5"], "padding must be 'same'"),
        (["a.pth", "b.keras"], "OUT must end in .npz, .pth, "),
        (["a.pth", "b.keras", "--names", "timm"], "OUT must end in .npz, .pth, "),
        (["a.pth", "b.onnx", "--names", "timm"], "--names must be left out"),
        (["a.pth", "nowhere/b.npz"], "nowhere: No such folder"),
        (["text", "b.npz"], "no known format"),
    ],
)
def test_convert_says_what_is_wrong(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.pth", theirs(frameworks.GOLDENS[0], np.float32))
    whole = theirs(frameworks.GOLDENS[0], np.float32)
    write("no_head.pth", {name: value for name, value in whole.items() if "classifier" not in name})
    (tmp_path / "text").write_text("hello")
    weights.save(npmnv2.mobilenet_v2(5, 0.1), "own.npz")
    weights.save(npmnv2.mobilenet_v2(5, 0.1, strides="cifar"), "small.npz")
    weights.save(npmnv2.mobilenet_v1(5, 0.25, strides="cifar"), "small_v1.npz")
    weights.save(npmnv2.mobilenet_v1_conv(5, 0.25), "v1_conv.npz")
    assert main(["convert", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("npmnv2 convert: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


TENSORFLOW = {"padding": "same", "eps": 1e-3}
V2 = npmnv2.mobilenet_v2(5, 0.1)
NAMES = {  # a network, its file, and whose names a file has without --names, and why
    "as in IN": (V2, ("a.pth", "torchvision"), "b.pth", "torchvision, as in a.pth"),
    "as in IN, another container": (V2, ("a.safetensors", "timm"), "b.pth", "timm, as in a.safetensors"),
    "as in IN, back": (V2, ("a.pth", "torchvision"), "b.safetensors", "torchvision, as in a.pth"),
    "torchvision's": (V2, ("a.npz", "npmnv2"), "b.PTH", "torchvision, whose files end so; others: --names timm"),
    "of Keras": (npmnv2.mobilenet_v2(5, 0.35, **TENSORFLOW), ("a.h5", "keras"), "b.pth", "hf, the only library"),
    "of ours": (npmnv2.mobilenet_v2(5, 0.35, **TENSORFLOW), ("a.npz", "npmnv2"), "b.bin", "hf, the only library"),
    "grey": (npmnv2.mobilenet_v2(5, 0.1, in_channels=1), ("a.npz", "npmnv2"), "b.pt", "timm, the only library"),
    "version 1": (npmnv2.mobilenet_v1(5, 0.25), ("a.npz", "npmnv2"), "b.safetensors", "timm, the only library"),
    "lite": (npmnv2.efficientnet_lite(5, 0.1), ("a.npz", "npmnv2"), "b.pth", "efficientnet_pytorch, the only library"),
    "no choice": (V2, ("a.pth", "torchvision"), "b.npz", ""),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_nobody_says(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, (first, names), second, said = NAMES[case]
    weights.save(model, first, names)
    assert main(["convert", first, second]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = said.split(",")[0] or "npmnv2"
    assert f": {names} -> {found}, " in lines[0] and weights.read(second).names == found
    assert [line.startswith(f"  names: {said}") for line in lines[1:]] == [True] * bool(said)
    state = model.state_dict()
    assert all(np.array_equal(value, state[name]) for name, value in weights.read(second).state.items())


def test_convert_without_a_library_is_one_line_and_a_mistake_of_ours_is_not_hidden(tmp_path, capsys, monkeypatch):
    path = write(str(tmp_path / "a.pth"), theirs(frameworks.GOLDENS[0], np.float32))
    words = ["convert", path, str(tmp_path / "b.onnx")]
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == "" and "pip install 'npmnv2[onnx]'" in err and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "npmnv2.engine.onnx_export", None)
    with pytest.raises(ImportError):
        main(words)


def test_explain(tmp_path, capsys):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    arrays["classifier.1.total_ops"] = np.zeros((), np.int64)
    path = write(str(tmp_path / "a.pth"), {f"net.{name}": value for name, value in arrays.items()})
    assert main(["convert", "--explain", path]) == 0
    assert capsys.readouterr().out.split("\n") == [
        f"{path}: mobilenet_v2 of width 0.1 for images of 3 channels and 5 classes",
        "  container: pth, names: torchvision; from these follow padding 1 and epsilon 1e-05",
        "  found: behind the prefix net.",
        "  found: the classifier is net.classifier.1.weight",
        "  left out: single numbers that no network needs: total_ops (1)",
        "",
    ]
    assert main(["convert", path, str(tmp_path / "b.npz"), "--explain"]) == 0
    assert capsys.readouterr().out.endswith("numbers\n")
    assert main(["convert", path]) == 1
    assert capsys.readouterr().err == (
        "npmnv2 convert: OUT must be given, the file to write; only with --explain it may be missing\n"
    )
    two = {**arrays, "classifier.2.weight": np.zeros((3, 5), np.float32)}
    write(path, two)
    assert main(["convert", "--explain", path]) == 0
    out = capsys.readouterr().out
    assert "width 0.1, without a classifier" in out and "for the file has more than one layer behind the network" in out


def test_one_logit_is_two_labels(tmp_path, capsys):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    arrays = {name: value[:1] if "classifier" in name else value for name, value in arrays.items()}
    path, image, labels = write(str(tmp_path / "a.pth"), arrays), tmp_path / "a.png", tmp_path / "labels.txt"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    labels.write_text("cat\ndog\n")
    assert main(["classify", str(image), "--weights", path, "--labels", str(labels), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["network"] == "MobileNetV2, width 0.1, one output, a yes or no"
    top = {guess["label"]: guess["probability"] for guess in said["images"][0]["top"]}
    model = weights.load_model(path)
    logit = model(data.prepare(data.open_image(image), model.preprocessing)[None])[0, 0]
    assert top["dog"] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4) and sum(top.values()) == pytest.approx(1)
    model.labels = ["cat", "dog"]
    weights.save(model, tmp_path / "a.npz")
    assert weights.load_model(tmp_path / "a.npz").labels == ["cat", "dog"]


SMALL = PREPROCESSING["torchvision"].changed(size=96)
FRUIT = ["red apple", "green pear", "blue\nplum"]
SAID = {  # what IN says, OUT and whose names it has, and the options that are lost
    "trained here": (SMALL, "b.pth", "torchvision", "--resize 110 --size 96"),
    "timm's": (PREPROCESSING["timm"], "b.safetensors", "torchvision", "--preprocessing timm"),
    "its own": (SMALL.changed(mean=(-0.5,), std=(2.0,)), "b.pth", "timm", "--mean=-0.5 --std 2.0"),
    "stretched": (PREPROCESSING["keras"].changed(resize=(160, 96)), "b.h5", "keras", "--resize 160x96"),
    "Hugging Face's": (PREPROCESSING["hf"]._replace(resize=232), "b.bin", "hf", "--resize 232 --size 224"),
    "no option": (SMALL._replace(crop_first=0.5), "b.pth", "torchvision", None),
    "all": (SMALL, "b.npz", "npmnv2", ""),
    "all, as ONNX": (SMALL, "b.onnx", None, ""),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.oracle] * case.endswith("ONNX")) for case in SAID]
)
def test_what_a_file_cannot_hold_is_said_with_the_options_of_classify(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, out, names, options = SAID[case]
    model = npmnv2.mobilenet_v2(3, 0.35, **(TENSORFLOW if names in ("keras", "hf") else {}))
    model.preprocessing, model.labels = made, FRUIT
    weights.save(model, "a.npz")
    assert main(["convert", "a.npz", out, *(["--names", names] if names else [])]) == 0
    err = capsys.readouterr().err
    if options == "":
        assert err == ""
        return
    assert f"{out}: left out: the names of the classes; classify --labels FILE gives them" in err
    assert "one a line: red apple, green pear, blue\\nplum\n" in err and err.count("\n") == 2
    assert f"left out: how pictures are prepared, {made}; " in err
    if options is None:
        assert "no options of classify do so; else they are shorter side to 256" in err
        return
    given = re.search(r"; classify (-.*) prepares them so; else ", err)[1].split()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save("a.png")
    assert main(["classify", "a.png", "--weights", out, "--json", *given]) == 0
    assert Preprocessing.from_dict(json.loads(capsys.readouterr().out)["preprocessing"]) == made
    assert options in " ".join(given)


def test_pictures_that_nobody_described_are_said_to_be_assumed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights.save(npmnv2.mobilenet_v2(3, 0.1), "a.npz")
    assert main(["convert", "a.npz", "b.pth"]) == 0
    said = f"a.npz does not say how they are prepared; classify takes {PREPROCESSING['torchvision']}"
    assert capsys.readouterr().err == f"npmnv2 convert: b.pth: pictures: {said}\n"


@pytest.mark.parametrize("out", ["a.pth", "folder/../a.pth", "link.pth"])
def test_the_file_that_is_read_is_not_written(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    before = (tmp_path / write("a.pth", theirs(frameworks.GOLDENS[0], np.float32))).read_bytes()
    (tmp_path / "link.pth").symlink_to("a.pth")
    for given in ("a.pth", "."):
        assert main(["convert", given, out, "--names", "timm"]) == 1
    assert (tmp_path / "a.pth").read_bytes() == before
    assert capsys.readouterr().err.startswith("npmnv2 convert: OUT must be another file than IN, which would be lost")
