"""Reads which middle channels of the block a student's function adds up, and says which is missing or wrong.

The block is `out = h @ wp` with `h = relu6(depthwise(relu6(x @ we), wd))`. It is linear in `wp`: with a single 1 in
`wp`, at (e, m), out shows middle channel e in output channel m, and nothing else. So every middle channel that the
student's function has can be looked at by itself. It is compared with

- the right one, and multiples of it: channels that are missing, twice there, or divided,
- the right ones of other channels, and sums of them: parts that meet the wrong weights,
- ones that were computed with one mistake, each from a list (`VERSIONS`): without an activation, with another border.
  Which pixel each tap sees is read apart: `taps.py`.

A cause is named only if it explains every channel that is there. ReLU6 after the projection is not linear in `wp`; it
shows in that no value of out is negative.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from npmnv2.labs import taps
from npmnv2.labs.block import relu6
from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding
from npmnv2.validate import Array

Act = Callable[[Array], Array]


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _same(x: Array) -> Array:
    return x


def filtered(wide: Array, wd: Array, border: str = "constant") -> Array:
    """Each channel of (N, H, W, E) with its own filter (3, 3, E): stride 1, and a border of one pixel."""
    N, H, W, E = wide.shape
    xp = np.pad(wide, ((0, 0), (1, 1), (1, 1), (0, 0)), border)  # type: ignore[call-overload]
    out = np.zeros_like(wide)
    for i in range(3):
        for j in range(3):
            out += xp[:, i : i + H, j : j + W] * wd[i, j]
    return out


def hidden(x: Array, we: Array, wd: Array, acts: tuple[Act, Act] = (relu6, relu6), border: str = "constant") -> Array:
    """The middle of the block as it is projected: (N, H, W, E)."""
    return acts[1](filtered(acts[0](x @ we), wd, border))


class _Version(NamedTuple):
    """The middle with one mistake."""

    cause: str
    says: str
    acts: tuple[Act, Act] = (relu6, relu6)
    border: str = "constant"
    taps: Callable[[Array], Array] = _same


VERSIONS = (
    _Version("activation-missing", "There is no ReLU6 after the expansion.", (_same, relu6)),
    _Version("activation-missing", "There is no ReLU6 after the depthwise convolution.", (relu6, _same)),
    _Version("activation-missing", "There is no ReLU6 at all.", (_same, _same)),
    _Version("relu-for-relu6", "After the expansion values above 6 stay as they are.", (_relu, relu6)),
    _Version("relu-for-relu6", "After the depthwise convolution values above 6 stay as they are.", (relu6, _relu)),
    _Version("relu-for-relu6", "Values above 6 stay as they are.", (_relu, _relu)),
    _Version("padding-not-zero", "Beyond the border your taps see the values of its edge.", border="edge"),
    _Version("padding-not-zero", "Beyond the border your taps see the image mirrored.", border="reflect"),
    _Version("wraps-round", "Beyond the border your taps see the other end of the image.", border="wrap"),
    _Version("kernel-flipped", "Your taps run from the last to the first.", taps=lambda wd: wd[::-1, ::-1]),
    _Version("kernel-transposed", "Rows and columns of wd are exchanged.", taps=lambda wd: wd.transpose(1, 0, 2)),
)


def explain(wrong: Wrong) -> Finding:
    """The one cause why `out` is wrong."""
    x, we, wd, wp, t = wrong.arguments
    out, E = wrong.results[0], we.shape[1]
    rest = wrong.call((x, we, wd, np.zeros_like(wp), t))[0]
    if rest.any():
        again = wrong.call((2.0 * x, we, wd, np.zeros_like(wp), t))[0]
        says = "With wp all zeros, out must be zeros; yours is not"
        if np.array_equal(rest, x):
            return Finding("shortcut-extra", "With wp all zeros, out must be zeros; yours is x.")
        if np.array_equal(rest, again):
            return Finding("not-started-at-zero", f"{says}, and holds the same whatever x is.")
        return Finding("unexplained", f"{says}: something is in out that was not multiplied by wp.")
    read = _units(wrong)  # (e, m, pixels, output channel)
    if not _near(np.einsum("em,emnyxo->nyxo", wp, read), out):
        return _not_linear(wrong, read)
    M = wp.shape[1]
    own = np.einsum("emnyxm->emnyx", read)
    if not _near(np.einsum("emnyx,mo->emnyxo", own, np.eye(M)), read):
        return Finding("channels-mixed", "A column of wp reaches more than its own channel of out.")
    lost = [m for m in range(M) if not own[:, m].any()]
    if lost and len(lost) < M:
        return Finding("channel-lost", f"Nothing reaches the channels {_listed(lost)} of out.")
    if not own.any():
        return taps.explain(wrong) or Finding("zero", "Nothing reaches out: all of it is zero.")
    if not _near(np.broadcast_to(own[:, :1], own.shape), own):
        return Finding("unexplained", "Each channel of out is made of other middle channels than the next.")
    mine = np.moveaxis(own[:, 0], 0, -1)
    return _middle(mine, wrong) or taps.explain(wrong) or _unread(mine, hidden(x, we, wd), E)


def _units(wrong: Wrong) -> Array:
    """out for every unit of wp: (E, M, N, H, W, M)."""
    x, we, wd, wp, t = wrong.arguments
    found = []
    for k in range(wp.size):
        unit = np.zeros(wp.shape)
        unit.flat[k] = 1.0
        found.append(wrong.call((x, we, wd, unit, t))[0])
    return np.array(found).reshape(*wp.shape, *found[0].shape)


def _near(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(np.max(np.abs(b), initial=0.0)))))


def _not_linear(wrong: Wrong, read: Array) -> Finding:
    """An activation stands after the projection: there instead of before it, or there as well."""
    x, we, wd, wp, t = wrong.arguments
    out = wrong.results[0]
    if not wrong.call((x, we, wd, -np.ones_like(wp), t))[0].any():
        return Finding(
            "activation-at-the-end", "The projection is linear: with wp all -1, out must be below 0; yours is all 0."
        )
    for act, name in ((relu6, "ReLU6"), (_relu, "ReLU")):
        if any(_near(act(total), out) for total in _totals(hidden(x, we, wd, (relu6, _same)), wp, t, act)):
            return Finding(
                "relu6-after-sum",
                f"{name} must be applied to each middle channel, before wp adds them up; yours is applied to the sum.",
            )
    return Finding("unexplained", "out is not linear in wp: with a sum of two wp it is not the sum of the two out.")


def _totals(middle: Array, wp: Array, t: int, act: Act) -> Iterator[Array]:
    """The projection of the whole, of each part with an activation, and of a sum that is clipped after each part."""
    yield middle @ wp
    for cuts in partitions(len(wp), t):
        products = [middle[..., a:b] @ wp[a:b] for a, b in cuts]
        yield np.sum([act(product) for product in products], axis=0)
        total = np.zeros_like(products[0])
        for product in products:
            total = act(total + product)
        yield total


def partitions(E: int, t: int) -> list[list[tuple[int, int]]]:
    """Ways to cut E channels into t parts: np.array_split's, parts of ceil(E / t), and parts of E // t with a rest.

    Examples
    --------
    >>> partitions(5, 3)
    [[(0, 2), (2, 4), (4, 5)], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]]
    """
    found: list[list[tuple[int, int]]] = []
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(E), t)]).tolist()
    cuts = [list(zip([0, *ends[:-1]], ends, strict=True))]
    for step in (-(-E // t), max(1, E // t)):
        cuts.append([(a, min(a + step, E)) for a in range(0, E, step)])
    for way in cuts:
        if way not in found:
            found.append(way)
    return found


# -- the middle channels, one by one


def _middle(mine: Array, wrong: Wrong) -> Finding | None:
    x, we, wd, _, t = wrong.arguments
    E = we.shape[1]
    right = hidden(x, we, wd)
    there = [e for e in range(E) if mine[..., e].any()]
    for version in VERSIONS:
        made = hidden(x, we, version.taps(wd), version.acts, version.border)
        if _near(mine[..., there], made[..., there]):
            return Finding(version.cause, version.says)
    multiples = _multiples(mine, right)
    if multiples is not None:
        return _counted(multiples, E, t)
    return _paired(mine, wrong) or _inputs_cut(mine, wrong) or _not_cleared(mine, wrong) or _summed(mine, right)


def _multiples(mine: Array, right: Array) -> Array | None:
    """(E,): how many times each right channel is there; None if something else is."""
    factors = np.einsum("nyxe,nyxe->e", mine, right) / np.einsum("nyxe,nyxe->e", right, right)
    return np.round(factors, 9) if _near(factors * right, mine) else None


def _counted(factors: Array, E: int, t: int) -> Finding | None:
    lost = np.flatnonzero(factors == 0).tolist()
    if lost and np.all(np.isin(factors, (0, 1))):
        return _lost(lost, E, t)
    several = np.flatnonzero(factors > 1).tolist() if np.ptp(factors) or factors[0] == 2 else []
    if several and np.all(np.isin(factors, (0, 1, 2, 3, 4, 5))):
        one = len(several) == 1
        which = f"channel {several[0]} is" if one else f"channels {_listed(several)} are"
        return Finding("counted-twice", f"The middle {which} added up more than once.")
    if np.all(factors == -1):
        return Finding("sign", "Every middle channel has the wrong sign.")
    if np.ptp(factors) < 1e-8:
        if t > 1 and abs(factors[0] * t - 1) < 1e-8:
            return Finding("averaged", f"out must be the sum of its parts; yours is divided by t = {t}.")
        return Finding("factor", f"Every middle channel is {factors[0]:.6g} times what it must be.")
    return None


def _lost(lost: list[int], E: int, t: int) -> Finding:
    """Which channels are missing, and what they have in common."""
    says = f"Of the {E} middle channels {_listed(lost)} {'is' if len(lost) == 1 else 'are'} missing"
    if t > 1 and lost == list(range(E - E % t, E)):
        return Finding(
            "remainder-lost", f"{says}: t = {t} parts of {E // t} channels are {E - E % t}, and {E % t} are left over."
        )
    for cuts in partitions(E, t):
        if lost == list(range(cuts[-1][0])):
            return Finding("assigned", f"{says}: only the last part is left in out.")
    for cuts in partitions(E, t):
        gone = [k for k, (a, b) in enumerate(cuts) if set(range(a, b)) <= set(lost)]
        if t > 1 and lost == [e for k in gone for e in range(*cuts[k])]:
            return Finding("part-lost", f"{says}: of the parts 0 to {len(cuts) - 1}, {_listed(gone)} never reach out.")
    return Finding("channel-lost", f"{says}.")


def _paired(mine: Array, wrong: Wrong) -> Finding | None:
    """Each channel is a right one, but of another channel of we or of wd than the row of wp says."""
    x, we, wd, _, _ = wrong.arguments
    E = we.shape[1]
    wide = relu6(x @ we)
    first = None
    for e in range(E):
        if not mine[..., e].any():
            continue
        every = [relu6(filtered(wide, np.repeat(wd[:, :, [b]], E, axis=2))) for b in range(E)]
        pairs = [(a, b) for b in range(E) for a in range(E) if _near(every[b][..., a], mine[..., e])]
        if not pairs:
            return None
        if (e, e) not in pairs and first is None:
            a, b = pairs[0]
            first = Finding(
                "parts-mismatched",
                f"Row {e} of wp meets a channel that was made with column {a} of we and filter {b} of wd.",
            )
    return first


def _inputs_cut(mine: Array, wrong: Wrong) -> Finding | None:
    """The input channels were cut into parts, and each part went through an activation by itself."""
    x, we, wd, _, t = wrong.arguments
    C = x.shape[-1]
    for cuts in partitions(C, min(t, C)) if C > 1 else []:
        wide = [relu6(x[..., a:b] @ we[a:b]) for a, b in cuts]
        sums = (
            sum(relu6(filtered(part, wd)) for part in wide),
            relu6(filtered(sum(wide), wd)),  # type: ignore[arg-type]
            relu6(sum(filtered(part, wd) for part in wide)),  # type: ignore[arg-type]
        )
        if any(_near(total, mine) for total in sums):  # type: ignore[arg-type]
            return Finding(
                "inputs-cut",
                f"You cut the {C} input channels, and each part goes through ReLU6 by itself; "
                "ReLU6 of a sum is not the sum of ReLU6.",
            )
    return None


def _not_cleared(mine: Array, wrong: Wrong) -> Finding | None:
    """Memory that serves every part still holds the part before, and the taps are added to it."""
    x, we, wd, _, t = wrong.arguments
    fresh = filtered(relu6(x @ we), wd)
    for cuts in partitions(we.shape[1], t):
        for kept in (_same, relu6):  # is ReLU6 written to that memory too?
            memory = np.zeros((*fresh.shape[:3], max(b - a for a, b in cuts)))
            made = np.zeros_like(fresh)
            for a, b in cuts:
                memory[..., : b - a] = kept(memory[..., : b - a] + fresh[..., a:b])
                made[..., a:b] = relu6(memory[..., : b - a])
            if _near(made, mine):
                return Finding("not-reset", "The depthwise sums of a part begin with those of the part before it.")
    return None


def _summed(mine: Array, right: Array) -> Finding | None:
    """Each channel is a sum of right ones: parts that meet the wrong rows of wp."""
    E = right.shape[-1]
    columns = right.reshape(-1, E)
    factors = np.linalg.lstsq(columns, mine.reshape(-1, E), rcond=None)[0].round(9)
    if not _near(columns @ factors, mine.reshape(-1, E)) or not np.all(np.isin(factors, (0, 1))):
        return None
    for e in range(E):
        met = np.flatnonzero(factors[:, e]).tolist()
        if met and met != [e]:
            return Finding("parts-mismatched", f"Row {e} of wp meets the middle channels {_listed(met)}.")
    return None


def _unread(mine: Array, right: Array, E: int) -> Finding:
    e = next(e for e in range(E) if not _near(mine[..., e], right[..., e]))
    at = np.unravel_index(np.argmax(np.abs(mine[..., e] - right[..., e])), mine[..., e].shape)
    n, y, x = (int(k) for k in at)
    return Finding(
        "unexplained",
        f"Middle channel {e} at ({n}, {y}, {x}), after its second ReLU6, must be {right[..., e][at]:.6g}; yours is "
        f"{mine[..., e][at]:.6g}. (A single 1 in row {e} of wp shows it in out.)",
    )


def _listed(numbers: list[int]) -> str:
    """Numbers, with what lies between for those that follow each other.

    Examples
    --------
    >>> _listed([0, 1, 2, 3, 7])
    '0 to 3 and 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    said = [f"{run[0]} to {run[-1]}" if len(run) > 2 else " and ".join(map(str, run)) for run in runs]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
