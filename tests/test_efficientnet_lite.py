"""EfficientNet-Lite: its table and its costs, its logits and gradients against the library that others use, its files.

`golden/make_efficientnet_lite.py` asked the library; test_oracle_efficientnet_lite.py asks it live, on trained weights.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cases import randomise, table
from golden import frameworks
from golden.lite import CLASSES, GOLDENS, images, summary
from golden.recipe import draw
from test_blocks import check_block
from test_onnx_export import run

import npmnv2
from npmnv2 import cost, ops, weights
from npmnv2.backends import whole
from npmnv2.cost.counting import quantities
from npmnv2.engine import onnx_export
from npmnv2.engine.folding import folded
from npmnv2.gradcheck import relative_error
from npmnv2.models.efficientnet_lite import VARIANTS, plan
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.weights import FormatError
from npmnv2.weights.conventions import CONVENTIONS, find_depth
from npmnv2.weights.formats import native, safetensors_file, torch_file
from npmnv2.weights.names import entries, translate

GOLDEN = np.load(Path(__file__).parent / "golden" / "efficientnet_lite.npz")
PUBLISHED = table("efficientnet_lite.csv")
goldens = pytest.mark.parametrize("case", GOLDENS, ids=lambda case: case.id)
PORT = "efficientnet_pytorch"
SMALL = {"num_classes": 3, "width_mult": 0.1, "strides": "digits", "in_channels": 1, "dtype": np.float64}


def theirs(case, dtype=np.float64):
    """The arrays of a golden case, by the library's names."""
    named = json.loads(GOLDEN[f"{case.id}/shapes"].item())
    state = frameworks.state({name: tuple(shape) for name, shape in named.items()})
    return {name: value.astype(dtype) for name, value in state.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Case -> a .pth as the library's users have it."""
    folder = tmp_path_factory.mktemp("lite")
    for case in GOLDENS:
        torch_file.write(folder / f"{case.id}.pth", theirs(case))
    return {case: folder / f"{case.id}.pth" for case in GOLDENS}


# -- the table


def test_the_published_variants_are_those_there_are():
    for row, (name, variant) in zip(PUBLISHED, VARIANTS.items(), strict=True):
        assert (row["network"], float(row["width"]), float(row["depth"])) == (name, *variant[:2])
        assert int(row["resolution"]) == variant.resolution


@pytest.mark.parametrize(
    "name, repeats, channels",
    [  # by hand, as the authors' round_repeats and round_filters have them
        ("lite0", [1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
        ("lite1", [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        ("lite2", [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
        ("lite3", [1, 3, 3, 5, 5, 6, 1], [24, 32, 48, 96, 136, 232, 384]),
        ("lite4", [1, 4, 4, 6, 6, 8, 1], [24, 32, 56, 112, 160, 272, 448]),
    ],
)
def test_rows_under_the_multipliers(name, repeats, channels):
    stem, blocks, head = plan(VARIANTS[name].width_mult, depth_mult=VARIANTS[name].depth_mult)
    assert (stem, head) == (32, 1280)
    rows = [[b for b in blocks if b.name.startswith(f"b{r}.")] for r in range(7)]
    assert [len(row) for row in rows] == repeats
    assert [{b.out_channels for b in row} for row in rows] == [{c} for c in channels]
    assert [{b.kernel for b in row} for row in rows] == [{3}, {3}, {5}, {3}, {5}, {5}, {3}]
    assert [[b.stride for b in row] for row in rows] == [
        [s] + [1] * (n - 1) for s, n in zip((1, 2, 2, 2, 1, 2, 1), repeats, strict=True)
    ]
    assert [b.in_channels for b in blocks[1:]] == [b.out_channels for b in blocks[:-1]]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["network"])
def test_published_size_and_multiply_adds(row):
    """Parameters to the printed digit.

    The printed multiply-adds are half of what TensorFlow's profiler counts, which is more than convolutions: with three
    for each element that a batch norm normalises they come out to half a percent.
    """
    layers = cost.efficientnet_lite(float(row["width"]), int(row["resolution"]), depth_mult=float(row["depth"]))
    assert f"{cost.total(layers).parameters / 1e6:.1f}" == row["parameters_millions"]
    counted, printed = quantities(layers), float(row["madds_millions"]) * 1e6
    assert counted.madd < printed
    assert counted.madd + 3 * counted.batchnorm == pytest.approx(printed, rel=0.005)


def test_lite0_to_the_unit():
    total = cost.total(cost.efficientnet_lite())
    assert (total.parameters, total.variables, total.madds) == (4_652_008, 4_694_024, 385_187_552)


@pytest.mark.parametrize(
    "resolution, options",
    [(33, {}), (47, {"depth_mult": 1.2}), (19, {"strides": "cifar", "in_channels": 1}), (8, {"strides": "digits"})],
)
def test_the_model_has_the_shapes_and_parameters_of_its_costs(resolution, options):
    layers = cost.efficientnet_lite(0.25, resolution, 7, **options)
    model = npmnv2.efficientnet_lite(7, 0.25, **options).eval()
    x = np.zeros((1, resolution, resolution, options.get("in_channels", 3)), np.float32)
    seen, state = model.activations(x, [layer.name for layer in layers]), model.state_dict()
    for layer in layers:
        shape = seen[layer.name].shape[1:]
        assert layer.out_shape == (shape if len(shape) == 3 else (1, 1, *shape)), layer.name
    assert cost.total(layers).variables == sum(value.size for value in state.values())
    taps = {layer.name: layer.kernel for layer in layers if layer.kind == "depthwise"}
    assert {name: state[f"{name}.conv.w"].shape[:2] for name in taps} == {name: (k, k) for name, k in taps.items()}


@pytest.mark.parametrize(
    "options, match",
    [
        ({"padding": 1}, 'padding must be "same", .*; was 1'),
        ({"padding": 2}, 'padding must be "same", .*; was 2'),
        ({"depth_mult": 0}, "depth_mult must be more than 0.25 .*; was 0"),
        ({"width_mult": -1}, "width_mult must be more than 0 .*; was -1"),
        ({"strides": (1, 2)}, "strides must be one of imagenet, cifar, digits or 8 integers"),
    ],
)
def test_what_makes_no_network_is_refused(options, match):
    for build in (npmnv2.efficientnet_lite, cost.efficientnet_lite):
        with pytest.raises(ValueError, match=match):
            build(**options)


def test_the_defaults_are_those_of_the_library_and_of_lite0():
    own = npmnv2.efficientnet_lite().config
    said = CONVENTIONS[PORT, "efficientnet_lite"]
    assert {name: own[name] for name in said} == said
    assert (own["width_mult"], own["depth_mult"], 224, own["dropout"]) == VARIANTS["lite0"]


# -- what it computes


@goldens
def test_logits_of_the_library(case, files, either):
    model = weights.load_model(files[case], dtype=np.float64)
    assert (model.config["width_mult"], model.config["num_classes"]) == (case.width, CLASSES)
    assert len(plan(depth_mult=case.depth)[1]) == len(plan(depth_mult=model.config["depth_mult"])[1])
    for size in case.sizes:
        assert relative_error(model(images(size)), GOLDEN[f"{case.id}/logits/{size}"]) < 1e-11
    single, size = weights.load_model(files[case]), case.sizes[0]
    assert relative_error(single(images(size).astype(np.float32)), GOLDEN[f"{case.id}/logits/{size}"]) < 1e-5


@goldens
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_gradients_of_the_library(case, mode, files, either):
    model = weights.load_model(files[case], dtype=np.float64).train(mode == "train")
    model.layers["dropout"].rate = 0.0
    x = images(case.sizes[-1])
    model(x)
    dx = model.backward(draw("dlogits", (len(x), CLASSES)))
    ours = translate(
        {name: p.grad for name, p in model.named_parameters().items()}, "efficientnet_lite", PORT, case.depth
    )
    ours["dx"] = np.ascontiguousarray(dx.transpose(0, 3, 1, 2))
    lengths = {}
    for name, found, right in zip(ours, summary(ours).values(), _in_our_order(case, mode, ours), strict=True):
        # in training the shift of a linear bottleneck has no gradient but rounding (see golden/recipe.py, `errors`)
        scale = lengths[name.replace("bias", "weight")] if mode == "train" and "_bn2.bias" in name else right[0]
        assert np.abs(found - right).max() < 1e-9 * scale, name
        lengths[name] = right[0]


def _in_our_order(case, mode, ours):
    """The stored gradients lie in the library's order of its parameters."""
    named = [n for n in json.loads(GOLDEN[f"{case.id}/shapes"].item()) if not n.endswith(("_mean", "_var"))]
    stored = dict(zip([*named, "dx"], GOLDEN[f"{case.id}/{mode}/gradients"], strict=True))
    return [stored[name] for name in ours]


@pytest.mark.parametrize("size", [(4, 7), (5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", 2])
def test_a_5x5_block_by_differences(size, stride, padding):
    options = {"stride": stride, "t": 3, "kernel": 5, "padding": padding, "rng": np.random.default_rng(0)}
    block = randomise(InvertedResidual(2, 2, **options, dtype=np.float64, eps=1e-3))
    assert block.dw.conv.w.value.shape == (5, 5, 6) and block.residual == (stride == 1)
    with npmnv2.backend("numpy"):
        check_block(block, np.random.default_rng(1).normal(size=(2, *size, 2)))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_compiled_block_takes_5x5(stride, in_python):
    blocks = [
        randomise(InvertedResidual(8, 8, stride=stride, t=2, kernel=k, padding="same", rng=np.random.default_rng(0)))
        for k in (3, 5)
    ]
    x = np.random.default_rng(1).normal(size=(2, 5, 4, 8)).astype(np.float32)
    for block in blocks:
        with npmnv2.backend("numpy"):
            wanted = block(x)
            dout = np.random.default_rng(2).normal(size=wanted.shape).astype(np.float32)
            dx = block.backward(dout)
            gradients = {name: p.grad for name, p in block.named_parameters().items()}
        with npmnv2.backend("numba"):
            assert whole(block) is not block  # asked, and then it looks at the weights
            out = block(x)
            assert "backward" in vars(block)
            assert relative_error(out, wanted) < 1e-5
            assert relative_error(block.backward(dout), dx) < 1e-4
        for name, p in block.named_parameters().items():
            assert np.abs(p.grad - gradients[name]).max() < 1e-4 * max(np.abs(gradients[name]).max(), 1), name


def test_folded_fused_and_as_a_graph_it_answers_the_same(in_python):
    model = randomise(npmnv2.efficientnet_lite(**SMALL)).eval()
    x = np.random.default_rng(0).normal(size=(2, 9, 6, 1))
    with npmnv2.backend("numpy"):
        wanted, net = model(x), folded(model)
        assert relative_error(net(x), wanted) < 1e-12
    nodes, arrays = onnx_export.graph(net)
    assert relative_error(run(nodes, arrays, x), wanted) < 1e-12
    groups = {n.output: n.attributes for n in nodes if n.operator == "Conv"}
    assert groups["b2.0.dw.conv"]["auto_pad"] == "SAME_UPPER" and arrays["b2.0.dw.w"].shape[2:] == (5, 5)
    engine = npmnv2.fuse(model)
    assert relative_error(engine(x), wanted) < 1e-12
    together = [set(layers) for layers, _ in engine.profile(x)]  # a 5x5 block is a step of its own, run as folded
    assert {"b2.0.expand", "b2.0.dw", "b2.0.project"} in together


@pytest.mark.compiled
@pytest.mark.parametrize(
    "options, shape", [({}, (1, 224, 224)), ({"width_mult": 0.35, "depth_mult": 1.2}, (3, 97, 130))]
)
def test_fused_in_float32_at_real_sizes(options, shape):
    model = randomise(npmnv2.efficientnet_lite(**options)).eval()
    x = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
    with npmnv2.backend("numpy"):
        wanted = model(x)
    assert relative_error(npmnv2.fuse(model)(x), wanted) < 1e-5
    with npmnv2.backend("numba"):
        assert relative_error(model(x), wanted) < 1e-5


def test_it_learns(either):
    """Steps of SGD on one batch: the loss falls, in both backends."""
    model = npmnv2.efficientnet_lite(3, 0.1, strides="digits", in_channels=1, dropout=0.0, momentum=0.1)
    x, labels = draw("x", (12, 12, 12, 1)).astype(np.float32), np.arange(12) % 3
    optimizer, losses = npmnv2.optim.SGD(model.parameters(), 0.01, momentum=0.9), []
    for _ in range(16):
        loss, dlogits = ops.softmax_cross_entropy(model(x), labels)
        model.backward(dlogits)
        optimizer.step()
        losses.append(loss)
    assert losses[-1] < 0.5 * losses[0]  # 0.02 of it or less with four seeds in float64


# -- files


@goldens
@pytest.mark.parametrize("write", [torch_file.write, safetensors_file.write])
def test_there_and_back_is_the_same(case, write, tmp_path):
    arrays = theirs(case, np.float32)
    write(tmp_path / "first", arrays)
    model = weights.load_model(tmp_path / "first")
    ending = ".pth" if write is torch_file.write else ".safetensors"
    weights.save(model, tmp_path / f"second{ending}", names=PORT)
    read = torch_file.read if ending == ".pth" else (lambda path: safetensors_file.read(path)[0])
    back = read(tmp_path / f"second{ending}")
    counters = {name for name in back if name.endswith("num_batches_tracked")}
    assert len(counters) == sum(name.endswith("running_var") for name in arrays)
    assert back.keys() - counters == arrays.keys()
    assert all(np.array_equal(back[name], value) for name, value in arrays.items())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_published_variant_is_found_in_its_file(name, tmp_path):
    """Lite1 and Lite2 have the same names; the shapes tell."""
    variant = VARIANTS[name]
    arrays = {
        entry.theirs: np.broadcast_to(np.float32(1), entry.to_theirs(np.zeros(shape, bool)).shape).copy()
        for entry, shape in _shapes(variant)
    }
    torch_file.write(tmp_path / "model.pth", arrays)
    source = weights.read(tmp_path / "model.pth")
    assert (source.names, source.architecture) == (PORT, "efficientnet_lite")
    found = {key: source.config[key] for key in ("width_mult", "depth_mult", "dropout")}
    assert found == {key: getattr(variant, key) for key in found}
    assert {key: source.config[key] for key in ("padding", "eps", "momentum")} == {
        "padding": "same", "eps": 1e-3, "momentum": 0.01,
    }  # fmt: skip


def _shapes(variant):
    from npmnv2.weights.source import shapes

    config = {"num_classes": 2, "strides": "imagenet", "in_channels": 3, **variant._asdict()}
    found = shapes("efficientnet_lite", config)
    return [(entry, found[entry.ours]) for entry in entries("efficientnet_lite", PORT, variant.depth_mult)]


def test_depths_are_found():
    for depth in (0.26, 0.3, 0.5, 0.75, 1.0, 1.1, 1.4, 1.8, 2.5, 3.25):
        blocks = len(plan(depth_mult=depth)[1])
        assert len(plan(depth_mult=find_depth(blocks))[1]) == blocks
    assert find_depth(10**4) == 1.8 and find_depth(0) == 1.0  # none: what is missing is listed for the nearest


def test_names_by_hand():
    """From the library's own listing."""
    found = {entry.ours: entry.theirs for entry in entries("efficientnet_lite", PORT)}
    assert found["stem.conv.w"] == "_conv_stem.weight" and found["head.bn.var"] == "_bn1.running_var"
    assert found["b0.0.dw.bn.gamma"] == "_blocks.0._bn1.weight"
    assert found["b0.0.project.bn.beta"] == "_blocks.0._bn2.bias"
    assert found["b2.1.expand.bn.mean"] == "_blocks.4._bn0.running_mean"
    assert found["b6.0.dw.conv.w"] == "_blocks.15._depthwise_conv.weight"
    assert (found["fc.w"], found["fc.b"]) == ("_fc.weight", "_fc.bias")
    assert CONVENTIONS[PORT, "efficientnet_lite"]["eps"] == 1e-3


def test_what_is_missing_is_listed(tmp_path):
    arrays = theirs(GOLDENS[0], np.float32)
    del arrays["_blocks.7._bn1.weight"]
    arrays["_blocks.7._bn1.wieght"] = np.ones(3, np.float32)
    torch_file.write(tmp_path / "model.pth", arrays)
    with pytest.raises(FormatError) as error:
        weights.load_model(tmp_path / "model.pth")
    assert str(error.value).splitlines()[1:] == [
        "  missing: _blocks.7._bn1.weight",
        "  unknown: _blocks.7._bn1.wieght (did you mean _blocks.7._bn1.weight?)",
    ]


def test_a_shortcut_that_the_library_leaves_out(tmp_path):
    """It compares a list with 1 in the first block of a row. At width 0.15 rows 3 and 4 have 16 channels each."""
    model = npmnv2.efficientnet_lite(3, 0.15)
    assert model.layers["b4.0"].residual
    with pytest.raises(ValueError, match=r"width_mult must be other than 0\.15 .* a shortcut around b4\.0, which effi"):
        weights.save(model, tmp_path / "model.pth", names=PORT)
    torch_file.write(tmp_path / "model.pth", translate(model.state_dict(), "efficientnet_lite", PORT))
    with pytest.raises(FormatError, match=r"lacks the shortcut around b4\.0 that an EfficientNet-Lite has"):
        weights.load_model(tmp_path / "model.pth")
    weights.save(model, tmp_path / "model.npz")
    assert weights.load_model(tmp_path / "model.npz").layers["b4.0"].residual


@pytest.mark.parametrize("depth", [0.5, 1.0, 1.1])
def test_native_keeps_everything(depth, tmp_path):
    """A deeper one has all the names of MobileNetV2: what the file says decides."""
    model = randomise(npmnv2.efficientnet_lite(4, 0.1, depth, strides="digits", in_channels=1, dropout=0.5, seed=3))
    weights.save(model, tmp_path / "model.npz")
    back = weights.load_model(tmp_path / "model.npz")
    assert type(back) is type(model) and back.config == model.config
    x = draw("x", (2, 7, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(back(x), model.eval()(x))
    assert weights.load_into(npmnv2.efficientnet_lite(**{**model.config, "seed": 0}), tmp_path / "model.npz") == []
    with pytest.raises(ValueError, match=rf"holds a efficientnet_lite of width 0\.1, depth {depth:g}, for images"):
        weights.load_into(npmnv2.mobilenet_v2(4, 0.1, strides="digits", in_channels=1), tmp_path / "model.npz")


@pytest.mark.parametrize("depth", ["deep", None, [1.0], 1e300, -1, math.nan, True])
def test_a_depth_that_makes_no_sense_is_a_format_error(depth, tmp_path):
    model = npmnv2.efficientnet_lite(2, 0.1)
    info = weights.describe(model)
    info["model"]["depth_mult"] = None if isinstance(depth, float) and math.isnan(depth) else depth
    native.write(tmp_path / "model.npz", {f"model/{n}": v for n, v in model.state_dict().items()}, info)
    with pytest.raises(FormatError, match=r"model\.npz: "):
        weights.load_model(tmp_path / "model.npz")
