"""PyTorch's files, read and written without it. `golden/make_checkpoints.py` had PyTorch write those in golden/."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import hostile
import numpy as np
import pytest
from golden import checkpoints

import npmnv2
from npmnv2.weights import FormatError
from npmnv2.weights.formats import torch_file, torch_pickle


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Bytes -> state dict."""
    monkeypatch.chdir(tmp_path)

    def of(data):
        (tmp_path / "model.pth").write_bytes(data)
        return torch_file.read("model.pth")

    return of


def refused(read, data, match):
    with pytest.raises(FormatError, match=match) as caught:
        read(data)
    message = str(caught.value)
    assert message.startswith("model.pth: ") and "\n" not in message and len(message) < 400


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert np.array_equal(found[name], array), name


# -- what PyTorch wrote


@pytest.mark.parametrize("name", checkpoints.STATE_DICTS)
def test_both_formats(name):
    assert_same(torch_file.read(checkpoints.FOLDER / name), checkpoints.tensors())


@pytest.mark.parametrize("name", checkpoints.STATE_DICTS)
def test_views_stay_views(name):
    found = torch_file.read(checkpoints.FOLDER / name)
    assert found["transposed.weight"].strides == (4, 16)
    assert np.shares_memory(found["shared.all"], found["shared.columns"])
    assert not any(array.flags.writeable for array in (found["shared.all"], found["conv.weight"]))


def test_training_checkpoint():
    wanted = {name: checkpoints.tensors()[f"conv.{name}"] for name in ("weight", "bias")}
    found = torch_file.read_whole(checkpoints.FOLDER / checkpoints.TRAINING, lambda places: "model")
    assert_same({name.removeprefix("module."): array for name, array in found.arrays.items()}, wanted)
    assert found.others == ("optimizer.state.0", "optimizer.state.1")


def big_endian(data, order=b"big"):
    """The zip file as a machine of the other byte order would have written it."""
    sizes = {}  # of the numbers in each storage
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        storages = torch_pickle.load(io.BytesIO(archive.read("zip/data.pkl"))).storages
    sizes = {f"zip/data/{s.key}": 2 if s.dtype == "bfloat16" else np.dtype(s.dtype).itemsize for s in storages}

    def swap(name, content):
        if name in sizes:
            content = np.frombuffer(content, f"u{sizes[name]}").byteswap().tobytes()
        return [(name, order if name == "zip/byteorder" else content)]

    return hostile.rebuilt(data, swap, np.random.default_rng(0))


def test_big_endian(read):
    data = (checkpoints.FOLDER / "zip.pth").read_bytes()
    found = read(big_endian(data))
    assert_same(found, checkpoints.tensors())
    assert all(array.dtype.isnative for array in found.values())
    refused(read, big_endian(data, b"middle"), "byte order")


def test_compressed_later(read):
    data = (checkpoints.FOLDER / "zip.pth").read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_same(read(out.getvalue()), checkpoints.tensors())


def test_python_2_wrote_it(read):
    """Its strings are bytes, its OrderedDict is called with a list of pairs, its storages may be parts of others."""
    items = b"](](U\x01a" + hostile.tensor(shape="K\x02", strides="K\x01") + b"ee"
    storage = b"(U\x07storagectorch.cuda\nFloatStorage\nU\x010U\x06cuda:0K\x06(U\x011K\x02K\x03ttQ"
    part = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\1(K\2t(K\1ttR"
    found = read(hostile.legacy_pth(b"\x80\x02ccollections\nOrderedDict\n" + items + b"\x85RU\x01b" + part + b"s."))
    assert_same(found, {"a": np.array([0, 1], np.float32), "b": np.array([3, 4], np.float32)})
    beyond = part.replace(b"K\x02K\x03ttQ", b"K\x04K\x03ttQ")
    refused(read, hostile.legacy_pth(hostile.state_dict(beyond)), "a part of a storage reaches beyond its")


def test_later_protocols(read):
    """`torch.save(..., pickle_protocol=4)`: frames, short strings, names on the stack, a memo without numbers."""
    names = hostile.text("torch").replace(b"X\x05\0\0\0", b"\x8c\x05") + b"\x94\x8c\x0cFloatStorage\x93\x94"
    body = hostile.tensor().replace(b"ctorch\nFloatStorage\n", names)
    found = read(hostile.zip_pth(b"\x80\x04\x95\x10\0\0\0\0\0\0\0" + hostile.state_dict(body)[2:]))
    assert_same(found, {"weight": np.arange(6, dtype=np.float32).reshape(3, 2)})


# -- names and wrappers


def wrapped(read, **parts):
    """A checkpoint with dictionaries of one tensor each under the names given."""
    inner = b"".join(
        hostile.text(k) + (v if isinstance(v, bytes) else b"}" + v[0] + b"s") + b"s" for k, v in parts.items()
    )
    return read(hostile.zip_pth(b"\x80\x02}" + inner + b"."))


def one(name):
    return [hostile.text(name) + hostile.tensor()]


@pytest.mark.parametrize("wrapper", ["state_dict", "net", "ema", "model_state", "any word", ""])
def test_wrappers(read, wrapper):
    """The only dictionary that holds tensors, whatever it is called."""
    assert list(wrapped(read, epoch=b"K\3", **{wrapper: one("weight")}, options=b"}")) == ["weight"]
    inside = b"}" + hostile.text("deeper") + b"]}" + one("weight")[0] + b"sas"
    assert list(wrapped(read, **{wrapper: inside})) == ["weight"]


def test_several_dictionaries_of_tensors(read, tmp_path):
    data = b"\x80\x02}" + b"".join(hostile.text(k) + b"}" + one(v)[0] + b"ss" for k, v in {"a": "w", "b": "v"}.items())
    refused(read, hostile.zip_pth(data + b"."), r"holds 2 dictionaries of tensors \(a, b\); one is read")
    found = torch_file.read_whole("model.pth", lambda places: "b" if places["b"]["v"].shape == (3, 2) else "")
    assert (list(found.arrays), found.place, found.others) == (["v"], "b", ("a",))


ODD_KEYS = {"minus one": b"J\xff\xff\xff\xff", "none": b"N", "a float": b"G" + bytes(8), "a tuple": b"K\1K\2\x86"}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_of_any_kind_outside_of_the_state_dict(read, key):
    assert list(wrapped(read, odd=b"}" + ODD_KEYS[key] + b"Ns", net=one("weight"))) == ["weight"]


OBJECTS = {
    "a version": (b"ctorch.torch_version\nTorchVersion\n" + hostile.text("2.1") + b"\x85\x81", "torch_version"),
    "a date": (b"cdatetime\ndatetime\n" + hostile.text("x") + b"\x85R", "datetime.datetime"),
    "a defaultdict": (b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + hostile.text("a") + b"Ns", "list"),
    "a deque": (b"ccollections\ndeque\n)R" + b"K\1a", "collections.deque"),
    "a dtype": (b"ctorch\nfloat32\n", "torch.float32"),
    "a set of Python 2": (b"c__builtin__\nset\n]K\1a\x85R", ""),
    "a set": (b"\x8f(K\1\x90", ""),
    "a frozen set": (b"(K\1\x91", ""),
    "somebody's class": (b"cmine.utils\nConfig\n)\x81}" + hostile.text("lr") + b"K\1sb", "mine.utils.Config"),
    "by keyword": (b"cmine.utils\nConfig\n)}\x92", "mine.utils.Config"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_beside_the_tensors_are_dropped_and_named(read, name, tmp_path):
    pickled, said = OBJECTS[name]
    assert list(wrapped(read, about=pickled, net=one("weight"))) == ["weight"]
    found = torch_file.read_whole("model.pth")
    assert any(said in dropped for dropped in found.dropped) if said else not found.dropped


def test_tensors_of_a_class_of_ones_own(read):
    """And parameters with attributes."""
    rebuild, _, arguments = hostile.tensor().partition(b"(")
    mine = b"ctorch._tensor\n_rebuild_from_type_v2\n(" + rebuild + b"cmine\nTensor\n(" + arguments[:-1] + b"NtR"
    parameter = b"ctorch._utils\n_rebuild_parameter_with_state\n(" + hostile.tensor() + b"\x88N}tR"
    for body in (mine, parameter):
        (array,) = read(hostile.zip_pth(b"\x80\x02}" + hostile.text("weight") + body + b"s.")).values()
        assert np.array_equal(array, np.arange(6).reshape(3, 2))


def test_no_tensors(read):
    refused(read, hostile.zip_pth(b"\x80\x02}" + hostile.text("epoch") + b"K\3s."), "no tensors by name.*: epoch")
    refused(read, hostile.zip_pth(b"\x80\x02}."), "no tensors by name.*: nothing")
    refused(read, hostile.zip_pth(b"\x80\x02" + hostile.tensor() + b"."), "but a single tensor")
    refused(read, hostile.zip_pth(b"\x80\x02}K\1" + hostile.tensor() + b"s."), "no tensors by name.*: 1")


# -- the containers


def test_other_files(read):
    refused(read, b"", "is empty")
    refused(read, b"\x89PNG", "neither a zip archive nor a pickle")
    refused(read, pickle.dumps([1, 2]), "no dictionary of tensors by name, but a value of type list")
    refused(read, pickle.dumps(torch_file.MAGIC_NUMBER) + pickle.dumps(7), "protocol version 1001")
    out = io.BytesIO()
    np.savez(out, weight=np.zeros(3))
    refused(read, out.getvalue(), "no data.pkl")
    with pytest.raises(FileNotFoundError):
        torch_file.read("missing.pth")
    with pytest.raises(IsADirectoryError):
        torch_file.read(os.curdir)


def test_torchscript(read):
    refused(read, hostile.zip_pth(b"\x80\x02N.", **{"constants.pkl": b"\x80\x02)."}), "TorchScript")


def test_cut_short(read):
    for name in checkpoints.STATE_DICTS:
        data = (checkpoints.FOLDER / name).read_bytes()
        for size in range(0, len(data), 97):
            refused(read, data[:size], "model.pth")
    refused(read, data[:-1], "ends in the middle of a tensor")  # of the legacy file


def test_legacy_storages(read):
    good = hostile.state_dict(hostile.tensor())
    refused(read, hostile.legacy_pth(good, ["0"], struct.pack("<q", 2**62)), "ends in the middle")
    refused(read, hostile.legacy_pth(good, ["0"], struct.pack("<q", -1)), "ends in the middle")
    refused(read, hostile.legacy_pth(good, ["1"]), "lists storages that no tensor uses")
    refused(read, hostile.legacy_pth(good, []), "numbers of weight are missing")


def zip_of(*members, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_members(read):
    member = ("a/data.pkl", hostile.state_dict(hostile.tensor()))
    numbers = ("a/data/0", struct.pack("<6f", *range(6)))
    assert list(read(zip_of(member, numbers))) == ["weight"]
    assert list(read(zip_of(("data.pkl", member[1]), ("data/0", numbers[1])))) == ["weight"]
    refused(read, zip_of(member), "a/data/0 is missing")
    refused(read, zip_of(member, numbers, numbers), "two members called a/data/0")
    refused(read, zip_of(member, ("b/data.pkl", member[1])), "with 2 data.pkl")
    refused(read, zip_of(member, numbers, compression=zipfile.ZIP_LZMA), "compressed")
    refused(read, zip_of(member, ("a/data/0", bytes(1 << 24)), compression=zipfile.ZIP_DEFLATED), "would unpack to")
    encrypted = bytearray(zip_of(member, numbers))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    refused(read, encrypted, "is encrypted")


def test_zip_directory_of_a_million(read):
    """Each entry takes 46 bytes in the file, and twenty times that when `zipfile` has read it."""
    data = zip_of(("a/data.pkl", b"\x80\x02}."))
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry, count = data[start:end], 50_000
    tail = data[end : end + 8] + struct.pack("<HHIIH", count % 65536, count % 65536, len(entry) * count, start, 0)
    tracemalloc.start()
    refused(read, data[:start] + entry * count + tail, "where 1048576 are much")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_a_bomb_behind_a_small_claim(read):
    """The directory says 24 bytes, the compressed data goes on for 16 MiB: no more than 24 are unpacked."""
    data = zip_of(
        ("a/data.pkl", hostile.state_dict(hostile.tensor())),
        ("a/data/0", bytes(1 << 24)),
        compression=zipfile.ZIP_DEFLATED,
    )
    lying = data.replace(struct.pack("<I", 1 << 24), struct.pack("<I", 24))
    tracemalloc.start()
    refused(read, lying, "damaged")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


# -- writing


def test_round_trip(tmp_path):
    path, wanted = tmp_path / "model.pth", checkpoints.tensors()
    torch_file.write(path, wanted)
    assert_same(torch_file.read(path), wanted)
    assert all(array.flags.c_contiguous for array in torch_file.read(path).values())
    first = path.read_bytes()
    torch_file.write(path, {name: np.array(array, order="F") for name, array in wanted.items()})
    assert path.read_bytes() == first


def test_other_byte_order_and_large_sizes(tmp_path):
    torch_file.write(tmp_path / "a.pth", {"w": np.arange(3, dtype=">f8")})
    assert_same(torch_file.read(tmp_path / "a.pth"), {"w": np.arange(3.0)})
    assert torch_file._int(2**31) == pickle.dumps(2**31, 2)[2:-1].replace(b"\x8a\x05", b"\x8a\x08") + b"\0\0\0"


def test_storages_are_aligned(tmp_path):
    path = tmp_path / "model.pth"
    torch_file.write(path, checkpoints.tensors())
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            lengths = struct.unpack_from("<HH", data, member.header_offset + 26)
            assert (member.header_offset + 30 + sum(lengths)) % 64 == 0


def test_standard_unpickler_agrees(tmp_path):
    """Python's own machine, given stand-ins for PyTorch's functions, builds the same from our pickle."""
    path, wanted = tmp_path / "model.pth", checkpoints.tensors()
    torch_file.write(path, wanted)

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            return dict if name == "OrderedDict" else lambda *arguments: arguments

        def persistent_load(self, identity):
            return identity[2]

    with zipfile.ZipFile(path) as archive:
        found = Unpickler(archive.open("archive/data.pkl")).load()
    assert list(found) == list(wanted)
    for k, (name, array) in enumerate(wanted.items()):
        strides = torch_file.contiguous(array.shape)
        assert found[name] == (str(k), 0, array.shape, strides, False, {})


def test_write_refuses(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")
    for bad, match in (
        ({"w": [1.0]}, "must be a NumPy array"),
        ({"w": np.zeros(2, np.complex64)}, "was complex64"),
        ({"w": np.zeros(2, np.uint32)}, "was uint32"),
        ({"w": np.array(["a"])}, "was <U1"),
        ({3: np.zeros(2)}, "names that are strings"),
    ):
        with pytest.raises(TypeError, match=match):
            torch_file.write(path, bad)
    assert path.read_bytes() == b"old" and len(os.listdir(tmp_path)) == 1


def test_a_whole_network(tmp_path):
    state, path = npmnv2.mobilenet_v2(1000, 0.35).state_dict(), tmp_path / "model.pth"
    torch_file.write(path, state)
    assert_same(torch_file.read(path), state)
    tracemalloc.start()
    found = torch_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * path.stat().st_size  # the arrays are what was read, and no more
    assert sum(array.nbytes for array in found.values()) > 0.9 * path.stat().st_size
