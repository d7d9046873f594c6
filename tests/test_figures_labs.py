"""The figures of the labs show the example of the handouts. What is expected is read off the forward alone."""

import doctest
import re

import numpy as np
from test_figures import COMMITTED, ROOT, _filled, _places, numbers, texts

from npmnv2 import ops
from npmnv2.show import figures, plots
from npmnv2.show.figures import labs


def forward(x, w):
    out, _ = ops.depthwise_conv2d_forward(np.reshape(x, (1, 1, -1, 1)) * 1.0, np.reshape(w, (1, -1, 1)) * 1.0)
    return out.ravel()


def received(dout):
    """dx and dw by differences: each element grows by one, and the loss is the sum of dout times the output."""
    x, w = np.array(labs.X), np.array(labs.W)
    dx = [(forward(x + unit, w) - forward(x, w)) @ dout for unit in np.eye(len(x))]
    dw = [(forward(x, w + unit) - forward(x, w)) @ dout for unit in np.eye(len(w))]
    return dx, dw


def wiring():
    """Which pixel reaches which window by which weight: units go in, one at a time."""
    units = [(pixel, weight) for pixel in range(len(labs.X)) for weight in range(len(labs.W))]
    reached = {at: forward(np.eye(len(labs.X))[at[0]], np.eye(len(labs.W))[at[1]]) for at in units}
    return sorted((window, weight, pixel) for (pixel, weight), out in reached.items() for window in np.flatnonzero(out))


def test_the_example_is_that_of_the_handout():
    known = {}
    for example in doctest.DocTestParser().get_examples((ROOT / "docs" / "labs" / "2.md").read_text(encoding="utf-8")):
        exec(example.source, known)
    assert [known[name].ravel().tolist() for name in ("x", "w")] == [list(labs.X), list(labs.W)]
    assert tuple(known[name].ravel().tolist() for name in ("dx", "dw")) == labs.gradients(labs.DOUT)
    assert labs.gradients(labs.DOUT) == received(labs.DOUT)
    assert [tuple(product) for product in labs.products()] == wiring()


def test_each_pixel_and_each_weight_receives_what_is_written_beside_it():
    dx, dw = received(labs.DOUT)
    factors = {f"x[{k}]": [(labs.DOUT[y], labs.W[j]) for y, j, at in wiring() if at == k] for k in range(len(labs.X))}
    factors |= {f"w[{k}]": [(labs.DOUT[y], labs.X[at]) for y, j, at in wiring() if j == k] for k in range(len(labs.W))}
    values = dict(zip(factors, (*labs.X, *labs.W), strict=True))
    shown = texts(COMMITTED / "four_products.svg")
    sums = [words for words in shown if "·" in words]
    for words, (name, terms), total in zip(sums, factors.items(), (*dx, *dw), strict=True):
        left, right = words.split(" = ")
        assert [tuple(map(int, term.split("·"))) for term in left.split(" + ")] == terms
        assert int(right) == total == sum(a * b for a, b in terms)
        (_, y), (_, y_name) = *_places("four_products", words), *_places("four_products", f"{name} = {values[name]}")
        assert y == y_name  # on one line

    # filled are those that receive two terms; the last is the legend's
    boxes = [patch.get_path().vertices for patch in _filled("four_products", plots.ORANGE.lower())]
    twice = [f"{name} = {values[name]}" for name, terms in factors.items() if len(terms) == 2]
    middles = [(box.max(axis=0) + box.min(axis=0)) / 2 + (0, 9) for box in boxes]
    np.testing.assert_allclose([_places("four_products", words)[0] for words in twice], middles[:-1], atol=0.01)
    assert shown[-1] == "takes part twice" and len(twice) == 3


def test_a_product_is_a_line_from_its_pixel_to_its_window_with_its_weight():
    lines = [patch for patch in figures.draw("four_products").axes[0].patches if not patch.get_fill()]
    heights = {f"x[{k}]": _places("four_products", f"x[{k}] = {value}")[0][1] - 9 for k, value in enumerate(labs.X)}
    windows = [_places("four_products", f"window {k}")[0][1] - 9 for k in range(len(labs.DOUT))]
    assert [_places("four_products", str(value))[0][1] - 9 for value in labs.DOUT] == windows
    labels = {weight: _places("four_products", f"w[{weight}]") for weight in range(len(labs.W))}
    assert [len(places) for places in labels.values()] == [2, 2]
    looks = {}
    for line, (window, weight, pixel) in zip(lines, wiring(), strict=False):  # then the weights', beside their boxes
        start, end = line.get_path().vertices
        assert (start[1], end[1]) == (heights[f"x[{pixel}]"], windows[window])
        middle = (start + end) / 2 + (0, 9)
        assert any(np.allclose(middle, place, atol=0.01) for place in labels[weight])
        looks.setdefault(weight, set()).add((line.get_edgecolor(), str(line.get_linestyle())))
    for weight, line in enumerate(lines[len(wiring()) :]):
        looks[weight].add((line.get_edgecolor(), str(line.get_linestyle())))
        assert line.get_path().vertices[0, 1] == _places("four_products", f"w[{weight}] = {labs.W[weight]}")[0][1] - 9
    assert len(lines) == len(wiring()) + len(labs.W)
    assert [len(look) for look in looks.values()] == [1, 1] and looks[0].isdisjoint(looks[1])
    assert {line[1] for look in looks.values() for line in look} == {"-", "(0, (4, 2))"}  # told apart without colour


def test_no_line_that_a_student_writes_is_in_a_figure():
    for name in ("four_products", "ones_hide"):
        shown = "\n".join(texts(COMMITTED / f"{name}.svg"))
        assert not re.search(r"\+=|dout\s*[*@]|\bd[xw]p?\[|sum|taps", shown)


def test_the_bars_are_the_gradient_of_the_middle_pixel_and_its_terms():
    assert [pixel for _, _, pixel in wiring()].count(labs.MIDDLE) == 2 and len(labs.X) // 2 == labs.MIDDLE
    pairs = [labs.DOUT, labs.DOUT[::-1]], [(1, 1), (1, 1)]
    totals = [[received(dout)[0][labs.MIDDLE] for dout in pair] for pair in pairs]
    weights = [weight for _, weight, pixel in wiring() if pixel == labs.MIDDLE]  # of window 0 and window 1
    terms = [[[d * labs.W[j] for d, j in zip(dout, weights, strict=True)] for dout in pair] for pair in pairs]
    assert totals[0][0] != totals[0][1] and totals[1][0] == totals[1][1]  # the title

    title, *shown = texts(COMMITTED / "ones_hide.svg")
    assert title == "A dout of ones hides an exchange"
    assert [word for word in shown if word.isdigit()] == [f"{total:.0f}" for pair in totals for total in pair]
    assert [word for word in shown if "=" in word] == [f"dout = {pair[0][0]}, {pair[0][1]}" for pair in pairs]
    assert [word for word in shown if word in ("right", "exchanged")] == 2 * ["right", "exchanged"]
    sums = [word for word in shown if "·" in word]
    expected = [" + ".join(f"{d}·{labs.W[j]}" for d, j in zip(dout, weights, strict=True)) for p in pairs for dout in p]
    assert sums == expected
    assert numbers(shown) == sorted(numbers([*sums, *map(str, (10, 100, 1, 1, 120, 210, 3, 3, 0, 1))]))

    # the bars: of each pair the taller has the same height; a colour a window, the first the lower
    drawn = [_filled("ones_hide", color.lower())[:4] for color in (plots.BLUE, plots.ORANGE)]  # then the legend's
    boxes = np.array([[patch.get_path().vertices for patch in patches] for patches in drawn])  # window, bar, corner, xy
    heights = np.ptp(boxes[..., 1], axis=2)
    scales = np.repeat([labs.TALLEST / max(pair) for pair in totals], 2)
    np.testing.assert_allclose(heights, np.array(terms).reshape(4, 2).T * scales)
    np.testing.assert_allclose(boxes[0, :, :, 1].min(axis=1), boxes[1, :, :, 1].max(axis=1))
    assert np.ptp(boxes[0, :, :, 1].max(axis=1)) == 0  # they stand on one line
    middles = (boxes[0, :, :, 0].min(axis=1) + boxes[0, :, :, 0].max(axis=1)) / 2
    for row in (sums, [f"{total:.0f}" for pair in totals for total in pair]):
        places = [place for words in dict.fromkeys(row) for place, _ in _places("ones_hide", words)]
        np.testing.assert_allclose(places, middles, atol=0.01)
