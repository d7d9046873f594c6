"""Lab 5's explanation of a wrong block: every mistake on the list is named, of two no third, and nothing is guessed."""

import itertools

import numpy as np
import pytest

from npmnv2 import labs
from npmnv2.labs import block, lab5, residual
from npmnv2.labs.lab import Wrong
from npmnv2.labs.mistakes import BACKWARD, FORWARD
from npmnv2.labs.ratio import near

CASES = [case for case in lab5.CASES if case.dtype == "float64" and "calls" not in case.sizes]
FORWARD_CASES = [case for case in CASES if case.function == "block_forward"]
BACKWARD_CASES = [case for case in CASES if case.function == "block_backward"]


def _results(arguments, flags):
    """What a function with these mistakes returns, as the grader has it."""
    if isinstance(arguments[0], np.ndarray) and isinstance(arguments[1], tuple):
        dout, (x, p, stride), *_ = arguments
        gradients = block.backward(dout, block.forward(x, p, stride), p, stride, flags)
        return tuple(gradients[name] for name in block.way_back(p))
    return (block.forward(*arguments, flags)["out"],)


def _explained(case, seed, flags, cache=None):
    """What is said of these mistakes in this case; None if they change nothing in it, or the shape."""
    arguments = lab5.arguments(case, np.random.default_rng(seed))
    right, mine = lab5.right(case, arguments), _results(arguments, flags)
    if any(a.shape != b.shape for a, b in zip(mine, right, strict=True)):
        return None
    places = [k for k, (a, b) in enumerate(zip(mine, right, strict=True)) if not near(a, b)]
    if not places:
        return None
    call = lambda changed: _results(changed, flags)  # noqa: E731
    return residual.explain(Wrong(case, call, arguments, mine, right, places, returned=(mine[0], cache)))


@pytest.mark.parametrize("case", lab5.CASES, ids=str)
def test_without_mistakes_it_is_the_packages_block(case):
    arguments = lab5.arguments(case, np.random.default_rng(0))
    for mine, right in zip(_results(arguments, ()), lab5.right(case, arguments), strict=True):
        assert right.dtype == case.dtype
        assert np.allclose(mine, right, rtol=1e-4 if case.dtype == "float32" else 1e-10, atol=1e-4)


BY_DEFAULT = [(FORWARD[::9], FORWARD_CASES[2:4]), (BACKWARD[::9], BACKWARD_CASES[4:5])]
ALL = [(FORWARD, FORWARD_CASES), (BACKWARD, [BACKWARD_CASES[k] for k in (0, 4, 5)])]


@pytest.mark.parametrize("mistakes, cases", [*BY_DEFAULT, *(pytest.param(*one, marks=pytest.mark.slow) for one in ALL)])
def test_every_mistake_is_named_by_its_cause(mistakes, cases):
    for mistake in mistakes:
        found = [_explained(case, 1, mistake.flags) for case in cases]
        assert {finding.cause for finding in found if finding} <= {mistake.cause}, mistake
        assert any(found) or len(cases) < 3, mistake


@pytest.mark.slow
@pytest.mark.parametrize("mistakes, cases", [(FORWARD, FORWARD_CASES[2:3]), (BACKWARD, BACKWARD_CASES[2:3])])
def test_of_two_mistakes_no_third_is_named(mistakes, cases):
    pairs = list(itertools.combinations(mistakes, 2))
    named = 0
    for k in np.random.default_rng(0).choice(len(pairs), 40, replace=False):
        one, other = pairs[k]
        finding = _explained(cases[0], 2, one.flags | other.flags)
        assert finding is None or finding.cause in (one.cause, other.cause, "unexplained"), (one, other, finding)
        named += finding is not None and finding.cause != "unexplained"
    assert named >= 35


def test_what_is_not_on_the_list_is_not_named():
    """ReLU6 that cuts at 5, and a forward whose cache says where it begins to differ."""
    case = FORWARD_CASES[1]
    x, p, stride = lab5.arguments(case, np.random.default_rng(3))

    def forward(x, p, stride):
        c = {"wide": x @ p["we"]}
        c["wide_norm"] = block.norm(c["wide"], p, 1, ())
        c["wide_act"] = c["wide_norm"].clip(0, 5)
        filtered = block.norm(block.depthwise(c["wide_act"], p["wd"], stride), p, 2, ()).clip(0, 5)
        return block.norm(filtered @ p["wp"], p, 3, ()), c

    out, cache = forward(x, p, stride)
    right = lab5.right(case, (x, p, stride))
    for kept, said in ((cache, "wide_act is the first that differs"), (None, "must be"), ({"wide": 3}, "must be")):
        call = lambda changed: forward(*changed)[:1]  # noqa: E731
        finding = residual.explain(Wrong(case, call, (x, p, stride), (out,), right, [0], returned=(out, kept)))
        assert finding.cause == "unexplained" and said in finding.says


def test_an_unexplained_gradient_is_the_first_on_the_way_back():
    case = BACKWARD_CASES[1]
    arguments = lab5.arguments(case, np.random.default_rng(4))
    right = lab5.right(case, arguments)
    names = block.way_back(arguments[1][1])
    mine = list(right)
    for name in ("wd", "dx"):
        mine[names.index(name)] = np.tanh(mine[names.index(name)])
    places = [names.index("wd"), names.index("dx")]
    finding = residual.explain(Wrong(case, lambda changed: tuple(mine), arguments, tuple(mine), right, places))
    assert finding.cause == "unexplained" and "grads['wd'] is the first that is wrong" in finding.says


def test_values_lie_on_both_sides_of_both_edges_of_relu6():
    for case in lab5.CASES:
        arguments = lab5.arguments(case, np.random.default_rng(5))
        steps = block.forward(*(arguments if case.function == "block_forward" else arguments[1]))
        for name in ("wide_norm", "filtered_norm"):
            if name in steps:
                assert (steps[name] < 0).mean() > 0.03 and (steps[name] > 6).mean() > 0.03, (case, name)


def test_the_cost_is_that_of_the_given_functions():
    lab = labs.find(5)
    assert lab.least < lab.par and lab.counted.sizes["E"] == 5
