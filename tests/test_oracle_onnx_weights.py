"""ONNX files as torchvision, timm and Keras export them: onnxruntime's answers to the same file. Runs with -m oracle.

PyTorch's newer exporter needs the library onnxscript, and so do its tests.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from cases import randomise
from test_classify import settled
from test_oracle_onnx_export import MODELS, session
from test_oracle_wild_torch import fill

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.engine import onnx_export
from npmnv2.gradcheck import relative_error

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:.*assumed, since the file does not say it:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NEWER = [False, *([True] if importlib.util.find_spec("onnxscript") else [])]


def compare(path, sizes, channels_first=True):
    """onnxruntime in float32, here float64, so that one of them rounds; what `weights.read` found."""
    run, model = session(path), weights.load_model(path, dtype=np.float64)
    for size in sizes:
        x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
        name = run.get_inputs()[0].name
        theirs = run.run(None, {name: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if channels_first else x})[0]
        ours = model(x.astype(np.float64))
        if not channels_first:  # Keras's have a softmax
            ours = np.exp(ours - ours.max())
            ours /= ours.sum()
            assert theirs.max() > 2 * theirs.min()
        assert relative_error(ours, theirs) < 1e-5
    return weights.read(path)


@pytest.mark.parametrize("name", MODELS)
def test_our_own(name, tmp_path):
    build, options = MODELS[name]
    model = randomise(build(num_classes=37, **options)).eval()
    onnx_export.export(model, tmp_path / "model.onnx")
    found = compare(tmp_path / "model.onnx", [(96, 128), (225, 225)])
    assert found.config["padding"] == model.config["padding"]


def networks():
    import timm
    import torchvision

    return {
        "torchvision": torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=5),
        "timm V2": timm.create_model("mobilenetv2_050", num_classes=5),
        "timm V1": timm.create_model("mobilenetv1_100", num_classes=5),
    }


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("newer", NEWER)
@pytest.mark.parametrize("name", ["torchvision", "timm V2", "timm V1"])
def test_pytorch(name, newer, folded, torch, tmp_path):
    """The newer exporter writes the arrays into a file beside, and always folds."""
    torch.manual_seed(0)
    net, path = fill(torch, networks()[name]), tmp_path / "model.onnx"
    settings = {} if newer else {"do_constant_folding": folded}
    torch.onnx.export(net, (torch.zeros(1, 3, 64, 64),), path, dynamo=newer, **settings)
    assert (tmp_path / "model.onnx.data").exists() == newer
    found = compare(path, [(64, 64)])
    assert (found.config["padding"], found.config["eps"]) == (1, 1e-5)
    assert bool(found.assumed) == (folded or newer)


@pytest.mark.parametrize("size", [96, 100])
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNet"])
def test_keras(name, size, torch, tmp_path):
    """Its exporter writes batch norms as arithmetic and paddings as operators that work out the size."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(0)
    net = getattr(keras.applications, name)(weights=None, alpha=0.5, classes=5, input_shape=(size, size, 3))
    rng = np.random.default_rng(0)
    for variable in net.weights:
        if variable.path.endswith(("gamma", "variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif len(variable.shape) == 1:
            variable.assign(rng.normal(0, 0.3, variable.shape))
    net(np.zeros((1, size, size, 3), np.float32))
    path = tmp_path / "model.onnx"
    net.export(str(path), format="onnx", verbose=False)
    found = compare(path, [(size, size)], channels_first=False)
    assert found.config["eps"] == 1e-3 and "Softmax" in found.left_out[0]
    assert found.config["padding"] == ("keras_v1" if (name, size) == ("MobileNet", 100) else "same")


def test_the_page_shows_what_is_explained(tmp_path, monkeypatch, capsys):
    """docs/checkpoints.md, whose block does not run where the library onnx is not."""
    monkeypatch.chdir(tmp_path)
    onnx_export.export(settled(npmnv2.mobilenet_v2(10, 0.35)), "exported.onnx")
    assert main(["convert", "--explain", "exported.onnx"]) == 0
    page = Path(npmnv2.__file__).parent.parent.joinpath("docs", "checkpoints.md").read_text(encoding="utf-8")
    assert " ".join(capsys.readouterr().out.split()) in " ".join(page.split())
