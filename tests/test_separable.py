"""The benchmark of standard against separable: all that is not timing. What it calls equal is equal, and is checked."""

import re
import sys

import numpy as np
import pytest
import separable
import separable_contestants as contestants
import separable_report as report
from common import command
from test_results import measured

from npmnv2 import cost

CASES = [[7, 5, 6, 1, 1], [8, 4, 4, 2, 1], [6, 4, 4, 1, 3]]  # H, C, M, stride, N


def test_every_depthwise_layer_is_a_case():
    for layers, names in ((cost.mobilenet_v1(), 9), (cost.mobilenet_v2(), 12)):
        found = report.shapes_of(layers)
        assert sum(found.values()) == sum(layer.kind == "depthwise" for layer in layers)
        assert len(found) == names
        for H, C, M, stride in found:
            standard, depthwise, pointwise = report.costs((H, C, M, stride))
            assert standard.out_shape == pointwise.out_shape and depthwise.out_shape[2] == C
            ratio = standard.madds / (depthwise.madds + pointwise.madds)
            assert ratio == pytest.approx(cost.separable_gain(M), rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", ["npmnv2", "naive"])
def test_what_is_timed_is_checked(name, case, tmp_path):
    calls = contestants.prepare(name, case)
    if name == "naive" and case != CASES[2]:
        assert calls == {} or case[1] == case[2]
    expected = separable.reference(case)
    for way, call in calls.items():
        result = call.result()
        if result is None:  # a half of what another call gives
            assert way.split(" (")[0] in ("depthwise", "pointwise", "copy depthwise", "copy pointwise", "product")
            continue
        path = tmp_path / f"{way}.npz"
        np.savez(path, *result)
        separable.check(name, way, path, expected)
        for k in range(min(len(result), len(expected["exact"][way.split()[0]]))):
            wrong = list(result)
            wrong[k] = result[k].copy()
            wrong[k].flat[-1] += np.float32(0.01)
            np.savez(path, *wrong)
            with pytest.raises(SystemExit, match="not what NumPy computes"):
                separable.check(name, way, path, expected)


def made_up(shape, standard, halves, threads=1):
    """A row of results from given microseconds: of the standard convolution, and time and limits of both halves."""
    times = {("npmnv2", way): [1e-6 * us] for way, us in (("standard (a)", standard), ("standard (b)", 2 * standard))}
    for half, (us, copy) in zip(("depthwise", "pointwise"), halves, strict=True):
        times |= {("npmnv2", half): [1e-6 * us], ("npmnv2", f"copy {half}"): [1e-6 * copy]}
    times["npmnv2", "product"] = [6.4e-6 * threads]
    times["npmnv2", "separable (a)"] = [1e-6 * (halves[0][0] + halves[1][0])]
    return separable.measured(times, shape, 1, threads, peak=1e9)


def test_the_fastest_way_counts_and_the_limits_add_up():
    row = made_up((10, 4, 8, 1), 900.0, [(50.0, 40.0), (100.0, 3.0)])
    assert row["times"]["npmnv2"]["standard"]["median_us"] == pytest.approx(900)
    assert row["times"]["npmnv2"]["standard"]["way"] == "standard (a)"
    assert report.gain(row, "npmnv2") == pytest.approx(6)
    assert report.gain(row, "torch") is None
    # 10*10 pixels: depthwise 9*4*100 multiply-adds = 7.2 us at 1 Gflop/s, so bytes; pointwise 6.4 us, more than 3
    limit, why = report.most(row)
    assert limit == pytest.approx(900 / (40 + 6.4) / (72 / 17)) and why == "byte"


def test_what_was_measured_is_what_is_shown():
    """Of a quick run the shapes that it asks for, no others."""
    rows = [{"shape": shape, "batch": 1, "threads": 1} for shapes in report.exhibits(True).values() for shape in shapes]
    assert report.measured_exhibits({"results": rows}) == report.exhibits(True)
    shown = report.in_exhibits({"results": rows})
    assert [key[0] for key in shown] == list(report.exhibits(True)) and sum(map(len, shown.values())) == 7


def test_tables_fit_80_columns(capsys):
    exhibits = report.exhibits()
    report.show_costs(exhibits)
    rows = [made_up(shape, 12345.6, [(50.0, 40.0), (100.0, 3.0)]) for shape in exhibits["MobileNetV2"]]
    report.show_table("MobileNetV2", rows, False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 40 and max(map(len, lines)) <= 80


def test_the_limits_fit_80_columns_and_what_is_missing_is_named(capsys):
    found = measured("separable") | {"missing": {"torch nchw": "No module named 'torch'"}}
    report.show(found)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "left out: torch nchw (No module named 'torch'); pip install npmnv2[peers]"


@pytest.mark.parametrize(
    "words, says",
    [
        ("--rounds 0", "--rounds must be at least 1; was 0"),
        ("--patience nan", "--patience must not be negative; was nan"),  # it would never be at an end
        ("--patience inf", "--patience must be finite; was inf"),
        ("--quick --json /no/such/folder/x", "--json must name a file in an existing folder; was /no/such/folder/x"),
        ("--json /", "--json must name a file that can be written (Is a directory); was /"),
        ("--plot x.zzz", "--plot must end in .png, .svg, .pdf or .jpg; was x.zzz"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(words, says, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words.split()])
    with pytest.raises(SystemExit, match="error: " + re.escape(says)):
        command.arguments("", "")
