"""Labs: claims. Every statement is settled by a computation, and the command line asks, lists and settles."""

import ast
import contextlib
import csv
import inspect
import io
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import test_docs

from npmnv2 import cost, experiments, ops
from npmnv2.__main__ import main
from npmnv2.labs import claims
from npmnv2.labs.claims import counts, nonlinear, printed, shapes, tables
from npmnv2.shapes import conv_geometry

ROOT = pathlib.Path(__file__).parent.parent
THEMES = (counts, shapes, nonlinear, tables)
EVERY = claims.load()
BY_NAME = {claim.settle: claim for claim in EVERY}


def _settle(name):
    return claims.settle(BY_NAME[name]).answer


# -- the claims


@pytest.mark.parametrize("claim", EVERY, ids=lambda claim: claim.settle)
def test_every_claim_settles(claim):
    verdict = claims.settle(claim)
    if claim.unit:
        assert claim.says.endswith("?") and claim.within >= 1 and claim.settled == "computed"
        assert math.isfinite(verdict.answer) and verdict.answer > 0 and claim.is_right(verdict.answer, verdict)
    else:
        assert isinstance(verdict.answer, bool | np.bool_) and claim.says.endswith(".")
    assert verdict.why.endswith(".") and "\n" not in verdict.why and len(verdict.why) < 220
    assert claim.settled in ("computed", "by the source") and claim.source
    assert _is_there(f"docs/{claim.read}") and _is_there(claim.link)


def _is_there(link):
    """A heading of a page, a test of this repository, or an experiment."""
    if command := re.fullmatch(r"python -m npmnv2 experiment ([\w-]+)", link):
        return command[1] in experiments.NAMES
    path, mark, name = re.fullmatch(r"([\w/.]+)(#|::)(.+)", link).groups()
    if not (ROOT / path).is_file():
        return False
    text = (ROOT / path).read_text(encoding="utf-8")
    if mark == "#":
        return name in map(test_docs.slug, test_docs.headings(text))
    return name in {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_a_link_that_leads_nowhere_is_found():
    here = "tests/test_labs_claims.py::test_a_link_that_leads_nowhere_is_found"
    assert _is_there(here) and _is_there("docs/costs.md#one-layer") and _is_there("python -m npmnv2 experiment relu")
    for link in (
        f"{here}_not",
        "tests/test_nothing.py::test",
        "docs/costs.md#nothing",
        "python -m npmnv2 experiment x",
    ):
        assert not _is_there(link)


def test_the_list_teaches_both_ways():
    """Neither true nor false is the better guess by far, and what nothing computes is rare."""
    answers = [claims.settle(claim).answer for claim in EVERY if not claim.unit]
    assert len(answers) / 3 <= sum(answers) <= len(answers) / 2
    assert sum(claim.settled != "computed" for claim in EVERY) <= 7
    assert len({claim.says for claim in EVERY}) == len(EVERY) == claims.load()[-1].number


def test_every_function_settles_one_claim():
    functions = {
        f"{theme.__name__.rpartition('.')[2]}.{name}"
        for theme in THEMES
        for name, found in inspect.getmembers(theme, inspect.isfunction)
        if found.__module__ == theme.__name__ and not name.startswith("_")
    }
    assert functions == set(BY_NAME) and len(BY_NAME) == len(EVERY)


def test_a_prediction_is_right_within_its_factor():
    claim = BY_NAME["counts.madds"]
    verdict = claims.settle(claim)
    assert [claim.is_right(said, verdict) for said in (300, 320, 400, 0, -300, math.nan)] == [True] * 2 + [False] * 4
    exact = BY_NAME["counts.shortcuts"]
    assert [exact.is_right(said, claims.settle(exact)) for said in (10, 11)] == [True, False]


# -- the answers are computed


def _layers(network, **new):
    """A network of `cost` whose layers have other values, each a function of the layer."""
    real = getattr(cost, network)

    def changed(*args, **kwargs):
        return [layer._replace(**{name: of(layer) for name, of in new.items()}) for layer in real(*args, **kwargs)]

    return cost, network, changed


def _part(network, part):
    """Some of the layers of a network of `cost`."""
    real = getattr(cost, network)
    return cost, network, lambda *args, **kwargs: part(real(*args, **kwargs))


def _twice_as_large(layer):
    H, W, M = layer.out_shape
    return 2 * H, 2 * W, M


BLOCKS = shapes.plan()[1]
# What is put in the place of something in the package, and the claims that it turns over.
PLANTED = {
    "V2, fewer multiply-adds": (
        _layers("mobilenet_v2", madds=lambda layer: layer.madds * 7 // 12),
        "counts.madds counts.smallest_checkpoint counts.dense_v2 counts.small_images tables.cut_off",
    ),
    "V2, ReLU6 where it has none": (
        _layers("mobilenet_v2", relu6=lambda layer: not layer.relu6),
        "counts.linear_saves nonlinear.depthwise_is_complete",
    ),
    "V2, no batch norm": (
        _layers("mobilenet_v2", batchnorm=lambda layer: 0, weights=lambda layer: layer.weights // 2),
        "counts.stored_numbers nonlinear.linear_only_early",
    ),
    "V2, many batch norms": (_layers("mobilenet_v2", batchnorm=lambda layer: 5000), "counts.biases"),
    "V2, images that grow": (
        _layers("mobilenet_v2", out_shape=_twice_as_large),
        "shapes.widens_the_image shapes.projection_keeps_the_size tables.bottleneck_at_56 tables.largest_bottleneck",
    ),
    "V2, backwards": (_part("mobilenet_v2", lambda layers: layers[::-1]), "shapes.never_grows shapes.narrows_first"),
    "V2, its beginning": (
        _part("mobilenet_v2", lambda layers: layers[:40]),
        "counts.depth counts.shortcuts shapes.ends_with_pool_and_softmax",
    ),
    "V2, depthwise everywhere": (
        _layers("mobilenet_v2", kind=lambda layer: "depthwise"),
        "shapes.middle_channels counts.needless_expansion",
    ),
    "V1, a longer network": (_part("mobilenet_v1", lambda layers: [*layers, layers[0]]), "counts.layers_of_v1"),
    "V1, standard everywhere": (
        _layers("mobilenet_v1", kind=lambda layer: "standard"),
        "shapes.standard_in_v1 shapes.v1_was_first counts.pointwise_share",
    ),
    "V1, stride 2": (_layers("mobilenet_v1", stride=lambda layer: 2), "shapes.last_stride_of_v1"),
    "V1, as another table has it": (
        _layers("mobilenet_v1", madds=lambda layer: layer.madds * 1.011),
        "counts.v1_in_table tables.same_layers_counted",
    ),
    "V1, smaller at width 0.75": (_part("mobilenet_v1", lambda layers: layers[1:]), "tables.quarter_less_width"),
    "V1 without separation": ((cost, "mobilenet_v1_conv", cost.mobilenet_v1), "counts.twin_madds"),
    "V1, few weights": (
        _layers("mobilenet_v1", weights=lambda layer: layer.weights * 0.8),
        "counts.twin_weights",
    ),
    "a gain of M": ((cost, "separable_gain", lambda M: float(M)), "counts.gain_32 counts.gain_below_nine"),
    "19 blocks": ((counts, "plan", lambda: (32, [*BLOCKS, *BLOCKS[-2:]], 1280)), "counts.blocks"),
    "t = 6 everywhere": ((counts, "ROWS", [row._replace(t=6) for row in counts.ROWS]), "counts.factor_everywhere"),
    "all channels equal": (
        (shapes, "plan", lambda: (32, [b._replace(out_channels=b.in_channels) for b in BLOCKS], 1280)),
        "shapes.returns_to_its_input",
    ),
    "one more stride": (
        (counts, "plan", lambda: (32, [b._replace(stride=2) for b in BLOCKS], 1280)),
        "counts.strided_blocks",
    ),
    "sizes without padding": (
        (shapes, "conv_geometry", lambda *args, **kwargs: conv_geometry(*args[:4])),
        "shapes.stride_fits shapes.padded_pointwise",
    ),
    "ReLU that adds": (
        (ops, "relu_forward", lambda x: (x + 10, None)),
        "nonlinear.relu_in_many nonlinear.only_if_enough_survive",
    ),
    "ReLU127": ((ops, "relu6_forward", lambda x: (np.minimum(x, 127), None)), "nonlinear.int8_step"),
    "dropout that keeps": (
        (ops, "dropout_forward", lambda x, rate, rng: (x * (rng.random(x.shape) < rate), None)),
        "nonlinear.dropout_words",
    ),
    "batch norm without a mean": (
        (ops, "batchnorm_forward", lambda x, gamma, beta: (gamma * x + beta, None)),
        "nonlinear.bias_before_batchnorm",
    ),
    "V2, Table 4, better": (
        (printed, "V2_TABLE_4", {name: (-M, M, M) for name, (_, M, _) in printed.V2_TABLE_4.items()}),
        "tables.v2_beats_both tables.wide_v2_beats_both",
    ),
    "V2, Table 4, all times known": (
        (printed, "V2_TABLE_4", {name: (top, M, int(100 - top)) for name, (top, M, _) in printed.V2_TABLE_4.items()}),
        "tables.faster_than_both",
    ),
    "V2, Table 6, turned round": (
        (printed, "V2_TABLE_6", {name: (-madds, madds, 1) for name, (_, madds, _) in printed.V2_TABLE_6.items()}),
        "tables.best_of_three tables.twenty_times_as_fast",
    ),
    "V2, Table 5": ((printed, "V2_TABLE_5_SSDLITE", 0.1776), "tables.ssdlite_fits"),
    "V2, Table 7, V1": ((printed, "V1_AT_8", (78.56, 991.4)), "tables.ratio_to_resnet"),
    "V2, Table 7, V2": ((printed, "V2_AT_8", (77.33, 52.6)), "tables.price_of_two_points"),
    "V2, Table 3": ((printed, "V2_TABLE_3_SHUFFLENET", (480, 960, 1920)), "tables.shufflenet_groups"),
    "V1, Table 2": ((printed, "V1_TABLE_2", {"Conv 3x3": 1.906}), "tables.share_of_the_stem"),
    "V1, Table 4": (
        (printed, "V1_TABLE_4", {"Conv MobileNet": (71.7, 4867.29), "MobileNet": (60.6, 569)}),
        "tables.price_of_separating tables.same_layers_counted",
    ),
    "V1's checkpoints": (
        (printed, "V1_CHECKPOINTS", {0.75: {224: 325}, 0.25: {192: 30}}),
        "tables.quarter_less_width tables.misprint_at_192",
    ),
    "V2's checkpoints": (
        (printed, "V2_CHECKPOINTS", {width: {224: 1} for width in (0.35, 0.5, 0.75, 1.0, 1.4)}),
        "tables.published_widths tables.cut_off",
    ),
    "V2's checkpoints, width 0.25": ((printed, "V2_CHECKPOINTS", {0.25: {224: 1}}), "tables.quarter_width"),
    "V3-Large": ((printed, "V3_LARGE", ((24, 2), (40, 1))), "tables.v3_keeps_shortcuts"),
    "V3-Small": ((printed, "V3_SMALL", (*printed.V3_SMALL, (5, 824, 96, True, 1))), "tables.v3_small"),
}


@pytest.mark.parametrize("change, turned", PLANTED.values(), ids=PLANTED)
def test_a_planted_error_changes_the_answer(change, turned, monkeypatch):
    before = {name: _settle(name) for name in turned.split()}
    monkeypatch.setattr(*change)
    assert {name for name, answer in before.items() if _settle(name) != answer} == set(turned.split())


def test_both_sides_are_reached():
    """Of the true or false, by the plants above."""
    turned = {name for _, names in PLANTED.values() for name in names.split() if not BY_NAME[name].unit}
    true = {name for name in turned if _settle(name)}
    assert len(true) > 15 and len(turned - true) > 25


def _typed(function):
    """What is written out in the strings that a function shows: f-strings, and what is handed to `Verdict`."""
    formats = {node.format_spec for node in ast.walk(function) if isinstance(node, ast.FormattedValue)}
    for node in ast.walk(function):
        if isinstance(node, ast.JoinedStr) and node not in formats:
            yield from (part.value for part in node.values if isinstance(part, ast.Constant))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Verdict":
            yield from (each.value for each in node.args if isinstance(getattr(each, "value", None), str))


NAMES = re.compile(
    r"V[123]\b|ReLU6|ResNet-50|YOLOv2|\(x2\)|[13]x[13]\b|[Tt]op-1|Table \d+|Figure \d|section [\d.]+|t = 1\b|\bb\d"
)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.__name__.rpartition(".")[2])
def test_no_figure_is_typed(theme):
    tree = ast.parse(inspect.getsource(theme))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    words = [(each.name, text) for each in functions for text in _typed(each)]
    assert len(words) > 20
    assert [(name, text) for name, text in words if re.search(r"\d", NAMES.sub("", text))] == []


# -- what is printed


def _table(name):
    with open(ROOT / "docs" / "tables" / name, encoding="utf-8") as file:
        next(file)
        return list(csv.DictReader(file))


def test_what_is_printed_is_what_the_tables_hold():
    for name, found in (
        ("v1_16_checkpoints.csv", printed.V1_CHECKPOINTS),
        ("v2_22_checkpoints.csv", printed.V2_CHECKPOINTS),
    ):
        rows = {(float(row["width"]), int(row["res"])): int(row["pub_macs_M"]) for row in _table(name)}
        assert rows == {(width, side): M for width, sides in found.items() for side, M in sides.items()}
    shares = {row["type"]: float(row["pub_macs_pct"]) for row in _table("v1_table2_resource_per_layer.csv")}
    assert shares == printed.V1_TABLE_2
    rows = [(float(row["top1"]), int(row["pub_macs_M"])) for row in _table("v1_tables4_9.csv")[:2]]
    assert rows == list(printed.V1_TABLE_4.values())
    for row in _table("v2_table4_imagenet.csv"):
        time = None if row["cpu_ms"] == "-" else int(row["cpu_ms"])
        assert printed.V2_TABLE_4[row["network"]] == (float(row["top1"]), int(row["madds"][:-1]), time)
    stages = [row for row in _table("shufflenet_v1_table1.csv") if row["layer"].startswith("Stage")][::2]
    assert {g: tuple(int(row[f"g{g}"]) for row in stages) for g in printed.SHUFFLENET} == printed.SHUFFLENET
    stages = [
        row["ShuffleNet_arXivv4"] for row in _table("v2_table3_memory.csv") if row["size"] in ("28x28", "14x14", "7x7")
    ]
    assert tuple(int(entry.split("/")[0]) for entry in stages) == printed.V2_TABLE_3_SHUFFLENET


def test_v3_small_is_counted_whole():
    assert tables._v3_small() == 56_915_136


# -- the command line


class Terminal(io.StringIO):
    """What is typed, or shown, in a terminal."""

    def isatty(self):
        return True


def _run(monkeypatch, *words, typed=None):
    """Exit status, stdout and stderr of `python -m npmnv2 lab claims ...`; with `typed` in a terminal."""
    monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Terminal(typed))
    out = io.StringIO() if typed is None else Terminal()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(["lab", "claims", *words])
    return status, out.getvalue(), err.getvalue()


def test_the_page_has_the_list(monkeypatch):
    status, out, err = _run(monkeypatch, "--list")
    page = (ROOT / "docs" / "labs" / "claims.md").read_text(encoding="utf-8")
    (listed,) = (fence.body for fence in test_docs.fences(page) if fence.language == "text")
    assert (status, err) == (0, "") and listed == out
    assert out.count("[true or false]") + out.count("[predict the number, ") == len(EVERY)
    assert ", computed: " not in out and "posts" not in out and "docs/" not in out


def test_without_a_terminal_it_lists_and_says_how_to_settle(monkeypatch):
    status, out, err = _run(monkeypatch)
    assert (status, err) == (0, "")
    assert out.startswith(_run(monkeypatch, "--list")[1]) and "python -m npmnv2 lab claims --settle" in out
    monkeypatch.setattr(sys, "stdin", None)
    with contextlib.redirect_stdout(Terminal()):
        assert main(["lab", "claims"]) == 0


def test_it_asks(monkeypatch):
    number, exact = BY_NAME["counts.madds"], BY_NAME["shapes.middle_channels"]
    assert (EVERY[0].unit, EVERY[1]) == ("", exact)
    status, out, err = _run(monkeypatch, typed="maybe\nt\n144\n\nq\n")
    assert (status, err) == (0, "") and out.endswith("1 of 2 right.\n")
    assert (
        out.index("answer with t or f")
        < out.index("not so.")
        < out.index("| false, computed: ")
        < out.index("right.\n")
    )
    assert out.count("t or f? ") == 4 and out.count("number? ") == 1 and EVERY[4].says[:40] not in out
    for typed, answer in (("310\n", "1 of 1"), ("7,0\n300.8\n", "1 of 1"), ("200 %\n", "0 of 1"), ("", "0 of 0")):
        status, out, err = _run(monkeypatch, str(number.number), typed=typed)
        assert status == 0 and out.endswith(f"{answer} right.\n") and number.says.split()[0] in out
    assert "a number such as 7.5" in _run(monkeypatch, str(number.number), typed="many\n")[1]
    assert _run(monkeypatch, "--seed", "1", typed="")[1] != _run(monkeypatch, "--seed", "2", typed="")[1]


def test_it_settles(monkeypatch):
    status, out, err = _run(monkeypatch, "--settle")
    assert (status, err) == (0, "") and out.count(", computed: ") + out.count(", by the source: ") == len(EVERY)
    one = _run(monkeypatch, "--settle", "1")
    assert one == _run(monkeypatch, "1", "--settle") and one[1] in out and one[1].count("Read on: docs/") == 1
    assert one[1].count("Settled by: tests/") == 1 and out.count("Settled by: ") == len(EVERY)


def test_the_document(monkeypatch):
    listed = json.loads(_run(monkeypatch, "--list", "--json")[1])["claims"]
    settled = json.loads(_run(monkeypatch, "--settle", "--json")[1])["claims"]
    assert len(listed) == len(settled) == len(EVERY)
    asked = ["number", "says", "kind", "unit", "within"]
    assert list(listed[0]) == asked and list(settled[0]) == [
        *asked,
        "answer",
        "why",
        "settled",
        "source",
        "read",
        "link",
    ]
    assert settled[0]["answer"] is False and settled[1]["answer"] == 144


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["0"], f"the claims are 1 to {len(EVERY)}"),
        ([str(len(EVERY) + 1)], "one at a time or all"),
        (["one"], "was one"),
        (["1", "2"], "unrecognized arguments: 2"),
        (["--settle", "x"], "was x"),
        (["1", "--settle", "2"], "unrecognized arguments: 2"),
        (["--list", "--settle"], "take one of them"),
        (["--hint"], "unrecognized arguments: --hint"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_usage(words, complaint, monkeypatch):
    status, out, err = _run(monkeypatch, *words)
    assert (status, out) == (2, "") and complaint in err


def test_it_compiles_nothing():
    code = (
        "import sys; from npmnv2.__main__ import main; main(['lab', 'claims', '--settle']); "
        "print(sorted({'numba', 'scipy', 'matplotlib'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, stdin=subprocess.DEVNULL
    )
    assert done.stdout.endswith("[]\n")
