"""Reads how a function is wired, and says how that differs from what it should be.

The operations of the first labs are sums of products: each result is a sum of (element of one argument) * (element of
another). So with one argument set to a unit vector (one element 1, the others 0) the result shows, element by element,
what that element meets: which value of the other argument, and so which tap, pixel, channel and image. All units
together give the list of all products that the student's function really adds up: its *terms*. The right list is known.
The difference between the two lists is the diagnosis.

A cause is named only if it explains the terms: right terms changed by it must be the student's, one for one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from npmnv2.validate import Array

_CLOSE = 1e-9
MOST_CALLS = 700  # to read sums one by one


class Axis(NamedTuple):
    """Rows, or columns: pixel = stride * window + tap - pad."""

    name: str  # "rows"
    pixel: str  # the column of the terms with the pixel, the window and the tap
    window: str
    tap: str
    size: int  # of the image along it
    windows: int
    taps: int
    stride: int
    pad: int


class Product(NamedTuple):
    """A result that is a sum of products, and its right terms.

    `terms` has a row a product and a column an index: those of the result, of the unit, of the coded argument.
    """

    result: str  # its name, "dx"
    output: int  # its place among the results
    unit: tuple[str, int]  # the argument that is set to unit vectors: its name and place
    coded: tuple[str, int]  # the argument whose values tell where they come from; its place is -1 if there is none
    columns: tuple[str, ...]  # "r.n", "u.y", "c.row": result, unit or coded, and the axis
    terms: Array
    axes: tuple[Axis, ...] = ()
    links: tuple[tuple[str, str, str], ...] = ()  # (kind, column, column) that are equal in every right term
    lost: tuple[tuple[str, str], ...] = ()  # (kind, column): what "the last ... is lost" can be about
    sizes: tuple[tuple[str, int], ...] = ()  # by which a mean would divide


class Finding(NamedTuple):
    """A cause and what is said of it."""

    cause: str
    says: str


Call = Callable[[tuple[Any, ...]], tuple[Array, ...]]


def diagnose(
    products: Sequence[Product],
    call: Call,
    arguments: tuple[Any, ...],
    results: tuple[Array, ...],
    names: Sequence[str],
) -> Finding:
    """The one cause why results are wrong that are sums of products.

    Parameters
    ----------
    products : sequence of Product
        The results that are wrong.
    call : callable
        The student's function: arguments to results.
    arguments, results : tuple of ndarray
        The failing case, and what the function made of it.
    names : sequence of str
        What the arguments are called.
    """
    found = [f for product in products if (f := _kind(product, call, arguments, results, names))]
    if found:
        return found[0]
    units = _unit_results(products[0], call, arguments)  # one reading: all results of a lab have the same unit
    for product in products:
        finding = _wiring(product, units, call, arguments, results)
        if finding.cause != "unexplained":
            return finding
    return finding


# -- is it a sum of products at all?


def _kind(
    product: Product, call: Call, arguments: tuple[Any, ...], results: tuple[Array, ...], names: Sequence[str]
) -> Finding | None:
    """What doubling an argument does: exactly the two factors must double the result."""
    place, name = product.output, product.result
    zeroed = list(arguments)
    zeroed[product.unit[1]] = np.zeros_like(arguments[product.unit[1]])
    rest = call(tuple(zeroed))[place]
    if not np.all(np.abs(rest) <= _CLOSE):
        for k, value in enumerate(arguments):
            if isinstance(value, np.ndarray) and _appears_in(value, rest):
                return Finding(
                    "same-array",
                    f"With {product.unit[0]} all zeros, {name} must be zeros; yours holds values of {names[k]}: "
                    "two names stand for one array.",
                )
        return _still_there(product, call, arguments, zeroed, rest)
    factors = {product.unit[1], product.coded[1]} - {-1}
    powers = {}
    for k, value in enumerate(arguments):
        if isinstance(value, np.ndarray):
            doubled = call((*arguments[:k], 2.0 * value, *arguments[k + 1 :]))[place]
            powers[k] = next((p for p in (0, 1, 2, 3) if _near(doubled, 2.0**p * results[place])), None)
    if not results[place].any():
        return None
    wrong = {k: p for k, p in powers.items() if p != (1 if k in factors else 0)}
    if not wrong:
        return None
    if None in wrong.values():
        return Finding("not-linear", f"{name} is not a sum of products: twice an argument does not give twice {name}.")
    listed = [f"{names[k]} {_times(p)}" for k, p in powers.items()]
    right = " and ".join(names[k] for k in sorted(factors))
    return Finding(
        "wrong-array",
        f"Each product in {name} must have one factor from {right}; yours has {', '.join(listed)}.",
    )


def _still_there(product: Product, call: Call, arguments: tuple[Any, ...], zeroed: list[Any], rest: Array) -> Finding:
    """What is there although one factor of every product is zero: what was in memory, or something of the others?"""
    unit, coded = product.unit[0], product.coded[0]
    says = f"With {unit} all zeros, {product.result} must be zeros; yours "
    doubled = [2.0 * value if isinstance(value, np.ndarray) else value for value in zeroed]
    then = call(tuple(doubled))[product.output]
    if _near(then, rest):
        return Finding(
            "not-started-at-zero", f"{says}holds {np.count_nonzero(rest)} others, whatever the arguments are."
        )
    if _near(then, 2.0 * rest):
        return Finding("not-a-product", f"{says}then still grows with {coded}: a product of the two would not.")
    if _near(then, 4.0 * rest):
        return Finding("wrong-array", f"{says}has both factors from other arguments.")
    return Finding("unexplained", f"{says}holds {np.count_nonzero(rest)} others.")


def _times(power: int | None) -> str:
    return {0: "not at all", 1: "once", 2: "twice", 3: "three times"}.get(power, "?")  # type: ignore[arg-type]


def _appears_in(value: Array, rest: Array) -> bool:
    if value.size < 2 or value.ndim != rest.ndim:
        return False
    return bool(np.isin(rest[np.abs(rest) > _CLOSE], value).all())


def _near(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=_CLOSE, atol=_CLOSE * max(1.0, float(np.max(np.abs(b), initial=0.0)))))


# -- reading


def _unit_results(product: Product, call: Call, arguments: tuple[Any, ...]) -> list[tuple[Array, ...]]:
    """The results for each unit vector, in the order of the argument's elements."""
    place = product.unit[1]
    found = []
    for k in range(arguments[place].size):
        unit = np.zeros(arguments[place].shape)
        unit.flat[k] = 1.0
        found.append(call((*arguments[:place], unit, *arguments[place + 1 :])))
    return found


def _wiring(
    product: Product, units: list[tuple[Array, ...]], call: Call, arguments: tuple[Any, ...], results: Any
) -> Finding:
    unit = arguments[product.unit[1]]
    coded = arguments[product.coded[1]] if product.coded[1] >= 0 else np.ones(())
    result = results[product.output]
    read = np.array([results[product.output].ravel() for results in units])  # (elements of unit, elements of result)
    whole = np.tensordot(unit.ravel(), read, 1)
    if not _near(whole, result.ravel()):
        coarse = 1e-2 if result.dtype.itemsize == 2 else 1e-4
        if np.allclose(whole, result.ravel(), rtol=coarse, atol=coarse * np.max(np.abs(result))):
            return Finding("unexplained", f"{product.result} is wrong, and imprecise as well: is all of it float64?")
        return Finding("not-linear", f"{product.result} of a sum is not the sum of what its parts give.")
    if not np.any(np.abs(read) > _CLOSE):
        return Finding("zero", f"No element of {product.unit[0]} reaches {product.result}: all of it is zero.")
    right = np.zeros_like(read)
    rows = [
        np.ravel_multi_index(tuple(product.terms[:, c].T), s) for c, s in _blocks(product, result.shape, unit, coded)
    ]
    np.add.at(right, (rows[1], rows[0]), coded.ravel()[rows[2]])
    scale = _common_factor(read, right)
    if scale is not None:
        return _named_factor(product, scale)
    found, weights = _decode(read, coded, call, product, arguments)
    known = set(range(unit.size)) - {u for u, _, c in found if c < 0}
    kept = np.array([u in known for u, _, _ in found], bool)
    flat = np.array(found, int).reshape(-1, 3)[kept]
    shapes = [s for _, s in _blocks(product, result.shape, unit, coded)]
    parts = [
        np.stack(np.unravel_index(flat[:, k], shape), 1) if shape else np.zeros((len(flat), 0), int)
        for k, shape in ((1, shapes[0]), (0, shapes[1]), (2, shapes[2]))
    ]
    table = Terms(product, product.terms[np.isin(rows[1], list(known))], np.concatenate(parts, 1), tuple(shapes))
    return _compare(table, np.array(weights)[kept])


def _blocks(product: Product, result: tuple[int, ...], unit: Array, coded: Array) -> list[tuple[slice, Any]]:
    a, b = len(result), len(result) + unit.ndim
    return [(slice(0, a), result), (slice(a, b), unit.shape), (slice(b, b + coded.ndim), coded.shape)]


def _common_factor(read: Array, right: Array) -> float | None:
    there = np.abs(right) > _CLOSE
    if not there.any() or np.any(np.abs(read[~there]) > _CLOSE):
        return None
    ratio = read[there] / right[there]
    return float(ratio[0]) if np.allclose(ratio, ratio[0], rtol=1e-6) and abs(ratio[0]) > _CLOSE else None


def _named_factor(product: Product, factor: float) -> Finding:
    if abs(factor + 1) < 1e-6:
        return Finding("sign", f"Every element of {product.result} has the wrong sign.")
    for name, size in product.sizes:
        if size > 1 and abs(factor * size - 1) < 1e-6:
            return Finding("averaged", f"{product.result} must be a sum; yours is divided by {name} = {size}.")
    return Finding("factor", f"Every element of {product.result} is {factor:.6g} times what it must be.")


def _decode(
    read: Array, coded: Array, call: Call, product: Product, arguments: tuple[Any, ...]
) -> tuple[list[tuple[int, int, int]], list[float]]:
    """Terms as flat indices (unit, result, coded), and their weights; the coded index is -1 where nobody can tell."""
    u, r = np.nonzero(np.abs(read) > _CLOSE)
    values = read[u, r]
    if coded.ndim == 0:
        return list(zip(u.tolist(), r.tolist(), [0] * len(u), strict=True)), values.tolist()
    c, weights, known = _sources(values, coded)
    sums = sorted(set(u[~known].tolist()))[: MOST_CALLS // coded.size]  # elements that meet sums: read them one by one
    plain = ~np.isin(u, sums)
    found = list(zip(u[plain].tolist(), r[plain].tolist(), np.where(known, c, -1)[plain].tolist(), strict=True))
    factors = weights[plain].tolist()
    for unit in sums:
        one = np.zeros(arguments[product.unit[1]].shape)
        one.flat[unit] = 1.0
        for k in range(coded.size):
            other = np.zeros(coded.shape)
            other.flat[k] = 1.0
            changed = list(arguments)
            changed[product.unit[1]], changed[product.coded[1]] = one, other
            met = call(tuple(changed))[product.output].ravel()
            for at in np.flatnonzero(np.abs(met) > _CLOSE).tolist():
                found.append((unit, at, k))
                factors.append(float(met[at]))
    return found, factors


def _sources(values: Array, coded: Array) -> tuple[Array, Array, Array]:
    """Which element of the coded argument each value is, up to a small factor."""
    flat = coded.ravel()
    order = np.argsort(flat)
    ordered = flat[order]
    found, weights, known = np.zeros(len(values), int), np.ones(len(values)), np.zeros(len(values), bool)
    for factor in (1.0, 2.0, -1.0, 3.0, 0.5):
        at = np.clip(np.searchsorted(ordered, values / factor), 1, max(1, len(ordered) - 1))
        for k in (at - 1, np.minimum(at, len(ordered) - 1)):
            fits = ~known & (np.abs(ordered[k] * factor - values) < _CLOSE * (1 + np.abs(values)))
            found[fits], weights[fits] = order[k[fits]], factor
            known |= fits
    return found, weights, known


# -- comparing


def _compare(table: "Terms", weights: Array) -> Finding:
    p = table.product
    if table.yours == table.right:
        if np.allclose(weights, np.round(weights)) and np.all(weights > 0.5) and np.any(weights > 1.5):
            return Finding("counted-twice", f"Some products in {p.result} are added more than once.")
        return Finding("unexplained", f"{p.result} has the right products, but with wrong factors.")
    if np.allclose(weights, 1):
        for explain in (_losses, _orders, _links, _maps, _taps, _borders):
            finding = explain(table)
            if finding is not None:
                return Finding(finding.cause, f"{finding.says} {table.difference()}")
    return Finding("unexplained", table.difference())


class Terms:
    """The right terms and the student's, by the names of their columns."""

    def __init__(self, product: Product, right: Array, yours: Array, shapes: tuple[Any, ...]) -> None:
        self.product, self.array, self.shapes = product, yours, shapes
        self.right, self.yours = ({tuple(t) for t in terms.tolist()} for terms in (right, yours))
        self.missing, self.extra = self.right - self.yours, self.yours - self.right
        self.at = {name: k for k, name in enumerate(product.columns)}

    def column(self, name: str, terms: Any = None) -> Array:
        chosen = self.array if terms is None else np.array(sorted(terms)).reshape(-1, len(self.product.columns))
        return chosen[:, self.at[name]]

    def choose(self, wanted: dict[str, set[int]]) -> set[Any]:
        """The right terms that have one of these indices in one of these columns."""
        return {t for t in self.right if any(t[self.at[name]] in indices for name, indices in wanted.items())}

    def difference(self) -> str:
        """The first element of the result that is wired wrongly: what it must receive, and what it does."""
        columns = self.product.columns
        kinds = [[k for k, name in enumerate(columns) if name[0] == kind] for kind in "ruc"]

        def where(term: Any, kind: int) -> tuple[int, ...]:
            return tuple(term[k] for k in kinds[kind])

        p = self.product
        by_unit = [where(t, 0) + where(t, 1) for t in self.missing | self.extra]
        first = min(by_unit)
        mine, must = ([t for t in s if where(t, 0) + where(t, 1) == first] for s in (self.yours, self.right))
        r, u = first[: len(kinds[0])], first[len(kinds[0]) :]

        def named(terms: Any) -> str:
            if not terms:
                return "nothing"
            listed = [f"{p.coded[0]}{_index(where(t, 2))}" for t in sorted(terms)]
            return " + ".join(listed[:3]) + (f" + {len(listed) - 3} more" if len(listed) > 3 else "")

        to, source = f"{p.result}{_index(r)}", f"{p.unit[0]}{_index(u)}"
        if not kinds[2]:
            return f"{to} must be {source}; yours is not." if must else f"{to} must not hold {source}; yours does."
        if must:
            return f"{to} must receive {source} times {named(must)}; yours receives it times {named(mine)}."
        return f"{to} must receive nothing from {source}; yours receives it times {named(mine)}."


def _index(place: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, place))}]"


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
                return Finding("border-lost", f"The pixels on the border, in {where}, take no part in {p.result}.")
            if other:
                return Finding(
                    "height-for-width", f"Only {len(have)} of {len(all_of)} {kind}s take part: as many as {other}."
                )
            axis = column.split(".")[1]
            return Finding(f"{kind}-lost", f"The {kind}s with {axis} = {listed} take no part in {p.result}.")
    if _one_left(table, min):
        return assigned
    return _lost_at_the_border(table)


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
        broken = [(a, b) for other, a, b in p.links if other == kind]
        if all(any(t[table.at[a]] != t[table.at[b]] for a, b in broken) for t in table.extra):
            if kind == "not-diagonal":
                return Finding(kind, f"{p.result} must be zero where c and m differ; yours is not.")
            a, b = max(broken, key=lambda pair: sum(t[table.at[pair[0]]] != t[table.at[pair[1]]] for t in table.extra))
            (i, x), (j, y) = a.split("."), b.split(".")
            return Finding(
                kind, f"In {p.result}, index {x} of {names[i]} must go with the same index {y} of {names[j]} alone."
            )
    return None


def _orders(table: Terms) -> Finding | None:
    """The elements of one array are taken in another order, as after a reshape that was meant to exchange axes."""
    names = (table.product.result, table.product.unit[0], table.product.coded[0])
    start = 0
    for shape, name in zip(table.shapes, names, strict=True):
        if sum(size > 1 for size in shape) > 1:
            for order in range(2):
                right = np.array(sorted(table.right))
                block = tuple(right[:, start : start + len(shape)].T)
                flat = np.ravel_multi_index(block, shape, order="CF"[order])  # type: ignore[call-overload]
                right[:, start : start + len(shape)] = np.stack(np.unravel_index(flat, shape, order="FC"[order]), 1)  # type: ignore[call-overload]
                if {tuple(t) for t in right.tolist()} == table.yours:
                    return Finding("reordered", f"The elements of {name} are taken in another order.")
        start += len(shape)
    return None


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
