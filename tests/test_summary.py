"""The summary: the tree is the table of costs, its sums add up, bytes never change, it is quick and fits 80 columns."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from cases import table
from PIL import Image

import npmnv2
from npmnv2 import cost
from npmnv2.__main__ import _parsers, main
from npmnv2.cost import counting, memory
from npmnv2.models.mobilenet_v2 import ROWS, plan
from npmnv2.show import summary

ROOT = pathlib.Path(npmnv2.__file__).parent.parent
NETWORKS = pytest.mark.parametrize("model", cost.NETWORKS)
PUBLISHED = [(row["width"], row["res"]) for row in table("v2_22_checkpoints.csv")]


def _number(text):
    return int(text.replace(",", ""))


def _process(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, cwd=ROOT, check=True, env={**os.environ, **environment}
    )
    assert done.stderr == b""
    return done.stdout


# -- the text


@NETWORKS
@pytest.mark.parametrize("width, resolution, classes", [("1.0", 224, 1000), ("0.35", 97, 10), ("1.4", 33, 1001)])
@pytest.mark.parametrize("convention", ["paper", "fvcore", "readme"])
def test_the_tree_is_the_table_of_costs(model, width, resolution, classes, convention, capsys):
    options = ["--model", model, "--width", width, "--resolution", str(resolution), "--classes", str(classes)]
    assert main(["summary", *options, "--convention", convention]) == 0
    out, err = capsys.readouterr()
    layers = cost.NETWORKS[model](float(width), resolution, classes)
    counted = dict(counting.count_each(layers, convention))
    title, _, head, *lines = out.splitlines()
    total, _, weights, figure, why, activations, note = lines[-7:]
    assert title == f"{model}, width {float(width):g}, {resolution}x{resolution} pixels, {classes} classes"
    operations = "operations" if convention == "fvcore" else "multiply-adds"
    assert head.split() == ["layer", "output", "parameters", operations, "bytes", "share"]

    leaves, blocks, block = {}, {}, ""
    for line in lines[:-7]:
        name, shape, *numbers, share, percent = line.split()
        assert percent == "%"
        values = (shape, *map(_number, numbers), float(share))
        if line.startswith("  "):
            leaves[f"{block}.{name}"] = values
            blocks.setdefault(block, []).append(values)
        else:
            block = name
            leaves[name] = values
    assert list(leaves) == [
        line for layer in layers for line in _lines_of(layer, layers)
    ]  # blocks before their layers, the pool before the classifier
    for layer in layers:
        size = "x".join(map(str, layer.out_shape))
        share = 100 * counted[layer.name] / sum(counted.values())
        assert leaves[layer.name][:4] == (size, layer.parameters, counted[layer.name], layer.bytes)
        assert leaves[layer.name][4] == pytest.approx(share, abs=0.0051)
    for name, parts in blocks.items():  # a block is the sum of its layers
        assert leaves[name][0] == parts[-1][0]
        assert leaves[name][1:4] == tuple(map(sum, list(zip(*parts, strict=True))[1:4]))

    sums = cost.total(layers)
    pool = 4 * (layers[-2].outputs + layers[-1].inputs)
    assert total.split() == ["total", f"{sums.parameters:,}", f"{sum(counted.values()):,}", f"{sums.bytes + pool:,}"]
    assert weights == f"parameters: {sums.weights:,} of them weights; {sums.variables:,} with running statistics"
    assert figure == f"{convention}: {counting.count(layers, convention):,}"
    assert why.strip() == counting.find(convention).why
    most = memory.peak(memory.schedule(layers))
    assert activations == f"activations: at most {most.bytes:,} bytes at once, in {most.name}"
    assert note.startswith("bytes: float32") and err == ""


def _lines_of(layer, layers):
    block = layer.name.rpartition(".")[0]
    if layer.kind == "linear":
        return ["pool", layer.name]
    first = next(other.name for other in layers if other.name.rpartition(".")[0] == block)
    return [block, layer.name] if block and layer.name == first else [layer.name]


@NETWORKS
def test_80_columns_at_every_published_size(model, capsys):
    for width, resolution in PUBLISHED:
        for convention in ("paper", "calflops"):
            options = ["--width", width, "--resolution", resolution, "--convention", convention]
            assert main(["summary", "--model", model, *options]) == 0
            assert all(len(line) <= 80 and line == line.rstrip() for line in capsys.readouterr().out.splitlines())


def test_every_convention_is_a_total(capsys):
    for name in counting.CONVENTIONS:
        assert main(["summary", "--convention", name]) == 0
        assert f"\n{name}: {counting.count(cost.mobilenet_v2(), name):,}\n" in capsys.readouterr().out


def test_layers_that_cannot_be_told_apart_are_refused():
    first, second = cost.convolution("standard", 8, 8, 3, 4), cost.convolution("standard", 8, 8, 4, 8)
    with pytest.raises(ValueError, match="layers must each have a name of their own; '' was that of 2"):
        summary.text([first, second])
    with pytest.raises(ValueError, match="layers must not be empty"):
        summary.document([])


def test_the_pool_stands_before_the_first_of_several_linear_layers():
    conv = cost.convolution("standard", 8, 8, 3, 4, name="conv")
    rows = summary.tree([conv, cost.linear(4, 6, name="fc1"), cost.linear(6, 2, name="fc2")])
    assert [(row.name, row.output) for row in rows[1:]] == [
        ("pool", (1, 1, 4)), ("fc1", (1, 1, 6)), ("fc2", (1, 1, 2))
    ]  # fmt: skip


def test_a_convention_that_counts_nothing_has_no_shares():
    nothing = counting.Convention("nothing", "no operation at all", madd=0)
    assert " 0.00 %" in summary.text(cost.mobilenet_v2(), nothing)[1]
    assert {layer["share"] for layer in summary.document(cost.mobilenet_v2(), nothing)["layers"]} == {0}


# -- fewer lines


def _table(out):
    """The lines of the table between its head and the total, by name: output, parameters, operations, bytes."""
    rows = {}
    for line in out.splitlines()[3:]:
        name, *rest = line.split()
        if name == "total":
            return rows, tuple(map(_number, rest))
        rows[name] = (rest[0], *map(_number, rest[1:4]))


@NETWORKS
def test_depth_1_fits_a_slide(model, capsys):
    for width, resolution in PUBLISHED:
        for convention in counting.CONVENTIONS:
            options = ["--width", width, "--resolution", resolution, "--convention", convention]
            assert main(["summary", "--model", model, "--depth", "1", *options]) == 0
            lines = capsys.readouterr().out.splitlines()
            assert len(lines) <= 25 and max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "model, depth", [("mobilenet_v2", 1), ("mobilenet_v2", 2), ("mobilenet_v1", 1), ("mobilenet_v1_conv", 1)]
)
@pytest.mark.parametrize("convention", ["paper", "ptflops"])
def test_a_line_is_the_sum_of_its_layers(model, depth, convention, capsys):
    options = ["--model", model, "--width", "0.5", "--convention", convention]
    assert main(["summary", "--depth", str(depth), *options]) == 0
    rows, total = _table(capsys.readouterr().out)
    leaves = _document(capsys, *options)["layers"]
    assert total == tuple(map(sum, list(zip(*rows.values(), strict=True))[1:]))
    for name, row in rows.items():
        inside = [leaf for leaf in leaves if f"{leaf['name']}.".startswith(f"{name}.")]
        sums = (sum(leaf.get(what, 0) for leaf in inside) for what in ("parameters", "operations", "bytes"))
        assert row == ("x".join(map(str, inside[-1]["out_shape"])), *sums)


def test_the_rows_are_those_of_the_papers_table(capsys):
    assert main(["summary", "--depth", "1"]) == 0
    rows, _ = _table(capsys.readouterr().out)
    assert list(rows) == ["stem", *(f"b{k}" for k in range(len(ROWS))), "head", "pool", "fc"]
    assert [int(rows[f"b{k}"][0].split("x")[2]) for k in range(len(ROWS))] == [row.c for row in ROWS]
    assert main(["summary", "--depth", "2"]) == 0
    rows, _ = _table(capsys.readouterr().out)
    assert [name for name in rows if "." in name] == [block.name for block in plan()[1]]


@pytest.mark.parametrize("model, deepest", [("mobilenet_v2", 3), ("mobilenet_v1", 2), ("mobilenet_v1_conv", 1)])
@pytest.mark.parametrize("more", [0, 1])
def test_as_deep_as_there_are_names_it_is_the_whole_tree(model, deepest, more, capsys):
    assert main(["summary", "--model", model]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert main(["summary", "--model", model, "--depth", str(deepest + more)]) == 0
    assert capsys.readouterr().out.splitlines() == [line for line in whole if not line.startswith("activations")]


@NETWORKS
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_has_the_same_lines(model, depth, capsys):
    options = ["--model", model, "--depth", str(depth)]
    document, whole = _document(capsys, *options), _document(capsys, "--model", model)
    assert {**document, "layers": None} == {**whole, "layers": None}
    assert main(["summary", *options]) == 0
    rows, _ = _table(capsys.readouterr().out)
    leaves, seen = {leaf["name"]: leaf for leaf in whole["layers"]}, []
    for layer in document["layers"]:
        inside = [leaves[name] for name in layer.get("layers", [layer["name"]])]
        seen += [leaf["name"] for leaf in inside]
        assert layer == inside[0] if layer["kind"] != "sum" else len(inside) > 1
        for what in ("madds", "backward_madds", "weights", "parameters", "operations", "bytes"):
            assert layer.get(what) == (sum(leaf[what] for leaf in inside) if what in inside[0] else None)
        assert layer["share"] == pytest.approx(sum(leaf["share"] for leaf in inside), abs=1e-12)
        assert layer.get("in_shape") == inside[0].get("in_shape") and layer["out_shape"] == inside[-1]["out_shape"]
        if "." not in layer["name"]:
            assert rows[layer["name"]][1:] == (layer.get("parameters", 0), layer["operations"], layer["bytes"])
    assert seen == list(leaves)


def test_a_depth_is_at_least_1_and_times_have_none(capsys):
    assert main(["summary", "--depth", "0"]) == 1
    assert capsys.readouterr().err == "npmnv2 summary: --depth must be at least 1; was 0\n"
    assert main(["summary", "--depth", "1", "--time"]) == 1
    assert "--depth must be left out with --time" in capsys.readouterr().err


# -- JSON


def _document(capsys, *options):
    assert main(["summary", "--json", *options]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "NaN" not in out and "Infinity" not in out
    return json.loads(out)


def test_json_is_the_published_table(capsys):
    document = _document(capsys)
    given = {"model": "mobilenet_v2", "width": 1.0, "resolution": 224, "classes": 1000}
    assert {key: document[key] for key in given} == given
    layers = [layer for layer in document["layers"] if layer["kind"] != "pool"]
    for layer, row in zip(layers, table("v2_layers_1.0_224.csv"), strict=True):
        hin, hout, cin, cout = (int(row[key]) for key in ("hin", "hout", "cin", "cout"))
        assert layer["name"] == row["layer"]
        assert layer["in_shape"] == [hin, hin, cin] and layer["out_shape"] == [hout, hout, cout]
        assert (layer["madds"], layer["weights"]) == (int(row["macs"]), int(row["weights"]))
        assert (layer["stride"], layer["batchnorm"]) == (int(row["stride"]), int(row["bn_channels"]))
    assert document["convention"]["counted"] == document["total"]["madds"] == document["total"]["operations"]
    assert document["peak"] == {"name": "b1.0.dw", "bytes": 6_021_120}


@NETWORKS
@pytest.mark.parametrize("convention", ["paper", "ptflops", "readme"])
def test_json_adds_up(model, convention, capsys):
    document = _document(capsys, "--model", model, "--convention", convention, "--width", "0.5")
    layers, total = document["layers"], document["total"]
    for what in ("bytes", "operations"):
        assert total[what] == sum(layer[what] for layer in layers)
    for what in ("madds", "weights", "parameters"):
        assert total[what] == sum(layer.get(what, 0) for layer in layers)
    assert sum(layer["share"] for layer in layers) == pytest.approx(1, abs=1e-12)
    counted = counting.count(cost.NETWORKS[model](0.5), convention)
    assert document["convention"] == {
        "name": convention, "why": counting.find(convention).why, "counted": counted
    }  # fmt: skip
    (pool,) = [layer for layer in layers if layer["kind"] == "pool"]
    assert pool["operations"] == (layers[-3]["out_shape"][2] * 49 if convention == "ptflops" else 0)


@pytest.mark.parametrize("row", table("v2_22_checkpoints.csv"), ids=lambda row: f"{row['width']}_{row['res']}")
def test_json_gives_every_published_checkpoint(row, capsys):
    total = _document(capsys, "--width", row["width"], "--resolution", row["res"])["total"]
    assert {what: total[what] for what in ("madds", "weights", "parameters", "variables")} == {
        "madds": int(row["exact_macs_1000"]),
        "weights": int(row["weights_1000"]),
        "parameters": int(row["trainable_1000(w+bias+BN gamma/beta)"]),
        "variables": int(row["all_vars_1000(+BN moving)"]),
    }


# -- the picture, the models, the sizes that fit


def test_the_picture_comes_with_the_table(tmp_path, capsys):
    path = tmp_path / "costs.png"
    assert main(["summary"]) == 0
    alone = capsys.readouterr().out
    assert main(["summary", "--plot", str(path)]) == 0
    assert capsys.readouterr().out == alone
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    (tmp_path / "folder.png").mkdir()
    assert main(["summary", "--plot", str(tmp_path / "folder.png")]) == 1
    assert "can be written" in capsys.readouterr().err


def test_the_models_to_choose_from_are_those_there_are(capsys):
    summary_parser = _parsers()[1]["summary"]
    (option,) = [action for action in summary_parser._actions if action.dest == "model"]
    assert set(option.choices) == set(cost.NETWORKS)
    with pytest.raises(ValueError, match=r"model must be one of mobilenet_v1, .*; was 'mobilenet_v9'"):
        summary.network("mobilenet_v9")


@NETWORKS
def test_the_smallest_size_that_fits_is_17(model):
    """At 16 the fifth halving would meet a single pixel."""
    assert len(summary.network(model, 0.5, 17)) == len(cost.NETWORKS[model]())
    for resolution in range(1, 17):
        with pytest.raises(
            ValueError, match=f"resolution must be larger: at {resolution} only 1x1 pixels are left for"
        ):
            summary.network(model, 0.5, resolution)


def test_a_depth_multiplier(capsys):
    options = [
        "summary",
        "--model",
        "efficientnet_lite",
        "--width",
        "1.1",
        "--depth-mult",
        "1.2",
        "--resolution",
        "260",
    ]
    assert main([*options, "--depth", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("efficientnet_lite, width 1.1, depth 1.2, 260x260 pixels, 1000 classes\n")
    assert "859,736,272" in out and "6,092,072" in out
    assert main([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["depth_mult"] == 1.2 and document["total"]["madds"] == 859_736_272
    for words, said in (
        (["--depth-mult", "1.2"], "--depth-mult must be left out for mobilenet_v2, whose rows have one depth"),
        (["--model", "efficientnet_lite", "--depth-mult", "0"], "--depth-mult must be more than 0"),
    ):
        assert main(["summary", *words]) == 1
        assert said in capsys.readouterr().err


# -- as a process


def test_the_bytes_are_always_the_same():
    code = """
from npmnv2.__main__ import main
for options in ([], ["--json"], ["--model", "mobilenet_v1", "--convention", "thop"]):
    main(["summary", *options])
"""
    first = _process("-c", code, PYTHONHASHSEED="1", COLUMNS="40", LC_ALL="C")
    second = _process("-c", code, PYTHONHASHSEED="2", COLUMNS="200", LC_ALL="C.UTF-8")
    assert first == second and first.count(b"\n") > 100 and first.endswith(b"\n") and b"\r" not in first


def test_it_is_quick_because_it_loads_numpy_alone():
    code = """
import sys
from npmnv2.__main__ import main
main(["summary", "--width", "1.4"])
print({"numba", "scipy", "matplotlib", "PIL", "tqdm", "threadpoolctl"} & {*sys.modules})
"""
    assert _process("-c", code).decode().splitlines()[-1] == "set()"


# -- what the library can, the command can


def _madds(capsys, *words):
    assert main(["summary", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("model, madds", [("mobilenet_v2", 300_774_272), ("mobilenet_v1", 568_740_352)])
def test_height_and_width(model, madds, capsys):
    """All but the classifier is in proportion to the pixels, if 32 divides the sides."""
    document = _madds(capsys, "--model", model, "--resolution", "256x128")
    head = document["layers"][-1]["madds"]
    assert document["total"]["madds"] == (madds - head) * 256 * 128 // 224**2 + head
    assert document["resolution"] == [256, 128] and document["layers"][0]["in_shape"] == [256, 128, 3]
    assert document["layers"][-3]["out_shape"][:2] == [8, 4]


@pytest.mark.parametrize("model", ["mobilenet_v1", "mobilenet_v2", "efficientnet_lite"])
@pytest.mark.parametrize("strides, channels", [("cifar", 1), ("digits", 1), ("imagenet", 4)])
def test_strides_and_channels(model, strides, channels, capsys):
    words = ["--model", model, "--strides", strides, "--channels", str(channels), "--resolution", "64x32"]
    document = _madds(capsys, *words, "--classes", "10")
    network = getattr(npmnv2, model)(10, strides=strides, in_channels=channels)
    assert document["total"]["parameters"] == sum(p.value.size for p in network.parameters())
    layers = cost.NETWORKS[model](1.0, (64, 32), 10, strides=strides, in_channels=channels)
    assert document["total"]["madds"] == cost.total(layers).madds
    assert document["layers"][0]["in_shape"] == [64, 32, channels]


def test_strides_of_ones_own_and_the_title(capsys):
    assert main(["summary", "--strides", "1,1,2,2,2,1,2,1", "--resolution", "32", "--channels", "1"]) == 0
    title, _, _, stem, *_ = capsys.readouterr().out.splitlines()
    assert title == "mobilenet_v2, width 1, strides 1 1 2 2 2 1 2 1, 32x32 pixels of 1 channel, 1000 classes"
    assert stem.split()[:2] == ["stem", "32x32x32"]


@pytest.mark.parametrize(
    "words, status, said",
    [
        ("--strides 1,2", 1, "strides must be one of imagenet, cifar, digits or 8 integers"),
        ("--strides none", 1, "strides must be one of imagenet, cifar, digits or 8 integers; was 'none'"),
        ("--channels 0", 1, "--channels must be at least 1; was 0"),
        ("--resolution 0x32", 1, "--resolution must be at least 1; was 0"),
        ("--resolution 64x1", 1, "resolution must be larger: at 64x1 only 64x1 pixels are left for stem"),
        ("--resolution 64x", 2, "argument --resolution: must be a side in pixels, or HxW; was '64x'"),
        ("--resolution 1x2x3", 2, "argument --resolution: must be a side in pixels, or HxW; was '1x2x3'"),
    ],
)
def test_sizes_and_strides_that_make_no_network(words, status, said, capsys):
    assert main(["summary", *words.split()]) == status
    assert said in capsys.readouterr().err


def test_the_clock_takes_them_too(monkeypatch, capsys):
    from npmnv2.show import timing

    seen = {}
    monkeypatch.setattr(timing, "profile", lambda model, layers, *a, say, **options: seen.update(options) or layers)
    monkeypatch.setattr(timing, "text", lambda layers: [str(layers[0].in_shape)])
    monkeypatch.setattr(timing, "document", lambda layers: {})
    assert main(["summary", "--time", "--strides", "cifar", "--channels", "1", "--resolution", "64x32"]) == 0
    assert "(64, 32, 1)" in capsys.readouterr().out and seen == {"strides": "cifar", "in_channels": 1}
