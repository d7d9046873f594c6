"""The terms of dx in batch norm's backward: which are there, and by which factor they differ from the right ones.

`normalised.py` has the formula, and reads the matrix of each channel.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from npmnv2.labs.product import Finding
from npmnv2.labs.ratio import CLOSE, Given, Ratio, near, of_statistics, of_the_whole
from npmnv2.validate import Array


def finding_of_dx(matrix: Array, given: Given) -> Finding:
    """dbeta and dgamma are right here: so is the student's xhat."""
    C, m = given.gamma.size, given.m
    read = matrix.reshape(m, C, m, C)  # [from, channel, to, channel]
    own = np.einsum("kclc->clk", read)  # [channel, to, from]
    if np.max(np.abs(read - np.einsum("clk,cd->kcld", own, np.eye(C)))) > CLOSE * max(1.0, float(np.max(np.abs(read)))):
        return channels_mixed("dx")
    fitted = _fit(own, given)
    if fitted is None:
        over = _met_axes(own, given)
        if over and over != tuple(range(given.x.ndim - 1)):
            axes = listed(tuple(range(given.x.ndim - 1)))
            return Finding("axes-wrong", f"In dx values meet along the axes {listed(over)}; the sums are over {axes}.")
        return (
            _terms_over_axes(own, given)
            or _unsummed(own, given)
            or unread(
                "dx must be gamma * inv_std * dout, minus a share of sum(dout), minus a share of sum(dout * xhat) "
                "times xhat; yours holds something else."
            )
        )
    return _read_terms(fitted, given)


class Terms(NamedTuple):
    """dx = a dout + M[0, 0] sum(dout) + M[0, 1] sum(dout xhat) + xhat (M[1, 0] sum(dout) + M[1, 1] sum(dout xhat))."""

    a: Array  # (C,)
    M: Array  # (C, 2, 2)


def _fit(own: Array, given: Given) -> Terms | None:
    C, m = given.gamma.size, given.m
    a, M = np.zeros(C), np.zeros((C, 2, 2))
    for c in range(C):
        vectors = np.ones(m), given.xhat[..., c].ravel()
        basis = np.stack([np.eye(m), *(np.outer(u, v) for u in vectors for v in vectors)]).reshape(5, -1).T
        found = np.linalg.lstsq(basis, own[c].ravel(), rcond=None)[0]
        if not near(basis @ found, own[c].ravel()):
            return None
        a[c], M[c] = found[0], found[1:].reshape(2, 2)
    return Terms(a, M)


def _read_terms(terms: Terms, given: Given) -> Finding:
    m = given.m
    right = given.gamma / given.s
    direct = Ratio.read(terms.a / right, given)
    mean, var = (Ratio.read(terms.M[:, k, k] / (-right / m), given) for k in (0, 1))
    size = np.max(np.abs(right)) / m
    crossed = np.max(np.abs(terms.M[:, [0, 1], [1, 0]])) > CLOSE * size
    if crossed:
        return _crossed(terms, given, right, direct, mean, var)
    if direct.zero and mean.zero and var.zero:
        return Finding("zero", "dx is zero, whatever dout is.")
    if mean.zero and var.zero:
        fine = direct.one or near(direct.values, given.s / np.sqrt(1 + given.eps))
        also = "" if fine else f" That term is {direct} times what it must be, in channel 0."
        return Finding(
            "statistics-constant",
            "In dx each value receives its own dout alone; yours takes the mean and the variance for constants." + also,
        )
    if direct.zero:
        return _direct_missing(mean, var)
    if mean.zero and all(near(ratio.values, np.full_like(ratio.values, 1 - 1 / m)) for ratio in (direct, var)):
        return Finding(
            "sum-missing",
            "In dx, what comes through the mean must be a sum over the channel; in yours each value has its own alone.",
        )
    # the same ratio everywhere: one factor of the whole
    if near(direct.values, mean.values) and near(direct.values, var.values):
        return of_the_whole("dx", direct, given) or _unread_terms(direct, mean, var)
    shared = _shared(direct, mean, var, given)
    three = {"direct": direct, "mean": mean, "variance": var}
    found = [_term_finding(term, ratio, given) for term, ratio in three.items() if not ratio.one]
    first = found[0] if found and all(found) else None  # each difference has a name
    return shared or first or _unread_terms(direct, mean, var)


def _direct_missing(mean: Ratio, var: Ratio) -> Finding:
    """The term with dout itself is missing: say which of the others are there."""
    names = {"sum(dout)": mean, "sum(dout * xhat)": var}
    there, gone = ([name for name, ratio in names.items() if ratio.zero is missing] for missing in (False, True))
    if gone:
        says = f"In dx only the term with {there[0]} is there; those with dout itself and with {gone[0]} are missing."
    else:
        says = f"In dx the term with dout itself is missing; those with {there[0]} and {there[1]} are there."
    return Finding("direct-term-missing", says)


def _shared(direct: Ratio, mean: Ratio, var: Ratio, given: Given) -> Finding | None:
    """The three terms with another 1 / std, r', than the right one: the last then has r' three times."""
    if not near(mean.values, direct.values):
        return None
    other = of_statistics(direct, given)
    if other is None:
        return None
    factors = [1.0, given.m / (given.m - 1)] if other.cause == "count-minus-one" else [1.0]
    if not any(near(var.values, direct.values**3 * k) or near(var.values, direct.values * k) for k in factors):
        return None
    return Finding(other.cause, f"In dx, {other.says}")


def _crossed(terms: Terms, given: Given, right: Array, direct: Ratio, mean: Ratio, var: Ratio) -> Finding:
    """sum(dout) goes with xhat, or sum(dout * xhat) goes without it: exchanged sums, or an x that is not centred."""
    share = -right / given.m
    found = [near(terms.M[:, i, j], share) + 2 * near(terms.M[:, i, j], 0 * share) for i in (0, 1) for j in (0, 1)]
    both = {  # which of the four are there: sum(dout), sum(dout xhat), and each times xhat
        (2, 1, 1, 2): "sum(dout) stands where sum(dout * xhat) belongs, and the other way round.",
        (1, 2, 1, 2): "sum(dout) stands in both terms; one must have sum(dout * xhat).",
        (2, 1, 2, 1): "sum(dout * xhat) stands in both terms; one must have sum(dout).",
    }.get((found[0], found[1], found[2], found[3]))
    if both:
        return Finding("sums-exchanged", f"In dx, {both}")
    if tuple(found) == (1, 1, 2, 2):
        return Finding("xhat-forgotten", "In dx, sum(dout * xhat) must be multiplied by xhat again; yours is not.")
    if np.all(np.abs(terms.M[:, 1, 1]) > CLOSE * np.max(np.abs(share))):
        # a variance term (xhat + p) (xhat + q)', shifted by p and q, and what is left for the mean term
        p, q = terms.M[:, 0, 1] / terms.M[:, 1, 1], terms.M[:, 1, 0] / terms.M[:, 1, 1]
        rest = Ratio.read((terms.M[:, 0, 0] - terms.M[:, 1, 1] * p * q) / share, given)
        shifted = [near(v, given.mean / given.s) for v in (p, q)]  # x / s is xhat + mean / s
        fine = [ok or near(v, np.zeros_like(v)) for ok, v in zip(shifted, (p, q), strict=True)]
        if all(fine) and direct.named and rest.named:
            where = {(True, False): "outside the sum", (False, True): "inside the sum"}.get((shifted[0], shifted[1]))
            return Finding(
                "not-centred",
                f"In dx's term that comes through the variance stands x, not x - mean, {where or 'twice'}.",
            )
    return _unread_terms(direct, mean, var, crossed=True)


def _term_finding(term: str, ratio: Ratio, given: Given) -> Finding | None:
    """What is wrong with one of the three terms; None if its ratio cannot be read."""
    sums = {"direct": "dout", "mean": "sum(dout)", "variance": "xhat * sum(dout * xhat)"}[term]
    the = f"the term with {sums}" + ("" if term == "direct" else f", which comes through the {term},")
    if ratio.zero:
        return Finding(f"{term}-term-missing", f"In dx {the} is missing.")
    if not ratio.named:
        for power in (1, 2, 3):  # 1 / std comes in up to three times
            root = ratio._replace(values=np.abs(ratio.values) ** (1 / power))
            other = of_statistics(root, given)
            if other and np.all(ratio.values > 0):
                return Finding(other.cause, f"In dx {the} has another 1 / std: {other.says}")
        return None
    if ratio.gamma:
        cause = "gamma-forgotten" if ratio.gamma < 0 else "gamma-extra"
        return Finding(cause, f"In dx {the} has gamma {'not at all' if ratio.gamma == -1 else 'more than once'}.")
    if ratio.says:
        cause = "count-minus-one" if ratio.cause == "count-minus-one" else "count-wrong"
        return Finding(cause, f"In dx {the} must be divided by m = {given.m} once; {ratio.says}.")
    if ratio.power:
        times = "once" if abs(ratio.power) == 1 else f"{abs(ratio.power)} times"
        much = "too often" if ratio.power < 0 else "too rarely"
        return Finding("std-power", f"In dx {the} is divided by the standard deviation {times} {much}.")
    if ratio.factor == -1:
        return Finding("sign", f"In dx {the} has the wrong sign.")
    return Finding(f"{term}-term-factor", f"In dx {the} is {ratio.factor:g} times what it must be.")


def _met_axes(own: Array, given: Given) -> tuple[int, ...]:
    """The axes along which values meet: read from which elements of dx answer to which of dout."""
    shape = given.x.shape[:-1]
    to, source = np.nonzero(np.max(np.abs(own), 0) > CLOSE)
    places = [np.unravel_index(k, shape) for k in (to, source)]
    return tuple(axis for axis in range(len(shape)) if np.any(places[0][axis] != places[1][axis]))


def _unsummed(own: Array, given: Given) -> Finding | None:
    """dout * xhat stands where its sum belongs: in dx itself, and in what is subtracted for the mean."""
    m = given.m
    for c in range(given.gamma.size):
        squared = given.xhat[..., c].ravel() ** 2
        basis = np.stack([np.eye(m), np.ones((m, m)), np.diag(squared), np.outer(np.ones(m), squared)]).reshape(4, -1).T
        terms = np.linalg.lstsq(basis, own[c].ravel(), rcond=None)[0]
        if not near(basis @ terms, own[c].ravel()) or abs(terms[2]) < CLOSE:
            return None
    return Finding(
        "sum-missing",
        "In dx, what comes through the variance must hold sum(dout * xhat); in yours each value has its own product.",
    )


def _terms_over_axes(own: Array, given: Given) -> Finding | None:
    """The two terms, each with its sum over some of the axes alone; xhat is right."""
    shape = given.x.shape[:-1]
    everywhere = tuple(range(len(shape)))
    index = np.indices(shape).reshape(len(shape), -1)
    subsets = choices_of(len(shape))[1:]
    same = {  # 1 where two values differ along these axes alone
        axes: np.all([index[k][:, None] == index[k] for k in everywhere if k not in axes] or [True], axis=0)
        * np.ones((given.m, given.m))
        for axes in subsets
    }
    found = set()
    for c in range(given.gamma.size):
        xhat = given.xhat[..., c].ravel()
        columns = [np.eye(given.m).ravel()]
        for axes in subsets:
            columns += [same[axes].ravel(), (xhat[:, None] * same[axes] * xhat).ravel()]
        basis = np.stack(columns, 1)
        terms = np.linalg.lstsq(basis, own[c].ravel(), rcond=None)[0]
        if not near(basis @ terms, own[c].ravel()):
            return None
        there = np.abs(terms[1:].reshape(-1, 2)) > 1e-6 * np.max(np.abs(terms))
        found |= {(k, subsets[row]) for row, k in zip(*np.nonzero(there), strict=True)}
    for k, axes in sorted(found):
        if axes != everywhere:
            said = ("sum(dout)", "sum(dout * xhat)")[k]
            return Finding(
                "axes-wrong",
                f"In dx, {said} must run over the axes {listed(everywhere)}; yours runs over {listed(axes)}.",
            )
    return None


# -- what is said


def channels_mixed(name: str) -> Finding:
    """A result in which channels meet."""
    return Finding(
        "statistics-mix-channels",
        f"In {name} a channel receives dout of another; every channel has a mean and a variance of its own.",
    )


def listed(axes: tuple[int, ...]) -> str:
    """Axes as Python writes a tuple: (0,), or (0, 1)."""
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def unread(says: str) -> Finding:
    """What is true of a result whose cause was not found."""
    return Finding("unexplained", says)


def _unread_terms(direct: Ratio, mean: Ratio, var: Ratio, crossed: bool = False) -> Finding:
    said = "; sum(dout) and sum(dout * xhat) go to the wrong places as well" if crossed else ""
    return Finding(
        "unexplained",
        f"In dx the term with dout is {direct} times what it must be, that with sum(dout) {mean} times, "
        f"that with xhat * sum(dout * xhat) {var} times{said}. (Channel 0.)",
    )


def choices_of(count: int) -> list[tuple[int, ...]]:
    """All 2^count choices of the axes 0 to count - 1, the empty one first."""
    chosen = product((False, True), repeat=count)
    return [tuple(k for k, there in enumerate(one) if there) for one in chosen]
