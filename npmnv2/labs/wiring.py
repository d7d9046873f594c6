"""Reads how a function is wired, and says how that differs from what it should be.

The operations of the first labs are sums of products: each result is a sum of (element of one argument) * (element of
another). So with one argument set to a unit vector (one element 1, the others 0) the result shows, element by element,
what that element meets: which value of the other argument, and so which tap, pixel, channel and image. All units
together give the list of all products that the student's function really adds up: its *terms*. The right list is known.
The difference between the two lists is the diagnosis: `difference.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npmnv2.labs.difference import compare
from npmnv2.labs.lab import Call
from npmnv2.labs.product import Finding, Product
from npmnv2.labs.terms import Terms
from npmnv2.validate import Array

_CLOSE = 1e-9
MOST_CALLS = 700  # to read sums one by one


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
    alone = len(products) == 1
    found = [f for product in products if (f := _kind(product, call, arguments, results, names, alone))]
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
    product: Product,
    call: Call,
    arguments: tuple[Any, ...],
    results: tuple[Array, ...],
    names: Sequence[str],
    alone: bool,
) -> Finding | None:
    """What -2 times an argument does: -2 times the result for the two factors, and nothing for the others.

    The sign shows what a factor of 2 does not: a ReLU, or its mask.
    """
    place, name = product.output, product.result
    zeroed = list(arguments)
    zeroed[product.unit[1]] = np.zeros_like(arguments[product.unit[1]])
    rest = call(tuple(zeroed))[place]
    if not np.isfinite(rest).all():
        return Finding("not-finite", f"With {product.unit[0]} all zeros, {name} must be zeros; yours holds nan or inf.")
    if not np.all(np.abs(rest) <= _CLOSE):
        for k, value in enumerate(arguments):
            if isinstance(value, np.ndarray) and _appears_in(value, rest):
                # With a second name for an array, what is added to dx also spoils dw; with a copy it does not.
                return Finding(
                    "not-started-at-zero" if alone else "same-array",
                    f"With {product.unit[0]} all zeros, {name} must be zeros; yours holds values of {names[k]}: "
                    "it does not begin as an array of zeros of its own.",
                )
        return _still_there(product, call, arguments, zeroed, rest)
    factors = {product.unit[1], product.coded[1]} - {-1}
    powers = {}
    for k, value in enumerate(arguments):
        if isinstance(value, np.ndarray):
            scaled = call((*arguments[:k], -2.0 * value, *arguments[k + 1 :]))[place]
            powers[k] = next((p for p in (0, 1, 2, 3) if _near(scaled, (-2.0) ** p * results[place])), None)
    if not results[place].any():
        return None
    wrong = {k: p for k, p in powers.items() if p != (1 if k in factors else 0)}
    if not wrong:
        return None
    overwritten = _overwritten(product, call, arguments, names) if None in wrong.values() else None
    if overwritten:
        return overwritten
    for k, p in wrong.items():
        if p is None:
            says = f"does not give {name} times -2" if k in factors else f"changes {name}, of which it is no factor"
            return Finding("not-linear", f"{name} is not a sum of products: {names[k]} times -2 {says}.")
    listed = [f"{names[k]} {_times(p)}" for k, p in powers.items()]
    right = " and ".join(names[k] for k in sorted(factors))
    return Finding(
        "wrong-array",
        f"Each product in {name} must have one factor from {right}; yours has {', '.join(listed)}.",
    )


def _overwritten(product: Product, call: Call, arguments: tuple[Any, ...], names: Sequence[str]) -> Finding | None:
    """Another result, of which this one holds products: it was written into the array that is read here."""
    unit, coded = product.unit[1], product.coded[1]
    if coded < 0:
        return None
    zeroed = list(arguments)
    zeroed[coded] = np.zeros_like(arguments[coded])
    rest = call(tuple(zeroed))[product.output]
    if not np.isfinite(rest).all() or np.all(np.abs(rest) <= _CLOSE):
        return None
    written = [k for k, value in enumerate(arguments) if isinstance(value, np.ndarray) and k not in (unit, coded)]

    def times(k: int) -> Array:
        return call((*zeroed[:k], -2.0 * zeroed[k], *zeroed[k + 1 :]))[product.output]

    if not written or not _near(times(unit), 4.0 * rest) or not all(_near(times(k), -2.0 * rest) for k in written):
        return None
    of, name = product.unit[0], product.coded[0]
    factors = " and ".join([of, *(names[k] for k in written)])
    return Finding(
        "same-array",
        f"With {name} all zeros, {product.result} must be zeros; yours holds products of {of}, {factors}: what another "
        f"result receives stands where {name} is read.",
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
    there = rest[np.abs(rest) > _CLOSE]
    return there.size > 0 and bool(np.isin(there, value).all())


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
    if not np.isfinite(read).all():
        k = int(np.argmin(np.isfinite(read).all(1)))
        at = ", ".join(map(str, np.unravel_index(k, unit.shape)))
        says = f"With a single 1 in {product.unit[0]}, at ({at}), {product.result} holds nan or inf."
        return Finding("not-finite", says)
    whole = np.tensordot(unit.ravel(), read, 1)
    if not _near(whole, result.ravel()):
        coarse = 1e-2 if result.dtype.itemsize == 2 else 1e-4
        if np.allclose(whole, result.ravel(), rtol=coarse, atol=coarse * np.max(np.abs(result))):
            return Finding("unexplained", f"{product.result} is wrong, and imprecise as well: is all of it float64?")
        return Finding("not-linear", f"{product.result} of a sum is not the sum of what its parts give.")
    if not np.any(np.abs(read) > _CLOSE):
        factors = " and ".join(name for name, _ in (product.unit, product.coded) if name)
        return Finding("zero", f"No product of {factors} reaches {product.result}: all of it is zero.")
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
    return compare(table, np.array(weights)[kept])


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
