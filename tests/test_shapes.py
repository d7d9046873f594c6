"""Sizes, padding, taps and channel rounding, against brute force: count the windows, look where the taps land."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from npmnv2.shapes import conv_geometry, is_int, make_divisible, output_size, resolve_padding, same_padding, taps

small = {
    "size": st.integers(1, 20),
    "kernel": st.integers(1, 6),
    "stride": st.integers(1, 5),
    "dilation": st.integers(1, 4),
}


def _windows(size, kernel, stride, before, after, dilation):
    """Every start of a window whose taps all lie on the padded axis, found by trying all."""
    padded = range(before + size + after)
    return [start for start in padded[::stride] if all(start + dilation * i in padded for i in range(kernel))]


@settings(max_examples=300, deadline=None)
@given(**small, before=st.integers(0, 6), after=st.integers(0, 6))
def test_output_size_counts_windows(size, kernel, stride, dilation, before, after):
    windows = _windows(size, kernel, stride, before, after, dilation)
    if windows:
        assert output_size(size, kernel, stride, before, after, dilation) == len(windows)
    else:
        with pytest.raises(ValueError, match="kernel must fit"):
            output_size(size, kernel, stride, before, after, dilation)


@settings(max_examples=300, deadline=None)
@given(**small)
def test_same_padding_by_its_definition(size, kernel, stride, dilation):
    """The least padding with one window for every `stride` pixels begun, the odd zero after: found by trying all."""
    wanted = len(range(0, size, stride))
    for total in range(100):
        before, after = total // 2, total - total // 2
        if len(_windows(size, kernel, stride, before, after, dilation)) >= wanted:
            break
    # TensorFlow: never more windows than wanted, so a kernel shorter than its stride pads nothing
    assert same_padding(size, kernel, stride, dilation) == (before, after)
    assert output_size(size, kernel, stride, before, after, dilation) == wanted


# What TensorFlow 2 pads: (size, kernel, stride, dilation) -> (before, after).
SAME = {
    (224, 3, 2, 1): (0, 1),
    (225, 3, 2, 1): (1, 1),
    (112, 3, 1, 1): (1, 1),
    (7, 3, 1, 1): (1, 1),
    (7, 1, 2, 1): (0, 0),
    (8, 2, 1, 1): (0, 1),
    (8, 4, 1, 1): (1, 2),
    (10, 5, 2, 1): (1, 2),
    (11, 5, 2, 1): (2, 2),
    (10, 3, 3, 1): (1, 1),
    (11, 3, 3, 1): (0, 1),
    (12, 3, 3, 1): (0, 0),
    (1, 3, 2, 1): (1, 1),
    (2, 7, 2, 1): (2, 3),
    (10, 3, 1, 2): (2, 2),
    (9, 2, 4, 3): (1, 2),
    (9, 2, 5, 1): (0, 0),
}


@pytest.mark.parametrize("arguments", SAME, ids=str)
def test_same_padding_table(arguments):
    assert same_padding(*arguments) == SAME[arguments]


@settings(max_examples=100, deadline=None)
@given(
    H=st.integers(1, 9),
    W=st.integers(1, 9),
    KH=st.integers(1, 4),
    KW=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    pads=st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2),
)
def test_taps_land_where_the_formula_says(H, W, KH, KW, stride, dilation, pads):
    try:
        g = conv_geometry(H, W, KH, KW, stride, pads, dilation)
    except ValueError:
        assume(False)
    rows, cols = H + sum(pads[0]), W + sum(pads[1])
    xp = np.arange(rows * cols).reshape(1, rows, cols, 1)  # every pixel knows its place
    order = []
    for i, j, seen in taps(g):
        order.append((i, j))
        tap = xp[seen]
        assert np.shares_memory(tap, xp) and tap.shape == (1, g.OH, g.OW, 1)
        for y, x in np.ndindex(g.OH, g.OW):
            assert divmod(tap[0, y, x, 0], cols) == (stride * y + dilation * i, stride * x + dilation * j)
    assert order == list(np.ndindex(KH, KW))


def test_resolve_padding():
    assert resolve_padding(2, 8, 8, 3, 3) == ((2, 2), (2, 2))
    assert resolve_padding(np.int64(1), 8, 8, 3, 3) == ((1, 1), (1, 1))
    assert resolve_padding(((0, 1), (2, 3)), 8, 8, 3, 3) == ((0, 1), (2, 3))
    assert resolve_padding([[0, 1], np.array([2, 3])], 8, 8, 3, 3) == ((0, 1), (2, 3))
    assert resolve_padding("same", 8, 9, 3, 5, stride=2) == ((0, 1), (2, 2))  # H with KH, W with KW
    assert resolve_padding("same", 9, 8, 5, 3, stride=2) == ((2, 2), (0, 1))


# tensorflow/models, mobilenet.py: value -> channels, divisor 8. Worked out by hand from the rule.
DIVISIBLE = {
    0.1: 8,
    8: 8,
    11.2: 16,  # 8 would lose 29 %
    11.9: 16,
    12: 16,
    19: 24,  # 16 would lose 16 %
    17: 16,  # loses 6 %
    17.7: 16,  # 16 >= 15.93
    17.8: 24,  # 16 < 16.02
    20: 24,
    22.4: 24,
    24: 24,
    33.6: 32,
    44.8: 48,
    1792.0: 1792,
}


@pytest.mark.parametrize("value", DIVISIBLE)
def test_make_divisible_table(value):
    assert make_divisible(value) == DIVISIBLE[value]


def test_make_divisible_other_divisors():
    assert [make_divisible(v, 4) for v in (1, 5, 6, 9)] == [4, 8, 8, 12]  # 4 is 20 % less than 5, 8 is 11 % less than 9
    assert make_divisible(30, 8, minimum=48) == 48
    assert [make_divisible(v, 1) for v in (1, 2, 37)] == [1, 2, 37]


@settings(deadline=None)
@given(value=st.floats(1, 5000), divisor=st.integers(1, 32))
def test_make_divisible_never_loses_more_than_a_tenth(value, divisor):
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert 0.9 * value <= rounded <= max(divisor, value + divisor)


def test_published_channels():
    """Table 2 of arXiv:1801.04381 under the published multipliers: what every implementation gets."""
    columns = (32, 16, 24, 32, 64, 96, 160, 320)
    assert [[make_divisible(a * c) for c in columns] for a in (0.35, 0.5, 0.75, 1.3, 1.4)] == [
        [16, 8, 8, 16, 24, 32, 56, 112],
        [16, 8, 16, 16, 32, 48, 80, 160],
        [24, 16, 24, 24, 48, 72, 120, 240],
        [40, 24, 32, 40, 80, 128, 208, 416],
        [48, 24, 32, 48, 88, 136, 224, 448],
    ]


def test_is_int():
    assert all(is_int(value) for value in (0, -3, np.int8(1), np.uint64(1)))
    assert not any(is_int(value) for value in (True, np.True_, 1.0, np.float64(1), "1", None, 1j))


HUGE = 2**70


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: output_size(5, 3, stride=0), ValueError, "stride must be at least 1; was 0"),
        (lambda: output_size(-5, -3), ValueError, "size must be at least 1; was -5"),
        (lambda: same_padding(5, 3, stride=0), ValueError, "stride must be at least 1; was 0"),
        (lambda: conv_geometry(5, 5, 0, 3), ValueError, "KH must be at least 1; was 0"),
        (lambda: conv_geometry(5.5, 5, 3, 3), TypeError, "H must be an integer; was 5.5"),
        (lambda: conv_geometry(5, 5, 1, 1, stride=HUGE), ValueError, f"stride must be at most .*; was {HUGE}"),
        (lambda: conv_geometry(5, 5, 1, 1, dilation=HUGE), ValueError, f"dilation must be at most .*; was {HUGE}"),
        (lambda: make_divisible(8, 0), ValueError, "divisor must be at least 1; was 0"),
        (lambda: make_divisible(8, 1.5), TypeError, "divisor must be an integer; was 1.5"),
        (lambda: make_divisible(-100), ValueError, "value must be more than 0 and finite; was -100"),
        (lambda: make_divisible(float("nan")), ValueError, "value must be more than 0 and finite; was nan"),
    ],
)
def test_sizes_that_are_none(call, error, match):
    with pytest.raises(error, match=match):
        call()
