"""The arrays that a layer holds: parameters, which training changes, and statistics, which follow the data."""

import math

from npmnv2.validate import Array

ROLES = frozenset({"weight", "depthwise", "bias", "gamma", "beta"})


class Parameter:
    """An array that training changes, its gradient, and what it is for.

    Parameters
    ----------
    value : ndarray
    role : "weight", "depthwise", "bias", "gamma" or "beta"
        Optimisers decide by it what to decay: the published recipe leaves out depthwise filters and batch norm.

    Raises
    ------
    ValueError
        For any other role.

    Examples
    --------
    >>> p = Parameter(np.zeros((3, 3, 8)), "depthwise")
    >>> p.value.shape, p.grad is None
    ((3, 3, 8), True)
    """

    def __init__(self, value: Array, role: str) -> None:
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(sorted(ROLES))}; was {role!r}")
        self.value = value
        self.grad: Array | None = None  # the shape of value, after a backward
        self.role = role


class Statistic:
    """An array that belongs to the state but has no gradient: a running mean or variance.

    Parameters
    ----------
    value : ndarray
    least : float
        The least that a value may be: 0 for a variance.

    Examples
    --------
    >>> Statistic(np.ones(4)).value.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, value: Array, least: float = -math.inf) -> None:
        self.value, self.least = value, least
