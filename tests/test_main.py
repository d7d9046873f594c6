"""The command line: what goes to stdout and to stderr, exit statuses, bad options, closed pipes, interruptions."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from processes import ctrl_c_works, open_terminal, read_terminal, unix

import npmnv2
from npmnv2 import __main__ as command_line
from npmnv2 import data
from npmnv2.__main__ import main
from npmnv2.cli import options
from npmnv2.gradcheck import cases
from npmnv2.show.tables import epoch_header

ROOT = pathlib.Path(npmnv2.__file__).parent.parent
TRAIN = ["train", "--data", "digits", "--width", "0.1", "--backend", "numpy", "--epochs", "1"]
FOR_LONG = [*TRAIN[:-1], "1000"]  # whatever happens to it happens before its end


def _start(*arguments, **options):
    """`python -m npmnv2 ...` as a process of its own."""
    environment = {**os.environ, "NO_COLOR": "1", **options.pop("env", {})}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "env": environment, **options}
    return subprocess.Popen([sys.executable, "-m", "npmnv2", *arguments], **piped)


def _run(*arguments, **options):
    process = _start(*arguments, **options)
    out, err = (stream.decode() if stream is not None else None for stream in process.communicate(timeout=300))
    return process.returncode, out, err


def _strictly(text):
    """The one JSON document in `text`; NaN and Infinity, which only Python's json knows, are none."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def few_digits(monkeypatch):
    """Training takes a second, not a minute: 40 images to train on, 21 held out."""
    full = data.load_digits(held_out=1757)
    few = full._replace(test_x=full.test_x[:21], test_y=full.test_y[:21])
    monkeypatch.setattr(data, "load_digits", lambda: few)
    return few


# -- gradcheck


@pytest.fixture(scope="module")
def checks():
    return cases.run()


def test_gradcheck_prints_a_line_a_gradient(checks, capsys):
    assert main(["gradcheck"]) == 0
    out, err = capsys.readouterr()
    head, *rows = out.splitlines()
    assert head.split() == ["operation", "gradient", "method", "error", "allowed"]
    assert len(rows) == len(checks) and all(row.endswith("  ok") for row in rows)
    assert err == ""


@pytest.mark.parametrize("backend", [None, "numpy", "numba"])
def test_gradcheck_checks_the_backend_that_is_asked_for(backend, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(cases, "run", lambda backend: seen.append(backend) or [])
    assert main(["gradcheck", *(["--backend", backend] if backend else [])]) == 0
    assert seen == [backend or "numpy"]


def test_gradcheck_json(checks, capsys, monkeypatch):
    monkeypatch.setattr(cases, "run", lambda backend: checks)
    assert main(["gradcheck", "--json"]) == 0
    out, err = capsys.readouterr()
    document = _strictly(out)
    assert document["passed"] is True and err == ""
    assert [check["operation"] for check in document["checks"]] == [check.operation for check in checks]
    assert all(check["passed"] and check["error"] <= check["tolerance"] for check in document["checks"])


@pytest.mark.parametrize("error", [1.0, float("inf"), float("nan")])
def test_a_gradient_that_is_wrong_is_status_1(error, monkeypatch, capsys):
    checks = [
        cases.Check("good", "dx", "differences", 1e-14, 1e-11),
        cases.Check("bad", "dx", "differences", error, 1e-11),
    ]
    monkeypatch.setattr(cases, "run", lambda backend: checks)
    assert main(["gradcheck"]) == 1
    good, bad = capsys.readouterr().out.splitlines()[1:]
    assert good.endswith("  ok") and bad.endswith("  WRONG")
    assert main(["gradcheck", "--json"]) == 1
    document = _strictly(capsys.readouterr().out)
    assert document["passed"] is False and [check["passed"] for check in document["checks"]] == [True, False]
    assert document["checks"][1]["error"] == (error if np.isfinite(error) else None)


# -- train


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_train_json(backend, few_digits, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("npmnv2.cli.train.first_time", lambda names: None)  # which has a word to say
    path = tmp_path / "picture.png"
    before = npmnv2.current_backend()
    options = ["--batch-size", "16", "--backend", backend, "--seed", "3", "--plot", str(path)]
    assert main([*TRAIN, *options, "--json"]) == 0
    out, err = capsys.readouterr()
    document = _strictly(out)
    assert err == ""
    (epoch,) = document.pop("history")
    assert set(epoch) == {"epoch", "lr", "loss", "accuracy", "test_accuracy", "seconds", "ema_accuracy"}
    assert epoch["epoch"] == 1 and 1 < epoch["loss"] < 5 and epoch["seconds"] > 0
    assert (epoch["accuracy"] * 40).is_integer() and (epoch["test_accuracy"] * 21) % 1 == pytest.approx(0, abs=1e-9)
    assert {
        key: document[key] for key in ("data", "epochs", "width", "batch_size", "optimizer", "seed", "backend")
    } == {
        "data": "digits",
        "epochs": 1,
        "width": 0.1,
        "batch_size": 16,
        "optimizer": "sgd",
        "seed": 3,
        "backend": backend,
    }
    assert document["lr"] > 0 and document["plot"] == str(path)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 400
    assert npmnv2.current_backend() == before  # the caller's


def test_train_prints_a_line_an_epoch(few_digits, capsys):
    assert main([*TRAIN[:-1], "2"]) == 0
    out, err = capsys.readouterr()
    *before, head, first, second = out.splitlines()
    assert head.split() == ["epoch", "loss", "training", "held", "out", "averaged", "seconds"]
    assert [row.split()[0] for row in (first, second)] == ["1", "2"]
    assert err == ""  # no terminal, no progress
    assert before == [
        "pictures: stretched to 8 x 8 (bilinear), grey, mean 0.5, std 0.5",
        "nothing is kept without --save FILE",
        "%: the images that are classified right; averaged: held out, with the averaged weights",
    ]


@pytest.mark.parametrize("ema, weights", [([], " and their averages, which classify, "), (["--ema", "0"], "")])
def test_train_says_what_it_saves_and_what_it_replaces(ema, weights, few_digits, capsys, tmp_path):
    path = str(tmp_path / "run.npz")
    assert main([*TRAIN, *ema, "--save", path]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].startswith(f"{path} has the weights of the last epoch{weights}")
    assert "nothing is kept" not in out and ("averaged" in out) is not ema and err == ""
    for json_option in ([], ["--json"]):
        assert main([*TRAIN, *ema, "--save", path, *json_option]) == 0
        assert capsys.readouterr().err == f"npmnv2 train: --save: {path} is there, and is replaced\n"
    assert main(["train", "--resume", path, "--save", path]) == 0  # the same run
    assert capsys.readouterr().err == ""


def test_the_same_seed_trains_the_same(few_digits, capsys):
    documents = []
    for seed in ("5", "5", "6"):
        assert main([*TRAIN, "--batch-size", "20", "--seed", seed, "--json"]) == 0
        history = _strictly(capsys.readouterr().out)["history"]
        documents.append([{**epoch, "seconds": None} for epoch in history])
    assert documents[0] == documents[1] != documents[2]


@pytest.mark.parametrize(
    "options, key, value",
    [
        (["--optimizer", "rmsprop"], "optimizer", "rmsprop"),
        (["--optimizer", "rmsprop", "--lr", "0.001"], "lr", 0.001),
        (["--lr", "0.5"], "lr", 0.5),
        (["--label-smoothing", "0.3"], "label_smoothing", 0.3),
    ],
)
def test_every_training_option_reaches_the_run(options, key, value, few_digits, capsys):
    losses = []
    for given in ([], options):
        assert main([*TRAIN, "--batch-size", "20", *given, "--json"]) == 0
        document = _strictly(capsys.readouterr().out)
        losses.append(document["history"][0]["loss"])
    assert document[key] == value and losses[0] != losses[1]


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_loss_that_is_nan_is_one_line_and_status_1(json_option, few_digits, capsys):
    """Not a row of `nan` to be overlooked, and not a document that is no JSON."""
    assert main([*TRAIN[:-1], "5", "--batch-size", "8", "--lr", "1e30", *json_option]) == 1
    out, err = capsys.readouterr()
    assert err == "npmnv2 train: the loss was nan in epoch 1: --lr must be lower; was 1e+30\n"
    assert "nan" not in out and out.endswith("" if json_option else "seconds\n")  # the heading


# -- bad options

ONE_LINE = {  # 1: the input is bad
    "summary --width 0": "--width must be more than 0 and less than 100; was 0.0",
    "summary --width -1": "--width must be more than 0 and less than 100; was -1.0",
    "summary --width nan": "--width must be more than 0 and less than 100; was nan",
    "summary --width inf": "--width must be more than 0 and less than 100; was inf",
    "summary --resolution 0": "--resolution must be at least 1; was 0",
    "summary --resolution -224": "--resolution must be at least 1; was -224",
    "summary --resolution 1": "--resolution must be larger: at 1 only 1x1 pixels are left for stem, which has stride 2",
    "summary --model mobilenet_v1 --resolution 16": "--resolution must be larger: at 16 only 1x1 pixels are left",
    "summary --convention thpo": "--convention must be one of paper, ",
    "summary --convention=": "--convention must be one of paper, ",
    "summary --plot a.zzz": "--plot must end in .png",
    "summary --plot /no/such/folder/a.png": "--plot must name a file in an existing folder",
    "summary --classes 0": "--classes must be at least 1; was 0",
    "summary --json --classes -1": "--classes must be at least 1; was -1",
    "train --data digits --epochs 0": "--epochs must be at least 1; was 0",
    "train --data digits --epochs -3": "--epochs must be at least 1; was -3",
    "train --data digits --batch-size 0": "--batch-size must be at least 1; was 0",
    "train --data digits --lr -0.1": "--lr must not be negative; was -0.1",
    "train --data digits --lr nan": "--lr must not be negative; was nan",
    "train --data digits --lr inf": "--lr must be finite; was inf",
    "train --data digits --seed -1": "--seed must not be negative; was -1",
    "train --data digits --width 0": "--width must be more than 0 and less than 100; was 0.0",
    "train --data digits --label-smoothing 1.5": "--label-smoothing must lie between 0 and 1; was 1.5",
    "train --data digits --label-smoothing nan": "--label-smoothing must lie between 0 and 1; was nan",
    "train --data digits --plot /no/such/folder/a.png": "--plot must name a file in an existing folder; was /no/such",
    "train --data digits --plot a.zzz": "--plot must end in .png, .svg, .pdf or .jpg; was a.zzz",
    "train --data digits --plot a.pgf": "--plot must end in .png",  # Matplotlib would call LaTeX, after the training
    f"train --data digits --plot {'a' * 300}.png": "--plot must name a file that can be written (File name too long)",
    f"train --data digits --epochs 1{'0' * 400}": "--epochs must be finite; was an integer beyond the largest float",
    f"train --data digits --seed 1{'0' * 400}": "--seed must be finite",
    f"summary --resolution 1{'0' * 400}": "--resolution must be finite",
    "train --data digits --threads 0": "--threads must be at least 1; was 0",
    "train --data digits --threads 99999": "--threads must lie between 1 and ",
    "train --data digits --plot a": "--plot must end in .png",
    "train --data digits --plot=": "--plot must end in .png",
    "tour --plot /no/such/folder/a.png": "--plot must name a file in an existing folder",
    "tour --plot a.zzz": "--plot must end in .png",
    "classify a --mean 123.675": "--mean must lie between -10 and 10 (pixels are scaled to 0..1: divide one",
    "classify a --std 0.2,58.4,0.2": "--std must be more than 0 and at most 10 (pixels are scaled to 0..1: ",
    "train --data digits --freeze backbone": "--freeze needs --init: a file with",
    "train --resume no.npz": "no.npz: No such file or directory",
}


@pytest.mark.parametrize("words", ONE_LINE)
def test_bad_input_is_one_line_that_names_the_option_and_status_1(words, monkeypatch, capsys):
    monkeypatch.setattr(data, "load_digits", lambda: pytest.fail("the work had begun"))
    assert main(words.split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"npmnv2 {words.split()[0]}: {ONE_LINE[words]}")
    assert err.count("\n") == 1 and err.endswith("\n")


@unix  # where everybody may make links
def test_a_link_to_a_picture_that_is_not_there_yet_stays(tmp_path, capsys):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    assert main(["summary", "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").is_symlink() and (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_must_not_be_a_folder(tmp_path, capsys):
    folder = tmp_path / "a.png"
    folder.mkdir()
    assert main([*TRAIN, "--plot", str(folder)]) == 1
    error = f"npmnv2 train: --plot must name a file that can be written (Is a directory); was {folder}\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize(
    "words, named",
    [
        ("summary --width abc", "--width"),
        ("summary --resolution 5.5", "--resolution"),
        ("summary --model mobilenet_v9", "--model"),
        ("summary --widht 1", "--widht"),
        ("summary extra", "extra"),
        ("train", "--data"),
        ("train --data imagenet", "--data"),
        ("train --data digits --optimizer adam", "--optimizer"),
        ("train --data digits --backend torch", "--backend"),
        ("train --data digits --epochs 2.5", "--epochs"),
        ("train --data digits --epochs", "--epochs"),
        ("train --data digits --seed x", "--seed"),
        ("train --data digits --lr", "--lr"),
        ("training", "COMMAND"),
        ("clasify a.png", "(did you mean classify?)"),
        ("train pets", "unrecognized arguments: pets; what there is to train on is given by --data, with a space"),
        ("train --data folder:my pets", "unrecognized arguments: pets; what there is to train on"),
        ("summary a.npz", "unrecognized arguments: a.npz; what is in a file of weights is told by convert --explain"),
        ("classify --model a.pth a.png", "unrecognized arguments: --model"),
    ],
)
def test_a_usage_error_names_the_argument_and_is_status_2(words, named, capsys):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    usage, *_, error = err.splitlines()
    command = words.split()[0] if words.split()[0] in command_line._parsers()[1] else "[-h]"
    assert out == "" and usage.startswith(f"usage: python -m npmnv2 {command}") and "error: " in error
    assert named in error


def test_usage_error_and_bad_input_as_processes():
    status, out, err = _run("summary", "--width", "abc")
    assert (status, out) == (2, "") and "--width" in err
    status, out, err = _run("summary", "--width", "0", "--json")
    assert (status, out, err) == (1, "", "npmnv2 summary: --width must be more than 0 and less than 100; was 0.0\n")


@pytest.mark.parametrize(
    "error, message", [(OSError(28, "No space left"), "[Errno 28] No space left"), (MemoryError(), "out of memory")]
)
def test_what_goes_wrong_in_the_work_is_one_line(error, message, monkeypatch, capsys):
    def fail(backend):
        raise error

    monkeypatch.setattr(cases, "run", fail)
    assert main(["gradcheck"]) == 1
    assert capsys.readouterr().err == f"npmnv2 gradcheck: {message}\n"


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    """Only what the input or the machine can cause becomes one line; anything else shows where it came from."""
    monkeypatch.setattr(cases, "run", lambda backend: [][0])
    with pytest.raises(IndexError):
        main(["gradcheck"])


# -- help


def test_help(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("tour", "summary", "gradcheck", "train", "COMMAND --help", "Exit status: 0 success", "2 bad usage"):
        assert word in text
    for command in ("tour", "summary", "gradcheck", "train"):
        assert main([command, "--help"]) == 0
        out, err = capsys.readouterr()
        assert f"usage: python -m npmnv2 {command}" in out and err == ""
        for option in re.findall(r"^ +(--[a-z-]+)", out, re.M):
            assert re.search(rf"{option}\b[^-]*\S", out.partition("options:")[2]), f"{option} needs a word of help"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"npmnv2 {npmnv2.__version__}\n"


def test_a_command_is_a_file():
    folder = pathlib.Path(npmnv2.__file__).parent / "cli"
    files = {path.stem for path in folder.glob("*.py") if "def add_to(" in path.read_text(encoding="utf-8")}
    assert set(command_line._parsers()[1]) == files


def test_without_a_command_it_is_the_tour(monkeypatch, tmp_path):
    seen = []
    monkeypatch.chdir(tmp_path)  # where a picture can be written
    monkeypatch.setattr("npmnv2.show.tour.tour", lambda picture, say: seen.append(picture) or True)
    assert main([]) == main(["tour"]) == main(["tour", "--plot", "b.png"]) == 0
    assert seen == ["npmnv2-tour.png", "npmnv2-tour.png", "b.png"]


def test_a_tour_that_fails_is_status_1(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("npmnv2.show.tour.tour", lambda picture, say: say("lines") or False)
    assert main(["tour"]) == 1
    assert capsys.readouterr().out == "lines\n"


# -- pipes, terminals, signals


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["written at the end", "written at once"])
@pytest.mark.parametrize(
    "words",
    ["summary", *(pytest.param(w, marks=pytest.mark.slow) for w in ("summary --json", "gradcheck")), "--help"],
)
def test_a_pipe_that_nobody_reads_is_no_error(words, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    status, _, err = _run(*words.split(), stdout=writer, env={"PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert (status, err) == (0, "")


def test_a_pipe_closed_after_the_first_line_is_no_error():
    process = _start("summary", env={"PYTHONUNBUFFERED": "1"})
    assert process.stdout.readline().startswith(b"mobilenet_v2, ")
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=300) == 0


@unix
@pytest.mark.parametrize("words", ["summary", "summary --width 0"])
def test_no_stdout_at_all(words):
    """The shell's `>&-`: to Python, sys.stdout is None."""
    line = f"exec '{sys.executable}' -m npmnv2 {words} >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == (1 if "0" in words else 0)
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == done.returncode


class _Full:
    """Stdout on a full disk: it takes text, and cannot write it out."""

    def __init__(self, file):
        self.file, self.fileno = file, file.fileno

    def write(self, text):
        pass

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_one_line_and_status_1(monkeypatch, capsys, tmp_path):
    with open(tmp_path / "out", "wb") as file:
        monkeypatch.setattr(sys, "stdout", _Full(file))
        assert main(["summary"]) == 1
        assert os.path.sameopenfile(file.fileno(), os.open(os.devnull, os.O_WRONLY))  # nothing is tried again at exit
    assert capsys.readouterr().err == "npmnv2 summary: [Errno 28] No space left on device\n"


@unix
def test_ctrl_c_is_one_line_and_status_130():
    with ctrl_c_works():
        process = _start(*FOR_LONG)
    while not process.stdout.readline().startswith(b"epoch"):
        pass  # it trains
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (130, b"", b"stopped; nothing is kept without --save FILE\n")


@unix
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_progress_on_a_terminal_goes_to_stderr_without_escape_codes(json_option):
    terminal, end = open_terminal()
    with ctrl_c_works():
        process = _start(*FOR_LONG, *json_option, stderr=end)
    os.close(end)
    shown = read_terminal(terminal, until=b"epoch 1/1000: ")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    shown += read_terminal(terminal)
    os.close(terminal)
    assert b"\x1b" not in shown and b"stopped" in shown  # NO_COLOR, and colours were not wanted anyway
    assert out.splitlines()[3:4] == ([] if json_option else [epoch_header(averaged=True).encode()])


@unix
def test_text_on_a_terminal_has_no_escape_codes():
    terminal, end = open_terminal()
    process = _start("summary", stdout=end, stderr=end)
    os.close(end)
    shown = read_terminal(terminal)
    assert process.wait(timeout=300) == 0
    os.close(terminal)
    assert b"\x1b" not in shown and shown.startswith(b"mobilenet_v2, ") and b"for one image" in shown


def test_every_option_with_limits_exists():
    names = {action.dest for parser in command_line._parsers()[1].values() for action in parser._actions}
    assert set(options.LIMITS) <= names


def test_a_folder_that_cannot_be_written_is_known_before_the_work(monkeypatch, tmp_path):
    """A file in it that can be is no use: a new one takes its place in one step."""
    (tmp_path / "have.png").touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(tmp_path) and access(path, mode))
    with pytest.raises(ValueError, match=r"^--plot must name a file in a folder that can be written; was .*have.png"):
        options.check_writable(str(tmp_path / "have.png"), "--plot")
