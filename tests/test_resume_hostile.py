"""Checkpoints that say what cannot be: one `FormatError` that names the file and the fault, and nothing is restored."""

import copy
import json
import math
import re

import numpy as np
import pytest

import npmnv2
from npmnv2 import data
from npmnv2.train import datasets, state
from npmnv2.train.session import Session, Stopped, begin, resume
from npmnv2.train.settings import resolve
from npmnv2.weights import FormatError, load_model
from npmnv2.weights.formats import native
from npmnv2.weights.formats.native import Checkpoint

FULL = data.load_digits(held_out=1753)
FEW = FULL._replace(test_x=FULL.test_x[:20], test_y=FULL.test_y[:20])  # 44 to train on: 3 steps of 16


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    monkeypatch.setattr(data, "load_digits", lambda: FEW)
    monkeypatch.setattr(native, "_as_json", lambda info: json.dumps(info).encode())  # which would refuse NaN


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Where the file of the run is."""
    return tmp_path_factory.mktemp("run") / "run.npz"


@pytest.fixture(scope="module")
def run(path):
    """A run of RMSProp that was stopped after the second step of its second epoch."""
    steps = iter(range(4))
    settings = {"width": 0.1, "epochs": 3, "batch_size": 16, "optimizer": "rmsprop", "backend": "numpy"}
    with pytest.MonkeyPatch.context() as patch, npmnv2.backend("numpy"):
        patch.setattr(data, "load_digits", lambda: FEW)
        with pytest.raises(Stopped):
            begin(resolve(settings)).run(save=path, stop=lambda: next(steps, None) is None)
    return native.read(path)


def changed(run, change):
    """A checkpoint after `change(arrays, info)`."""
    arrays, info = dict(run.arrays), copy.deepcopy(run.info)
    change(arrays, info)
    return Checkpoint(arrays, info)


def refused(path, checkpoint, monkeypatch=None):
    """The line with which `resume` refuses it, after the path; read from the file, or handed over as if it had been."""
    if monkeypatch is None:
        native.write(path, *checkpoint)
    else:
        monkeypatch.setattr(native, "read", lambda path: checkpoint)
    with pytest.raises(FormatError) as error:
        resume(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and len(line) < len(str(path)) + 400
    return line.removeprefix(f"{path}: ")


def training(**values):
    """A change of numbers of the run."""
    return lambda arrays, info: info["training"].update(values)


def settings(**values):
    return lambda arrays, info: info["training"]["settings"].update(values)


def model(**values):
    return lambda arrays, info: info["model"].update(values)


def generator(**values):
    return lambda arrays, info: info["training"]["generator"].update(values)


def stream(**values):
    """Of the generator of dropout."""
    return lambda arrays, info: info["training"]["dropout"]["dropout"]["state"].update(values)


def history(column, value):
    def change(arrays, info):
        info["training"]["history"][0][column] = value

    return change


def array(name, value):
    """Another array; of a number, the same with this number in it."""

    def change(arrays, info):
        new = arrays[name].copy() if np.isscalar(value) else value
        if np.isscalar(value):
            new.flat[-1] = value
        arrays[name] = new

    return change


def without(name):
    return lambda arrays, info: arrays.pop(name)


ORDER = np.arange(44)
WHOLE = r"does not hold the whole of a run \("
LIES = {
    "no run": (lambda a, i: i.pop("training"), "holds weights, but no run"),
    "an unknown setting": (settings(colour="red"), "no run of this version"),
    "a setting of another type": (settings(epochs="many"), "make no sense: epochs must be an integer"),
    "a schedule that is a number": (settings(schedule=2**63), "make no sense: schedule must be one of"),
    "a recipe that is a number": (settings(recipe=1e308), "make no sense: recipe must be one of"),
    "a width without end": (settings(width=1e308), "make no sense: width must be more than 0"),
    "no width": (settings(width=None), WHOLE + "width_mult of its network must be None; was 0.1"),
    "another width": (settings(width=0.2), WHOLE + "width_mult of its network must be 0.2; was 0.1"),
    "another dropout": (settings(dropout=0.5), WHOLE + "dropout of its network must be 0.5; was 0.2"),
    "another momentum": (model(momentum=0.5), WHOLE + "momentum of its network must be 0.1; was 0.5"),
    "another seed": (model(seed=1), WHOLE + "seed of its network must be 0; was 1"),
    "another optimizer": (settings(optimizer="sgd"), WHOLE + r"optimizer/square/.* is no part of it"),
    "no averages": (settings(ema=0), WHOLE + r"ema/.* is no part of it"),
    "frozen after all": (settings(init="x", freeze="backbone"), WHOLE + "optimizer/.* is no part of it"),
    "fewer epochs than there were": (settings(epochs=1), WHOLE + "training/order is of no epoch: all have ended"),
    "far fewer epochs": (training(history=[[1]] * 4), WHOLE + "history must be a list of at most 3 epochs"),
    "no generator": (lambda a, i: i["training"].pop("generator"), WHOLE + "'generator'"),
    "another generator": (generator(bit_generator="MT19937"), WHOLE + "generator must be the state of a PCG64"),
    "a generator that is a list": (training(generator=[1]), WHOLE + "generator must be the state of a PCG64"),
    "a state beyond 128 bits": (stream(state=2**128), WHOLE + "state must lie between 0"),
    "a state that is a fraction": (stream(state=0.5), WHOLE + "state must be an integer; was 0.5"),
    "an even increment": (stream(inc=2), WHOLE + "inc must be odd"),
    "half a state": (generator(state={"state": 1}), WHOLE + "'inc'"),
    "a flag that is none": (generator(has_uint32=2), WHOLE + "has_uint32 must lie between 0 and 1; was 2"),
    "a word of 33 bits": (generator(uinteger=2**32), WHOLE + "uinteger must lie between 0"),
    "no dropout": (training(dropout={}), WHOLE + "dropout must hold generators of dropout"),
    "a dropout of another layer": (training(dropout={"stem": 1}), WHOLE + "dropout must hold generators of dropout"),
    "no fingerprint": (lambda a, i: i["training"].pop("data"), "does not say what images its run began with"),
    "a fingerprint of another kind": (training(data=["0" * 16]), "does not say what images"),
    "a long fingerprint": (training(data="0" * 17), "does not say what images"),
    "a missing array": (without("optimizer/velocity/fc.w"), WHOLE + "optimizer/velocity/fc.w is missing"),
    "an array too many": (array("ema/fc.c", np.zeros(3, np.float32)), r"fc\.c"),
    "an average of another shape": (array("ema/fc.b", np.zeros(3, np.float32)), r"fc\.b"),
    "weights of another shape": (array("model/fc.b", np.zeros(3, np.float32)), WHOLE + "model/fc.b must be float32 of"),
    "weights of another type": (array("model/fc.b", np.zeros(10)), WHOLE + "model/fc.b must be float32 of shape"),
    "a negative variance": (array("model/head.bn.var", -1.0), WHOLE + "model/head.bn.var must not be less than 0"),
    "a negative average": (array("ema/head.bn.var", -1.0), "less than 0: head.bn.var"),
    "a negative square": (
        array("optimizer/square/fc.w", -0.1),
        WHOLE + "optimizer/square/fc.w must not be less than 0",
    ),
    "an order without an end": (array("training/order", ORDER[:-1].copy()), WHOLE + "training/order must have every"),
    "an order of floats": (array("training/order", ORDER * 1.0), WHOLE + "training/order must have every image once"),
    "an image twice": (array("training/order", ORDER // 2), WHOLE + "training/order must have every image once"),
    "no order": (without("training/order"), WHOLE + "training/order is missing"),
    "nothing done": (training(done=0), WHOLE + "done must be whole batches of 16; was 0"),
    "half a batch": (training(done=15), WHOLE + "done must be whole batches of 16; was 15"),
    "more done than there is": (training(done=45), WHOLE + "done must lie between 0 and 44; was 45"),
    "done and not": (training(done=True), WHOLE + "done must be an integer; was True"),
    "more right than done": (training(right=33), WHOLE + "right must lie between 0 and 32; was 33"),
    "half an image right": (training(right=0.5), WHOLE + "right must be an integer; was 0.5"),
    "a negative loss": (training(loss_sum=-0.5), WHOLE + "loss_sum must not be negative; was -0.5"),
    "a loss that is none": (training(loss_sum=math.nan), WHOLE + "loss_sum must not be negative; was nan"),
    "an endless time": (training(seconds=math.inf), WHOLE + "seconds must be finite; was inf"),
    "a time in words": (training(seconds="1"), WHOLE + "seconds must be a number; was '1'"),
    "a negative rate": (training(lr=-1), WHOLE + "lr must lie between 0 and"),
    "a rate beyond float32": (training(lr=1e300), WHOLE + "lr must lie between 0 and"),
    "fewer than no updates": (training(ema_updates=-1), WHOLE + "ema_updates must lie between 0 and"),
    "updates without end": (training(ema_updates=10**400), WHOLE + "ema_updates must lie between 0 and"),
    "a history that is a word": (training(history="abcdefg"), WHOLE + "history must be a list"),
    "a short row": (training(history=[[1]]), WHOLE + r"history must have rows of 7; one was \[1\]"),
    "a row that is a word": (training(history=["abcdefg"]), WHOLE + "history must have rows of 7"),
    "an endless row": (training(history=[[1] * 10**5]), WHOLE + "history must have rows of 7"),
    "the second epoch first": (history(0, 2), WHOLE + "epoch must lie between 1 and 1; was 2"),
    "an epoch that is true": (history(0, True), WHOLE + "epoch must be an integer; was True"),
    "a rate that was none": (history(1, None), WHOLE + "lr must be a number; was None"),
    "a loss that was endless": (history(2, math.inf), WHOLE + "loss must be finite; was inf"),
    "more than all right": (history(3, 1.5), WHOLE + "accuracy must lie between 0 and 1; was 1.5"),
    "less than none right": (history(4, -0.1), WHOLE + "test_accuracy must lie between 0 and 1; was -0.1"),
    "a time before": (history(5, -1), WHOLE + "seconds must not be negative; was -1"),
    "averages that nobody asked": (history(6, None), WHOLE + "ema_accuracy must be a number; was None"),
    "pixels of three colours": (
        lambda a, i: i["preprocessing"].update(channels=3, mean=[0.5] * 3),
        "preprocessing must",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_error(lie, run, path, monkeypatch):
    change, match = LIES[lie]
    assert re.search(match, refused(path, changed(run, change), monkeypatch))


@pytest.mark.parametrize(
    "lie", [lie if k % 20 == 0 else pytest.param(lie, marks=pytest.mark.slow) for k, lie in enumerate(LIES)]
)
def test_a_lie_in_a_file_is_one_error(lie, run, tmp_path):
    change, match = LIES[lie]
    assert re.search(match, refused(tmp_path / "run.npz", changed(run, change)))


def test_averages_of_a_run_without_any(run, tmp_path):
    def none_kept(arrays, info):
        info["training"]["settings"]["ema"] = 0
        for name in [name for name in arrays if name.startswith("ema/")]:
            del arrays[name]

    line = refused(tmp_path / "run.npz", changed(run, none_kept))
    assert "ema_accuracy must be null without averaged weights; was 0." in line


def test_the_truth_is_taken(run, tmp_path):
    """Else no wonder that lies are not."""
    native.write(tmp_path / "run.npz", *run)
    session = resume(tmp_path / "run.npz")
    arrays, info = state.capture(session)
    assert info == run.info and arrays.keys() == run.arrays.keys()
    assert all(arrays[name].tobytes() == value.tobytes() for name, value in run.arrays.items())


@pytest.fixture
def session(run, path):
    """A run of the same settings that has not begun."""
    held = state.settings_of(run, "run.npz")
    return Session(held, datasets.load(held.data), load_model(path))


def _snapshot(session):
    arrays, info = state.capture(session)
    return {name: value.tobytes() for name, value in arrays.items()}, info


def test_nothing_is_restored_from_a_lie(run, session):
    """Each part is checked before the first is given back."""
    before, tried = _snapshot(session), 0
    for lie, (change, match) in LIES.items():
        checkpoint = changed(run, change)
        same = checkpoint.info.get("training", {}).get("settings") == run.info["training"]["settings"]
        if not match.startswith(WHOLE) or not same or checkpoint.info["model"] != run.info["model"]:
            continue  # which is found out elsewhere
        with pytest.raises(FormatError):
            state.restore(session, checkpoint, "run.npz")
        assert _snapshot(session) == before, lie
        tried += 1
    assert tried > 40
    state.restore(session, run, "run.npz")
    assert _snapshot(session) != before


@pytest.mark.parametrize("value", [None, True, -0.5, 2**63, 1e308, math.nan, "x", [], {"a": [1]}], ids=repr)
def test_whatever_stands_anywhere_it_is_refused_or_makes_sense(value, run, path, session, monkeypatch):
    """Every place of the JSON, one after the other. No other error may come of it."""
    for place in _places(run.info["training"]):
        checkpoint = Checkpoint(run.arrays, copy.deepcopy(run.info))
        node = checkpoint.info["training"]
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value
        monkeypatch.setattr(native, "read", lambda path, found=checkpoint: found)
        try:
            if state.settings_of(checkpoint, path) == session.settings:  # which is quick
                state.restore(session, checkpoint, path)
                resumed = session
            else:
                resumed = resume(path)
        except FormatError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error), place
        else:
            json.dumps(state.capture(resumed)[1], allow_nan=False)  # it can be saved again


def _places(node, above=()):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, part in items:
        yield (*above, key)
        yield from _places(part, (*above, key))
