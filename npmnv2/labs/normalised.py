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

import numpy as np

from npmnv2.labs.dx_terms import channels_mixed, choices_of, finding_of_dx, listed, unread
from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding
from npmnv2.labs.ratio import CLOSE, Given, Ratio, near, of_counts, of_the_whole
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
    return finding_of_dx(units[0], given)


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
        return channels_mixed("dbeta")
    if not own.any():
        return Finding("zero", "dbeta is zero, whatever dout is.")
    if near(own, own.reshape(-1, own.shape[-1])[0]):  # the same for every value of a channel
        ratio = Ratio.read(own.reshape(-1, own.shape[-1])[0], given)
        return of_the_whole("dbeta", ratio, given) or unread(f"{must}; yours is {ratio} times that.")
    where = np.abs(own) > CLOSE
    if near(own[where], np.ones(np.count_nonzero(where))):
        return Finding("axes-wrong", f"{must} over every axis but the last; in yours some values take no part.")
    return unread(f"{must}; in yours dout meets factors, the first of them {own.flat[0]:.6g}.")


def _xhat_finding(matrix: Array, given: Given) -> Finding:
    """dgamma is a sum of dout times xhat: what does the student take for xhat?"""
    own = _own_channels(matrix, given)
    if own is None:
        return channels_mixed("dgamma")
    if not own.any():
        return Finding("zero", "dgamma is zero, whatever dout is.")
    must = "dgamma must be the sum of dout * xhat"
    over = _other_axes(own, given)
    if over is not None:
        axes = listed(tuple(range(given.x.ndim - 1)))
        return Finding("axes-wrong", f"In dgamma you take {over}. Both must be over {axes}.")
    slope, start = _line(own, given.x)
    if slope is None or start is None:
        return unread(f"{must}; yours multiplies dout by something else than a scaled and shifted x.")
    if np.max(np.abs(slope)) < CLOSE:
        return Finding("not-normalised", f"{must}; in yours x takes no part.")
    counted = of_counts(slope, -start / slope, given)
    if counted is not None:
        return counted
    if not near(start, -slope * given.mean):
        if near(slope, np.ones_like(slope)) and near(start, np.zeros_like(start)):
            return Finding("not-normalised", f"{must}; yours multiplies by x itself.")
        if near(start, np.zeros_like(start)):
            return Finding("not-centred", f"{must}; the mean is not subtracted from yours.")
        if near(slope, 1 / np.sqrt(1 + given.eps)) or near(slope, 1 / given.s):
            return Finding("other-statistics", f"{must}, by the mean and the variance of this x; yours has others.")
        return unread(f"{must}; the mean that yours subtracts is {(-start / slope).flat[0]:.6g} in channel 0.")
    if near(slope, np.ones_like(slope)):
        return Finding("not-normalised", f"{must}; yours multiplies by x - mean.")
    ratio = Ratio.read(slope * given.s, given)
    return of_the_whole("dgamma", ratio, given) or unread(f"{must}; yours is {ratio} times that.")


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
    subsets = [tuple(k for k in real if k in chosen) for chosen in choices_of(x.ndim)]
    right = tuple(k for k in real if k < x.ndim - 1)
    for over, of in product(dict.fromkeys(subsets), repeat=2):
        if (over, of) != (right, right) and over and of:
            centered = x - x.mean(over, keepdims=True)
            for var in (x.var(of, keepdims=True), (centered**2).mean(of, keepdims=True)):
                if near(own, centered / np.sqrt(np.where(var + given.eps > 0, var + given.eps, np.inf))):
                    return f"the mean over the axes {listed(over)}, the variance over {listed(of)}"
    return None
