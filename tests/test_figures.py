"""The figures show what the package computes, the committed ones are what the script makes, and all is legible."""

import inspect
import itertools
import os
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import npmnv2
from npmnv2 import cost, ops
from npmnv2.__main__ import main
from npmnv2.shapes import conv_geometry, taps
from npmnv2.show import figures, plots
from npmnv2.show.figures import batchnorm, blocks, convolutions

ROOT = pathlib.Path(npmnv2.__file__).parent.parent
COMMITTED = ROOT / "docs" / "figures"
SVG = "{http://www.w3.org/2000/svg}"
EACH = pytest.mark.parametrize("name", figures.FIGURES)
KINDS = {kind: color.lower() for kind, (color, _) in plots.KINDS.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    for name in figures.FIGURES:
        figures.write(name, folder)
    return folder


def texts(path):
    """Every text, in order."""
    return [element.text for element in ET.parse(path).iter(f"{SVG}text")]


def drawing(path):
    """The words with their places, and the shapes as numbers: all but what another Matplotlib writes in another way."""
    root = ET.parse(path).getroot()
    hatches = {id(shape) for pattern in root.iter(f"{SVG}pattern") for shape in pattern.iter()}
    words = [(t.text, float(t.get("x")), float(t.get("y"))) for t in root.iter(f"{SVG}text")]
    shapes = [shape.get("d").split() for shape in root.iter(f"{SVG}path") if id(shape) not in hatches]
    letters = [[part for part in shape if part.isalpha()] for shape in shapes]
    places = [float(part) for shape in shapes for part in shape if not part.isalpha()]
    colors = re.findall(r"(?:fill|stroke): (#\w+|none)", path.read_text(encoding="utf-8"))
    return words, letters, places, sorted(colors)


def numbers(lines):
    return sorted(itertools.chain.from_iterable(re.findall(r"\d+(?:[,.]\d+)*", line) for line in lines))


# -- the committed figures


def test_the_committed_figures_are_those_that_there_are():
    assert sorted(p.name for p in COMMITTED.iterdir()) == sorted(f"{name}.svg" for name in figures.FIGURES)


@EACH
def test_a_committed_figure_is_what_the_script_makes(name, written):
    """After a change: python -m npmnv2 figures docs/figures."""
    have, made = drawing(COMMITTED / f"{name}.svg"), drawing(written / f"{name}.svg")
    assert [word for word, *_ in have[0]] == [word for word, *_ in made[0]]
    np.testing.assert_allclose([at for _, *at in have[0]], [at for _, *at in made[0]], atol=0.01)
    assert have[1] == made[1] and have[3] == made[3]
    np.testing.assert_allclose(have[2], made[2], atol=0.01)


def test_two_runs_write_the_same_bytes(written, tmp_path):
    """Another process, another day, another reader's settings; no picture is drawn through pyplot."""
    theirs = "font.size: 30\nfont.sans-serif: Arial\npath.sketch: 5, 100, 2\nsvg.fonttype: path\nhatch.linewidth: 9\n"
    (tmp_path / "matplotlibrc").write_text(theirs)
    (tmp_path / "out").mkdir()
    code = """
import sys
import npmnv2.show.figures
from npmnv2.__main__ import main
first = "matplotlib" in sys.modules
assert main(["figures", "out"]) == 0
print(first, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1000000000"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,  # whose matplotlibrc Matplotlib reads
        env={**os.environ, **environment},
        check=True,
    )
    assert done.stdout.splitlines() == [*(os.path.join("out", f"{n}.svg") for n in figures.FIGURES), "False True False"]
    for name in figures.FIGURES:
        assert (tmp_path / "out" / f"{name}.svg").read_bytes() == (written / f"{name}.svg").read_bytes()


def test_the_settings_of_the_reader_are_left_alone():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31, "svg.hashsalt": "mine"}):
        figures.draw("inverted_residual")
        assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["svg.hashsalt"]) == (31, "mine")


# -- legible


@EACH
def test_a_slide_is_16_to_9_and_no_text_is_small(name):
    root = ET.parse(COMMITTED / f"{name}.svg").getroot()
    assert root.get("viewBox") == "0 0 960 540"
    sizes = [float(re.search(r"(\d+(?:\.\d+)?)px", t.get("style"))[1]) for t in root.iter(f"{SVG}text")]
    assert min(sizes) >= 18 and sizes[0] == max(sizes) and sizes.count(max(sizes)) == 1  # the title, once


@EACH
def test_no_text_is_cut_off_or_covers_another(name):
    figure = figures.draw(name)
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    for words, box in boxes:
        assert page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1, words
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)


@EACH
def test_the_background_is_white(name):
    """Else it could not be read on a dark page."""
    first = next(ET.parse(COMMITTED / f"{name}.svg").iter(f"{SVG}path"))
    assert first.get("d").split() == ["M", "0", "540", "L", "960", "540", "L", "960", "0", "L", "0", "0", "z"]
    assert first.get("style") == "fill: #ffffff"


# -- what they show


def test_a_tap_and_a_window_are_what_the_convolution_reads():
    rng = np.random.default_rng(0)
    shown = texts(COMMITTED / "tap_and_window.svg")
    side = convolutions.SIDE
    g = conv_geometry(side, side, 3, 3, padding=1)
    x, w = rng.standard_normal((1, side, side, 2)), rng.standard_normal((3, 3, 2, 3))
    expected = ops.conv2d_forward(x, w, padding=1)[0][0]
    xp = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    for loop in (convolutions.WINDOW_LOOP, convolutions.TAP_LOOP):
        assert "\n".join(map(str.strip, loop.splitlines())) in "\n".join(shown)
        out = np.zeros_like(expected)
        exec(loop, {"np": np, "xp": xp, "w": w, "out": out, "OH": g.OH, "OW": g.OW, "KH": g.KH, "KW": g.KW})
        np.testing.assert_allclose(out, expected, atol=1e-12)
    window, pixel, tap, weights = (word for word in shown if re.match(r"(xp|w|out)\[\d", word))
    one = np.einsum("ijc,ijcm->m", eval(window, {"xp": xp}), w)
    np.testing.assert_allclose(one, eval(pixel, {"out": expected}), atol=1e-12)
    i, j = map(int, re.findall(r"\d", weights))
    (at,) = (seen for row, column, seen in taps(g) if (row, column) == (i, j))
    np.testing.assert_array_equal(eval(tap, {"xp": xp}), xp[at[1:]])
    pixels, positions = g.OH * g.OW, g.KH * g.KW
    assert f"{pixels} x {positions} = {pixels * positions} steps, each on 1 pixel" in shown
    assert f"{positions} steps, each on all {pixels} pixels" in shown


def test_what_a_value_sees_is_what_its_gradient_is_not_zero_for():
    """And the multiply-adds are the products: inputs seen, times the channels out."""
    C, shown = convolutions.CHANNELS, texts(COMMITTED / "connectivity.svg")
    rng, x = np.random.default_rng(0), np.zeros((1, 5, 5, C))
    seen = {}
    for kind, forward, backward, shape in (
        ("standard", ops.conv2d_forward, ops.conv2d_backward, (3, 3, C, C)),
        ("depthwise", ops.depthwise_conv2d_forward, ops.depthwise_conv2d_backward, (3, 3, C)),
        ("pointwise", ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward, (C, C)),
    ):
        padding = {} if kind == "pointwise" else {"padding": 1}
        out, cache = forward(x, rng.standard_normal(shape), **padding)
        dout = np.zeros_like(out)
        dout[0, 2, 2, 1] = 1
        dx = backward(dout, cache)[0][0]
        seen[kind] = (dx.any(axis=2).sum(), dx.any(axis=(0, 1)).sum())  # pixels, channels
    words = {(9, C): ("sees 3x3 pixels", f"of all {C} channels"), (9, 1): ("sees 3x3 pixels", "of its own channel")}
    words[1, C] = ("sees 1 pixel", f"of all {C} channels")
    madds = {kind: pixels * channels * C for kind, (pixels, channels) in seen.items()}
    expected = ["3", "3", *[str(C)] * 2, "3", "3", "1"]  # of the words
    for kind, found in seen.items():
        assert {kind.capitalize(), *words[found], f"{madds[kind]:,} MAdds"} <= set(shown)
        assert madds[kind] == cost.convolution(kind, 1, 1, C, C).madds
    pair = madds["depthwise"] + madds["pointwise"]
    expected += [f"{n:,}" for n in (*madds.values(), pair)] + [f"{cost.separable_gain(C):.1f}", str(C), "4"]
    assert numbers(shown) == sorted(expected)

    filled = {kind: _filled("connectivity", color) for kind, color in KINDS.items()}
    for kind, (pixels, channels) in seen.items():
        areas = [_area(patch.get_path().vertices) for patch in filled[kind]]
        assert len(areas) == (4 if channels == C else 1) + 1  # four channels are drawn, and the output value
        assert areas == pytest.approx([pixels * areas[-1]] * (len(areas) - 1) + [areas[-1]])


def _filled(name, color):
    """The shapes of a figure that have a colour."""
    from matplotlib.colors import to_hex

    return [p for p in figures.draw(name).axes[0].patches if p.get_fill() and to_hex(p.get_facecolor()) == color]


def _area(corners):
    x, y = corners[:-1].T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_the_widths_are_those_of_the_networks():
    layers = {layer.name: layer for layer in cost.mobilenet_v2()}
    block = [layers[f"{blocks.BLOCK}.{part}"] for part in ("expand", "dw", "project")]
    inverted = [block[0].in_shape[2], *(layer.out_shape[2] for layer in block)]
    assert block[-1].shortcut and block[0].in_shape == block[-1].out_shape
    shown = texts(COMMITTED / "inverted_residual.svg")
    assert [int(word) for word in shown if word.isdigit()] == [256, 64, 64, 256, *inverted]  # ResNet's by hand
    assert set(numbers(shown)) == {*map(str, (256, 64, *inverted)), "50", "2", "2.1", "1", "3", "6"}
    heights = [
        np.ptp(patch.get_path().vertices[:, 1])
        for color in (plots.ORANGE, plots.BLUE)
        for patch in _filled("inverted_residual", color.lower())
    ]
    channels = np.array([256, 64, 64, 256, *inverted])
    np.testing.assert_allclose(heights, channels * heights[0] / 256)


def test_the_shapes_are_those_of_the_block():
    network = npmnv2.mobilenet_v2()
    block, layers = network.layers[blocks.BLOCK], cost.mobilenet_v2()
    x = np.zeros((1, *next(layer.in_shape for layer in layers if layer.name == f"{blocks.BLOCK}.expand")), np.float32)
    arrays, kernels = [x], []
    for part in (block.expand, block.dw, block.project):
        arrays.append(part(arrays[-1]))
        kernels.append(part.conv.w.value.shape)
    shown = texts(COMMITTED / "block_shapes.svg")
    assert [word for word in shown if re.fullmatch(r"\d+x\d+x\d+", word)] == [
        "x".join(map(str, array.shape[1:])) for array in arrays
    ]
    assert [word for word in shown if word.startswith("w: ")] == [f"w: {kernel}" for kernel in kernels]
    madds = [array[0, :, :, 0].size * np.prod(kernel) for array, kernel in zip(arrays[1:], kernels, strict=True)]
    assert [word for word in shown if "million" in word] == [f"{n / 1e6:.1f} million MAdds" for n in madds]
    assert [word for word in shown if "batch norm" in word] == ["batch norm, ReLU6"] * 2 + ["batch norm, linear"]
    assert shown[-1].startswith(f"{blocks.BLOCK} of MobileNetV2 1.0 at 224x224: ") and layers[0].in_shape[:2] == (
        224,
        224,
    )


def test_the_graph_is_the_gradient_of_batch_norm():
    """Every dashed arrow is run, from `out` back: what arrives at a node is added up."""
    rng = np.random.default_rng(0)
    x, gamma, beta = rng.standard_normal((50, 3)), rng.standard_normal(3), rng.standard_normal(3)
    out, cache = ops.batchnorm_forward(x, gamma, beta)
    dout = rng.standard_normal(out.shape)
    centered, std = x - cache.mean, np.sqrt(cache.var + cache.eps)
    known = {"x": x, "gamma": gamma, "m": len(x), "sum": lambda array: array.sum(axis=0), "dout": dout}
    known |= {"centered": centered, "std": std, "inv_std": cache.inv_std}
    waiting = [(source, target, given) for source, target, given, _ in batchnorm.BACKWARD]
    while waiting:
        target = next(t for _, t, _ in waiting if all(f"d{s}" in known for s, to, _ in waiting if to == t))
        arriving = [eval(given, known) for _, to, given in waiting if to == target]
        known[f"d{target}"] = sum(arriving)
        waiting = [edge for edge in waiting if edge[1] != target]
    np.testing.assert_allclose(known["dx"], ops.batchnorm_backward(dout, cache)[0], atol=1e-12)

    title, *shown = texts(COMMITTED / "batchnorm_graph.svg")
    legend = {"forward: values", "backward: gradients", "a sum of two gradients", "m: values per channel"}
    expected = [given for _, _, given, _ in batchnorm.BACKWARD]
    expected += [name for node in batchnorm.NODES for name in (node, f"d{node}")]
    assert sorted(shown) == sorted([*expected, *legend])
    # the names are those of the gradient that is written step by step
    source = inspect.getsource(ops.batchnorm_backward_steps)
    assert all(f"d{name} = " in source for name in batchnorm.NODES if name != "out")


def test_the_bars_are_the_costs_of_the_layers():
    layers, shown = cost.mobilenet_v2(), texts(COMMITTED / "where_cost_sits.svg")
    totals = cost.total(layers)
    patches = {kind: _filled("where_cost_sits", KINDS[kind]) for kind in KINDS}
    expected = ["2", "1.0", "224", "224", "0", "10", "20", "0", "2", "4", "6", "112", "56", "28", "14", "7"]
    for row, what in enumerate(("madds", "bytes")):
        bars = {}
        for kind, drawn in patches.items():
            assert len(drawn) in (0, 4)  # for each row, the bars and the sign in its legend
            if drawn:
                bars |= {
                    tuple(box[0]): (kind, np.ptp(box[:, 1]))
                    for box in drawn[2 * row].get_path().vertices.reshape(-1, 5, 2)
                }
        bars = [bars[at] for at in sorted(bars)]
        assert [kind for kind, _ in bars] == [layer.kind for layer in layers]
        values = np.array([getattr(layer, what) for layer in layers])
        np.testing.assert_allclose([height for _, height in bars], values * bars[0][1] / values[0])
        for kind in ("standard", "depthwise", "pointwise", "linear"):
            share = (
                100 * getattr(cost.total(layer for layer in layers if layer.kind == kind), what) / getattr(totals, what)
            )
            expected.append(f"{share:.1f}")
            if kind == "depthwise":
                expected.append(f"{share:.0f}")  # in the title
        for side in (112, 56, 28, 14, 7):
            share = sum(getattr(layer, what) for layer in layers if layer.out_shape[0] == side) / getattr(totals, what)
            expected.append(f"{100 * share:.0f}")
    assert numbers(shown) == sorted(expected)
    of_madds, of_bytes = (
        100 * sum(getattr(la, what) for la in layers if la.kind == "depthwise") / getattr(totals, what)
        for what in ("madds", "bytes")
    )
    assert shown[0] == f"Depthwise is {of_madds:.0f} % of the multiply-adds, {of_bytes:.0f} % of the bytes"


# -- drawing, writing, the command


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match=r"name must be one of tap_and_window, .*; was picture"):
        figures.draw("picture")


def test_a_figure_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    def fail(self, file, **_):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "inverted_residual.svg"
    path.write_bytes(b"before")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        figures.write("inverted_residual", tmp_path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_the_command_prints_a_line_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"block_shapes": figures.FIGURES["block_shapes"]})
    assert main(["figures", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'block_shapes.svg'}\n" and err == ""
    assert (tmp_path / "block_shapes.svg").exists()


@pytest.mark.parametrize("folder", ["nowhere", "a file", ""])
def test_the_command_needs_a_folder(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    assert main(["figures", folder]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err == f"npmnv2 figures: DIR must be an existing folder; was {folder}\n"


def test_what_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "tap_and_window.svg").mkdir()
    assert main(["figures", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("npmnv2 figures: ") and "Is a folder" in err and "tap_and_window.svg" in err


def test_the_command_needs_a_name_and_explains_itself(capsys):
    assert main(["figures"]) == 2
    assert "DIR" in capsys.readouterr().err
    assert main(["figures", "--help"]) == 0
    out = capsys.readouterr().out
    assert "a tap and a window" in re.sub(r"\s+", " ", out) and "16:9" in out
