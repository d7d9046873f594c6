"""Names, conventions and checks of `weights`, on files that our own writers make (theirs: -m oracle)."""

import json
import os
import re

import h5py
import numpy as np
import pytest
from golden import frameworks
from golden.recipe import draw

import npmnv2
from npmnv2 import weights
from npmnv2.data import load_mnist
from npmnv2.data.preprocessing import PREPROCESSING
from npmnv2.gradcheck import relative_error
from npmnv2.weights import FormatError
from npmnv2.weights.conventions import CONVENTIONS, PUBLISHED, channels, find_width
from npmnv2.weights.formats import keras_file, native, safetensors_file, torch_file
from npmnv2.weights.names import FROM_KERAS, FROM_PYTORCH, TO_KERAS, TO_PYTORCH, entries, schemes, translate
from npmnv2.weights.source import shapes

GOLDEN = np.load(os.path.join(os.path.dirname(__file__), "golden", "frameworks.npz"))
ENDING = {"torchvision": ".pth", "timm": ".safetensors", "hf": ".safetensors", "keras": ".weights.h5"}
KINDS = {
    "mobilenet_v2": npmnv2.mobilenet_v2,
    "mobilenet_v1": npmnv2.mobilenet_v1,
    "mobilenet_v1_conv": npmnv2.mobilenet_v1_conv,
    "efficientnet_lite": npmnv2.efficientnet_lite,
}
PAIRS = [(architecture, names) for architecture, names in schemes() if names in ENDING]


def theirs(case, dtype=np.float64):
    """The arrays of a golden case, under its library's names."""
    named = json.loads(GOLDEN[f"{case.id}/shapes"].item())
    state = frameworks.state({name: tuple(shape) for name, shape in named.items()})
    return {name: value.astype(dtype) for name, value in state.items()}


def write(path, arrays):
    writers = {".pth": torch_file.write, ".safetensors": safetensors_file.write, ".h5": keras_file.write}
    writers[os.path.splitext(path)[1]](path, arrays)
    return path


def network(architecture="mobilenet_v2", width=0.1, names="torchvision", classes=5, dtype=np.float32, **settings):
    """A network of ours that a library could have, with statistics that are not 0 and 1."""
    conventions = CONVENTIONS.get((names, architecture), {})
    model = KINDS[architecture](classes, width, dtype=dtype, **{**conventions, **settings})
    ranges = {"gamma": (0.5, 3), "var": (0.5, 2)}
    state = model.state_dict()
    model.load_state_dict(
        {k: draw(k, v.shape, *ranges.get(k.rpartition(".")[2], (-0.5, 0.5))) for k, v in state.items()}
    )
    return model


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


# -- the libraries' answers


@pytest.mark.parametrize("case", frameworks.GOLDENS, ids=lambda case: case.id)
def test_answers_as_the_library_does(case, tmp_path):
    path = write(str(tmp_path / f"model{ENDING[case.names]}"), theirs(case))
    model = weights.load_model(path, dtype=np.float64)
    assert (model.config["width_mult"], model.config["num_classes"]) == (case.width, frameworks.CLASSES)
    if (case.names, case.architecture) == ("timm", "mobilenet_v1"):  # its default_cfg in timm
        assert model.preprocessing == PREPROCESSING["timm"]._replace(mean=(0.5,), std=(0.5,))
    else:
        assert model.preprocessing == PREPROCESSING[case.names]
    assert not model.training
    for size in case.sizes:
        assert relative_error(model(frameworks.images(size)), GOLDEN[f"{case.id}/{size}"]) < 1e-11
    single = weights.load_model(path)
    x = frameworks.images(case.sizes[0])
    assert relative_error(single(x.astype(np.float32)), GOLDEN[f"{case.id}/{case.sizes[0]}"]) < 1e-5


@pytest.mark.parametrize("case", frameworks.GOLDENS, ids=lambda case: case.id)
def test_there_and_back_is_the_same(case, tmp_path):
    arrays = theirs(case, np.float32)
    first = write(str(tmp_path / f"first{ENDING[case.names]}"), arrays)
    second = str(tmp_path / f"second{ENDING[case.names]}")
    weights.save(weights.load_model(first), second, names=case.names)
    found = weights.read(second)
    assert (found.names, found.architecture) == (case.names, case.architecture)
    assert same(found.state, weights.read(first).state)
    reader = {".pth": torch_file.read, ".safetensors": lambda path: safetensors_file.read(path)[0]}
    written = reader.get(ENDING[case.names], keras_file.read)(second)
    counters = {name for name in written if name.endswith("num_batches_tracked")}
    assert same({name: value for name, value in written.items() if name not in counters}, arrays)
    batch_norms = sum(name.endswith("running_var") for name in arrays)
    assert len(counters) == batch_norms


def test_counters_are_left_out_in_half_precision_too(tmp_path):
    arrays = theirs(frameworks.GOLDENS[0], np.float16)
    counted = {name.replace("running_var", "num_batches_tracked") for name in arrays if name.endswith("running_var")}
    path = write(str(tmp_path / "model.pth"), {**arrays, **dict.fromkeys(counted, np.zeros((), np.float16))})
    source = weights.read(path)
    assert source.left_out == (f"single numbers that no network needs: num_batches_tracked ({len(counted)})",)


@pytest.mark.parametrize("kind", KINDS)
def test_native_keeps_everything(kind, tmp_path):
    model = network(kind, names="", in_channels=1, strides="digits", eps=2e-4, momentum=0.25, seed=3, dropout=0.125)
    model.preprocessing = PREPROCESSING["keras"]._replace(channels=1)
    model.labels = list("abcde")
    weights.save(model, tmp_path / "model")  # no ending is needed
    back = weights.load_model(tmp_path / "model")
    assert type(back) is type(model)
    assert (back.config, back.preprocessing, back.labels) == (model.config, model.preprocessing, model.labels)
    assert same(back.state_dict(), model.state_dict())


def test_own_strides_and_numpy_numbers_survive_json(tmp_path):
    strides = (2, 1, 2, np.int64(2), 1, 1, 1, 1)
    model = npmnv2.mobilenet_v2(3, np.float64(0.1), strides=strides, dtype=np.float64)
    weights.save(model, tmp_path / "model.npz")
    back = weights.load_model(tmp_path / "model.npz", dtype=np.float64)
    x = draw("x", (1, 32, 32, 3))
    np.testing.assert_array_equal(back(x), model.eval()(x))


def test_averaged_weights_are_what_is_loaded(tmp_path):
    model, averaged = network(), network().state_dict()
    averaged["fc.b"][:] = 7
    arrays = {f"model/{name}": value for name, value in model.state_dict().items()}
    arrays |= {f"ema/{name}": value for name, value in averaged.items()} | {"optimizer/velocity/fc.b": averaged["fc.b"]}
    native.write(tmp_path / "run.npz", arrays, weights.describe(model))
    assert same(weights.load_model(tmp_path / "run.npz").state_dict(), averaged)


def test_half_precision_becomes_single_exactly(tmp_path):
    arrays = {name: value.astype(np.float16) for name, value in theirs(frameworks.GOLDENS[0]).items()}
    found = weights.load_model(write(str(tmp_path / "half.pth"), arrays))
    back = translate(found.state_dict(), "mobilenet_v2", "torchvision")
    assert all(np.array_equal(back[name], value.astype(np.float32)) for name, value in arrays.items())


# -- names


@pytest.mark.parametrize(("architecture", "names"), schemes())
def test_names_are_one_to_one(architecture, names):
    found = entries(architecture, names)
    assert {entry.ours for entry in found} == KINDS[architecture](2, 0.1).state_dict().keys()
    assert len({entry.theirs for entry in found}) == len(found)


def test_a_name_of_every_library():
    """By hand, from each library's own listing: the second depthwise kernel of row 1, and the last batch norm."""
    wanted = {
        "npmnv2": ("b1.1.dw.conv.w", "head.bn.var"),
        "torchvision": ("features.3.conv.1.0.weight", "features.18.1.running_var"),
        "timm": ("blocks.1.1.conv_dw.weight", "bn2.running_var"),
        "keras": ("block_2_depthwise/kernel", "Conv_1_bn/moving_variance"),
        "hf": ("mobilenet_v2.layer.1.conv_3x3.convolution.weight", "mobilenet_v2.conv_1x1.normalization.running_var"),
        "slim": (
            "MobilenetV2/expanded_conv_2/depthwise/depthwise_weights",
            "MobilenetV2/Conv_1/BatchNorm/moving_variance",
        ),
    }
    for names, (kernel, variance) in wanted.items():
        found = {entry.ours: entry.theirs for entry in entries("mobilenet_v2", names)}
        assert (found["b1.1.dw.conv.w"], found["head.bn.var"]) == (kernel, variance)
    classifiers = {"timm": "classifier.weight", "keras": "conv_preds/kernel", "hf": "classifier.weight"}
    classifiers["slim"] = "MobilenetV1/Logits/Conv2d_1c_1x1/weights"
    for names, name in classifiers.items():
        assert {entry.ours: entry.theirs for entry in entries("mobilenet_v1", names)}["fc.w"] == name


@pytest.mark.parametrize(("to", "back"), [(TO_PYTORCH, FROM_PYTORCH), (TO_KERAS, FROM_KERAS)])
def test_layouts_there_and_back(to, back):
    ours = {"standard": (3, 5, 4, 6), "depthwise": (3, 5, 4), "pointwise": (4, 6), "linear": (4, 6), "vector": (4,)}
    assert to.keys() == back.keys() == ours.keys()
    for kind, shape in ours.items():
        w = draw(kind, shape)
        np.testing.assert_array_equal(back[kind](to[kind](w)), w)


def test_translate_knows_the_network():
    with pytest.raises(ValueError, match=r"one was 'b9\.w'"):
        translate({"b9.w": np.zeros(3)}, "mobilenet_v2", "hf")


def test_slim_has_the_arrays_of_keras(tmp_path):
    """TF-slim's names and Keras's are two words for the same arrays; Keras's were compared with Keras."""
    for case in (frameworks.GOLDENS[3], frameworks.GOLDENS[4]):
        ours = weights.read(write(str(tmp_path / "model.weights.h5"), theirs(case))).state
        slim = translate(ours, case.architecture, "slim")
        path = write(str(tmp_path / "slim.safetensors"), slim)
        found = weights.read(path)
        assert found.names == "slim"
        assert same(found.state, ours)
        assert weights.load_model(path).preprocessing == PREPROCESSING["hf"]


# -- the width multiplier


@pytest.mark.parametrize("architecture", KINDS)
def test_widths_are_found(architecture):
    for width in (*PUBLISHED, 0.1, 0.33, 0.6, 1.1, 1.25, 2.0, 3.7, 0.123, 1 / 3):
        found = find_width(architecture, channels(architecture, width))
        assert found is not None
        assert channels(architecture, found) == channels(architecture, width)
        assert found == width or width not in PUBLISHED  # others may be written shorter: 0.12 for 0.123


def test_channels_of_no_width():
    assert find_width("mobilenet_v2", {"stem": 32, "b0.0.project": 24}) is None
    assert find_width("mobilenet_v2", {"stem": 10**9}) is None
    assert find_width("mobilenet_v2", {}) is not None  # nothing to go by: reported as missing


# -- what is refused


def test_everything_wrong_is_one_error(tmp_path):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    del arrays["features.2.conv.2.weight"]
    arrays["features.3.conv.2.weigth"] = arrays.pop("features.3.conv.2.weight")
    arrays["features.0.1.bias"] = np.zeros(3, np.float32)
    arrays["features.0.1.weight"] = np.ones(8, np.int64)
    with pytest.raises(FormatError) as error:
        weights.load_model(write(str(tmp_path / "model.pth"), arrays))
    assert str(error.value).split("\n") == [
        f"{tmp_path}/model.pth: does not fit torchvision's names of a mobilenet_v2, width 0.1, 5 classes:",
        "  missing: features.2.conv.2.weight",
        "  missing: features.3.conv.2.weight",
        "  unknown: features.3.conv.2.weigth (did you mean features.3.conv.2.weight?)",
        "  no floats: features.0.1.weight was int64",
        "  misshapen: features.0.1.bias must be (8,), was (3,)",
    ]


def test_one_wrong_name_is_one_line_and_many_are_twenty(tmp_path):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    extra = write(str(tmp_path / "extra.pth"), {**arrays, "line\nbreak" + "x" * 500: np.zeros(2, np.float32)})
    with pytest.raises(FormatError) as error:
        weights.load_model(extra)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    few = {name: value for k, (name, value) in enumerate(arrays.items()) if k % 3}
    with pytest.raises(FormatError) as error:
        weights.load_model(write(str(tmp_path / "few.pth"), few))
    lines = str(error.value).split("\n")
    assert len(lines) == 20
    assert lines[-1].startswith("  ... and ")


def test_files_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError):
        weights.load_model(tmp_path / "nowhere.pth")
    other = write(str(tmp_path / "other.safetensors"), {"encoder.weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(FormatError, match=r"holds no MobileNet .* it begins with encoder.weight"):
        weights.load_model(other)
    for name, content in {"text": b"hello, world", "empty": b"", "zip": b"PK\x03\x04" + bytes(99)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            weights.load_model(tmp_path / name)
    own = write(str(tmp_path / "own.safetensors"), network().state_dict())
    with pytest.raises(FormatError, match=r"only a native \.npz says which padding"):
        weights.load_model(own)
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="plain"):
        weights.load_model(tmp_path / "plain.npz")


def test_the_name_of_the_file_says_nothing(tmp_path):
    path = write(str(tmp_path / "model.pth"), theirs(frameworks.GOLDENS[0], np.float32))
    os.rename(path, tmp_path / "model.npz")
    assert weights.read(tmp_path / "model.npz").container == "pth"


def test_channels_of_no_mobilenet(tmp_path):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    arrays = {name: np.concatenate([value, value[:1]]) for name, value in arrays.items()}
    with pytest.raises(FormatError, match="no width multiplier gives a mobilenet_v2 the channels 9, "):
        weights.load_model(write(str(tmp_path / "model.pth"), arrays))


def test_a_file_that_repeats_itself_is_refused_before_a_network_is_built(tmp_path, monkeypatch):
    """A view of one number can claim any shape: 10^9 classes would be a network of 5 TB."""
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    arrays["classifier.1.weight"] = np.broadcast_to(np.float32(0), (10**9, 1280))
    arrays["classifier.1.bias"] = np.broadcast_to(np.float32(0), (10**9,))
    monkeypatch.setattr(torch_file, "read_whole", lambda path, choose: torch_file.TorchFile(arrays, "", (), ()))
    (tmp_path / "model.pth").write_bytes(b"\x80\x02")
    with pytest.raises(FormatError, match=r"classifier.1.weight repeats 4 bytes to be 5120000000000"):
        weights.load_model(tmp_path / "model.pth")


def test_negative_variance(tmp_path):
    arrays = theirs(frameworks.GOLDENS[0], np.float32)
    arrays["features.0.1.running_var"][2] = -1
    with pytest.raises(FormatError, match=r"stem\.bn\.var"):
        weights.load_model(write(str(tmp_path / "model.pth"), arrays))


@pytest.mark.parametrize("name, names", [("a.npz", "npmnv2"), ("a.pth", "torchvision")])
def test_values_that_are_not_finite_are_told(name, names, tmp_path):
    model, path = npmnv2.mobilenet_v2(10, 0.35), str(tmp_path / name)
    model.layers["fc"].w.value[:2, 1], model.layers["b1.0"].dw.conv.w.value[0, 0, 0] = np.nan, np.inf
    weights.save(model, path, names)
    with pytest.warns(UserWarning, match=r"found: NaN or infinite values in b1\.0\.dw\.conv\.w \(1\), fc\.w \(2\)$"):
        weights.load_model(path)


def test_hugging_face_lacks_a_shortcut_at_small_widths(tmp_path):
    model = network("mobilenet_v2", 0.25, "hf")
    with pytest.raises(ValueError, match=r"width_mult must be more than 0\.25 for names='hf'"):
        weights.save(model, tmp_path / "a.pth", names="hf")
    arrays = translate(model.state_dict(), "mobilenet_v2", "hf")
    with pytest.raises(FormatError, match=r"width 0\.25, which lacks the shortcut around the first block"):
        weights.load_model(write(str(tmp_path / "a.pth"), arrays))


@pytest.mark.parametrize("architecture", KINDS)
def test_shapes_are_those_of_the_network(architecture):
    for settings in ({"width_mult": 0.35, "in_channels": 1, "strides": "digits"}, {"width_mult": 0.6}):
        model = KINDS[architecture](7, **settings)
        assert shapes(architecture, model.config) == {k: v.shape for k, v in model.state_dict().items()}


# -- into a network that exists


def test_load_into(tmp_path):
    path = tmp_path / "model.pth"
    weights.save(network(), path, names="torchvision")
    model = npmnv2.mobilenet_v2(5, 0.1, strides="cifar")  # strides may differ: no array knows them
    assert weights.load_into(model, path) == []
    assert same(model.state_dict(), network().state_dict())
    assert model.preprocessing == PREPROCESSING["torchvision"]
    assert model.training


def test_partial_loading_is_asked_for_and_said(tmp_path):
    path = tmp_path / "model.npz"
    source = network()
    source.labels = list("abcde")
    weights.save(source, path)
    model = npmnv2.mobilenet_v2(3, 0.1, seed=5)
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"5 classes; .* 3 classes; partial=True"):
        weights.load_into(model, path)
    assert same(model.state_dict(), before)
    assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
    after = model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in ("fc.w", "fc.b"))
    assert all(np.array_equal(after[name], value) for name, value in source.state_dict().items() if name[:2] != "fc")
    assert model.labels is None
    model = npmnv2.mobilenet_v2(5, 0.1)
    assert weights.load_into(model, path, partial=True) == []  # the classifier fits, so it is loaded
    assert model.labels == list("abcde")


def test_a_file_without_a_classifier(tmp_path):
    arrays = {name: value for name, value in theirs(frameworks.GOLDENS[3]).items() if "predictions" not in name}
    path = write(str(tmp_path / "no_top.weights.h5"), arrays)
    with pytest.raises(FormatError, match="has no classifier; "):
        weights.load_model(path)
    model = network(names="keras", classes=3)
    with pytest.raises(FormatError, match="has no classifier; "):
        weights.load_into(model, path)
    assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
    arrays.pop("Conv1/kernel")
    with pytest.raises(FormatError, match="missing: Conv1/kernel"):
        weights.load_into(model, write(path, arrays), partial=True)


@pytest.mark.parametrize("case", [c for c in frameworks.GOLDENS if c.names == "keras"], ids=lambda case: case.id)
@pytest.mark.parametrize("top", [True, False], ids=["whole", "no_top"])
def test_layers_that_keras_only_counted_get_their_names_from_the_network(case, top, tmp_path):
    """Files of Keras before 3.6. What does not fit is left as it is, and refused as anything else."""
    classifier = ("predictions", "conv_preds")
    arrays = {k: v for k, v in theirs(case, np.float32).items() if top or not k.startswith(classifier)}
    named, counted = tmp_path / "named.weights.h5", tmp_path / "counted.weights.h5"
    keras_file.write(named, arrays)
    keras_file.write(counted, arrays)
    with h5py.File(counted, "r+") as file:
        file.visititems(lambda _, item: item.attrs.clear())
    found = weights.read(counted, partial=not top)
    assert (found.names, found.architecture) == ("keras", case.architecture)
    assert same(found.state, weights.read(named, partial=not top).state)
    with h5py.File(counted, "r+") as file:
        del file["layers/depthwise_conv2d_3"]
    with pytest.raises(FormatError, match="holds no MobileNet"):
        weights.read(counted, partial=not top)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: npmnv2.mobilenet_v2(5, 0.35), "of width 0.1 .*; the model is a mobilenet_v2 of width 0.35 "),
        (lambda: npmnv2.mobilenet_v1(5, 0.1), "the model is a mobilenet_v1"),
        (lambda: npmnv2.mobilenet_v2(5, 0.1, in_channels=1), "the model .* images of 1 channels"),
        (lambda: npmnv2.mobilenet_v2(5, 0.1, padding="same"), "padding must be 1, .* the model has 'same'"),
        (lambda: npmnv2.mobilenet_v2(5, 0.1, eps=1e-3), "eps must be 1e-05, .* the model has 0.001"),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_load_into_another_network(model, message, partial, tmp_path):
    weights.save(network(), tmp_path / "model.pth", names="torchvision")
    model = model()
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        weights.load_into(model, tmp_path / "model.pth", partial=partial)
    assert same(model.state_dict(), before)


def test_load_into_wants_a_network(tmp_path):
    with pytest.raises(TypeError, match="model must be a network"):
        weights.load_into(npmnv2.nn.layers.GlobalAvgPool(), tmp_path)


# -- saving


@pytest.mark.parametrize(("architecture", "names"), PAIRS)
def test_saved_names_are_found_again(architecture, names, tmp_path):
    model = network(architecture, 0.35, names)
    for ending in (".h5", ".weights.h5") if names == "keras" else (".pth", ".pt", ".bin", ".safetensors", ""):
        path = tmp_path / f"model{ending}"
        weights.save(model, path, names=names)
        if ending in (".pt", ".bin"):  # other names for the same
            assert path.read_bytes() == (tmp_path / "model.pth").read_bytes()
            continue
        source = weights.read(path)
        assert (source.names, source.architecture) == (names, architecture)
        assert source.container == {".h5": "keras", ".weights.h5": "keras", "": "safetensors"}.get(
            ending, "safetensors" if ending == ".safetensors" else "pth"
        )
        assert same(weights.load_model(path).state_dict(), model.state_dict())


@pytest.mark.parametrize(
    ("settings", "names", "path", "message"),
    [
        ({"padding": "same"}, "torchvision", "a.pth", "padding must be 1 .* was 'same'"),
        ({"eps": 1e-3}, "timm", "a.pth", "eps must be 1e-05"),
        ({}, "keras", "a.h5", "padding must be 'same'"),
        ({"padding": "same", "width_mult": 0.35}, "hf", "a.pth", "eps must be 0.001"),
        ({"strides": "digits"}, "torchvision", "a.pth", "strides must be"),
        ({"in_channels": 1}, "torchvision", "a.pth", "in_channels must be 3"),
        ({}, "slim", "a.pth", "names must be one of"),
        ({}, "torchvision", "a.npz", r"path must end in \.pth or \.pt or \.safetensors"),
        ({}, "torchvision", "a.h5", "path must end in"),
        ({}, "timm", "a.keras", "path must end in"),
        ({}, "keras", "a.keras", r"path must end in \.weights\.h5 or \.h5"),
        ({}, "keras", "a", "path must end in"),
        ({}, "npmnv2", "a.pth", r"path must end in \.npz"),
        ({}, "npmnv2", "a.keras", r"path must end in \.npz for names='npmnv2'; was .*a.keras$"),
        (
            {},
            "npmnv2",
            "a.onnx",
            r"path must end in \.npz .* was .*a.onnx: npmnv2.engine.onnx_export.export writes ONNX",
        ),
        ({}, "timm", "a.ONNX", r"path must end in \.pth .*: npmnv2.engine.onnx_export.export writes ONNX files$"),
    ],
)
def test_what_cannot_be_saved(settings, names, path, message, tmp_path):
    model = npmnv2.mobilenet_v2(5, **{"width_mult": 0.1, **settings})
    with pytest.raises(ValueError, match=message):
        weights.save(model, tmp_path / path, names=names)
    assert list(tmp_path.iterdir()) == []


def test_networks_that_a_library_has_not(tmp_path):
    with pytest.raises(ValueError, match="names must be timm, keras or hf for a mobilenet_v1; was 'torchvision'"):
        weights.save(npmnv2.mobilenet_v1(5, 0.25), tmp_path / "a.pth", names="torchvision")
    with pytest.raises(ValueError, match="names must be npmnv2 for a mobilenet_v1_conv"):
        weights.save(npmnv2.mobilenet_v1_conv(5, 0.1), tmp_path / "a.pth", names="timm")
    with pytest.raises(TypeError, match="model must be a network"):
        weights.save(npmnv2.nn.layers.GlobalAvgPool(), tmp_path / "a.npz")


def test_strides_by_number_are_those_by_name(tmp_path):
    model = npmnv2.mobilenet_v2(5, 0.1, strides=[2, 1, 2, 2, 2, 1, 2, 1])
    weights.save(model, tmp_path / "a.pth", names="torchvision")


# -- beginning with the network of a file, whatever its classifier is


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("more", ["features.4.conv.se.fc1", "features.19.0"])
def test_a_layer_between_is_no_classifier(prefix, more, tmp_path):
    """A network with layers of its own among those of the backbone answers otherwise, with whatever classifier."""
    arrays = translate(network().state_dict(), "mobilenet_v2", "torchvision")
    arrays[f"{more}.weight"], arrays[f"{more}.bias"] = np.zeros((8, 24, 1, 1), np.float32), np.zeros(8, np.float32)
    path = write(str(tmp_path / "model.pth"), {prefix + name: array for name, array in arrays.items()})
    with pytest.raises(FormatError, match=rf"has {prefix}{more}.*, between layers that have nothing there"):
        weights.load_into(network(), path, partial=True)


@pytest.mark.parametrize("head", ["another number", "the same number", "none", "two layers", "two classifiers"])
def test_fine_tuning_takes_the_network_below_any_classifier(head, tmp_path):
    from npmnv2.data import Dataset
    from npmnv2.train.fine_tuning import network_from

    classes = {"another number": 5, "the same number": 3}.get(head, 5)
    arrays = translate(network(classes=classes).state_dict(), "mobilenet_v2", "torchvision")
    if head == "none":
        arrays = {name: value for name, value in arrays.items() if "classifier" not in name}
    elif head.startswith("two"):
        arrays["classifier.3.weight"] = np.zeros((3, 5 if head == "two layers" else 1280), np.float32)
    path = write(str(tmp_path / "model.pth"), arrays)
    pixels, labels = np.zeros((3, 32, 32, 3), np.float32), np.arange(3)
    photos = Dataset(pixels, labels, pixels, labels, list("abc"))
    model, is_new = network_from(path, photos, None, seed=4)
    found, wanted = model.state_dict(), network(classes=classes).state_dict()
    assert is_new and found["fc.w"].shape == (1280, 3)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted if not name.startswith("fc."))
    if head == "the same number":
        with pytest.warns(UserWarning, match="the outputs of its classifier are a, b, c, in this order"):
            model, is_new = network_from(path, photos, None, keep_head=True)
        assert not is_new and same(model.state_dict(), wanted)
    else:
        with pytest.raises(ValueError, match=r"keep_head must be left out for .*: data has 3 classes"):
            network_from(path, photos, None, keep_head=True)


# -- what is taken for weights


LOOKALIKES = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "a page": (b"\n<!DOCTYPE html>\n<html lang='en'>", "is a web page"),
    "an older page": (b"<HTML><head>", "is a web page"),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_is_taken_for_weights_is_called_by_its_name(name, tmp_path):
    content, message = LOOKALIKES[name]
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        weights.load_model(tmp_path / "model.pth")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("more", [(), ("x_test", "y_test")])
def test_pictures_given_as_weights(save, more, tmp_path):
    """As Keras's mnist.npz and its like."""
    arrays = {name: np.zeros((4, 28, 28) if name[0] == "x" else 4, np.uint8) for name in ("x_train", "y_train", *more)}
    save(tmp_path / "mnist.npz", **arrays)
    listed = ", ".join(sorted(arrays))
    message = (
        rf"holds pictures and their labels \({listed}\), .* and no weights. .*train --data mnist:(\S+\.npz) if they"
    )
    for read in (weights.load_model, weights.read, lambda path: weights.load_into(network(), path, partial=True)):
        with pytest.raises(FormatError, match=message) as error:
            read(tmp_path / "mnist.npz")
        assert "\n" not in str(error.value)
    if more:  # what it says can be done
        assert load_mnist(re.search(message, str(error.value))[1]).train_x.shape == (4, 28, 28, 1)


def test_a_folder_is_searched(tmp_path):
    with pytest.raises(FormatError, match="is a folder without a file of weights"):
        weights.load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    write(str(tmp_path / "pytorch_model.bin.pth"), theirs(frameworks.GOLDENS[0], np.float32))
    write(str(tmp_path / "model.safetensors"), theirs(frameworks.GOLDENS[0], np.float32))
    assert weights.read(tmp_path).path == str(tmp_path / "model.safetensors")
    write(str(tmp_path / "other.safetensors"), theirs(frameworks.GOLDENS[0], np.float32))
    with pytest.raises(FormatError, match=r"is a folder of 2 such files: model\.safetensors, other\.safetensors"):
        weights.load_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FormatError, match="is a SavedModel of TensorFlow"):
        weights.load_model(tmp_path)


def test_a_cache_of_snapshots(tmp_path):
    """As Hugging Face's: the files are links, beside them the configuration that says how pictures are made."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0a1b", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    golden = next(golden for golden in frameworks.GOLDENS if golden.names == "hf")
    write(str(blobs / "7c.safetensors"), theirs(golden, np.float32))
    (blobs / "7c.safetensors").rename(blobs / "7c")
    (snapshot / "model.safetensors").symlink_to("../../blobs/7c")
    (snapshot / "training_args.bin").write_bytes(b"\x80")
    said = {"size": {"shortest_edge": 128}, "crop_size": {"height": 96, "width": 96}}
    (snapshot / "preprocessor_config.json").write_text(json.dumps(said))
    for folder in (snapshot, snapshot.parent, tmp_path / "models--a--b", tmp_path):
        assert weights.load_model(folder).preprocessing.resize == 128
    other = snapshot.parent / "9f8e"
    other.mkdir()
    (other / "model.safetensors").symlink_to("../../blobs/7c")
    several = r"2 such files: snapshots.0a1b.model.safetensors, snapshots.9f8e.model.safetensors; name one"
    with pytest.raises(FormatError, match=several):
        weights.load_model(tmp_path / "models--a--b")
    assert weights.load_model(other).preprocessing.resize == 256


def test_folders_that_hold_no_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "optimizer.pt").write_bytes(b"")
    with pytest.raises(FormatError, match=r"without a file of weights .*; it holds config.json"):
        weights.load_model(tmp_path)
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(FormatError, match=r"saved: is a SavedModel of TensorFlow"):
        weights.load_model(tmp_path)
    (tmp_path / "many").mkdir()
    for k in range(1001):
        (tmp_path / "many" / f"{k}.pth").write_bytes(b"")
    with pytest.raises(FormatError, match="is a folder of more than 1000 files"):
        weights.load_model(tmp_path / "many")
