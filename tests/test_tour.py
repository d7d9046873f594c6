"""The tour in seconds: what it says, when it fails. (The whole of it runs as `python -m npmnv2`.)"""

import re

import numpy as np
import pytest
from PIL import Image

from npmnv2 import cost
from npmnv2.data import load_digits
from npmnv2.gradcheck.cases import Check
from npmnv2.show import tour
from npmnv2.train.progress import Epoch


@pytest.fixture
def short(monkeypatch):
    """One epoch of a few digits, one repeat a measurement."""
    full = load_digits(held_out=1757)
    few = full._replace(test_x=full.test_x[:21], test_y=full.test_y[:21])
    monkeypatch.setattr(tour, "load_digits", lambda: few)
    monkeypatch.setattr(tour, "EPOCHS", 1)
    best = tour._best
    monkeypatch.setattr(tour, "_best", lambda f: best(f, repeats=1))


def _taken(tmp_path):
    lines = []
    passed = tour.tour(str(tmp_path / "tour.png"), say=lines.append)
    return passed, lines


def test_it_says_what_it_shows(short, tmp_path):
    passed, lines = _taken(tmp_path)
    text = "\n".join(lines)
    for part in ("1. One convolution, three ways", "2. Every gradient", "3. A MobileNetV2", "Read next", "Run next"):
        assert part in text
    standard, depthwise = (cost.convolution(k, 28, 28, 192, 192, batchnorm=False) for k in ("standard", "depthwise"))
    assert f"{standard.madds:,}" in text and f"{depthwise.madds:,}" in text and f"{standard.parameters:,}" in text
    assert "Equal to the last bit: True" in text
    assert text.count("  ok") > 30 and "WRONG" not in text
    assert re.search(r"^ +1 +\d\.\d{4} +\d+\.\d\d % +\d+\.\d\d % +\d+\.\d$", text, re.M)  # the epoch
    assert f"The picture: {tmp_path / 'tour.png'}" in text
    assert all(len(line.replace(str(tmp_path), "")) <= 120 and "\n" not in line for line in lines)
    assert passed is False  # one epoch on 40 digits is not enough, and it says so
    with Image.open(tmp_path / "tour.png") as picture:
        picture.load()


@pytest.mark.parametrize(
    "error, accuracy, passed", [(0.0, 0.98, True), (0.0, 0.9, False), (1.0, 0.98, False), (np.nan, 0.98, False)]
)
def test_it_passes_if_the_gradients_are_right_and_the_network_learned(
    error, accuracy, passed, short, monkeypatch, tmp_path
):
    history = [Epoch(1, 0.1, 2.0, 0.3, accuracy, 1.0)]
    monkeypatch.setattr("npmnv2.show.plots.training", lambda *arguments: None)
    monkeypatch.setattr(tour, "run", lambda: [Check("x", "dx", "differences", error, 1e-11)])
    monkeypatch.setattr(tour, "train", lambda *arguments, **options: history)
    assert _taken(tmp_path)[0] is passed
