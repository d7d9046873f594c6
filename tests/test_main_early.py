"""The command line before the work begins: what can be known to fail then does, and says so where it should."""

import subprocess
import sys

import pytest
from processes import unix
from test_main import ROOT, _run

from npmnv2.__main__ import main


def test_asking_whether_a_picture_can_be_written_writes_none(tmp_path):
    new, old = tmp_path / "new.png", tmp_path / "old.png"
    old.write_text("kept")
    for path in (new, old):
        assert main(["train", "--data", "digits", "--threads", "99999", "--plot", str(path)]) == 1
    assert not new.exists() and old.read_text() == "kept"


def test_more_threads_than_numba_has_are_refused_before_the_heading():
    status, out, err = _run("train", "--data", "digits", "--threads", "2", env={"NUMBA_NUM_THREADS": "1"})
    assert (status, out) == (1, "")
    assert err.startswith("npmnv2 train: --threads must lie between 1 and 1 (the cores, or NUMBA_NUM_THREADS")


@unix
@pytest.mark.parametrize("words, status", [("summary --width 0", 1), ("summary --widht 1", 2), ("summary", 0)])
def test_no_stderr_at_all(words, status):
    """The shell's `2>&-`: what would go there must not go to stdout instead."""
    line = f"exec '{sys.executable}' -m npmnv2 {words} 2>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == status and ("layer" in done.stdout) is (status == 0) and "must" not in done.stdout
