"""Reads by which factor a coefficient of batch norm's backward differs from the right one."""

from itertools import product
from typing import NamedTuple

import numpy as np

from npmnv2.labs.product import Finding
from npmnv2.validate import Array

CLOSE = 1e-8
SMALL = (1.0, -1.0, 2.0, 0.5, -2.0, -0.5, 4.0, 0.25, 3.0)  # factors that come from derivatives and slips


def near(a: Array | float, b: Array | float) -> bool:
    """Equal, but for rounding."""
    return bool(np.allclose(a, b, rtol=CLOSE, atol=CLOSE * max(1.0, float(np.max(np.abs(b), initial=0.0)))))


class Given(NamedTuple):
    """A case, and what a right derivation has in it; arrays of one number a channel."""

    x: Array  # (..., C)
    gamma: Array
    eps: float
    m: int  # values a channel
    mean: Array
    var: Array
    s: Array  # sqrt(var + eps)
    xhat: Array


class Ratio(NamedTuple):
    """What a coefficient is divided by what it must be: factor * s^power * gamma^gamma, and how often m is in it."""

    values: Array  # one a channel
    named: bool  # is it such a product?
    factor: float = 1.0
    power: int = 0  # of the standard deviation
    gamma: int = 0
    says: str = ""  # what is wrong with the division by m
    cause: str = ""

    @property
    def one(self) -> bool:
        return near(self.values, np.ones_like(self.values))

    @property
    def zero(self) -> bool:
        return bool(np.max(np.abs(self.values)) < CLOSE)

    def __str__(self) -> str:
        return "0" if self.zero else f"{self.values[0]:.6g}"

    @classmethod
    def read(cls, values: Array, given: Given) -> "Ratio":
        """The simplest product that gives these values in every channel."""
        values = np.asarray(values)
        if np.max(np.abs(values)) < CLOSE:
            return cls(values, True, 0.0)
        choices = [
            (count, cause, said, factor, power, gamma)
            for count, cause, said in _counts(given)
            for factor in SMALL
            for power in range(-4, 5)
            for gamma in range(-2, 3)
        ]
        choices.sort(
            key=lambda k: (bool(k[1]) + (k[3] != 1) + abs(k[4]) + abs(k[5]), abs(k[4]), abs(np.log(abs(k[3]))))
        )
        for count, cause, said, factor, power, gamma in choices:
            if near(count * factor * given.s**power * given.gamma**gamma, values):
                return cls(values, True, factor, power, gamma, said, cause)
        return cls(values, False)


def _counts(given: Given) -> list[tuple[float, str, str]]:
    """What a wrong division by m does to a term: its factor, the cause, and what is said."""
    m = given.m
    found = [
        (1.0, "", ""),
        (m / (m - 1), "count-minus-one", f"yours divides by m - 1 = {m - 1}"),
        (float(m), "count-wrong", "yours does not divide"),
        (1 / m, "averaged", "yours divides twice"),
    ]
    found += [
        (m / size, "count-wrong", f"yours divides by {names} = {size}")
        for names, size in _sizes(given)
        if m / size not in SMALL  # it could be either
    ]
    return found


def _sizes(given: Given) -> list[tuple[str, int]]:
    """What somebody might divide by: the sizes of x and their products."""
    axes = ("R", "C") if given.x.ndim == 2 else ("N", "H", "W", "C")
    found = []
    for chosen in product((False, True), repeat=len(axes)):
        size = int(np.prod([size for size, there in zip(given.x.shape, chosen, strict=True) if there]))
        if size > 1:
            found.append(("*".join(name for name, there in zip(axes, chosen, strict=True) if there), size))
    return found


def of_statistics(ratio: Ratio, given: Given) -> Finding | None:
    """1 / std as somebody might have it: which one gives this ratio to the right one?"""
    m, var, eps, s = given.m, given.var, given.eps, given.s
    v = ratio.values
    if eps and near(v, s / np.sqrt(var)):
        return Finding("eps-missing", "eps is missing: 1 / sqrt(var) is not 1 / sqrt(var + eps).")
    if eps and (near(v, s / (np.sqrt(var) + eps)) or near(v, s / np.sqrt(var + eps**2))):
        return Finding("eps-outside", "eps must be added to the variance, inside the root; yours is added elsewhere.")
    for unbiased in (var * m / (m - 1) + eps, var * m / (m - 1)):
        if near(v, s / np.sqrt(unbiased)):
            return Finding("count-minus-one", f"the variance must be divided by m = {m}; yours by m - 1 = {m - 1}.")
    if near(v, 1 / s) or (eps and (near(v, s / (var + eps)) or near(v, s / var))):
        return Finding("variance-for-root", "the division must be by the root of var + eps; yours is without a root.")
    if near(v, s) and not near(s, np.ones_like(s)):
        return Finding("std-power", "the division by the standard deviation is missing.")
    return None


def of_counts(slope: Array, mean: Array, given: Given) -> Finding | None:
    """Sums that are divided by another number than m: which gives the mean, and then the 1 / std, of a student?"""
    axes, m = tuple(range(given.x.ndim - 1)), given.m
    squares = ((given.x - mean) ** 2).sum(axes)
    sizes = [("m", m), *((names, size) for names, size in _sizes(given) if size != m)]
    for (a, first), (b, second) in product(sizes, repeat=2):
        right = near(mean, given.mean * m / first) and near(slope, 1 / np.sqrt(squares / second + given.eps))
        if right and (first, second) != (m, m):
            by = f"both by {a} = {first}" if a == b else f"the mean by {a} = {first}, the variance by {b} = {second}"
            return Finding("count-wrong", f"Mean and variance must be divided by m = {m}; yours: {by}.")
    return None


def of_the_whole(name: str, ratio: Ratio, given: Given) -> Finding | None:
    """One factor of a whole result."""
    if name != "dbeta":
        other = of_statistics(ratio, given)
        if other is not None:
            return Finding(other.cause, f"In {name}, {other.says}")
    if name != "dx" and near(ratio.values, ratio.values[0]):
        for names, size in _sizes(given):
            if near(ratio.values[0], 1 / size):
                return Finding("averaged", f"{name} must be a sum; yours is divided by {names} = {size}.")
    if not ratio.named:
        return None
    simple = not ratio.says + ratio.cause
    if ratio.gamma and ratio.gamma in (-1, 1) and ratio.factor == 1 and not ratio.power and simple:
        if ratio.gamma < 0:
            return Finding("gamma-forgotten", f"{name} does not depend on gamma as it must: a factor gamma is missing.")
        return Finding("gamma-extra", f"{name} has a factor gamma too much.")
    if ratio.says and ratio.factor == 1 and not ratio.power and not ratio.gamma:
        if ratio.cause == "averaged":
            return Finding("averaged", f"{name} as a whole is divided by m = {given.m}.")
        if ratio.cause == "count-wrong":
            return Finding("factor", f"Every element of {name} is {ratio} times what it must be.")
        return Finding(ratio.cause, f"{name} is {ratio} times what it must be.")
    if ratio.factor == -1 and not ratio.power and not ratio.gamma and simple:
        return Finding("sign", f"Every element of {name} has the wrong sign.")
    if ratio.power and ratio.factor == 1 and not ratio.gamma and simple:
        often = "too often" if ratio.power < 0 else "too rarely"
        return Finding("std-power", f"{name} is divided by the standard deviation {abs(ratio.power)} times {often}.")
    if not ratio.power and not ratio.gamma and simple and ratio.factor:
        return Finding("factor", f"Every element of {name} is {ratio.factor:g} times what it must be.")
    return None
