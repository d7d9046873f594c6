"""Hugging Face's files, through their library: what it leaves to check, and what it gets wrong without an error."""

import builtins
import json
import os
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy

import npmnv2
from npmnv2.weights import FormatError
from npmnv2.weights.formats import safetensors_file

ARRAYS = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "double": np.array([1 / 3]),
    "half": np.array([[1.5], [2.5]], np.float16),
    "steps": np.array(7, np.int64),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
}


def container(header, data=b""):
    """The bytes of a file with any header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype, shape, *offsets):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.fixture
def read(tmp_path):
    def of(data):
        (tmp_path / "model.safetensors").write_bytes(data)
        return safetensors_file.read(tmp_path / "model.safetensors")

    return of


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert np.array_equal(found[name], array), name


def test_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors_file.write(path, ARRAYS, {"format": "pt"})
    found, metadata = safetensors_file.read(path)
    assert_same(found, ARRAYS)
    assert metadata == {"format": "pt"}
    assert_same(safetensors.numpy.load_file(path), ARRAYS)
    assert not any(array.flags.writeable for array in found.values() if array.size)
    safetensors_file.write(path, ARRAYS)
    assert safetensors_file.read(path)[1] == {}


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(ARRAYS["w"]),
        np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2] / 2,
        np.broadcast_to(np.float32(1), (3, 4)),
        ARRAYS["w"][::-1],
        ARRAYS["w"].astype(">f4"),
    ],
    ids=["F order", "strided", "broadcast", "reversed", "big-endian"],
)
def test_layouts(tmp_path, array):
    safetensors_file.write(tmp_path / "a.safetensors", {"w": array})
    assert np.array_equal(safetensors_file.read(tmp_path / "a.safetensors")[0]["w"], array)


def test_order_is_that_of_the_file(read):
    names = [f"layer{k}" for k in (3, 1, 2, 9, 0, 7)]
    header = {name: entry("U8", [1], k, k + 1) for k, name in enumerate(names)}
    assert list(read(container(header, bytes(range(6))))[0]) == names


def test_bfloat16(read):
    values = np.array([1.0, -2.5, 3.0e38, np.inf, 1e-40], np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    found, _ = read(container({"w": entry("BF16", [5], 0, 10)}, (values >> 16).astype("<u2").tobytes()))
    assert found["w"].dtype == np.float32 and np.array_equal(found["w"], values.view(np.float32))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "would not fit"),
        (b"\x02\0\0\0", "would not fit"),
        (struct.pack("<Q", 2**63) + b"{}", "would not fit"),
        (struct.pack("<Q", 3) + b"{}", "would not fit"),
        (container(b"{" + b" " * (1 << 20) + b"}"), "header of 1048578 bytes"),
        (container(b"no JSON at all"), "is damaged"),
        (container(b"[" * 100_000), "is damaged"),
        (container(b"\xff\xfe{}"), "is damaged"),
        (container([]), "is damaged"),
        (container({"w": 3}), "is damaged"),
        (container({"w": entry("F32", [2], 0, 4)}, bytes(4)), "is damaged"),
        (container({"w": entry("F32", [1], 0, 4)}), "is damaged"),
        (container({"w": entry("F32", [1], 0, 4)}, bytes(8)), "is damaged"),
        (container({"w": entry("F32", [1], 4, 8)}, bytes(8)), "is damaged"),
        (container({"w": entry("F32", [-1], 0, 4)}, bytes(4)), "is damaged"),
        (container({"w": entry("F32", [2**62, 8], 0, 0)}), "is damaged"),
        (container({"w": entry("F32", [0, 2**63, 2**63], 0, 0)}), "is damaged"),
        (container({"w": entry("F8_E4M3", [1], 0, 1)}, b"a"), "has w as F8_E4M3; known are F32"),
        (container({"__metadata__": {"a": 1}}), "is damaged"),
        (container(b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],'
                   b'"data_offsets":[0,1]}}', b"a"), "two entries called w"),
        (container({"w": entry("U8", [1] * 99, 0, 1)}, b"a"), "is damaged"),
    ],
)  # fmt: skip
def test_damage(read, data, match):
    with pytest.raises(FormatError, match=match) as caught:
        read(data)
    assert "\n" not in str(caught.value) and "model.safetensors: " in str(caught.value)


def test_write_refuses(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    for arrays, metadata, match in (
        ({"w": [1.0]}, None, "must be a NumPy array"),
        ({"w": np.zeros(2, np.complex64)}, None, "was complex64"),
        ({"w": np.array(["a"])}, None, "was <U1"),
        ({3: np.zeros(2)}, None, "one was 3"),
        ({"w": np.zeros(2)}, {"epoch": 3}, "one was 3"),
    ):
        with pytest.raises(TypeError, match=match):
            safetensors_file.write(path, arrays, metadata)
    assert path.read_bytes() == b"old" and len(os.listdir(tmp_path)) == 1


def test_without_the_library(tmp_path, monkeypatch):
    """Its absence is said in one line, and only when it is needed."""

    def without(name, *arguments, **keywords):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    for call in (lambda: safetensors_file.read(tmp_path / "a"), lambda: safetensors_file.write(tmp_path / "a", {})):
        with pytest.raises(ImportError, match=r"pip install 'npmnv2\[weights\]'"):
            call()


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors_file.read(tmp_path / "missing.safetensors")


def test_a_whole_network(tmp_path):
    state, path = npmnv2.mobilenet_v2(1000, 0.35).state_dict(), tmp_path / "model.safetensors"
    safetensors_file.write(path, state)
    assert_same(safetensors_file.read(path)[0], state)
    tracemalloc.start()
    safetensors_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * path.stat().st_size  # the library copies
