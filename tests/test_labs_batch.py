"""`lab grade`: folders as they are handed in, what a stopped run leaves, and the files it writes."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from labs.lab2 import TAPS
from labs.lab3 import NUMERICAL
from processes import unix
from test_labs import KEYS, _run
from test_labs_hostile import HOSTILE, _snapshot

from npmnv2 import labs
from npmnv2.cli import lab_grade
from npmnv2.labs import batch, gradescope, planted, suspect
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.grade import grade
from npmnv2.labs.submission import judge

ROOT = pathlib.Path(__file__).parent.parent
WRONG = TAPS.replace("dxp[:, rows, cols] +=", "dxp[:, rows, cols] =")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _hand_in(folder, files):
    for name, text in files.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "in"


# -- whose file is what


@pytest.mark.parametrize(
    "file, student, lab",
    [
        ("ada/lab2.py", "ada", 2),
        ("ada/week 1/Lab_2.PY", "ada", 2),
        ("Ada Byron_123_assignsubmission_file_/lab1.py", "Ada Byron_123_assignsubmission_file_", 1),
        ("ada_lab2.py", "ada", 2),
        ("lab2_ada.py", "ada", 2),
        ("byronada_LATE_77_lab2-1.py", "byronada_LATE_77", 2),
        ("ada lab 2 (3).py", "ada", 2),
        ("collab1_lab2.py", "collab1", 2),
        ("lab2.py", "in", 2),
    ],
)
def test_names(file, student, lab, folder):
    found, left_out = batch.find(str(_hand_in(folder, {file: ""})))
    assert [(s.student, s.lab, s.file) for s in found] == [(student, lab, file)] and left_out == []


def test_what_is_no_submission_is_listed(folder):
    names = ("a.txt", "b.py", "c_lab9.py", "__MACOSX/._lab2.py", ".git/lab2.py", ".lab2.py", "d/__pycache__/lab2.py")
    found, left_out = batch.find(str(_hand_in(folder, dict.fromkeys(names, ""))))
    assert found == [] and dict(left_out) == {
        ".git": "is hidden, or made by a program",
        ".lab2.py": "is hidden, or made by a program",
        "__MACOSX": "is hidden, or made by a program",
        "a.txt": "is no .py or .ipynb file",
        "b.py": "has no lab in its name, such as lab2",
        "c_lab9.py": "there is no lab 9",
        "d/__pycache__": "is hidden, or made by a program",
    }


def test_one_lab_alone(folder):
    there = _hand_in(folder, {"ada/homework.py": "", "bob/lab1.py": "", "cy/lab2.py": ""})
    found, left_out = batch.find(str(there), only=2)
    assert [(s.student, s.lab) for s in found] == [("ada", 2), ("cy", 2)] and left_out == [
        ("bob/lab1.py", "is for lab 1")
    ]


@unix
def test_links_and_pipes_are_no_submissions(folder):
    there = _hand_in(folder, {"ada/lab2.py": TAPS})
    (there / "bob").mkdir()
    os.symlink(there / "ada" / "lab2.py", there / "bob" / "lab2.py")
    os.symlink(there / "ada", there / "cy")
    os.mkfifo(there / "bob" / "lab1.py")
    status, out, err = _run("grade", "in", "--json", "out.json", "--jobs", "2")
    assert status == 0 and "bob/lab2.py is a link" in out and "cy is a link" in out
    rows = {row["file"]: row for row in json.loads((folder / "out.json").read_text())["submissions"]}
    assert rows["ada/lab2.py"]["passed"] and rows["bob/lab1.py"]["cause"] == "not-a-file" and len(rows) == 2


# -- the run


def test_a_class(folder):
    files = {"ada/lab2.py": TAPS, "bob/lab2.py": WRONG, "=cy/lab2.py": labs.stub(2), "é_lab0.py": labs.stub(0)}
    _hand_in(folder, files)
    status, out, err = _run("grade", "in", "--csv", "out.csv", "--json", "out.json", "--jobs", "3")
    assert (status, err) == (0, "")
    assert "lab 2: 1 of 3 passed; not yet: " in out and "assigned 1" in out and "lab 0: 1 of 1 passed" in out
    document = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert [row["student"] for row in document["submissions"]] == ["é", "=cy", "ada", "bob"]
    assert all(list(row) == ["student", "file", "sha256", *KEYS] for row in document["submissions"])
    raw = (folder / "out.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfstudent,file,lab")
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    assert [row["student"] for row in rows] == ["é", "'=cy", "ada", "bob"]
    assert [row["cause"] for row in rows] == ["", "not-written", "", "assigned"] and rows[2]["madds"] == "1260"


def test_hostile_submissions_cost_the_others_nothing(folder):
    before = _snapshot()
    files = {f"s{k}/lab2.py": source for k, (source, _) in enumerate(HOSTILE.values())}
    there = _hand_in(folder, {**files, "good/lab2.py": TAPS})
    (there / "bytes").mkdir()
    (there / "bytes" / "lab2.py").write_bytes(b"\xff\xfe" * 50)
    (there / "large").mkdir()
    (there / "large" / "lab2.py").write_bytes(b"#" * (1 << 21))
    handed_in = {path: path.read_bytes() for path in there.rglob("*.py")}
    status, out, err = _run("grade", "in", "--json", "out.json", "--timeout", "1")
    assert status == 0 and len(files) >= 20
    rows = {row["student"]: row for row in json.loads((folder / "out.json").read_text())["submissions"]}
    assert len(rows) == len(files) + 3
    assert [name for name, row in rows.items() if row["passed"]] == ["good"]
    assert rows["bytes"]["cause"] == "syntax" and rows["large"]["cause"] == "not-a-file"
    assert _snapshot() == before and sorted(os.listdir(folder)) == ["in", "out.json"]
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == handed_in


def test_a_mistake_of_the_grader_costs_the_others_nothing(folder, monkeypatch):
    _hand_in(folder, {"ada/lab2.py": TAPS, "bob/lab2.py": TAPS})

    def fail(lab, path, limit):
        if "bob" in path:
            raise ZeroDivisionError
        return judge(lab, path, limit)

    monkeypatch.setattr(batch, "judge", fail)
    assert _run("grade", "in", "--json", "out.json")[0] == 1
    rows = {row["student"]: row for row in json.loads((folder / "out.json").read_text())["submissions"]}
    assert rows["ada"]["passed"] and rows["bob"]["cause"] == "grader-failed" and set(rows["ada"]) == set(rows["bob"])
    monkeypatch.setattr(batch, "judge", judge)
    assert _run("grade", "in", "--json", "out.json")[0] == 0  # it is tried again


def test_a_stopped_run_goes_on(folder, monkeypatch):
    files = {f"s{k}/lab2.py": f"# {k}\n{TAPS}" for k in range(4)}
    there = _hand_in(folder, files)
    printed = lab_grade._Run._print

    def stop(self, row):
        printed(self, row)
        if len(self.rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(lab_grade._Run, "_print", stop)
    assert _run("grade", "in", "--csv", "out.csv", "--json", "out.json", "--jobs", "1")[0] == 130
    first = json.loads((folder / "out.json").read_text())["submissions"]
    assert len(first) == 2 and all(row["passed"] for row in first)
    monkeypatch.setattr(lab_grade._Run, "_print", printed)
    judged = []
    monkeypatch.setattr(batch, "judge", lambda lab, path, limit: judged.append(path) or judge(lab, path, limit))
    changed = there / first[0]["file"]
    changed.write_text(WRONG)
    status, out, err = _run("grade", "in", "--csv", "out.csv", "--json", "out.json")
    assert status == 0 and "2 verdicts of out.json are kept" in err
    rows = json.loads((folder / "out.json").read_text())["submissions"]
    kept = {str(pathlib.Path("in", first[1]["file"]))}  # one thread may still have been busy with the third
    assert {str(pathlib.Path(path)) for path in judged} == {str(pathlib.Path("in", name)) for name in files} - kept
    assert [row["passed"] for row in rows] == [row["file"] != first[0]["file"] for row in rows] and len(rows) == 4
    assert first[1] in rows
    status, out, err = _run("grade", "in", "--json", "out.json", "--timeout", "7")
    assert len(rows) == len(out.splitlines()) - 2 == 4 and "other settings: all files are judged anew" in err


@pytest.mark.parametrize(
    "words, complaint",
    [
        ([], "required: FOLDER"),
        (["nowhere"], "there is no folder nowhere"),
        (["in", "--jobs", "0"], "--jobs must be at least 1; was 0"),
        (["in", "--timeout", "nan"], "--timeout must be from 0.1 to 600"),
        (["in", "--lab", "9"], "--lab must be one of 0, 1"),
        (["in", "--csv", "mine.csv"], "mine.csv is there and holds something else"),
        (["in", "--json", "mine.csv"], "mine.csv is there and holds something else"),
        (["in", "--json", "close.json"], "close.json is there and holds something else"),
        (["in", "--csv", "in/out.csv"], "in the folder of the submissions"),
        (["in", "--csv", "no/out.csv"], "there is no folder"),
        (["in", "--csv", ""], "--csv must name a file; was empty"),
        (["in", "--json", "folder"], "is there already, and is no file"),
        (["in", "--gradescope", os.devnull], "is there already, and is no file"),
        (["in", "--csv", "a", "--json", "./a"], "must be different files"),
        (["in", "--hint"], "unrecognized arguments"),
    ],
)
def test_usage(words, complaint, folder):
    _hand_in(folder, {"ada/lab2.py": TAPS})
    (folder / "mine.csv").write_text("student,mark\n")
    (folder / "close.json").write_text('{"npmnv2": "0", "submissions": [{}]}')
    (folder / "folder").mkdir()
    before = sorted(os.listdir(folder))
    status, out, err = _run("grade", *words)
    assert (status, out) == (2, "") and complaint in err
    assert sorted(os.listdir(folder)) == before and (folder / "mine.csv").read_text() == "student,mark\n"


ODD = {
    "score": None,
    "lab": [2],
    "file": {},
    "cause": ["assigned"],
    "madds": "many",
    "seconds": float("nan"),
    "case": 3,
}


@pytest.mark.parametrize("name", [*ODD, "deep", "half", "folder"])
def test_a_document_that_somebody_changed_is_left_as_it_is(name, folder):
    _hand_in(folder, {"ada/lab0.py": labs.stub(0)})
    assert _run("grade", "in", "--json", "out.json")[0] == 0
    path = folder / "out.json"
    document = json.loads(path.read_text())
    if name in ODD:
        document["submissions"][0][name] = ODD[name]
    if name == "folder":
        document["folder"] = "/another"
    text = json.dumps(document)
    path.write_text({"deep": "[" * 100_000, "half": text[: len(text) // 2]}.get(name, text))
    before = path.read_text()
    status, out, err = _run("grade", "in", "--json", "out.json")
    assert status == 2 and "left as it is" in err and path.read_text() == before


def test_who_reads_no_further_stops_nothing(folder, monkeypatch):
    _hand_in(folder, {f"s{k}/lab0.py": labs.stub(0) for k in range(5)})
    shown = []

    def print_until_the_pipe_is_closed(line, flush):
        shown.append(line)
        if len(shown) > 1:
            raise BrokenPipeError

    monkeypatch.setattr(lab_grade, "print", print_until_the_pipe_is_closed, raising=False)
    assert _run("grade", "in", "--json", "out.json")[0] == 0
    assert len(json.loads((folder / "out.json").read_text())["submissions"]) == 5 and len(shown) == 2


def test_a_file_that_cannot_be_written_stops_no_judging(folder, monkeypatch):
    _hand_in(folder, {f"s{k}/lab0.py": labs.stub(0) for k in range(3)})
    right = lab_grade.writing

    def full(path):
        if path == "out.json":
            raise OSError(28, "No space left on device", path)
        return right(path)

    monkeypatch.setattr(lab_grade, "writing", full)
    monkeypatch.setattr(lab_grade, "SAVED_EVERY", 0.0)
    status, out, err = _run("grade", "in", "--json", "out.json", "--csv", "out.csv")
    assert status == 1 and "No space left" in err and "3 of 3 passed" in out
    assert len((folder / "out.csv").read_text().splitlines()) == 4


# -- Gradescope


def _results(folder, *words):
    assert _run("grade", "in", "--gradescope", "results.json", *words)[0] == 0
    return json.loads((folder / "results.json").read_text())


def test_gradescope(folder):
    _hand_in(folder, {"lab1.py": labs.stub(1), "lab2.py": TAPS})
    found = _results(folder)
    assert [(t["status"], t["score"], t["max_score"]) for t in found["tests"]] == [
        ("failed", 0, 10),
        ("passed", 10, 10),
    ]
    assert "not-written" in found["tests"][0]["output"] and "par 1,260" in found["tests"][1]["output"]
    assert found["leaderboard"] == [{"name": "lab 2: multiply-adds", "value": 1260, "order": "asc"}]
    assert found["visibility"] == "visible" and all(t["visibility"] == "visible" for t in found["tests"])
    (folder / "in" / "again").mkdir()
    shutil.copy(folder / "in" / "lab2.py", folder / "in" / "again" / "lab2.py")
    (two,) = _results(folder, "--lab", "2")["tests"]
    assert two["score"] == 0 and "again/lab2.py" in two["output"]


def test_gradescope_without_a_file(folder):
    _hand_in(folder, {"notes.txt": ""})
    (missing,) = _results(folder, "--lab", "2")["tests"]
    assert missing["score"] == 0 and missing["output"] == "There is no file lab2.py."
    nothing = _results(folder)
    assert nothing["tests"] == [] and nothing["score"] == 0 and "such as lab2.py" in nothing["output"]
    assert gradescope.results([], [])["score"] == 0


@unix
def test_the_bundle_for_gradescope(folder):
    """`run_autograder` as Gradescope calls it, with a Python in place of the one that `setup.sh` makes."""
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / "results").mkdir()
    (folder / "submission").mkdir()
    (folder / "submission" / "lab2.py").write_text(TAPS)
    environment = {**os.environ, "AUTOGRADER": str(folder), "PYTHONPATH": str(ROOT)}
    bundle = ROOT / "docs" / "labs" / "gradescope"
    subprocess.run([bundle / "run_autograder"], env=environment, check=True, capture_output=True)
    assert json.loads((folder / "results" / "results.json").read_text())["tests"][0]["status"] == "passed"
    assert all(os.access(bundle / name, os.X_OK) for name in ("setup.sh", "run_autograder"))
    subprocess.run(["bash", "-n", bundle / "setup.sh"], check=True)


# -- variants


def test_variants_differ_and_are_judged_by_their_student(folder):
    students = [f"s{k}" for k in range(8)]
    numbers = {student: suspect.right(f"2027/{student}") for student in students}
    assert len({suspect.more(f"2027/{student}").partition("def suspect")[2] for student in students}) > 3
    last = "s7"
    files = {f"{student}/lab3.py": f"{NUMERICAL}\ndef which(): return {numbers[last]}\n" for student in students}
    _hand_in(folder, files)
    assert _run("grade", "in", "--seed", "2027", "--json", "out.json")[0] == 0
    rows = json.loads((folder / "out.json").read_text())["submissions"]
    assert [row["passed"] for row in rows] == [numbers[row["student"]] == numbers[last] for row in rows]
    wrong = next(row for row in rows if not row["passed"])
    assert (
        wrong["cause"] == "another-mistake"
        and wrong["score"] > 0.9
        and f"of 2027/{wrong['student']} that" in wrong["says"]
    )
    assert suspect.more("1/Zo\u00eb").partition("def")[2] == suspect.more("1/Zoe\u0308").partition("def")[2]
    status, out, err = _run("start", "3", "--seed", "2027", "--student", "s 7")
    assert status == 0 and "--seed 2027 --student 's 7'" in out
    text = (folder / "lab3.py").read_text()
    assert text == labs.stub(3, "2027/s 7") and "(2027/s 7)" in text
    assert _run("3", "--seed", "2027", "--student", "s 7")[0] == 1
    (folder / "lab3.py").write_text(NUMERICAL)
    assert _run("3")[0] == 0 and "no function which" in _run("3", "--seed", "2027", "--student", "s 7")[1]


def test_a_suspect_is_wrong_as_its_answer_says():
    """Of the list of answers one is right: the functions of all others give something else."""
    for variant in ("1/a", "1/b", "2/c"):
        names = suspect.answers(variant)
        assert sorted(names) == sorted(set(names)) and 1 <= suspect.right(variant) <= len(names)
        space = {}
        exec("import numpy as np\n" + suspect.more(variant), space)
        rng = np.random.default_rng(0)
        x, w, dout = rng.normal(size=(2, 9, 7, 3)), rng.normal(size=(3, 3, 3)), rng.normal(size=(2, 5, 4, 3))
        mine = space["suspect"](dout, x, w, 2, 1)
        same = []
        for name in names:
            theirs = planted.function(planted.PLANTED[name].text(), "backward")(dout, x, w, 2, 1)
            same.append(all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True)))
        assert [k for k, s in enumerate(same, 1) if s] == [suspect.right(variant)]


@pytest.mark.parametrize("name", ["", " ", "-x", "a\nb", "a\x1b"])
def test_a_variant_is_of_a_name_that_can_be_printed(name, folder):
    status, out, err = _run("start", "3", "--seed", "1", f"--student={name}")
    assert (status, out) == (2, "") and "--student must be a name" in err and os.listdir(folder) == []


@pytest.mark.parametrize("number", [0, -1, 14, 99])
def test_a_number_that_is_no_answer(number):
    lab = labs.find(3, "1/a")
    verdict = grade(lab, f"{NUMERICAL}\ndef which(): return {number}\n", "lab3.py")
    assert verdict.cause == "another-mistake" and f"yours is {number}" in verdict.says


# -- files as editors and people make them


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + TAPS.encode(),
        b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + TAPS.encode(),
        TAPS.replace("\n", "\r\n").encode(),
        b"from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    a: int = 1\n"
        + TAPS.encode(),
    ],
    ids=["mark", "coding", "windows", "dataclass"],
)
def test_files_that_python_reads_are_read(data, folder):
    (folder / "__main__.py").write_bytes(data)
    assert judge(labs.find(2), "__main__.py").passed


@pytest.mark.parametrize(
    "data, says",
    [
        (b"# caf\xe9\n" + TAPS.encode(), "save it as UTF-8"),
        (b"# coding: klingon\n", "unknown encoding: klingon"),
        (b"# coding: punycode\n" + TAPS.encode(), "save it as UTF-8"),
    ],
)
def test_files_that_python_does_not_read_have_a_verdict(data, says, folder):
    (folder / "lab2.py").write_bytes(data)
    verdict = judge(labs.find(2), "lab2.py")
    assert (verdict.cause, verdict.score) == ("syntax", 0) and says in verdict.says
    assert _run("2")[0] == 1


@pytest.mark.parametrize(
    "body, causes",
    [
        ("return 10**5000", {"wrong-type"}),
        ("return (10**5000, 10**5000)", {"wrong-type"}),
        ("np.asarray = None; return np.zeros_like(x), np.zeros_like(w)", {"raises"}),
    ],
)
def test_results_that_no_message_can_carry(body, causes):
    source = f"import numpy as np\ndef depthwise_backward(dout, x, w, stride, pad):\n    {body}\n"
    assert grade(labs.find(2), source, "lab2.py").cause in causes


def test_files_beside_the_students_are_not_the_library(folder):
    """`random.py` is a common name; `python -m` would import it in the library's place."""
    for name in ("random", "json", "queue", "argparse", "numpy", "tempfile", "zlib"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    (folder / "lab2.py").write_text(TAPS)
    command = [sys.executable, "-m", "npmnv2", "lab", "2"]
    found = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert found.returncode == 0 and "passed" in found.stdout, found.stderr


def test_every_cause_of_a_refused_file_is_known():
    assert {"not-a-file", "grader-failed", "syntax", "another-mistake"} <= set(CAUSES)
