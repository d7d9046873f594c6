"""`python -m npmnv2 convert`."""

import json
import sys

import numpy as np
import pytest
from golden import frameworks
from PIL import Image
from test_weights import same, theirs, write

import npmnv2
from npmnv2 import data, weights
from npmnv2.__main__ import main


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
        (["nowhere.pth", "b.npz"], "nowhere.pth"),
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
        (["a.pth", "nowhere/b.npz"], "nowhere"),
        (["text", "b.npz"], "no known format"),
    ],
)
def test_convert_says_what_is_wrong(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a.pth", theirs(frameworks.GOLDENS[0], np.float32))
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
