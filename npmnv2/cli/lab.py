"""`python -m npmnv2 lab`: a learner's files, judged."""

import argparse
import os
import textwrap
import time
from typing import TYPE_CHECKING

from npmnv2.cli.output import complain, print_json

if TYPE_CHECKING:
    from npmnv2.labs.grade import Verdict
    from npmnv2.labs.lab import Lab

USAGE = 2


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    lab = commands.add_parser(
        "lab",
        help="exercises: you write an operation, the grader says why it is wrong (docs/labs)",
        usage="%(prog)s [-h] [N [FILE] | start N [FILE]] [--hint] [--watch] [--json] [--timeout S]",
        description="Without N: how far you are. `start N` writes the file to begin with; `N` judges it.",
        epilog="Exit status: 0 passed, 1 not yet, 2 bad usage.",
    )
    lab.add_argument("words", nargs="*", metavar="N", help="the lab's number, and its file (default: labN.py)")
    lab.add_argument("--hint", action="store_true", help="a hint as well, for what is wrong")
    lab.add_argument("--watch", action="store_true", help="judge again whenever the file changes, until it passes")
    lab.add_argument("--json", action="store_true", help="one JSON document instead of text")
    lab.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds that one call may take (default: %(default)g)"
    )
    lab.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2 import labs

    words = list(arguments.words)
    starts = words[:1] == ["start"]
    numbers = words[1:] if starts else words
    if not 0 < arguments.timeout <= 600:
        return _misused(f"--timeout must be more than 0 and at most 600 seconds; was {arguments.timeout:g}")
    if not words:
        return _progress(arguments)
    known = ", ".join(map(str, labs.numbers()))
    if not numbers or not numbers[0].isdecimal() or int(numbers[0]) not in labs.numbers():
        return _misused(f"the labs are {known}; was {numbers[0] if numbers else 'none'}")
    if len(numbers) > 2:
        return _misused(f"one file at a time; was {' '.join(numbers[1:])}")
    number = int(numbers[0])
    path = numbers[1] if len(numbers) == 2 else f"lab{number}.py"
    if starts:
        return _start(labs.find(number), labs.stub(number), path)
    if not os.path.isfile(path):
        return _misused(f"there is no file {path}; `python -m npmnv2 lab start {number}` writes one to begin with")
    if arguments.watch:
        return _watch(labs.find(number), path, arguments)
    return _judge(labs.find(number), path, arguments)


def _start(lab: "Lab", text: str, path: str) -> int:
    beside = os.path.join(os.path.dirname(path), lab.beside.name) if lab.beside else ""
    if beside and os.path.exists(beside) and not _holds(beside, lab):
        return _misused(
            f"{beside} is there already, and lab {lab.number} needs another file of that name; move it away"
        )
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return _misused(f"{path} is there already, and was left as it is; name another file after the number")
    print(f"Wrote {path}: lab {lab.number}, {lab.title.lower()}, about {lab.minutes} minutes.")
    print(f"It teaches: {lab.sentence}." if lab.number else f"It shows {lab.sentence}.")
    if lab.beside and not os.path.exists(beside):
        with open(beside, "xb") as data:
            data.write(lab.beside.read_bytes())
        print(f"Wrote {beside}: the data that it needs.")
    named = "" if path == f"lab{lab.number}.py" else f" {path}"
    print(f"When you want to know: python -m npmnv2 lab {lab.number}{named}")
    return 0


def _holds(path: str, lab: "Lab") -> bool:
    """Is this the file that the lab needs?"""
    with open(path, "rb") as file:
        return lab.beside is not None and file.read() == lab.beside.read_bytes()


def _judge(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    verdict = _verdict(lab, path, arguments.timeout)
    if arguments.json:
        print_json(verdict.document())
    else:
        lines = _text(lab, verdict, path, arguments.hint)
        print(*("".join(c for c in line if c.isprintable()) for line in lines), sep="\n", flush=True)
    return 0 if verdict.passed else 1


def _verdict(lab: "Lab", path: str, timeout: float) -> "Verdict":
    from npmnv2.labs.grade import grade

    with open(path, encoding="utf-8", errors="replace") as file:
        return grade(lab, file.read(), path, timeout)


def _watch(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    seen: tuple[int, int] | None = None
    now: tuple[int, int] | None
    while True:
        try:
            status = os.stat(path)
            now = (status.st_mtime_ns, status.st_size)
        except FileNotFoundError:  # as an editor saves
            now = seen
        if now != seen:
            seen = now
            if _judge(lab, path, arguments) == 0:
                return 0
        time.sleep(0.2)


def _text(lab: "Lab", verdict: "Verdict", path: str, hint: bool) -> list[str]:
    from npmnv2.labs.causes import CAUSES

    lines = [f"lab {lab.number}, {lab.title.lower()}: {path}"]
    if verdict.output.strip():
        printed = verdict.output.rstrip().splitlines()
        lines += ["", "it printed", *(f"  | {line[:110]}" for line in printed[-5:])]
    if verdict.passed:
        return [*lines, "", f"passed: all {len(lab.cases)} cases ({verdict.seconds:.1f} s)", *_cost(verdict)]
    assert verdict.cause is not None
    where = ", ".join(
        part
        for part in (
            f"function {verdict.function}" if verdict.function else "",
            f"{path}, line {verdict.line}" if verdict.line else "",
        )
        if part
    )
    lines += ["", f"not yet: {verdict.cause}" + (f" ({where})" if where else "")]
    if verdict.case:
        lines.append(f"  the smallest case that fails: {verdict.case.adds}")
        lines += [f"  {verdict.case}"] if verdict.case.sizes else []
    lines += ["", *textwrap.wrap(verdict.says, 100, initial_indent="  ", subsequent_indent="  "), ""]
    cause = CAUSES[verdict.cause]
    lines.append(f"  {cause.question}")
    lines.append(f"  Hint: {cause.hint}" if hint else "  (--hint says more)")
    right = round(verdict.score * len(lab.cases))
    return [*lines, "", f"  {right} of {len(lab.cases)} cases are right ({verdict.seconds:.1f} s)"]


def _cost(verdict: "Verdict") -> list[str]:
    lines = []
    if verdict.par is not None:
        counted = "not countable" if verdict.madds is None else f"{verdict.madds:,}"
        lines = [f"  multiply-adds   {counted:>14}   par {verdict.par:,}"]
    if verdict.bytes is not None:
        lines.append(f"  bytes at most   {verdict.bytes:>14,}   beyond the arguments, for a small image")
    return lines


def _progress(arguments: argparse.Namespace) -> int:
    """Every lab whose file lies in this folder is judged, so that what is printed is true."""
    from npmnv2 import labs

    found, rows = [], []
    for number in labs.numbers():
        lab, path = labs.find(number), f"lab{number}.py"
        if not os.path.isfile(path):
            rows.append((number, lab.title, "not begun", "", ""))
            continue
        verdict = _verdict(lab, path, arguments.timeout)
        found.append(verdict)
        state = "passed" if verdict.passed else f"not yet: {verdict.cause}"
        cost = "" if verdict.madds is None else f"{verdict.madds:,}"
        rows.append((number, lab.title, state, cost, "" if verdict.par is None else f"{verdict.par:,}"))
    if arguments.json:
        print_json({"labs": [verdict.document() for verdict in found]})
    else:
        print(f"{'lab':<32}{'':<30}{'multiply-adds':>14}{'par':>10}")
        for number, title, state, cost, par in rows:
            print(f"{number} {title:<30}{state:<30}{cost:>14}{par:>10}")
        if not found:
            print("\nTo begin: python -m npmnv2 lab start 0")
    return 0 if len(found) == len(rows) and all(verdict.passed for verdict in found) else 1


def _misused(line: str) -> int:
    complain(f"npmnv2 lab: {line}")
    return USAGE
