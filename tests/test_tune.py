"""The benchmark that finds the numbers of tuning.py: all that is not timing."""

import subprocess
import sys
from pathlib import Path

import pytest
import tune

from npmnv2.kernels import tuning
from npmnv2.kernels.inference_block import cutting

BENCHMARKS = Path(tune.__file__).parent
FOUND = {"standing": 7, "ms": {"a": {"6": 1.0, "7": 2.0, "8": 4.0}, "b": {"6": 2.0, "7": 1.0, "8": 1.0}}, "KB": {}}


def test_every_number_is_asked_for():
    asked = [name.split()[-1] for name, question in tune.QUESTIONS.items() if question.record == "TUNING"]
    assert asked == [*tuning.Tuning._fields]
    asked = [name.split()[-1] for name, question in tune.QUESTIONS.items() if question.record == "TRAINING"]
    assert asked == [name for name in tuning.Training._fields if name != "least"]
    for number in tune.QUESTIONS:
        assert tune.standing(number) in tune.candidates(number)


def test_a_candidate_replaces_the_number_before_a_kernel_is_imported(tmp_path):
    code = """
import sys
import tune
tune.compile_with(5, sys.argv[1])
from npmnv2.kernels import tiles
from npmnv2.kernels.jit import numba
print(tiles.PIXELS, numba.config.CACHE_DIR)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", str(tmp_path / "5")]


def test_candidates_that_cut_alike_share_a_call():
    before = cutting.TUNING
    calls = tune.prepare("numbers", ["rows_from", "", False])
    assert before == cutting.TUNING
    alike = [way.split("|") for way in calls if way.startswith("1x28x28x32 192 32")]
    assert [candidates for _, candidates, _ in alike] == ["14 20 28", "56 112"]
    assert all(int(KB) > 0 for *_, KB in alike)


@pytest.mark.parametrize("number", ["training piece", "training chunk", "training update"])
def test_every_candidate_of_training_has_a_call(number):
    calls = tune.prepare("numbers", [number, "", False])
    cases, candidates = len(tune.QUESTIONS[number].cases), tune.candidates(number)
    assert calls.pop(tune.WAKE).result() is None
    assert len(calls) == cases * len(candidates)
    assert {int(way.split("|")[1]) for way in calls} == {*candidates}


def test_the_least_of_all_turns_counts():
    found = {"standing": 7, "ms": {}, "KB": {}}
    tune.collect(
        {("numbers", "a|6 7|12"): [0.003, 0.002], ("numbers", "a|8|9"): [0.004], ("numbers", tune.WAKE): [1.0]},
        "2 t: ",
        found,
    )
    assert found["ms"] == {"2 t: a": {"6": 2.0, "7": 2.0, "8": 4.0}}
    assert found["KB"] == {"2 t: a": {"6": 12, "7": 12, "8": 9}}


def test_the_best_is_that_of_the_mean_over_the_cases():
    assert tune.ratios(FOUND) == pytest.approx({6: 1.0, 7: 1.0, 8: 2**0.5})
    assert tune.verdict("pixels", FOUND) == "pixels: 7 is best here, and stands in tuning.py"


def test_a_small_difference_changes_no_number():
    rows = {"a": {"6": 0.99, "7": 1.0}}
    assert tune.verdict("pixels", FOUND | {"ms": rows}) == (
        "pixels: 6 is best here, by 1.0 % of the time with 7, which stands in tuning.py: no reason to change it"
    )
    rows = {"a": {"6": 0.9, "7": 1.0}}
    assert tune.verdict("pixels", FOUND | {"ms": rows}) == (
        "pixels: 6 is best here, by 10.0 % of the time with 7, which stands in tuning.py"
    )


def test_a_table_marks_what_stands_there():
    lines = list(tune.table("pixels", FOUND))
    assert lines[0].split() == ["pixels", "6", "7*", "8"]
    assert lines[1].split() == ["a", "1.000", "2.000", "4.000"]
    assert lines[-2].split() == ["mean", "1.000", "1.000", "1.414"]
