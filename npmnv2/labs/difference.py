"""How the terms of a student's function differ from the right ones, as a cause with a name.

A cause is named only if it explains the terms: the right terms changed by it must be the student's, one for one, or
every extra one must be of its kind.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from npmnv2.labs.product import Axis, Finding, Product
from npmnv2.labs.terms import Terms
from npmnv2.validate import Array

MOST_ORDERS = 3000  # pairs of orders that are tried


def compare(table: Terms, weights: Array) -> Finding:
    """The cause of the difference. `weights` are the factors of the student's terms, which must all be 1."""
    p = table.product
    if table.yours == table.right:
        if np.allclose(weights, np.round(weights)) and np.all(weights > 0.5) and np.any(weights > 1.5):
            return Finding("counted-twice", f"Some products in {p.result} are added more than once.")
        return Finding("unexplained", f"{p.result} has the right products, but with wrong factors.")
    if np.allclose(weights, weights[:1]):  # one factor of all is a mistake beside the other
        also = "" if np.allclose(weights, 1) else f" And every product is multiplied by {weights[0]:.6g}."
        for explain in (_losses, _orders, _carried, _crossed, _links, _maps, _memory, _taps, _borders):
            finding = explain(table)
            if finding is not None:
                return Finding(finding.cause, f"{finding.says} {table.difference()}{also}")
    return Finding("unexplained", table.difference())


def _losses(table: Terms) -> Finding | None:
    """Only some terms are missing: which?"""
    if table.extra or not table.missing:
        return None
    p = table.product
    assigned = Finding("assigned", f"Of the products that meet in one element of {p.result}, only one is left.")
    if _one_left(table, max):
        return assigned
    for kind, column in p.lost:
        have, all_of = (set(table.column(column, s).tolist()) for s in (table.yours, table.right))
        gone = all_of - have
        if gone and {t for t in table.right if t[table.at[column]] in gone} == table.missing:
            listed = ", ".join(map(str, sorted(gone)))
            other = _other_size(p, column, len(have))
            axis_ends = {axis.pixel: {0, axis.size - 1} for axis in p.axes}.get(column, set())
            if gone <= axis_ends:
                where = next(axis.name for axis in p.axes if axis.pixel == column)
                says = f"The pixels on the border, in {where} ({listed}), take no part in {p.result}."
                return Finding("border-lost", says)
            if other:
                return Finding(
                    "height-for-width", f"Only {len(have)} of {len(all_of)} {kind}s take part: as many as {other}."
                )
            axis = column.split(".")[1]
            return Finding(f"{kind}-lost", f"The {kind}s with {axis} = {listed} take no part in {p.result}.")
    if _one_left(table, min):
        return assigned
    return _lost_at_the_border(table) or _lost_along_both(table)


def _lost_along_both(table: Terms) -> Finding | None:
    """Some rows of windows, taps or pixels and some columns of them take no part."""
    p = table.product
    ends = {axis.pixel: {0, axis.size - 1} for axis in p.axes}
    for kind in dict.fromkeys(kind for kind, _ in p.lost):
        columns = [column for other, column in p.lost if other == kind]
        gone = {c: set(table.column(c, table.right).tolist()) - set(table.column(c).tolist()) for c in columns}
        if all(gone.values()) and table.choose(gone) == table.missing:
            which = " or ".join(f"{c.split('.')[1]} = {', '.join(map(str, sorted(gone[c])))}" for c in columns)
            cause = "border-lost" if all(gone[c] <= ends.get(c, set()) for c in columns) else f"{kind}-lost"
            return Finding(cause, f"The {kind}s with {which} take no part in {p.result}.")
    return None


def _lost_at_the_border(table: Terms) -> Finding | None:
    """The windows that reach over the border, or the pixels on it, take no part: in rows, in columns or in both."""
    p = table.product
    for axes in ((a,) for a in p.axes), (p.axes,) if len(p.axes) == 2 else ():
        for chosen in axes:
            where = " and ".join(axis.name for axis in chosen)
            if table.missing == table.choose({axis.window: _hanging(axis) for axis in chosen}):
                return Finding("border-lost", f"The windows that reach over the border, in {where}, take no part.")
            if table.missing == table.choose({axis.pixel: {0, axis.size - 1} for axis in chosen}):
                return Finding("border-lost", f"The pixels on the border, in {where}, take no part.")
    return None


def _hanging(axis: Axis) -> set[int]:
    """The windows that reach over the border."""
    first = {y: axis.stride * y - axis.pad for y in range(axis.windows)}
    return {y for y, pixel in first.items() if pixel < 0 or pixel + axis.taps > axis.size}


def _other_size(product: Product, column: str, have: int) -> str | None:
    """Whether as many of one axis were used as the other axis has."""
    if len(product.axes) != 2:
        return None
    for mine, other in (product.axes, product.axes[::-1]):
        if column == mine.window and have == other.windows != mine.windows - 1:
            return f"there are windows in the other direction ({have})"
        if column == mine.pixel and have == other.size:
            return f"there are pixels in the other direction ({have})"
        if column == mine.tap and have == other.taps != mine.taps - 1:
            return f"there are taps in the other direction ({have})"
    return None


def _one_left(table: Terms, choose: Callable[..., Any]) -> bool:
    """Each element of the result has one product left, of the tap that came last (or first), or of the channel."""
    taps = [table.at[axis.tap] for axis in table.product.axes]
    result = [k for name, k in table.at.items() if name[0] == "r"]
    groups: dict[Any, list[Any]] = {}
    for term in table.right:
        groups.setdefault(tuple(term[k] for k in result), []).append(term)
    if max(map(len, groups.values())) < 2:
        return False
    orders = [taps] if taps else []
    for columns in [*orders, list(range(len(table.product.columns)))]:
        if {choose(g, key=lambda t: tuple(t[k] for k in columns)) for g in groups.values()} == table.yours:
            return True
    return False


def _links(table: Terms) -> Finding | None:
    """Extra terms join what must stay apart: other images, other channels."""
    p = table.product
    names = {"r": p.result, "u": p.unit[0], "c": p.coded[0]}
    for kind in dict.fromkeys(kind for kind, _, _ in p.links) if table.extra else ():
        pairs = [(a, b) for other, a, b in p.links if other == kind]
        apart = [[pair for pair in pairs if t[table.at[pair[0]]] != t[table.at[pair[1]]]] for t in table.extra]
        if not all(apart):
            continue
        if kind == "not-diagonal":
            return Finding(kind, f"{p.result} must be zero where c and m differ; yours is not.")
        (i, x), (j, y) = (name.split(".") for name in max(pairs, key=lambda pair: sum(pair in a for a in apart)))
        return Finding(
            kind, f"In {p.result}, index {x} of {names[i]} must go with the same index {y} of {names[j]} alone."
        )
    return None


def _orders(table: Terms) -> Finding | None:
    """The elements of one array, or of two, are taken in another order, as after a reshape in place of a transpose."""
    p = table.product
    if not table.right or not table.yours:
        return None
    right = np.array(sorted(table.right))
    whole = tuple(size for shape in table.shapes for size in shape)
    yours = np.sort(np.ravel_multi_index(tuple(np.array(sorted(table.yours)).T), whole))
    found = []
    start = 0
    for shape, name in zip(table.shapes, (p.result, p.unit[0], p.coded[0]), strict=True):
        place = slice(start, start + len(shape))
        start += len(shape)
        for axes in itertools.permutations(range(len(shape))):
            if [k for k in axes if shape[k] > 1] != [k for k in range(len(shape)) if shape[k] > 1]:
                order = ", ".join(p.columns[place][k].split(".")[1] for k in axes)
                for indices in _cut_anew(tuple(right[:, place].T), shape, axes):
                    found.append((place, np.stack(indices, 1), f"those of {name} as if its axes were ({order})"))
    pairs = [pair for pair in itertools.combinations(found, 2) if pair[0][0] != pair[1][0]]
    for choice in [*((one,) for one in found), *pairs[:MOST_ORDERS]]:
        changed = right.copy()
        for place, moved, _ in choice:
            changed[:, place] = moved
        if np.array_equal(np.sort(np.ravel_multi_index(tuple(changed.T), whole)), yours):
            listed = ", and ".join(says for _, _, says in choice)
            return Finding("reordered", f"Elements are taken in another order: {listed}.")
    return None


def _cut_anew(indices: tuple[Array, ...], shape: tuple[int, ...], axes: tuple[int, ...]) -> list[tuple[Array, ...]]:
    """Where elements come to lie if `axes` are their order in memory and `shape` is cut from it, and the reverse."""
    turned = tuple(shape[k] for k in axes)
    to_shape = np.unravel_index(np.ravel_multi_index(tuple(indices[k] for k in axes), turned), shape)
    to_turned = np.unravel_index(np.ravel_multi_index(indices, shape), turned)
    return [to_shape, tuple(to_turned[axes.index(k)] for k in range(len(shape)))]


def _carried(table: Terms) -> Finding | None:
    """A running sum: an element of the result holds what those before it received as well."""
    if table.missing or not table.extra:
        return None
    p, shape = table.product, table.shapes[0]
    received: dict[Any, set[Any]] = {place: set() for place in np.ndindex(shape)}
    for term in table.right:
        received[term[: len(shape)]].add(term[len(shape) :])
    long = [k for k in range(len(shape)) if shape[k] > 1]
    for many in range(1, len(long) + 1):
        for along in itertools.combinations(long, many):
            sums: dict[Any, set[Any]] = {}
            held = set()
            for place, mine in received.items():
                total = sums.setdefault(tuple(i for k, i in enumerate(place) if k not in along), set())
                total |= mine
                held |= {place + rest for rest in total}
            if held == table.yours:
                axes = " and ".join(p.columns[k].split(".")[1] for k in along)
                says = f"Each element of {p.result} begins with the sum of the one before it, along {axes}."
                return Finding("not-reset", says)
    return None


def _crossed(table: Terms) -> Finding | None:
    """A product of two sums: every element of the one argument meets every element of the other."""
    if table.missing or not table.extra:
        return None
    p, (result, unit, _) = table.product, map(len, table.shapes)
    sums: dict[Any, tuple[set[Any], set[Any]]] = {}
    for term in table.right:
        sums.setdefault(term[:result], (set(), set()))[0].add(term[result : result + unit])
    for term in map(tuple, p.terms.tolist()):  # all of them: not every element of the unit has been read
        if term[:result] in sums:
            sums[term[:result]][1].add(term[result + unit :])
    if sum(len(units) * len(coded) for units, coded in sums.values()) != len(table.yours):
        return None
    if table.yours != {place + u + c for place, (units, coded) in sums.items() for u in units for c in coded}:
        return None
    says = f"{p.result} is a sum over {p.unit[0]} times a sum over {p.coded[0]}, and must be a sum of products."
    return Finding("product-of-sums", says)


def _taps(table: Terms) -> Finding | None:
    """The right pixels meet, but with the weight of another tap."""
    taps = {table.at[axis.tap] for axis in table.product.axes}
    if not taps or any(table.product.columns[k][0] == "r" for k in taps):
        return None

    def rest(terms: set[Any]) -> set[Any]:
        return {tuple(i for k, i in enumerate(t) if k not in taps) for t in terms}

    if rest(table.right) == rest(table.yours):
        return Finding("wrong-tap", f"In {table.product.result} the right pixels meet the weights of other taps.")
    return None


def _maps(table: Terms) -> Finding | None:
    """Which pixel each tap of each window sees: a linear function of both, with the wrong numbers?"""
    p = table.product
    if len(p.axes) != 2 or not len(table.array):
        return None
    fits = []
    for axis, other in (p.axes, p.axes[::-1]):
        if len(set(table.column(axis.window))) < 2 or len(set(table.column(axis.tap))) < 2:
            return None  # a line needs two points
        names = (axis.window, axis.tap, other.window, other.tap)
        inputs = np.stack([*(table.column(n) for n in names), np.ones(len(table.array), int)], 1).astype(float)
        expected = np.array([axis.stride, 1, 0, 0, -axis.pad], float)
        delta = np.linalg.lstsq(inputs, table.column(axis.pixel) - inputs @ expected, rcond=None)[0]
        if (
            np.max(np.abs(delta - np.round(delta))) > 1e-6
            or np.max(np.abs(inputs @ (expected + delta) - table.column(axis.pixel))) > 1e-6
        ):
            return None
        fits.append(tuple(np.round(expected + delta).astype(int).tolist()))
    for axis, (s, t, s2, t2, start) in zip(p.axes, fits, strict=True):
        finding = _named_map(p, axis, s, t, s2, t2, start)
        if finding is not None:
            return finding
    return None


def _memory(table: Terms) -> Finding | None:
    """Rows and columns of the taps exchanged in a view: beyond the end of a row it sees the next one."""
    p = table.product
    if len(p.axes) != 2 or not len(table.array):
        return None
    rows, columns = p.axes
    names = (rows.window, columns.window, rows.tap, columns.tap)
    inputs = np.stack([*(table.column(n) for n in names), np.ones(len(table.array), int)], 1).astype(float)
    if np.linalg.matrix_rank(inputs) < inputs.shape[1]:
        return None
    place = table.column(rows.pixel) * columns.size + table.column(columns.pixel)
    steps = np.asarray(np.linalg.lstsq(inputs, place, rcond=None)[0]).round()
    if tuple(steps[:4]) != (rows.stride * columns.size, columns.stride, 1, columns.size):
        return None
    if not np.array_equal(inputs @ steps, place):
        return None
    return Finding("kernel-transposed", f"Your {p.result} takes the tap's row for its column.")


def _named_map(p: Product, axis: Axis, s: int, t: int, s2: int, t2: int, start: int) -> Finding | None:
    rows = f"In {axis.name}, tap k of window v must see pixel {_linear(axis.stride, 1, -axis.pad)} of the image; "
    yours = f"in your {p.result} it sees {_linear(s, t, start)}."
    if s2 or t2:
        if (s, t, s2) == (axis.stride, 0, 0):
            return Finding("kernel-transposed", f"Your {p.result} takes the tap's row for its column.")
        return Finding("height-for-width", f"Your {p.result} counts {axis.name} by the index of the other direction.")
    if t == -1 and s == axis.stride:
        return Finding("kernel-flipped", rows + yours)
    if t != 1 and t == axis.stride and s in (1, axis.stride):
        return Finding("stride-on-tap", rows + yours)
    if t == 0:
        return Finding("wrong-tap", rows + yours)
    if s != axis.stride and t == 1:
        return Finding("stride-ignored" if s == 1 else "stride-wrong", rows + yours)
    if start != -axis.pad and (s, t) == (axis.stride, 1):
        return Finding("padding-offset" if axis.pad else "tap-offset", rows + yours)
    return None


def _linear(s: int, t: int, start: int) -> str:
    window = {0: "", 1: "v"}.get(s, f"{s}*v")
    tap = {0: "", 1: "k", -1: "-k"}.get(t, f"{t}*k")
    parts = [part for part in (window, tap, str(start) if start else "") if part]
    return " + ".join(parts).replace("+ -", "- ") or "0"


def _borders(table: Terms) -> Finding | None:
    """All right terms, and others that reach over the border: copied from the edge, or round the other side."""
    p = table.product
    if table.missing or not table.extra or not p.axes:
        return None
    copied, round_ = True, True
    for term in table.extra:
        for axis in p.axes:
            pixel, window, tap = (term[table.at[c]] for c in (axis.pixel, axis.window, axis.tap))
            meant = axis.stride * window + tap - axis.pad
            copied &= pixel == min(max(meant, 0), axis.size - 1)
            round_ &= pixel == meant % axis.size
    if round_:
        return Finding("wraps-round", f"In {p.result}, what lies beyond one border is taken from the other side.")
    if copied:
        return Finding(
            "padding-not-zero", f"In {p.result}, the border of xp is copied from the edge, and must be zeros."
        )
    return None
