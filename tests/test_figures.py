"""The figures show what the package computes, the committed ones are what the script makes, and all is legible."""

import ast
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
from npmnv2.cli.figures import drawings
from npmnv2.models.mobilenet_v2 import plan
from npmnv2.shapes import conv_geometry, taps
from npmnv2.show import figures, plots
from npmnv2.show.figures import batchnorm, blocks, convolutions, costs, kernels, trained

ROOT = pathlib.Path(npmnv2.__file__).parent.parent
COMMITTED = ROOT / "docs" / "figures"
SVG = "{http://www.w3.org/2000/svg}"
THERE, ABSENT = drawings()
SHOWN = sorted(path.stem for path in COMMITTED.iterdir())
EACH = pytest.mark.parametrize("name", THERE)
EACH_SHOWN = pytest.mark.parametrize("name", SHOWN)
NODE_GRADIENTS = {f"d{name}" for name in batchnorm.NODES}
KINDS = {kind: color.lower() for kind, (color, _) in plots.KINDS.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    for name, drawing in THERE.items():
        figures.write(drawing, folder / f"{name}.svg")
    return folder


def texts(path):
    """Every text, in order."""
    return [element.text for element in ET.parse(path).iter(f"{SVG}text")]


def drawing(path):
    """The words with their places, and the shapes as numbers: all but what another Matplotlib writes in another way."""
    root = ET.parse(path).getroot()
    hatches = {id(shape) for pattern in root.iter(f"{SVG}pattern") for shape in pattern.iter()}
    texts = root.iter(f"{SVG}text")
    places = [(t.text, f"{t.get('x')} {t.get('y')}" if t.get("x") else t.get("transform")) for t in texts]
    words = [(word, *map(float, re.findall(r"-?\d+(?:\.\d+)?", place))) for word, place in places]
    shapes = [shape.get("d").split() for shape in root.iter(f"{SVG}path") if id(shape) not in hatches]
    letters = [[part for part in shape if part.isalpha()] for shape in shapes]
    places = [float(part) for shape in shapes for part in shape if not part.isalpha()]
    colors = re.findall(r"(?:fill|stroke): (#\w+|none)", path.read_text(encoding="utf-8"))
    return words, letters, places, sorted(colors)


def numbers(lines):
    return sorted(itertools.chain.from_iterable(re.findall(r"\d+(?:[,.]\d+)*", line) for line in lines))


# -- the committed figures


def test_the_committed_figures_are_those_that_there_are():
    """Of the pictures of experiments, those that a page shows."""
    assert [path.name for path in sorted(COMMITTED.iterdir())] == [f"{name}.svg" for name in SHOWN]
    assert set(figures.FIGURES) <= set(SHOWN) <= set(THERE)


@EACH_SHOWN
def test_a_committed_figure_is_what_the_script_makes(name, written):
    """After a change: python -m npmnv2 figures docs/figures NAME --format svg."""
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
    names = [f"{name}.{ending}" for name in THERE for ending in ("svg", "png")]
    assert done.stdout.splitlines() == [*(os.path.join("out", name) for name in names), "False True False"]
    assert done.stderr.splitlines() == [f"{name} is not drawn: {why}" for name, why in ABSENT.items()]
    for name, drawing in THERE.items():
        figures.write(drawing, tmp_path / "again.png")
        assert (tmp_path / "out" / f"{name}.png").read_bytes() == (tmp_path / "again.png").read_bytes()
        assert (tmp_path / "out" / f"{name}.svg").read_bytes() == (written / f"{name}.svg").read_bytes()


def test_the_settings_of_the_reader_are_left_alone():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31, "svg.hashsalt": "mine"}):
        figures.draw("inverted_residual")
        assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["svg.hashsalt"]) == (31, "mine")


# -- legible


@EACH
def test_a_slide_is_16_to_9_and_no_text_is_small(name, written):
    root = ET.parse(written / f"{name}.svg").getroot()
    assert root.get("viewBox") == "0 0 960 540"
    sizes = [float(re.search(r"(\d+(?:\.\d+)?)px", t.get("style"))[1]) for t in root.iter(f"{SVG}text")]
    # on a page 10.5 pixels where the slide is 390 wide, on a phone; the curves of experiments 18 points, for a lecture
    assert min(sizes) >= (26 if name in figures.FIGURES else 18)
    lines = sizes.count(max(sizes))  # the title, of one line or two
    assert lines <= 2 and set(sizes[:lines]) == {max(sizes)} != {min(sizes)}


@EACH
def test_no_text_is_cut_off_or_covers_another(name):
    with figures._settings():
        figure = THERE[name]()
        figure.draw_without_rendering()
    page = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    for words, box in boxes:
        assert page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1, words
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)


@EACH
def test_the_background_is_white(name, written):
    """Else it could not be read on a dark page."""
    first = next(ET.parse(written / f"{name}.svg").iter(f"{SVG}path"))
    assert first.get("d").split() == ["M", "0", "540", "L", "960", "540", "L", "960", "0", "L", "0", "0", "z"]
    assert first.get("style") == "fill: #ffffff"


# -- what they show


def test_a_tap_and_a_window_are_what_the_convolution_reads():
    rng = np.random.default_rng(0)
    title, upper, *shown = texts(COMMITTED / "tap_and_window.svg")
    side = convolutions.SIDE
    g = conv_geometry(side, side, 3, 3, padding=1)
    x, w = rng.standard_normal((1, side, side, 2)), rng.standard_normal((3, 3, 2, 3))
    expected = ops.conv2d_forward(x, w, padding=1)[0][0]
    known = {"xp": np.pad(x[0], ((1, 1), (1, 1), (0, 0))), "w": w, "out": expected}
    middle = shown.index("Tap: 1 tap, all 16 pixels of out")
    above, below = shown[:middle], shown[middle + 1 :]

    # above: no operator stands between the window and the kernel, for no operator of NumPy is the sum of the products
    window, kernel, pixel, sum_, steps = above
    assert (kernel, upper, sum_, steps) == (
        "w",
        "Window: all 9 taps, 1 pixel of out",
        "the sum of 9 products",
        "16 such steps",
    )
    seen = eval(window, known)
    products = [seen[i, j] @ w[i, j] for i, j in np.ndindex(3, 3)]
    assert seen.shape == (3, 3, 2) and len(products) == 9 == g.KH * g.KW and g.OH * g.OW == 16
    np.testing.assert_allclose(sum(products), eval(pixel, known), atol=1e-12)

    # below: the line is the loop's, and gives the whole convolution; the view that is drawn is that of the tap
    view, weights, name, line, steps, _ = below
    assert (name, steps) == ("out", "9 such steps")
    source = inspect.getsource(ops.conv2d_forward)
    assert f" {line}\n" in source
    out = np.zeros_like(expected)
    for i, j, at in taps(g):
        tap = known["xp"][at[1:]]
        exec(line, {"tap": tap, "w": w, "out": out, "i": i, "j": j})
        if f"w[{i}, {j}]" == weights:
            np.testing.assert_array_equal(eval(view, known), tap)
            assert tap.shape[:2] == out.shape[:2]  # "as large as the output", says the title
    np.testing.assert_allclose(out, expected, atol=1e-12)
    assert "as large as the output" in title

    # the cells are those that the words name: places in xp, w and out, above and below
    places = [_span(slice_) for slice_ in (window, "[0:3, 0:3]", pixel, view, weights, f"[0:{side}, 0:{side}]")]
    assert _cells("tap_and_window", plots.ORANGE, 22) == [
        (right - left, bottom - top) for (top, bottom), (left, right) in places
    ]
    white = [patch.get_path().vertices[0] for patch in _filled("tap_and_window", "#ffffff")]  # image, w, out; twice
    padded = [patch.get_path().vertices[0] for patch in _filled("tap_and_window", figures.page.LIGHT.lower())]
    grids = [padded[0], *white[1:3], padded[1], *white[4:6]]
    filled = [patch.get_path().vertices[0] for patch in _filled("tap_and_window", plots.ORANGE.lower())]
    np.testing.assert_allclose(
        np.subtract(filled, grids) / 22, [(left, top) for (top, _), (left, _) in places], atol=1e-9
    )


def _span(words):
    """The rows and columns of `[0:4, 2:6]` or `[0, 2]`."""
    rows, columns = re.search(r"\[(.*), (.*)\]", words).groups()
    spans = [[int(n) for n in part.split(":")] for part in (rows, columns)]
    return [(span[0], span[-1] + (len(span) == 1)) for span in spans]


def _cells(name, color, size):
    """How many cells wide and high the filled shapes are."""
    return [
        tuple((np.ptp(patch.get_path().vertices, axis=0) / size).round(6)) for patch in _filled(name, color.lower())
    ]


def test_the_gradients_of_two_taps_add_up_where_both_saw():
    """The lines of the figure are run, on ones: the number of terms of every pixel is what is drawn."""
    shown = texts(COMMITTED / "backward_of_a_tap.svg")
    side = convolutions.SIDE
    dxp, dout, w = np.zeros((side + 2, side + 2), int), np.ones((side, side), int), np.ones((3, 3), int)
    lines = [words for words in shown if re.match(r"dxp\[\d", words)]
    g, spans = conv_geometry(side + 2, side + 2, 3, 3), []
    for line in lines:
        exec(line, {"dxp": dxp, "dout": dout, "w": w})
        view, weights = line.split(" += dout * ")
        (at,) = (seen[1:] for i, j, seen in taps(g) if weights == f"w[{i}, {j}]")
        spans.append(_span(view))
        assert [(s.start, s.stop) for s in at] == spans[-1]
    assert len(lines) == 2 and f"{(dxp == 2).sum()} pixels get two terms" in shown
    for color, ((top, bottom), (left, right)) in zip((plots.ORANGE, plots.BLUE), spans, strict=True):
        assert _cells("backward_of_a_tap", color, 22)[:2] == [(side, side), (right - left, bottom - top)]
    # the last filled shape of a colour is in the large picture; red is where both are
    places = [_filled("backward_of_a_tap", color.lower())[-1] for color in (plots.ORANGE, plots.BLUE, plots.RED)]
    boxes = [patch.get_path().vertices for patch in places]
    origin = boxes[0].min(axis=0) - 42 * np.array([spans[0][1][0], spans[0][0][0]])
    drawn = np.zeros_like(dxp)
    for box, terms in zip(boxes, (1, 1, 2), strict=True):
        (left, top), (right, bottom) = ((edge - origin) / 42 for edge in (box.min(axis=0), box.max(axis=0)))
        drawn[round(top) : round(bottom), round(left) : round(right)] = terms
    np.testing.assert_array_equal(drawn, dxp)
    # and both general lines are the source's
    for kind, op in (("Depthwise:", ops.depthwise_conv2d_backward), ("Standard:", ops.conv2d_backward)):
        line = shown[shown.index(kind) + 2]
        assert line.startswith("dxp[seen] += ") and f" {line}\n" in inspect.getsource(op)


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
    words = {(9, C): ("3x3 pixels", f"of all {C} channels"), (9, 1): ("3x3 pixels", "of its own channel")}
    words[1, C] = ("1 pixel", f"of all {C} channels")
    madds = {kind: pixels * channels * C for kind, (pixels, channels) in seen.items()}
    expected = ["3", "3", *[str(C)] * 2, "3", "3", "1"]  # of the words
    for kind, found in seen.items():
        assert {kind.capitalize(), *words[found], f"{madds[kind]:,} MAdds"} <= set(shown)
        assert madds[kind] == cost.convolution(kind, 1, 1, C, C).madds
    pair = madds["depthwise"] + madds["pointwise"]
    expected += [f"{n:,}" for n in madds.values()] + [f"{cost.separable_gain(C):.1f}", str(C), "4"]
    assert numbers(shown) == sorted(expected)
    assert f"together {madds['standard'] / pair:.1f} times fewer MAdds than standard" == shown[1]

    filled = {kind: _filled("connectivity", color) for kind, color in KINDS.items()}
    for kind, (pixels, channels) in seen.items():
        areas = [_area(patch.get_path().vertices) for patch in filled[kind]]
        assert len(areas) == (4 if channels == C else 1) + 1  # four channels are drawn, and the output value
        assert areas == pytest.approx([pixels * areas[-1]] * (len(areas) - 1) + [areas[-1]])


def test_a_tile_is_what_the_two_lines_add_up():
    """The lines of the figure are run; the cells are those that they read; the sizes are the kernels'."""
    from npmnv2.kernels.tiles import CHANNELS
    from npmnv2.kernels.tuning import AVX512

    assert (AVX512.pixels, CHANNELS) == (kernels.PIXELS, kernels.CHANNELS)
    shown = texts(COMMITTED / "tile_and_panel.svg")
    product, depthwise = (line for line in shown if line.startswith("tile += "))
    rng = np.random.default_rng(0)
    x, w, tile = rng.standard_normal((7, kernels.C)), rng.standard_normal((kernels.C, 16)), np.zeros((7, 16))
    for c in range(kernels.C):
        exec(product, {"tile": tile, "x": x, "w": w, "c": c})
    np.testing.assert_allclose(tile, x @ w, atol=1e-12)
    x, w, tile = rng.standard_normal((3, 9, 16)), rng.standard_normal((3, 3, 16)), np.zeros((7, 16))
    for i, j in np.ndindex(3, 3):
        exec(depthwise, {"tile": tile, "x": x, "w": w, "i": i, "j": j})
    np.testing.assert_allclose(tile, ops.depthwise_conv2d_forward(x[None], w)[0][0, 0], atol=1e-12)
    side, cell = kernels.SIDE, kernels.CELL
    assert _cells("tile_and_panel", plots.GREEN, side) == [(16, 7)] * 2
    assert _cells("tile_and_panel", plots.ORANGE, side)[:2] == [(1, 7), (16, 7)]
    assert _cells("tile_and_panel", plots.ORANGE, cell)[2:] == [(7, 1)]
    assert _cells("tile_and_panel", plots.BLUE, side)[:2] == [(16, 1)] * 2
    assert _cells("tile_and_panel", plots.BLUE, cell)[2:] == [(1, 1)]


def _filled(name, color):
    """The shapes of a figure that have a colour."""
    from matplotlib.colors import to_hex

    return [p for p in figures.draw(name).axes[0].patches if p.get_fill() and to_hex(p.get_facecolor()) == color]


def _places(name, words):
    """Where a text stands, each time that it is there."""
    root = ET.parse(COMMITTED / f"{name}.svg").getroot()
    return [(float(t.get("x")), float(t.get("y"))) for t in root.iter(f"{SVG}text") if t.text == words]


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
    assert set(numbers(shown)) == {*map(str, (256, 64, *inverted)), "50", "2", "1", "3"}
    assert shown[-1].endswith("a block of its row 2.") and blocks.BLOCK.startswith("b2.")
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
    assert [word for word in shown[1:] if "million" in word] == [f"{n / 1e6:.1f} million" for n in madds]
    assert shown[0] == f"The 3x3 costs {madds[1] / 1e6:.1f} of {sum(madds) / 1e6:.0f} million multiply-adds"
    assert [word.split()[-1] for word in shown if word.startswith(("1x1", "3x3"))] == [
        layer.kind for layer in layers if layer.name.startswith(f"{blocks.BLOCK}.")
    ]
    assert shown[-1] == "A block of row 2 of MobileNetV2 1.0, 224x224. Boxes to scale." and blocks.BLOCK[:3] == "b2."
    assert layers[0].in_shape[:2] == (224, 224)
    # to scale: fronts and sides of the boxes, and the bars
    fronts = [patch.get_path().vertices for patch in _filled("block_shapes", "#ffffff")]
    scale = np.ptp(fronts[0][:, 1]) / arrays[0].shape[1]
    np.testing.assert_allclose([np.ptp(box[:, 0]) for box in fronts], [scale * array.shape[3] for array in arrays])
    np.testing.assert_allclose([np.ptp(box[:, 1]) for box in fronts], [scale * array.shape[1] for array in arrays])
    sides = [patch.get_path().vertices for patch in _filled("block_shapes", blocks.TENSOR.lower())][::2]
    depths = [np.hypot(*(box[1] - box[0])) for box in sides]  # drawn at half their length
    np.testing.assert_allclose(depths, [scale * array.shape[2] / 2 for array in arrays])
    bars = [_filled("block_shapes", KINDS[kind]) for kind in ("pointwise", "depthwise")]
    heights = [np.ptp(patch.get_path().vertices[:, 1]) for patch in (bars[0][0], bars[1][0], bars[0][1])]
    np.testing.assert_allclose(heights, np.array(madds) * heights[0] / madds[0])


def test_the_network_is_its_plan_and_the_marks_are_where_no_shortcut_is():
    network = npmnv2.mobilenet_v2()
    names = [block.name for block in plan()[1]]
    residual = [network.layers[name].residual for name in names]
    layers = {layer.name: layer for layer in cost.mobilenet_v2()}
    shapes = [layers[f"{name}.project"].out_shape for name in names]
    bars = [
        (*patch.get_path().vertices.min(axis=0), np.ptp(patch.get_path().vertices[:, 1]), color == plots.BLUE)
        for color in (plots.ORANGE, plots.BLUE)
        for patch in _filled("network", color.lower())
    ]
    bars = sorted(bar for bar in bars if bar[0] != 130)  # where the signs of the legend stand
    assert [is_plain for *_, is_plain in bars] == residual and len(bars) == 17
    channels = [C for _, _, C in shapes]
    np.testing.assert_allclose([height for _, _, height, _ in bars], np.array(channels) * bars[-1][2] / 320)
    title, *shown = texts(COMMITTED / "network.svg")
    assert title == f"{residual.count(False)} of {len(names)} blocks change the shape and have no shortcut"
    sides = [str(side) for side, _ in itertools.groupby(H for H, _, _ in shapes)]
    marked = [str(C) for C, has in zip(channels, residual, strict=True) if not has]
    assert [words for words in shown if words.isdigit()] == [*sides, *marked]
    stem, head = layers["stem"].out_shape[2], layers["head"].out_shape[2]
    assert shown[-1] == f"MobileNetV2 1.0, 224x224. Not drawn: stem ({stem}), head ({head})."
    # a side stands under the middle of its blocks
    step = bars[1][0] - bars[0][0]
    for side in sides:
        its = [bar[0] for bar, shape in zip(bars, shapes, strict=True) if str(shape[0]) == side]
        assert _places("network", side)[0][0] == pytest.approx((its[0] + its[-1] + 0.8 * step) / 2, abs=0.01)


def test_the_graph_is_the_gradient_of_batch_norm():
    """Its edges are read off the gradient that is written step by step: from what stands right to what stands left."""
    source = inspect.getsource(ops.batchnorm_backward_steps)
    edges, given = set(), {}
    for line in ast.walk(ast.parse(source)):
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]).startswith("d"):
            target, terms = ast.unparse(line.targets[0]), line.value
            given.setdefault(target, []).append(ast.unparse(terms))
            names = {node.id for node in ast.walk(terms) if isinstance(node, ast.Name)}
            edges |= {(name[1:], target[1:]) for name in names if name in NODE_GRADIENTS and name != target}
    edges = {(source, target) for source, target in edges if target not in ("gamma", "beta", "out")}
    assert set(batchnorm.BACKWARD) == edges and len(edges) == 10

    # what is written at an edge is a term of the sum that its node gets
    written = {edge: label[0] for edge, label in batchnorm.BACKWARD.items() if label}
    meeting = [node for node in batchnorm.NODES if sum(target == node for _, target in edges) > 1]
    assert meeting == ["x", "centered"] and {edge for edge in edges if edge[1] in meeting} == set(written)
    for node in meeting:
        first, second = given[f"d{node}"]
        terms = [first, second.removeprefix(f"d{node} + ")]
        assert sorted(terms) == sorted(words for (_, target), words in written.items() if target == node)

    title, *shown = texts(COMMITTED / "batchnorm_graph.svg")
    assert title == "Gradients meet at centered and at x, and add up"
    legend = ["values", "gradients", "a sum of two gradients"]
    assert sorted(shown) == sorted([*written.values(), *batchnorm.NODES, *legend])
    filled = [patch.get_path().vertices for patch in _filled("batchnorm_graph", plots.ORANGE.lower())]
    middles = [tuple((box.max(axis=0) + box.min(axis=0)) / 2) for box in filled]
    assert middles[:-1] == [batchnorm.NODES[node] for node in meeting]  # the last is the legend's


def test_the_lab_has_the_graph_without_its_terms():
    terms = [label[0] for label in batchnorm.BACKWARD.values() if label]
    ways, graph = (texts(COMMITTED / f"batchnorm_{name}.svg")[1:] for name in ("ways", "graph"))
    assert sorted([*ways, *terms]) == sorted(graph)


def test_the_parts_are_those_of_a_block_to_scale():
    (block,) = (b for b in plan()[1] if b.name == blocks.IN_PARTS)
    assert block.in_channels != block.out_channels and block.stride == 1  # so it has no shortcut
    size, rest = divmod(block.t * block.in_channels, blocks.PARTS)
    shown = texts(COMMITTED / "in_parts.svg")
    ends = [str(block.in_channels), str(block.out_channels)]
    assert rest == 0 and [word for word in shown if word.isdecimal()] == [ends[0], str(size), str(size), ends[1]]
    parts, outer = (_filled("in_parts", color.lower()) for color in (plots.ORANGE, plots.BLUE))
    heights = [np.ptp(patch.get_path().vertices[:, 1]) for patch in (*parts, *outer)]
    channels = [size, size, block.in_channels, block.out_channels]
    np.testing.assert_allclose(heights, np.array(channels) * heights[0] / size)


def test_an_edge_of_the_graph_has_a_solid_arrow_one_way_and_a_dashed_one_back():
    patches = figures.draw("batchnorm_graph").axes[0].patches
    lines = [patch for patch in patches if not patch.get_fill()][: 2 * len(batchnorm.BACKWARD)]  # then the legend's
    for (source, target), forward, backward in zip(batchnorm.BACKWARD, lines[::2], lines[1::2], strict=True):
        assert (forward.get_linestyle(), backward.get_linestyle()) == ("-", (0, (4, 2)))
        (start, end), (back_start, back_end) = forward.get_path().vertices, backward.get_path().vertices
        for at, node in ((start, target), (end, source), (back_start, source), (back_end, target)):
            reach = np.abs(np.subtract(at, batchnorm.NODES[node]))
            assert (reach <= (batchnorm._half_width(node) + 13, batchnorm.HALF_HEIGHT + 13)).all(), (source, target)
        along = (end - start) / np.hypot(*(end - start))
        apart = abs(np.dot((-along[1], along[0]), back_end - start))
        assert apart == pytest.approx(2 * batchnorm.APART), (source, target)


def test_the_bars_are_the_costs_of_the_layers():
    layers, shown = cost.mobilenet_v2(), texts(COMMITTED / "where_cost_sits.svg")
    totals = cost.total(layers)
    patches = {kind: _filled("where_cost_sits", KINDS[kind]) for kind in KINDS}
    sides = ["112", "56", "28", "14", "7"]
    expected = ["2", "1.0", "32", "224", "224", "0", "10", "20", "0", "3", "6", *sides, *sides]
    for row, what in enumerate(("madds", "bytes")):
        bars = {}
        for kind, drawn in patches.items():
            assert len(drawn) in (0, 4)  # for each row, the bars and the sign in its legend
            if drawn:
                bottom = drawn[2 * row].get_path().vertices[:, 1].max()
                bars |= {
                    tuple(box[0]): (kind, np.ptp(box[:, 1]))
                    for box in drawn[2 * row].get_path().vertices.reshape(-1, 5, 2)
                }
        lefts = sorted(at[0] for at in bars)
        bars = [bars[at] for at in sorted(bars)]
        assert [kind for kind, _ in bars] == [layer.kind for layer in layers]
        values = np.array([getattr(layer, what) for layer in layers])
        np.testing.assert_allclose([height for _, height in bars], values * bars[0][1] / values[0])
        # a side stands under the middle of its layers, and a tick at its height
        for side in sides:
            its = [left for left, layer in zip(lefts, layers, strict=True) if layer.out_shape[0] == int(side)]
            x = (its[0] + its[-1] + 0.8 * (lefts[1] - lefts[0])) / 2
            assert _places("where_cost_sits", side)[row][0] == pytest.approx(x, abs=0.01)
        for tick in ((10, 20), (3, 6))[row]:
            ((_, y),) = _places("where_cost_sits", str(tick))
            assert y - 9 == pytest.approx(bottom - tick * 1e6 * bars[0][1] / values[0], abs=0.01)
        for kind in ("standard", "depthwise", "pointwise", "linear"):
            share = (
                100 * getattr(cost.total(layer for layer in layers if layer.kind == kind), what) / getattr(totals, what)
            )
            assert share >= 0.5 or "< 1 %" in shown
            expected.append(f"{max(share, 1):.0f}")
            if kind == "depthwise":
                expected.append(f"{share:.0f}")  # in the title
    assert numbers(shown) == sorted(expected)
    of_madds, of_bytes = (
        100 * sum(getattr(la, what) for la in layers if la.kind == "depthwise") / getattr(totals, what)
        for what in ("madds", "bytes")
    )
    assert shown[0] == f"Depthwise is {of_madds:.0f} % of multiply-adds, {of_bytes:.0f} % of bytes"
    assert [words for words in shown if words in sides] == 2 * sides and shown.count("side in pixels") == 2
    assert shown[-1] == "MobileNetV2 1.0, float32, one image of 224x224" and cost.layer.FLOAT32 == 4


def test_the_roof_is_the_machine_and_the_layers_lie_on_it():
    """From the places that are drawn back to operations a byte and operations a second."""
    layers = {layer.name: layer for layer in cost.mobilenet_v2()}
    peak, speed = costs.MACHINE.flop_per_s, costs.MACHINE.copy_speed(1 << 26)
    shown = texts(COMMITTED / "roofline.svg")
    diamonds = {kind: _filled("roofline", color) for kind, color in KINDS.items()}
    for name in costs.LAYERS:
        layer = layers[name]
        intensity = 2 * layer.madds / layer.bytes
        most = min(peak, intensity * speed) / 1e9
        what = f"stride {layer.stride}" if layer.kind == "depthwise" else layer.kind
        assert f"{name}, {what}: at most {most:.0f}" in shown
        mark = diamonds[layer.kind].pop(0).get_path().vertices
        x, y = (mark.max(axis=0) + mark.min(axis=0)) / 2
        assert 0.25 * 2 ** ((x - 70) / 120) == pytest.approx(intensity)
        assert 10 * 2 ** ((390 - y) / 80) == pytest.approx(most)
    assert not any(diamonds.values())
    # the title: of the ridge's operations a byte, a depthwise layer has less; with stride 1 little less
    shares = {1: [], 2: []}
    for layer in layers.values():
        if layer.kind == "depthwise":
            shares[layer.stride].append(2 * layer.madds / layer.bytes / (peak / speed))
    assert (len(shares[1]), len(shares[2])) == (13, 4)
    assert max(shares[2]) < 0.5 and min(shares[1]) > 0.8 and max(shares[1]) < 1
    assert f"ridge: {peak / speed:.1f} FLOP a byte" in shown and f"products: {peak / 1e9:.0f}" in shown
    assert f"copies: {speed / 1e9:.0f} GB/s" in shown
    # ticks stand at their values
    for tick in ("1", "8", "32"):
        assert 0.25 * 2 ** ((_places("roofline", tick)[0][0] - 70) / 120) == pytest.approx(float(tick), rel=1e-4)


def test_the_memory_of_a_block_in_parts_is_that_of_the_formula():
    block = [layer for layer in cost.mobilenet_v2() if layer.name.startswith(f"{costs.SPLIT}.")]
    assert cost.memory.peak(cost.memory.split_schedule(cost.mobilenet_v2(), 1)).name == costs.SPLIT
    (H, W, C), (OH, OW, E), M = block[0].in_shape, block[1].out_shape, block[2].out_shape[2]
    ends, middle = 4 * (H * W * C + OH * OW * M), 4 * (H * W * E + OH * OW * E)
    shown = texts(COMMITTED / "memory_in_parts.svg")
    assert [word for word in shown if word.endswith("MB")] == [
        f"{(ends + middle / t) / 1e6:.1f} MB" for t in costs.PARTS
    ]
    below, above = (
        [np.ptp(patch.get_path().vertices[:, 1]) for patch in _filled("memory_in_parts", color.lower())][:4]
        for color in (plots.BLUE, plots.ORANGE)
    )
    np.testing.assert_allclose(below, below[0])
    np.testing.assert_allclose(above, [middle / t * below[0] / ends for t in costs.PARTS])
    assert shown[-1].endswith(f"{H}x{W}x{C} in")


# -- where they are shown


def test_every_figure_is_shown_and_its_description_says_no_other_number():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    images = [re.findall(r"!\[(.*)\]\(.*figures/(\w+)\.svg\)", page.read_text(encoding="utf-8")) for page in pages]
    found = list(itertools.chain.from_iterable(images))
    assert {name for _, name in found} == set(SHOWN)
    for description, name in found:
        assert set(numbers([description])) <= set(numbers(texts(COMMITTED / f"{name}.svg"))), description


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
        figures.write(blocks.inverted_residual, path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_another_ending(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.svg or \.png; was .*x\.pdf"):
        figures.write(blocks.inverted_residual, tmp_path / "x.pdf")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_what_is_named(tmp_path, capsys):
    assert main(["figures", str(tmp_path), "block_shapes", "experiment_relu"]) == 0
    names = [f"{name}.{ending}" for name in ("block_shapes", "experiment_relu") for ending in ("svg", "png")]
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / name) for name in names] and err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert main(["figures", str(tmp_path), "network", "--format", "png"]) == 0
    assert (tmp_path / "network.png").read_bytes()[16:24] == b"\0\0\x07\x80\0\0\x04\x38"  # 1920x1080
    assert not (tmp_path / "network.svg").exists()


def test_a_picture_that_is_not_there_is_said(tmp_path, capsys, monkeypatch):
    from npmnv2.experiments import store

    def kept(name):
        if name == "relu":
            raise ValueError("the package has no full run of relu: advice")
        return os.path.join(os.path.dirname(store.__file__), "results", "memory.json")

    monkeypatch.setattr(store, "kept", kept)
    monkeypatch.setattr("npmnv2.cli.figures.NAMES", ("relu", "memory"))
    why = "the package has no full run of relu"
    assert main(["figures", str(tmp_path), "experiment_relu"]) == 1
    assert capsys.readouterr() == ("", f"npmnv2 figures: {why}\n") and list(tmp_path.iterdir()) == []
    assert main(["figures", "--list"]) == 0
    *drawn, last = capsys.readouterr().out.splitlines()
    assert last.split(maxsplit=1) == ["experiment_relu", f"not drawn: {why}"]
    assert [line.split()[0] for line in drawn] == [*figures.FIGURES, "experiment_memory"]
    assert drawn[0].split(maxsplit=1)[1] == texts(COMMITTED / f"{drawn[0].split()[0]}.svg")[0]


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


@pytest.mark.parametrize(
    "words, complaint",
    [
        ([], "DIR is missing"),
        ([".", "picture"], "NAME must be one of tap_and_window, "),
        ([".", "--list"], "--list must stand alone"),
        (["--list", "--format", "png"], "--list must stand alone"),
    ],
)
def test_usage(words, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figures", *words]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"npmnv2 figures: {complaint}") and list(tmp_path.iterdir()) == []


def test_the_command_explains_itself(capsys):
    assert main(["figures", "--help"]) == 0
    out = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "--list names all" in out and "16:9" in out


def test_the_filters_of_a_trained_network_are_those_of_the_table():
    rows = trained.table("drawn")
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    strides = {row["layer"]: row["stride"] for row in trained.table("filters")}
    shown = texts(COMMITTED / "trained_filters.svg")
    assert [word for word in shown if word in layers] == layers
    assert [word for word in shown if word.startswith("stride")] == [f"stride {strides[layer]}" for layer in layers]
    smooth = {row["layer"]: float(row["smooth"]) for row in trained.table("filters")}
    for two, one in zip(layers[::2], layers[1::2], strict=True):  # the title
        assert (strides[two], strides[one]) == ("2", "1") and smooth[two] > smooth[one]
    weights = [round(abs(float(w)), 1) for row in rows for w in row["weights"].split()]
    tints = {trained._tint(color, share / 10) for color in (plots.BLUE, plots.ORANGE) for share in range(1, 11)}
    filled = [p for tint in tints for p in _filled("trained_filters", tint)]
    assert len(filled) == sum(w > 0 for w in weights) + 2  # and the two of the legend


def test_the_bars_of_relu6_are_the_shares_of_the_table():
    rows = trained.table("relu6")
    for color, column in ((plots.BLUE, "at_0"), (plots.ORANGE, "at_6")):
        bars = [p.get_path().vertices for p in _filled("trained_relu6", color.lower())][: len(rows)]
        heights = [np.ptp(bar[:, 1]) for bar in bars]
        np.testing.assert_allclose(heights, [290 * float(row[column]) for row in rows], atol=1e-9)
    first, last = ([float(row["at_0"]) for row in rows[part]] for part in (slice(16), slice(16, None)))
    assert np.mean(first) < 0.45 and np.mean(last) > 0.65  # the title
    assert np.mean([float(row["at_6"]) for row in rows]) < 0.01


def test_what_is_left_without_a_shortcut_is_that_of_the_table():
    rows = {(row["layer"], row["what"]): 100 * float(row["mean"]) for row in trained.table("taken_away")}
    shown = texts(COMMITTED / "trained_shortcuts.svg")
    blocks_ = [layer for layer, what in rows if what == "shortcut"]
    assert [word for word in shown if word in blocks_] == blocks_ and len(blocks_) == 9
    assert f"nothing taken away: {rows['network', 'nothing']:.0f}" in shown
    for what, (color, _) in trained.COLORS.items():
        bars = [p.get_path().vertices for p in _filled("trained_shortcuts", color.lower())][: len(blocks_)]
        heights = np.array([np.ptp(bar[:, 1]) for bar in bars])
        np.testing.assert_allclose(heights, [4.9 * rows[block, what] for block in blocks_], atol=1e-9)
    assert all(rows[block, "shortcut"] < 1 < 35 < rows[block, "convolutions"] for block in blocks_)  # the title
