"""Labs: the command line, the cost, and the handouts. What the grader finds is in test_labs_bank.py."""

import contextlib
import io
import json
import pathlib
import re
import time
import types

import numpy as np
import pytest
import test_docs
from labs.lab1 import RIGHT as RIGHT_1
from labs.lab2 import GATHER, LOOPS, RIGHT, TAPS, WINDOWS
from labs.lab3 import NUMERICAL
from labs.lab4 import STEPS
from labs.lab5 import NAMED, NETWORK
from labs.lab6 import PLAIN
from labs.lab7 import SPLIT

from npmnv2 import cost, labs
from npmnv2.__main__ import main
from npmnv2.cli import lab as lab_command
from npmnv2.labs import factors, network, parts, planted
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.counted import Tally, count
from npmnv2.labs.grade import grade
from npmnv2.labs.mistakes import BACKWARD, FORWARD

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "labs").glob("*.md"))
KEYS = ["lab", "passed", "score", "cause", "says", "case", "function", "line", "madds", "bytes", "par", "seconds"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*words):
    """Exit status, stdout and stderr of `python -m npmnv2 lab ...`."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(["lab", *words])
    return status, out.getvalue(), err.getvalue()


# -- the command line


def test_from_the_stub_to_passed(folder):
    status, out, err = _run()
    assert status == 1 and out.count("not begun") == len(labs.numbers()) and "lab start 0" in out
    solutions = (labs.stub(0), RIGHT_1["taps"], TAPS, NUMERICAL, STEPS, NAMED, PLAIN, SPLIT)
    for number, right in enumerate(solutions):
        status, out, err = _run("start", str(number))
        assert (status, err) == (0, "") and f"python -m npmnv2 lab {number}\n" in out
        if number:
            status, out, err = _run(str(number))
            assert (status, err) == (1, "") and "not yet: not-written" in out
        (folder / f"lab{number}.py").write_text(right)
        status, out, err = _run(str(number))
        assert (status, err) == (0, "") and "passed: all" in out
    status, out, err = _run()
    assert status == 0 and out.count("passed") == len(solutions) and "1,260" in out


def test_lab_5_brings_its_data_and_trains_on_it(folder, capsys):
    """Whoever begins lab 5 has the digits beside the file, and the file's last cell trains the block on them."""
    status, out, err = _run("start", "5")
    assert (status, err) == (0, "") and "Wrote digits.npz" in out
    assert (folder / "digits.npz").read_bytes() == labs.find(5).beside.read_bytes()
    space = {"__name__": "__main__"}
    exec(compile(NAMED + "\n" + NETWORK, "lab5.py", "exec"), space)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "[-7. -3.  9.  5.] [-96. 120.] [ 38.  -19.2 -14.8   4. ]"
    assert [line.split(":")[0] for line in printed[1:]] == [f"epoch {k + 1}" for k in range(8)]
    assert float(printed[-1].split()[2].rstrip("%")) > 95

    (folder / "lab5.py").unlink()
    assert _run("start", "5")[0] == 0  # the same digits are there already: they stay
    (folder / "lab5.py").unlink()
    (folder / "digits.npz").write_bytes(b"mine")
    status, out, err = _run("start", "5")
    assert (status, out) == (2, "") and "digits.npz is there already" in err
    assert not (folder / "lab5.py").exists() and (folder / "digits.npz").read_bytes() == b"mine"


def test_start_overwrites_nothing(folder):
    (folder / "lab1.py").write_text("mine")
    status, out, err = _run("start", "1")
    assert (status, out) == (2, "") and "was left as it is" in err
    assert (folder / "lab1.py").read_text() == "mine"
    assert _run("start", "1", "other.py")[0] == 0 and (folder / "other.py").exists()


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["9"], "the labs are 0, 1, 2, 3, 4, 5, 6, 7; was 9"),
        (["start"], "required: N"),
        (["start", "one"], "was one"),
        (["start", "1", "no/such/folder.py"], "no/such/folder.py cannot be written: No such file or directory"),
        (["start", "1", "--seed", "1", "--student", "ada"], "only lab 3 has variants"),
        (["3", "--seed", "1"], "--seed and --student belong together"),
        (["--watch"], "--watch needs the number of a lab"),
        (["1"], "`python -m npmnv2 lab start 1` begins a new lab1.py"),
        (["2", "lab1.py"], "`python -m npmnv2 lab start 2` begins a new lab2.py"),
        (["lab1.py"], "was lab1.py; a number comes first, then the file"),
        (["start", "1", "2"], "must end in .py or .ipynb; was 2"),
        (["1", "a.py", "b.py"], "unrecognized arguments: b.py"),
        (["1", "--timeout", "1e-9"], "--timeout must be from 0.1 to 600 seconds; was 1e-09"),
        (["1", "--nonsense"], "unrecognized arguments"),
    ],
)
def test_usage(words, complaint, folder):
    status, out, err = _run(*words)
    assert (status, out) == (2, "") and complaint in err


def test_the_document(folder):
    (folder / "mine.py").write_text(TAPS)
    status, out, err = _run("2", "mine.py", "--json")
    document = json.loads(out)
    assert status == 0 and list(document) == KEYS
    expected = {"lab": 2, "passed": True, "score": 1.0, "cause": None, "case": None, "line": None, "madds": 1260}
    assert {key: document[key] for key in expected} == expected
    (folder / "mine.py").write_text(TAPS.replace("dxp[:, rows, cols] +=", "dxp[:, rows, cols] ="))
    status, out, err = _run("2", "mine.py", "--json")
    document = json.loads(out)
    assert status == 1 and list(document) == KEYS and document["cause"] == "assigned" and document["score"] < 1
    assert document["case"]["H"] == 11 and document["function"] == "depthwise_backward"
    (folder / "mine.py").write_text(TAPS.replace("xp = np.zeros", "\n    xp = nq.zeros", 1))
    document = json.loads(_run("2", "mine.py", "--json")[1])
    assert (document["cause"], document["line"]) == ("raises", 9) and "'nq' is not defined" in document["says"]


def test_a_hint_is_given_to_who_asks(folder):
    (folder / "lab2.py").write_text(TAPS.replace("(KH)", "(KH - 1)"))
    plain, hinted = _run("2")[1], _run("2", "--hint")[1]
    assert CAUSES["tap-lost"].question in plain and CAUSES["tap-lost"].hint not in plain
    assert CAUSES["tap-lost"].hint in hinted


def test_what_the_file_printed_is_shown(folder):
    (folder / "lab2.py").write_text("print('loaded \\x1b[31m')\n" + TAPS)
    status, out, err = _run("2")
    assert status == 0 and "| loaded" in out and "\x1b" not in out


def test_watch_judges_again_until_it_passes(folder, monkeypatch):
    """What a person does to the file while it is watched: deletes it, and writes it anew."""
    path = folder / "lab2.py"
    path.write_text(labs.stub(2))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            path.unlink()
        if len(slept) == 3 + lab_command.GONE:
            path.write_text(TAPS)

    monkeypatch.setattr(lab_command, "time", types.SimpleNamespace(sleep=sleep, strftime=time.strftime))
    status, out, err = _run("2", "--watch")
    assert status == 0 and out.index("not-written") < out.index("is gone") < out.index("\n---- ") < out.index("passed")
    assert out.count("not-written") == 1


# -- labs


@pytest.mark.parametrize("number", labs.numbers())
def test_every_stub_is_a_file_to_begin_with(number):
    lab, text = labs.find(number), labs.stub(number)
    assert lab.number == number and text.startswith("# %%") and f"{lab.minutes} minutes" in text
    assert "import numpy as np" in text and "npmnv2." not in text.replace("-m npmnv2", "")
    for function in lab.functions:
        assert f"def {function.name}({', '.join(function.arguments)})" in text
    verdict = grade(lab, text, f"lab{number}.py")
    assert verdict.passed is (number == 0)
    if number:
        assert verdict.cause == "not-written" and verdict.line is not None


def test_every_cause_has_a_question_and_a_hint():
    for name, cause in CAUSES.items():
        assert name == name.lower() and cause.question.endswith("?") and cause.hint.endswith("."), name


def test_every_cause_that_a_grader_can_name_is_known():
    """Causes are written as `Finding("cause", ...)`, or first in a pair with what is said."""
    folder = ROOT / "npmnv2" / "labs"
    named = set(re.findall(r"Finding\(\s*\"([a-z0-9-]+)\"", "".join(p.read_text("utf-8") for p in folder.glob("*.py"))))
    named |= {mistake.cause for mistake in network.MISTAKES.values()}
    named |= {version.cause for version in parts.VERSIONS}
    named |= {mistake.cause for mistake in (*FORWARD, *BACKWARD)}
    for case in labs.find(6).cases:
        if case.function == "layer_cost":
            named |= {cause for _, cause, _ in factors.Layer(**case.sizes).pixels().values() if cause}
    assert len(named) > 50 and named <= set(CAUSES), named - set(CAUSES)


def test_every_cause_that_a_product_can_have_is_known():
    for number in labs.numbers():
        lab = labs.find(number)
        for case in lab.cases:
            for product in lab.products(case):
                assert {kind for kind, _, _ in product.links} <= set(CAUSES)
                assert {f"{kind}-lost" for kind, _ in product.lost} <= set(CAUSES)
                named = {column for link in product.links for column in link[1:]} | {c for _, c in product.lost}
                assert named <= set(product.columns) and product.terms.shape[1] == len(product.columns)
                assert len({tuple(term) for term in product.terms.tolist()}) == len(product.terms)


def test_the_terms_of_every_product_add_up_to_the_right_answer():
    for number in labs.numbers():
        lab = labs.find(number)
        for case in lab.cases:
            given = lab.arguments(case, np.random.default_rng(0))
            expected = lab.right(case, given)
            for product in lab.products(case):
                result, unit = np.zeros(expected[product.output].shape), given[product.unit[1]]
                coded = given[product.coded[1]] if product.coded[1] >= 0 else np.ones(())
                ends = np.cumsum([result.ndim, unit.ndim, coded.ndim])
                r, u, c = (tuple(part.T) for part in np.split(product.terms, ends[:-1], axis=1))
                np.add.at(result, r, unit[u] * coded[c])
                assert np.allclose(result, expected[product.output], rtol=1e-5, atol=1e-5)


def test_an_import_of_another_library_is_named_with_its_line():
    verdict = grade(labs.find(2), "import numpy as np\nimport torch\n", "lab2.py")
    assert (verdict.cause, verdict.line) == ("import", 2) and "torch" in verdict.says


def test_two_runs_of_one_file_agree():
    source = TAPS.replace("w[i, j]\n", "w[0, 0]\n")
    first, second = (grade(labs.find(2), source, "lab2.py")._replace(seconds=0) for _ in range(2))
    assert first == second and first.cause == "wrong-tap"


# -- what labs know of their own answers


def test_the_costs_of_lab_6_are_those_of_the_package():
    for case in labs.find(6).cases:
        if case.function == "layer_cost":
            layer = factors.Layer(**case.sizes)
            if layer.kind == "linear":
                same = cost.linear(layer.C, layer.M, bias=False)
            else:
                s = case.sizes
                same = cost.convolution(layer.kind, s["H"], s["W"], s["C"], s["M"], s["k"], s["s"], s["k"] // 2)
            assert layer.cost() == (same.madds, same.weights, same.bytes)
    whole = cost.total(cost.mobilenet_v2())
    found = [
        network.network_cost(network.MOBILENET_V2, [flag] if flag else []) for flag in ("", "weights", "variables")
    ]
    assert found == [whole.madds, whole.weights, whole.variables]
    assert network.network_cost(network.MOBILENET_V2, ["parameters"]) == whole.parameters


def test_the_totals_that_name_themselves():
    """Each is that of a mistake, or of two."""
    for total, mistakes in (
        (313_619_328, ["expansion-at-1"]),
        (416_266_880, ["early-strides"]),
        (429_111_936, ["early-strides", "expansion-at-1"]),
        (601_548_544, ["two-operations"]),
        (3_538_984, ["variables"]),
        (276_834_752, ["last-row-stride"]),
    ):
        assert network.network_cost(network.MOBILENET_V2, mistakes) == total
        source = PLAIN.replace("return total", f"return {total}")
        verdict = grade(labs.find(6), source, "lab6.py")
        assert verdict.cause == "rows-ignored" and all(network.MISTAKES[m].says in verdict.says for m in mistakes)


def test_the_planted_backwards_are_wrong_where_they_say_so():
    rng = np.random.default_rng(0)
    call = planted.Call(rng.normal(size=(2, 4, 2, 3)), rng.normal(size=(2, 7, 4, 3)), rng.normal(size=(3, 3, 3)), 2, 1)
    forward = planted.function(planted.FORWARD, "forward")
    assert forward(*call[1:]).shape == call.dout.shape
    right = labs.find(2).right(None, call)
    for name, one in planted.PLANTED.items():
        found = planted.function(one.text(), "backward")(*call)
        same = all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in zip(found, right, strict=True))
        assert same == (not one.wrong), name
    assert {fact for one in planted.PLANTED.values() for fact in one.hidden_by} == set(planted.FACTS)
    assert set(planted.FACTS) <= set(CAUSES)


def test_no_two_mistakes_of_a_network_count_alike():
    totals = [tuple(network.network_cost(rows, [m]) for rows in network.TABLES) for m in ["", *network.MISTAKES]]
    assert len(set(totals)) == len(totals)


# -- cost


def test_multiply_adds_are_counted():
    a, b = np.ones((4, 3)), np.ones((3, 2))
    for expected, work in (
        (24, lambda x, w: x @ w),
        (24, lambda x, w: np.dot(x, w)),
        (24, lambda x, w: x.dot(w)),
        (24, lambda x, w: np.einsum("ab,bc->ac", x, w)),
        (24, lambda x, w: np.einsum("...b,bc->...c", x, w)),
        (24, lambda x, w: np.tensordot(x, w, 1)),
        (12, lambda x, w: x * x),
        (12, lambda x, w: np.ones((4, 3)) * x),
        (12, lambda x, w: (np.pad(x, 1)[1:-1, 1:-1] * np.ones((4, 3))).sum()),
        (24, lambda x, w: [x[i, j] * w[j, k] for i in range(4) for j in range(3) for k in range(2)]),
        (0, lambda x, w: x + x),
        (None, lambda x, w: np.convolve(x[0], x[1])),
    ):
        tally = Tally()
        work(count(a, tally), count(b, tally))
        assert tally.products == expected


def test_an_array_that_counts_computes_the_same():
    rng = np.random.default_rng(0)
    a, out = rng.normal(size=(4, 3)), np.zeros((4, 3))
    tally = Tally()
    counted = count(a, tally)
    out[1:] += counted[1:] * 2.0
    assert np.array_equal(out[1:], 2 * a[1:]) and type(out) is np.ndarray
    counted += 1.0
    assert np.array_equal(counted, a + 1) and np.array_equal(np.where(a > 0, counted, 0), np.where(a > 0, a + 1, 0))


@pytest.mark.parametrize("source, madds", [(TAPS, 1260), (LOOPS, 988), (GATHER, 988), (WINDOWS, 1764)])
def test_cost_of_ways_to_write_it(source, madds):
    """Loops and gather skip the border: that is the least."""
    verdict = grade(labs.find(2), source, "lab2.py")
    assert verdict.passed and verdict.madds == madds
    assert labs.find(2).least == 988 and verdict.par == 1260


def test_what_cannot_be_counted_is_said_so(folder):
    source = TAPS.replace("    N, H", "    dout, x, w = np.array(dout), np.array(x), np.array(w)\n    N, H", 1)
    (folder / "lab2.py").write_text(source)
    status, out, err = _run("2")
    assert status == 0 and "not countable" in out


def test_right_solutions_are_many():
    assert len(RIGHT) + len(RIGHT_1) >= 12


# -- handouts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_handouts(page, folder):
    text = page.read_text(encoding="utf-8")
    test_docs.run_blocks(text, page.name)
    assert test_docs.broken_links(text, page) == []
    assert test_docs.unknown_names(text) == []
    assert test_docs.wrong_commands(text) == []
    assert test_docs.fragile_formulas(text) == []
    anchors = [test_docs.slug(heading) for heading in test_docs.headings(text)]
    assert len(anchors) == len(set(anchors))


def test_every_lab_has_a_handout():
    index = (ROOT / "docs" / "labs" / "README.md").read_text(encoding="utf-8")
    for number in labs.numbers():
        lab = labs.find(number)
        assert f"{number} {lab.title}" in index and f"| {lab.minutes} |" in index and lab.sentence in index
        page = ROOT / "docs" / "labs" / f"{number}.md"
        assert page.exists() or number == 0
        if number:
            text = page.read_text(encoding="utf-8")
            assert f"{lab.minutes} minutes" in text and lab.sentence in text.lower()
            for function in lab.functions:
                assert f"`{function.name}({', '.join(function.arguments)}) -> " in text
