"""How pictures are prepared: what lies beside the weights, grey networks, options; that it is said, and why."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image
from test_classify import settled

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.data import PREPROCESSING, open_image, prepare
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.ops import softmax
from npmnv2.show.classify import load, load_explained
from npmnv2.weights import load_model, neighbours

HF = {"size": {"shortest_edge": 128}, "crop_size": {"height": 96, "width": 96}, "resample": 2}
TIMM = {
    "input_size": [3, 96, 96],
    "crop_pct": 0.9,
    "interpolation": "bilinear",
    "mean": [0.1, 0.2, 0.3],
    "std": [1, 2, 3],
}


def _network(names, classes=3, **options):
    options |= {"padding": "same", "eps": 1e-3} if names in ("hf", "keras") else {}
    return settled(npmnv2.mobilenet_v2(classes, 0.35, **options))


def _saved(path, names, classes=3, **beside):
    weights.save(_network(names, classes), path, names)
    for name, content in beside.items():
        path.with_name(f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "said, resize, crop, mean, std, interpolation",
    [
        (HF, 128, 96, 0.5, 0.5, "bilinear"),
        ({**HF, "image_mean": [0.485] * 3, "image_std": [0.25] * 3}, 128, 96, 0.485, 0.25, "bilinear"),
        (
            {"size": {"height": 160, "width": 192}, "do_center_crop": False, "resample": 3},
            (160, 192),
            None,
            0.5,
            0.5,
            "bicubic",
        ),
        (
            {"size": 146, "crop_size": 128, "rescale_factor": 1 / 127.5, "image_mean": 1, "image_std": 1},
            146,
            128,
            0.5,
            0.5,
            "bilinear",
        ),
        ({"do_resize": False, "do_normalize": False, "resample": 0}, None, 224, 0, 1, "nearest"),
        ({"do_rescale": False, "image_mean": [127.5], "image_std": [127.5]}, 256, 224, 0.5, 0.5, "bilinear"),
    ],
)
def test_what_transformers_says_beside_the_weights(tmp_path, said, resize, crop, mean, std, interpolation):
    path = _saved(tmp_path / "model.safetensors", "hf", preprocessor_config=said)
    model, why = load_explained(path)
    p = model.preprocessing
    assert (p.resize, p.crop, p.interpolation, p.crop_rounds) == (resize, crop, interpolation, "down")
    assert p.mean == pytest.approx([mean] * len(p.mean)) and p.std == pytest.approx([std] * len(p.std))
    assert why == "as preprocessor_config.json beside the weights says"
    assert load_model(path).preprocessing == p  # so fine-tuning sees pixels in the same way


def test_what_timm_says_beside_the_weights(tmp_path):
    config = {"architecture": "mobilenetv2_100", "label_names": ["ant", "bee", "cat"], "pretrained_cfg": TIMM}
    model, why = load_explained(_saved(tmp_path / "model.safetensors", "timm", config=config))
    assert model.preprocessing == Preprocessing(106, 96, "bilinear", (0.1, 0.2, 0.3), (1, 2, 3))
    assert model.labels == ["ant", "bee", "cat"]
    assert why == "as config.json beside the weights says; config.json beside them names the classes"


@pytest.mark.parametrize(
    "names, classes, expected",
    [
        ({"0": "ant", "1": "bee", "2": "cat"}, 3, ["ant", "bee", "cat"]),
        ({"0": 5, "1": 7, "2": "cat"}, 3, ["5", "7", "cat"]),
        ({"0": "ant", "1": "bee", "2": "cat"}, 4, None),
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, 3, None),
    ],
)
def test_the_names_of_the_classes_beside_the_weights(tmp_path, names, classes, expected):
    path = _saved(tmp_path / "model.safetensors", "hf", classes, config={"id2label": names})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, why = load_explained(path)
    assert model.labels == expected and model.preprocessing == PREPROCESSING["hf"]
    assert why.endswith("config.json beside them names the classes") is (expected is not None)
    said = [f"{tmp_path / 'config.json'}: names 3 classes, which are not those of the network, which has 4; not used"]
    assert [str(warning.message) for warning in caught] == (said if classes == 4 else [])


@pytest.mark.parametrize(
    "names",
    [
        {"0": "ant", "2": "cat"},
        {"1": "ant", "2": "bee", "3": "cat"},
        {"0": "ant", "1": "bee", "02": "cat", " 2": "dog"},
        {"0": None, "1": ["bee"], "2": "cat"},
        {"0": "", "1": "bee", "2": "cat"},
        ["ant", "bee", "cat"],
        3,
    ],
)
def test_names_that_are_not_those_of_the_classes_are_said_to_be_ignored(tmp_path, names):
    path = _saved(tmp_path / "model.safetensors", "hf", 3, config={"id2label": names})
    with pytest.warns(UserWarning, match="id2label must give each number from 0 on a name, and does not; not used"):
        assert load(path).labels is None


def test_the_word_of_the_file_and_of_the_option_come_first(tmp_path):
    path = _saved(tmp_path / "model.safetensors", "hf", preprocessor_config=HF)
    model, why = load_explained(path, "keras", changes={"size": 64})
    assert model.preprocessing.resize == (64, 64)
    assert why == "--size as given; for the rest, as --preprocessing keras says"
    weights.save(load(path, "timm"), tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").preprocessing == PREPROCESSING["timm"]
    other = _saved(tmp_path / "model.pth", "torchvision")  # which no library writes beside such a file
    assert load(other).preprocessing == PREPROCESSING["torchvision"]


@pytest.mark.parametrize(
    "said, text",
    [
        ("{", "Expecting property name"),
        ("[1]", "must hold a dictionary"),
        ("[" * 100_000, "recursion"),
        ({"resample": 1}, "resample must be 0, 2 or 3 (nearest, bilinear, bicubic); was 1"),
        ({"crop_size": {"height": 9, "width": 8}}, "crop_size must be a square; was 9 x 8"),
        ({"size": {"longest_edge": 9}}, "a size must be a number, shortest_edge, or height and width"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is not done here"),
        ({"image_std": [0, 0, 0]}, "std must"),
        ({"image_mean": "abc"}, "could not convert"),
        ({"resample": [1]}, "resample must be 0, 2 or 3"),
        ({"size": 10**9}, "resize must"),
        ({"size": float("inf")}, "a size must be a number"),
        ({"rescale_factor": 0}, "division by zero"),
    ],
)
def test_what_cannot_be_done_beside_the_weights_is_one_line(tmp_path, said, text):
    path = _saved(tmp_path / "model.safetensors", "hf", preprocessor_config=said)
    with pytest.raises(ValueError, match="mend it or move it away") as caught:
        load(path)
    assert text in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("names", "config", "expected"),
    [
        ("hf", {"layer_norm_eps": 1e-5, "tf_padding": False, "hidden_act": "relu6"}, (1, 1e-5)),
        ("hf", {"layer_norm_eps": 1e-3, "tf_padding": True, "output_stride": 32}, ("same", 1e-3)),
        ("timm", {"model_args": {"pad_type": "same", "bn_eps": 1e-3}, "global_pool": "avg"}, ("same", 1e-3)),
        ("timm", {"model_args": None}, (1, 1e-5)),
    ],
)
def test_padding_and_epsilon_beside_the_weights(tmp_path, names, config, expected):
    source = weights.read(_saved(tmp_path / "model.safetensors", names, config=config))
    assert (source.config["padding"], source.config["eps"]) == expected
    usual = {"hf": ("same", 1e-3), "timm": (1, 1e-5)}[names]
    assert any(said.startswith("config.json beside the weights says") for said in source.found) is (expected != usual)


@pytest.mark.parametrize(
    ("names", "config", "text"),
    [
        ("hf", {"hidden_act": "swish"}, "hidden_act is 'swish'; that of the networks here is 'relu6'"),
        ("hf", {"output_stride": 8}, "output_stride is 8"),
        ("hf", {"layer_norm_eps": -1}, "eps must not be negative"),
        ("hf", {"layer_norm_eps": "x"}, "could not convert"),
        ("hf", {"tf_padding": []}, "unhashable"),
        ("timm", {"global_pool": "catavgmax"}, "global_pool is 'catavgmax'"),
        ("timm", {"model_args": {"act_layer": "silu"}}, "act_layer is 'silu'"),
        ("timm", {"model_args": [1]}, "does not go with the weights beside it"),
        ("timm", {"model_args": {"pad_type": {}}}, "does not go with the weights beside it"),
    ],
)
def test_another_network_beside_the_weights(tmp_path, names, config, text):
    path = _saved(tmp_path / "model.safetensors", names, config=config)
    with pytest.raises(weights.FormatError) as caught:
        load_model(path)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_an_enormous_file_beside_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_BYTES", 1000)
    path = _saved(tmp_path / "model.safetensors", "hf", config={"id2label": {str(k): "x" * 9 for k in range(100)}})
    with pytest.raises(ValueError, match=r"config\.json: .* it has more than 1000 bytes"):
        load(path)


def test_newer_weights_of_torchvision_want_232_pixels(tmp_path, monkeypatch):
    older = _saved(tmp_path / "mobilenet_v2-b0353104.pth", "torchvision")
    newer = _saved(tmp_path / "mobilenet_v2-7ebf99e0.pth", "torchvision")
    assert load(older).preprocessing.resize == 256 and load(newer).preprocessing.resize == 232
    assert load_explained(older)[1].endswith("IMAGENET1K_V1; IMAGENET1K_V2 wants --resize 232")
    assert load_explained(newer)[1] == "as torchvision does, whose names the weights have, IMAGENET1K_V2"
    renamed = _saved(tmp_path / "mine.pth", "torchvision")
    assert load(renamed).preprocessing.resize == 256
    digest = __import__("hashlib").sha256(renamed.read_bytes()).hexdigest()
    monkeypatch.setattr(neighbours, "TORCHVISION_V2", digest[:8])
    assert load(renamed).preprocessing.resize == 232


@pytest.mark.parametrize("names, ending", [("timm", ".safetensors"), ("keras", ".weights.h5"), ("hf", ".pth")])
def test_grey_networks_classify_grey_pictures(tmp_path, names, ending, capsys):
    path = tmp_path / f"grey{ending}"
    original = _network(names, in_channels=1)
    weights.save(original, path, names)
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260, 3)).astype(np.uint8)).save(picture)
    known = PREPROCESSING[names]
    grey = known._replace(mean=(np.mean(known.mean),), std=(np.mean(known.std),), channels=1)
    expected = softmax(original(prepare(open_image(picture), grey)[None]).astype(np.float64))[0]
    assert main(["classify", str(picture), "--weights", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = {guess["number"]: guess["probability"] for guess in document["images"][0]["top"]}
    np.testing.assert_allclose([found[k] for k in range(3)], expected, rtol=1e-4)
    assert "grey" in str(load(path).preprocessing) and document["prepared"].endswith("those of the colours together")


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--size 96", PREPROCESSING["torchvision"]._replace(resize=110, crop=96)),
        ("--resize 232", PREPROCESSING["torchvision"]._replace(resize=232)),
        ("--size 192 --resize 200", PREPROCESSING["torchvision"]._replace(resize=200, crop=192)),
        ("--resize 128x96", PREPROCESSING["torchvision"]._replace(resize=(128, 96), crop=None)),
        ("--mean 0.5 --std 0.25", PREPROCESSING["torchvision"]._replace(mean=(0.5,), std=(0.25,))),
        ("--mean 0.1,0.2,0.3", PREPROCESSING["torchvision"]._replace(mean=(0.1, 0.2, 0.3))),
        ("--preprocessing keras --size 96", PREPROCESSING["keras"]._replace(resize=(96, 96))),
        ("--preprocessing keras --resize 256", PREPROCESSING["keras"]._replace(resize=256, crop=224)),
    ],
)
def test_options_reach_the_picture(tmp_path, words, expected, capsys):
    path = _saved(tmp_path / "model.pth", "torchvision")
    Image.new("RGB", (50, 40), (200, 10, 10)).save(tmp_path / "a.png")
    assert main(["classify", str(tmp_path / "a.png"), "--weights", str(path), "--json", *words.split()]) == 0
    assert Preprocessing.from_dict(json.loads(capsys.readouterr().out)["preprocessing"]) == expected


@pytest.mark.parametrize("words, side", [("--resize 96", 224), ("--resize 256 --size 300", 300)])
def test_a_square_larger_than_what_it_is_cut_out_of_is_said(words, side, tmp_path, capsys):
    path = _saved(tmp_path / "model.pth", "torchvision")
    Image.new("RGB", (50, 40), (200, 10, 10)).save(tmp_path / "a.png")
    assert main(["classify", str(tmp_path / "a.png"), "--weights", str(path), *words.split()]) == 0
    short = words.split()[1]
    line = (
        f"the shorter side becomes {short}, and the square that is cut out is {side} x {side}: the rest of it is black"
    )
    assert capsys.readouterr().err == f"npmnv2 classify: {line}\n"


def test_no_mean_is_minus_0():
    assert ", mean 0, std 1" in str(PREPROCESSING["keras"]._replace(mean=(-0.0,), std=(1.0,)))


def test_a_file_that_says_nothing_and_options_that_say_all(tmp_path):
    weights.save(npmnv2.mobilenet_v2(3, 0.1), tmp_path / "silent.npz")
    changes = {"size": 64, "mean": (0.5,), "std": (0.5,)}
    assert load_explained(tmp_path / "silent.npz", changes=changes)[0].preprocessing == Preprocessing(
        (64, 64), None, "bilinear", (0.5,), (0.5,)
    )
    with pytest.raises(ValueError, match="or --size, --mean and --std must be given"):
        load_explained(tmp_path / "silent.npz", changes={"size": 64})


def test_what_is_odd_about_a_picture_is_said(tmp_path, capsys):
    path = _saved(tmp_path / "model.pth", "torchvision")
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(tmp_path / "a.png")
    assert main(["classify", str(tmp_path / "a.png"), "--weights", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "taken as 12 bits" in err and err.count("\n") == 1 and "shorter side to 256" in out


@pytest.mark.oracle
@pytest.mark.parametrize("size, crop", [(128, 96), (160, 128), (256, 224)])
def test_transformers_prepares_a_picture_so(tmp_path, size, crop):
    from golden.torchvision_models import torchvision  # noqa: F401  before transformers imports it
    from transformers.models.mobilenet_v2.image_processing_mobilenet_v2 import MobileNetV2ImageProcessor

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    processor = MobileNetV2ImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": crop, "width": crop}, image_mean=mean, image_std=std
    )
    path = _saved(tmp_path / "model.safetensors", "hf")
    processor.save_pretrained(tmp_path)
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 262, 3)).astype(np.uint8)).save(picture)
    own = prepare(open_image(picture), load(path).preprocessing)
    theirs = processor(Image.open(picture), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    assert own.shape == theirs.shape and np.abs(own - theirs).max() < 2.1 / 255 / 0.224


@pytest.mark.oracle
def test_a_grey_network_of_torchvision(tmp_path):
    import torch
    from golden.torchvision_models import torchvision

    theirs = torchvision.models.mobilenet_v2(num_classes=3, width_mult=0.35).eval()
    theirs.features[0][0] = torch.nn.Conv2d(1, 16, 3, 2, 1, bias=False)
    torch.save(theirs.state_dict(), tmp_path / "grey.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260)).astype(np.uint8)).save(tmp_path / "a.png")
    model, why = load_explained(tmp_path / "grey.pth")
    x = prepare(open_image(tmp_path / "a.png"), model.preprocessing)[None]
    assert x.shape == (1, 224, 224, 1) and "as torchvision does" in why
    with torch.no_grad():
        np.testing.assert_allclose(model(x), theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy(), atol=1e-5)


@pytest.mark.oracle
def test_timm_prepares_a_picture_so(tmp_path):
    from golden.torchvision_models import torchvision  # noqa: F401  before timm imports it, isort: skip
    import timm
    from timm.models._hub import save_config_for_hf

    theirs = timm.create_model("mobilenetv2_100", num_classes=3)
    configured = {"input_size": (3, 96, 96), "crop_pct": 0.9, "interpolation": "bilinear", "mean": (0.5, 0.4, 0.3)}
    path = _saved(tmp_path / "model.safetensors", "timm")
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (301, 262, 3)).astype(np.uint8)).save(picture)
    theirs.pretrained_cfg = {**theirs.pretrained_cfg, **configured}
    save_config_for_hf(theirs, tmp_path / "config.json", {"label_names": ["a", "b", "c"]})
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=theirs))
    expected = transform(Image.open(picture)).numpy().transpose(1, 2, 0)
    own = load(path)
    np.testing.assert_allclose(prepare(open_image(picture), own.preprocessing), expected, atol=1e-5)
    assert own.labels == ["a", "b", "c"]
