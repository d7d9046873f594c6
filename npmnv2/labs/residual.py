"""Why a student's inverted residual is wrong: the mistakes that give exactly its results.

`block.py` computes the block with mistakes in it, `mistakes.py` lists them. Inputs are random numbers, so a result that
agrees in every element with that of a mistake has that mistake, or one that no result can tell from it.

Forward: one mistake that gives `out`, or a sum with other factors. If there is none, gamma3 is set to 0: then `out` is
beta3 and what comes after it, whatever came before, and a mistake at the end is seen alone. If that shows none either,
two mistakes that give `out`; what is named is in all the pairs that do.

Backward: the forward is right already. The gradients are taken in the order of the way back. A mistake is named if it
gives the first one that is wrong; among several, that which explains most of those that follow, alone or with one
more. If there is none, two mistakes at that place.

If no mistake does it, the cause is "unexplained", and the place of the first difference is said.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from npmnv2.labs import block
from npmnv2.labs.lab import Wrong
from npmnv2.labs.mistakes import BACKWARD, FORWARD, Mistake
from npmnv2.labs.product import Finding
from npmnv2.labs.ratio import CLOSE, near
from npmnv2.validate import Array


def explain(wrong: Wrong) -> Finding:
    """The one cause why `out`, or the gradients, are wrong."""
    return _forward(wrong) if wrong.case.function == "block_forward" else _backward(wrong)


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and near(a, b)


# -- forward


def _forward(wrong: Wrong) -> Finding:
    (out,) = wrong.results
    x, p, stride = wrong.arguments
    right = block.forward(x, p, stride)
    alone = [[mistake] for mistake in FORWARD]
    found = _common(_fitting(out, x, p, stride, alone)) or _sum(out, x, right["narrow_norm"])
    if not found:
        at_the_end = {**p, "gamma3": np.zeros_like(p["gamma3"])}
        (end,) = wrong.call((x, at_the_end, stride))
        if not _same(end, block.forward(x, at_the_end, stride)["out"]):
            found = _common(_fitting(end, x, at_the_end, stride, alone))
    if not found:
        seen = [m for m in FORWARD if not _same(block.forward(x, p, stride, m.flags)["out"], right["out"])]
        found = _common(_fitting(out, x, p, stride, list(combinations(seen, 2))))
    where = _first_step(wrong)
    if found:
        return Finding(found.cause, f"{found.says} {where}".strip())
    return Finding("unexplained", where or _element("out", out, right["out"]))


def _common(fits: Sequence[Sequence[Mistake]]) -> Finding | None:
    """What all choices that fit have in common."""
    causes = [{mistake.cause for mistake in fit} for fit in fits]
    shared = [m for fit in fits[:1] for m in fit if all(m.cause in other for other in causes)]
    return Finding(shared[0].cause, shared[0].says) if shared else None


def _sum(out: Array, x: Array, narrow: Array) -> Finding | None:
    """Is `out` so many times x, and so many times what is added to it?"""
    if x.shape != narrow.shape:
        return None
    columns = np.stack([x.ravel(), narrow.ravel()], 1)
    (a, b), *_ = np.linalg.lstsq(columns, out.ravel(), rcond=None)
    if not _same(columns @ (a, b), out.ravel()):
        return None
    says = f"out must be the sum of x and narrow_norm; yours is {a:.6g} times x plus {b:.6g} times narrow_norm."
    return Finding("shortcut-factor", says)


def _element(name: str, mine: Array, right: Array) -> str:
    """The element that differs most."""
    at = np.unravel_index(np.argmax(np.abs(mine - right)), right.shape)
    return f"{name}[{', '.join(map(str, at))}] must be {right[at]:.6g}; was {mine[at]:.6g}."


def _fitting(
    out: Array, x: Array, p: dict[str, Array], stride: int, choices: Sequence[Sequence[Mistake]]
) -> list[Sequence[Mistake]]:
    """The choices of mistakes that give `out`."""
    found: list[Sequence[Mistake]] = []
    for choice in choices:
        flags = frozenset[str]().union(*(mistake.flags for mistake in choice))
        if _same(block.forward(x, p, stride, flags)["out"], out):
            found.append(choice)
    return found


def _first_step(wrong: Wrong) -> str:
    """Of the steps that the student's cache names: which is the first that is not what the specification has?"""
    cache = wrong.returned[1] if isinstance(wrong.returned, tuple) and len(wrong.returned) == 2 else None
    if not isinstance(cache, dict):
        return ""
    right = block.forward(*wrong.arguments)
    for step in block.STEPS:
        mine = cache.get(step)
        if step in right and isinstance(mine, np.ndarray) and not _same(mine, right[step]):
            return f"Of the steps in your cache {step} is the first that differs from the table's."
    return ""


# -- backward


def _backward(wrong: Wrong) -> Finding:
    dout, (x, p, stride), *later = wrong.arguments
    names = block.way_back(p)
    mine, right = dict(zip(names, wrong.results, strict=True)), dict(zip(names, wrong.right, strict=True))
    if later:
        alone = wrong.call(wrong.arguments[:2])
        if all(map(_same, alone, wrong.right)):
            return Finding(
                "cache-overwritten",
                "With another call of block_forward in between, block_backward gives other gradients: what it needs "
                "must be in the cache that it is given.",
            )
    first = next(name for name in names if not _same(mine[name], right[name]))
    called = first if first == "dx" else f"grads['{first}']"
    place = f"On the way back {called} is the first that is wrong."
    own = _of_its_own(first, mine, right)
    start, steps = names.index(first), block.forward(x, p, stride)

    def reach(*mistakes: Mistake, of: dict[str, Array] = mine) -> int:
        """How many gradients of a student, or of a right block, these mistakes give before the first other one."""
        flags = frozenset[str]().union(*(mistake.flags for mistake in mistakes))
        return _reached(names, of, block.backward(dout, steps, p, stride, flags))

    far = {mistake: reach(mistake) for mistake in BACKWARD}
    furthest = max(far.values())
    if own and _reached(names, mine, {**right, first: mine[first]}) >= furthest:
        return Finding(own.cause, own.says if own.cause == "exchanged" else f"{place} {own.says}")
    best = [mistake for mistake in BACKWARD if far[mistake] == furthest > start]
    if len({mistake.cause for mistake in best}) > 1:  # which of them goes on best, with one more?
        further = {mistake: max(reach(mistake, other) for other in BACKWARD) for mistake in best}
        best = [mistake for mistake in best if further[mistake] == max(further.values()) > furthest]
    if not best and furthest == start:
        here = [mistake for mistake in BACKWARD if reach(mistake, of=right) == start]
        best = [one for one, other in combinations(here, 2) if reach(one, other) > start]
    if len({mistake.cause for mistake in best}) == 1:
        return Finding(best[0].cause, f"{place} {best[0].says}")
    summed = _dx_sum(mine["dx"], right["dx"], dout, stride) if first == "dx" else None
    if summed:
        return Finding(summed.cause, f"{place} {summed.says}")
    return Finding("unexplained", f"{place} {_element(called, mine[first], right[first])}")


def _reached(names: Sequence[str], mine: dict[str, Array], given: dict[str, Array]) -> int:
    """How many gradients agree, before the first that does not."""
    return next((k for k, name in enumerate(names) if not _same(mine[name], given[name])), len(names))


def _dx_sum(mine: Array, right: Array, dout: Array, stride: int) -> Finding | None:
    """Is `dx` so many times dout, and so many times what comes back through the steps?"""
    if stride != 1 or dout.shape != right.shape:
        return None
    columns = np.stack([dout.ravel(), (right - dout).ravel()], 1)
    (a, b), *_ = np.linalg.lstsq(columns, mine.ravel(), rcond=None)
    if not _same(columns @ (a, b), mine.ravel()) or min(abs(a), abs(b)) < CLOSE:
        return None
    says = f"It is {a:.6g} times dout plus {b:.6g} times what comes back through the steps."
    return Finding("shortcut-gradient-factor", says)


def _of_its_own(name: str, mine: dict[str, Array], right: dict[str, Array]) -> Finding | None:
    """What is wrong with one gradient alone: whose is it, or by which factor does it differ?"""
    own, must = mine[name], right[name]
    other = next((k for k in right if k != name and _same(own, right[k])), None)
    if other:
        return Finding("exchanged", f"grads['{name}'] holds the gradient of {other}.")
    if near(own / np.max(np.abs(must)), np.zeros_like(own)):
        return Finding("zero", "It is zero everywhere.")
    ratio = float(np.sum(own * must) / np.sum(must * must))
    if not near(own, ratio * must):
        return None
    if near(ratio, -1.0):
        return Finding("sign", "It has the wrong sign.")
    if near(1 / ratio, round(1 / ratio)) and round(1 / ratio) not in (2, 4, 6):
        return Finding("averaged", f"It must be a sum; yours is divided by {round(1 / ratio)}.")
    return Finding("factor", f"It is {ratio:.6g} times what it must be.")
