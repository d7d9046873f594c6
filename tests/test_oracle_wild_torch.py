"""Checkpoints as people make them of torchvision's and timm's networks: PyTorch's own answers. Runs with -m oracle."""

import argparse
import collections
import copy
import datetime
import pathlib
import warnings

import numpy as np
import pytest

import npmnv2
from npmnv2 import weights
from npmnv2.gradcheck import relative_error
from npmnv2.weights import FormatError

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def nn(torch):
    return torch.nn


def fill(torch, net):
    """Numbers that tell arrays apart, and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                low = 0.5 if name.endswith(("weight", "var")) else -0.2
                value.copy_(torch.rand(value.shape, generator=generator) + low)
    return net.eval()


@pytest.fixture(scope="module")
def build(torch):
    import torchvision

    def of(head=None, **settings):
        net = torchvision.models.mobilenet_v2(**{"width_mult": 0.35, "num_classes": 5, **settings})
        if head is not None:
            net.classifier = head
        return fill(torch, net)

    return of


X = np.random.default_rng(0).normal(size=(2, 64, 64, 3))


def answers(torch, net):
    """In float64, where one wrong number is not taken for rounding."""
    with torch.no_grad():
        return copy.deepcopy(net).double()(torch.from_numpy(X.transpose(0, 3, 1, 2).copy())).numpy()


def same_answers(torch, path, net):
    assert relative_error(weights.load_model(path, dtype=np.float64)(X), answers(torch, net)) < 1e-10


# -- a head of one's own


def heads(nn):
    return {
        "a linear layer": nn.Linear(1280, 3),
        "in a sequence": nn.Sequential(nn.Linear(1280, 3)),
        "third in a sequence": nn.Sequential(nn.Dropout(), nn.Identity(), nn.Linear(1280, 3)),
        "without a bias": nn.Linear(1280, 3, bias=False),
        "one logit": nn.Linear(1280, 1),
    }


@pytest.mark.parametrize(
    "name", ["a linear layer", "in a sequence", "third in a sequence", "without a bias", "one logit"]
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_head_of_ones_own(name, ending, torch, nn, build, tmp_path):
    net, path = build(heads(nn)[name]), tmp_path / f"model{ending}"
    save(torch, net.state_dict(), path)
    same_answers(torch, path, net)
    model = npmnv2.mobilenet_v2(3, 0.35)
    assert weights.load_into(model, path, partial=True) == ([] if name != "one logit" else ["fc.w", "fc.b"])


def save(torch, state, path):
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("name", ["two layers", "two heads", "none"])
def test_a_head_that_is_none_of_ours_leaves_the_network_below_it(name, torch, nn, build, tmp_path):
    head, message = {
        "two layers": (
            nn.Sequential(nn.Linear(1280, 64), nn.ReLU(), nn.Linear(64, 3)),
            r"more than one layer behind the network: classifier.0.weight \(64, 1280\), .*, classifier.2.weight",
        ),
        "two heads": (
            nn.ModuleDict({"sort": nn.Linear(1280, 3), "age": nn.Linear(1280, 9)}),
            r"2 classifiers behind the network: classifier.sort.weight .*, classifier.age.weight",
        ),
        "none": (nn.Identity(), r"has no classifier; weights.load_into\(model, path, partial=True\)"),
    }[name]
    net, path = build(head), tmp_path / "model.pth"
    torch.save(net.state_dict(), path)
    with pytest.raises(FormatError, match=message):
        weights.load_model(path)
    model = npmnv2.mobilenet_v2(3, 0.35, dtype=np.float64)
    fresh = model.state_dict()["fc.w"].copy()
    assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
    net.classifier = nn.Linear(1280, 3, dtype=torch.float64)
    with torch.no_grad():
        net.classifier.weight.copy_(torch.from_numpy(fresh.T.copy()))
        net.classifier.bias.copy_(torch.from_numpy(model.state_dict()["fc.b"]))
    assert relative_error(model.eval()(X), answers(torch, net)) < 1e-10


# -- names in another spelling

PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "backbone.", "module.model.", "a_word_of_ones_own.", "student_"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_any_prefix_in_any_container(prefix, ending, torch, build, tmp_path):
    net, path = build(), tmp_path / f"model{ending}"
    save(torch, {prefix + name: value for name, value in net.state_dict().items()}, path)
    same_answers(torch, path, net)
    assert f"behind the prefix {prefix}" in weights.read(path).found


@pytest.mark.parametrize("wrapper", ["net", "ema", "state_dict_ema", "model_state", "weights", "params", "a.b.c", "0"])
def test_any_wrapper(wrapper, torch, build, tmp_path):
    net, path = build(), tmp_path / "model.pth"
    value = {f"module.{name}": value for name, value in net.state_dict().items()}
    for key in reversed(wrapper.split(".")):
        value = {key: value, "epoch": 3}
    torch.save(value, path)
    same_answers(torch, path, net)
    assert f"under {wrapper}" in weights.read(path).found


def test_weights_and_not_their_average_and_no_choice_between_two(torch, build, tmp_path):
    net, other, path = build(), build(), tmp_path / "model.pth"
    with torch.no_grad():
        other.classifier[1].bias += 1
    torch.save({"state_dict_ema": other.state_dict(), "state_dict": net.state_dict()}, path)
    same_answers(torch, path, net)
    assert weights.read(path).left_out[0] == "tensors under state_dict_ema"
    both = {f"{who}.{k}": v for who, of in (("teacher", other), ("student", net)) for k, v in of.state_dict().items()}
    torch.save(both, path)
    with pytest.raises(FormatError, match=r"holds 2 networks: teacher\. \(mobilenet_v2\), student\. "):
        weights.load_model(path)
    torch.save({"teacher": other.state_dict(), "student": net.state_dict()}, path)
    with pytest.raises(FormatError, match=r"holds 2 networks: teacher \(mobilenet_v2\), student "):
        weights.load_model(path)
    torch.save({"model": net.state_dict(), "best": net.state_dict()}, path)  # the same tensors
    same_answers(torch, path, net)


ROWS = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)


@pytest.mark.parametrize("port", ["tonylins", "d-li14"])
def test_the_two_early_ports(port, torch, nn, tmp_path):
    """Their networks, as their code builds them."""

    def conv_bn(C, M, kernel, stride=1, groups=1, relu=True):
        conv = nn.Conv2d(C, M, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(M)] + [nn.ReLU6()] * relu

    class Block(nn.Module):
        def __init__(self, C, M, stride, t):
            super().__init__()
            hidden = C * t
            expand = conv_bn(C, hidden, 1) if t > 1 else []
            self.conv = nn.Sequential(
                *expand, *conv_bn(hidden, hidden, 3, stride, hidden), *conv_bn(hidden, M, 1, relu=False)
            )
            self.residual = stride == 1 and C == M

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    class Port(nn.Module):
        def __init__(self):
            super().__init__()
            C, blocks = 32, [nn.Sequential(*conv_bn(3, 32, 3, 2))]
            for t, c, n, s in ROWS:
                for k in range(n):
                    blocks.append(Block(C, c, s if k == 0 else 1, t))
                    C = c
            last = nn.Sequential(*conv_bn(320, 1280, 1))
            self.features = nn.Sequential(*blocks, *([last] if port == "tonylins" else []))
            if port == "d-li14":
                self.conv = last
            self.classifier = nn.Linear(1280, 7)

        def forward(self, x):
            x = self.features(x)
            x = self.conv(x) if port == "d-li14" else x
            return self.classifier(x.mean((2, 3)))

    net, path = fill(torch, Port()), tmp_path / "mobilenet_v2.pth.tar"
    torch.save(net.state_dict(), path)
    same_answers(torch, path, net)
    assert weights.read(path).names == port


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_names_that_nobody_knows_are_taken_by_order_and_shapes(ending, torch, build, tmp_path):
    net, path = build(), tmp_path / f"model{ending}"
    names = [name for name in net.state_dict() if not name.endswith("tracked")]
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    number = {name: f"layers.{modules.index(name.rpartition('.')[0])}.{name.rpartition('.')[2]}" for name in names}
    state = {number[name]: net.state_dict()[name] for name in names}
    save(torch, state, path)
    with pytest.warns(UserWarning, match=r"no library's names .* its arrays were taken (in the order|sorted by name)"):
        same_answers(torch, path, net)
    del state["layers.3.weight"]
    save(torch, state, path)
    with pytest.raises(FormatError, match="nor one by the order and shapes of its arrays"):
        weights.load_model(path)


def test_a_dictionary_of_numpy_arrays(torch, build, tmp_path):
    net, path = build(), tmp_path / "model.npz"
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    same_answers(torch, path, net)


# -- things beside the weights


def test_the_totals_of_a_profiler(torch, build, tmp_path):
    net, path = build(), tmp_path / "model.pth"
    for module in net.modules():
        module.register_buffer("total_ops", torch.ones(1, dtype=torch.float64))
        module.register_buffer("total_params", torch.ones(1, dtype=torch.float64))
    torch.save(net.state_dict(), path)
    same_answers(torch, path, net)
    assert "total_ops (" in weights.read(path).left_out[0]


def test_an_average_of_weights(torch, build, tmp_path):
    net, path = torch.optim.swa_utils.AveragedModel(build()), tmp_path / "model.pth"
    torch.save(net.state_dict(), path)
    same_answers(torch, path, net.eval())
    assert "n_averaged (1)" in weights.read(path).left_out[0]


class Options:
    """A class that only this file has."""

    def __init__(self):
        self.lr = 0.1


BESIDE = {
    "versions": lambda torch: {"torch": torch.__version__, "numpy": np.float64(2), "array": np.arange(3)},
    "a date": lambda torch: {"when": datetime.datetime(2024, 5, 6), "took": datetime.timedelta(1), 1: None},
    "collections": lambda torch: {
        "set": {1, 2},
        "frozen": frozenset("a"),
        "deque": collections.deque([1], 3),
        "default": collections.defaultdict(list, {"loss": [0.5]}),
        "counter": collections.Counter("ab"),
        "range": range(3),
        "complex": 1j,
    },
    "keys of any kind": lambda torch: {-1: 0.5, None: "x", 0.5: 1, (1, 2): 2, True: 3, b"a": 4, 1 << 40: 5},
    "types": lambda torch: {"dtype": torch.float32, "size": torch.Size([1, 2]), "device": torch.device("cpu")},
    "options": lambda torch: {
        "args": argparse.Namespace(lr=0.1),
        "mine": Options(),
        "at": pathlib.PurePosixPath("a"),
    },
    "functions": lambda torch: {"collate": torch.stack, "print": print},
    "bytes": lambda torch: {"rng": torch.get_rng_state(), "raw": bytes(300), "array": bytearray(b"abc")},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("zip", [True, False])
def test_what_training_scripts_keep_beside_the_weights(beside, protocol, zip, torch, build, tmp_path):
    net, path = build(), tmp_path / "model.pth"
    optimiser = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3, 3, 9])
    net(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimiser.step()
    value = {**BESIDE[beside](torch), "optimizer": optimiser.state_dict(), "schedule": schedule.state_dict()}
    value |= {"model": net.state_dict()}
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zip)
    same_answers(torch, path, net)
    said = weights.read(path).left_out
    assert any(text.startswith("tensors under ") and "optimizer.state.0" in text for text in said)
    if beside == "options":
        assert any(f"{Options.__module__}.Options" in text and "none of these names was" in text for text in said)


def test_nothing_is_said_of_what_torchvision_and_timm_build(torch, build, tmp_path):
    import timm

    path = tmp_path / "model.pth"
    networks = [build(), *(timm.create_model(name, num_classes=3) for name in ("mobilenetv2_050", "mobilenetv1_100"))]
    for net in networks:
        torch.save(net.state_dict(), path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            weights.load_model(path)


def test_where_a_network_was_and_what_lay_beside_it_is_said(torch, build, tmp_path):
    path = tmp_path / "model.pth"
    net = build(torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Identity(), torch.nn.Linear(1280, 5)))
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"epoch": 3, "when": datetime.timedelta(3), "model_state_dict": state}, path)
    with pytest.warns(UserWarning) as caught:
        weights.load_model(path)
    assert [str(warning.message) for warning in caught] == [
        f"{path}: found: under model_state_dict; behind the prefix module.; the classifier is "
        "module.classifier.2.weight",
        f"{path}: left out: objects of datetime.timedelta: none of these names was looked up or run; what lies beside "
        "the weights: epoch, when",
    ]


# -- timm's variants


@pytest.mark.parametrize("name", ["mobilenetv2_050", "mobilenetv2_075", "mobilenetv2_140", "mobilenetv1_125"])
def test_variants_of_timm(name, torch, tmp_path):
    import timm

    net = fill(torch, timm.create_model(name, num_classes=5))
    torch.save(net.state_dict(), tmp_path / "model.pth")
    same_answers(torch, tmp_path / "model.pth", net)


@pytest.mark.parametrize(
    "name, message",
    {
        "mobilenetv2_110d": r"\(mobilenetv2_110d, .*\) with 1, 3, 4, 5, 4, 4, 1 blocks in its rows, where .* 1, 2, 3",
        "mobilenetv2_120d": r"\(mobilenetv2_120d, .*\) with 1, 3, 5, 6, 5, 5, 1 blocks in its rows, where .* 1, 2, 3",
        "mobilenetv1_100h": r"a convolution conv_head behind its blocks, which a mobilenet_v1 has not; .* load",
        "efficientnet_lite0": r"\(efficientnet_lite0\) with .*do not say which padding",
        "tf_efficientnet_lite2": r"\(efficientnet_lite1 or 2\) with .*do not say which padding",
        "mobilenet_edgetpu_100": r"holds a network of timm with 1, 4, 4, 4, 4, 4, 1 blocks",
    }.items(),
)
def test_designs_of_timm_that_no_network_here_has(name, message, torch, tmp_path):
    import timm

    torch.save(timm.create_model(name, num_classes=5).state_dict(), tmp_path / "model.pth")
    for read in (weights.load_model, lambda path: weights.load_into(npmnv2.mobilenet_v2(5), path, partial=True)):
        with pytest.raises(FormatError, match=message):
            read(tmp_path / "model.pth")


# -- what transformers says beside the weights


@pytest.mark.parametrize(
    "settings", [{"layer_norm_eps": 0.1}, {"tf_padding": False}, {"tf_padding": False, "layer_norm_eps": 1e-5}]
)
@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_settings_of_transformers(version, settings, torch, tmp_path):
    import transformers

    config = getattr(transformers, f"MobileNet{version}Config")(num_labels=5, **settings)
    net = fill(torch, getattr(transformers, f"MobileNet{version}ForImageClassification")(config))
    net.save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = net.double()(torch.from_numpy(X.transpose(0, 3, 1, 2).copy())).logits.numpy()
    assert relative_error(weights.load_model(tmp_path, dtype=np.float64)(X), wanted) < 1e-10


@pytest.mark.filterwarnings("ignore:.*all its shards were read:UserWarning")
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_of_transformers(shards, ending, torch, tmp_path):
    """`save_pretrained` writes the .bin no longer; the library below it does."""
    import huggingface_hub
    import transformers

    config = transformers.MobileNetV2Config(num_labels=5, depth_multiplier=0.35)
    net = fill(torch, transformers.MobileNetV2ForImageClassification(config))
    state = net.state_dict()
    most = int(sum(value.numel() * value.element_size() for value in state.values()) / shards * 1.1)
    net.save_pretrained(tmp_path, max_shard_size=most)
    if ending == "bin":
        huggingface_hub.save_torch_state_dict(state, tmp_path, safe_serialization=False, max_shard_size=most)
    files = sorted(tmp_path.glob(f"*.{ending}"))
    assert len(files) == shards
    with torch.no_grad():
        wanted = net.double()(torch.from_numpy(X.transpose(0, 3, 1, 2).copy())).logits.numpy()
    for path in (tmp_path, *files, *tmp_path.glob(f"*{ending}.index.json")):
        assert relative_error(weights.load_model(path, dtype=np.float64)(X), wanted) < 1e-10
