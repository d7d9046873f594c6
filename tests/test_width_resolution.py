"""The benchmark of widths and resolutions: all that is not timing. Its fits find what made the figures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import width_resolution as bench
import width_resolution_plot as plot
import width_resolution_report as means
from cases import table
from test_results import texts

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
GRID = bench.grid()
WAYS = ("1 thread", "2 threads")


def report(ms, ways=WAYS, calm=True, points=GRID):
    """What `run` gives, with times by a formula in place of measured ones."""
    times = {
        which: {p: {"median_us": 1e3 * ms(p) / k, "spread_us": 10.0, "calm": calm} for p in points}
        for k, which in enumerate(ways, 1)
    }
    about = {
        "environment": {"cpu": "a processor", "system": "a system", "cores": 2},
        "pool": bench.pool(2),
        "quick": False,
        "rounds": 1,
    }
    turns = {"taken": 1, "disturbed by other programs": 0}
    return about | {"turns": turns, "seconds": 1.0} | means.evaluate(points, times)


def power(p):
    return 0.3 * (p.madds / 1e6) ** 0.75


# -- the grid


@pytest.mark.parametrize(
    "network, file, number", [("V2", "v2_22_checkpoints.csv", 22), ("V1", "v1_16_checkpoints.csv", 16)]
)
def test_grid_is_the_table(network, file, number):
    points = [p for p in GRID if p.network == network]
    rows = table(file)
    assert len(points) == len(rows) == number
    for point, row in zip(points, rows, strict=True):
        assert (point.width, point.size) == (float(row["width"]), int(row["res"]))
        assert (point.madds, point.top1) == (int(row["exact_macs_1000"]), float(row["top1"]))
        if network == "V2":
            assert point.parameters == int(row["trainable_1000(w+bias+BN gamma/beta)"])
            assert point.phone_ms == float(row["pixel1_ms"])
        else:
            classes = point.width * 1024 + 1  # the table counts 1001 classes: a column of weights and a bias more
            assert point.parameters == int(row["trainable_1001"]) - classes and point.phone_ms is None


def test_an_integer_that_differs_ends_the_run(monkeypatch):
    rows = table("v2_22_checkpoints.csv")
    rows[3]["exact_macs_1001"] = "221317889"
    monkeypatch.setattr(bench, "read", lambda name: rows)
    with pytest.raises(SystemExit, match=r"v2_22_checkpoints.csv disagree about width 1.0 at 192"):
        bench.grid()


def test_quick_is_the_subset_that_it_says():
    some = bench.grid(quick=True)
    assert len(some) == 13 and set(some) < set(GRID)
    assert means.QUICK.startswith("13 of 38 networks")
    assert {p.size for p in some} == {224, 128} and {p.width for p in some} == {1.4, 1.0, 0.5, 0.35, 0.25}


# -- the fits


def test_a_power_is_found_exactly():
    found = means.fit(GRID, [power(p) for p in GRID])["curve"]
    got = [found[k] for k in ("a", "b", "b pixels", "b channels", "R2")]
    np.testing.assert_allclose(got, [0.3, 0.75, 0.75, 0.75, 1], rtol=1e-12)
    assert max(map(abs, found["residuals"].values())) < 1e-12 and len(found["residuals"]) == 38


def test_a_line_is_found_exactly():
    found = means.fit(GRID, [1.5 + 0.04 * p.madds / 1e6 for p in GRID])["line"]
    np.testing.assert_allclose([found["c"], found["d"], found["R2"]], [1.5, 0.04, 1], rtol=1e-12)


def test_bytes_are_found_exactly():
    ms = [0.5 + (0.03 * p.madds + 0.09 * p.activation_bytes) / 1e6 for p in GRID]
    found = means.fit(GRID, ms)
    np.testing.assert_allclose([found["bytes"][k] for k in ("c", "d", "e", "R2")], [0.5, 0.03, 0.09, 1], rtol=1e-9)
    assert abs(found["bytes"]["largest"][1]) < 1e-9 < 0.05 < abs(found["line"]["largest"][1])


def test_pixels_and_channels_are_told_apart():
    """Time as M ** 0.9 by pixels and M ** 0.5 by channels, where M is (width * size) ** 2."""
    points = [
        means.Point("V1", w, s, round(1e9 * (w * s / 224) ** 2), s, 1, 1.0, None)
        for w in (1.0, 0.5, 0.25)
        for s in (224, 112)
    ]
    found = means.fit(points, [p.size**1.8 * p.width for p in points])["curve"]
    np.testing.assert_allclose([found["b pixels"], found["b channels"]], [0.9, 0.5], rtol=1e-6)
    assert 0.5 < found["b"] < 0.9


def test_the_largest_residual_has_its_point_and_sign():
    odd = GRID[5]
    for factor in (1.5, 0.6):
        found = means.fit(GRID, [power(p) * (factor if p is odd else 1) for p in GRID])
        for kind in ("curve", "line"):
            label, off = found[kind]["largest"]
            assert label == odd.label and np.sign(off) == np.sign(factor - 1)
            assert off == found[kind]["residuals"][label]
        assert abs(1 + found["curve"]["largest"][1] - factor) < 0.1 and found["curve"]["R2"] < 1


def test_two_threads_that_were_disturbed_are_in_no_fit():
    got = report(power, calm=False)
    assert list(got["fits"]) == ["V2, 1 thread", "V1, 1 thread", "V2, telephone"]
    lines = means.table(got)[2:]
    assert len(lines) == 38 and all(line.endswith("?") and line.count("?") == 1 for line in lines)


def test_calm_turns_are_preferred():
    assert bench.figures([1.0, 2.0, 3.0], [50.0])["median_us"] == 2e6
    assert bench.figures([], [50.0]) | {"calm": False, "calls": 1} == bench.figures([], [50.0])


def test_front():
    assert means.front([1, 2, 3, 4], [50, 40, 60, 60]) == [0, 2]
    assert means.front([3, 1, 1, 2], [70, 50, 60, 65]) == [2, 3, 0]  # of two that cost the same, the better


def test_results_that_differ_end_the_run():
    plain = np.random.default_rng(0).normal(size=(1, 1000))
    bench.compare(GRID[0], plain * (1 + 5e-5), plain)
    for wrong in (plain * (1 + 2e-4), plain * np.nan, plain[:, :999]):
        with pytest.raises(SystemExit, match=r"V2 1.4 at 224: the backends"):
            bench.compare(GRID[0], wrong, plain[:, : wrong.shape[1]])


# -- what is printed and drawn


@pytest.mark.parametrize("ways", [WAYS, WAYS[:1]])
def test_what_is_printed_fits_80_columns(ways, capsys):
    got = json.loads(json.dumps(report(lambda p: 20 * power(p), ways)))  # up to 700 ms
    means.show(got | {"quick": True})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line[:3] in ("V2 ", "V1 ")]
    assert len(rows) == 38 and rows[2].split()[:6] == ["V2", "1.00", "224", "300.77", "3.50", "71.8*"]
    sentence = lines.index("V2, 1 thread: half the multiply-adds take 59% of the time,")
    assert lines[sentence + 1].startswith(
        "    59% if saved in pixels, 59% if in channels; off by up to 0%, with bytes "
    )


@pytest.mark.parametrize("quick", [pytest.param(False, marks=pytest.mark.slow), True])
def test_picture(quick, monkeypatch):
    words = texts(plot.draw, report(power, points=bench.grid(quick)), monkeypatch)
    assert "Half the multiply-adds take 59% of the time in MobileNetV2, 59% in MobileNetV1" in words
    assert "others used the machine meanwhile" not in words
    words = texts(plot.draw, report(power, calm=False, points=bench.grid(quick)), monkeypatch)
    assert "others used the machine meanwhile" in words


@pytest.mark.parametrize(
    "arguments, says", [(["--rounds", "0"], "--rounds must"), (["--json", "nowhere/x.json"], "--json must name a file")]
)
def test_bad_arguments_are_one_line_before_any_work(arguments, says, tmp_path):
    command = [sys.executable, str(BENCHMARKS / "width_resolution.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and says in done.stderr
