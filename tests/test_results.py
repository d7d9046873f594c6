"""The page and the pictures of the benchmarks: what they say of the machine, and what they refuse and mark."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import depthwise_plot
import pytest
import results
import separable_plot
from common import machine
from common import report as words_of
from depthwise_report import of_one_image
from matplotlib.figure import Figure
from matplotlib.text import Text

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
INFO = {"cpu": "A processor", "cpu model": "family 1, model 2", "system": "Here", "cores": 2}
INFO |= {"core": "AVX-512", "blas": "scipy-openblas", "blas kernel": "SkylakeX", "date": "2026-11-30"}
OF_STAND_IN = {"core": "AVX2", "stands in": True, "blas kernel": "Haswell", "onnxruntime": "1.32.0"}


def measured(exhibit):
    """What is stored of an exhibit, of the first kind of core."""
    return copy.deepcopy(next(iter(results.read()[exhibit].values())))


def texts(draw, report, monkeypatch):
    """What a picture says. Nothing in it is too small for the last row, no panel is empty, nothing is cut off."""
    with monkeypatch.context() as patch:
        kept = []
        patch.setattr(Figure, "savefig", lambda figure, *args, **options: kept.append(figure))
        draw(report, "nowhere.png")
    (figure,) = kept
    figure.draw_without_rendering()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert min(text.get_fontsize() for text in shown) >= 16
    assert all(axes.has_data() and axes.axison for axes in figure.axes)
    width, height = figure.bbox.max
    for text in shown:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    return [text.get_text() for text in shown]


# -- the machine


def test_the_page_shows_what_was_measured():
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert results.with_tables(page, results.read()) == page, "run: python benchmarks/results.py --write"
    assert page.count("<!-- end -->") == len(results.TABLES) + 1  # and the machines


def test_every_table_names_its_machine():
    reports = results.read()
    for name, (exhibit, _) in results.TABLES.items():
        text = " ".join(results.table(name, reports))
        for core, report in reports[exhibit].items():
            info = report["environment"]
            for told in (core, info["cpu"], info["blas kernel"], words_of.date_of(info)):
                assert told in text
        assert name == "memory" or "AVX2" in text


def test_a_caption_says_what_stands_in_and_what_disturbed():
    turns = {"taken": 1333, "disturbed by other programs": 236}
    assert words_of.caption(INFO | {"caches": {"L1 Data": "32K", "L1 Instruction": "9K", "L2 Unified": "1M"}}) == (
        "AVX-512: A processor, 2 cores (family 1, model 2, L1d 32K, L2 1M); OpenBLAS SkylakeX; 2026-11-30."
    )
    assert words_of.caption(INFO | OF_STAND_IN, turns).endswith(
        "Haswell; 2026-11-30; a machine with AVX-512 stands in; onnxruntime runs AVX-512; "
        "236 of 1,333 turns had other programs beside them."
    )


def test_a_run_without_a_date_has_that_of_its_commit():
    old = {key: value for key, value in INFO.items() if key not in ("date", "core")} | {"committed": "2026-11-26"}
    assert words_of.date_of(old) == "committed 2026-11-26" and words_of.core_of(old) == "AVX-512"


def stored(folder, **environments):
    for name, info in environments.items():
        report = {"environment": info, "results": [name], "turns": {"taken": 2, "disturbed by other programs": 1}}
        (folder / f"{name.replace('_', '-')}.json").write_text(json.dumps(report))
    return folder


def test_files_of_one_machine_share_a_table(tmp_path):
    stored(tmp_path, peers_inference=INFO, peers_training=INFO | {"date": "2026-12-01"}, peers_avx2=INFO | OF_STAND_IN)
    found = results.read(tmp_path)["peers"]
    assert found["AVX-512"]["results"] == ["peers_inference", "peers_training"]
    assert found["AVX-512"]["environment"]["date"] == "2026-11-30 and 2026-12-01"
    assert words_of.disturbed(found["AVX-512"]["turns"]) == ["2 of 4 turns had other programs beside them"]
    assert found["AVX2"]["results"] == ["peers_avx2"]


@pytest.mark.parametrize("key, value", [("cpu", "Another"), ("blas kernel", "Zen"), ("cores", 8), ("numba", "0.59")])
def test_files_of_two_machines_do_not(key, value, tmp_path):
    one = INFO | {"numba": "0.68.1"}
    stored(tmp_path, peers_inference=one, peers_training=one | {key: value})
    with pytest.raises(SystemExit) as stop:
        results.read(tmp_path)
    assert str(stop.value) == (
        "error: peers-inference.json and peers-training.json must not share a table; "
        f"they differ in {key}: {one[key]} and {value}"
    )


def test_a_script_stands_in_for_another_kind_of_core(tmp_path):
    code = """
import json, os, sys
from common import machine
machine.kind = lambda: "AVX-512"
machine.become("avx2")
print(json.dumps({name: os.environ[name] for name in machine.STAND_IN["avx2"]}))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    plain = {name: value for name, value in os.environ.items() if name not in machine.STAND_IN["avx2"]}
    env = plain | {"PYTHONPATH": f"{BENCHMARKS}{os.pathsep}{BENCHMARKS.parent}"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == machine.STAND_IN["avx2"]


def test_only_a_machine_with_avx512_can(monkeypatch):
    monkeypatch.setattr(machine, "kind", lambda: "arm64")
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    with pytest.raises(SystemExit, match="error: --core avx2 is for a machine with AVX-512; this one has arm64"):
        machine.become("avx2")


def test_what_stands_in_is_written_down(monkeypatch):
    for name, value in machine.STAND_IN["avx2"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "_blas_kernel", lambda: "Haswell")
    info = machine.environment()
    assert (info["core"], info["stands in"], info["numba cpu"]["NUMBA_CPU_NAME"]) == ("AVX2", True, "znver3")
    assert machine.differences(info, info | {"date": "another", "threading layer": "tbb"}) == []


def test_numba_takes_no_wide_registers_then():
    """The name of a CPU alone does not do it: Numba adds the features of the one that it runs on."""
    code = """
import numba, numpy as np
add = numba.njit(lambda a, b: a + b)
add(np.ones(9, np.float32), np.ones(9, np.float32))
print(sum("zmm" in text for text in add.inspect_asm().values()))
"""
    if machine.kind() in ("AVX-512", "AVX2"):
        env = os.environ | machine.STAND_IN["avx2"]
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert done.stdout == "0\n"


# -- the tables


def test_the_page_without_onnxruntime():
    found = measured("separable")
    for row in found["results"]:
        row["times"]["onnxruntime"] = {}
    assert all(line.endswith("| - |") for line in list(results.separable(found))[2:])


def test_every_table_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["results.py"])
    results.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line[2:] for line in lines if line.startswith("# ")] == ["machines", *results.TABLES]


def test_a_core_without_a_measurement_is_a_usage_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["results.py", "--core", "avx2"])
    with pytest.raises(SystemExit, match="2"):
        results.main()
    assert "--core goes with --measure" in capsys.readouterr().err


# -- the pictures that are projected


def quick(report, name):
    """The part of a report that --quick would have measured."""
    rows = [row for row in report["results"] if (row["batch"], row["threads"]) == (1, 1)]
    if name == "depthwise":
        return report | {"results": [row for row in rows if row["shape"] in ("112x112x32", "28x28x192", "7x7x960")]}
    return report | {"results": [row for row in rows if row["shape"][1] in (16, 64, 256)], "layers": []}


@pytest.mark.parametrize("module", [separable_plot, depthwise_plot], ids=["separable", "depthwise"])
@pytest.mark.parametrize("whole", [False, True], ids=["quick", "whole"])
def test_a_picture_names_its_machine_and_what_disturbed(module, whole, monkeypatch):
    name = module.__name__.removesuffix("_plot")
    found = measured(name) if whole else quick(measured(name), name)
    found |= {"environment": INFO, "turns": {"taken": 10, "disturbed by other programs": 0}}
    words = "\n".join(texts(module.draw, found, monkeypatch))
    for told in ("A processor", "SkylakeX", "2026-11-30", "AVX-512"):
        assert told in words
    assert "Disturbed" not in words and "stands in" not in words
    found |= {"environment": INFO | OF_STAND_IN, "turns": {"taken": 10, "disturbed by other programs": 3}}
    words = "\n".join(texts(module.draw, found, monkeypatch)).replace("\n", " ")
    assert "Disturbed run: 3 of 10 turns had other programs beside them" in words
    assert "a machine with AVX-512 stands in; onnxruntime runs AVX-512" in words


def test_what_is_faster_than_its_bound_has_a_mark(monkeypatch):
    found = measured("depthwise")
    row = of_one_image(found, "forward")[3]
    row["copy"]["median_us"] = 0.3 * row["times"]["kernels"]["median_us"]
    assert not [text for text in texts(depthwise_plot.draw, found, monkeypatch) if "beyond the bound" in text]
    row["copy"]["median_us"] = 1.1 * row["times"]["kernels"]["median_us"]
    assert [text for text in texts(depthwise_plot.draw, found, monkeypatch) if "beyond the bound" in text]


def test_what_is_above_the_promise_has_a_mark(monkeypatch):
    found = measured("separable")
    for row in found["results"]:
        for ways in row["times"].values():
            if "standard" in ways:
                ways["standard"]["median_us"] = ways["separable"]["median_us"] * 2
    assert not [text for text in texts(separable_plot.draw, found, monkeypatch) if "more than promised" in text]
    found["results"][0]["times"]["npmnv2"]["standard"]["median_us"] *= 6
    for row in found["results"]:
        row["times"]["npmnv2"]["standard"]["median_us"] *= 6
    assert [text for text in texts(separable_plot.draw, found, monkeypatch) if "more than promised" in text]


@pytest.mark.parametrize("peers", [0, 1])
def test_the_depthwise_picture_without_some(peers, monkeypatch):
    found = measured("depthwise")
    for row in found["results"]:
        row["times"] = {name: t for name, t in row["times"].items() if name in ["kernels", "numpy"][: 1 + peers]}
    words = texts(depthwise_plot.draw, found, monkeypatch)
    assert ("NumPy, an expression a tap" in words) == bool(peers) and "onnxruntime" not in words
