"""What teachers have: the solutions, and the guide's account of labs, causes and minutes."""

import ast
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from npmnv2 import labs
from npmnv2.labs.causes import CAUSES
from npmnv2.labs.grade import grade
from npmnv2.labs.notebook import from_stub, joined

ROOT = pathlib.Path(__file__).parent.parent
SOLUTIONS = sorted((ROOT / "docs" / "labs" / "solutions").glob("*.py"), key=lambda path: path.name)
GUIDE = (ROOT / "docs" / "labs" / "teachers.md").read_text(encoding="utf-8")


def _number(path):
    return int(path.stem.removeprefix("lab"))


def _without_bodies(text, names):
    """The lines of a file, comments too, without what stands below the docstrings of some functions."""
    lines = text.split("\n")
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            del lines[node.body[0].end_lineno : node.end_lineno]
    return lines


def test_every_lab_in_which_there_is_something_to_write_has_a_solution():
    assert [_number(path) for path in SOLUTIONS] == [number for number in labs.numbers() if number]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_is_the_stub_with_its_functions_written(path):
    lab, text = labs.find(_number(path)), path.read_text(encoding="utf-8")
    names = [function.name for function in lab.functions]
    assert _without_bodies(text, names) == _without_bodies(labs.stub(lab.number), names)
    assert "NotImplementedError" not in text


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_passes_at_par_as_a_file_and_as_a_notebook(path):
    lab, text = labs.find(_number(path)), path.read_text(encoding="utf-8")
    for source in (text, joined(from_stub(text)).code):
        verdict = grade(lab, source, path.name)
        assert verdict.passed and verdict.score == 1 and verdict.madds == lab.par, verdict


@pytest.mark.parametrize("words", [["2", str(SOLUTIONS[1])], ["start", "2", "--notebook"], ["--json"]])
def test_labs_need_nothing_but_numpy(words, tmp_path):
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("numba", "scipy", "matplotlib", "PIL", "tqdm", "threadpoolctl"):
            raise ImportError(name)
sys.path.insert(0, {str(ROOT)!r})
sys.meta_path.insert(0, Refuse())
from npmnv2.__main__ import main
sys.exit(main(["lab", *{words!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (int(words == ["--json"]), "")  # 1: nothing is begun


def test_solutions_are_not_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    assert settings["build"]["targets"]["wheel"] == {"packages": ["npmnv2"]}
    names = {path.name for path in SOLUTIONS}
    assert names and not [path for path in (ROOT / "npmnv2").rglob("*.py") if "solutions" in path.parts]


def test_the_guide_has_a_part_for_every_lab_and_names_causes_that_there_are():
    parts = dict(re.findall(r"^### Lab (\d): .*?\n(.*?)(?=^##)", GUIDE, flags=re.MULTILINE | re.DOTALL))
    for number in labs.numbers()[1:]:
        assert f"### Lab {number}: {labs.find(number).title}\n" in GUIDE
    for number, part in parts.items():
        rows = re.findall(r"^\| (.*?) \| .*[.?] \|$", part, flags=re.MULTILINE)
        named = {row.strip("`") for row in rows if row.startswith("`")}
        assert 3 <= len(rows) <= 5 and named <= set(CAUSES), (number, named - set(CAUSES))


def test_the_minutes_of_a_session_add_up():
    """The rows of each session's table begin one after the other, and the last ends at 2:00."""
    tables = re.findall(r"((?:^\| \d:\d\d .*\n)+)", GUIDE, flags=re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        times = [int(h) * 60 + int(m) for h, m in re.findall(r"^\| (\d):(\d\d) ", table, flags=re.MULTILINE)]
        minutes = [int(m) for m in re.findall(r"^\| \d:\d\d \| (\d+) \|", table, flags=re.MULTILINE)]
        assert times == [sum(minutes[:k]) for k in range(len(minutes))] and sum(minutes) == 120
