"""The tables of docs/trained.md, measured again with the trained weights. -m oracle."""

import sys
from pathlib import Path

import numpy as np
import pytest

from npmnv2.backends import backend
from npmnv2.show.figures.trained import table

pytestmark = pytest.mark.oracle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

# How far another machine may be away: probabilities and shares; counts out of 30; directions and dead channels.
NEAR = {"filters": 0.002, "drawn": 0, "relu6": 0.002, "rank": 1, "left": 0.02, "taken_away": 0.005}
COUNTS = {"silent": 3, "first": 1, "five": 2}


@pytest.fixture(scope="module")
def run():
    import trained

    with backend("numpy"):
        return trained.measure()


def number(words):
    try:
        return float(words)
    except ValueError:
        return None


@pytest.mark.parametrize("name", NEAR)
def test_a_table_is_what_is_measured(name, run):
    import trained

    with backend("numpy"):
        first, *rows = trained.TABLES[name](run)
    kept = table(name)
    assert list(kept[0]) == list(first) and len(kept) == len(rows)
    for row, wanted in zip(rows, kept, strict=True):
        for column, value in zip(first, map(str, row), strict=True):
            if number(value) is None:
                assert value == wanted[column]
            else:
                near = COUNTS.get(column, NEAR[name])
                assert abs(number(value) - number(wanted[column])) <= near, (row, column)


def test_rounding_is_what_is_measured(run):
    """Kinds of layers; a label that moves by one place is another count."""
    import trained

    with backend("numpy"):
        _, *rows = trained.rounding(run, single=False)
    for row, wanted in zip(rows, table("rounding"), strict=False):
        assert list(row[:2]) == [wanted["layer"], wanted["scale"]]
        np.testing.assert_allclose(row[2:], [int(v) for v in list(wanted.values())[2:]], atol=2)
