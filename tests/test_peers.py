"""The benchmarks against peers and of scaling: all that is not timing. What they call equal is equal."""

import copy
import functools
import json
import re
import sys

import numpy as np
import peers
import peers_contestants as contestants
import peers_plot
import peers_process
import peers_reference as reference
import peers_report as report
import pytest
import results
import scaling
import training_profile
import training_profile_report
from common.report import show_missing
from test_results import measured

import npmnv2
from npmnv2.weights.names import translate

WIDTH, SIZE, N = 0.35, 64, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights"))
    contestants.write_weights(path, WIDTH, onnx=False)
    return path


def saved(path, arrays):
    np.savez(path, *arrays)
    return path


# -- equality


@pytest.mark.compiled
def test_what_is_timed_is_checked_inference(folder, tmp_path):
    case = ("inference", WIDTH, SIZE, N)
    (call,) = contestants.prepare("npmnv2", [*case, folder]).values()
    (logits,) = call.result()
    assert logits.shape == (2, 1000) and np.abs(logits).max() > 0.1  # no network whose answer is nothing
    path = saved(tmp_path / "x.npz", [logits])
    reference.check("npmnv2", "inference", path, case, folder)
    for wrong in (logits * 1.001, logits[::-1], np.full_like(logits, np.nan), logits[:1]):
        saved(path, [wrong])
        with pytest.raises(SystemExit, match=r"npmnv2, inference, inference, 0.35, 4x64x64: not what NumPy computes"):
            reference.check("npmnv2", "inference", path, case, folder, {})


def test_a_peer_that_is_wrong_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "reference", lambda case, folder: (np.ones((1, 3)),))
    missing, case = {}, ("inference", WIDTH, SIZE, N)
    reference.check("a", "inference", saved(tmp_path / "x.npz", [np.ones((1, 3))]), case, "", missing)
    assert missing == {}
    reference.check("a", "inference", saved(tmp_path / "x.npz", [np.zeros((1, 3))]), case, "", missing)
    show_missing({"missing": missing})
    assert capsys.readouterr().out == ("left out: a, inference, 0.35, 4x64x64 (not what NumPy computes in float64)\n")


def wrong_steps(folder):
    """First steps of networks that are wrong in one thing."""

    def first(change=lambda model: None, lr=contestants.LR, y=None):
        model = npmnv2.weights.load_model(f"{folder}/{WIDTH}.npz")
        change(model)
        x = contestants.images(SIZE, N)
        kept, contestants.LR = contestants.LR, lr
        try:
            return contestants.step_of(model, x, contestants.labels(N) if y is None else y).result()
        finally:
            contestants.LR = kept

    def layers(model):
        return [layer for _, layer in model.named_layers() if type(layer).__name__ == "BatchNorm"]

    def momentum(model):
        for layer in layers(model):
            layer.momentum = 0.2

    def biased(model):
        for layer in layers(model):
            layer.running_var = "biased"

    def one_weight(model):
        model.parameters()[40].value[:] *= 1.1

    yield "right", first()
    yield "learning rate", first(lr=2 * contestants.LR)
    yield "other labels", first(y=contestants.labels(N)[::-1].copy())
    yield "momentum of the running statistics", first(momentum)
    yield "divisor of the running variance", first(biased)
    yield "a layer's weights", first(one_weight)


def test_what_is_timed_is_checked_training(folder, tmp_path, monkeypatch):
    case = ("training", WIDTH, SIZE, N)
    monkeypatch.setattr(reference, "reference", functools.cache(reference.reference))
    path = tmp_path / "x.npz"
    for name, found in wrong_steps(folder):
        saved(path, found)
        if name == "right":
            reference.check("npmnv2", "step", path, case, folder)
            continue
        with pytest.raises(SystemExit, match=r"npmnv2, step, training, 0.35, 4x64x64: not what NumPy computes"):
            reference.check("npmnv2", "step", path, case, folder)


def test_every_array_of_a_step_counts(folder):
    exact = reference.reference(("training", WIDTH, SIZE, N), folder)
    model = npmnv2.weights.load_model(f"{folder}/{WIDTH}.npz")
    gradients = translate({n: p.value for n, p in model.named_parameters().items()}, "mobilenet_v2", "torchvision")
    assert len(gradients) == 158 and len(exact) == 1 + 158 + len(model.state_dict())
    assert reference.agree(exact, exact)
    mean = np.sqrt(np.mean([np.sum(e**2) for e in exact[1:159]]))
    for k in range(0, len(exact), 9):  # the loss, and some of everything else
        e, wrong = exact[k], list(exact)
        wrong[k] = e + (0.05 * np.abs(e).max() + 0.05 * mean) * np.ones_like(e)
        assert not reference.agree(wrong, exact), k
    assert not reference.agree(exact[:-1], exact)


@pytest.mark.oracle
@pytest.mark.parametrize("name", contestants.INFERENCE)
def test_every_peer_gives_the_same(name, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    contestants.write_weights(folder, WIDTH)
    for what in ("inference", "training"):
        if what == "training" and name not in contestants.TRAINING:
            continue
        case = (what, WIDTH, 64, 4)
        for way, call in contestants.prepare(name, [*case, folder]).items():
            result = call.result()
            reference.check(name, way, saved(tmp_path / "x.npz", result), case, folder)
            call()


# -- what is measured


def test_the_cases_are_those_of_the_question():
    found = peers.cases(False, None)
    assert len(found) == len(set(found)) == 27 + 1 + 6
    assert ("inference", contestants.LITE, 224, 1) in found
    assert {case[1:] for case in found if case[0] == "inference" and case[1] != contestants.LITE} == {
        (width, size, batch) for width in (0.35, 1.0, 1.4) for size in (96, 160, 224) for batch in (1, 8, 32)
    }
    assert {case[0] for case in peers.cases(True, "training")} == {"training"}
    assert all(report.is_head(case) for case in peers.cases(True, None))


@pytest.mark.oracle
@pytest.mark.parametrize("name", contestants.LITE_CONTESTANTS)
def test_every_engine_gives_the_same_of_lite0(name, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    contestants.write_weights(folder, contestants.LITE)
    case = ("inference", contestants.LITE, 64, 2)
    for way, call in contestants.prepare(name, [*case, folder]).items():
        reference.check(name, way, saved(tmp_path / "x.npz", call.result()), case, folder)


def test_lite0_has_no_aim():
    row = {"what": "inference", "width": contestants.LITE, "size": 224, "batch": 1, "threads": 1, "limit_ms": 1.0}
    row["times"] = {name: {"median": 9.0, "spread": 0.1} for name in contestants.LITE_CONTESTANTS}
    assert report.checks({"results": [row], "memory": []}) == []


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(contestants.LIBRARIES, "openvino", ("numpy", "no_such_library"))
    assert contestants.missing("openvino") == "no_such_library"
    assert contestants.missing("npmnv2") == ""


def test_a_compiler_that_is_missing_leaves_a_contestant_out():
    def broken():
        raise RuntimeError("no C++ compiler found\nlong story")

    with pytest.raises(ImportError, match=r"^RuntimeError: no C.. compiler found$"):
        contestants.compiles({"step": broken})


@pytest.mark.compiled
def test_memory_counts_what_a_call_holds(folder):
    case = ["inference", WIDTH, 96, 1, folder]
    found = peers_process._in_process("npmnv2", case)
    assert found == {} or 0 <= found["work"] <= found["peak"] + 2**20
    assert found == {} or found["buffers"] > 0


def test_a_start_is_timed_and_its_logits_compared(tmp_path):
    program = "import numpy as np\nlogits = np.arange(3.0)\n"
    found = peers_process.first_logits(program, str(tmp_path), np.arange(3.0))
    assert min(found.values()) > 0
    with pytest.raises(SystemExit, match="gave other logits"):
        peers_process.first_logits(program, str(tmp_path), np.arange(1.0, 4.0))
    with pytest.raises(SystemExit, match="a process that was to be timed ended"):
        peers_process.first_logits("raise SystemExit(3)\n", str(tmp_path))


# -- what is printed and drawn


def made_up(without=(), times=1.0, quick=False):
    """A report with every case, from formulas in place of a clock."""
    speeds = dict(zip(contestants.INFERENCE, (1.4, 1.5, 1.45, 7, 4, 2.2, 2.5), strict=True))
    rows = []
    for n in (1,) if quick else (1, 2):
        for case in peers.cases(quick, None):
            what, width, size, batch = case
            of_width = 1.3 if width == contestants.LITE else width
            limit = 2.5 * of_width * (size / 224) ** 2 * batch / n * (3 if what == "training" else 1)
            names = contestants.INFERENCE if what == "inference" else contestants.TRAINING
            names = [k for k in names if report.is_head(case) or k not in peers.SLOW_TO_PREPARE]
            names = [k for k in names if width != contestants.LITE or k in contestants.LITE_CONTESTANTS]
            found = {
                k: {"median": times * limit * speeds[k], "spread": 0.02 * limit, "min": limit, "way": "a"}
                for k in names
                if k not in without
            }
            row = {"what": what, "width": width, "size": size, "batch": batch, "threads": n, "limit_ms": limit}
            rows.append(row | {"times": found})
    memory = []
    for what, heads in report.HEADS.items():
        for width, size, batch in [] if quick else heads:
            held = {k: 1e6 * batch * size for k in rows[-1]["times"] if k != "torch.compile"}
            row = {"what": what, "width": width, "size": size, "batch": batch, "peak": held, "work": dict(held)}
            memory.append(row | {"working_bytes": 1_838_016 if what == "inference" else None})
    return {
        "environment": {"cpu": "a processor", "system": "a system", "cores": 2, "blas kernel": "SkylakeX"},
        "quick": quick,
        "settings": {k: v for k, v in contestants.SETTINGS.items() if k not in without},
        "missing": dict.fromkeys(without, "no library"),
        "limits": [{"threads": 1, "flop_per_s": 2.4e11}],
        "results": rows,
        "memory": memory,
        "turns": {"taken": 10, "disturbed by other programs": 3},
        "seconds": 1,
    }


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("without", [(), contestants.INFERENCE[1:]], ids=["all", "alone"])
def test_tables_fit_80_columns(without, quick, capsys):
    report.show(made_up(without, times=30.0, quick=quick))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert ("no peer is installed: compared with NumPy's results and the limit alone" in lines) == bool(without)
    assert [line for line in lines if line.startswith("left out: ")] == [
        f"left out: {name} (no library); pip install npmnv2[peers]" for name in without
    ]


def test_aims_are_judged_by_the_better_peer():
    found = {text: (value, most) for text, value, most in report.checks(made_up())}
    value, most = found["inference, 1x224, 1 thread: of the better engine"]
    assert value == pytest.approx(1.4 / 1.45) and most == 1.0
    assert found["inference, 8x224, 2 threads: of PyTorch eager"][0] == pytest.approx(1.4 / 4)
    assert found["inference, 8x224, 2 threads: of the limit"][0] == pytest.approx(1.4)
    assert found["training, 16x96, 1 thread: of torch.compile"] == (pytest.approx(1.4 / 2.5), 0.5)
    assert found["training, 8x224: memory, of PyTorch's"] == (1.0, 1.0)
    assert found["engine's buffers, of |x| + |y|"] == (pytest.approx(1_838_016 / 2_408_448), 1.25)
    slower = copy.deepcopy(made_up())
    row = next(r for r in slower["results"] if report.case_of(r) == ("inference", 0.35, 96, 8) and r["threads"] == 2)
    row["times"]["npmnv2"]["median"] *= 2
    text, value, _ = next(c for c in report.checks(slower) if "others above" in c[0])
    assert text == "1 of 50 others above; worst 0.35, 8x96, 2 threads" and value == pytest.approx(2.8 / 1.45)


def test_aims_without_a_peer_say_so(capsys):
    report.show_checks(report.checks(made_up(contestants.INFERENCE[1:])))
    lines = capsys.readouterr().out.splitlines()
    assert "no peer      - <= 1.0  inference, 1x224, 1 thread: of the better engine" in lines
    assert "met       1.40 <= 1.7  inference, 1x224, 1 thread: of the limit" in lines


@pytest.mark.parametrize(
    "without, quick",
    [
        pytest.param((), True, id="all-True"),
        pytest.param((), False, marks=pytest.mark.slow, id="all-False"),
        pytest.param(contestants.INFERENCE[1:], False, id="alone-False"),
        pytest.param(contestants.INFERENCE[1:], True, marks=pytest.mark.slow, id="alone-True"),
    ],
)
def test_the_picture(without, quick, tmp_path):
    peers_plot.draw(made_up(without, quick=quick), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 20_000
    assert set(peers_plot.LOOKS) == set(contestants.INFERENCE) == set(contestants.SETTINGS)
    for which in (0, 1):
        assert len({look[which] for look in peers_plot.LOOKS.values()}) == len(peers_plot.LOOKS)


def test_the_picture_of_what_was_measured(tmp_path):
    peers_plot.draw(measured("peers"), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 20_000


def test_the_page_without_peers():
    for what in ("inference", "training", "grid", "memory"):
        lines = list(getattr(results, what)(made_up(contestants.INFERENCE[1:])))
        assert len({line.count("|") for line in lines}) == 1 and len(lines) > 3


def test_start_up_fits_80_columns(capsys):
    report.show_cold(measured("peers_cold") | {"missing": {"openvino": "no openvino"}})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "left out: openvino (no openvino); pip install npmnv2[peers]" in lines


@pytest.mark.parametrize(
    "words, says",
    [
        ("--only nothing", "invalid choice"),
        ("--rounds 0", "error: --rounds must be at least 1; was 0"),
        ("--cold --plot x.png", "error: --cold draws nothing"),
        ("--json /no/such/folder/x", "error: --json must name a file in an existing folder"),
    ],
)
def test_bad_arguments_are_one_line_before_any_work(words, says, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["peers.py", *words.split()])
    with pytest.raises(SystemExit) as stop:
        peers.main()
    assert re.search(re.escape(says), f"{stop.value} {capsys.readouterr().err}")


# -- the parts of a training step


@pytest.mark.compiled
@pytest.mark.usefixtures("numba_backend")
def test_the_parts_of_a_step(tmp_path):
    from npmnv2.engine import numba_backend
    from npmnv2.kernels import sgd
    from npmnv2.kernels.training_block import forward_loops, steps

    before = numba_backend.implementation, forward_loops.expand, sgd.loops, steps.forward
    ms = training_profile.profile(2, 32, 1)
    assert (numba_backend.implementation, forward_loops.expand, sgd.loops, steps.forward) == before
    parts = training_profile_report.PARTS.values()
    assert set(ms) == {*parts, training_profile_report.REST, training_profile_report.BETWEEN}
    assert min(ms[part] for part in parts) > 0
    arithmetic = training_profile.limits(2, 32, 1e9)
    layers = npmnv2.cost.mobilenet_v2(1.0, 32)
    madds = 3 * npmnv2.cost.total(layers).madds
    assert sum(arithmetic.values()) == pytest.approx(2e-6 * 2 * madds)
    row = {"batch": 2, "size": 32, "threads": 1, "ms": ms, "limit_ms": arithmetic}
    lines = list(training_profile_report.table([row]))
    assert max(map(len, lines)) <= 80 and len(lines) == len(ms) + 3
    training_profile.draw({"environment": {"system": "Here", "cores": 2}, "results": [row]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 20_000


# -- scaling


def growing(peer="onnxruntime"):
    rows = {}
    for name, points in scaling.sweeps().items():
        points = points if len(points) > 1 else points * 2
        laws = {"npmnv2": (3, 1.5), "onnxruntime": (4, 1.2)}
        found = [
            {
                "value": v if k == 0 or v > 1 else v + k,
                "madds": 10 * v,
                "times": {
                    n: {"median": a * (v if k == 0 or v > 1 else v + k) ** b, "spread": 0.1}
                    for n, (a, b) in laws.items()
                    if n in ("npmnv2", peer)
                },
            }
            for k, (v, *_) in enumerate(points)
        ]
        rows[name] = found
    return {
        "environment": {"cpu": "a processor", "system": "a system", "cores": 2},
        "quick": True,
        "peer": peer,
        "sweeps": rows,
        "fits": {name: scaling.fits(found) for name, found in rows.items()},
        "turns": {"taken": 1, "disturbed by other programs": 1},
        "seconds": 1,
    }


def test_sweeps_vary_one_thing(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for quick in (False, True):
        for name, points in scaling.sweeps(quick).items():
            for k, what in enumerate(("width", "pixels", "images", "threads"), 1):
                values = [point[k] for point in points]
                assert len(set(values)) == (len(points) if name.startswith(what) else 1)
                if name.startswith(what):
                    assert values == [point[0] for point in points]
    assert [point[0] for point in scaling.sweeps()["threads"]] == [1, 2, 4, 8]


def test_a_power_is_found_exactly():
    found = scaling.fit([1, 2, 5], [3.0, 3.0 * 2**0.7, 3.0 * 5**0.7])
    np.testing.assert_allclose([found["a"], found["b"], found["R2"]], [3, 0.7, 1], rtol=1e-12)
    assert scaling.fit([1, 2], [3, 3]) == {"a": pytest.approx(3), "b": pytest.approx(0), "R2": 1.0}
    assert scaling.fits([{"value": 1, "madds": 1, "times": {}}]) == {}


@pytest.mark.parametrize("peer", ["onnxruntime", None])
def test_scaling_is_printed_and_drawn(peer, tmp_path, capsys):
    found = json.loads(json.dumps(growing(peer)))
    scaling.show(found)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert ("no peer is installed" in out) == (peer is None)
    assert "b (R2)                    1.50 (1.000)" in out
    scaling.draw(found, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 20_000


def test_the_picture_of_scaling_as_measured(tmp_path):
    scaling.draw(measured("scaling"), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 20_000
