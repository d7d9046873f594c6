"""Experiments that are stopped while several processes run: what is in the file, and that nobody runs on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import ctrl_c_works, unix

from npmnv2.__main__ import main
from npmnv2.experiments import load


@pytest.fixture
def started(tmp_path):
    """A full run of some minutes, of which the file has a first result; the file, and who runs cases."""
    path = tmp_path / "with spaces" / "relu.json"
    path.parent.mkdir()
    command = [sys.executable, "-m", "npmnv2", "experiment", "relu", "--seeds", "50", "--processes", "2"]
    with ctrl_c_works():
        process = subprocess.Popen([*command, "--json", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not path.exists() or len(workers(process.pid)) < 2:  # on a busy machine ps may miss one
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process, path, workers(process.pid)
    finally:
        process.kill()
        process.communicate()


def workers(parent):
    """The processes that were begun to run cases."""
    found = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    return [int(pid) for pid, ppid, words in rows if int(ppid) == parent and "spawn_main" in words]


def ended(pids):
    """Whether all of them end within some seconds."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True)
        if all(state.startswith("Z") for state in found.stdout.split()):
            return True
        time.sleep(0.05)
    return False


@unix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_stopped_run_leaves_its_results_and_no_process(name, started):
    process, path, running = started
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert ended(running)
    assert json.loads(path.read_text())["cases"]
    assert os.listdir(path.parent) == [path.name]
    if name != "SIGKILL":
        assert process.returncode == 130
        line = f"stopped; the results so far are in {path}, and the same command goes on from there"
        assert said.decode().splitlines()[1:] == [line]


@unix
def test_a_killed_worker_ends_the_run_with_one_line(started):
    process, path, running = started
    os.kill(running[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert ended(running)
    assert json.loads(path.read_text())["cases"]
    (line,) = said.decode().splitlines()[1:]
    assert line.startswith("npmnv2 experiment: a process that ran a case ended before it was done: it was killed, as")


def test_the_number_of_processes_changes_nothing(tmp_path):
    documents = []
    for processes in ("1", "2"):
        path = tmp_path / f"{processes}.json"
        words = ["experiment", "relu", "--quick", "--seeds", "1", "--processes", processes, "--json", str(path)]
        assert main(words) == 0
        documents.append(json.loads(path.read_text()))
    assert documents[0]["cases"] == documents[1]["cases"]


def test_a_stored_run_is_shown_without_what_runs_it():
    """No kernel compiler, no picture: a table from a file."""
    code = """
import sys
from npmnv2.__main__ import main
status = main(["experiment", "relu", "--stored"])
print(status, [name for name in ("numba", "scipy", "matplotlib", "threadpoolctl") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == load("relu").question
    assert done.stdout.splitlines()[-1] == "0 []"
