"""Files as people have them, without a framework: the state must be that of the file as its library writes it.

That this state answers as the library does is the matter of `test_weights.py`; the frameworks' own files are in
`test_oracle_wild_torch.py` and `test_oracle_wild_keras.py`.
"""

import pickle
import zipfile

import numpy as np
import pytest
from golden import frameworks
from hostile import text
from test_weights import network, same, theirs, write

import npmnv2
from npmnv2 import weights
from npmnv2.weights import FormatError
from npmnv2.weights.conventions import CONVENTIONS
from npmnv2.weights.formats import torch_file
from npmnv2.weights.names import schemes, translate

PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "backbone.", "module.model.", "any_word_", "a/b/", "ünï."]


def written(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return str(path)
    return write(str(path), {name: np.ascontiguousarray(value) for name, value in arrays.items()})


def wrapped(path, **parts):
    """A .pth of dictionaries of arrays in dictionaries, by hand: a key is a path with points."""
    with zipfile.ZipFile(path, "w") as archive:
        body, count = b"", 0
        for place, arrays in parts.items():
            *keys, last = place.split(".")
            inside = torch_file._pickled(arrays)[2:-1]
            for key in range(len(arrays)):  # each storage of its own
                inside = inside.replace(text(str(key)), text(f"s{count + key}"))
            for key, value in enumerate(arrays.values()):
                archive.writestr(f"a/data/s{count + key}", np.ascontiguousarray(value).tobytes())
            count += len(arrays)
            for key in [last, *reversed(keys)]:
                inside = b"}" + text(key) + inside + b"s"
            body += inside[1:]
        archive.writestr("a/data.pkl", b"\x80\x02}" + body + b".")
    return str(path)


@pytest.fixture(scope="module")
def plain():
    return theirs(frameworks.GOLDENS[0], np.float32)


@pytest.fixture(scope="module")
def wanted(plain, tmp_path_factory):
    return weights.read(write(str(tmp_path_factory.mktemp("plain") / "model.pth"), plain)).state


# -- names in another spelling


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".npz"])
def test_any_prefix_in_any_container(prefix, ending, plain, wanted, tmp_path):
    source = weights.read(written(tmp_path / f"model{ending}", {prefix + name: value for name, value in plain.items()}))
    assert same(source.state, wanted) and f"behind the prefix {prefix}" in source.found


@pytest.mark.parametrize("place", ["net", "ema", "state_dict_ema", "model_state", "weights", "params", "a.b.c.d"])
def test_any_wrapper(place, plain, wanted, tmp_path):
    source = weights.read(wrapped(tmp_path / "model.pth", **{place: plain}))
    assert same(source.state, wanted) and f"under {place}" in source.found


def test_wrappers_beyond_all_depth(plain, tmp_path):
    with pytest.raises(FormatError, match="holds no tensors by name"):
        weights.read(wrapped(tmp_path / "model.pth", **{".".join("a" * 20): plain}))


def test_averages_and_the_optimiser_are_passed_over_and_two_networks_are_not(plain, wanted, tmp_path):
    other = {name: value + 1 for name, value in plain.items()}
    path = wrapped(tmp_path / "model.pth", model_ema=other, optimizer={"exp_avg": np.ones(3)}, model=plain)
    source = weights.read(path)
    assert same(source.state, wanted) and source.left_out == ("tensors under model_ema, optimizer",)
    with pytest.raises(FormatError, match=r"holds 2 networks: teacher \(mobilenet_v2\), student .*; save"):
        weights.read(wrapped(tmp_path / "model.pth", teacher=other, student=plain))
    both = {f"{who}.{name}": value for who in ("teacher", "student") for name, value in plain.items()}
    with pytest.raises(FormatError, match=r"holds 2 networks: student\. \(mobilenet_v2\), teacher\. "):
        weights.read(written(tmp_path / "model.safetensors", both))


BESIDE = {  # what lies beside the weights of a network of five classes, and whether it names them
    "classes": {"classes": [*"edcba"], "class_to_idx": {name: k for k, name in enumerate("edcba")}, "img_size": 96},
    "in capitals": {"CLASSES": (*"edcba",), "img_size": 96},
    "numbered": {"class_to_idx": dict(zip("abcde", range(4, -1, -1), strict=True)), "img_size": 96},
    "another number": {"classes": [*"edcb"]},
    "no names": {"labels": [4, 3, 2, 1, 0]},
    "numbers twice": {"class_to_idx": dict.fromkeys("abcde", 0)},
    "another order": {"classes": [*"edcba"], "class_to_idx": {name: k for k, name in enumerate("abcde")}},
}


@pytest.mark.parametrize("case", BESIDE)
def test_names_of_classes_beside_the_weights_are_taken_and_the_rest_is_left_out(case, plain, tmp_path):
    beside = BESIDE[case]
    (tmp_path / "model.pth").write_bytes(pickle.dumps({"model": plain, **beside}))
    source = weights.read(tmp_path / "model.pth")
    (left_out,) = [text for text in source.left_out if text.startswith("what lies beside the weights: ")]
    names = [name for name in beside if name != "img_size"]
    if "img_size" in beside:
        with pytest.warns(UserWarning, match=f"the names of the classes, in {', '.join(names)}"):
            assert weights.load_model(tmp_path / "model.pth").labels == [*"edcba"]
        assert left_out.endswith(": img_size")
    else:
        assert "labels" not in source.info and all(name in left_out for name in names)
        assert ("name the classes differently" in left_out) == (case == "another order")


@pytest.mark.parametrize("names", ["tonylins", "d-li14", "keras_2018"])
def test_names_that_were_published(names, tmp_path):
    model = network("mobilenet_v2", 0.35, names)
    arrays = translate(model.state_dict(), "mobilenet_v2", names)
    path = written(tmp_path / ("model.h5" if names == "keras_2018" else "model.pth"), arrays)
    source = weights.read(path)
    assert source.names == names and same(source.state, model.state_dict())
    back = weights.load_model(path)
    for name in ("padding", "eps"):
        assert back.config[name] == CONVENTIONS[names, "mobilenet_v2"][name]
    assert back.preprocessing is not None


@pytest.mark.parametrize(("architecture", "names"), [(a, n) for a, n in schemes() if n == "hf"])
def test_hugging_face_without_the_name_of_the_network(architecture, names, tmp_path):
    """As the network without a classifier saves it."""
    model = network(architecture, 0.35, names)
    arrays = translate(model.state_dict(), architecture, names)
    bare = {name.removeprefix(f"{architecture}."): value for name, value in arrays.items() if "classifier" not in name}
    path = written(tmp_path / "model.safetensors", bare)
    with pytest.raises(FormatError, match="has no classifier"):
        weights.read(path)
    found = weights.read(path, partial=True)
    assert found.names == names
    assert same(found.state, {name: v for name, v in model.state_dict().items() if not name.startswith("fc.")})


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".npz"])
def test_names_that_nobody_knows(ending, plain, wanted, tmp_path):
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in plain))
    arrays = {f"l.{layers.index(n.rpartition('.')[0])}.{n.rpartition('.')[2]}": value for n, value in plain.items()}
    path = written(tmp_path / f"model{ending}", arrays)
    assert same(weights.read(path).state, wanted)
    with pytest.warns(UserWarning, match="no library's names are known in the file"):
        weights.load_model(path)
    arrays["l.9.weight"] = arrays["l.9.weight"][:-1]
    with pytest.raises(FormatError, match="nor one by the order and shapes of its arrays"):
        weights.read(written(tmp_path / f"model{ending}", arrays))


# -- a head of one's own


def with_head(plain, head):
    return {name: v for name, v in plain.items() if "classifier" not in name} | {
        name: np.full(shape, 0.5, np.float32) for name, shape in head.items()
    }


HEADS = {
    "another name": ({"head.weight": (3, 1280), "head.bias": (3,)}, 3),
    "in a sequence": ({"classifier.0.weight": (3, 1280), "classifier.0.bias": (3,)}, 3),
    "no bias": ({"fc.weight": (3, 1280)}, 3),
    "one output": ({"out.weight": (1, 1280), "out.bias": (1,)}, 1),
    "a convolution": ({"out.weight": (3, 1280, 1, 1), "out.bias": (3,)}, 3),
}
NO_HEADS = {
    "none": ({}, "has no classifier"),
    "two layers": ({"a.weight": (64, 1280), "a.bias": (64,), "b.weight": (3, 64)}, "has more than one layer behind"),
    "two heads": (
        {"a.weight": (3, 1280), "b.weight": (4, 1280)},
        r"2 classifiers .*: a.weight \(3, 1280\), b.weight",
    ),
    "of other channels": ({"a.weight": (3, 99)}, "has no matrix that takes the network's 1280 channels"),
    "a batch norm": (
        {"a.weight": (3, 1280), "n.weight": (1280,), "n.running_var": (1280,)},
        "has more than one layer",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_found_by_its_shape(name, plain, wanted, tmp_path):
    head, classes = HEADS[name]
    source = weights.read(written(tmp_path / "model.pth", with_head(plain, head)))
    assert source.config["num_classes"] == classes
    assert np.array_equal(source.state["fc.w"], np.full((1280, classes), 0.5))
    assert np.array_equal(source.state["fc.b"], np.full(classes, 0.0 if name == "no bias" else 0.5))
    assert all(np.array_equal(source.state[k], v) for k, v in wanted.items() if not k.startswith("fc."))


@pytest.mark.filterwarnings("ignore:.*left out. the classifier, for the file has:UserWarning")
@pytest.mark.parametrize("name", NO_HEADS)
def test_other_heads_are_named_and_the_network_below_them_loads(name, plain, wanted, tmp_path):
    head, message = NO_HEADS[name]
    path = written(tmp_path / "model.pth", with_head(plain, head))
    with pytest.raises(FormatError, match=message):
        weights.read(path)
    model = npmnv2.mobilenet_v2(3, 0.1)
    assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
    found = model.state_dict()
    assert all(np.array_equal(found[k], v) for k, v in wanted.items() if not k.startswith("fc."))


# -- things beside the weights


def test_counters_are_left_out_and_other_numbers_are_not(plain, wanted, tmp_path):
    beside = {"n_averaged": np.array(3), "features.0.0.total_ops": np.ones(1), "total_params": np.zeros(1)}
    path = written(tmp_path / "model.pth", plain | beside)
    source = weights.read(path)
    assert same(source.state, wanted)
    assert source.left_out[-1].startswith("single numbers that no network needs: ")
    with pytest.warns(UserWarning, match=r"left out: single numbers .* n_averaged \(1\)"):
        weights.load_model(path)
    with pytest.raises(FormatError, match="temperature"):  # a number that may change the answer
        weights.read(written(tmp_path / "model.pth", plain | {"temperature": np.ones(1)}))


def test_the_weights_of_a_loss_are_no_bias_and_a_metric_is_no_layer(plain, wanted, tmp_path):
    """As Lightning keeps them beside the network; a number for each class has the shape of a bias."""
    classes = len(wanted["fc.b"])
    loss = np.full(classes, 7, np.float32)
    beside = {
        "criterion.weight": loss,
        "loss_fn.pos_weight": loss,
        "acc.tp": np.arange(classes),
        "acc.on": np.array(True),
    }
    arrays = {"class_weights": loss, **{f"model.{name}": value for name, value in plain.items()}, **beside}
    source = weights.read(written(tmp_path / "model.pth", arrays))
    assert same(source.state, wanted)
    assert source.left_out[-1] == "the weights of a loss: class_weights, criterion.weight, loss_fn.pos_weight"
    assert any(said == "integers in layers of nothing else, as a metric keeps them: acc.tp" for said in source.left_out)
    del arrays["model.classifier.1.bias"]
    source = weights.read(written(tmp_path / "model.pth", arrays))
    assert not source.state["fc.b"].any()
    with pytest.raises(FormatError, match=r"more than one layer .* prior \("):  # which may change the answer
        weights.read(written(tmp_path / "model.pth", {**arrays, "prior": loss}))


def test_an_average_behind_another_prefix_is_passed_over_aloud(plain, wanted, tmp_path):
    both = {
        f"{who}.{name}": value + (who != "model") for who in ("model", "model_ema") for name, value in plain.items()
    }
    source = weights.read(written(tmp_path / "model.safetensors", both))
    assert same(source.state, wanted)
    assert source.left_out[0] == "another network, or an average of this one, behind model_ema."


@pytest.mark.parametrize("layer", ["classifier.1", "features.0.0"])
@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["weight_orig", "weight_mask"], "pruned: before saving, call torch.nn.utils.prune.remove"),
        (["parametrizations.weight.original0", "parametrizations.weight.original1"], "parametrised: before saving"),
        (["weight_g", "weight_v"], "normalised: before saving, call torch.nn.utils.remove_weight_norm"),
        (["base_layer.weight", "lora_A.default.weight"], "adapted by LoRA: before saving, merge"),
        (["weight_fake_quant.scale", "weight_fake_quant.eps"], "prepared for quantisation: load the file of the float"),
    ],
)
def test_weights_that_are_computed_from_others_are_called_so(layer, parts, text, plain, tmp_path):
    arrays = {name: value for name, value in plain.items() if name != f"{layer}.weight"}
    arrays |= {f"{layer}.{part}": plain[f"{layer}.weight"] for part in parts}
    path = written(tmp_path / "model.pth", arrays)
    with pytest.raises(FormatError, match=text):
        weights.read(path)
    if layer == "classifier.1":
        assert "fc.w" not in weights.read(path, partial=True).state


def test_parameters_without_the_running_statistics(plain, tmp_path):
    arrays = {name: value for name, value in plain.items() if "running" not in name}
    with pytest.raises(FormatError, match=r"no running statistics .*features.0.1.running_mean, .* state_dict\(\)"):
        weights.read(written(tmp_path / "model.pth", arrays))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b'{"message": "Not Found"}', "is JSON"),
        (b'<?xml version="1.0"?><Error/>', "is XML"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"\x93NUMPY\x01\x00", r"is one array of NumPy \(.npy\)"),
        (b"\x1c\0\0\0TFL3\0\0", "is a network of TensorFlow Lite"),
    ],
)
def test_what_is_no_file_of_weights(content, text, tmp_path):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(FormatError, match=text):
        weights.read(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (["run/model.pth"], "is an archive with run/model.pth in it: unpack it first"),
        (["m/data/weights/weight_0", "m/data/sample_inputs/model.pt"], "is a program of torch.export"),
        (["a.txt"], "a zip archive of no known format"),
    ],
)
def test_archives_of_something_else(members, text, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        for name in members:
            archive.writestr(name, "x")
    with pytest.raises(FormatError, match=text):
        weights.read(tmp_path / "model.pth")


def test_folders_of_a_network_in_parts(tmp_path):
    for folder, names, message in (
        (
            "a",
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            "is a folder of 2 such files: .* if they are shards, put their index beside them",
        ),
        ("b", [".metadata", "__0_0.distcp"], "a checkpoint of torch.distributed in parts"),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"x")
        with pytest.raises(FormatError, match=message):
            weights.read(tmp_path / folder)


@pytest.mark.parametrize("names", ["torchvision", "timm", "hf", "keras"])
@pytest.mark.parametrize("partial", [False, True])
def test_a_layer_of_the_network_with_an_array_more(names, partial, tmp_path):
    """A convolution with a bias, say: whoever leaves it out has another network, with the classifier or without."""
    settings = {
        "padding": CONVENTIONS[names, "mobilenet_v2"]["padding"],
        "eps": CONVENTIONS[names, "mobilenet_v2"]["eps"],
    }
    arrays = translate(npmnv2.mobilenet_v2(5, 0.35, **settings).state_dict(), "mobilenet_v2", names)
    first = next(iter(arrays))
    more = first.replace("kernel", "bias") if names == "keras" else first.replace("weight", "bias")
    path = written(tmp_path / "model.npz", {**arrays, more: np.ones(16, np.float32)})
    with pytest.raises(FormatError, match=f"has {more}, in a layer that has no such array in a mobilenet_v2 here"):
        weights.read(path, partial)


# -- timm's other designs


def timm_like(extra, prefix=""):
    arrays = translate(npmnv2.mobilenet_v2(5, 0.1).state_dict(), "mobilenet_v2", "timm")
    like = {name: arrays[f"blocks.1.1.{name.split('.', 3)[3]}"] for name in extra}
    return {prefix + name: array for name, array in {**arrays, **like}.items()}


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("rows", [(1, 3, 4, 5, 4, 4, 1), (1, 2, 3, 5, 3, 3, 1), (1, 2, 3, 4, 3, 3, 1, 1)])
def test_deeper_networks_of_timm_are_told_by_their_rows(rows, prefix, tmp_path):
    blocks = [f"blocks.{row}.{repeat}" for row, n in enumerate(rows) for repeat in range(n)]
    leaves = ["conv_pw.weight", "bn1.weight", "conv_dw.weight"]
    own = timm_like([])
    extra = [f"{block}.{leaf}" for block in blocks for leaf in leaves if f"{block}.{leaf}" not in own]
    np.savez(tmp_path / "model.npz", **timm_like([name for name in extra if ".0.0." not in name], prefix))
    with pytest.raises(FormatError) as error:
        weights.load_model(tmp_path / "model.npz")
    counts = ", ".join(map(str, rows))
    assert f"with {counts} blocks in its rows, where a mobilenet_v2 has 1, 2, 3, 4, 3, 3, 1" in str(error.value)
    assert ("mobilenetv2_110d" in str(error.value)) == (rows[1] == 3)
