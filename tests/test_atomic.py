"""A save is whole or did not happen: whatever fails or is killed, the file of before is there and nothing else is."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from processes import unix

import npmnv2
from npmnv2 import atomic
from npmnv2.atomic import SUFFIX, writing

ROOT = pathlib.Path(npmnv2.__file__).parent.parent


def _names(folder):
    return sorted(os.listdir(folder))


def _stale(folder, name="model.npz", token="0123abcd"):
    path = folder / f".{name}.{token}{SUFFIX}"
    path.write_bytes(b"left behind")
    return path


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "folder" / "model.npz"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("as_type", [str, pathlib.Path])
def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(target, as_type):
    with writing(as_type(target)) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
        assert len(_names(target.parent)) == 2
    assert target.read_bytes() == b"new" and _names(target.parent) == ["model.npz"]
    assert file.closed


@unix
def test_a_file_that_was_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with writing("model.npz") as file:
        file.write(b"new")
    assert (tmp_path / "model.npz").read_bytes() == b"new"
    umask = os.umask(0)
    os.umask(umask)
    assert os.stat("model.npz").st_mode & 0o777 == 0o666 & ~umask  # as any other new file


def test_it_can_be_sought_in(target):
    with writing(target) as file:
        file.write(b"....new")
        file.seek(0)
        file.write(b"1234")
    assert target.read_bytes() == b"1234new"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), OSError("no errno")])
def test_an_error_in_the_block_passes_and_leaves_the_old_file(target, error):
    with pytest.raises(type(error)) as caught, writing(target) as file:
        file.write(b"half")
        raise error
    assert caught.value is error
    assert target.read_bytes() == b"old" and _names(target.parent) == ["model.npz"]


def test_an_error_about_another_file_keeps_its_name(target):
    with pytest.raises(FileNotFoundError, match="input"), writing(target):
        (target.parent / "input").read_bytes()
    assert target.read_bytes() == b"old" and _names(target.parent) == ["model.npz"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_what_the_system_refuses_is_one_error_with_the_path(target, monkeypatch, step, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    if step != "write":
        monkeypatch.setattr(atomic.os, step, refuse)
    with pytest.raises(OSError) as caught, writing(target) as file:
        file.write(b"half")
        if step == "write":
            refuse()
    assert caught.value.errno == number and caught.value.filename == str(target)
    assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: {str(target)!r}"
    assert target.read_bytes() == b"old" and _names(target.parent) == ["model.npz"]


@unix
def test_a_full_disk(target):
    """A limit on the size of files, which the system sets for one process: no write beyond it succeeds."""
    code = f"""
import resource, sys
from npmnv2.atomic import writing
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with writing({str(target)!r}) as file:
        for _ in range(1000):
            file.write(bytes(1000))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"[Errno {errno.EFBIG}] File too large: {str(target)!r}\n" and done.stderr == ""
    assert target.read_bytes() == b"old" and _names(target.parent) == ["model.npz"]


def test_a_folder_that_may_not_be_written(target, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(atomic, "open", refuse, raising=False)  # root may write anywhere, so it is only played
    with pytest.raises(PermissionError, match=r"Permission denied: '.*model[.]npz'$"):
        _use(target)
    assert target.read_bytes() == b"old" and _names(target.parent) == ["model.npz"]


def _use(path):
    with writing(path) as file:
        file.write(b"new")


def test_no_such_folder_a_folder_a_device(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such folder: '.*missing'$"):
        _use(tmp_path / "missing" / "model.npz")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"No such folder: '.*file'$"):
        _use(tmp_path / "file" / "model.npz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"Is a folder: '.*folder'$"):
        _use(tmp_path / "folder")
    with pytest.raises(OSError, match=f"Is not a regular file: '{os.devnull}'$"):
        _use(os.devnull)
    assert not os.path.isfile(os.devnull)
    with pytest.raises(OSError):
        _use(tmp_path / ("x" * 300))
    assert _names(tmp_path) == ["file", "folder"]


@unix
def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "model.npz").write_bytes(b"old")
    link.symlink_to(real / "model.npz")
    _use(link)
    assert link.is_symlink() and (real / "model.npz").read_bytes() == b"new"
    assert _names(real) == ["model.npz"] and _names(tmp_path) == ["link", "real"]


# -- what killed processes left


def test_what_dead_writers_left_is_swept_and_nothing_else(target):
    folder = target.parent
    _stale(folder)
    _stale(folder, token="ffffffff")
    others = [_stale(folder, "model.np"), _stale(folder, "model.npz.bak"), _stale(folder, token="readme")]
    _use(target)
    assert _names(folder) == sorted(["model.npz"] + [path.name for path in others])


def test_a_name_with_signs_that_mean_something_in_a_pattern(tmp_path):
    path = tmp_path / "m[o].d*l+"
    _stale(tmp_path, path.name)
    kept = _stale(tmp_path, "mo.ddl+")
    _use(path)
    assert _names(tmp_path) == sorted([path.name, kept.name])


def test_a_living_writer_is_left_alone(target):
    with writing(target) as outer:
        outer.write(b"outer")
        _use(target)  # another save of the same target meanwhile
        assert os.path.exists(outer.name) and target.read_bytes() == b"new"
    assert target.read_bytes() == b"outer" and _names(target.parent) == ["model.npz"]


def test_a_sweep_between_open_and_lock_costs_another_try(target, monkeypatch):
    lock, calls = atomic._lock, []

    def late(file):
        calls.append(file.name)
        if len(calls) == 1:
            os.remove(file.name)
        return False if len(calls) == 2 else lock(file)

    monkeypatch.setattr(atomic, "_lock", late)
    _use(target)
    assert len(set(calls)) == 3 and target.read_bytes() == b"new"
    _use(target)
    assert _names(target.parent) == ["model.npz"]


def test_where_files_cannot_be_locked_nothing_is_swept(target, monkeypatch):
    stale = _stale(target.parent)
    monkeypatch.setattr(atomic, "_lock", lambda file: None)
    _use(target)
    assert target.read_bytes() == b"new" and stale.exists()


def test_without_locks_at_all(target, monkeypatch):
    """As on Windows, where the system itself keeps an open file from being removed."""
    monkeypatch.setattr(atomic, "fcntl", None)
    stale = _stale(target.parent)
    _use(target)
    assert target.read_bytes() == b"new" and not stale.exists()


def _writer(target):
    """A process that saves two versions of a file in turn, a megabyte each, until it is killed."""
    code = f"""
from npmnv2.atomic import writing
while True:
    for letter in (b"a", b"b"):
        with writing({str(target)!r}) as file:
            for _ in range(64):
                file.write(letter * 16384)
        print(flush=True)
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)


@unix
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_leaves_a_whole_file_and_the_next_save_no_trace(target, kills):
    for k in range(kills):
        process = _writer(target)
        process.stdout.readline()  # it has saved once
        time.sleep(0.003 * (k % 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        content = target.read_bytes()
        assert len(content) == 1 << 20 and content in (b"a" * (1 << 20), b"b" * (1 << 20))
    _use(target)
    assert _names(target.parent) == ["model.npz"]


@unix
def test_two_processes_at_once(target):
    processes = [_writer(target), _writer(target)]
    for _ in range(20):
        for process in processes:
            process.stdout.readline()
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
    content = target.read_bytes()
    assert content in (b"a" * (1 << 20), b"b" * (1 << 20))
    _use(target)
    assert _names(target.parent) == ["model.npz"]
