"""The verdict on a student's file: the first case that fails, one cause, a score and a cost."""

import time
import zlib
from typing import Any, NamedTuple

import numpy as np

from npmnv2 import labs
from npmnv2.labs.form import form, results_of, unchanged
from npmnv2.labs.lab import Case, Function, Lab, Measured, NoCause, Opened, Wrong
from npmnv2.labs.notebook import Source
from npmnv2.labs.process import LIMIT, Answer, Printed, Stopped, Student
from npmnv2.labs.product import Finding
from npmnv2.labs.source import names, stands_for
from npmnv2.labs.wiring import diagnose
from npmnv2.validate import Array

MOST_SAID = 1000  # letters of a verdict
DIAGNOSIS = 20.0  # seconds in which a cause must be found


class Verdict(NamedTuple):
    """What the grader says; `document()` is what `--json` prints."""

    lab: int
    passed: bool
    score: float  # the share of cases that are right
    cause: str | None
    says: str
    case: Case | None  # the first that fails
    function: str | None
    line: int | None  # of the student's file
    madds: int | None  # None: not countable
    bytes: int | None
    par: int | None
    seconds: float
    output: str  # what was printed as the file was loaded, and in the call of this case
    source: Source = Source("")  # in which cell of a notebook a line stands
    about: str = ""  # what was seen of the cause: it chooses the question
    left_out: int = 0  # lines of the output that are not kept

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        document = self._asdict()
        for field in ("output", "source", "about", "left_out"):
            del document[field]
        document["case"] = None if self.case is None else {**self.case.sizes, "dtype": self.case.dtype}
        return document


def grade(lab: Lab, source: str, file: str, limit: float = LIMIT) -> Verdict:
    """Run a student's file in a process of its own, and judge what it returns.

    Parameters
    ----------
    lab : Lab
    source : str
        The text of the student's file.
    file : str
        Its name, for messages.
    limit : float
        Seconds that one call may take.
    """
    start = time.perf_counter()
    names = [f.name for f in lab.functions]
    with np.errstate(all="ignore"), Student(source, file, names, limit) as student:  # numbers may be of any size
        try:
            score, failure = _judge(lab, source, student)
            cost = _cost(lab, student) if failure is None else (None, None)
        except Stopped as stopped:  # while the file was loaded
            score, failure = 0.0, Failure(stopped.cause, stopped.says, None, None, stopped.line, stopped.about)
            cost = (None, None)
    failure = failure or Failure(None, "Every case is right.", None, None, None, call=1)
    says = "".join(c for c in failure.says if c.isprintable())[:MOST_SAID]  # names in it may be the student's
    loading, call = student.printed(0), student.printed(failure.call) if failure.call else Printed("", 0)
    return Verdict(
        lab.number,
        failure.cause is None,
        score,
        failure.cause,
        says,
        failure.case,
        failure.function,
        failure.line,
        *cost,
        lab.par,
        round(time.perf_counter() - start, 3),
        loading.text + call.text,
        about=failure.about,
        left_out=loading.left_out + call.left_out,
    )


def not_run(lab: Lab, cause: str, says: str) -> Verdict:
    """The verdict on a file of which no case was tried."""
    return Verdict(lab.number, False, 0.0, cause, says, None, None, None, None, None, lab.par, 0.0, "")


class Failure(NamedTuple):
    """Why a case is not right."""

    cause: str | None
    says: str
    case: Case | None
    function: str | None
    line: int | None
    about: str = ""
    call: int = 0  # which request it was; 0: to load the file


def _judge(lab: Lab, source: str, student: Student) -> tuple[float, Failure | None]:
    """The share of cases that are right, and the first failure."""
    seed = zlib.crc32(source.encode(errors="replace"))  # the same file, the same numbers; nothing to learn by heart
    given = [lab.arguments(case, np.random.default_rng([seed, k])) for k, case in enumerate(lab.cases)]
    expected = [lab.right(case, arguments) for case, arguments in zip(lab.cases, given, strict=True)]
    there = student.load()
    if not there:
        others = {n: [f.name for f in labs.find(n).functions] for n in labs.numbers() if n != lab.number}
        cause, says = stands_for(source, [f.name for f in lab.functions], others)
        if cause:
            return 0.0, Failure(cause, says, None, None, None)
    right: list[bool] = []
    first, stopped_at_all = None, False
    for case, arguments, wanted in zip(lab.cases, given, expected, strict=True):
        call = student.requests
        try:
            failure = _case(lab, case, arguments, wanted, student, there, diagnosed=first is None)
        except Stopped as stopped:
            stopped_at_all = True
            about = stopped.about or lab.function(case.function).kind
            failure = Failure(stopped.cause, stopped.says, case, case.function, stopped.line, about)
            if stopped.cause in ("hangs", "exits", "crashes"):  # the process may be gone
                return sum(right) / len(lab.cases), first or failure._replace(call=call)
        right.append(failure is None)
        first = first or (failure and failure._replace(call=call if student.requests > call else 0))
    said = lab.overall(right) if lab.overall and not stopped_at_all else ""
    if first and said:
        first = first._replace(says=f"{first.says} {said}", about="all")
    return sum(right) / len(lab.cases), first


def _case(
    lab: Lab,
    case: Case,
    arguments: tuple[Any, ...],
    wanted: tuple[Array, ...],
    student: Student,
    there: list[str],
    diagnosed: bool,
) -> Failure | None:
    function = lab.function(case.function)
    if function.name not in there:
        return Failure("missing", f"There is no function {function.name} in the file.", case, function.name, None)
    answer = student.call(function.name, arguments, function.after)
    opened = _opened(lab, case, answer.result)
    finding: Finding | None
    if isinstance(opened, Finding):
        finding = opened
    else:
        function, result = opened
        finding = form(function, result, wanted, case) or unchanged(function, arguments, answer.arguments)
    if finding is None:
        results = results_of(function, result)
        wrong = [
            k for k, (mine, right) in enumerate(zip(results, wanted, strict=True)) if not _agree(mine, right, case)
        ]
        if not wrong:
            held = _held(lab, case, arguments, student)
            return Failure(held.cause, held.says, case, function.name, None) if held else None
        finding = Finding("unexplained", "")
        if diagnosed:
            finding = _values(lab, case, arguments, results, wanted, wrong, student, answer)
    return Failure(finding.cause, finding.says, case, function.name, None, finding.about or function.kind)


def _opened(lab: Lab, case: Case, result: Any) -> tuple[Function, Any] | Finding:
    """The function with its results, and their values, taken out of what it returned."""
    function = lab.function(case.function)
    if lab.opened is None:
        return function, result
    opened = lab.opened(case, result)
    if isinstance(opened, Finding):
        return opened
    return function._replace(results=opened.names), opened.arrays if len(opened.names) > 1 else opened.arrays[0]


def _agree(mine: Array, right: Array, case: Case) -> bool:
    return _error(mine, right) <= {"float64": 1e-10, "float32": 5e-5}.get(case.dtype, 0.0)  # whole numbers: exactly


def _error(mine: Array, right: Array) -> float:
    """The largest difference, relative to the largest value; infinite if there is a nan."""
    scale = max(1e-300, float(np.max(np.abs(right), initial=0)))
    error = float(np.max(np.abs(mine.astype(float) - right), initial=0.0)) / scale
    return error if np.isfinite(error) else np.inf


def _values(
    lab: Lab,
    case: Case,
    arguments: tuple[Any, ...],
    results: tuple[Array, ...],
    wanted: tuple[Array, ...],
    wrong: list[int],
    student: Student,
    answer: Answer,
) -> Finding:
    """Why values are wrong."""
    function = lab.function(case.function)
    opened = lab.opened(case, answer.result) if lab.opened else None
    called = [(opened.names if isinstance(opened, Opened) else function.results)[k] for k in wrong]

    end = time.perf_counter() + DIAGNOSIS

    def call(changed: tuple[Any, ...]) -> tuple[Array, ...]:
        if time.perf_counter() > end:
            raise NoCause(f"{function.name} is too slow for the cause to be found in {DIAGNOSIS:g} seconds.")
        try:
            answer = student.call(function.name, changed, function.after)
        except Stopped as stopped:
            if changed is arguments:
                raise
            line = f" (line {stopped.line})" if stopped.line else ""
            raise NoCause(f"With other values of the same shapes {function.name} fails: {stopped.says}{line}") from None
        opened = _opened(lab, case, answer.result)
        if isinstance(opened, Finding):
            raise NoCause(f"What {function.name} returns differs in form from call to call.")
        found = results_of(*opened)
        shapes = [a.shape if isinstance(a, np.ndarray) else None for a in found] if isinstance(found, tuple) else []
        if shapes != [a.shape for a in wanted]:
            raise NoCause(f"The shape of what {function.name} returns differs from call to call.")
        return found

    try:
        if lab.explain and function.word:  # it may choose its inputs anew each time
            return lab.explain(Wrong(case, call, arguments, results, wanted, wrong, answer.seen, answer.result))
        again = call(arguments)
        if any(not np.array_equal(again[k], results[k], equal_nan=True) for k in wrong) and _finite(results, wrong):
            return _unsteady(called[0], [(results[k], again[k], wanted[k]) for k in wrong], student.source)
        if not _finite(results, wrong):
            return Finding("not-finite", f"{called[0]} holds nan or inf.")
        errors = [_error(results[k], wanted[k]) for k in wrong]
        if case.dtype == "float64" and max(errors) < _coarsest(results, wrong):
            return Finding(
                "precision",
                f"Precision, not logic: {called[0]} has a relative error of {max(errors):.0e}; in float64 it is 1e-15.",
            )
        if lab.explain and case.dtype != "float32":
            return lab.explain(Wrong(case, call, arguments, results, wanted, wrong, answer.seen, answer.result))
        products = [p for p in lab.products(case) if p.output in wrong]
        if products and case.dtype == "float64":
            return diagnose(products, call, arguments, results, function.arguments)
    except NoCause as reason:
        return Finding("unexplained", f"{_largest_error(called[0], results[wrong[0]], wanted[wrong[0]])} {reason}")
    return Finding("unexplained", _largest_error(called[0], results[wrong[0]], wanted[wrong[0]]))


def _largest_error(name: str, mine: Array, right: Array) -> str:
    at = np.unravel_index(np.argmax(np.abs(mine - right)), right.shape)
    place = f"[{', '.join(map(str, at))}]" if at else ""
    must, was = (f"{a[at]:,}" if a.dtype.kind == "i" else f"{a[at]:.6g}" for a in (right, mine))
    return f"{name}{place} must be {must}; was {was}."


def _unsteady(name: str, values: list[tuple[Array, Array, Array]], source: str) -> Finding:
    """Two calls with the same arguments differ: does something add up, or was memory used as it was found?"""
    says = f"{name} differs from one call to the next, with the same arguments"
    grows = any(_near(second - first, right) for first, second, right in values)
    used = set() if grows else names(source)
    if used & {"empty", "empty_like"}:
        return Finding("not-started-at-zero", f"{says}: it starts from whatever was in memory.")
    if "as_strided" in used:
        return Finding("beyond-the-array", f"{says}: a view made with as_strided can reach beyond its array.")
    return Finding("state-kept", f"{says}: something is kept from call to call, or drawn anew.")


def _near(a: Array, b: Array) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def _coarsest(results: tuple[Array, ...], wrong: list[int]) -> float:
    """Errors below this come from few digits, not from wrong sums."""
    return 1e-2 if any(results[k].dtype == np.float16 for k in wrong) else 1e-5


def _finite(results: tuple[Array, ...], wrong: list[int]) -> bool:
    return all(bool(np.isfinite(results[k]).all()) for k in wrong)


def _held(lab: Lab, case: Case, arguments: tuple[Any, ...], student: Student) -> Finding | None:
    """What is wrong with the memory of a function whose values are right, in a lab that judges it."""

    def measure(given: tuple[Any, ...]) -> Measured:
        peak = largest = None
        try:
            peak = student.peak_bytes(case.function, given)
            largest = student.largest(case.function, given)
        except Stopped:  # it may do what the counting array does not know
            if peak is None and given is arguments:
                raise
        return Measured(peak, largest)

    return lab.held(case, arguments, measure) if lab.held else None


def _cost(lab: Lab, student: Student) -> tuple[int | None, int | None]:
    """Multiply-adds and bytes of a right solution; None where they cannot be told."""
    if lab.counted is None:
        return None, None
    arguments = lab.arguments(lab.counted, np.random.default_rng(0))
    name = lab.counted.function
    peak = products = None
    try:
        peak = student.peak_bytes(name, arguments)
        products = None if lab.par is None else student.products(name, arguments)
    except Stopped:  # a right solution may do what the counting array does not know
        pass
    if products is not None and lab.least is not None and products < lab.least:
        products = None
    return products, peak
