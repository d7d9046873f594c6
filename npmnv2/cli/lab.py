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
    from npmnv2.labs.notebook import Source

USAGE = 2
TRYING = (
    "  The whole file is run before a function is called. What you only try out may stand under",
    '  `if __name__ == "__main__":`, in the same cell: the grader does not run it.',
)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options to a parser."""
    lab = commands.add_parser(
        "lab",
        help="exercises: you write an operation, the grader says why it is wrong (docs/labs)",
        usage="%(prog)s [-h] [N [FILE] | start N [FILE] [--notebook]] [--hint] [--watch] [--json] [--timeout S]",
        description="Without N: how far you are. `start N` writes the file to begin with; `N` judges it.",
        epilog="Exit status: 0 passed, 1 not yet, 2 bad usage.",
    )
    lab.add_argument("words", nargs="*", metavar="N", help="the lab's number, and its file: labN.py or labN.ipynb")
    lab.add_argument("--notebook", action="store_true", help="with `start`: write a notebook, labN.ipynb")
    lab.add_argument("--hint", action="store_true", help="a hint as well, for what is wrong")
    lab.add_argument("--watch", action="store_true", help="judge again whenever the file changes, until it passes")
    lab.add_argument("--json", action="store_true", help="one JSON document instead of text")
    lab.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds that one call may take (default: %(default)g)"
    )
    lab.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from npmnv2.labs.notebook import Unusable

    try:
        return _obey(arguments)
    except Unusable as error:
        return _misused(str(error))


def _obey(arguments: argparse.Namespace) -> int:
    from npmnv2 import labs

    words = list(arguments.words)
    starts = words[:1] == ["start"]
    numbers = words[1:] if starts else words
    if not 0 < arguments.timeout <= 600:
        return _misused(f"--timeout must be more than 0 and at most 600 seconds; was {arguments.timeout:g}")
    if arguments.notebook and not starts:
        return _misused("--notebook goes with `start N`; a notebook is judged by its name, labN.ipynb")
    if not words:
        return _progress(arguments)
    known = ", ".join(map(str, labs.numbers()))
    if not numbers or not numbers[0].isdecimal() or int(numbers[0]) not in labs.numbers():
        return _misused(f"the labs are {known}; was {numbers[0] if numbers else 'none'}")
    if len(numbers) > 2:
        return _misused(f"one file at a time; was {' '.join(numbers[1:])}")
    number = int(numbers[0])
    if starts:
        path = numbers[1] if len(numbers) == 2 else f"lab{number}.{'ipynb' if arguments.notebook else 'py'}"
        return _start(labs.find(number), labs.stub(number), path, arguments.notebook)
    path = numbers[1] if len(numbers) == 2 else _own(number)
    if not os.path.isfile(path):
        return _misused(f"there is no file {path}; `python -m npmnv2 lab start {number}` writes one to begin with")
    if arguments.watch:
        return _watch(labs.find(number), path, arguments)
    return _judge(labs.find(number), path, arguments)


def _own(number: int) -> str:
    """The file of a lab in this folder; the name of the one to write if there is none."""
    from npmnv2.labs.notebook import Unusable

    there = _there(number)
    if len(there) == 2:
        raise Unusable(f"{there[0]} and {there[1]} are both here; name one: python -m npmnv2 lab {number} {there[0]}")
    return there[0] if there else f"lab{number}.py"


def _there(number: int) -> list[str]:
    return [path for path in (f"lab{number}.py", f"lab{number}.ipynb") if os.path.isfile(path)]


def _start(lab: "Lab", text: str, path: str, as_notebook: bool) -> int:
    from npmnv2.labs import notebook

    if as_notebook and not notebook.is_notebook(path):
        return _misused(f"a notebook's name must end in .ipynb; was {path}")
    if notebook.is_notebook(path):
        text = notebook.from_stub(text)
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return _misused(f"{path} is there already, and was left as it is; name another file after the number")
    print(f"Wrote {path}: lab {lab.number}, {lab.title.lower()}, about {lab.minutes} minutes.")
    print(f"It teaches that {lab.sentence}." if lab.number else f"It shows {lab.sentence}.")
    named = "" if _there(lab.number) == [path] else f" {path}"
    print(f"When you want to know: python -m npmnv2 lab {lab.number}{named}")
    return 0


def _judge(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    source, verdict = _verdict(lab, path, arguments.timeout)
    if arguments.json:
        print_json(verdict.document())
    else:
        lines = _text(lab, verdict, path, source, arguments.hint)
        print(*("".join(c for c in line if c.isprintable()) for line in lines), sep="\n", flush=True)
    return 0 if verdict.passed else 1


def _verdict(lab: "Lab", path: str, timeout: float) -> "tuple[Source, Verdict]":
    from npmnv2.labs.grade import grade
    from npmnv2.labs.notebook import read

    source = read(path)
    return source, grade(lab, source.code, path, timeout)


def _watch(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    from npmnv2.labs.notebook import Unusable

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
            try:
                if _judge(lab, path, arguments) == 0:
                    return 0
            except Unusable as error:  # half written, it may be
                complain(f"npmnv2 lab: {error}")
        time.sleep(0.2)


def _text(lab: "Lab", verdict: "Verdict", path: str, source: "Source", hint: bool) -> list[str]:
    from npmnv2.labs.causes import CAUSES

    lines = [f"lab {lab.number}, {lab.title.lower()}: {path}"]
    lines += [f"  not run, for it is IPython's: {left[:80]}" for left in source.left_out[:5]]
    lines += [f"  and {len(source.left_out) - 5} more"] if len(source.left_out) > 5 else []
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
            f"{path}, {source.place(verdict.line)}" if verdict.line else "",
        )
        if part
    )
    lines += ["", f"not yet: {verdict.cause}" + (f" ({where})" if where else "")]
    if verdict.case:
        lines.append(f"  the smallest case that fails: {verdict.case.adds}")
        lines += [f"  {verdict.case}"] if verdict.case.sizes else []
    lines += ["", *textwrap.wrap(verdict.says, 100, initial_indent="  ", subsequent_indent="  "), ""]
    if verdict.case is None and verdict.cause in ("raises", "import", "hangs"):
        lines += [*TRYING, ""]
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
        lab, path = labs.find(number), _own(number)
        if not os.path.isfile(path):
            rows.append((number, lab.title, "not begun", "", ""))
            continue
        verdict = _verdict(lab, path, arguments.timeout)[1]
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
