"""The profile: every layer once, sums that add up, limits by hand, 80 columns, and a model left as it was."""

import json
import os
import sys

import numpy as np
import pytest
from processes import open_terminal, read_terminal, unix

from npmnv2 import cost, models
from npmnv2.__main__ import main
from npmnv2.kernels import copy as copying
from npmnv2.runtime.threads import get_num_threads, limit_threads
from npmnv2.show import summary, timing
from npmnv2.show.roofline import SIZES, Limit, Roofline, measure

MACHINE = Roofline(1, 1e9, {1 << 10: 4e9, 1 << 14: 2e9})
KNOWN = Roofline(1, 1e9, dict.fromkeys(SIZES, 2e9))
SMALL = ["summary", "--time", "--width", "0.35", "--resolution", "17", "--classes", "5", "--threads", "1"]


@pytest.fixture
def quick(loops, monkeypatch, request):
    """A hundredth of a second for each measurement; in plain Python each once, on a machine that is known."""
    if loops == "python":
        monkeypatch.setattr(timing, "RUNS", 1)
        monkeypatch.setattr(timing.roofline, "measure", lambda seconds: KNOWN)
    else:
        request.getfixturevalue("numba_backend")
    real = timing.profile
    monkeypatch.setattr(timing, "profile", lambda *args, **options: real(*args, **{"seconds": 0.01} | options))


# -- the machine


def test_the_limit_is_the_longer_of_the_two():
    assert MACHINE.limit(1e9, 1 << 10) == Limit(1.0, "flop")
    assert MACHINE.limit(0, 1 << 10) == Limit(1024 / 4e9, "byte")
    assert MACHINE.limit(100, 1 << 10).by == "byte" and MACHINE.limit(300, 1 << 10).by == "flop"


def test_copies_between_two_sizes_and_outside_of_them():
    assert [MACHINE.copy_speed(size) for size in (0, 1, 1 << 10, 1 << 12, 1 << 14, 1 << 20)] == [
        4e9, 4e9, 4e9, pytest.approx(3e9), 2e9, 2e9
    ]  # fmt: skip


def test_the_machine_is_measured_with_the_threads_at_hand():
    with limit_threads(1):
        machine = measure(0.01)
    assert machine.threads == 1 and machine.flop_per_s > 0 and tuple(machine.bytes_per_s) == SIZES
    assert all(0 < speed < np.inf for speed in machine.bytes_per_s.values())


def test_the_yardstick_copies():
    a = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    for copy in (copying.copy, copying.copy.py_func):
        b = np.zeros_like(a)
        copy(a, b)
        np.testing.assert_array_equal(a, b)


# -- the rows


@pytest.mark.parametrize("model", cost.NETWORKS)
def test_every_layer_is_timed_once_in_order_and_blocks_contain_theirs(model, quick):
    layers = summary.network(model, 0.35, 17, 5)
    batch = 2 if model == "mobilenet_v2" else 1
    with limit_threads(1):
        found = timing.profile(model, layers, 0.35, batch=batch)
    tree = [row for block in summary.tree(layers) for row in (block, *block.parts)]
    assert [row.name for row in found.plain] == [*(row.name for row in tree), "total"]
    assert [name for row in found.fused[:-1] for name in row.layers] == [
        *(layer.name for layer in layers[:-1]), "pool", "fc"
    ]  # fmt: skip
    seconds = {row.name: row.seconds for row in found.plain}
    for block in summary.tree(layers):
        assert seconds[block.name] >= sum(seconds[part.name] for part in block.parts) > 0 or not block.parts
    for rows in (found.plain, found.fused):
        assert all(row.seconds > 0 and row.limit.seconds > 0 for row in rows)
        assert rows[-1].flop == 2 * batch * cost.total(layers).madds
        assert all(len(line) <= 80 and line == line.rstrip() for line in timing.text(found))
    top = [row for row in found.plain if row.name in {block.name for block in summary.tree(layers)}]
    assert sum(row.seconds for row in top) <= found.plain[-1].seconds * (1 + 1e-9)
    assert sum(row.seconds for row in found.fused[:-1]) == pytest.approx(found.fused[-1].seconds)


def test_bytes_and_limits_by_hand():
    stem = cost.convolution("standard", 8, 8, 3, 4, stride=2, name="stem")  # 8x8x3 -> 4x4x4, 108 weights
    dw = cost.convolution("depthwise", 4, 4, 4, 4, name="b0.0.dw")  # 36 weights
    fc = cost.linear(4, 2, name="fc")  # 8 weights, 2 biases
    layers = [stem, dw, fc]
    plain = timing._plain_rows(
        {"stem": 1.0, "b0.0": 4.0, "b0.0.dw": 3.0, "pool": 1.0, "dropout": 0.1, "fc": 1.0, "total": 9.0},
        layers,
        2,
        MACHINE,
    )
    assert [(row.name, row.seconds) for row in plain] == [
        ("stem", 1.0), ("b0.0", 4.0), ("b0.0.dw", 3.0), ("pool", 1.0), ("fc", 1.0), ("total", 9.0)
    ]  # fmt: skip
    moved = {"stem": 4 * (2 * (192 + 64) + 108), "b0.0": 4 * (2 * 128 + 36), "pool": 4 * 2 * 68, "fc": 4 * (2 * 6 + 10)}
    operations = {"stem": 4 * 16 * 108, "b0.0": 4 * 16 * 36, "pool": 0, "fc": 4 * 8}
    by_name = {row.name: row for row in plain}
    for name in moved:
        assert (by_name[name].bytes, by_name[name].flop) == (moved[name], operations[name])
        assert by_name[name].limit == MACHINE.limit(operations[name], moved[name])
    assert by_name["total"].bytes == sum(moved.values()) and by_name["total"].limit.by == ""
    assert by_name["total"].limit.seconds == pytest.approx(sum(by_name[name].limit.seconds for name in moved))

    fused = timing._fused_rows(
        {("stem", "b0.0.dw"): 2.0, ("pool",): 1.0, ("fc",): 1.0, ("total",): 4.0}, layers, 2, MACHINE
    )
    assert [row.name for row in fused] == ["stem + b0.0", "pool", "fc", "total"]
    assert fused[0].bytes == 4 * (2 * (192 + 64) + 108 + 36), "what lies between them moves no bytes"
    assert fused[0].flop == operations["stem"] + operations["b0.0"]


def test_the_least_time_counts_and_the_total_is_the_sum(monkeypatch):
    network = models.mobilenet_v2(5, 0.35).eval()
    monkeypatch.setattr(timing, "_repeat", lambda call, seconds: [call() for _ in range(3)])
    clock = iter(k * k for k in range(10**6))  # every interval is longer than the one before
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    found = timing.time_layers(network, np.zeros((1, 32, 32, 3), np.float32), 1)
    assert found["stem"] == 1 and found["stem"] < found["b0.0.dw"] < found["b0.0"] < found["fc"]
    assert found["total"] == sum(found[name] for name in network.children())


def test_the_model_is_left_as_it_was():
    network = models.mobilenet_v2(5, 0.35).eval()
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    expected = network(x)
    timing.time_layers(network, x, 0.01)
    assert not any("forward" in vars(layer) for _, layer in network.named_layers())
    np.testing.assert_array_equal(network(x), expected)

    class Stop(Exception):
        pass

    def fail(_):
        raise Stop

    network.layers["pool"].forward = fail
    with pytest.raises(Stop):
        timing.time_layers(network, x, 0.01)
    del network.layers["pool"].forward
    assert not any("forward" in vars(layer) for _, layer in network.named_layers())


def test_other_programs_are_named_as_the_excuse_they_are():
    assert timing._others((1, 10, 100), (3, 17, 110)) == 0.5
    assert timing._others((1, 10, 100), (3, 11, 110)) == 0 and timing._others((1, 0, 0), (3, 0, 0)) is None
    assert timing._excuse(None) == timing._excuse(0.09) == []
    assert timing._excuse(0.5)[0].startswith("Other programs used 50 % of the machine")


# -- the command


def test_the_tables(quick, capsys):
    assert main(SMALL) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and all(len(line) <= 80 and line == line.rstrip() for line in lines)
    assert lines[0] == "mobilenet_v2, width 0.35, 17x17 pixels, 5 classes"
    assert lines[2].startswith("batch 1, 1 thread, BLAS kernels: ")
    heads = [line.split() for line in lines if line.startswith("layer")]
    assert heads == [["layer", "ms", "share", "GFLOP/s", "GB/s", "limit", "reached"]] * 2
    assert lines.count("Layer by layer, as model.eval() runs them:") == 1
    assert lines.count("Blocks fused, as npmnv2.fuse(model) runs them:") == 1
    assert sum(line.startswith("total") and " 100.0 %" in line for line in lines) == 2


def test_json(quick, capsys):
    before = get_num_threads()
    assert main([*SMALL, "--json", "--batch", "3"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    found = document["time"]
    assert err == "" and (found["batch"], found["threads"]) == (3, 1) and document["resolution"] == 17
    assert found["plain"][-1]["name"] == found["fused"][-1]["name"] == "total"
    assert found["plain"][0]["limit_by"] in ("flop", "byte") and found["plain"][-1]["limit_by"] is None
    assert [copy["bytes"] for copy in found["machine"]["copies"]] == list(SIZES)
    assert document["layers"][0]["name"] == "stem" and get_num_threads() == before


@pytest.mark.parametrize(
    "words, message",
    [
        ("--batch 2", "--batch needs --time: without it nothing runs"),
        ("--threads 1", "--threads needs --time: without it nothing runs"),
        ("--time --batch 0", "--batch must be at least 1; was 0"),
        ("--time --threads 0", "--threads must be at least 1; was 0"),
        ("--time --threads 99999", "--threads must lie between 1 and "),
        ("--time --resolution 1", "--resolution must be larger"),
    ],
)
def test_bad_options_are_one_line(words, message, capsys):
    assert main(["summary", *words.split()]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"npmnv2 summary: {message}") and err.count("\n") == 1


@unix
def test_progress_is_for_terminals(quick, monkeypatch, capsys):
    main_end, other_end = open_terminal()
    with open(other_end, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(SMALL) == 0
    shown = read_terminal(main_end).decode()
    os.close(main_end)
    assert "measuring" not in capsys.readouterr().out
    for what in ("the machine", "layer by layer", "the fused blocks"):
        assert f"\rmeasuring {what}" in shown
    assert shown.endswith("\r")
