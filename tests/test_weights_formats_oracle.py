"""Files that PyTorch and timm write of NumPy arrays and of whole models: the frameworks' own. Runs with -m oracle."""

import numpy as np
import pytest
from test_weights_formats import ARRAYS, identical

from npmnv2 import weights
from npmnv2.gradcheck import relative_error
from npmnv2.weights.formats import torch_file

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def torch():
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="module")
def net(torch):
    import torchvision

    net = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=5)
    return with_statistics(torch, net)


def with_statistics(torch, net):
    """In eval mode, after a batch: the running statistics are not 0 and 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


X = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)


def same_answers(torch, path, net):
    with torch.no_grad():
        wanted = net(torch.from_numpy(X.transpose(0, 3, 1, 2).copy())).numpy()
    assert relative_error(weights.load_model(path)(X), wanted) < 1e-5


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
