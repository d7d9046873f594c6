"""A folder of submissions: which file is whose and for which lab, and their verdicts, several at a time.

Every file is judged in a process of its own (`process.py`). Whatever one does, the others have their verdicts.
"""

import contextlib
import hashlib
import os
import queue
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from npmnv2 import labs
from npmnv2.labs.grade import not_run
from npmnv2.labs.process import end_all
from npmnv2.labs.submission import Unreadable, judge, read

ENDINGS = (".py", ".ipynb")
_LAB = re.compile(r"(?<![a-z])lab[ _-]?(\d+)", re.IGNORECASE)
_LAB_AND_COPIES = re.compile(r"[ _.-]*(?<![a-z])lab[ _-]?\d+([ _-]*\(?\d+\)?)?[ _.-]*", re.IGNORECASE)


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Submission(NamedTuple):
    """A file that somebody handed in."""

    student: str  # the folder it is in, or what its name says besides the lab
    file: str  # below the folder of all, with "/"
    path: str
    lab: int


class Row(NamedTuple):
    """A submission, and its verdict as `Verdict.document()` has it."""

    submission: Submission
    sha256: str  # of the file's bytes; empty if it could not be read
    verdict: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """What the JSON document has of it."""
        own = {"student": self.submission.student, "file": self.submission.file, "sha256": self.sha256}
        return {**own, **self.verdict}


def find(folder: str, only: int | None = None) -> tuple[list[Submission], list[tuple[str, str]]]:
    """The submissions in a folder, and the files that are none, each with the reason.

    Parameters
    ----------
    folder : str
        `STUDENT/lab2.py`, `STUDENT/.../lab2.py` or `STUDENT_lab2.py`: whose a file is says the first folder, else
        its name without the lab.
    only : int, optional
        This lab alone; then a file with no lab in its name is one for it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as name:
    ...     for file in ("ada/lab1.py", "ada/lab2.py", "Bob Ray_lab2 (1).py", "notes.txt"):
    ...         path = pathlib.Path(name, file)
    ...         path.parent.mkdir(exist_ok=True)
    ...         _ = path.write_text("")
    ...     found, left_out = find(name)
    >>> [(s.student, s.lab) for s in found], left_out
    ([('Bob Ray', 2), ('ada', 1), ('ada', 2)], [('notes.txt', 'is no .py or .ipynb file')])
    """
    found, left_out = [], []
    for file, path, why in _files(folder):
        stem, ending = os.path.splitext(os.path.basename(file))
        numbers = _LAB.findall(stem)
        number = int(numbers[-1]) if numbers else only
        if why:
            left_out.append((file, why))
        elif ending.lower() not in ENDINGS:
            left_out.append((file, f"is no {' or '.join(ENDINGS)} file"))
        elif number is None:
            left_out.append((file, "has no lab in its name, such as lab2"))
        elif number not in labs.numbers():
            left_out.append((file, f"there is no lab {number}"))
        elif only is not None and number != only:
            left_out.append((file, f"is for lab {number}"))
        else:
            found.append(Submission(_student(folder, file, stem), file, path, number))
    return found, left_out


def _files(folder: str) -> Iterator[tuple[str, str, str]]:
    """Every file below a folder: its name with "/", its path, and why it is not looked at, if so."""
    unread: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unread.append):
        for name in sorted(folders + files):
            path = os.path.join(place, name)
            why = ""
            if name.startswith((".", "__")):
                why = "is hidden, or made by a program"
            elif os.path.islink(path):
                why = "is a link, and could lead to another's file"
            if why or name in files:
                yield os.path.relpath(path, folder).replace(os.sep, "/"), path, why
            if why and name in folders:
                folders.remove(name)
        folders.sort()
    for error in unread:
        path = str(error.filename)
        yield os.path.relpath(path, folder).replace(os.sep, "/"), path, f"cannot be read: {error.strerror}"


def _student(folder: str, file: str, stem: str) -> str:
    if "/" in file:
        return file.partition("/")[0]
    return _LAB_AND_COPIES.sub(" ", stem).strip() or os.path.basename(os.path.abspath(folder))


def verdicts(
    submissions: Iterable[Submission], jobs: int, limit: float, seed: int | None = None, kept: Iterable[Row] = ()
) -> Iterator[Row]:
    """The rows of all submissions, as they are ready.

    Parameters
    ----------
    submissions : iterable of Submission
    jobs : int
        How many are judged at a time.
    limit : float
        Seconds that one call may take.
    seed : int, optional
        Of the variants of lab 3: each student's is that of `seed/student`.
    kept : iterable of Row
        Verdicts of an earlier run; one whose file has not changed is taken as it is.
    """
    earlier = {(row.submission.file, row.submission.lab, row.sha256): row for row in kept if row.sha256}
    waiting: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    ready: queue.SimpleQueue[Row] = queue.SimpleQueue()
    count = 0
    for submission in submissions:
        waiting.put(submission)
        count += 1

    def work() -> None:
        while True:
            try:
                submission = waiting.get_nowait()
            except queue.Empty:
                return
            ready.put(_row(submission, limit, seed, earlier))

    for _ in range(min(jobs, count)):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in range(count):
            yield ready.get()
    finally:  # nobody waits for the rest
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        end_all()


def _row(submission: Submission, limit: float, seed: int | None, earlier: dict[tuple[str, int, str], Row]) -> Row:
    try:
        sha256 = hashlib.sha256(read(submission.path)).hexdigest()
    except Unreadable:
        sha256 = ""
    row = earlier.get((submission.file, submission.lab, sha256))
    if row is not None:
        return row
    variant = f"{seed}/{submission.student}" if seed is not None and submission.lab in labs.WITH_VARIANTS else None
    try:
        verdict = judge(labs.find(submission.lab, variant), submission.path, limit).document()
    except Exception as error:  # a mistake of the grader's must not cost the others their verdicts
        verdict = not_run(labs.find(submission.lab), "grader-failed", f"The grader failed: {error!r}").document()
        sha256 = ""  # judge it again next time
    return Row(submission, sha256, verdict)
