"""Native checkpoints: all comes back bit for bit, NumPy alone can read them, and no file does harm."""

import errno
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from processes import peak_memory

from npmnv2.weights import FormatError
from npmnv2.weights.formats import native
from npmnv2.weights.formats.native import DTYPES, Checkpoint, read, write

RNG = np.random.default_rng(0)
ARRAYS = {
    "model/stem.conv.w": RNG.normal(size=(3, 2, 4, 5)).astype(np.float32),
    "model/fc.b": RNG.normal(size=7),
    "optimizer/velocity/fc.b": RNG.normal(size=7).astype(np.float16),
    "training/order": RNG.permutation(11),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 3), np.float32),
    "bits": RNG.random(9) > 0.5,
}
INFO = {
    "model": {"name": "mobilenet_v2", "width_mult": 0.35},
    "labels": ["Käfer", "a\nb"],
    "training": {"generator": 1 << 127, "none": None, "lr": 0.1 + 0.2},
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.npz"
    write(path, ARRAYS, INFO)
    return path


def _equal(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name


# -- there and back


def test_all_comes_back(path):
    checkpoint = read(path)
    assert isinstance(checkpoint, Checkpoint)
    _equal(checkpoint.arrays, ARRAYS)
    assert checkpoint.info == INFO
    assert not any(array.flags.writeable for array in checkpoint.arrays.values() if array.size)
    _equal(read(str(path)).arrays, ARRAYS)


def test_nothing_at_all(tmp_path):
    write(tmp_path / "a", {}, {})
    assert read(tmp_path / "a") == ({}, {})


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_and_special_values(tmp_path, dtype):
    values = np.frombuffer(RNG.bytes(1600), np.uint8).view("uint8" if dtype == "bool" else dtype)
    values = values > 127 if dtype == "bool" else values  # NaNs of every kind among the floats
    for layout in (values, values[::-3], np.asfortranarray(values[:20].reshape(4, 5))):
        write(tmp_path / "a", {"x": layout}, {})
        _equal(read(tmp_path / "a").arrays, {"x": layout})
    swapped = values.astype(values.dtype.newbyteorder(">"))
    write(tmp_path / "a", {"x": swapped}, {})
    _equal(read(tmp_path / "a").arrays, {"x": values})


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_array(tmp_path_factory, data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(data.draw(st.sampled_from(sorted(DTYPES))), shape))
    axes = data.draw(st.permutations(range(array.ndim)))
    path = tmp_path_factory.getbasetemp() / "any.npz"
    write(path, {"x": array.transpose(axes)}, {})
    _equal(read(path).arrays, {"x": array.transpose(axes)})


def test_numpy_alone_can_read_it(path):
    with np.load(path) as file:  # allow_pickle is False unless one asks for it
        header = json.loads(file["npmnv2"].tobytes())
        assert header["format"] == "npmnv2 checkpoint" and header["version"] == 1 and len(header["sha256"]) == 64
        assert json.loads(file["info"].tobytes()) == INFO
        assert file.files == ["npmnv2", "info", *ARRAYS]
        _equal({name: file[name] for name in ARRAYS}, ARRAYS)


def test_the_checksum_is_what_the_page_says(path):
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the file."""
    import hashlib

    digest = hashlib.sha256()
    with np.load(path) as file:
        for name in file.files[1:]:
            digest.update(json.dumps([name, file[name].dtype.str, file[name].shape]).encode() + file[name].tobytes())
        assert json.loads(file["npmnv2"].tobytes())["sha256"] == digest.hexdigest()


def test_the_same_content_is_the_same_file(path, tmp_path):
    write(tmp_path / "b", ARRAYS, INFO)
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


def test_it_is_written_whole_or_not_at_all(path, monkeypatch):
    before = path.read_bytes()

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(native.np.lib.format, "write_array", refuse)
    with pytest.raises(OSError, match=r"No space left on device: '.*model[.]npz'"):
        write(path, ARRAYS, INFO)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["model.npz"]


def test_the_bytes_are_read_once(tmp_path):
    """Memory: the arrays, and the largest of them twice for a moment."""
    write(tmp_path / "a", {str(k): np.full(1 << 20, k, np.float64) for k in range(8)}, {})  # 64 MB
    code = f"""
import sys, numpy, json, zipfile, hashlib
sys.path.insert(0, {str(Path(__file__).parent)!r})
from processes import peak_memory
from npmnv2.weights.formats.native import read
before = peak_memory()
checkpoint = read({str(tmp_path / "a")!r})
print(peak_memory() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100e6


@pytest.mark.parametrize(
    "arrays, info, error, text",
    [
        ({"x": [1.0]}, {}, TypeError, r"arrays\['x'\] must be a NumPy array; was list"),
        ({"x": np.array(["a"])}, {}, TypeError, r"arrays\['x'\] must be of floats, .*; was <U1"),
        ({"x": np.array([None])}, {}, TypeError, r"; was object"),
        ({"x": np.zeros(2, "f4,i4")}, {}, TypeError, r"arrays\['x'\] must be"),
        ({3: np.zeros(2)}, {}, TypeError, "arrays must have names that are strings; one was 3"),
        ({"info": np.zeros(2)}, {}, ValueError, "arrays must have printable names other than 'npmnv2' and 'info'"),
        ({"npmnv2": np.zeros(2)}, {}, ValueError, "one was 'npmnv2'"),
        ({"": np.zeros(2)}, {}, ValueError, "one was ''"),
        ({"a\0b": np.zeros(2)}, {}, ValueError, "arrays must have printable names"),
        ({}, {"x": np.float32(1)}, TypeError, "info must be what JSON can hold: .*float32"),
        ({}, {"x": float("nan")}, TypeError, "info must be what JSON can hold"),
        ({}, {"x": {1, 2}}, TypeError, "info must be what JSON can hold"),
        ({}, [], TypeError, "info must be a mapping; was list"),
        ({}, {"x": "y" * (1 << 21)}, ValueError, "info must be at most 2097152 bytes as JSON; was 2097"),
    ],
)
def test_what_cannot_be_stored_is_said_before_anything_is_written(tmp_path, arrays, info, error, text):
    with pytest.raises(error, match=text):
        write(tmp_path / "a", arrays, info)
    assert os.listdir(tmp_path) == []


# -- other files


def _refused(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError) as caught:
            read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and len(line) < len(str(path)) + 300
    return line.removeprefix(f"{path}: ")


def _npy(array=None, header=None, content=b"", version=(1, 0)):
    """The bytes of an .npy file, with another header if it is to lie."""
    file = io.BytesIO()
    if header is None:
        np.lib.format.write_array(file, array, version=version, allow_pickle=True)
        return file.getvalue()
    text = header.encode("latin1")
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def _zip(path, members, compression=zipfile.ZIP_STORED, mode="w"):
    with zipfile.ZipFile(path, mode, compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def _forged(path, members, version=1, info=b"{}", compression=zipfile.ZIP_STORED):
    """A file that is right but for what is asked for: the checksum is of what an honest reader would find in it."""
    honest = [("info", np.frombuffer(info, np.uint8))]
    for name, content in members:
        try:
            array = np.load(io.BytesIO(content))
            native._digest([(name, array)])
        except Exception:  # no honest reader would get so far
            array = np.zeros(0)
        honest.append((name, array))
    header = {"format": "npmnv2 checkpoint", "version": version, "sha256": native._digest(honest)}
    first = np.frombuffer(json.dumps(header).encode(), np.uint8)
    parts = [("npmnv2", _npy(first)), ("info", _npy(honest[0][1])), *members]
    return _zip(path, [(f"{name}.npy", content) for name, content in parts], compression)


def test_the_forger_can_forge(tmp_path):
    """Else the tests below would pass for another reason."""
    path = _forged(tmp_path / "a", [("x", _npy(np.arange(3.0)))], info=b'{"a": 1}')
    _equal(read(path).arrays, {"x": np.arange(3.0)})
    assert read(path).info == {"a": 1}


def test_missing_or_a_folder(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(OSError, match=str(path)):
            read(path)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), pickle.dumps([1]), bytes(10**5)]
)
def test_other_content(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert "is damaged" in (line := _refused(tmp_path / "a")) or "no checkpoint" in line


def test_other_npz_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    assert _refused(tmp_path / "a.npz") == "is no checkpoint of npmnv2: an .npz without the array 'npmnv2'"
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(3))
    assert "without the array 'npmnv2'" in _refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", npmnv2=np.zeros(3))
    assert "is damaged: the array 'npmnv2' is no JSON object" in _refused(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", npmnv2=np.zeros(5000))
    assert "its array 'npmnv2' is too long" in _refused(tmp_path / "a.npz")
    for text in (
        b"{}",
        b'{"format": "x", "version": 1}',
        b'{"format": "npmnv2 checkpoint"}',
        b'{"format": "npmnv2 checkpoint", "version": true}',
        b'{"format": "npmnv2 checkpoint", "version": 0}',
    ):
        np.savez(tmp_path / "a.npz", npmnv2=np.frombuffer(text, np.uint8))
        assert "its array 'npmnv2' says something else" in _refused(tmp_path / "a.npz")
    _zip(_forged(tmp_path / "a.npz", []), [("readme.txt", b"hello")], mode="a")
    assert "its member readme.txt is no array" in _refused(tmp_path / "a.npz")


def test_a_newer_version_is_refused_whatever_else_it_holds(tmp_path):
    path = _forged(tmp_path / "a", [("x", b"not even an array")], version=2)
    assert _refused(path) == "is of format version 2; this npmnv2 reads up to 1: update npmnv2"


def test_a_wrong_checksum(path):
    with np.load(path) as file:
        arrays = dict(file)
    for name, change in (("model/fc.b", 1), ("info", 0)):
        changed = {n: a.copy() for n, a in arrays.items()}
        changed[name].flat[0] += change
        if name == "info":
            changed["scalar2"] = changed.pop("scalar")  # only a name is another
        np.savez(path, **changed)
        assert _refused(path) == "is damaged: its content does not have the checksum that it should"


def test_info_missing_too_long_or_no_json(tmp_path):
    first = json.dumps({"format": "npmnv2 checkpoint", "version": 1, "sha256": native._digest([])}).encode()
    np.savez(tmp_path / "a.npz", npmnv2=np.frombuffer(first, np.uint8))
    assert _refused(tmp_path / "a.npz") == "is damaged: the array 'info' is missing"
    for info, text in (
        (b"[1]", "is no JSON object"),
        (b"{", "is damaged"),
        (b"[" * 10**5, "is damaged"),
        (b"\xff", "is damaged"),
        (b" " * (1 << 22), "'info' has 4194304 bytes"),
    ):
        assert text in _refused(_forged(tmp_path / "a", [], info=info))


class _Hostile:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_no_pickle_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = _npy(np.array([_Hostile()], object))
    path = _forged(tmp_path / "a", [("x", content)])
    assert _refused(path) == "has the array x of |O, which are no numbers"
    _refused(_zip(path, [("npmnv2.npy", content)]))
    _refused(_zip(path, [("npmnv2.npy", pickle.dumps(_Hostile()))]))
    assert not os.path.exists("harm")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }",  # one more than there are
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",  # one fewer
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3.0,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 1000 + "3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': 'x', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'more': 1}",
        "__import__('os').mkdir('harm')",
        "(" * 5000,
        "[" * 300 + "]" * 300,
        "",
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the forger
def test_an_array_whose_header_lies(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    path = _forged(tmp_path / "a", [("x", _npy(header=header, content=np.arange(3.0).tobytes()))])
    assert "the array x " in _refused(path)
    assert os.listdir(tmp_path) == ["a"]


def test_other_versions_of_npy(tmp_path):
    python_2 = "{'descr': '<f8', 'fortran_order': False, 'shape': (3L,), }"
    for array in (
        _npy(np.arange(3.0), version=(2, 0)),
        _npy(np.arange(3.0), version=(3, 0)),
        _npy(header=python_2, content=np.arange(3.0).tobytes()),
    ):
        assert native.read(_forged(tmp_path / "a", [("x", array)])).arrays["x"].tolist() == [0, 1, 2]
    path = _forged(tmp_path / "a", [("x", _npy(np.arange(3.0), version=(1, 0)).replace(b"\x01\0", b"\x04\0", 1))])
    assert "the array x has a header that is never written" in _refused(path)


def test_bombs(tmp_path):
    """Small files that would be large: packed, nested into each other, or only claimed."""
    zeros = _npy(np.zeros(10**7))
    path = _forged(tmp_path / "a", [("x", zeros)], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    before = peak_memory()
    assert "would unpack to 80000" in _refused(path)
    good = bytearray(_forged(tmp_path / "b", [("x", _npy(np.arange(100.0)))]).read_bytes())
    entry = good.rindex(b"PK\x01\x02")  # the last entry of the directory
    for size in (10**4, 10**9, 2**32 - 2):
        lying = good.copy()
        lying[entry + 20 : entry + 28] = size.to_bytes(4, "little") * 2  # compressed and plain size
        path.write_bytes(lying)
        assert "claim" in _refused(path)
        lying[entry + 10] = zipfile.ZIP_DEFLATED
        path.write_bytes(lying)
        assert "claim" in _refused(path)
    assert peak_memory() - before < 50e6


def test_overlapping_members(tmp_path):
    """Two entries of the directory that point to the same bytes."""
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("npmnv2.npy", _npy(np.zeros(1000)))
        twin = zipfile.ZipInfo("info.npy")
        first = archive.infolist()[0]
        for name in ("compress_size", "file_size", "CRC", "header_offset"):
            setattr(twin, name, getattr(first, name))
        archive.filelist.append(twin)
    _refused(path)


def test_two_arrays_of_one_name(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _forged(tmp_path / "a", [("x", _npy(np.zeros(2))), ("x", _npy(np.ones(2)))])
    assert _refused(path) == "has two members called x.npy"
