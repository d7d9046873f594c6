"""Two mistakes at once: the grader names one of the two, or none, and never a third."""

from itertools import combinations

import numpy as np
import pytest
from labs import lab4

from npmnv2 import labs
from npmnv2.labs.lab import Wrong

EDITS = {  # each in a line of its own, with all the causes that are true of it
    ("dbeta = dout.sum", "dbeta = dout.mean"): {"averaged"},
    ("dgamma = (dout * xhat)", "dgamma = (dout * centered)"): {"not-normalised"},
    ("dxhat = dout * gamma", "dxhat = dout"): {"gamma-forgotten"},
    ("dcentered = dxhat * inv_std", "dcentered = dxhat"): {"std-power"},
    ("(dxhat * centered)", "(dxhat * x)"): {"not-centred"},
    ("dstd = -dinv_std / std**2", "dstd = dinv_std / std**2"): {"sign"},
    ("dvar = dstd / (2 * std)", "dvar = dstd / 2"): {"std-power"},
    ("dsquared = dvar / m", "dsquared = dvar / (m - 1)"): {"count-minus-one"},
    ("2 * centered * dsquared", "centered * dsquared"): {"variance-term-factor"},
    ("dmean = -dcentered", "dmean = dcentered"): {"sign"},
    ("dx = dcentered + dmean / m", "dx = dcentered + dmean"): {"count-wrong"},
    ("np.sqrt(var + eps)", "np.sqrt(var)"): {"eps-missing"},
    ("centered = x - mean", "centered = x"): {"not-centred", "not-normalised"},
    ("sum(axis=axes) / m\n    std", "sum(axis=axes) / (m - 1)\n    std"): {"count-minus-one"},
}


def _causes(source):
    """What is said of each case that is wrong."""
    lab, space = labs.find(4), {}
    exec(source, space)
    for k, case in enumerate(lab.cases[:-1]):
        given = lab.arguments(case, np.random.default_rng(k))
        results, right = space["batchnorm_backward"](*given), lab.right(case, given)
        places = [i for i in range(3) if not np.allclose(results[i], right[i], rtol=1e-9, atol=1e-9)]
        if places:
            call = lambda changed: space["batchnorm_backward"](*changed)  # noqa: E731
            yield lab.explain(Wrong(case, call, given, results, right, places))


@pytest.mark.parametrize("first, second", list(combinations(EDITS, 2)))
def test_two_mistakes(first, second):
    source = lab4.STEPS
    for old, new in (first, second):
        assert source.count(old) == 1
        source = source.replace(old, new)
    for finding in _causes(source):
        assert finding.cause in EDITS[first] | EDITS[second] | {"unexplained"}, finding
