"""What several seeds say together: mean, spread, and intervals of 95 %."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# Student's t: 95 % of its values lie within plus and minus this, by degrees of freedom (1, 2, ...).
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
Z_95 = 1.959964  # the same of the normal distribution


class Mean(NamedTuple):
    """A mean over seeds."""

    mean: float
    spread: float  # standard deviation between seeds; NaN for one
    half: float  # the interval of 95 % is mean - half to mean + half; NaN for one


def mean(values: Sequence[float]) -> Mean:
    """The mean of one number a seed, and how far it can be trusted.

    ::

        spread = sqrt(sum((value - mean)^2) / (n - 1))
        half   = t * spread / sqrt(n)        t: 95 % of Student's distribution with n - 1 degrees of freedom

    Parameters
    ----------
    values : sequence of float
        At least one. For a paired comparison: the differences, one a seed.

    Returns
    -------
    Mean

    Raises
    ------
    ValueError
        If there is no value.

    Notes
    -----
    The interval holds if the values are independent and about normally distributed. Accuracies near 100 % are not.

    Examples
    --------
    >>> mean([1.0, 2.0, 3.0])
    Mean(mean=2.0, spread=1.0, half=2.4843...)
    """
    n = len(values)
    if n == 0:
        raise ValueError("values must hold at least one number; was empty")
    middle = math.fsum(values) / n
    if n == 1:
        return Mean(middle, math.nan, math.nan)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1))
    return Mean(middle, spread, T_95[min(n - 1, len(T_95)) - 1] * spread / math.sqrt(n))


def wilson(right: int, of: int) -> tuple[float, float]:
    """The interval of 95 % of a share that was counted: Wilson's, which holds near 0 and 1 and for few.

    ::

        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Parameters
    ----------
    right, of : int
        So many, of so many.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If `of` is not positive, or `right` not between.

    References
    ----------
    .. [1] Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Examples
    --------
    >>> [round(end, 3) for end in wilson(9, 10)]
    [0.596, 0.982]
    """
    if not 0 <= right <= of or of == 0:
        raise ValueError(f"right must be from 0 to of, and of at least 1; was {right} of {of}")
    p, z = right / of, Z_95
    middle = p + z * z / (2 * of)
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))
