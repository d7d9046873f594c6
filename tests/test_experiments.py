"""Experiments: what they compute against counting by hand, results that are kept, and what is refused."""

import json
import math
import os
import pathlib
import re
import statistics as standard
from types import SimpleNamespace

import numpy as np
import pytest

from npmnv2 import ops
from npmnv2.__main__ import main
from npmnv2.data import load_digits
from npmnv2.data.canvas import PIECE, load_canvas
from npmnv2.experiments import FULL_RUNS, NAMES, compare, expansion, load, memory, relu, running, separable, small_data
from npmnv2.experiments.experiment import Case, Experiment
from npmnv2.experiments.statistics import T_95, mean, wilson
from npmnv2.experiments.store import Store, kept
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.shapes import conv_geometry

ROOT = pathlib.Path(__file__).resolve().parent.parent

# -- statistics


def test_the_mean_and_its_interval():
    values = [3.0, 5.0, 4.0, 8.0, 5.0]
    found = mean(values)
    assert found.mean == standard.mean(values)
    assert found.spread == pytest.approx(standard.stdev(values))
    assert found.half == pytest.approx(2.776 * standard.stdev(values) / math.sqrt(5))
    assert math.isnan(mean([1.0]).spread)
    with pytest.raises(ValueError, match="at least one number"):
        mean([])


def test_the_interval_holds_in_95_of_100_draws():
    rng = np.random.default_rng(0)
    for n in (2, 5, 12):
        drawn = rng.normal(3.0, 2.0, size=(4000, n))
        hit = [abs(found.mean - 3.0) <= found.half for found in map(mean, drawn.tolist())]
        assert abs(np.mean(hit) - 0.95) < 0.015


def test_students_t_against_its_own_integral():
    for n, t in enumerate(T_95, 1):
        x = np.linspace(-t, t, 200_001)
        density = (
            math.gamma((n + 1) / 2) / math.sqrt(n * math.pi) / math.gamma(n / 2) * (1 + x**2 / n) ** (-(n + 1) / 2)
        )
        assert (density[1:] + density[:-1]).sum() * (x[1] - x[0]) / 2 == pytest.approx(0.95, abs=5e-5)


def test_wilson_solves_its_equation():
    """At both ends the observed share is 1.96 standard deviations from the share that is assumed."""
    for right, of in ((0, 5), (3, 7), (36, 36), (180, 360)):
        for end in wilson(right, of):
            away = abs(right / of - end)
            assert away == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / of), abs=1e-9)
    for bad in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="right must be"):
            wilson(*bad)


# -- what single experiments compute


def test_theorem_1_against_all_patterns_of_signs():
    for m in range(2, 9):
        patterns = (np.arange(2**m)[:, None] >> np.arange(m)) & 1  # (2^m, m)
        for d in range(1, m + 1):
            assert relu.preserved(d, m) == pytest.approx((patterns.sum(axis=1) >= d).mean())


def test_no_affine_map_is_nearer_than_the_best():
    rng = np.random.default_rng(1)
    x = relu.spiral()
    A = rng.normal(size=(2, 3))
    y = np.maximum(x @ A, 0)
    best = relu.error(relu.by_best_affine(y, x), x)
    assert best < relu.error(relu.by_inverse(y, A), x)
    features = np.concatenate([y, np.ones((len(y), 1))], axis=1)
    weights, *_ = np.linalg.lstsq(features, x, rcond=None)
    for _ in range(20):
        assert relu.error(features @ (weights + 1e-3 * rng.normal(size=weights.shape)), x) >= best


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("t", [1, 3])
def test_a_block_in_parts_is_the_block(stride, parts, t):
    rng, C, M = np.random.default_rng(2), 5, 7
    x = rng.normal(size=(1, 9, 7, C))
    before = x.copy()
    we = None if t == 1 else rng.normal(size=(C, t * C))
    wd, wp = rng.normal(size=(3, 3, t * C)), rng.normal(size=(t * C, M))
    wide = x if we is None else np.clip(x @ we, 0, 6)
    filtered = np.clip(ops.depthwise_conv2d_forward(wide, wd, stride=stride, padding=1)[0], 0, 6)
    assert np.allclose(memory.block_in_parts(x, (we, wd, wp), stride, parts), filtered @ wp, atol=1e-12)
    assert (x == before).all()


def test_what_numpy_held_is_what_the_docstring_adds_up():
    """Of every block in any number of parts, but for buffers of less than 0.08 MB."""
    cases = load("memory").cases(False, range(1))
    for name, by_seed in Store("memory", False, kept("memory")).results(cases).items():
        parts, side = int(name.split()[0]), 112
        for block, row in zip(plan(1.0)[1], by_seed[0]["blocks"], strict=True):
            g = conv_geometry(side, side, 3, 3, block.stride, 1)
            n = -(-block.t * block.in_channels // parts)  # channels of the largest part
            wide = n * side**2 if block.t > 1 else 0  # else a view of the input
            padded, filtered, out = n * (side + 2) ** 2, n * g.OH * g.OW, block.out_channels * g.OH * g.OW
            most = max(wide + padded, padded + 2 * filtered, filtered + out)
            more = row["measured"] - 4 * (block.in_channels * side**2 + out + most)
            assert 0 <= more < 8e4
            side = g.OH


def test_the_few_images_make_whole_batches_and_equally_many_steps():
    for case in small_data.cases(False, range(1)) + small_data.cases(True, range(1)):
        images, steps = case.settings["images"], case.settings["steps"]
        assert images % small_data.BATCH == 0 and steps * small_data.BATCH % images == 0
        assert "lr" in small_data.WAYS[case.settings["way"]]


def test_networks_of_equal_cost_cost_about_the_same():
    for data in ("digits", "canvas"):
        wanted = expansion.madds(6, 0.35, data)
        for t in expansion.FACTORS:
            assert abs(expansion.madds(t, expansion.equal(t, data), data) / wanted - 1) < 0.05
        standard_width = separable.equal(data)
        ratio = separable.madds("mobilenet_v1_conv", standard_width, data) / separable.madds("mobilenet_v1", 0.25, data)
        assert abs(ratio - 1) < 0.05


def test_a_canvas_holds_its_digit_whole_and_no_digit_is_on_both_sides():
    digits, canvas = load_digits(seed=3), load_canvas(seed=3)
    large = digits.test_x.repeat(2, axis=1).repeat(2, axis=2)
    for n in range(20):
        places = [(y, x) for y in range(17) for x in range(17)]
        assert any((canvas.test_x[n, y : y + 16, x : x + 16] == large[n]).all() for y, x in places)
        assert (canvas.test_x[n] > -1).sum() > (large[n] > -1).sum()  # and more
    assert (canvas.test_y == digits.test_y).all()
    assert PIECE == 8


# -- tables


def test_differences_are_paired_by_seed():
    results = {
        "digits: a": {0: {"held_out": [0.1, 0.5]}, 1: {"held_out": [0.1, 0.9]}},
        "digits: b": {0: {"held_out": [0.1, 0.6]}, 1: {"held_out": [0.1, 1.0]}},
    }
    line = next(line for line in compare.table(results) if line.startswith("  b"))
    assert line.split()[1:] == ["80.0", "28.3", "+10.0", "±", "0.0", "60.0", "100.0"]


# -- the page


@pytest.mark.parametrize("name", FULL_RUNS)
def test_the_page_says_what_an_experiment_does_not_show(name):
    """Each sentence of the command, as an item of a list."""
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    items = [" ".join(item.split()) for item in re.split(r"^- |\n\n", page, flags=re.MULTILINE)]
    experiment = load(name)
    assert f"*{experiment.question}*" in page
    ends = [";"] * (len(experiment.does_not_show) - 1) + ["."]
    listed = [sentence + end for sentence, end in zip(experiment.does_not_show, ends, strict=True)]
    at = items.index(listed[0])
    assert items[at : at + len(listed)] == listed


def test_the_page_and_the_help_say_which_have_full_runs(capsys):
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert re.findall(r"print\(\*stored\(.([\w-]+).\)", page) == list(FULL_RUNS)
    assert re.findall(r"^\| `experiment ([\w-]+)`", page, re.MULTILINE) == [n for n in NAMES if n not in FULL_RUNS]
    assert main(["experiment", "--help"]) == 0
    assert f"of {', '.join(FULL_RUNS)};" in re.sub(r"\s+", " ", capsys.readouterr().out)


# -- the store


def case(n, seed=0, **settings):
    return Case(f"n = {n}", seed, {"n": n, **settings})


def test_a_stopped_run_goes_on(tmp_path):
    path = str(tmp_path / "a.json")
    store = Store("relu", False, path)
    store.put(case(1), {"error": 0.5})
    again = Store("relu", False, path)
    assert again.missing([case(1), case(2)]) == [case(2)]
    assert again.results([case(1)]) == {"n = 1": {0: {"error": 0.5}}}
    with pytest.raises(ValueError, match="another 'n = 1, seed 0'"):
        again.missing([case(1, epochs=3)])


def test_the_minutes_of_all_commands_add_up(tmp_path, monkeypatch):
    clock, path = iter((0.0, 90.0, 200.0, 230.0)), str(tmp_path / "a.json")
    monkeypatch.setattr("npmnv2.experiments.store.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    for n, minutes in ((1, 1.5), (2, 2.0)):
        store = Store("relu", False, path)
        store.put(case(n), {})
        assert store.document["minutes"] == minutes


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"experiment": 1}', '{"experiment":"relu","quick":false,"cases":3}', "\xff"]
)
def test_what_is_no_file_of_results_is_refused_and_stays(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="holds no results of an experiment"):
        Store("relu", False, str(path))
    assert path.read_text(encoding="latin-1") == text


def test_results_of_another_run_are_refused(tmp_path, capsys):
    path = str(tmp_path / "a.json")
    Store("relu", True, path).put(case(1), {})
    for name, quick, words in (
        ("relu", False, "relu --quick, this is relu"),
        ("memory", True, "this is memory --quick"),
    ):
        with pytest.raises(ValueError, match=words):
            Store(name, quick, path)
    assert main(["experiment", "relu", "--json", path]) == 1
    assert "npmnv2 experiment: --json must name a new file" in capsys.readouterr().err


# -- the command


def test_a_full_file_is_shown_without_running(tmp_path, capsys, monkeypatch):
    path, plot = str(tmp_path / "m.json"), tmp_path / "m.gif"
    assert main(["experiment", "memory", "--quick", "--json", path]) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(running, "_one", None)
    assert main(["experiment", "memory", "--quick", "--json", path, "--plot", str(plot)]) == 0
    assert capsys.readouterr().out.partition("\nSeeds")[0] == first.partition("\nSeeds")[0]
    assert plot.read_bytes()[:4] == b"GIF8"


def test_options_that_cannot_be(tmp_path, capsys):
    for words, said in (
        (["relu", "--plot", str(tmp_path / "a.gif")], "must not end in .gif for relu"),
        (["relu", "--plot", str(tmp_path / "a.txt")], "--plot must end in"),
        (["relu", "--json", str(tmp_path / "no" / "a.json")], "--json must name a file in an existing folder"),
        (["relu", "--processes", "0"], "--processes must be at least 1"),
    ):
        assert main(["experiment", *words]) == 1
        assert said in capsys.readouterr().err
    for words in (["lottery"], ["relu", "--seeds", "0"], ["relu", "--seeds", "5-3"], ["relu", "--seeds", "a"]):
        assert main(["experiment", *words]) == 2


@pytest.mark.parametrize("name", NAMES)
def test_cases_have_names_of_their_own_and_settings_that_json_holds(name):
    experiment = load(name)
    assert isinstance(experiment, Experiment)
    for quick in (True, False):
        found = experiment.cases(quick, range(3))
        assert len({one.key for one in found}) == len(found)
        assert all(json.loads(json.dumps(one.settings)) == one.settings for one in found)
        assert {one.seed for one in found} == {0, 1, 2}


TINY = {"epochs": 1, "images": 40, "steps": 5, "pretraining": 1, "backend": "numpy"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("relu", "memory")])
def test_a_trained_experiment_runs_and_is_drawn(name, tmp_path):
    """With hardly any training: all of its code, and a picture that is the same twice."""
    experiment, results = load(name), {}
    for one in experiment.cases(True, range(2)):
        settings = {key: TINY.get(key, value) for key, value in one.settings.items()}
        if name == "small-data":
            settings |= {key: one.settings[key] for key in ("images", "steps")}
        results.setdefault(one.name, {})[one.seed] = json.loads(
            json.dumps(experiment.run(one._replace(settings=settings)))
        )
    assert len(experiment.table(results)) > 5
    pictures = []
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        experiment.draw(results).savefig(path)
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]
    assert os.path.getsize(tmp_path / "a.png") > 10_000
