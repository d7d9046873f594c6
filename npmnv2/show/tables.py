"""Lines of text that more than one command prints: the epochs of a run, the errors of gradients."""

from collections.abc import Iterator

from npmnv2.gradcheck.cases import Check
from npmnv2.train.progress import Epoch


def epoch_header(averaged: bool) -> str:
    """The heading of `epoch_line`, with or without a column for averaged weights.

    Examples
    --------
    >>> epoch_header(averaged=False)
    'epoch      loss   training   held out   seconds'
    """
    return f"epoch      loss   training   held out   {'averaged   ' if averaged else ''}seconds"


def epoch_line(epoch: Epoch) -> str:
    """One epoch as a line under `epoch_header`.

    Examples
    --------
    >>> print(epoch_header(averaged=True) + chr(10) + epoch_line(Epoch(3, 0.02, 0.1234, 0.5, 0.9722, 1.26, 0.975)))
    epoch      loss   training   held out   averaged   seconds
        3    0.1234    50.00 %    97.22 %    97.50 %       1.3
    """
    shares = [epoch.accuracy, epoch.test_accuracy, *([] if epoch.ema_accuracy is None else [epoch.ema_accuracy])]
    columns = " ".join(f"{100 * share:>8.2f} %" for share in shares)
    return f"{epoch.epoch:>5} {epoch.loss:>9.4f} {columns} {epoch.seconds:>9.1f}"


def gradient_table(checks: list[Check]) -> Iterator[str]:
    """The error table, a line a gradient.

    Examples
    --------
    >>> print(*gradient_table([Check("depthwise", "dx", "differences", 3e-14, 1e-11)]), sep=chr(10))
    operation              gradient  method          error    allowed
    depthwise              dx        differences   3.0e-14      1e-11  ok
    """
    yield f"{'operation':<22} {'gradient':<9} {'method':<12} {'error':>8} {'allowed':>10}"
    for c in checks:
        verdict = "ok" if c.passed else "WRONG"
        yield f"{c.operation:<22} {c.gradient:<9} {c.method:<12} {c.error:>8.1e} {c.tolerance:>10.0e}  {verdict}"
