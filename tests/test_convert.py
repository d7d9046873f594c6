"""`python -m npmnv2 convert`."""

import sys

import numpy as np
import pytest
from golden import frameworks
from test_weights import same, theirs, write

from npmnv2 import weights
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
        (["a.pth", "b.pth"], "--names must be given for b.pth: torchvision, timm, hf or efficientnet_pytorch"),
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
    assert main(["convert", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("npmnv2 convert: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


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
