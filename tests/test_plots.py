"""The picture: what it shows is what the run gave, it opens no window, saves in any format, shows in a notebook."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from npmnv2 import cost
from npmnv2.data import load_digits
from npmnv2.models import mobilenet_v2
from npmnv2.nn.layers import DepthwiseConv2d, Sequential
from npmnv2.ops import softmax
from npmnv2.show import plots
from npmnv2.train.evaluation import predict
from npmnv2.train.progress import Epoch

HISTORY = [
    Epoch(1, 0.1, 2.25, 0.25, 0.2, 1.0),
    Epoch(2, 0.1, 1.5, 0.5, 0.75, 1.0),
    Epoch(3, 0.0, 0.75, 0.75, 0.625, 1.0),
]


@pytest.fixture(scope="module")
def model():
    return mobilenet_v2(10, 0.1, strides="digits", in_channels=1)


@pytest.fixture(scope="module")
def digits():
    full = load_digits()
    return full._replace(test_x=full.test_x[:30], test_y=full.test_y[:30])


@pytest.fixture(scope="module")
def figure(model, digits):
    return plots.training(HISTORY, model, digits)


@pytest.fixture(scope="module")
def odd_figure(model, digits):
    """Another: averaged weights, all images right, and classes that Matplotlib takes for formulas without an end."""
    history = [epoch._replace(ema_accuracy=0.5 + 0.1 * k) for k, epoch in enumerate(HISTORY)]
    said = predict(model, digits.test_x).argmax(axis=1)
    return plots.training(history, model, digits._replace(test_y=said, classes=tuple(f"$x_{{${k}" for k in range(10))))


def _parts(figure):
    curves, filters, images = figure.subfigs
    return curves, filters, images


def _title(part):
    return part._suptitle.get_text()


def test_the_curves_are_the_history(figure):
    top, bottom = _parts(figure)[0].axes
    (loss,) = top.get_lines()
    trained, tested = bottom.get_lines()
    for line, values in ((loss, [2.25, 1.5, 0.75]), (trained, [25, 50, 75]), (tested, [20, 75, 62.5])):
        assert line.get_xdata().tolist() == [1, 2, 3] and line.get_ydata().tolist() == values
    assert trained.get_label() == "training images" and tested.get_label().startswith("held-out images")
    assert "62.5 %" in tested.get_label()
    assert top.get_ylim()[0] == 0 and bottom.get_ylim()[1] == 103
    assert (top.get_ylabel(), bottom.get_xlabel()) == ("cross-entropy loss", "epoch")
    assert len({line.get_color() for line in (loss, trained, tested)}) == 3


def test_the_filters_are_the_models_each_row_in_its_own_scale(figure, model):
    layers = [(name, layer.w.value) for name, layer in model.named_layers() if isinstance(layer, DepthwiseConv2d)]
    rows = _parts(figure)[1].subfigs
    assert [row._supylabel.get_text() for row in rows] == ["b0.0.dw", "b3.2.dw", "b6.0.dw"]
    for row, k in zip(rows, (0, len(layers) // 2, -1), strict=True):
        w = layers[k][1]
        limit, channels = abs(w).max(), w.transpose(2, 0, 1)
        strengths = []
        for axes in row.axes[: len(channels)]:
            (image,) = axes.get_images()
            shown = np.asarray(image.get_array())
            assert any((shown == channel).all() for channel in channels)
            assert image.get_clim() == pytest.approx((-limit, limit))
            strengths.append(abs(shown).sum())
        assert strengths == sorted(strengths, reverse=True)  # the strongest first


def test_the_images_are_the_mistakes_first_then_the_least_sure(figure, model, digits):
    p = softmax(predict(model, digits.test_x).astype(np.float64))
    said, sure = p.argmax(axis=1), p.max(axis=1)
    wrong = said != digits.test_y
    part = _parts(figure)[2]
    assert _title(part) == f"Held-out images: {wrong.sum()} of 30 wrong"
    before = (True, 0.0)
    for axes in part.axes:
        (image,) = axes.get_images()
        (k,) = [k for k in range(30) if (digits.test_x[k, :, :, 0] == image.get_array()).all()]
        first, second = axes.get_title().split("\n")
        assert first == f"{said[k]} ({100 * sure[k]:.0f} %)"
        assert second == (f"not {digits.test_y[k]}" if wrong[k] else "")
        assert (not wrong[k], sure[k]) >= (not before[0], before[1])
        before = (wrong[k], sure[k])
    assert len(part.axes) == 20


@pytest.mark.parametrize(
    "held_out", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(20, marks=pytest.mark.slow)]
)
def test_few_held_out_images_leave_room(model, digits, held_out):
    few = digits._replace(test_x=digits.test_x[:held_out], test_y=digits.test_y[:held_out])
    part = _parts(plots.training(HISTORY[:1], model, few))[2]
    assert sum(bool(axes.get_images()) for axes in part.axes) == held_out


def test_all_right_is_said_too(odd_figure):
    part = _parts(odd_figure)[2]
    assert _title(part) == "Held-out images: 0 of 30 wrong"
    assert all(axes.title.get_color() == "black" for axes in part.axes)


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_model_is_left_as_it_was(digits, training):
    model = mobilenet_v2(10, 0.1, strides="digits", in_channels=1).train(training)
    before = model.state_dict()
    plots.training(HISTORY, model, digits)
    assert model.training is training
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_colour_images_are_shown_as_grey(digits):
    model = mobilenet_v2(10, 0.1, strides="digits")
    colour = digits._replace(test_x=np.repeat(digits.test_x, 3, axis=3) * np.float32([1, 0.5, 0]))
    image = _parts(plots.training(HISTORY, model, colour))[2].axes[0].get_images()[0]
    assert image.get_array().shape == (8, 8)


def small_picture(path):
    """One that is drawn quickly."""
    return plots.confusion(np.eye(2, dtype=int), ["a", "b"], path)


def test_png_is_a_picture(figure, tmp_path):
    path = tmp_path / "picture.png"
    plots.save(figure, path)
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.size == (1560, 624)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]))) > 100  # not a blank page
    for colour in (plots.BLUE, plots.ORANGE, plots.GREEN, plots.RED):
        wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
        assert (abs(pixels.astype(int) - wanted).max(axis=1) < 8).sum() > 20, colour
    assert list(tmp_path.iterdir()) == [path]


FORMATS = pytest.mark.parametrize("ending, start", [("svg", b"<?xml"), ("pdf", b"%PDF"), ("jpg", b"\xff\xd8")])


@FORMATS
def test_other_formats(ending, start, tmp_path):
    path = tmp_path / f"picture.{ending}"
    small_picture(str(path))
    assert path.read_bytes().startswith(start)


@pytest.mark.slow
@FORMATS
def test_other_formats_of_the_largest_picture(ending, start, model, digits, tmp_path):
    path = tmp_path / f"picture.{ending}"
    plots.training(HISTORY, model, digits, str(path))
    assert path.read_bytes().startswith(start)


def test_a_folder_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="no_such_folder"):
        small_picture(tmp_path / "no_such_folder" / "picture.png")


def test_a_picture_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    def fail(self, file, **_):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "costs.png"
    small_picture(path)
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        small_picture(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_without_an_ending_it_is_a_png(tmp_path):
    small_picture(tmp_path / "picture")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_averaged_weights_have_a_curve_of_their_own(odd_figure):
    _, bottom = _parts(odd_figure)[0].axes
    line = bottom.get_lines()[2]
    assert line.get_ydata().tolist() == pytest.approx([50, 60, 70]) and line.get_label() == "averaged weights, 70.0 %"


# -- which classes are taken for which


def test_the_confusion_is_the_matrix(tmp_path):
    matrix = np.array([[8, 2, 0], [0, 5, 0], [0, 1, 0]])
    figure = plots.confusion(matrix, ["a", "$b", "a name that is longer than sixteen"], tmp_path / "c.png")
    axes = figure.axes[0]
    assert axes.get_title() == "3 of 16 wrong" and (axes.get_ylabel(), axes.get_xlabel()) == ("is", "taken for")
    np.testing.assert_allclose(axes.get_images()[0].get_array(), [[0, 20, 0], [0, 0, 0], [0, 100, 0]])
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((j, i), str(matrix[i, j])) for i, j in np.argwhere(matrix)
    }
    assert [t.get_color() for t in axes.texts] == ["black", "black", "black", "white"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "$b", "a name that is …"]
    figure.draw_without_rendering()
    for text in [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]:
        box = text.get_window_extent()
        assert (
            figure.bbox.x0 <= box.x0
            and box.x1 <= figure.bbox.x1
            and figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
        )


def test_many_classes_are_not_all_named():
    axes = plots.confusion(np.eye(120, dtype=int), [f"class {k}" for k in range(120)]).axes[0]
    assert len(axes.get_yticks()) == 40 and not axes.texts and axes.get_title() == "0 of 120 wrong"
    with pytest.raises(ValueError, match="matrix must have a row and a column for each of 2 classes"):
        plots.confusion(np.eye(3, dtype=int), ["a", "b"])


# -- where the costs sit


@pytest.mark.parametrize(
    "name, bands",
    [
        pytest.param("mobilenet_v1", 6, marks=pytest.mark.slow),
        pytest.param("mobilenet_v1_conv", 6, marks=pytest.mark.slow),
        ("mobilenet_v2", 6),
    ],
)
def test_every_layer_is_a_bar_of_its_height(name, bands, tmp_path):
    layers = cost.NETWORKS[name]()
    path = tmp_path / "costs.png"
    figure = plots.costs(layers, "a network", path)
    assert figure._suptitle.get_text() == "a network"
    rows = zip(figure.axes, ("parameters", "madds", "bytes"), (1e3, 1e6, 1e6), strict=True)
    for axes, what, unit in rows:
        values = [getattr(layer, what) for layer in layers]
        drawn = {}
        for bars in axes.containers:
            kind, _, share = bars.get_label().partition(", ")
            for bar in bars:
                k = round(bar.get_x() + bar.get_width() / 2)
                assert layers[k].kind == kind and k not in drawn
                drawn[k] = bar.get_height()
            of_kind = sum(value for value, layer in zip(values, layers, strict=True) if layer.kind == kind)
            assert share == f"{100 * of_kind / sum(values):.1f} %"
        assert [drawn[k] for k in range(len(layers))] == pytest.approx([value / unit for value in values])
        low, high = axes.get_ylim()
        assert low == 0 and high > max(values) / unit
        assert axes.get_ylabel().startswith(
            {"madds": "multiply-adds, millions", "bytes": "bytes moved"}.get(what, what)
        )
        looks = [(bars[0].get_facecolor(), bars[0].get_hatch()) for bars in axes.containers]
        assert len({color for color, _ in looks}) == len({hatch for _, hatch in looks}) == len(looks)
    assert [tick.get_text() for tick in figure.axes[-1].get_xticklabels()] == [layer.name for layer in layers]
    sizes = [text.get_text() for text in figure.axes[0].texts]
    assert sizes == ["112x112", "56x56", "28x28", "14x14", "7x7", "1x1"] and len(sizes) == bands
    with Image.open(path) as picture:
        assert picture.size == (1320, 1020)


@pytest.mark.parametrize(
    "name", [name if name == "mobilenet_v2" else pytest.param(name, marks=pytest.mark.slow) for name in cost.NETWORKS]
)
def test_nothing_is_clipped_or_covered(name):
    """Every text lies inside the picture, and no legend on a bar."""
    figure = plots.costs(cost.NETWORKS[name](0.5, 96), name)
    figure.draw_without_rendering()
    page = figure.bbox
    for axes in figure.axes:
        texts = [axes.yaxis.label, axes.xaxis.label, *axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels()]
        for text in [figure._suptitle, *texts, axes.get_legend()]:
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
        legend = axes.get_legend().get_window_extent()
        assert not any(bar.get_window_extent().overlaps(legend) for bars in axes.containers for bar in bars)


def test_groups_have_a_look_too():
    grouped = cost.convolution("grouped", 8, 8, 4, 4, groups=2, name="g")
    figure = plots.costs([grouped, cost.linear(4, 2, name="fc")], "two layers")
    assert [bars.get_label().partition(",")[0] for bars in figure.axes[0].containers] == ["grouped", "linear"]
    assert set(plots.KINDS) == set(cost.KINDS)


@pytest.mark.parametrize("side", [10**20, 10**200])
def test_costs_beyond_all_floats_are_not_drawn(side):
    with pytest.raises(ValueError, match="to be drawn; stem costs more"):
        plots.costs(cost.mobilenet_v2(resolution=side), "a network")


@pytest.mark.parametrize(
    "draw",
    [
        lambda model, digits: plots.training(HISTORY, model, digits),
        lambda model, digits: plots.confusion(np.eye(2, dtype=int), ["a", "b"]),
        lambda model, digits: plots.costs(cost.mobilenet_v2(), "a network"),
    ],
    ids=["training", "confusion", "costs"],
)
def test_a_notebook_shows_it(draw, model, digits):
    """It asks an object for `_repr_png_`, which a figure has only while pyplot draws into the notebook."""
    figure = draw(model, digits)
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG" and picture.size == tuple(figure.get_size_inches() * figure.dpi)
        assert len(picture.convert("L").getcolors()) > 50  # something is drawn


def test_no_window_and_no_state_of_pyplot():
    code = """
import sys
from npmnv2.show import plots
from npmnv2 import mobilenet_v2
from npmnv2.data import load_digits
from npmnv2.train.progress import Epoch
first = "matplotlib" in sys.modules
model = mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
plots.training([Epoch(1, 0.1, 2.0, 0.3, 0.2, 1.0)], model, load_digits(held_out=5))._repr_png_()
print(first, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True False\n"


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda h, m, d: ([], m, d), "history must hold at least one Epoch; was empty"),
        (lambda h, m, d: (h, Sequential({"conv": m.layers["stem"]}), d), "model must have depthwise layers"),
        (
            lambda h, m, d: (h, m, d._replace(classes=("a",))),
            "data.classes must name all 10 classes of the model; was 1",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(change, match, model, digits):
    with pytest.raises(ValueError, match=match):
        plots.training(*change(HISTORY, model, digits))


def test_a_class_may_be_called_anything(odd_figure, tmp_path):
    assert _parts(odd_figure)[2].axes[0].get_title().startswith("$x_{$")
    plots.save(odd_figure, tmp_path / "a.svg")
