r"""What ReLU destroys: figure 1 of the paper, with the best decoder beside the paper's, and Theorem 1 counted.

A spiral in 2 dimensions goes through a random matrix into n, through ReLU, and back:

    y = max(x A, 0)        x: (P, 2) points, A: (2, n), independent normal numbers

The paper goes back by the generalised inverse of A. It knows nothing of ReLU, which takes away half of what it is
handed, so its error never vanishes. The best affine decoder is the least-squares one, fitted on the points themselves:
what it cannot bring back, no matrix can.

Which points could *any* function bring back? ReLU leaves a point as many numbers as channels that are positive there,
and each is a linear function of the point: d of them determine d coordinates. Theorem 1: if every pattern of signs of
the m channels is as likely as any other, the share of points of which at least d are left is

    N / 2^m        N = sum over k = 0 .. m - d of binomial(m, k)

so 1 - (n + 1) / 2^n here, with d = 2 and m = n.

References: Sandler et al., arXiv:1801.04381, section 3.2, figure 1 and appendix A.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.experiments.statistics import mean
from npmnv2.validate import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTHS = (2, 3, 5, 15, 30)  # n, as in the figure
POINTS, TURNS = 500, 2.5
STEP = 3  # of the points that are drawn
BLOCKS = ((16, 1), (16, 6), (24, 6), (32, 6))  # bottlenecks of the network, and what they are expanded by


def spiral() -> Array:
    """The points (P, 2), as dense everywhere, with a mean square of 1 a coordinate.

    Examples
    --------
    >>> x = spiral()
    >>> x.shape, round(float((x**2).mean()), 6)
    ((500, 2), 1.0)
    """
    radius = np.sqrt(np.linspace(0.01, 1, POINTS))  # (P,); an Archimedean spiral is about as long as radius^2
    angle = 2 * np.pi * TURNS * radius
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)  # (P, 2)
    out: Array = x / np.sqrt((x**2).mean())
    return out


def by_inverse(y: Array, A: Array) -> Array:
    """The paper's way back: the generalised inverse of A, as if there had been no ReLU."""
    out: Array = y @ np.linalg.pinv(A)
    return out


def by_best_affine(y: Array, x: Array) -> Array:
    """The affine function of y that is nearest to x, in the mean square over these points."""
    features = np.concatenate([y, np.ones((len(y), 1))], axis=1)  # (P, n + 1)
    weights, *_ = np.linalg.lstsq(features, x, rcond=None)  # (n + 1, 2)
    out: Array = features @ weights
    return out


def error(found: Array, x: Array) -> float:
    """The root of the mean square of the difference, over that of x: 1 if nothing was brought back."""
    return float(np.sqrt(((found - x) ** 2).mean() / (x**2).mean()))


def preserved(d: int, m: int) -> float:
    """Theorem 1's share: of m channels at least d are positive, where every pattern of signs is as likely.

    Examples
    --------
    >>> [preserved(2, n) for n in (2, 3, 5)]
    [0.25, 0.5, 0.8125]
    """
    return sum(math.comb(m, k) for k in range(m - d + 1)) / 2**m


def cases(quick: bool, seeds: range) -> list[Case]:
    """One for each n."""
    return [Case(f"n = {n}", seed, {"n": n, "matrices": 100 if quick else 1000}) for n in WIDTHS for seed in seeds]


def run(case: Case) -> Result:
    """Many matrices: the error of both ways back, the share of points that are left two numbers, and one example.

    The example is the matrix whose error by the best affine map is nearest to the median.
    """
    n, matrices = case.settings["n"], case.settings["matrices"]
    rng, x = np.random.default_rng((case.seed, n)), spiral()
    inverse, affine, left = [], [], []
    drawn = rng.normal(size=(matrices, 2, n))
    for A in drawn:
        y = np.maximum(x @ A, 0)  # (P, n)
        inverse.append(error(by_inverse(y, A), x))
        affine.append(error(by_best_affine(y, x), x))
        left.append(float(((y > 0).sum(axis=1) >= 2).mean()))
    A = drawn[int(np.argmin(np.abs(np.array(affine) - np.median(affine))))]
    y = np.maximum(x @ A, 0)
    shown = [found[::STEP].round(2).tolist() for found in (by_inverse(y, A), by_best_affine(y, x))]
    return {
        "inverse": float(np.median(inverse)),
        "affine": float(np.median(affine)),
        "preserved": float(np.mean(left)),
        "shown": shown,  # some of the points, by both ways
    }


def table(results: Results) -> list[str]:
    """A line for each n, then the network's own blocks by the formula."""
    lines = ["                 error of the way back            points left two numbers, %"]
    lines += ["  n     generalised inverse   best affine        counted        Theorem 1"]
    for name, by_seed in results.items():
        inverse, affine, left = (
            mean([result[what] for result in by_seed.values()]) for what in ("inverse", "affine", "preserved")
        )
        formula = preserved(2, int(name.removeprefix("n = ")))
        lines.append(
            f"{name[4:]:>3} {inverse.mean:>15.3f} ± {inverse.spread:.3f} {affine.mean:>10.3f} ± {affine.spread:.3f} "
            f"{100 * left.mean:>11.2f} ± {100 * left.spread:.2f} {100 * formula:>12.2f}"
        )
    lines += ["", "Error: median over the matrices of a seed; then the mean over seeds ± their standard deviation."]
    lines += ["", "Theorem 1 for bottlenecks of the network, d channels expanded to t d:"]
    lines += [f"  d = {d}, t = {t}: {_percent(d, t * d)}" for d, t in BLOCKS]
    return lines


def _percent(d: int, m: int) -> str:
    lost = sum(math.comb(m, k) for k in range(m - d + 1, m + 1)) / 2**m  # not 1 - the rest, which would round to 0
    return f"{100 * preserved(d, m):.4f} %" if lost > 1e-4 else f"all but {100 * lost:.1g} %"


def draw(results: Results) -> "Figure":
    """The spiral, and what comes back at each n by both ways."""
    from npmnv2.show.figures.page import GREY, WIDTH, Page
    from npmnv2.show.plots import BLUE, ORANGE

    page = Page("With enough channels, what went into ReLU\ncan be had back")
    side, left, rows = 148.0, 185.0, (205.0, 362.0)
    page.text(20, 118, "grey: original", align="left", size=20)
    for y, words in zip(rows, (("by the inverse", "of the matrix"), ("by the best", "affine map")), strict=True):
        for k, said in enumerate(words):
            page.text(20, y - 8 + 30 * k, said, align="left", size=20)
    for k, said in enumerate(("points any", "function could", "recover")):
        page.text(20, 464 + 28 * k, said, align="left", size=20)
    step = (WIDTH - left - 10) / len(results)
    truth = spiral()[::STEP].tolist()
    for k, (name, by_seed) in enumerate(results.items()):
        x = left + (k + 0.5) * step
        page.text(x, 118, f"{name.removeprefix('n = ')} channels", size=22)
        shown = next(iter(by_seed.values()))["shown"]
        for points, y, color in zip(shown, rows, (ORANGE, BLUE), strict=True):
            scale = side / 2 / 2.4
            for curve, look, width in ((truth, GREY, 0.8), (points, color, 2.2)):
                line = [(x + scale * _clip(px), y - scale * _clip(py)) for px, py in curve]
                page.lines([line], color=look, width=width)
        right = mean([result["preserved"] for result in by_seed.values()])
        page.text(x, 492, f"{100 * right.mean:.0f} %")
    return page.figure


def _clip(value: float) -> float:
    return max(-2.6, min(2.6, value))


EXPERIMENT = Experiment(
    question="What does ReLU destroy, and how many dimensions does it take to keep it?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    does_not_show=(
        "that trained expansions are like random ones: theirs are fitted to the images, and batch norm shifts them",
        "that what can be brought back is used: the next layer is one matrix, and sees what an affine map sees",
        "what happens to many dimensions: the spiral is a curve in a plane, which makes it easy to fit an affine map",
        "what the affine map makes of other points: it is fitted and judged on the same ones",
        "what ReLU6 loses: all of this is of ReLU, and Theorem 1 does not count what a cap of 6 takes",
    ),
)
