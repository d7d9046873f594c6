"""Submissions that exit, crash, hang, cheat or do harm: none passes, and nothing happens beyond the submission."""

import os
import pathlib

import numpy as np
import pytest
from labs.lab2 import TAPS
from labs.lab7 import GIVEN
from processes import unix

import npmnv2
from npmnv2 import labs
from npmnv2.labs import child, wire
from npmnv2.labs.grade import grade
from npmnv2.labs.process import Stopped, Student

PACKAGE = pathlib.Path(npmnv2.__file__).parent
BODY = "def depthwise_backward(dout, x, w, stride, pad):\n    "
CHEAT = (
    "dx, dw = ops.depthwise_conv2d_backward(dout, ops.depthwise_conv2d_forward(x, w, stride, pad)[1]); return dx, dw"
)
FORGE = f"""
import os, sys
import numpy as np
{BODY}for fd in range(3, 30):
        try:
            os.write(fd, b"\\0" * 8 + b"\\7" * 8 + b"passed" * 100)
        except OSError:
            pass
    return np.zeros_like(x), np.zeros_like(w)
"""

ANSWER = """
import struct, sys
frame = sys._getframe()
while "answers" not in frame.f_locals:
    frame = frame.f_back
answers = frame.f_locals["answers"]
answers.write(struct.pack("<QQ", len(text), 0) + text)
answers.flush()
"""

# What the file says, and the causes that the verdict may have.
HOSTILE = {
    "exits as it is loaded": ("import sys; sys.exit(0)", {"exits"}),
    "exits in the function": (f"import sys\n{BODY}sys.exit(0)", {"exits"}),
    "exits without ceremony": (f"import os\n{BODY}os._exit(0)", {"exits"}),
    "interrupts": (f"{BODY}raise KeyboardInterrupt", {"exits"}),
    "an exception whose text exits": (
        f"class E(Exception):\n    def __str__(self):\n        raise SystemExit(0)\n{BODY}raise E",
        {"raises"},
    ),
    "crashes": (f"import ctypes\n{BODY}ctypes.string_at(0)", {"raises", "crashes"}),
    "never ends": (f"{BODY}while True: pass", {"hangs"}),
    "never ends and cannot be interrupted": (
        f"import signal\n{BODY}\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        {"hangs"},
    ),
    "floods stdout": (f"{BODY}while True: print('passed' * 1000)", {"hangs"}),
    "floods stderr": (f"import sys\n{BODY}while True: sys.stderr.write('passed' * 1000)", {"hangs"}),
    "prints a document": (
        f'{BODY}print(\'{{"lab": 2, "passed": true}}\'); return x * 0, w * 0',
        {"zero"},
    ),
    "takes all memory": (
        f"{BODY}return [bytearray(1 << 28) for _ in range(1000)]",
        {"raises", "crashes", "exits", "hangs"},
    ),
    "returns more than a message holds": (
        f"import numpy as np\n{BODY}return np.zeros((1 << 26,)), np.zeros((1 << 26,))",
        {"exits", "raises", "hangs"},
    ),
    "recurses": (
        f"import sys\nsys.setrecursionlimit(1 << 30)\n{BODY}return depthwise_backward(dout, x, w, 1, 0)",
        None,
    ),
    "forks": (f"import os\n{BODY}while True: os.fork()", {"raises"}),
    "starts processes": (f"import subprocess\n{BODY}subprocess.run(['echo', 'passed'])", {"raises"}),
    "starts a thread that never ends": (
        f"import threading\ndef f():\n    while True: pass\n{BODY}threading.Thread(target=f).start()",
        {"wrong-type"},
    ),
    "kills the grader": (f"import os\n{BODY}os.kill(os.getppid(), 9)", {"raises"}),
    "kills its group": (f"import os\n{BODY}os.killpg(0, 9)", {"raises"}),
    "opens a connection": (f"import socket\n{BODY}socket.create_connection(('127.0.0.1', 9))", {"raises", "import"}),
    "imports the answer": (f"from npmnv2 import ops\n{BODY}{CHEAT}", {"import"}),
    "imports the answer late": (f"{BODY}from npmnv2 import ops; {CHEAT}", {"import"}),
    "imports the answer by its path": (
        f"import sys\nsys.path.insert(0, {str(PACKAGE.parent)!r})\n{BODY}from npmnv2 import ops; {CHEAT}",
        {"import"},
    ),
    "imports the answer as another name": (
        "import importlib.util as u\n"
        f"s = u.spec_from_file_location('ops', {str(PACKAGE / 'ops' / '__init__.py')!r})\n"
        f"ops = u.module_from_spec(s)\ns.loader.exec_module(ops)\n{BODY}{CHEAT}",
        {"raises", "import"},
    ),
    "reads the answer": (f"exec(open({str(PACKAGE / 'ops' / 'depthwise.py')!r}).read())", {"raises"}),
    "reads the answer by the folder": (
        f"import os\nd = os.open({str(PACKAGE.parent)!r}, os.O_RDONLY)\n"
        "exec(os.read(os.open('npmnv2/ops/depthwise.py', os.O_RDONLY, dir_fd=d), 1 << 16))",
        {"raises"},
    ),
    "writes to the grader": (f"open({str(PACKAGE / 'labs' / 'grade.py')!r}, 'a').write('# passed')", {"raises"}),
    "forges answers": (FORGE, {"exits", "zero", "hangs"}),
    "replaces what compares": (
        "import numpy as np\nnp.allclose = np.array_equal = lambda *a, **k: True\n"
        f"{BODY}return np.ones_like(x), np.ones_like(w)",
        None,
    ),
    "an array that agrees with everything": (
        "import numpy as np\nclass Yes(np.ndarray):\n    def __eq__(self, other): return True\n"
        f"{BODY}return x.view(Yes), w.view(Yes)",
        {"wrong-type"},
    ),
    "an object that pickles to a command": (
        f"import os\nclass P:\n    def __reduce__(self): return os.system, ('touch passed',)\n{BODY}return P(), P()",
        {"wrong-type"},
    ),
    "never ends as it is loaded, with the clock stopped": (
        "import faulthandler\nfaulthandler.cancel_dump_traceback_later()\nwhile True: pass",
        {"hangs"},
    ),
    "starts a process past Python": (
        f"import _posixsubprocess\n{BODY}_posixsubprocess.fork_exec([b'/bin/sleep'], [b'/bin/sleep'], True, (), None)",
        {"raises", "import"},
    ),
    "starts a process by a module loaded anew": (
        f"import sys\nimport _posixsubprocess\ndel sys.modules['_posixsubprocess']\n{BODY}import _posixsubprocess",
        {"import"},
    ),
    "names a file by what answers otherwise the second time": (
        "import io\nclass P:\n    asked = 0\n    def __fspath__(self):\n        P.asked += 1\n"
        f"        return '/dev/null' if P.asked % 2 else 'passed'\n{BODY}io.FileIO(P(), 'w')",
        {"raises"},
    ),
    "names a file by a text of its own kind": (
        "import os\nclass S(str):\n    def startswith(self, *a): return True\n    def __eq__(self, o): return True\n"
        f"    def __hash__(self): return 0\n{BODY}os.open(S({__file__!r}), os.O_RDONLY)",
        {"raises"},
    ),
    "kills the grader by a number of a file": (
        f"import os, signal\n{BODY}signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
        {"raises"},
    ),
    "slows the grader down": (f"import os\n{BODY}os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", {"raises"}),
    "makes a pipe in a folder": (f"import os\n{BODY}os.mkfifo('passed')", {"raises"}),
    "writes a database": (f"import sqlite3\n{BODY}sqlite3.connect('passed')", {"raises", "import"}),
    "reads what others handed in": (f"{BODY}exec(open({__file__!r}).read())", {"raises"}),
    "reads of the grader's process": (f"import os\n{BODY}open('/proc/%d/environ' % os.getppid())", {"raises"}),
    "an exception with a long name": (f"E = type('E' * 10**6, (Exception,), {{}})\n{BODY}raise E", {"raises"}),
    "answers with what is no answer": (
        "import json\ntext = json.dumps({'dict': {'functions': {'value': 5}}}).encode()\n" + ANSWER,
        {"missing", "exits", "another-lab", "empty"},
    ),
    "an answer that takes long to read": (
        "text = b'[' + b'{},' * (1 << 22) + b'{}]'\n" + ANSWER,
        {"exits", "hangs"},
    ),
    "no text at all": ("\0\0\0", {"syntax", "raises"}),
    "nested too deeply": ("(" * 5000, {"syntax", "raises", "crashes"}),
}


def _snapshot():
    return {path: path.stat().st_mtime_ns for path in (PACKAGE / "labs").rglob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_pass_and_no_effect_beyond_it(name, tmp_path, monkeypatch):
    """Each by itself, with its cause; by default test_labs_batch.py runs them all as one class."""
    monkeypatch.chdir(tmp_path)
    source, causes = HOSTILE[name]
    before = _snapshot()
    verdict = grade(labs.find(2), source, "lab2.py", limit=1)
    assert not verdict.passed and verdict.cause is not None and verdict.score < 1
    assert causes is None or verdict.cause in causes, verdict
    assert len(verdict.output) <= 1 << 16
    assert _snapshot() == before and os.listdir(tmp_path) == []


def test_a_write_is_refused_with_the_students_line(tmp_path):
    target = tmp_path / "kept.txt"
    target.write_text("kept")
    source = f"import os\n\nopen({str(target)!r}, 'w')\n"
    verdict = grade(labs.find(2), source, "lab2.py")
    assert (verdict.cause, verdict.line) == ("raises", 3) and "cannot write" in verdict.says
    grade(labs.find(2), f"import os\nos.remove({str(target)!r})", "lab2.py")
    assert target.read_text() == "kept"


def test_the_line_of_an_endless_loop_and_of_a_crash():
    hangs = grade(labs.find(2), f"\n\n{BODY}\n    while True:\n        pass\n", "lab2.py", limit=0.5)
    assert hangs.cause == "hangs" and hangs.line in (5, 6)


def test_what_a_verdict_says_is_short():
    says = grade(labs.find(2), HOSTILE["an exception with a long name"][0], "lab2.py").says
    assert len(says) < 1000


@unix
def test_a_process_that_reads_no_more_is_left(tmp_path):
    """A request of which nobody reads the end must not hold the grader: it waits as long as for an answer."""
    source = f"import time, os\n{BODY}\n    while True: time.sleep(9)\nos.close(0)"
    with Student(source, "lab2.py", ["depthwise_backward"], limit=0.3) as student:
        student.load()
        large = np.zeros(1 << 20)
        for _ in range(2):
            with pytest.raises(Stopped):
                student.call("depthwise_backward", (large, large, large, 1, 0))


def test_the_most_memory_cannot_be_set_back():
    """Lab 7's middle as a whole, by who tells the counter to forget it."""
    whole = f"{GIVEN}\ndef block_in_parts(x, we, wd, wp, t):\n    return block_whole(x, we, wd, wp)\n"
    assert grade(labs.find(7), whole, "lab7.py").cause == "middle-whole"
    for forgets in ("tracemalloc.reset_peak()", "_tracemalloc.stop(); _tracemalloc.start(1)"):
        source = whole.replace("return filtered @ wp", f"{forgets}\n    return filtered @ wp")
        assert forgets in source
        assert not grade(labs.find(7), f"import tracemalloc, _tracemalloc\n{source}", "lab7.py").passed


@pytest.mark.parametrize("kind", ["named tuple", "arguments", "testing"])
def test_what_is_no_harm_passes(kind):
    source = {
        "named tuple": "from typing import NamedTuple\n"
        + TAPS.replace("return ", "return G(*(").replace(", dw\n", ", dw))\n")
        + "\nclass G(NamedTuple):\n    dx: object\n    dw: object\n",
        "arguments": f"import argparse\nargparse.ArgumentParser().parse_args()\n{TAPS}",
        "testing": f"{TAPS}\nimport random, collections, functools, itertools\nimport numpy.testing\n"
        "numpy.testing.assert_allclose(1.0, 1.0)\n",
    }[kind]
    verdict = grade(labs.find(2), source, "lab2.py")
    assert verdict.passed, verdict


@unix
def test_nothing_is_left_behind():
    """No process and no folder, though it hangs."""
    student = Student(f"{BODY}while True: pass", "lab2.py", ["depthwise_backward"], limit=0.3)
    with student:
        student.load()
        with pytest.raises(Stopped, match=r"0\.3 seconds"):
            student.call("depthwise_backward", (1, 2, 3, 4, 5))
    assert student._process.poll() is not None
    assert not os.path.exists(student._folder.name)


def test_the_child_knows_nothing_of_the_grader(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_COURSE", "42")
    source = (
        f"import os, sys\n{BODY}print(sorted(os.environ), sorted(m for m in sys.modules if 'npmnv2' in m), sys.path)"
    )
    verdict = grade(labs.find(2), source, "lab2.py")
    assert "SECRET" not in verdict.output and "npmnv2" not in verdict.output.replace("npmnv2-lab-", "")


def test_a_right_solution_that_prints_much_passes():
    """It would wait for ever for a pipe that nobody reads."""
    verdict = grade(labs.find(2), TAPS.replace("    dxp = ", "    print('x' * 100000)\n    dxp = "), "lab2.py")
    assert verdict.passed and len(verdict.output) == 1 << 15


@pytest.mark.parametrize("flaw", ["", "cut", "longer", "kind", "dtype", "shape", "json"])
def test_a_damaged_message_is_no_value(flaw):
    good = wire.pack({"result": (np.arange(6.0).reshape(2, 3), None)})
    bad = {
        "": good,
        "cut": good[:-9],
        "longer": good + b"1",
        "kind": good.replace(b'"tuple"', b'"tupel"'),
        "dtype": good.replace(b'"<f8"', b'"|O8"'),
        "shape": good.replace(b"[2, 3]", b"[9, 9]"),
        "json": good.replace(b"{", b"[", 1),
    }[flaw]
    if flaw:
        with pytest.raises(ValueError, match=r"not a message|Expecting"):
            wire.unpack(bad)
    else:
        assert wire.unpack(bad)["result"][0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_refusals_are_named_as_python_names_them():
    assert all(name == name.strip() and "." in name for name in child.REFUSED)
    assert list(child.REFUSED) == sorted(child.REFUSED)


ODD_CALLS = {
    "too large": "x, w, pad = np.ones((400, 1, 1, 1)), np.ones((1, 1, 1)), 64",
    "a stride that is none": "x, w, stride = np.ones((1, 2, 2, 1)), np.ones((1, 1, 1)), 'one'",
    "no array": "x, w = [[1.0]], None",
    "not a number": "x, w = np.full((1, 2, 2, 1), np.nan), np.ones((1, 1, 1))",
    "another dout": "dout, x, w = np.full((1, 9, 9, 1), 2.0), np.ones((1, 5, 5, 1)), np.ones((2, 2, 1))",
    "no axes": "x, w = np.ones(3), np.ones(())",
    "nothing": "x, w = np.ones((0, 0, 0, 0)), np.ones((0, 0, 0))",
}


@pytest.mark.parametrize("call", ODD_CALLS)
def test_a_check_with_odd_calls_is_judged_all_the_same(call):
    source = f"""
import numpy as np
def check(forward, backward):
    dout, stride, pad = np.ones((1, 2, 2, 1)), 1, 0
    {ODD_CALLS[call]}
    try:
        backward(dout, x, w, stride, pad)
    except Exception:
        pass
"""
    verdict = grade(labs.find(3), source, "lab3.py")
    assert not verdict.passed and verdict.cause in ("unexplained", "not-compared", "one-channel"), verdict
