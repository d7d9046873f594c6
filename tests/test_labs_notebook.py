"""Labs in notebooks: what is written, what is read back, and where a line stands."""

import ast
import contextlib
import io
import json
import re
import sys
import threading
import time

import numpy as np
import pytest
from labs.lab1 import RIGHT as RIGHT_1
from labs.lab2 import TAPS
from labs.lab3 import NUMERICAL
from labs.lab4 import STEPS
from labs.lab6 import PLAIN

from npmnv2 import labs
from npmnv2.__main__ import main
from npmnv2.labs import submission
from npmnv2.labs.notebook import from_stub, joined

RIGHT = {1: RIGHT_1["taps"], 2: TAPS, 3: NUMERICAL, 4: STEPS, 6: PLAIN}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*words):
    """Exit status, stdout and stderr of `python -m npmnv2 lab ...`."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(["lab", *words])
    return status, out.getvalue(), err.getvalue()


def _notebook(*cells):
    """A notebook of code cells; one that begins with a dash is markdown."""
    return json.dumps(
        {
            "cells": [
                {"cell_type": "markdown" if text.startswith("-") else "code", "source": text.splitlines(keepends=True)}
                for text in cells
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


# -- what is written


@pytest.mark.parametrize("number", labs.numbers())
def test_the_notebook_of_a_stub_is_what_the_format_asks_for(number):
    text = from_stub(labs.stub(number))
    assert text == from_stub(labs.stub(number)) and text.endswith("}\n")
    document = json.loads(text)
    assert set(document) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert document["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = document["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        keys = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            keys |= {"execution_count", "outputs"}
            assert cell["execution_count"] is None and cell["outputs"] == []
        else:
            assert cell["cell_type"] == "markdown"
        assert set(cell) == keys and cell["metadata"] == {} and re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        lines = cell["source"]
        assert lines and all(line.endswith("\n") for line in lines[:-1]) and not lines[-1].endswith("\n")
        assert lines[0].strip() and not any(line.startswith("# %%") for line in lines)


@pytest.mark.parametrize("number", labs.numbers())
def test_read_back_it_is_the_stub(number):
    stub = labs.stub(number)
    source = joined(from_stub(stub))
    assert ast.dump(ast.parse(source.code)) == ast.dump(ast.parse(stub)) and source.left_out == ()
    marked = [line for line in stub.splitlines() if line.startswith("# ") and not line.startswith("# %%")]
    texts = [cell["source"] for cell in json.loads(from_stub(stub))["cells"] if cell["cell_type"] == "markdown"]
    assert [f"# {line}".rstrip() for text in texts for line in "".join(text).splitlines() if line] == marked


def test_its_last_cell_runs_in_a_notebook_as_it_is():
    space = {"__name__": "__main__"}
    for cell in json.loads(from_stub(labs.stub(0)))["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec("".join(cell["source"]), space)
    versions = f"Python {sys.version_info.major}.{sys.version_info.minor}, NumPy {np.__version__[:2]}"
    assert out.getvalue().startswith(versions)


# -- the command line


def test_from_the_stub_to_passed(folder):
    for number in labs.numbers():
        status, out, err = _run("start", str(number), "--notebook")
        assert (status, err) == (0, "") and out.endswith(f"python -m npmnv2 lab {number}\n")
    assert sorted(path.name for path in folder.glob("lab*")) == [f"lab{number}.ipynb" for number in labs.numbers()]
    assert (folder / "lab2.ipynb").read_bytes() == from_stub(labs.stub(2)).encode()
    status, out, err = _run()
    assert (status, err) == (1, "") and "not begun" not in out and out.count("not-written") == len(labs.numbers()) - 1
    for number, right in RIGHT.items():
        document = json.loads(from_stub(labs.stub(number)))
        document["cells"].append({"cell_type": "code", "source": right})  # a text, as some write it
        (folder / f"lab{number}.ipynb").write_text(json.dumps(document), encoding="utf-8")
        status, out, err = _run(str(number), f"lab{number}.ipynb")
        assert (status, err) == (0, "") and "passed: all" in out
    assert _run()[1].count("passed") >= len(RIGHT) + 1


def test_a_file_is_found_by_its_ending(folder):
    (folder / "mine.ipynb").write_text(_notebook("import numpy as np", TAPS))
    assert _run("2", "mine.ipynb")[0] == 0
    assert "no file lab2.py" in _run("2")[2]
    (folder / "lab2.ipynb").write_text(_notebook(TAPS))
    assert _run("2")[0] == 0
    status, out, err = _run("start", "2")
    assert status == 0 and out.endswith("lab 2 lab2.py\n")  # both are here now
    for words in (["2"], []):
        status, out, err = _run(*words)
        assert status == 2 and "lab2.py and lab2.ipynb are both here; name one" in err
    assert _run("2", "lab2.ipynb")[0] == 0 and _run("2", "lab2.py")[0] == 1
    assert _run("start", "1", "one.ipynb")[0] == 0 and json.loads((folder / "one.ipynb").read_text())["nbformat"] == 4


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["start", "1", "one.py", "--notebook"], "must end in .ipynb; was one.py"),
        (["1", "--notebook"], "unrecognized arguments: --notebook"),
        (["start", "2", "--notebook"], "lab2.ipynb is there already"),
    ],
)
def test_usage(words, complaint, folder):
    (folder / "lab2.ipynb").write_text("mine")
    status, out, err = _run(*words)
    assert (status, out) == (2, "") and complaint in err
    assert [path.name for path in folder.iterdir()] == ["lab2.ipynb"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "A notebook is JSON; this file was none"),
        ("import numpy as np\n", "A notebook is JSON; this file was none"),
        ("[" * 100_000, "A notebook is JSON; this file was none"),
        ("[]", "must be of nbformat 4; this one is of none"),
        ('{"nbformat": 3, "worksheets": []}', "must be of nbformat 4; this one is of nbformat 3"),
        ('{"nbformat": 4}', "must have code cells that are not empty; this one had none"),
        ('{"nbformat": 4, "cells": [1, {"cell_type": "code"}]}', "must have code cells that are not empty"),
        (_notebook("- text", "", " \n"), "must have code cells that are not empty"),
    ],
)
def test_a_broken_notebook_is_one_clear_error(text, complaint, folder):
    (folder / "lab2.ipynb").write_text(text)
    for words in (["2"], ["2", "--json"]):
        status, out, err = _run(*words)
        assert (status, out) == (2, "") and complaint in err and err.count("\n") == 1 and "lab2.ipynb: A" in err
    status, out, err = _run()
    assert (status, err) == (1, "") and "not yet: not-a-notebook" in out


def test_watch_reads_on_after_a_notebook_that_was_half_written(folder):
    path = folder / "lab2.ipynb"
    path.write_text(_notebook(TAPS)[:99])

    def write():
        time.sleep(1)
        path.write_text(_notebook(TAPS))

    writer = threading.Thread(target=write)
    writer.start()
    status, out, err = _run("2", "--watch")
    writer.join()
    assert status == 0 and "passed" in out and "this file was none" in err


# -- what is run, and where a line stands


def test_a_line_is_a_line_of_a_cell(folder):
    cells = ["- text", "import numpy as np", "", TAPS.strip().replace("dxp = np", "dxp = nq"), "- more", "a = 1"]
    (folder / "lab2.ipynb").write_text(_notebook(*cells))
    status, out, err = _run("2")
    assert status == 1 and "raises (function depthwise_backward, lab2.ipynb, cell 2, line 9)" in out
    line = json.loads(_run("2", "--json")[1])["line"]
    assert joined((folder / "lab2.ipynb").read_text()).code.split("\n")[line - 1] == cells[3].split("\n")[8]
    (folder / "lab2.ipynb").write_text(_notebook(TAPS, "a = 1\nb = (\n"))
    assert "syntax (lab2.ipynb, cell 2, line 2)" in _run("2")[1]


@pytest.mark.parametrize(
    "cell, cause",
    [
        ("a = 1\nb = a[0]", "raises"),
        ("a = 1\nimport matplotlib.pyplot as plt", "import"),
        ("\ndisplay(1)", "raises"),
        ("\nwhile True: pass", "hangs"),
    ],
)
def test_a_cell_that_only_tries_something_out_is_named_if_it_fails(cell, cause, folder):
    (folder / "lab2.ipynb").write_text(_notebook(TAPS, cell))
    status, out, err = _run("2", "--timeout", "1")
    assert status == 1 and f"not yet: {cause} (lab2.ipynb, cell 2, line 2)" in out
    assert "The whole file is run before a function is called." in out
    guarded = 'if __name__ == "__main__":\n' + "\n".join(f"    {line}" for line in cell.split("\n"))
    (folder / "lab2.ipynb").write_text(_notebook(TAPS, guarded))
    assert _run("2", "--timeout", "1")[0] == 0


def test_what_is_for_ipython_is_not_run_and_that_is_said(folder):
    cells = [
        "%matplotlib inline\n!pip install numpy\nimport numpy as np\nif True:\n    %time\n",
        "%%bash\necho it's\n",
        "\n%%time\n" + TAPS,
        "!python -m npmnv2 lab 2",
    ]
    (folder / "lab2.ipynb").write_text(_notebook(*cells))
    status, out, err = _run("2")
    assert status == 0 and re.findall("not run, for it is IPython's: (.*)", out) == [
        "cell 1, line 1: %matplotlib inline",
        "cell 1, line 2: !pip install numpy",
        "cell 1, line 5: %time",
        "cell 2, all of it: %%bash",
        "cell 3, line 2: %%time",
    ]
    assert "and 1 more" in out


def test_what_goes_on_in_the_next_line_and_what_has_no_mark_is_left_out_too():
    cell = "!ls \\\n  -la\nnp?\n?np.zeros\nhere = %pwd\nfiles = !ls\npip install numpy\n"
    cell += "if 1:\n    %timeit -n 1 \\\n        1 + 1\nb = 3 % 2"
    source = joined(_notebook(cell))
    assert [what.split(": ")[1] for what in source.left_out] == [
        "!ls \\",
        "-la",
        "np?",
        "?np.zeros",
        "here = %pwd",
        "files = !ls",
        "pip install numpy",
        "%timeit -n 1 \\",
        "1 + 1",
    ]
    space = {}
    exec(source.code, space)
    assert space["b"] == 1


def test_what_only_looks_like_a_magic_is_run():
    cell = '''a = (7
    % 4)
b = 7 \\
    % 4
c = """
%time it's
!ls (
"""
d = "a \\
%time"
e = ["a#", 'b"', '"""',
! 1
]  # it's (
%time
f = 1'''
    source = joined(_notebook(cell))
    assert source.left_out == ("cell 1, line 14: %time",)
    assert source.code == cell.replace("%time\nf", "\nf") + "\n"
    space = {}
    exec(joined(_notebook(cell.replace("! 1", "1"))).code, space)
    assert (space["a"], space["b"], space["c"], space["d"]) == (3, 3, "\n%time it's\n!ls (\n", "a %time")


def test_a_notebook_may_hold_what_no_file_can(folder):
    """Half a character, line ends of Windows, a mark of the byte order, a null."""
    text = json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": "a = '\ud800'\r\n" + TAPS}]})
    (folder / "lab2.ipynb").write_text(text, encoding="utf-8-sig")
    status, out, err = _run("2")
    assert (status, err) == (0, "")
    (folder / "lab2.ipynb").write_text(_notebook(TAPS + "\0"))
    status, out, err = _run("2")
    assert (status, err) == (1, "") and "not yet: " in out


def test_what_is_too_large_is_not_run(folder, monkeypatch):
    """Pictures count for the notebook, not for its code."""
    monkeypatch.setattr(submission, "LARGEST", 1 << 14)
    picture = {"cell_type": "markdown", "source": "x" * (1 << 16)}
    document = {"nbformat": 4, "cells": [picture, {"cell_type": "code", "source": TAPS}]}
    (folder / "lab2.ipynb").write_text(json.dumps(document))
    assert _run("2")[0] == 0
    (folder / "lab2.ipynb").write_text(_notebook(TAPS, "#" * (1 << 14)))
    assert "The code has more than 16,384 bytes" in _run("2")[2]
    monkeypatch.setattr(submission, "LARGEST_NOTEBOOK", 1 << 15)
    (folder / "lab2.ipynb").write_text(json.dumps(document))
    assert "not yet: not-a-file" in _run("2")[1]


# -- in a class


def test_a_folder_may_hold_notebooks(folder):
    for student, text in (
        ("ada", _notebook(TAPS)),
        ("bob", _notebook("%time", TAPS.replace("dxp = np", "dxp = nq"))),
        ("eve", "{}"),
        ("eve/.ipynb_checkpoints", _notebook(TAPS)),
    ):
        (folder / "in" / student).mkdir(parents=True)
        (folder / "in" / student / "lab2.ipynb").write_text(text)
    status, out, err = _run("grade", "in", "--json", "marks.json", "--jobs", "1")
    document = json.loads((folder / "marks.json").read_text())
    found = [(row["student"], row["passed"], row["cause"]) for row in document["submissions"]]
    assert (status, err) == (0, "")
    assert found == [("ada", True, None), ("bob", False, "raises"), ("eve", False, "not-a-notebook")]
    line = document["submissions"][1]["line"]
    assert _run("grade", "in/bob", "--gradescope", "results.json")[0] == 0
    assert f"(line {line} of all code cells together)" in (folder / "results.json").read_text()


def test_a_variant_can_be_a_notebook(folder):
    words = ["--seed", "2027", "--student", "ada"]
    status, out, err = _run("start", "3", "--notebook", *words)
    assert (status, err) == (0, "") and "lab 3 --seed 2027 --student ada" in out
    source = joined((folder / "lab3.ipynb").read_bytes())
    assert ast.dump(ast.parse(source.code)) == ast.dump(ast.parse(labs.stub(3, "2027/ada")))
    status, out, err = _run("3", *words)
    assert (status, err) == (1, "") and "not-written" in out
