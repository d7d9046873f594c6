"""The shell blocks of every page are run, line by line, word for word, on small data made for them.

README.md's are run by .ci/run, in an environment of their own. What concerns other programs than this one (pip, git,
benchmarks, which have tests of their own) is not run here, and `NOT_OURS` must say so.
"""

import importlib.util
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_classify import settled
from test_docs import PAGES, ROOT, fences

import npmnv2
from npmnv2 import data, weights
from npmnv2.__main__ import main

NOT_OURS = re.compile(
    r"(python3? -m )?(pip|venv|pytest|threadpoolctl) |python -m pytest$|git clone|cd |source |jupyter "
    r"|python benchmarks/"
)
COMPILES = re.compile(r"npmnv2 compile|--time|--backend numba|python -m npmnv2(\.mini)?$")
# A lab that nobody has solved yet is no error of the command, but is not passed.
UNSOLVED = re.compile(r"python -m npmnv2 lab (\d|grade)")


def commands(page):
    """The lines of the shell blocks of a page, without comments."""
    lines = [
        line
        for fence in fences(page.read_text(encoding="utf-8"))
        if fence.language == "sh"
        for line in fence.body.splitlines()
    ]
    stripped = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [line for line in stripped if line and not NOT_OURS.match(line)]


def pages():
    """Each page without the lines that compile, and with -m compiled those that have any, whole."""
    for page in PAGES:
        lines = commands(page) if page != ROOT / "README.md" else []
        name = str(page.relative_to(ROOT))
        if any(not COMPILES.search(line) for line in lines):
            yield pytest.param(page, False, id=name)
        if any(COMPILES.search(line) for line in lines):
            yield pytest.param(page, True, id=f"{name}-compiled", marks=pytest.mark.compiled)


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """A folder with all that the pages speak of: photo.jpg, a folder of pictures, weights of other libraries."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(6):
            pixels = rng.integers(0, 100, (40, 40, 3)) + 100 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / name / f"{k}.jpg")
    Image.fromarray(rng.integers(0, 256, (60, 50, 3)).astype(np.uint8)).save("photo.jpg")
    weights.save(settled(npmnv2.mobilenet_v2(10, 0.35)), "mobilenet_v2.pth", "torchvision")
    weights.save(settled(npmnv2.mobilenet_v2(3, 0.35, padding="same", eps=1e-3)), "dogs.weights.h5", "keras")
    (tmp_path / "dogs.weights.h5").rename("dogs.h5")
    (tmp_path / "breeds.txt").write_text("beagle\nboxer\npug\n")
    (tmp_path / "handed_in" / "ada").mkdir(parents=True)
    (tmp_path / "handed_in" / "ada" / "lab1.py").write_text("")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    full = data.load_digits(held_out=1765)  # 32 to train on: one step an epoch
    few = full._replace(test_x=full.test_x[:20], test_y=full.test_y[:20])
    monkeypatch.setattr(data, "load_digits", lambda *arguments, **options: few)


def status_of(line):
    """Run a line as a shell would."""
    words = shlex.split(line)
    if words[:3] == ["python", "-m", "npmnv2"] and len(words) > 3:
        return main(words[3:])
    assert words[:2] == ["python", "-m"], f"{line}: say in NOT_OURS that it is not run, or run it"
    return subprocess.run([sys.executable, *words[1:]], check=False, stdout=subprocess.DEVNULL).returncode


def expected(line):
    if line.endswith(".onnx") and importlib.util.find_spec("onnx") is None:
        return {1}  # which says what to install
    return {0, 1} if UNSOLVED.match(line) else {0}


@pytest.mark.parametrize("page, kernels", list(pages()))
def test_the_commands_of_a_page(page, kernels, small_data, capsys):
    for line in commands(page):
        if kernels or not COMPILES.search(line):
            status = status_of(line)
            assert status in expected(line), (line, capsys.readouterr().err)


def test_what_is_not_run_is_not_ours():
    assert not any(NOT_OURS.match(line) for line in ("python -m npmnv2 summary", "python -m npmnv2.mini"))
    assert commands(ROOT / "docs" / "training.md")[0].startswith(
        "python -m npmnv2 train --data digits --save digits.npz"
    )
