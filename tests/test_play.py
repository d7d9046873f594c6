"""The page to play with computes, and shows, what NumPy computes; it is what the script writes, and it loads nothing.

By default the page is compared with the script, and what it has with it with the package. With ``-m browser`` a browser
opens it and runs its own test: every position of its switches, its keys, its sizes.
"""

import html
import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import npmnv2
from npmnv2 import cost
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.shapes import conv_geometry
from npmnv2.show import play
from npmnv2.show.play import __main__, answers

ROOT = pathlib.Path(npmnv2.__file__).parent.parent
COMMITTED = ROOT / "docs" / "play.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def page():
    return play.page()


def test_the_committed_page_is_what_the_script_writes(page):
    assert COMMITTED.read_text(encoding="utf-8") == page, "run python -m npmnv2.show.play docs/play.html"


def test_the_command_writes_the_page_and_says_where(page, tmp_path, capsys):
    path = tmp_path / "play.html"
    assert __main__.main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == page
    assert capsys.readouterr().out.strip() == str(path)
    assert __main__.main([str(tmp_path / "none" / "play.html")]) == 1
    assert "none" in capsys.readouterr().err


def test_the_page_asks_for_nothing(page):
    """No address but its own parts, no import, no request: it works from disk and without a network."""
    assert re.findall(r"\w+://[^\s\"']+", page) == []
    assert re.findall(r"\b(?:src|href)\s*=\s*[\"']([^\"']*)", page) == ["data:,"]  # the icon, which is empty
    assert not re.search(r"@import|url\((?!#)|\bimport\b|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|eval\(", page)


def test_every_part_is_used_once(page):
    files = {path.name for path in play.FOLDER.iterdir() if path.suffix in (".js", ".css")}
    assert files == {*play.SCRIPTS, "page.css"}
    for name in files:
        assert page.count((play.FOLDER / name).read_text(encoding="utf-8")) == 1


def test_what_can_be_read_stays_short():
    for path in play.FOLDER.iterdir():
        if path.suffix in (".js", ".css", ".html"):
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len(lines) < 400
            assert max(map(len, lines)) <= 120, path


@pytest.mark.parametrize("setting", answers.settings(), ids=lambda s: "-".join(map(str, s.values())))
def test_what_the_page_expects_is_what_a_sum_of_products_gives(setting):
    """Each out, dx and dw by plain loops over windows and taps, beside the operations that the data come from."""
    given, side, kind = answers.arrays(), setting["side"], setting["kind"]
    x, w = given["x"][:side, :side], given["w"][kind]
    kernel = 1 if kind == "pointwise" else answers.KERNEL
    w = w.reshape(kernel, kernel, answers.C, -1)
    padding = answers.PADDINGS[setting["padding"]]
    g = conv_geometry(side, side, kernel, kernel, setting["stride"], padding, setting["dilation"])
    xp = np.pad(x, (*g.pads, (0, 0)))
    M = answers.C if kind == "depthwise" else answers.M
    out, dxp, dw = np.zeros((g.OH, g.OW, M)), np.zeros(xp.shape), np.zeros(w.shape)
    for y, x_, i, j, c, k in np.ndindex(g.OH, g.OW, *w.shape):
        p, q, m = g.stride * y + g.dilation * i, g.stride * x_ + g.dilation * j, c if kind == "depthwise" else k
        out[y, x_, m] += xp[p, q, c] * w[i, j, c, k]
        dxp[p, q, c] += w[i, j, c, k] * given["dout"][y, x_, m]
        dw[i, j, c, k] += xp[p, q, c] * given["dout"][y, x_, m]
    (top, _), (left, _) = g.pads
    found = answers.computed(setting)
    assert found["out"] == out.tolist()
    assert found["dx"] == dxp[top : top + side, left : left + side].tolist()
    assert found["dw"] == dw.ravel().tolist()
    assert found["pads"] == g.pads[0]
    if setting["dilation"] == 1:  # the one that `cost` counts
        layer = cost.convolution(kind, side, side, answers.C, M, kernel, setting["stride"], padding)
        assert found["madds"] == layer.madds


def test_the_blocks_of_the_page_are_those_of_the_network():
    blocks, layers = answers.expected()["blocks"], cost.mobilenet_v2()
    assert [block["name"] for block in blocks] == [block.name for block in plan()[1]]
    madds = sum(madds for block in blocks for _, madds in block["costs"])
    assert madds == sum(layer.madds for layer in layers if layer.name.startswith("b"))


# -- in a browser


def browser():
    """The command of the browser: CHROME from the environment, or one that is installed."""
    named = os.environ.get("CHROME")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


def opened(address, tmp_path, *options):
    """The document as a browser without a window has it once its scripts have run."""
    command = browser()
    assert command, f"no browser: install one of {', '.join(BROWSERS)}, or name one in CHROME"
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", f"--user-data-dir={tmp_path}"]
    switches += ["--virtual-time-budget=120000", "--dump-dom", *options, address]
    return subprocess.run([command, *switches], capture_output=True, text=True, timeout=300, check=True).stdout


def outcome(document):
    """What the page's own test wrote into the document."""
    found = re.search(r'<pre id="selftest">(.*?)</pre>', document, re.DOTALL)
    assert found, re.search(r'<p id="error".*?</p>', document, re.DOTALL)
    return json.loads(html.unescape(found[1]))


SIZES = ("1920,1080", "1280,800", "390,844")


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
def test_the_page_computes_and_shows_what_numpy_computes(size, tmp_path):
    found = outcome(opened(f"{COMMITTED.as_uri()}#selftest", tmp_path, f"--window-size={size}"))
    assert found["failures"] == []
    assert found["checks"] > 2000
    assert len(found["steps"]) > 2000


@pytest.mark.browser
def test_the_lines_that_the_page_shows_do_what_the_step_does(tmp_path):
    """Run as NumPy, step after step, they give out, dx and dw."""
    steps = outcome(opened(f"{COMMITTED.as_uri()}#selftest", tmp_path))["steps"]
    runs = {}
    for step in steps:
        runs.setdefault(json.dumps([step["setting"], step["view"], step["way"]]), []).extend(step["lines"])
    assert len(runs) == 4 * len(answers.settings())
    given = answers.arrays()
    for run, lines in runs.items():
        setting, _, way = json.loads(run)
        side, (before, after) = setting["side"], answers.computed(setting)["pads"]
        right = answers.computed(setting)
        x, w = given["x"][:side, :side], given["w"][setting["kind"]]
        xp, out = np.pad(x, ((before, after), (before, after), (0, 0))), np.zeros(np.shape(right["out"]))
        dout = given["dout"][: out.shape[0], : out.shape[1], : out.shape[2]]
        names = {"np": np, "x": x, "xp": xp, "w": w, "out": out, "dout": dout}
        names |= {"dxp": np.zeros(xp.shape), "dx": np.zeros(x.shape), "dw": np.zeros(w.shape)}
        for line in lines:
            exec(line, names)
        if way == "forward":
            assert names["out"].tolist() == right["out"], run
            continue
        dx = (
            names["dx"]
            if setting["kind"] == "pointwise"
            else names["dxp"][before : before + side, before : before + side]
        )
        assert dx.tolist() == right["dx"], run
        assert names["dw"].ravel().tolist() == right["dw"], run


@pytest.mark.browser
@pytest.mark.parametrize("break_it", ["out[y][x][m] +=", "dxp[p][q][c] +=", "w[i][j][c][k] * dout"])
def test_a_page_that_computes_wrongly_says_so(break_it, page, tmp_path):
    """The page's own test is tested: a wrong line in its arithmetic is found."""
    wrong = {"out[y][x][m] +=": "out[y][x][m] =", "dxp[p][q][c] +=": "dxp[p][q][c] ="}.get(break_it, "dout")
    wrong = "w[i][j][c][0] * dout" if wrong == "dout" else wrong
    (tmp_path / "wrong.html").write_text(page.replace(break_it, wrong), encoding="utf-8")
    found = outcome(opened(f"{(tmp_path / 'wrong.html').as_uri()}#selftest", tmp_path / "profile"))
    assert len(found["failures"]) > 50


# What somebody who has never seen a convolution would ask, where the answer is seen, and what it says there.
QUESTIONS = {
    "what is a tap": ("", "A place in it is a tap"),
    "what does standard mix": ("kind=standard", "Standard mixes space and channels"),
    "what does depthwise mix": ("kind=depthwise", "Depthwise mixes space and keeps channels apart"),
    "what does pointwise mix": ("kind=pointwise", "Pointwise mixes channels and keeps pixels apart"),
    "where does a gradient go": ("way=backward", "dout, how the loss changes with out, goes back to both factors"),
    "what does stride do to it": ("way=backward&stride=2", "lies in 0, 1, 2 or 4 windows, and gets a term from each"),
    "why 8.6 times": (
        "tab=costs",
        "for each of its 9 taps, the pair has one matrix for all: at most 9 times",
    ),
    "why do two paddings differ": ("tab=paddings&stride=2", "TensorFlow is told how many windows, and for 3 along an"),
}


@pytest.mark.browser
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_answers(question, tmp_path):
    address, answer = QUESTIONS[question]
    document = opened(f"{COMMITTED.as_uri()}#{address}", tmp_path)
    shown = re.search(r"<main>.*</main>", document, re.DOTALL)[0]
    assert answer in re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", shown)))


@pytest.mark.browser
def test_an_address_that_says_what_the_page_has_not_is_refused(tmp_path):
    document = opened(f"{COMMITTED.as_uri()}#tab=block&block=99&kind=spatial", tmp_path)
    assert "settings that the page has not: block=99, kind=spatial" in html.unescape(document)
