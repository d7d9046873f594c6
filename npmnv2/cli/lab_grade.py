"""`python -m npmnv2 lab grade`: a folder of submissions, judged."""

import argparse
import csv
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npmnv2 import __version__
from npmnv2.atomic import writing
from npmnv2.cli.lab_options import add_timeout, misused, timeout_problem
from npmnv2.cli.output import printable

if TYPE_CHECKING:
    from npmnv2.labs.batch import Row

DESCRIPTION = """\
Judge every file STUDENT/lab2.py or STUDENT_lab2.py in a folder (or .ipynb), each in a process of its own. With --json a
run that was stopped goes on where it was: verdicts of files that have not changed are kept. Exit status: 0 all were
judged, 1 the grader failed on a file, 2 bad usage. This is no sandbox: files of strangers belong into a container."""
COLUMNS = [
    "student",
    "file",
    "lab",
    "passed",
    "score",
    "cause",
    "says",
    "function",
    "line",
    "madds",
    "bytes",
    "par",
    "seconds",
]
SAVED_EVERY = 2.0  # seconds


def run(parser: argparse.ArgumentParser, words: list[str]) -> int:
    """Parse the words, judge, and write what was asked for."""
    from npmnv2 import labs
    from npmnv2.labs import batch

    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--lab", type=int, metavar="N", help="this lab alone, whether it is in a file's name or not")
    parser.add_argument("--csv", metavar="F", help="a table, a row a file")
    parser.add_argument("--json", metavar="F", help="one document, from which a stopped run goes on")
    parser.add_argument("--gradescope", metavar="F", help="FOLDER is one submission: Gradescope's results.json")
    parser.add_argument(
        "--jobs", type=int, default=batch.cores(), metavar="N", help="files at a time (default: the cores, %(default)s)"
    )
    add_timeout(parser)
    parser.add_argument("--seed", type=int, metavar="S", help="lab 3: the course's number; variants by student")
    arguments = parser.parse_args(words)
    problem = timeout_problem(arguments.timeout)
    if arguments.jobs < 1:
        problem = f"--jobs must be at least 1; was {arguments.jobs}"
    if arguments.lab is not None and arguments.lab not in labs.numbers():
        problem = f"--lab must be one of {', '.join(map(str, labs.numbers()))}; was {arguments.lab}"
    if not os.path.isdir(arguments.folder):
        problem = f"there is no folder {arguments.folder}"
    problem = problem or _file_problem(arguments)
    if problem:
        return misused(problem)
    return _Run(arguments).judge()


def _file_problem(arguments: argparse.Namespace) -> str:
    """Nothing is replaced but what an earlier run has written."""
    paths = {name: getattr(arguments, name) for name in ("csv", "json", "gradescope")}
    paths = {name: path for name, path in paths.items() if path is not None}
    if "" in paths.values():
        return f"--{next(name for name, path in paths.items() if not path)} must name a file; was empty"
    real = [os.path.realpath(path) for path in paths.values()]
    if len(set(real)) < len(real):
        return "--csv, --json and --gradescope must be different files"
    inside = os.path.realpath(arguments.folder) + os.sep
    for path in real:
        if path.startswith(inside):
            return f"{path} is in the folder of the submissions; write it elsewhere"
        if not os.path.isdir(os.path.dirname(path)):
            return f"there is no folder {os.path.dirname(path)}"
        if os.path.lexists(path) and not os.path.isfile(path):
            return f"{path} is there already, and is no file"
    other = "{} is there and holds something else; it was left as it is"
    if arguments.csv is not None and os.path.exists(arguments.csv) and not _is_our_table(arguments.csv):
        return other.format(arguments.csv)
    if arguments.json is not None and os.path.exists(arguments.json):
        document = _document(arguments.json)
        if not _is_ours(document):
            return other.format(arguments.json)
        if document.get("folder") != _absolute(arguments.folder):
            return f"{arguments.json} is of another folder, {document.get('folder')}; it was left as it is"
    return ""


def _absolute(folder: str) -> str:
    return os.path.realpath(folder).encode("utf-8", "backslashreplace").decode()


def _is_our_table(path: str) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.readline(1000).rstrip("\r\n") == ",".join(COLUMNS)


def _is_ours(found: Any) -> bool:
    """Is it a document that `lab grade` has written?"""
    if not isinstance(found, dict) or "npmnv2" not in found or not isinstance(found.get("submissions"), list):
        return False
    return all(_is_row(row) for row in found["submissions"])


def _is_row(row: Any) -> bool:
    """Has it all that a row has, each of its type?"""
    if not isinstance(row, dict) or set(row) != {*COLUMNS, "sha256", "case"}:
        return False
    texts = all(isinstance(row[name], str) for name in ("student", "file", "sha256", "says"))
    maybe = all(row[name] is None or isinstance(row[name], str) for name in ("cause", "function"))
    counts = all(row[name] is None or type(row[name]) is int for name in ("line", "madds", "bytes", "par"))
    numbers = all(type(row[name]) in (int, float) and 0 <= row[name] < 1e9 for name in ("score", "seconds"))
    rest = type(row["lab"]) is int and type(row["passed"]) is bool and isinstance(row["case"], dict | None)
    return texts and maybe and counts and numbers and row["score"] <= 1 and rest


def _document(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError):
        return None


class _Run:
    """One call of `lab grade`: what is known so far, and where it is written."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from npmnv2.labs import batch

        self.arguments = arguments
        self.settings = {"npmnv2": __version__, "timeout": arguments.timeout, "seed": arguments.seed}
        self.failed: OSError | None = None  # to save, the last time
        self.seen = True  # whether somebody reads what is printed
        self.found, self.left_out = batch.find(arguments.folder, arguments.lab)
        self.kept = self._kept()
        self.rows: list[Row] = []

    def judge(self) -> int:
        from npmnv2.labs import batch

        if self.kept:
            self._say(f"{len(self.kept)} verdicts of {self.arguments.json} are kept")
        saved = start = time.monotonic()
        try:
            for row in batch.verdicts(
                self.found, self.arguments.jobs, self.arguments.timeout, self.arguments.seed, self.kept
            ):
                self.rows.append(row)
                self._print(row)
                if time.monotonic() - saved > SAVED_EVERY:
                    self._save()
                    saved = time.monotonic()
        finally:
            self._save()
        self._summary(time.monotonic() - start)
        if self.failed:
            raise self.failed
        return 1 if any(row.verdict["cause"] == "grader-failed" for row in self.rows) else 0

    def _kept(self) -> "list[Row]":
        """The rows of an earlier run with the same settings."""
        from npmnv2.labs.batch import Row

        path = self.arguments.json
        if path is None or not os.path.exists(path):
            return []
        document = _document(path)
        if {name: document.get(name) for name in self.settings} != self.settings:
            self._say(f"{path} is of a run with other settings: all files are judged anew")
            return []
        here = {(s.file, s.lab): s for s in self.found}
        rows = []
        for entry in document["submissions"]:
            entry = dict(entry)
            entry.pop("student")
            submission = here.get((entry.pop("file"), entry["lab"]))
            if submission is not None:
                rows.append(Row(submission, entry.pop("sha256"), entry))
        return rows

    def _say(self, line: str) -> None:
        print(printable(f"npmnv2 lab grade: {line}"), file=sys.stderr, flush=True)

    def _print(self, row: "Row") -> None:
        verdict = row.verdict
        state = "passed" if verdict["passed"] else f"not yet: {verdict['cause']}"
        count = f"{len(self.rows)}/{len(self.found)}"
        line = f"{count:>9}  {row.submission.file:<40} lab {verdict['lab']}  {verdict['score']:>4.0%}  {state}"
        self._show(line)

    def _show(self, line: str) -> None:
        """A line on stdout, as long as somebody reads it: in `... | head` the rest is judged all the same."""
        try:
            if self.seen:
                print(printable(line), flush=True)
        except BrokenPipeError:
            self.seen = False

    def _summary(self, seconds: float) -> None:
        for number in sorted({row.verdict["lab"] for row in self.rows}):
            mine = [row.verdict for row in self.rows if row.verdict["lab"] == number]
            causes = Counter(verdict["cause"] for verdict in mine if not verdict["passed"])
            listed = ", ".join(f"{cause} {count}" for cause, count in causes.most_common())
            passed = sum(verdict["passed"] for verdict in mine)
            self._show(f"lab {number}: {passed} of {len(mine)} passed" + (f"; not yet: {listed}" if listed else ""))
        for file, why in self.left_out[:10]:
            self._show(f"left out: {file} {why}")
        if len(self.left_out) > 10:
            self._show(f"left out: {len(self.left_out) - 10} more, which --json lists")
        self._show(f"{len(self.rows)} files in {seconds:.0f} s")

    def _save(self) -> None:
        """Write all files as far as the verdicts go, sorted as the submissions are; a full disk stops no judging."""
        from npmnv2.labs import gradescope

        order = {submission: k for k, submission in enumerate(self.found)}
        rows = sorted(self.rows, key=lambda row: order[row.submission])
        done = {row.submission for row in rows}
        waiting = [row for row in self.kept if row.submission not in done]
        document = {
            **self.settings,
            "folder": _absolute(self.arguments.folder),
            "submissions": [row.document() for row in [*rows, *waiting]],
            "left_out": [{"file": file, "why": why} for file, why in self.left_out],
        }
        expected = [] if self.arguments.lab is None else [self.arguments.lab]
        self.failed = None
        texts: list[tuple[str | None, Callable[[], str]]] = [
            (self.arguments.json, lambda: json.dumps(document, indent=2)),
            (self.arguments.csv, lambda: _table(rows)),
            (self.arguments.gradescope, lambda: json.dumps(gradescope.results(rows, expected), indent=2)),
        ]
        for path, text in texts:
            if path is not None:
                try:
                    with writing(path) as file:
                        file.write(text().encode("utf-8", errors="backslashreplace"))
                except OSError as error:
                    self.failed = error


def _table(rows: "list[Row]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        document = row.document()
        writer.writerow([_cell(document[name]) for name in COLUMNS])
    return "\ufeff" + text.getvalue()  # the mark tells a spreadsheet that it is UTF-8


def _cell(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
