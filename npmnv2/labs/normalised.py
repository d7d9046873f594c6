"""Reads which terms of batch norm's backward a student's function has, and says which is missing or wrong.

The three results are linear in `dout`, and channels do not meet. So unit vectors of `dout` give a matrix a channel.
With m values a channel and r = 1 / sqrt(var + eps), the right ones are, as rows and matrices of `dout`,

    dbeta   1                                  the row of ones
    dgamma  xhat                               the row of xhat: it shows the xhat that the student uses
    dx      gamma * r * (I - 11' / m - xhat xhat' / m)

Every mistake in the derivation changes the coefficients in

    dx      a I  +  (1, xhat) M (1, xhat)'     five numbers a channel: a, and the 2 x 2 matrix M

which are fitted by least squares. If they do not reproduce the student's matrix, nothing is named. If they do, each is
divided by the right one, and the ratio is read as a product of powers of what a derivation is made of: gamma, the
standard deviation, m, small factors. A ratio that is no such product is shown, and not named.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding
from npmnv2.labs.ratio import CLOSE, Given, Ratio, near, of_statistics, of_the_whole
from npmnv2.validate import Array


def explain(wrong: Wrong) -> Finding:
    """The one cause why `(dx, dgamma, dbeta)` are wrong: that of the simplest result which is."""
    dout, x, gamma, eps = wrong.arguments
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    s = np.sqrt(var + eps)
    given = Given(x, gamma, eps, x.size // x.shape[-1], mean, var, s, (x - mean) / s)
    _, dgamma, dbeta = wrong.results
    if near(dgamma, wrong.right[2]) and near(dbeta, wrong.right[1]):
        return Finding("exchanged", "dgamma holds dbeta, and dbeta holds dgamma.")
    nothing = wrong.call((np.zeros_like(dout), x, gamma, eps))
    for place in wrong.places:
        if np.any(np.abs(nothing[place]) > CLOSE):
            name = ("dx", "dgamma", "dbeta")[place]
            return Finding("not-linear-in-dout", f"With dout all zeros, {name} must be zeros; yours is not.")
    units = _matrices(wrong, dout.shape)  # rows of dout to rows of each result
    for place in sorted(wrong.places, reverse=True):
        whole = np.tensordot(dout.ravel(), units[place], 1)
        if not near(whole, wrong.results[place].ravel()):
            return Finding("not-linear-in-dout", "Twice dout does not give twice the gradients: dout meets itself.")
    if 2 in wrong.places:
        return _sum_finding(units[2], given)
    if 1 in wrong.places:
        return _xhat_finding(units[1], given)
    return _dx_finding(units[0], given)


def _matrices(wrong: Wrong, shape: tuple[int, ...]) -> list[Array]:
    """For dx, dgamma and dbeta: (elements of dout, elements of the result)."""
    found = []
    for k in range(int(np.prod(shape))):
        unit = np.zeros(shape)
        unit.flat[k] = 1.0
        found.append(wrong.call((unit, *wrong.arguments[1:])))
    return [np.array([results[place].ravel() for results in found]) for place in range(3)]


# -- the sums: dbeta and dgamma


def _own_channels(matrix: Array, given: Given) -> Array | None:
    """(..., C): what dout meets on its way to its own channel; None if it reaches another."""
    C = given.gamma.size
    read = matrix.reshape(-1, C, C)
    own = np.einsum("kcc->kc", read)
    if np.max(np.abs(read - own[:, :, None] * np.eye(C))) > CLOSE:
        return None
    return own.reshape(given.x.shape)


def _sum_finding(matrix: Array, given: Given) -> Finding:
    must = "dbeta must be the sum of dout"
    own = _own_channels(matrix, given)
    if own is None:
        return _channels_mixed("dbeta")
    if not own.any():
        return Finding("zero", "dbeta is zero, whatever dout is.")
    if near(own, own.reshape(-1, own.shape[-1])[0]):  # the same for every value of a channel
        ratio = Ratio.read(own.reshape(-1, own.shape[-1])[0], given)
        return of_the_whole("dbeta", ratio, given) or _unread(f"{must}; yours is {ratio} times that.")
    where = np.abs(own) > CLOSE
    if near(own[where], np.ones(np.count_nonzero(where))):
        return Finding("axes-wrong", f"{must} over every axis but the last; in yours some values take no part.")
    return _unread(f"{must}; in yours dout meets factors, the first of them {own.flat[0]:.6g}.")


def _xhat_finding(matrix: Array, given: Given) -> Finding:
    """dgamma is a sum of dout times xhat: what does the student take for xhat?"""
    own = _own_channels(matrix, given)
    if own is None:
        return _channels_mixed("dgamma")
    if not own.any():
        return Finding("zero", "dgamma is zero, whatever dout is.")
    must = "dgamma must be the sum of dout * xhat"
    over = _other_axes(own, given)
    if over is not None:
        axes = _listed(tuple(range(given.x.ndim - 1)))
        return Finding("axes-wrong", f"In dgamma you take {over}. Both must be over {axes}.")
    slope, start = _line(own, given.x)
    if slope is None or start is None:
        return _unread(f"{must}; yours multiplies dout by something else than a scaled and shifted x.")
    if np.max(np.abs(slope)) < CLOSE:
        return Finding("not-normalised", f"{must}; in yours x takes no part.")
    if not near(start, -slope * given.mean):
        if near(slope, np.ones_like(slope)) and near(start, np.zeros_like(start)):
            return Finding("not-normalised", f"{must}; yours multiplies by x itself.")
        if near(start, np.zeros_like(start)):
            return Finding("not-centred", f"{must}; the mean is not subtracted from yours.")
        if near(slope, 1 / np.sqrt(1 + given.eps)) or near(slope, 1 / given.s):
            return Finding("other-statistics", f"{must}, by the mean and the variance of this x; yours has others.")
        return _unread(f"{must}; the mean that yours subtracts is {(-start / slope).flat[0]:.6g} in channel 0.")
    if near(slope, np.ones_like(slope)):
        return Finding("not-normalised", f"{must}; yours multiplies by x - mean.")
    ratio = Ratio.read(slope * given.s, given)
    return of_the_whole("dgamma", ratio, given) or _unread(f"{must}; yours is {ratio} times that.")


def _line(own: Array, x: Array) -> tuple[Array | None, Array | None]:
    """Slope and start, a channel each, if `own` is a straight line of x in every channel."""
    C = x.shape[-1]
    slopes, starts = np.zeros(C), np.zeros(C)
    for c in range(C):
        inputs = np.stack([x[..., c].ravel(), np.ones(x[..., c].size)], 1)
        (slopes[c], starts[c]), *_ = np.linalg.lstsq(inputs, own[..., c].ravel(), rcond=None)
        if not near(inputs @ (slopes[c], starts[c]), own[..., c].ravel()):
            return None, None
    return slopes, starts


def _other_axes(own: Array, given: Given) -> str | None:
    """What the mean and the variance run over that makes `own` of x, if other than it should be."""
    x = given.x
    real = [k for k in range(x.ndim) if x.shape[k] > 1]
    subsets = [tuple(k for k in real if k in chosen) for chosen in _subsets(x.ndim)]
    right = tuple(k for k in real if k < x.ndim - 1)
    for over, of in product(dict.fromkeys(subsets), repeat=2):
        if (over, of) != (right, right) and over and of:
            var = x.var(of, keepdims=True) + given.eps
            if near(own, (x - x.mean(over, keepdims=True)) / np.sqrt(np.where(var > 0, var, np.inf))):
                return f"the mean over the axes {_listed(over)}, the variance over {_listed(of)}"
    return None


def _subsets(count: int) -> list[tuple[int, ...]]:
    chosen = product((False, True), repeat=count)
    return [tuple(k for k, there in enumerate(one) if there) for one in chosen]


# -- dx


def _dx_finding(matrix: Array, given: Given) -> Finding:
    """dbeta and dgamma are right here: so is the student's xhat."""
    C, m = given.gamma.size, given.m
    read = matrix.reshape(m, C, m, C)  # [from, channel, to, channel]
    own = np.einsum("kclc->clk", read)  # [channel, to, from]
    if np.max(np.abs(read - np.einsum("clk,cd->kcld", own, np.eye(C)))) > CLOSE * max(1.0, float(np.max(np.abs(read)))):
        return _channels_mixed("dx")
    fitted = _fit(own, given)
    if fitted is None:
        over = _met_axes(own, given)
        if over and over != tuple(range(given.x.ndim - 1)):
            axes = _listed(tuple(range(given.x.ndim - 1)))
            return Finding("axes-wrong", f"In dx values meet along the axes {_listed(over)}; the sums are over {axes}.")
        return (
            _terms_over_axes(own, given)
            or _unsummed(own, given)
            or _unread(
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
        if direct.one or near(direct.values, given.s / np.sqrt(1 + given.eps)):
            return Finding(
                "statistics-constant",
                "In dx each value receives its own dout alone; yours takes the mean and the variance for constants.",
            )
        return of_the_whole("dx", direct, given) or _unread_terms(direct, mean, var)
    if direct.zero:
        return Finding(
            "direct-term-missing", "In dx the term with dout itself is missing; those with the two sums are there."
        )
    # the same ratio everywhere: one factor of the whole
    if near(direct.values, mean.values) and near(direct.values, var.values):
        return of_the_whole("dx", direct, given) or _unread_terms(direct, mean, var)
    shared = _shared(direct, mean, var, given)
    if shared or not (direct.named and mean.named and var.named):
        return shared or _unread_terms(direct, mean, var)
    for term, ratio in (("direct", direct), ("mean", mean), ("variance", var)):
        if not ratio.one:
            return _term_finding(term, ratio, given)
    return _unread_terms(direct, mean, var)


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


def _term_finding(term: str, ratio: Ratio, given: Given) -> Finding:
    """What is wrong with one of the three terms, if its ratio could be read."""
    sums = {"direct": "dout", "mean": "sum(dout)", "variance": "xhat * sum(dout * xhat)"}[term]
    the = f"the term with {sums}" + ("" if term == "direct" else f", which comes through the {term},")
    if ratio.zero:
        return Finding(f"{term}-term-missing", f"In dx {the} is missing.")
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
    subsets = _subsets(len(shape))[1:]
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
                f"In dx, {said} must run over the axes {_listed(everywhere)}; yours runs over {_listed(axes)}.",
            )
    return None


# -- what is said


def _channels_mixed(name: str) -> Finding:
    return Finding(
        "statistics-mix-channels",
        f"In {name} a channel receives dout of another; every channel has a mean and a variance of its own.",
    )


def _listed(axes: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, axes))}{',' if len(axes) == 1 else ''})"


def _unread(says: str) -> Finding:
    return Finding("unexplained", says)


def _unread_terms(direct: Ratio, mean: Ratio, var: Ratio, crossed: bool = False) -> Finding:
    said = "; sum(dout) and sum(dout * xhat) go to the wrong places as well" if crossed else ""
    return Finding(
        "unexplained",
        f"In dx the term with dout is {direct} times what it must be, that with sum(dout) {mean} times, "
        f"that with xhat * sum(dout * xhat) {var} times{said}. (Channel 0.)",
    )
