"""A run that is stopped, killed or out of disk goes on as if nothing had happened, to the last bit."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from PIL import Image
from processes import unix

from npmnv2 import data, mobilenet_v2, weights
from npmnv2.__main__ import main
from npmnv2.nn.layers import BatchNorm
from npmnv2.train.session import Stopped, begin, resume
from npmnv2.train.settings import resolve
from npmnv2.weights import FormatError, load_model
from npmnv2.weights.formats import native

SETTINGS = {"width": 0.1, "epochs": 3, "batch_size": 16, "lr": 0.01}
# The command line on so few digits that a run takes seconds: 44 to train on (3 steps of 16), 20 held out.
FEW = """
import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from npmnv2 import data
full = data.load_digits(held_out=1753)
few = full._replace(test_x=full.test_x[:20], test_y=full.test_y[:20])
data.load_digits = lambda: few
from npmnv2.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    full = data.load_digits(held_out=1753)
    few = full._replace(test_x=full.test_x[:20], test_y=full.test_y[:20])
    monkeypatch.setattr(data, "load_digits", lambda: few)
    return few


def _contents(path):
    """Arrays and info of a checkpoint as bytes, without what the clock says."""
    arrays, info = native.read(path)
    info["training"]["seconds"] = 0
    for epoch in info["training"]["history"]:
        epoch[5] = 0
    return {name: array.tobytes() for name, array in arrays.items()}, json.dumps(info)


def _stop_after(steps):
    calls = iter(range(steps))
    return lambda: next(calls, None) is None


# -- stopped and resumed


@pytest.mark.parametrize("recipe", ["sgd", pytest.param("paper", marks=pytest.mark.slow)])
def test_a_run_that_stops_after_every_step_ends_as_one_that_never_stopped(recipe, tmp_path):
    whole, pieces = tmp_path / "whole.npz", tmp_path / "pieces.npz"
    settings = resolve({**SETTINGS, "epochs": 2, "recipe": recipe})
    begin(settings).run(save=whole)
    session, stops = begin(settings), 0
    while True:
        try:
            session.run(save=pieces, stop=_stop_after(0))
            break
        except Stopped:
            stops += 1
            session = resume(pieces)  # nothing of the old one is used any more
    assert stops == 6
    assert _contents(pieces) == _contents(whole)


def test_every_part_of_a_run_is_needed_and_is_in_the_checkpoint(tmp_path, monkeypatch):
    """Whatever is changed in the file changes the end of the run: nothing there is for show."""
    path = tmp_path / "run.npz"
    with pytest.raises(Stopped):
        begin(resolve({**SETTINGS, "epochs": 2})).run(save=path, stop=_stop_after(3))
    arrays, info = native.read(path)
    assert {name.split("/")[0] for name in arrays} == {"model", "ema", "optimizer", "training"}

    def end(change):
        copy, said = dict(arrays), json.loads(json.dumps(info))
        change(copy, said["training"])
        monkeypatch.setattr(native, "read", lambda path: native.Checkpoint(copy, said))  # which is quick
        session = resume(path)
        session.run()
        state = {**session.model.state_dict(), **{f"ema/{name}": value for name, value in session.ema.shadow.items()}}
        history = [epoch._replace(seconds=0) for epoch in session.position.history]
        return {name: value.tobytes() for name, value in state.items()}, history

    def other_generator(arrays, training):
        training["generator"] = np.random.default_rng(9).bit_generator.state

    def other_masks(arrays, training):
        training["dropout"] = {name: np.random.default_rng(9).bit_generator.state for name in training["dropout"]}

    def other(name):
        return lambda arrays, training: arrays.update({name: arrays[name][::-1].copy() + arrays[name].dtype.type(0)})

    expected = end(lambda arrays, training: None)
    changes = [other_generator, other_masks, *map(other, ("model/fc.w", "optimizer/velocity/fc.w", "training/order"))]
    changes += [other("model/stem.bn.mean"), other("ema/fc.w"), lambda a, t: t.update(ema_updates=10**6)]
    changes += [
        lambda a, t: t.update(done=32),
        lambda a, t: t.update(loss_sum=t["loss_sum"] + 0.5),
        lambda a, t: t.update(right=t["right"] + 1),
    ]
    for k, change in enumerate(changes):
        assert end(change) != expected, k


def test_in_the_middle_of_an_epoch_the_file_says_where(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(Stopped):
        begin(resolve(SETTINGS)).run(save=path, stop=_stop_after(3))  # the fourth step: the first of epoch 2
    session = resume(path)
    assert (session.position.step, session.position.done, len(session.position.history)) == (4, 16, 1)
    assert session.origin == f"goes on after step 4 in {path}"


def test_save_every_saves_between_epochs_too(tmp_path, monkeypatch):
    steps = []
    session = begin(resolve({**SETTINGS, "epochs": 2}))
    monkeypatch.setattr(session, "save", lambda path: steps.append(session.position.step))
    session.run(save="unused", save_every=2)
    assert steps == [2, 3, 4, 6, 6]  # 3 and the second 6: the ends of the epochs


def test_a_run_that_has_ended_has_nothing_left_to_do(tmp_path, capsys):
    path = tmp_path / "run.npz"
    history = begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    before = path.read_bytes()
    assert resume(path).run(save=path) == history and path.read_bytes() == before
    copy = tmp_path / "copy.npz"
    assert main(["train", "--resume", str(path), "--save", str(copy)]) == 0
    out = capsys.readouterr().out
    assert f"all 1 epochs of {path} are done; --init {path} begins a new run" in out and "seconds" not in out
    assert _contents(copy) == _contents(path)


@pytest.mark.parametrize("bn", ["keep", pytest.param("update", marks=pytest.mark.slow)])
def test_a_frozen_run_goes_on_frozen(bn, tmp_path):
    trained, whole, pieces = (tmp_path / name for name in ("trained.npz", "whole.npz", "pieces.npz"))
    begin(resolve({**SETTINGS, "epochs": 1})).run(save=trained)
    settings = resolve({**SETTINGS, "width": None, "epochs": 2, "init": str(trained), "freeze": "backbone", "bn": bn})
    begin(settings).run(save=whole)
    with pytest.raises(Stopped):
        begin(settings).run(save=pieces, stop=_stop_after(3))
    trained.unlink()  # it is in the checkpoint
    resume(pieces).run(save=pieces)
    assert _contents(pieces) == _contents(whole)


# -- what cannot be resumed


def test_other_data_than_it_began_with_are_refused(tmp_path, monkeypatch, few_digits):
    path = tmp_path / "run.npz"
    begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    monkeypatch.setattr(data, "load_digits", lambda: few_digits._replace(train_y=few_digits.train_y[::-1]))
    with pytest.raises(ValueError, match=r"digits does not hold the images that the run in .* began with"):
        resume(path)


def test_weights_of_another_library_are_no_run(tmp_path, few_digits):
    path = tmp_path / "weights.pth"
    weights.save(mobilenet_v2(10, 0.1), path, "torchvision")
    line = f"{path}: is no checkpoint of a run, but pth: --init begins a run with weights of any kind"
    with pytest.raises(FormatError, match=f"^{re.escape(line)}$"):
        resume(path)


def test_weights_that_are_not_there_are_one_line(few_digits, capsys):
    assert main(["train", "--data", "digits", "--init", "imagenet"]) == 1
    assert capsys.readouterr().err == "npmnv2 train: imagenet: No such file or directory\n"


def test_pictures_that_were_moved_are_told_where_they_were(tmp_path):
    run, pictures = tmp_path / "run.npz", tmp_path / "pictures"
    for name, tone in (("cat", 0), ("dog", 200)):
        (pictures / name).mkdir(parents=True)
        for k in range(4):
            Image.new("RGB", (16, 16), (tone, 10 * k, 0)).save(pictures / name / f"{k}.png")
    begin(resolve({**SETTINGS, "data": f"folder:{pictures}", "resolution": 16, "epochs": 1})).run(save=run)
    pictures.rename(tmp_path / "moved")
    line = f"{pictures}: no such folder; the run in {run} began with folder:{pictures}: put its images back there, or"
    with pytest.raises(ValueError, match=f"^{re.escape(line)} begin a new run with --init {re.escape(str(run))}$"):
        resume(run)


def test_weights_that_say_no_mean_and_std_are_told_so(tmp_path, few_digits):
    path = str(tmp_path / "silent.npz")
    weights.save(mobilenet_v2(10, 0.1, strides="digits", in_channels=1), path)
    session = begin(resolve({**SETTINGS, "width": None, "init": path}))
    said = "it does not say a mean and a std of pixels: the usual ones of the data are taken"
    assert session.origin == f"begins with {path}, a new classifier; {said}"
    assert session.data.preprocessing == few_digits.preprocessing


def test_contradicting_options_are_one_line(tmp_path, capsys):
    path = str(tmp_path / "run.npz")
    begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    for options, kept in (
        (["--lr", "0.5"], 0.01),
        (["--epochs", "9"], 1),
        (["--recipe", "paper"], "sgd"),
        (["--batch-size", "8"], 16),
    ):
        assert main(["train", "--resume", path, *options]) == 1
        line = f"npmnv2 train: {options[0]} must be left out or be {kept}, as in {path}; was {options[1]}"
        assert capsys.readouterr().err == f"{line}: a run with other settings begins with --init {path}\n"
    assert main(["train", "--resume", path, "--lr", "0.01", "--epochs", "1"]) == 0
    assert main(["train", "--resume", path, "--data", "digits"]) == 2


@pytest.mark.parametrize("name", ["run.pth", "run.h5", "run.weights.h5", "run.safetensors", "run.onnx", "run.v2"])
def test_another_ending_than_that_of_a_checkpoint_is_refused_before_anything_is_read(name, tmp_path, capsys):
    path = str(tmp_path / name)
    assert main(["train", "--data", "folder:/no/such/folder", "--save", path]) == 1
    line = capsys.readouterr().err
    assert line.startswith("npmnv2 train: --save must end in .npz, the one format that a run can go on from; was ")
    assert f"{path}: `python -m npmnv2 convert run" in line and line.count("\n") == 1
    with pytest.raises(ValueError, match=r"^save must end in \.npz"):
        begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    assert list(tmp_path.iterdir()) == []


# -- the disk is full


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, monkeypatch, capsys):
    path, first = tmp_path / "run.npz", tmp_path / "first.npz"
    options = "--data digits --epochs 1 --width 0.1 --batch-size 16 --backend numpy --save".split()  # noqa: SIM905
    assert main(["train", *options, str(path)]) == 0
    before = path.read_bytes()
    capsys.readouterr()

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for target, rest in ((path, "the file that was there before is still good"), (first, "nothing was written")):
        assert main(["train", *options, str(target)]) == 1
        line = f"npmnv2 train: could not save {target} (No space left on device); {rest}\n"
        assert capsys.readouterr().err.endswith(line)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["run.npz"]


# -- signals


# In the fifth step of the run, the second of its second epoch, the process is told to stop, as by Ctrl-C.
PRESSED = """
import signal
from npmnv2.train.progress import Position
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
count = Position.count
def press(position, *arguments):
    count(position, *arguments)
    if position.step == 5:
        signal.raise_signal(signal.SIGINT)
Position.count = press
"""


def _start(*words, stdout=subprocess.PIPE, before=""):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": stdout, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, "-c", before + FEW, *map(str, words)], **pipes)


def _train(path, epochs):
    options = ["--width", "0.1", "--batch-size", "16", "--backend", "numpy", "--epochs", epochs]
    return ["train", "--data", "digits", *options, "--save", path]


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    path, log, whole = tmp_path / "run.npz", tmp_path / "run.csv", tmp_path / "whole.npz"
    process = _start(*_train(path, 2), "--log", log, before=PRESSED)
    _, err = process.communicate(timeout=300)
    line = f"stopped, all is saved; to go on: python -m npmnv2 train --resume {path} --log {log}\n"
    assert (process.returncode, err) == (130, line)
    words = line.partition("npmnv2 ")[2].split()
    rows = log.read_text().splitlines()
    assert len(rows) == 2  # the heading, the first epoch
    assert main(words) == 0
    assert log.read_text().splitlines()[:2] == rows and len(log.read_text().splitlines()) == 3
    assert main(list(map(str, _train(whole, 2)))) == 0
    assert _contents(path) == _contents(whole)


def test_who_is_told_to_ignore_ctrl_c_does(tmp_path):
    """As `nohup` and scripts tell what they start in the background."""
    path, whole = tmp_path / "run.npz", tmp_path / "whole.npz"
    process = _start(*_train(path, 2), before=PRESSED.replace("default_int_handler", "SIG_IGN"))
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "") and len(re.findall(r"^ +\d+ ", out, re.M)) == 2
    assert main(list(map(str, _train(whole, 2)))) == 0
    assert _contents(path) == _contents(whole)


def _killed(words, after):
    """Run a command, kill it so long after its first line of output; what it has printed."""
    with tempfile.TemporaryFile("w+") as out:
        process = _start(*words, stdout=out)
        while os.fstat(out.fileno()).st_size == 0 and process.poll() is None:
            time.sleep(0.001)
        time.sleep(after)
        process.kill()
        assert process.communicate(timeout=300)[1] == "" and process.returncode in (-signal.SIGKILL, 0)
        out.seek(0)
        return out.read()


def _kill_at_random(folder, kills, epochs, seed):
    """Train in processes that are killed at random moments, each going on from what the one before left."""
    path, rng = folder / "run.npz", random.Random(seed)
    reached = 0
    for _ in range(kills):
        words = ["train", "--resume", path] if path.exists() else _train(path, epochs)
        out = _killed([*words, "--save-every", 2], after=rng.uniform(0, 0.5))
        printed = [int(epoch) for epoch in re.findall(r"^ +(\d+) .*\n", out, re.M)]  # each after its save
        if path.exists():
            history = native.read(path).info["training"]["history"]
            assert len(history) >= max([reached, *printed]), "an epoch that had ended was lost"
            reached = len(history)
        if reached == epochs:  # from the beginning again
            _is_as_never_killed(folder, epochs)
            path.unlink()
            reached = 0
    if path.exists():
        assert main(["train", "--resume", str(path)]) == 0
        _is_as_never_killed(folder, epochs)


def _is_as_never_killed(folder, epochs):
    whole = folder / "whole.npz"
    if not whole.exists():
        assert main(list(map(str, _train(whole, epochs)))) == 0
    assert _contents(folder / "run.npz") == _contents(whole)
    assert sorted(p.name for p in folder.iterdir()) == ["run.npz", "whole.npz"]  # no temporaries


@unix  # Windows does not replace a file that somebody has open
def test_killed_at_random_moments(tmp_path):
    _kill_at_random(tmp_path, kills=2, epochs=4, seed=0)


@unix
@pytest.mark.slow
def test_killed_at_200_random_moments(tmp_path):
    _kill_at_random(tmp_path, kills=200, epochs=40, seed=1)


# -- the same bits at every number of threads


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_deterministic_gives_the_same_bits_at_every_number_of_threads(backend, tmp_path):
    words = ["train", "--data", "digits", "--epochs", "1", "--batch-size", "22", "--backend", backend]
    code = FEW.replace('os.environ["OPENBLAS_NUM_THREADS"] = "1"', "").replace(
        "sys.exit(main(sys.argv[1:]))",
        'sys.exit(max(main([*sys.argv[1:], "--threads", n, "--save", f"{n}.npz"]) for n in ("1", "3")))',
    )
    command = [sys.executable, "-c", code, *words, "--deterministic"]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "8", "OPENBLAS_NUM_THREADS": "8"}
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))  # it runs elsewhere
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    assert _contents(tmp_path / "1.npz") == _contents(tmp_path / "3.npz")


# -- what a checkpoint is besides


def test_a_checkpoint_is_a_model_for_others(tmp_path, few_digits):
    path = tmp_path / "run.npz"
    session = begin(resolve(SETTINGS))
    session.run(save=path)
    model = load_model(path)
    assert model.labels == list("0123456789") and model.preprocessing == few_digits.preprocessing
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, session.ema.shadow[name])  # the averaged weights, which are the better


# -- fine-tuning


def test_frozen_means_that_only_the_classifier_moves(tmp_path):
    path = tmp_path / "trained.npz"
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    trained = load_model(path).state_dict()
    for bn, moving in (("keep", ()), ("update", (".mean", ".var"))):
        given = {**SETTINGS, "width": None, "init": str(path), "freeze": "backbone", "bn": bn}
        session = begin(resolve(given))
        session.run()
        for name, value in session.model.state_dict().items():
            moves = name.startswith("fc.") or name.endswith(moving) if moving else name.startswith("fc.")
            assert (value != trained[name]).any() == moves, name


def test_statistics_can_be_kept_while_everything_learns(tmp_path):
    path = tmp_path / "trained.npz"
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    session = begin(resolve({**SETTINGS, "width": None, "init": str(path), "bn": "keep"}))
    assert not any(layer.training for _, layer in session.model.named_layers() if isinstance(layer, BatchNorm))
    session.run()
    trained = load_model(path).state_dict()
    after = session.model.state_dict()
    assert all((after[name] == trained[name]).all() for name in after if name.endswith((".mean", ".var")))
    assert all((after[name] != trained[name]).any() for name in ("head.conv.w", "head.bn.gamma", "fc.w"))


def test_the_classifier_is_new_unless_the_classes_are_the_same(tmp_path, monkeypatch, few_digits):
    path = str(tmp_path / "trained.npz")
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    given = {**SETTINGS, "width": None, "init": path}
    session = begin(resolve(given))
    assert session.origin == f"begins with {path}, its classifier too" and session.settings.width == 0.1
    np.testing.assert_array_equal(session.model.state_dict()["fc.w"], load_model(path).state_dict()["fc.w"])
    others = few_digits._replace(classes=tuple("abcdefghij"))
    monkeypatch.setattr(data, "load_digits", lambda: others)
    session = begin(resolve(given))
    assert session.origin == f"begins with {path}, a new classifier"
    assert (session.model.state_dict()["fc.w"] != load_model(path).state_dict()["fc.w"]).any()


def test_a_head_can_be_kept_whatever_its_classes_are_called(tmp_path, monkeypatch, few_digits):
    path, run = str(tmp_path / "trained.npz"), str(tmp_path / "run.npz")
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    renamed = few_digits._replace(classes=tuple("abcdefghij"))
    monkeypatch.setattr(data, "load_digits", lambda: renamed)
    given = {**SETTINGS, "width": None, "init": path, "keep_head": True}
    said = "its classifier, which the file calls 0, 1, 2, 3, 4, ... are a, b, c, d, e, ..., in this order"
    with pytest.warns(UserWarning, match=said):
        session = begin(resolve(given))
    assert session.origin == f"begins with {path}, its classifier too"
    np.testing.assert_array_equal(session.model.state_dict()["fc.w"], load_model(path).state_dict()["fc.w"])
    with pytest.raises(Stopped):
        session.run(save=run, stop=_stop_after(2))
    assert resume(run).settings.keep_head  # and it asks for no file to begin with again
    resumed = main(["train", "--resume", run, "--keep-head", "--threads", "1"])
    assert resumed == 0 and load_model(run).labels == list("abcdefghij")


@pytest.mark.parametrize("keep_head", [False, True])
def test_a_classifier_of_the_same_names_is_put_in_the_order_of_the_data(keep_head, tmp_path, monkeypatch, few_digits):
    path = str(tmp_path / "trained.npz")
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    monkeypatch.setattr(data, "load_digits", lambda: few_digits._replace(classes=few_digits.classes[::-1]))
    with pytest.warns(UserWarning, match="classifier, 0, 1, 2, .*, are put in the order of data: 9, 8, 7, "):
        session = begin(resolve({**SETTINGS, "width": None, "init": path, "keep_head": keep_head}))
    assert session.origin == f"begins with {path}, its classifier too"
    state, trained = session.model.state_dict(), load_model(path).state_dict()
    np.testing.assert_array_equal(state["fc.w"], trained["fc.w"][:, ::-1])
    np.testing.assert_array_equal(state["fc.b"], trained["fc.b"][::-1])


def test_pixels_of_weights_that_do_not_say_how_are_those_of_the_data_and_that_is_said(tmp_path, few_digits):
    path = str(tmp_path / "made.npz")
    weights.save(mobilenet_v2(10, 0.1, strides="digits", in_channels=1), path)
    with pytest.warns(UserWarning, match=r"pixels are normalised with mean 0.5 and std 0.5, as those of data"):
        begin(resolve({**SETTINGS, "width": None, "init": path}))


def test_a_head_that_cannot_be_kept_is_one_line(tmp_path, monkeypatch, few_digits, capsys):
    path = str(tmp_path / "trained.npz")
    begin(resolve({**SETTINGS, "epochs": 1, "ema": 0})).run(save=path)
    words = ["train", "--data", "digits", "--keep-head", "--epochs", "1"]
    assert main(words) == 1
    line = "npmnv2 train: --keep-head needs --init: a file with the weights of a trained network\n"
    assert capsys.readouterr().err == line
    few = few_digits._replace(train_y=few_digits.train_y % 3, test_y=few_digits.test_y % 3, classes=tuple("abc"))
    monkeypatch.setattr(data, "load_digits", lambda: few)
    assert main([*words, "--init", path]) == 1
    said = f"--keep-head must be left out for {path}, which has a classifier of 10 classes: data has 3 classes"
    assert capsys.readouterr().err == f"npmnv2 train: {said} and gets a new one\n"


def test_pixels_are_normalised_as_the_weights_know_them(tmp_path, monkeypatch, few_digits):
    path, run = str(tmp_path / "trained.npz"), str(tmp_path / "run.npz")
    pixels = few_digits._replace(
        train_x=((few_digits.train_x + 1) * 127).astype(np.uint8),
        test_x=((few_digits.test_x + 1) * 127).astype(np.uint8),
    )
    trained_on = pixels._replace(preprocessing=pixels.preprocessing._replace(mean=(0.25,), std=(0.125,)))
    monkeypatch.setattr(data, "load_digits", lambda: trained_on)
    begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    monkeypatch.setattr(data, "load_digits", lambda: pixels)
    begin(resolve({**SETTINGS, "width": None, "epochs": 1, "init": path})).run(save=run)
    for session in (begin(resolve({**SETTINGS, "width": None, "init": path})), resume(run)):
        assert session.data.preprocessing == session.model.preprocessing == trained_on.preprocessing
    assert load_model(run).preprocessing.mean == (0.25,)


def test_weights_of_another_width_or_depth_of_image_are_one_error(tmp_path, monkeypatch, few_digits):
    path = str(tmp_path / "trained.npz")
    begin(resolve({**SETTINGS, "epochs": 1})).run(save=path)
    with pytest.raises(ValueError, match=r"^width must be that of the weights in .*, 0\.1; was 0\.35$"):
        begin(resolve({**SETTINGS, "width": 0.35, "init": path}))
    colour = few_digits._replace(train_x=few_digits.train_x.repeat(3, 3), test_x=few_digits.test_x.repeat(3, 3))
    monkeypatch.setattr(data, "load_digits", lambda: colour)
    with pytest.raises(ValueError, match=r"must be for images of 3 channels, as in data; was for 1$"):
        begin(resolve({**SETTINGS, "width": None, "init": path}))


def test_a_picture_that_is_left_out_is_one_line(tmp_path, capsys):
    for name, tone in (("cat", 0), ("dog", 200)):
        (tmp_path / name).mkdir()
        for k in range(4):
            Image.new("RGB", (16, 16), (tone, 10 * k, 0)).save(tmp_path / name / f"{k}.png")
    (tmp_path / "cat" / "bad.png").write_bytes(b"nothing")
    words = ["train", "--data", f"folder:{tmp_path}", "--resolution", "16", "--width", "0.1", "--epochs", "1"]
    assert main([*words, "--confusion", str(tmp_path / "c.png")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path}: 2 classes, 6 pictures to train on, 2 held out\n")
    assert "\npictures: shorter side to 16 (bilinear), 16 x 16 from the centre, colour, mean 0.485 " in out
    assert "\nrecall of the averaged weights, after the last epoch:\nclass " in out
    assert err.startswith("npmnv2 train: ") and "bad.png" in err and err.count("\n") == 1
    with Image.open(tmp_path / "c.png") as picture:
        picture.load()


def test_one_class_is_nothing_to_learn(monkeypatch, few_digits, capsys):
    one = few_digits._replace(train_y=few_digits.train_y * 0, test_y=few_digits.test_y * 0, classes=("cat",))
    monkeypatch.setattr(data, "load_digits", lambda: one)
    assert main(["train", "--data", "digits", "--epochs", "1"]) == 1
    line = "npmnv2 train: digits must hold at least two classes to tell apart; there was one, cat\n"
    assert capsys.readouterr().err == line
