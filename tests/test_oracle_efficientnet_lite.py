"""The trained EfficientNet-Lite0, live: its logits, its gradients, and what it says of six photographs. -m oracle.

The photographs are those that scikit-image and scikit-learn install. What is expected of them was computed with
efficientnet_lite_pytorch.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.recipe import draw

import npmnv2
from npmnv2 import ops, weights
from npmnv2.data import prepare
from npmnv2.engine import onnx_export
from npmnv2.engine.folding import folded
from npmnv2.gradcheck import relative_error
from npmnv2.weights.formats import torch_file
from npmnv2.weights.names import translate

pytestmark = pytest.mark.oracle

SAID = {  # the first three, and how likely each is, in percent
    "chelsea": {"tiger cat": 38.5, "Egyptian cat": 36.3, "tabby": 16.7},
    "coffee": {"espresso": 95.1, "cup": 1.5, "consomme": 0.8},
    "astronaut": {"football helmet": 16.1, "bobsled": 11.0, "go-kart": 6.4},
    "rocket": {"missile": 32.0, "projectile": 21.1, "drilling platform": 8.4},
    "china.jpg": {"palace": 36.0, "bell cote": 14.1, "monastery": 8.2},
    "flower.jpg": {"daisy": 32.7, "mushroom": 4.8, "bee": 4.8},
}
POINTS = 0.5  # of a percentage


@pytest.fixture(scope="module")
def photographs():
    """Name -> (H, W, 3) in uint8."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    return {name: load_sample_image(name) if "." in name else getattr(data, name)() for name in SAID}


@pytest.fixture(scope="module")
def inputs(photographs):
    """(6, 224, 224, 3), in the order of `SAID`."""
    preprocessing = weights.pretrained().preprocessing
    return np.stack([prepare(image, preprocessing) for image in photographs.values()])


@pytest.fixture(scope="module")
def live():
    import torch
    from golden import make_efficientnet_lite

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_efficientnet_lite
    torch.set_num_threads(threads)


def trained(live, dtype):
    """The library's network with the weights of the file, for any size of image."""
    import torch

    net = live.build(dtype=dtype)
    net.load_state_dict(torch.load(weights.pretrained_path(), weights_only=True), strict=True)
    return net


def check(logits):
    """Six rows of logits say what is expected."""
    labels = weights.pretrained().labels
    for p, (name, said) in zip(ops.softmax(np.asarray(logits, np.float64)), SAID.items(), strict=True):
        first = {labels[k]: 100 * p[k] for k in np.argsort(-p)[:3]}
        # mushroom and bee are as likely as each other to within rounding
        assert sorted(first) == sorted(said) and next(iter(first)) == next(iter(said)), (name, first)
        assert all(abs(first[label] - said[label]) < POINTS for label in said), (name, first)


# -- the photographs


def test_what_the_library_itself_says(live, inputs):
    check(live.logits(trained(live, "float32"), inputs))


def test_what_the_model_and_its_folded_form_say(inputs):
    model = weights.pretrained()
    check(model(inputs))
    check(folded(model)(inputs))


COMPILED = """
import json, sys
import numpy as np, npmnv2
from npmnv2 import weights
x, model = np.load(sys.argv[1]), weights.pretrained()
print(json.dumps([model(x).tolist(), npmnv2.fuse(model)(x).tolist()]))
"""


def test_what_the_kernels_and_the_engine_say(inputs, tmp_path):
    """In a process of its own, where they are compiled."""
    np.save(tmp_path / "x.npy", inputs)
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, str(tmp_path / "x.npy")],
        capture_output=True,
        env={**os.environ, "NPMNV2_BACKEND": "numba"},
    )
    assert done.returncode == 0, done.stderr.decode()
    wanted = weights.pretrained()(inputs)
    for logits in json.loads(done.stdout):
        check(logits)
        assert relative_error(np.array(logits), wanted) < 1e-5


def test_what_onnxruntime_says_of_the_exported_file(inputs, tmp_path):
    import onnxruntime

    onnx_export.export(weights.pretrained(), tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    run = onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    check(run.run(["logits"], {"x": np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))})[0])
    assert json.loads(run.get_modelmeta().custom_metadata_map["preprocessing"])["crop_first"] == 0.875


def test_what_the_command_says(photographs, tmp_path, capsys):
    from PIL import Image

    from npmnv2.__main__ import main

    paths = [str(tmp_path / f"{name}.png") for name in SAID]
    for path, image in zip(paths, photographs.values(), strict=True):
        Image.fromarray(image).save(path)
    assert main(["classify", *paths, "--top", "3", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["images"]
    for answer, said in zip(answers, SAID.values(), strict=True):
        assert answer["top"][0]["label"] == next(iter(said))
        assert all(abs(100 * guess["probability"] - said[guess["label"]]) < POINTS for guess in answer["top"])


def test_what_the_readme_shows_of_its_photograph(monkeypatch, capsys):
    """docs/cat.jpg is chelsea as a JPEG, which no two decoders decode alike to the last bit."""
    from npmnv2.__main__ import main

    monkeypatch.chdir(Path(__file__).parents[1])
    readme = Path("README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```console\n(.*?)^```", readme, flags=re.M | re.S)
    _, command, *shown = block.splitlines()
    assert main(command.removeprefix("$ python -m npmnv2 ").split()) == 0
    for line, wanted in zip(capsys.readouterr().out.splitlines(), shown, strict=True):
        if "%" in wanted:
            (p, name), (q, same) = line.split(" % "), wanted.split(" % ")
            assert name == same and abs(float(p) - float(q)) < POINTS
        else:
            assert line == wanted or (wanted.partition("...")[0] in line and line.endswith(wanted.partition("...")[2]))


# -- the library


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(224, 224), (225, 193), (97, 130), (33, 64)])
def test_logits_of_the_trained_network(size, dtype, live, photographs):
    model = weights.pretrained(dtype=dtype)
    preprocessing = model.preprocessing._replace(resize=size)
    x = np.stack([prepare(image, preprocessing) for image in photographs.values()]).astype(dtype)
    expected = live.logits(trained(live, dtype), x)
    assert np.ptp(expected) > 5
    with npmnv2.backend("numpy"):
        assert relative_error(model(x), expected) < {"float32": 1e-5, "float64": 1e-11}[dtype]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("size", [(96, 96), (65, 97)])
def test_gradients_of_the_trained_network(size, training, live, photographs):
    model = weights.pretrained(dtype=np.float64).train(training)
    model.layers["dropout"].rate = 0.0
    preprocessing = model.preprocessing._replace(resize=size)
    x = np.stack([prepare(image, preprocessing) for image in photographs.values()]).astype(np.float64)
    dlogits = draw("dlogits", (len(x), 1000))
    model(x)
    dx = model.backward(dlogits)
    ours = translate(
        {n: p.grad for n, p in model.named_parameters().items()}, "efficientnet_lite", "efficientnet_pytorch"
    )
    ours["dx"] = dx.transpose(0, 3, 1, 2)
    theirs = live.gradients(trained(live, "float64"), x, dlogits, training)
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        if training and name.endswith("_bn2.bias"):  # only rounding, see golden/recipe.py, `errors`
            assert np.abs(ours[name] - grad).max() < 1e-9 * np.abs(theirs[name.replace("bias", "weight")]).max(), name
        else:
            assert relative_error(ours[name], grad) < 1e-9, name


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2", "lite3", "lite4"])
def test_every_variant_has_the_library_s_arrays(name, tmp_path):
    """Names and shapes of its own builder; random weights, and the same logits."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name(f"efficientnet-{name}", image_size=None, num_classes=7).eval()
    torch.save(net.state_dict(), tmp_path / "model.pth")
    model = weights.load_model(tmp_path / "model.pth")
    x = draw("x", (1, 65, 97, 3), -1, 1).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert relative_error(model(x), expected) < 1e-5
    known = EfficientNet.get_image_size(f"efficientnet-{name}")
    assert model.preprocessing.resize == (known, known)
    assert model.config["dropout"] == net._global_params.dropout_rate


def test_what_is_saved_loads_there(live, tmp_path):
    import torch

    weights.save(weights.pretrained(), tmp_path / "back.pth", names="efficientnet_pytorch")
    before, after = torch_file.read(weights.pretrained_path()), torch_file.read(tmp_path / "back.pth")
    assert before.keys() == after.keys()
    same = [np.array_equal(before[name], after[name]) for name in before if "num_batches_tracked" not in name]
    assert len(same) == 247 and all(same)
    live.build(dtype="float32").load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
