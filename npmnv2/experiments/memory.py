"""A block in parts: what is alive while each block of the network runs, measured, against section 5.1's formula.

The wide middle of an inverted residual is a sum of independent parts: each is expanded, filtered, projected, added to
the output and forgotten. Here every block of MobileNetV2 at 224x224 runs so in NumPy, in 1, 2, 3 and 6 parts. Measured
is the most that NumPy held at once (`tracemalloc`), the block's input and its output counted in.

    formula:   input + output + the part's middle, before and after the depthwise convolution
    measured:  input + output + the most that NumPy holds of a part, which is the largest of
               the part and its padded copy, while it is padded
               the padded part, the filtered one and the product of a tap, while it is filtered
               the filtered part and a product as large as the output, while it is projected

References: Sandler et al., arXiv:1801.04381, section 5.1.
"""

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np

from npmnv2 import cost
from npmnv2.experiments.experiment import Case, Experiment, Result, Results
from npmnv2.experiments.statistics import mean
from npmnv2.models.mobilenet_v2 import BlockPlan, plan
from npmnv2.shapes import conv_geometry, taps
from npmnv2.validate import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = (1, 2, 3, 6)
RESOLUTION = 224


def block_in_parts(x: Array, weights: tuple[Array | None, Array, Array], stride: int, parts: int) -> Array:
    """An inverted residual without batch norm, its middle computed in parts.

    x: (1, H, W, C); weights: (C, E) or None if t = 1, (3, 3, E), (E, M).
    """
    we, wd, wp = weights
    _, H, W, _ = x.shape
    geometry = conv_geometry(H, W, 3, 3, stride, 1)
    out = np.zeros((1, geometry.OH, geometry.OW, wp.shape[1]), x.dtype)
    for part in np.array_split(np.arange(len(wp)), parts):
        chosen = slice(part[0], part[-1] + 1)
        wide = x[..., chosen]  # if t = 1, the block's input as it is
        if we is not None:
            wide = x @ we[:, chosen]  # (1, H, W, n)
            np.clip(wide, 0, 6, out=wide)
        xp = np.pad(wide, ((0, 0), *geometry.pads, (0, 0)))  # (1, H + 2, W + 2, n)
        del wide
        filtered = np.zeros((*out.shape[:3], len(part)), x.dtype)  # (1, OH, OW, n)
        for i, j, seen in taps(geometry):
            filtered += xp[seen] * wd[i, j, chosen]
        del xp
        np.clip(filtered, 0, 6, out=filtered)
        out += filtered @ wp[chosen]
        del filtered
    return out


def cases(quick: bool, seeds: range) -> list[Case]:
    """One for each number of parts; quick: at half the side."""
    settings = {"resolution": 112 if quick else RESOLUTION}
    return [Case(f"{n} part{'s' * (n > 1)}", seed, {"parts": n, **settings}) for n in PARTS for seed in seeds]


def run(case: Case) -> Result:
    """Every block of the network: the formula's bytes, and the measured ones."""
    parts, resolution = case.settings["parts"], case.settings["resolution"]
    layers = cost.mobilenet_v2(1.0, resolution)
    rng, rows = np.random.default_rng(case.seed), []
    for block in plan(1.0)[1]:
        own = [layer for layer in layers if layer.name.startswith(f"{block.name}.")]
        formula = cost.memory.inverted_residual(own, parts).bytes
        measured = _measured(block, own[0].in_shape[:2], parts, rng)
        rows.append({"block": block.name, "formula": formula, "measured": measured})
    return {"blocks": rows}


def _measured(block: BlockPlan, size: tuple[int, int], parts: int, rng: np.random.Generator) -> int:
    """The most bytes alive at once."""
    C, E, M = block.in_channels, block.t * block.in_channels, block.out_channels
    we = None if block.t == 1 else rng.normal(size=(C, E)).astype(np.float32)
    weights = we, rng.normal(size=(3, 3, E)).astype(np.float32), rng.normal(size=(E, M)).astype(np.float32)
    x = rng.normal(size=(1, *size, C)).astype(np.float32)
    tracemalloc.start()
    block_in_parts(x, weights, block.stride, parts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most + x.nbytes


def _by_parts(results: Results, what: str) -> dict[str, list[float]]:
    """A number of every block, by parts; the mean over seeds."""
    found = {}
    for name, by_seed in results.items():
        several = [[row[what] for row in result["blocks"]] for result in by_seed.values()]
        found[name] = [mean(values).mean for values in zip(*several, strict=True)]
    return found


def _blocks(results: Results) -> list[str]:
    """The names of the blocks."""
    first = next(iter(next(iter(results.values())).values()))
    return [row["block"] for row in first["blocks"]]


def table(results: Results) -> list[str]:
    """The largest block by parts, and all blocks."""
    names = _blocks(results)
    formula, measured = (_by_parts(results, what) for what in ("formula", "measured"))
    lines = [f"{'the block that holds most':<26} {'formula, MB':>15} {'measured, MB':>17}"]
    for name in results:
        lines.append(f"  {name:<24}")
        for values in (formula[name], measured[name]):
            lines[-1] += f" {max(values) / 1e6:>10.2f} ({names[values.index(max(values))]})"
    lines += ["", f"{'measured, MB':<13}" + "".join(f"{name:>9}" for name in results)]
    for k, block in enumerate(names):
        lines.append(f"  {block:<11}" + "".join(f"{measured[name][k] / 1e6:>9.2f}" for name in results))
    return [*lines, "", "One image, float32. The multiply-adds are the same for any number of parts."]


def draw(results: Results) -> "Figure":
    """Bars of all blocks: whole, and in the most parts."""
    return frames(results)[-1]


def frames(results: Results) -> "list[Figure]":
    """The bars of the blocks, a frame for every number of parts; behind them the block as a whole."""
    from npmnv2.show.figures.page import GREY, LIGHT, WIDTH, Page
    from npmnv2.show.plots import BLUE

    names, measured, drawn = _blocks(results), _by_parts(results, "measured"), []
    whole = next(iter(measured.values()))
    left, bottom, scale = 76.0, 440.0, 290 / max(whole)  # points, points a byte
    step = (WIDTH - left - 10) / len(names)
    numbered = sorted(range(len(names)), key=lambda k: -whole[k])[:3]
    for name, values in measured.items():
        page = Page("In parts, the wide middle need never be whole")
        most = f"at most {max(values) / 1e6:.1f} MB ({names[values.index(max(values))]})"
        page.text(left, 100, f"Measured, {name}: {most}", align="left", bold=True)
        for tick in range(0, int(max(whole) / 1e6) + 1, 2):
            y = bottom - tick * 1e6 * scale
            page.lines([[(left, y), (WIDTH - 10, y)]], color=GREY, width=0.6)
            page.text(left - 8, y + 7, f"{tick} MB" if tick else "0", align="right", size=20)
        for k, block in enumerate(names):
            x = left + (k + 0.1) * step
            for value, color in ((whole[k], LIGHT), (values[k], BLUE)):
                page.bars([(x, bottom - scale * value, 0.8 * step, scale * value)], color)
            for value in sorted({whole[k], values[k]}) if k in numbered else ():
                page.text(x + 0.4 * step, bottom - scale * value - 5, f"{value / 1e6:.1f}", size=18)
            if block.endswith(".0"):
                page.text(x + 0.4 * step, bottom + 30, block.removesuffix(".0"), size=20)
        for x, color, words in ((left, BLUE, f"in {name}"), (left + 300, LIGHT, "whole (the full height)")):
            page.bars([(x, 492, 22, 22)], color)
            page.text(x + 32, 511, words, align="left", size=22)
        drawn.append(page.figure)
    return drawn


EXPERIMENT = Experiment(
    question="How much memory does a block need, if its wide middle is computed in parts?",
    cases=cases,
    run=run,
    table=table,
    draw=draw,
    frames=frames,
    does_not_show=(
        "what an engine holds, which lays its arrays out beforehand: docs/fusion.md",
        "the time, which more parts and so more calls may make longer",
        "training, where the middle is wanted again by the backward",
    ),
    seeds=1,
    quick_seeds=1,
)
