"""Files that PyTorch and timm write of NumPy arrays and of whole models: the frameworks' own. Runs with -m oracle."""

import copy

import numpy as np
import pytest
from test_oracle_wild_torch import same_answers
from test_weights_formats import ARRAYS, identical

from npmnv2 import weights
from npmnv2.weights.formats import torch_file

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def net(torch):
    from golden.torchvision_models import torchvision

    net = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=5)
    return with_statistics(torch, net)


def with_statistics(torch, net):
    """In eval mode, after a batch: the running statistics are not 0 and 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


# -- dictionaries of NumPy arrays


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_arrays_of_torch_save(zipped, protocol, torch, net, tmp_path):
    path, state = tmp_path / "model.pth", {name: value.numpy() for name, value in net.state_dict().items()}
    settings = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save({"epoch": 3, "best": np.float64(0.5), "model": state}, path, **settings)
    identical(torch_file.read(path), state)
    same_answers(torch, path, net)
    torch.save(ARRAYS, path, **settings)
    identical(torch_file.read(path), ARRAYS)


def test_numpy_arrays_and_tensors(torch, net, tmp_path):
    state = {name: value if k % 2 else value.numpy() for k, (name, value) in enumerate(net.state_dict().items())}
    torch.save(state, tmp_path / "model.pth")
    same_answers(torch, tmp_path / "model.pth", net)


# -- whole models


class Mine:
    """Made where PyTorch is: a class of one's own, with what people put into one."""

    def __new__(cls, torch, net):
        class Classifier(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("mean", torch.zeros(3, 1, 1), persistent=False)
                self.options = {"lr": 0.1, "history": [torch.ones(2)]}
                self.net = net

            def forward(self, x):
                return self.net(x)

        Classifier.__qualname__ = Classifier.__name__ = "Classifier"
        globals()["Classifier"] = Classifier  # where pickle looks for it
        return Classifier().eval()


@pytest.fixture(scope="module")
def models(torch, net):
    import timm

    return {
        "torchvision": net,
        "timm": with_statistics(torch, timm.create_model("mobilenetv2_035", num_classes=5)),
        "timm, V1": with_statistics(torch, timm.create_model("mobilenetv1_100", num_classes=5)),
        "one's own": Mine(torch, net),
        "in parallel": torch.nn.DataParallel(net),
        "averaged": torch.optim.swa_utils.AveragedModel(net).eval(),
        "compiled": torch.compile(net),
        "traced": torch.fx.symbolic_trace(net),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "name", ["torchvision", "timm", "timm, V1", "one's own", "in parallel", "averaged", "compiled", "traced"]
)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_whole_models(name, zipped, torch, models, tmp_path):
    path, model = tmp_path / "model.pth", models[name]
    for value in (model, {"epoch": 3, "model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        wanted = {key.removeprefix("_orig_mod."): part.numpy() for key, part in model.state_dict().items()}
        identical(torch_file.read(path), wanted)
    assert any("none of these names was looked up" in said for said in weights.read(path).left_out)
    same_answers(torch, path, model if name != "compiled" else models["torchvision"])


def test_what_whole_models_say_of_themselves(torch, net, tmp_path):
    """Strides and epsilon are taken from the file, another activation is refused: a state dict has none of it."""
    path, other = tmp_path / "model.pth", copy.deepcopy(net)
    other.features[0][0].stride = other.features[2].conv[1][0].stride = (1, 1)
    for module in other.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-2
    torch.save(torch.nn.Sequential(other, torch.nn.Softmax(1)), path)
    with pytest.raises(weights.FormatError, match=r"has no shortcut around 0.features.2; the network here has one"):
        weights.read(path)  # of 8 channels to 8, and built for the stride 2
    other.features[2].use_res_connect = True
    torch.save(torch.nn.Sequential(other, torch.nn.Softmax(1)), path)
    assert weights.read(path).config["strides"] == "cifar"
    same_answers(torch, path, other)
    pooling = torch.nn.AdaptiveMaxPool2d(1)
    torch.save(torch.nn.Sequential(*other.features, pooling, torch.nn.Flatten(), other.classifier), path)
    with pytest.raises(weights.FormatError, match="has the layer AdaptiveMaxPool2d at 19; the network here averages"):
        weights.read(path)
    other.features[3].conv[0][2] = torch.nn.Hardswish()
    torch.save(other, path)
    with pytest.raises(weights.FormatError, match=r"activation Hardswish at features.3.conv.0.2"):
        weights.read(path)


@pytest.mark.parametrize("name", ["torchvision", "timm", "one's own"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_programs(name, torch, models, tmp_path):
    path, model = tmp_path / "model.pt", models[name]
    program = torch.jit.trace(model, torch.zeros(1, 3, 64, 64))
    torch.jit.save(program, path)
    found = torch_file.read(path)
    wanted = {key: part.numpy() for key, part in program.state_dict().items()}
    assert found.keys() == wanted.keys()
    identical({key: found[key] for key in wanted}, wanted)
    if name != "one's own":  # a program has all buffers
        same_answers(torch, path, model)
    torch.jit.save(torch.jit.freeze(program), path)
    with pytest.raises(weights.FormatError, match=r"TorchScript program without arrays .*; save its state_dict\(\)"):
        weights.read(path)
