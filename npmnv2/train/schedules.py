"""The learning rate as a function of the step."""

import numpy as np

from npmnv2.validate import check_int, check_number


def cosine_schedule(lr: float, step: int, steps: int, warmup: int = 0) -> float:
    """The learning rate at one step: a linear warm-up, then half a cosine down to 0.

    ::

        lr * (step + 1) / warmup                                        while step < warmup
        lr * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2     after

    Parameters
    ----------
    lr : float
        The highest.
    step, steps, warmup : int
        The step it is for (from 0), how many there are, how many of them warm up.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        For a number that is none, a step before the first or a warm-up longer than the run.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR", arXiv:1608.03983, equation (5), without restarts.

    Examples
    --------
    >>> [round(cosine_schedule(1.0, step, steps=6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    lr, steps = check_number(lr, "lr", 0), check_int(steps, "steps")
    step, warmup = check_int(step, "step", 0, steps), check_int(warmup, "warmup", 0, steps)
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(steps - warmup, 1))))


def exponential_schedule(lr: float, epoch: int, rate: float = 0.98) -> float:
    """The learning rate in one epoch of the published recipe: ``lr * rate ** epoch``, from 0.045 by 0.98.

    Parameters
    ----------
    lr : float
    epoch : int
        From 0.
    rate : float

    Returns
    -------
    float

    Notes
    -----
    `train.train` asks ``schedule(step, steps)``, so this one, which counts epochs, needs a line in between; with
    `per_epoch` steps in an epoch: ``lambda step, steps: exponential_schedule(0.045, step // per_epoch)``.

    References
    ----------
    .. [1] Sandler et al., arXiv:1801.04381, section 6.1.

    Examples
    --------
    >>> round(exponential_schedule(0.045, 1), 6)
    0.0441
    """
    return check_number(lr, "lr", 0) * check_number(rate, "rate", 0) ** check_int(epoch, "epoch", 0)
