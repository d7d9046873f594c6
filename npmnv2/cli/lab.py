"""`python -m npmnv2 lab`: a learner's files, judged."""

import argparse
import os
import shlex
import textwrap
import time
from typing import TYPE_CHECKING

from npmnv2.cli.lab_options import add_timeout, misused, timeout_problem
from npmnv2.cli.output import print_json, printable

if TYPE_CHECKING:
    from npmnv2.labs.grade import Verdict
    from npmnv2.labs.lab import Lab

TRYING = (
    "  The whole file is run before a function is called. What you only try out may stand under",
    '  `if __name__ == "__main__":` (in a notebook in the same cell): the grader does not run it.',
)

GONE = 5  # looks in vain at a watched file: an editor that saves has put it back by then


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to a parser. Its words are parsed here: each form has options of its own."""
    lab = commands.add_parser(
        "lab",
        help="exercises: you write an operation, the grader says why it is wrong (docs/labs)",
        prefix_chars="\0",  # so that options are words like others
        add_help=False,
    )
    lab.add_argument("words", nargs="*")
    lab.set_defaults(run=lambda arguments: _run(list(arguments.words)))


def _run(words: list[str]) -> int:
    forms = {"start": _start, "grade": _grade, "claims": _claims}
    first = words[0] if words else ""
    return forms[first](words[1:]) if first in forms else _judge_or_progress(words)


def _parser(form: str, **texts: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m npmnv2 {form}", **texts)  # type: ignore[arg-type]


def _grade(words: list[str]) -> int:
    from npmnv2.cli import lab_grade

    return lab_grade.run(_parser("lab grade", description=lab_grade.DESCRIPTION), words)


def _claims(words: list[str]) -> int:
    from npmnv2.cli import claims

    texts = {"description": "Popular statements about MobileNet: true or false, or predict the number; then settle it."}
    return claims.run(_parser("lab claims", **texts), words)


def _judge_or_progress(words: list[str]) -> int:
    parser = _parser(
        "lab",
        usage="%(prog)s [-h] [N [FILE]] [--hint] [--watch] [--json] [--timeout S] [--seed S --student NAME]\n"
        "       %(prog)s start N [FILE] [--notebook] [--seed S --student NAME]\n"
        "       %(prog)s grade FOLDER ...\n"
        "       %(prog)s claims [N] ...",
        description="With N: judge that lab's file. Without: how far you are. `start N` writes the file to begin with; "
        "`grade` judges a folder of files, `claims` asks for what is true of MobileNet: see their --help.",
        epilog="Exit status: 0 passed, 1 not yet, 2 bad usage.",
    )
    parser.add_argument("number", nargs="?", metavar="N", help="the lab's number")
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: labN.py, or labN.ipynb")
    parser.add_argument("--hint", action="store_true", help="a hint as well, for what is wrong")
    parser.add_argument("--watch", action="store_true", help="judge again whenever the file changes, until it passes")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    add_timeout(parser)
    _add_variant(parser)
    arguments = parser.parse_args(words)
    problem = timeout_problem(arguments.timeout)
    if arguments.number is None:
        for name in ("hint", "watch", "seed", "student"):
            if getattr(arguments, name) not in (None, False):
                problem = problem or f"--{name} needs the number of a lab"
        return misused(problem) if problem else _progress(arguments)
    lab, wrong = _lab(arguments)
    if problem or wrong or lab is None:
        return misused(problem or wrong)
    there = [arguments.file] if arguments.file else _there(lab.number)
    if len(there) > 1:
        return misused(_two(lab.number))
    path = there[0] if there else f"lab{lab.number}.py"
    if not os.path.isfile(path):
        begin = f"`python -m npmnv2 lab start {lab.number}` begins a new lab{lab.number}.py"
        return misused(f"there is no file {path} in {os.getcwd()}; {begin}")
    return (_watch if arguments.watch else _judge)(lab, path, arguments)


def _there(number: int) -> list[str]:
    """The files of a lab in this folder."""
    return [path for path in (f"lab{number}.py", f"lab{number}.ipynb") if os.path.isfile(path)]


def _two(number: int) -> str:
    return "{0} and {1} are both here; name one: python -m npmnv2 lab {2} {0}".format(*_there(number), number)


def _add_variant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, metavar="S", help="lab 3: the course's number, for a variant each student")
    parser.add_argument("--student", metavar="NAME", help="lab 3: whose variant")


def _variant(arguments: argparse.Namespace) -> str | None:
    return None if arguments.seed is None else f"{arguments.seed}/{arguments.student}"


def _lab(arguments: argparse.Namespace) -> "tuple[Lab | None, str]":
    """The lab that is meant, or what is wrong with the words."""
    from npmnv2 import labs

    number, seed, student = arguments.number, arguments.seed, arguments.student
    if not number.isascii() or not number.isdecimal() or int(number) not in labs.numbers():
        order = "; a number comes first, then the file" if os.path.splitext(number)[1] else ""
        return None, f"the labs are {', '.join(map(str, labs.numbers()))}; was {number}{order}"
    if student is not None and (not student.strip() or not student.isprintable() or student.startswith("-")):
        return None, f"--student must be a name of printable letters that does not begin with -; was {student!r}"
    if (seed is None) != (student is None):
        return None, "--seed and --student belong together: a variant is of a course and a student"
    if seed is not None and int(number) not in labs.WITH_VARIANTS:
        return None, f"only lab {', '.join(map(str, labs.WITH_VARIANTS))} has variants; was lab {number}"
    return labs.find(int(number), _variant(arguments)), ""


def _start(words: list[str]) -> int:
    from npmnv2 import labs
    from npmnv2.labs.notebook import from_stub, is_notebook

    parser = _parser("lab start", description="Write the file that a lab begins with; nothing is overwritten.")
    parser.add_argument("number", metavar="N", help="the lab's number")
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: labN.py, or labN.ipynb")
    parser.add_argument("--notebook", action="store_true", help="write a notebook; so does a FILE that ends in .ipynb")
    _add_variant(parser)
    arguments = parser.parse_args(words)
    lab, wrong = _lab(arguments)
    if lab is None:
        return misused(wrong)
    path = arguments.file or f"lab{lab.number}.{'ipynb' if arguments.notebook else 'py'}"
    if not is_notebook(path) and not path.endswith(".py"):
        return misused(f"the file's name must end in .py or .ipynb; was {path}")
    if arguments.notebook and not is_notebook(path):
        return misused(f"a notebook's name must end in .ipynb; was {path}")
    stub = labs.stub(lab.number, _variant(arguments))
    options = "" if arguments.seed is None else f" --seed {arguments.seed} --student {shlex.quote(arguments.student)}"
    beside = os.path.join(os.path.dirname(path), lab.beside.name) if lab.beside else ""
    if beside and os.path.lexists(beside) and not _holds(beside, lab):
        return misused(f"{beside} is there already, and lab {lab.number} needs another file of that name; move it away")
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(from_stub(stub) if is_notebook(path) else stub)
    except FileExistsError:
        return misused(f"{path} is there already, and was left as it is; name another file after the number")
    except OSError as error:
        return misused(f"{path} cannot be written: {error.strerror}")
    print(f"Wrote {path}: lab {lab.number}, {lab.title.lower()}, about {lab.minutes} minutes.")
    print(f"It teaches: {lab.sentence}." if lab.number else f"It shows {lab.sentence}.")
    if lab.beside and not os.path.exists(beside):
        with open(beside, "xb") as data:
            data.write(lab.beside.read_bytes())
        print(f"Wrote {beside}: the data that it needs.")
    named = "" if _there(lab.number) == [path] else f" {shlex.quote(path)}"
    print(f"When you want to know: python -m npmnv2 lab {lab.number}{named}{options}")
    return 0


def _holds(path: str, lab: "Lab") -> bool:
    """Is this the file that the lab needs?"""
    if lab.beside is None or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(1 << 24) == lab.beside.read_bytes()


def _judge(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    from npmnv2.labs.submission import judge

    verdict = judge(lab, path, arguments.timeout)
    if verdict.cause == "not-a-notebook":
        return misused(f"{path}: {verdict.says}")
    if arguments.json:
        print_json(verdict.document())
    else:
        lines = text(lab, verdict, path, arguments.hint)
        print(*(printable(line) for line in lines), sep="\n", flush=True)
    return 0 if verdict.passed else 1


def _watch(lab: "Lab", path: str, arguments: argparse.Namespace) -> int:
    seen: tuple[int, int] | None = None
    missing = 0  # times in a row that the file was not there
    while True:
        try:
            status = os.stat(path)
        except OSError:
            missing += 1
            if missing == GONE:
                print(printable(f"{path} is gone; waiting for it"), flush=True)
        else:
            missing, now = 0, (status.st_mtime_ns, status.st_size)
            if now != seen:
                if seen and not arguments.json:
                    print(f"\n---- {time.strftime('%H:%M:%S')}", flush=True)
                seen = now
                if _judge(lab, path, arguments) == 0:
                    return 0
        time.sleep(0.2)


def text(lab: "Lab", verdict: "Verdict", path: str, hint: bool) -> list[str]:
    """A verdict in lines, for people."""
    from npmnv2.labs.questions import asked

    lines = [f"lab {lab.number}, {lab.title.lower()}: {path}"]
    left_out = verdict.source.left_out
    lines += [f"  not run, for it is IPython's: {what[:80]}" for what in left_out[:5]]
    lines += [f"  and {len(left_out) - 5} more"] if len(left_out) > 5 else []
    if verdict.output.strip():
        printed = verdict.output.rstrip().splitlines()
        where = ", and in the first case" if verdict.passed else ", and in this case" if verdict.case else ""
        lines += ["", f"printed as the file was loaded{where}", *(f"  | {line[:110]}" for line in printed[-5:])]
        many = verdict.left_out + len(printed[:-5])
        lines += [f"  (lines before these that are left out: {many})"] if many else []
    if verdict.passed:
        return [*lines, "", f"passed: all {len(lab.cases)} cases ({verdict.seconds:.1f} s)", *_cost(verdict)]
    assert verdict.cause is not None
    where = ", ".join(
        part
        for part in (
            f"function {verdict.function}" if verdict.function else "",
            f"{path}, {verdict.source.place(verdict.line)}" if verdict.line else "",
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
    cause = asked(verdict.cause, verdict.about)
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
    from npmnv2.labs.submission import judge

    files = {number: _there(number) for number in labs.numbers()}
    for number, there in files.items():
        if len(there) > 1:
            return misused(_two(number))
    found = []
    if not arguments.json:
        print(f"{'lab':<32}{'':<30}{'multiply-adds':>14}{'par':>10}")
    for number, there in files.items():
        lab = labs.find(number)
        verdict = judge(lab, there[0], arguments.timeout) if there else None
        found += [verdict] if verdict else []
        if not arguments.json:
            print(f"{number} {lab.title:<30}{_row(verdict)}", flush=True)
    if arguments.json:
        print_json({"labs": [verdict.document() for verdict in found]})
    elif not found:
        print("\nTo begin: python -m npmnv2 lab start 0")
    return 0 if len(found) == len(files) and all(verdict.passed for verdict in found) else 1


def _row(verdict: "Verdict | None") -> str:
    if verdict is None:
        return "not begun"
    state = "passed" if verdict.passed else f"not yet: {verdict.cause}"
    cost = "" if verdict.madds is None else f"{verdict.madds:,}"
    return f"{state:<30}{cost:>14}{'' if verdict.par is None else f'{verdict.par:,}':>10}"
