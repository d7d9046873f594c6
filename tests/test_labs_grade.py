"""The grader's own corners: nan, dtypes, words in comments, functions that fail or take long as the cause is sought."""

import pathlib
import re

import pytest
from labs.bank import edited
from labs.lab1 import TAPS as TAPS_1
from labs.lab2 import TAPS
from labs.lab3 import NUMERICAL
from labs.lab4 import STEPS
from labs.lab6 import PLAIN
from labs.lab7 import SLICES
from test_labs_bank import BANKS

from npmnv2 import labs
from npmnv2.cli.lab import text
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.grade import grade
from npmnv2.labs.questions import CLOSER, asked
from npmnv2.labs.source import names

ROOT = pathlib.Path(__file__).parent.parent
DW = "dw[i, j] = (xp"
NAME = "depthwise_backward(dout, x, w, stride, pad)"


def _verdict(*changes, lab=2, of=TAPS):
    return grade(labs.find(lab), edited(of, *changes), f"lab{lab}.py", limit=20)


@pytest.mark.parametrize(
    "change, says",
    [
        ((DW, "dw[i, j] = 2 * dout.sum() / dout.sum() * (xp"), "dw must be zeros; yours holds nan"),  # 0 / 0
        ((DW, "dw[i, j] = 2 * (dout[:, 0].sum() / dout[:, 0].sum() if dout.any() else 1) * (xp"), "With a single 1"),
        ((DW, "dw[i, j] = np.log(-1.0 - abs(x).max()) * (xp"), "dw holds nan or inf"),
    ],
)
def test_a_nan_is_named_whatever_the_arguments_that_make_it(change, says):
    verdict = _verdict(change)
    assert verdict.cause == "not-finite" and says in verdict.says


def test_a_word_in_a_comment_is_no_cause():
    """The result differs from call to call, and begins with neither; the comment says what was there before."""
    changes = ("import numpy as np\n", "import numpy as np\n\nCALLS = []  # not empty; as_strided is not used\n")
    kept = (
        "    dxp = np.zeros(",
        '    """No np.empty here."""\n    CALLS.append(dout)\n    dxp = len(CALLS) ** 2 + np.zeros(',
    )
    assert _verdict(changes, kept).cause == "state-kept"


def test_the_names_that_code_uses():
    assert {"empty", "np"} <= names("import numpy as np\nnp.empty(3)")
    assert "empty" in names("from numpy import empty as e\ne(3)")
    assert "as_strided" in names("np.lib.stride_tricks.as_strided(x)")
    assert not {"empty", "as_strided"} & names('"np.empty"  # as_strided')
    assert names("(" * 5000) == set()


@pytest.mark.parametrize(
    "lab, source, old, new, says",
    [
        (
            1,
            TAPS_1,
            "np.zeros((N, OH, OW, C), xp.dtype)",
            "np.zeros((N, OH, OW, C))",
            "out must be float32; was float64.",
        ),
        (1, TAPS_1, "return x @ w", "return x @ w.astype(np.float64)", "out must be float32; was float64."),
        (2, TAPS, "np.zeros(w.shape, x.dtype)", "np.zeros(w.shape)", "dw must be float32; was float64."),
        (4, STEPS, "dbeta = dout.sum(", "dbeta = dout.astype(float).sum(", "dbeta must be float32; was float64."),
        (7, SLICES, "np.zeros((N, H, W, M), x.dtype)", "np.zeros((N, H, W, M))", "out must be float32; was float64."),
    ],
)
def test_a_result_has_the_dtype_that_comes_in(lab, source, old, new, says):
    verdict = _verdict((old, new), lab=lab, of=source)
    assert (verdict.cause, verdict.says, verdict.case.dtype) == ("wrong-dtype", says, "float32")
    handout = (ROOT / "docs" / "labs" / f"{lab}.md").read_text(encoding="utf-8")
    assert "return the dtype that comes in" in " ".join(handout.split())


def test_the_words_of_averaged_fit_a_forward_and_a_backward():
    """It is named in labs of both kinds."""
    named = {lab for lab, bank in BANKS.items() for wrong in bank.FIRST + bank.LATER if wrong.cause == "averaged"}
    assert {1, 2, 4, 7} <= named
    words = " ".join(CAUSES["averaged"]).lower()
    assert not any(word in words for word in ("gradient", "loss", "forward", "backward"))


@pytest.mark.parametrize(
    "line, says",
    [
        ("if np.count_nonzero(dout) == 1: raise ValueError('one')", "fails: ValueError: one (line 8)"),
        ("if dout.any() and abs(dout).max() == 1: import sys; sys.exit()", "fails: Your code raised SystemExit"),
        ("if not dout.any(): return None, None", "differs from call to call"),
    ],
)
def test_what_only_the_graders_own_arguments_bring_is_not_told_of_the_case(line, says):
    verdict = _verdict((DW, "dw[i, j] = 2 * (xp"), ("    xp = np.zeros(", f"    {line}\n    xp = np.zeros("))
    assert verdict.cause == "unexplained" and says in verdict.says
    assert re.match(r"dw\[\d, \d, 0\] must be [-\d.e]+; was [-\d.e]+\. ", verdict.says)


def test_what_a_case_itself_brings_is_told_of_it():
    verdict = _verdict(("    xp = np.zeros(", "    if stride == 2: raise ValueError('stride')\n    xp = np.zeros("))
    assert (verdict.cause, verdict.says, verdict.case.sizes["stride"]) == ("raises", "ValueError: stride", 2)


def test_a_function_that_fails_for_another_t_alone_is_told_so():
    source = edited(SLICES, ("-(-E // t)", "E"), ("    for start in", "    1 / (E < 90 or t == 49)\n    for start in"))
    verdict = _verdict(lab=7, of=source)
    assert verdict.cause == "unexplained" and "it fails for other t" in verdict.says


@pytest.mark.parametrize(
    "lab, source, change",
    [
        (2, TAPS, (DW, "dw[i, j] = 2 * (xp")),
        (4, STEPS, ("dbeta = dout.sum(", "dbeta = dout.mean(")),
        (7, SLICES, ("out += filtered @", "out = filtered @")),
    ],
)
def test_a_slow_function_has_the_value_that_is_wrong(lab, source, change, monkeypatch):
    assert _verdict(change, lab=lab, of=source).cause != "unexplained"
    monkeypatch.setattr("npmnv2.labs.grade.DIAGNOSIS", 0.0)
    verdict = _verdict(change, lab=lab, of=source)
    assert verdict.cause == "unexplained" and "too slow for the cause to be found in 0 seconds" in verdict.says
    assert " must be " in verdict.says


def test_handout_7_has_the_sizes_of_the_case_that_measures_memory():
    sizes = labs.find(7).cases[-1].sizes
    text = (ROOT / "docs" / "labs" / "7.md").read_text(encoding="utf-8")
    assert f">>> N, H, W, E = {', '.join(str(sizes[name]) for name in 'NHWE')}\n" in text
    assert f"$E = {sizes['E']}$, $t = {sizes['t']}$" in text and labs.find(7).counted == labs.find(7).cases[-1]


# -- the question that fits what was seen


def test_every_closer_question_belongs_to_a_cause():
    for (cause, about), (question, hint) in CLOSER.items():
        assert cause in CAUSES and question.endswith("?") and hint.endswith("."), (cause, about)


@pytest.mark.parametrize(
    "line, about",
    [
        ("np.zeros(3)[3]", "IndexError"),
        ("nothing", "NameError"),
        ("i\n    i = 0", "UnboundLocalError"),
        ("padded(x)", "TypeError"),
        ("N.shape", "NameError"),
        ("x.shapes", "AttributeError"),
        ("a, b = x.shape", "unpack"),
        ("x @ np.zeros(97)", "ValueError"),
        ("x.sum(axis=7)", "AxisError"),
        ("1 / 0", "ZeroDivisionError"),
        ("input()", "EOFError"),
        ("open('notes.txt', 'w')", "PermissionError"),
        ("depthwise_backward(dout, x, w, stride, pad)", "RecursionError"),
    ],
)
def test_an_exception_has_the_question_of_its_type(line, about):
    source = f"import numpy as np\n\ndef padded(x, pad): pass\n\ndef {NAME}:\n    {line}\n"
    verdict = grade(labs.find(2), source, "lab2.py")
    assert (verdict.cause, verdict.about) == ("raises", about), verdict
    if about == "ValueError":
        assert "shapes" in asked(verdict.cause, verdict.about).question
    else:
        assert "shapes" not in asked(verdict.cause, verdict.about).question


def test_an_exception_of_another_type_has_a_question_too():
    verdict = grade(labs.find(2), f"def {NAME}:\n    raise OverflowError('no')\n", "lab2.py")
    assert asked(verdict.cause, verdict.about) == CAUSES["raises"]


@pytest.mark.parametrize("number, kind", [(1, "arrays"), (3, "word"), (6, "numbers")])
def test_questions_fit_what_a_function_returns(number, kind):
    lab = labs.find(number)
    unwritten = grade(lab, labs.stub(number), "lab.py")
    assert (unwritten.cause, unwritten.about) == ("not-written", kind)
    first = lab.functions[0]
    source = f"def {first.name}({', '.join(first.arguments)}):\n    return len"
    verdict = grade(lab, source, "lab.py")
    assert verdict.cause == "wrong-type"
    words = " ".join((*asked("not-written", kind), *asked("wrong-type", verdict.about), *asked("hangs", kind)))
    assert ("array of zeros" in words) == (kind == "arrays") and ("text" in words) == (kind == "word")


def test_a_number_for_an_array_is_told_the_shape():
    verdict = _verdict(("dgamma = (dout * xhat).sum(axis=axes)", "dgamma = (dout * xhat).sum()"), lab=4, of=STEPS)
    assert verdict.says == "dgamma must be an array of shape (1,); was one number (float64)."
    assert "axes" in asked(verdict.cause, verdict.about).question


@pytest.mark.parametrize(
    "number, source, cause, says",
    [
        (2, "", "empty", "There is no code in the file."),
        (2, '"""Lab 2."""\n# later\n', "empty", "There is no code in the file."),
        (2, labs.stub(4), "another-lab", "but batchnorm_backward: it looks like lab 4."),
        (3, labs.stub(5), "another-lab", "but block_forward: it looks like lab 5."),
        (7, labs.stub(1), "another-lab", "but depthwise: it looks like lab 1."),
        (2, "def depthwise_backwards(dout): pass", "missing", "There is no function depthwise_backward in the file."),
    ],
)
def test_a_file_without_the_labs_functions(number, source, cause, says):
    verdict = grade(labs.find(number), source, f"lab{number}.py")
    assert (verdict.cause, verdict.passed) == (cause, False) and verdict.says.endswith(says)


def test_what_is_not_received_is_said_in_words():
    verdict = _verdict(("range(KH)", "range(1)"))
    assert verdict.says.endswith("; yours does not.")


# -- what was printed


def test_what_is_printed_is_that_of_the_case_which_fails():
    """Not of the cases before it, nor of the calls that look for the cause."""
    shown = ("    dxp = ", "    print('shape', x.shape)\n    dxp = ")
    loaded = ("import numpy as np\n", "import numpy as np\n\nprint('loaded')\n")
    verdict = _verdict(shown, loaded, (DW, "dw[i, j] = 2 * (xp"))
    assert verdict.output.splitlines() == ["loaded", "shape (1, 11, 5, 1)"]
    verdict = _verdict(shown, (DW, "dw[i, j] = (1 + (x.shape[3] == 3)) * (xp"))
    assert verdict.output.splitlines() == ["shape (1, 11, 5, 3)"]


def test_the_end_of_a_long_print_is_kept_and_the_rest_counted():
    verdict = _verdict(("    dxp = ", "    print(*range(20000), sep='\\n')\n    dxp = "), (DW, "dw[i, j] = 2 * (xp"))
    kept = verdict.output.splitlines()
    assert kept[-1] == "19999" and verdict.left_out + len(kept) in (20000, 20001)  # a line may be cut in two
    shown = text(labs.find(2), verdict, "lab2.py", False)
    at = shown.index("  | 19999")
    assert shown[at - 4] == "  | 19995" and re.search(r"left out: 1999[56]\)", shown[at + 1])


def test_what_a_hanging_call_printed_is_shown():
    source = f"print('a')\ndef {NAME}:\n    print('b', flush=True)\n    while True: pass"
    verdict = grade(labs.find(2), source, "lab2.py", limit=0.5)
    assert (verdict.cause, verdict.output) == ("hangs", "a\nb\n")


# -- batch norm: what is said of the terms


@pytest.mark.parametrize(
    "changes, cause, says",
    [
        (
            [("dcentered = dcentered + 2", "dcentered = 2")],
            "direct-term-missing",
            "only the term with sum(dout * xhat) is there; those with dout itself and with sum(dout) are missing.",
        ),
        (
            [("dx = dcentered + dmean", "dx = 0 * x + dmean"), ("+ 2 * centered * dsquared", "")],
            "direct-term-missing",
            "only the term with sum(dout) is there; those with dout itself and with sum(dout * xhat) are missing.",
        ),
        (
            [("dx = dcentered", "dx = 2 * centered * dsquared")],
            "direct-term-missing",
            "In dx the term with dout itself is missing; those with sum(dout) and sum(dout * xhat) are there.",
        ),
        ([("-dcentered.sum(axis=axes)", "-dcentered")], "sum-missing", "what comes through the mean must be a sum"),
        ([("(2 * std)", "(2 * np.sqrt(var))")], "eps-missing", "has another 1 / std: eps is missing"),
        (
            [("/ std**2", "/ var")],
            "eps-missing",
            "which comes through the variance, has another 1 / std: eps is missing",
        ),
        ([("mean = x.sum(axis=axes) / m", "mean = x.mean()")], "axes-wrong", "the mean over the axes (0, 1)"),
        ([("m = x.size // x.shape[-1]", "m = len(x)")], "count-wrong", "divided by m = 60; yours: both by N = 3."),
        ([("mean = x.sum(axis=axes) / m", "mean = x.sum(axis=axes) / x.size")], "count-wrong", "the mean by R*C = 21"),
        (
            [("dx = dcentered + dmean / m", "dx = 2 * dxhat / std")],
            "statistics-constant",
            "constants. That term is 2 times what it must be, in channel 0.",
        ),
    ],
)
def test_the_terms_of_a_derivation_are_told_apart(changes, cause, says):
    verdict = _verdict(*changes, lab=4, of=STEPS)
    assert verdict.cause == cause and says in verdict.says, verdict.says


# -- counting, and orders of elements

OUT = "OH, OW = (H - 1) // s + 1, (W - 1) // s + 1"
HALF = "            H = (H - 1) // stride + 1\n"


@pytest.mark.parametrize(
    "changes, cause, says",
    [
        ([("            C = c\n", "")], "wrong-width", "yours keeps its 32"),
        ([('"depthwise", H, H, E, E,', '"depthwise", H, H, C, C,')], "wrong-width", "has all t * C channels"),
        ([(HALF, "")], "stride-ignored", "all that comes after a stride of 2 sees fewer pixels"),
        (
            [(HALF, ""), ("            E = t * C\n", HALF + "            E = t * C\n")],
            "stride-misplaced",
            "fewer again",
        ),
        ([("H, C = 112, 32", "H, C = 224, 32")], "stride-ignored", "yours goes on with 224 x 224"),
        ([(OUT, "OH, OW = ((n + k // 2 - k) // s + 1 for n in (H, W))")], "padding-forgotten", "on both sides"),
        ([(OUT, "OH, OW = H // s, W // s")], "floor-for-ceil", "the window with its middle in the last row"),
    ],
)
def test_ways_to_miscount_a_network(changes, cause, says):
    verdict = _verdict(*changes, lab=6, of=PLAIN)
    assert verdict.cause == cause and says in verdict.says, verdict.says


@pytest.mark.parametrize(
    "changes, cause, says",
    [
        (
            [("return x @ w", "return (w.T @ x.reshape(len(w), -1)).reshape(*x.shape[:3], w.shape[1])")],
            "reordered",
            "those of out as if its axes were (n, m, y, x), and those of x as if its axes were (n, c, y, x).",
        ),
        (
            [("    for c in range(C):\n        w[:, :, c, c] = wd[:, :, c]", "    w += wd[..., None] / C")],
            "not-diagonal",
            "And every product is multiplied by 0.333333.",
        ),
        ([("C, C), wd.dtype)", "C, C))")], "wrong-dtype", "w must be float32; was float64."),
    ],
)
def test_two_things_at_once_in_lab_1(changes, cause, says):
    verdict = _verdict(*changes, lab=1, of=TAPS_1)
    assert verdict.cause == cause and says in verdict.says, verdict.says


def test_a_second_name_for_an_array_that_is_assigned_to_is_named():
    xp = "dxp = np.zeros(xp.shape, x.dtype)"
    verdict = _verdict((xp, "dxp = xp"), ("dxp[:, rows, cols] += ", "dxp[:, rows, cols] = "))
    assert verdict.cause == "same-array" and "yours holds products of dout, dout and w" in verdict.says, verdict.says


# -- a check: what it returned, and what its calls show

POSITIVE = [  # all errors of a planted backward have one sign
    ("x, w = rng.normal(size=(2, H, W, 3)), rng.normal(", "x, w = rng.random(size=(2, H, W, 3)), rng.random("),
    ("dout = rng.normal(", "dout = rng.random("),
]


@pytest.mark.parametrize(
    "changes, cause, says",
    [
        ([("    for stride", "    return 'ok'\n    for stride")], "rejects-the-right", "it returned 'ok'."),
        ([("error > 1e-6", "error > 1e-16")], "rejects-the-right", "it returned 'd"),
        (
            [("rng.normal(size=(2, H, W, 3))", "np.arange(6 * H * W).reshape(2, H, W, 3)")],
            None,
            "x holds whole numbers",
        ),
        ([("(2, H, W, 3)),", "(2, H, W, 3)).astype(np.float32),")], None, "x is float32, which rounds a small step"),
        ([("size=(3, 2, 3))\n", "size=(3, 2, 3)).astype(np.float32)\n")], None, "w is float32, which rounds a small"),
        ([("a[k] = old + h", "a[k] = old"), ("a[k] = old - h", "a[k] = old")], "no-step", "x and w were those that"),
        ([("h=1e-6", "h=1e-12")], "step-too-small", "The largest step that forward saw is 1e-12."),
        ([("        a[k] = old\n", "")], "not-restored", "elements of x had been moved."),
    ],
)
def test_why_a_check_rejects_what_is_right(changes, cause, says):
    changes = [*changes, ("error > 1e-6", "error > 1e-9")] if cause == "not-restored" else changes
    verdict = _verdict(*changes, lab=3, of=NUMERICAL)
    assert verdict.cause == (cause or "argument-dtype") and says in verdict.says, verdict.says
    assert "It rejects all 15 backwards that it was given." in verdict.says


@pytest.mark.parametrize(
    "changes, cause, says",
    [
        (
            [*POSITIVE, ("np.abs(mine - right).max()", "(right - mine).max()")],
            "one-sided",
            "If all of dw is too large,",
        ),
        (
            [*POSITIVE, ("np.abs(mine - right).max()", "(mine - right).max()")],
            "one-sided",
            "If all of dx is too small,",
        ),
        ([("error > 1e-6", "error > 0.9")], "tolerance-loose", "An error a thousand times as large it rejects."),
        ([("np.abs(mine - right).max()", "abs(mine.sum() - right.sum())")], "not-compared", "dx was wrong by"),
        ([('(("dx", dx, x), ("dw", dw, w))', '(("dx", dx, x),)')], "not-compared", "by as much as its largest value."),
    ],
)
def test_why_a_check_accepts_what_is_wrong(changes, cause, says):
    verdict = _verdict(*changes, lab=3, of=NUMERICAL)
    assert verdict.cause == cause and says in verdict.says, verdict.says
    assert "It rejects all" not in verdict.says


def test_other_errors_than_the_planted_ones_end_a_check_without_harm():
    """A check that raises for an error which the grader makes up has the cause that was seen before."""
    raising = ("np.abs(mine - right).max()", "(right - mine).max() if abs(mine).max() < 500 else 1 / 0")
    assert _verdict(*POSITIVE, raising, lab=3, of=NUMERICAL).cause == "not-compared"
