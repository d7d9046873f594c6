"""What each setting of a run may be: the same for who gives it and for a checkpoint that holds it."""

import math
import pathlib

import numpy as np
import pytest

from npmnv2.cli.options import LIMITS
from npmnv2.nn.optim import SGD
from npmnv2.nn.parameter import Parameter
from npmnv2.train import state
from npmnv2.train.datasets import load
from npmnv2.train.settings import CHECKS, RECIPES, Settings, checked, make_optimizer, make_schedule, resolve
from npmnv2.weights import FormatError
from npmnv2.weights.formats.native import Checkpoint

NUMBERLESS = [True, "1", [], [1], {}, math.nan, math.inf, -math.inf, -1, 10**400, -(10**400)]
INTEGERLESS = [True, 1.0, 1e308, math.nan, "1", [], {}, -1]
WORDLESS = [True, 0, 2**63, 1e308, math.nan, [], ["sgd"], {}, "", "numb", "SGD", "x" * 10**5, "a\nb", "\ud800"]
PATHLESS = [True, 0, 1e308, [], {}, b"x", "", "folder:\0", "folder:\ud800"]
NONSENSE = {
    "data": [*PATHLESS, None, "imagenet", "folder:", "digits:x", "digits\n"],
    "recipe": [*WORDLESS, None, "secret"],
    "epochs": [*INTEGERLESS, None, 0, 2**31, 10**400],
    "batch_size": [*INTEGERLESS, None, 0, 2**63],
    "width": [*NUMBERLESS, 0, 100, 1e308, "wide"],
    "resolution": [*INTEGERLESS, 0, 4097],
    "seed": [*INTEGERLESS, None],
    "backend": [*WORDLESS, None, "torch", "NumPy"],
    "optimizer": [*WORDLESS, None, "adam"],
    "lr": [*NUMBERLESS, None, 1e308],
    "schedule": [*WORDLESS, None, "linear"],
    "weight_decay": [*NUMBERLESS, None, 1e308],
    "label_smoothing": [*NUMBERLESS, None, 1.01],
    "dropout": [*NUMBERLESS, None, 1],
    "bn_momentum": [*NUMBERLESS, None, 1e308],
    "ema": [*NUMBERLESS, None, 1.01],
    "init": PATHLESS,
    "freeze": [*WORDLESS, "head"],
    "bn": [*WORDLESS, None, "frozen"],
    "balance": [0, 1, 1.0, "yes", [], {}, None],
    "keep_head": [0, 1, 1.0, "yes", [], {}, None],
}


def held(**changes):
    """The settings of a checkpoint that holds others than it was written with."""
    values = {**resolve({"init": "x"})._asdict(), **changes}
    return state.settings_of(Checkpoint({}, {"training": {"settings": values}}), "run.npz")


def test_every_setting_has_a_check_and_is_attacked():
    assert list(CHECKS) == list(Settings._fields)
    assert NONSENSE.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", Settings._fields)
def test_what_makes_no_sense_is_refused_by_its_name(name):
    for value in NONSENSE[name]:
        if value is not None:  # which counts as not said
            with pytest.raises((ValueError, TypeError), match=rf"^{name} must "):
                resolve({"init": "x", name: value})
        with pytest.raises(FormatError) as error:
            held(**{name: value})
        line = str(error.value)
        assert line.startswith(f"run.npz: holds settings that make no sense: {name} must "), value
        assert "\n" not in line and len(line) < 400, value


def test_settings_that_contradict_each_other_are_refused():
    for changes, match in (
        ({"init": None, "freeze": "backbone"}, "freeze needs init"),
        ({"init": None, "bn": "keep"}, "bn needs init"),
        ({"init": None, "keep_head": True}, "keep_head needs init"),
        ({"resolution": 32}, "resolution is for folder:DIR alone, digits has its own; was 32"),
    ):
        with pytest.raises(ValueError, match=f"^{match}"):
            resolve(changes)
        with pytest.raises(FormatError, match=rf"^run\.npz: holds settings that make no sense: {match}"):
            held(**changes)
    assert resolve({"data": "folder:x", "resolution": 32}).resolution == 32
    assert held(bn="update", init=None).bn == "update"  # there it was resolved


def test_a_checkpoint_without_settings_is_no_run():
    whole = resolve({})._asdict()
    for training in (None, [], "abc", 7, {}, {"settings": None}, {"settings": [1]}, {"settings": {}}):
        with pytest.raises(
            FormatError, match=r"^run\.npz: holds weights, but no run of this version to go on with; --init"
        ):
            state.settings_of(Checkpoint({}, {"training": training}), "run.npz")
    for settings in ({**whole, "colour": "red"}, {k: v for k, v in whole.items() if k != "ema"}):
        with pytest.raises(FormatError, match="no run of this version"):
            state.settings_of(Checkpoint({}, {"training": {"settings": settings}}), "run.npz")
    with pytest.raises(FormatError, match="no run of this version"):
        state.settings_of(Checkpoint({}, {}), "run.npz")


def test_what_makes_sense_passes_at_both_ends_of_its_range():
    for given in (
        {"epochs": 1, "batch_size": 1, "lr": 0, "weight_decay": 0, "label_smoothing": 0, "dropout": 0, "seed": 0},
        {"epochs": 2**31 - 1, "label_smoothing": 1, "bn_momentum": 1, "ema": 1, "seed": 2**200, "width": 99.9},
        {"bn_momentum": 0, "ema": 0, "width": 1e-9, "backend": "numpy", "schedule": "exponential"},
    ):
        settings = resolve(given)
        assert all(getattr(settings, name) == value for name, value in given.items())
        assert held(**{**settings._asdict(), "init": "x"}) == settings._replace(init="x")


def test_numbers_of_numpy_and_paths_become_what_json_can_hold():
    given = {"epochs": np.int64(3), "lr": np.float32(0.5), "ema": np.float64(0), "seed": np.uint8(7)}
    settings = resolve({**given, "init": pathlib.Path("a") / "b.npz"})
    assert [type(getattr(settings, name)) for name in given] == [int, float, float, int]
    assert settings.init == str(pathlib.Path("a", "b.npz"))


def test_the_limits_of_the_command_line_are_limits_here():
    """`cli.options` has them once more, for it checks before anything is imported."""
    shared = [name for name in LIMITS if name in CHECKS]
    assert len(shared) == 11
    for name in shared:
        low, high, ends = LIMITS[name]
        outside = [low if ends[0] == "(" else low - 1]
        outside += [high if ends[1] == ")" else high + 1] if math.isfinite(high) else []
        for value in outside:
            with pytest.raises(ValueError, match=f"^{name} must"):
                CHECKS[name](value, name)


def test_a_folder_without_its_kind_is_told_how_it_is_written(tmp_path):
    with pytest.raises(ValueError, match=f"was {tmp_path}; a folder of pictures is folder:{tmp_path}$"):
        resolve({"data": str(tmp_path)})
    spaced = tmp_path / "my pictures"
    spaced.mkdir()
    with pytest.raises(ValueError, match=f'; a folder of pictures is "folder:{spaced}"$'):
        resolve({"data": str(spaced)})


def test_a_resolution_is_for_folders():
    with pytest.raises(ValueError, match=r"^resolution is for folder:DIR alone, digits has its own; was 32$"):
        load("digits", 32)


def test_settings_are_resolved_by_the_recipe_and_overridden_by_what_is_given():
    paper = resolve({"recipe": "paper"})
    assert (paper.optimizer, paper.schedule, paper.bn_momentum, paper.ema, paper.dropout) == (
        "rmsprop",
        "exponential",
        0.003,
        0.9999,
        0.2,
    )
    assert paper.lr == pytest.approx(0.045 * 32 / 96) and resolve({"recipe": "paper", "batch_size": 96}).lr == 0.045
    assert resolve({"recipe": "paper", "lr": 0.5, "dropout": 0.0}).dropout == 0.0
    tuned = [
        resolve(given).lr for given in ({"init": "x"}, {"init": "x", "freeze": "backbone"}, {"init": "x", "lr": 1.0})
    ]
    assert tuned == [0.005, 0.02, 1.0]
    assert resolve({"freeze": "backbone", "init": "x"}).bn == "keep" and resolve({"init": "x"}).bn == "update"
    for given, match in (
        ({"recipe": "secret"}, "recipe must be one of sgd, paper"),
        ({"optimizer": "adam"}, "optimizer must be one of"),
        ({"freeze": "backbone"}, "freeze needs init"),
        ({"bn": "keep"}, "bn needs init"),
        ({"bn": "update"}, "bn needs init"),
        ({"colour": "red"}, "one was 'colour'"),
    ):
        with pytest.raises(ValueError, match=match):
            resolve(given)
    assert set(RECIPES) == {"sgd", "paper"}


def test_what_is_resolved_is_what_the_run_gets():
    settings = resolve({"lr": 0.25, "weight_decay": 0.5})
    optimizer = make_optimizer(settings, [Parameter(np.zeros(1), "weight")])
    assert (type(optimizer), optimizer.lr, optimizer.weight_decay) == (SGD, 0.25, 0.5)
    assert make_schedule(settings._replace(schedule="exponential", epochs=2))(3, 4) == pytest.approx(0.25 * 0.98)
    assert make_schedule(settings)(20, 400) == 0.25  # the end of its warm-up
    assert checked(settings) == settings
