"""The history of a run as a file for other programs: CSV, or a JSON document a line."""

import csv
import io
import json
import os
from collections.abc import Sequence

from npmnv2.atomic import writing
from npmnv2.train.progress import Epoch

ENDINGS = (".csv", ".jsonl")


def write(path: str | os.PathLike[str], history: Sequence[Epoch]) -> None:
    """Write one row an epoch; the file is replaced as a whole, so that it never ends in half a row.

    Parameters
    ----------
    path : path
        Ends in ``.csv`` or ``.jsonl``, which decides the format.
    history : sequence of Epoch

    Raises
    ------
    OSError
        If it cannot be written.

    Examples
    --------
    >>> text([Epoch(1, 0.1, 2.5, 0.25, 0.5, 1.0)], ".csv").splitlines()
    ['epoch,lr,loss,accuracy,test_accuracy,seconds,ema_accuracy', '1,0.1,2.5,0.25,0.5,1.0,']
    """
    with writing(path) as file:
        file.write(text(history, os.path.splitext(path)[1]).encode())


def text(history: Sequence[Epoch], ending: str) -> str:
    """The rows of the file.

    Examples
    --------
    >>> text([Epoch(1, 0.1, 2.5, 0.25, 0.5, 1.0)], ".jsonl")[:40]
    '{"epoch": 1, "lr": 0.1, "loss": 2.5, "ac'
    """
    if ending == ".jsonl":
        return "".join(json.dumps(epoch._asdict()) + "\n" for epoch in history)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows(history)
    return rows.getvalue()
