"""Paths that are no files, names that are no text, and processes whose stderr is closed or that are interrupted."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from processes import ctrl_c_works, raw_names, unix
from test_main import ROOT

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.atomic import writing
from npmnv2.data import open_image
from npmnv2.show import plots
from npmnv2.train.session import begin, resume
from npmnv2.train.settings import resolve
from npmnv2.weights import FormatError
from npmnv2.weights.formats import native

RAW_BYTE = os.fsdecode(b"\xff")  # what a file name may hold, and no text


@pytest.fixture
def model():
    return npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)


@pytest.fixture
def pipe(tmp_path):
    path = str(tmp_path / "pipe.png")
    os.mkfifo(path)
    return path


@unix
def test_no_reader_waits_at_a_pipe(pipe):
    with pytest.raises(ValueError, match="pipe or a device"):
        open_image(pipe)
    for read in (weights.read, native.read):
        with pytest.raises(FormatError, match="pipe or a device"):
            read(pipe)


@unix
@pytest.mark.parametrize("option", ["--plot", "--save", "--confusion"])
def test_no_writer_waits_at_a_pipe(pipe, option, capsys):
    assert main(["train", "--data", "digits", option, pipe]) == 1
    assert capsys.readouterr().err == f"npmnv2 train: {option} must name a file; was {pipe}, a pipe or a device\n"


def test_a_device_is_refused_before_the_training(capsys):
    assert main(["train", "--data", "digits", "--save", os.devnull]) == 1
    assert "must name a file" in capsys.readouterr().err


def test_the_longest_name_is_no_problem(tmp_path):
    path = tmp_path / ("é" * 125 + ".npz")  # 254 bytes
    for content in (b"old", b"new"):
        with writing(path) as file:
            file.write(content)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == [path.name]


@unix
def test_a_link_to_itself_is_not_replaced(tmp_path):
    path = tmp_path / "loop.npz"
    path.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"), writing(path):
        pass
    assert path.is_symlink()


@pytest.mark.parametrize("name", [f"a{RAW_BYTE}", "a\x1b[31m"])
def test_names_of_classes_that_are_no_text_are_drawn(name, tmp_path):
    plots.confusion(np.ones((2, 2), int), (name, "b"), tmp_path / "a.png")


@raw_names
def test_a_name_that_is_no_text_is_printed(tmp_path, model, capfd):
    path = str(tmp_path / f"{RAW_BYTE}.npz")
    weights.save(model, path)
    python = [sys.executable, "-m", "npmnv2", "train", "--data", "digits", "--backend", "numpy", "--init", path]
    done = subprocess.run([*python, "--lr", "1e30"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert r"\udcff.npz, a new classifier" in done.stdout and "the loss was" in done.stderr


def test_complaints_move_no_cursor(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "\x1b[2J.npz"), "out.npz"]) == 1
    assert main(["train", "--resume", str(tmp_path), "--log", "\x1b[2J"]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_training_needs_no_stderr():
    code = (
        "import sys; sys.stderr = None\n"
        "import npmnv2\n"
        "from npmnv2.data import load_digits\n"
        "from npmnv2.train import train\n"
        "model = npmnv2.mobilenet_v2(10, 0.1, strides='digits', in_channels=1)\n"
        "optimizer = npmnv2.nn.optim.SGD(model.parameters(), lr=0.01)\n"
        "print(len(train(model, optimizer, load_digits(held_out=1790), 1)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout == "1\n"


@unix
def test_ctrl_c_during_the_imports_prints_nothing():
    code = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'npmnv2.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('npmnv2', run_name='__main__')\n"
    )
    with ctrl_c_works():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, training: training["settings"].update(batch_size=0),
        lambda arrays, training: training["settings"].update(optimizer="none"),
        lambda arrays, training: training["settings"].update(data=5),
        lambda arrays, training: training["generator"]["state"].update(state=-1),
        lambda arrays, training: arrays.update({"training/order": arrays["training/order"] * 1000}),
        lambda arrays, training: arrays.pop("training/order"),
        lambda arrays, training: training.update(loss_sum="much"),
        lambda arrays, training: training.update(seconds=None),
    ],
)
def test_a_run_made_to_deceive_is_refused(change, tmp_path):
    path = tmp_path / "run.npz"
    session = begin(resolve({"width": 0.1, "backend": "numpy"}))
    session.position.remaining(len(session.data.train_x))
    session.position.done = session.settings.batch_size
    session.save(path)
    arrays, info = native.read(path)
    resume(path)
    change(arrays, info["training"])
    native.write(path, arrays, info)
    with pytest.raises(FormatError, match=r"run\.npz"):
        resume(path)
