"""Thousands of damaged and deceitful files of each format: refused with one `FormatError`, or loaded right.

100 a format by default, 20,000 with -m slow. Each case follows from its number, so that one that fails can be run alone
(`check`). A format takes part with one line in `FORMATS`. `hostile.py` does the damage; what a pickle written with
intent can try is in `test_torch_pickle.py`.
"""

import codecs
import gc
import json
import pickle
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hostile
import numpy as np
import pytest
from golden import checkpoints

from npmnv2.weights import FormatError, source
from npmnv2.weights.formats import keras_file, native, safetensors_file, shards, torch_file

pytestmark = [
    pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning"),  # hostile.py writes such archives on purpose
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),  # pickletools, of damaged strings
]

ALLOWANCE = (
    2 << 20
)  # bytes, beside twice the file and the model: Python's objects, and what small archives may unpack to


def arrays():
    """A small model: some of every kind of array."""
    rng = np.random.default_rng(0)
    return {
        "stem.conv.w": rng.normal(size=(3, 3, 3, 4)).astype(np.float32),
        "stem.bn.mean": rng.normal(size=4).astype(np.float32),
        "b0.0.dw.w": rng.normal(size=(3, 3, 4)),
        "classifier.w": rng.normal(size=(4, 5)).astype(np.float16),
        "steps": np.array(7, np.int64),
    }


def numpy_arrays():
    """The same in several layouts and byte orders, with numbers and texts of NumPy's beside them."""
    found = {name: value if k % 2 else np.asfortranarray(value) for k, (name, value) in enumerate(arrays().items())}
    found["stem.bn.mean"] = found["stem.bn.mean"].astype(">f4")
    return {"net": found, "best": np.float32(0.5), "labels": np.array(["cat", "dog"])}


def numpy_zip(path):
    """As torch.save writes it: the arrays are in the pickle, as texts."""
    path.write_bytes(hostile.zip_pth(pickle.dumps(numpy_arrays(), 2), storages={}))


class Module:
    """What is in a module of PyTorch's that was pickled."""

    def __init__(self, **parts):
        vars(self).update(parts, training=True)


def whole_model(path):
    """torch.save(model), with a buffer that is left out, a module that is there twice, and NumPy's arrays."""
    layers = [
        Module(_parameters={"w": value, "bias": None}, _buffers={"steps": np.array(k), "mask": value}, _modules={})
        for k, value in enumerate(arrays().values())
    ]
    for layer in layers:
        layer._non_persistent_buffers_set = {"mask"}
    inside = Module(_parameters={}, _buffers={}, _modules={str(k): layer for k, layer in enumerate(layers)})
    model = Module(_parameters={}, _buffers={}, _modules={"features": inside, "tied": layers[0]})
    path.write_bytes(hostile.zip_pth(pickle.dumps({"epoch": 3, "model": model}, 4), storages={}))


def keras_arrays():
    """The same in Keras's names, which are checked."""
    small = arrays()
    layers = {"Conv1/kernel": small["stem.conv.w"], "predictions/kernel": small["classifier.w"]}
    return layers | {f"bn_Conv1/{name}": small["stem.bn.mean"] for name in keras_file.VARIABLES["batch_normalization"]}


def keras_zip(path):
    """A .keras, as `model.save` makes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", keras_file.encode(keras_arrays()))


def keras_whole(path):
    """The .h5 of a whole model: its description, and an optimiser's state."""
    import h5py

    path.write_bytes(keras_file.encode(keras_arrays(), legacy=True))
    layers = [{"class_name": "Dense", "config": {"name": f"dense_{k}"}} for k in range(50)]
    with h5py.File(path, "r+") as file:
        for layer in list(file):
            file.move(layer, f"model_weights/{layer}")
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        file["optimizer_weights/adam/iteration"] = 3


def save_npz(path, save):
    """Any layout; a file object, since to a name NumPy adds an ending."""
    with path.open("wb") as file:
        save(file, **{name: np.asfortranarray(value) for name, value in arrays().items()})


def index(path, write, ending):
    """An index, and the two shards that it names beside it."""
    tensors, where = arrays(), {}
    for k, names in enumerate((list(tensors)[:3], list(tensors)[3:]), 1):
        shard = path.with_name(f"model-{k:05}-of-00002{ending}")
        write(shard, {name: tensors[name] for name in names})
        where |= dict.fromkeys(names, shard.name)
    path.write_text(json.dumps({"metadata": {"total_size": 3000}, "weight_map": where}, indent=2))


class Format(NamedTuple):
    """How a format takes part."""

    write: Callable[[Path], object]  # a good file
    read: Callable[[Path], dict]  # name -> array
    alter: Callable | None = None  # (bytes, rng) -> bytes: damage that its checksums do not show
    sealed: bool = (
        False  # all bytes have checksums: a file that was damaged otherwise holds the same arrays, or is refused
    )


def golden(name):
    """A writer: a copy of what PyTorch wrote."""
    return lambda path: path.write_bytes((checkpoints.FOLDER / name).read_bytes())


def largest(path):
    """Of a training checkpoint, the dictionary with the most tensors."""
    return torch_file.read_whole(path, lambda places: max(places, key=lambda place: len(places[place]))).arrays


def wrapped(path):
    """The dictionary of tensors three deep, between keys and objects of other kinds."""
    pickled = torch_file._pickled(arrays())[2:-1]
    inside = b"}" + hostile.text("net") + b"}" + hostile.text("b") + pickled + b"ss"
    beside = b"}J\xff\xff\xff\xffNs" + hostile.text("options") + b"cmine\nOptions\n)\x81}bs"
    values = {f"data/{k}": np.ascontiguousarray(value).tobytes() for k, value in enumerate(arrays().values())}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + beside + hostile.text("a") + inside + b"s.")
        for name, value in values.items():
            archive.writestr(f"a/{name}", value)


FORMATS = {
    "pth": Format(lambda path: torch_file.write(path, arrays()), torch_file.read, hostile.zip_pickle_altered, True),
    "PyTorch's pth": Format(golden("zip.pth"), torch_file.read, hostile.zip_pickle_altered, True),
    "training pth": Format(golden("training.pth"), largest, hostile.zip_pickle_altered, True),
    "wrapped pth": Format(wrapped, largest, hostile.zip_pickle_altered, True),
    "pth of NumPy arrays": Format(numpy_zip, torch_file.read, hostile.zip_pickle_altered, True),
    "pickled NumPy arrays": Format(
        lambda path: path.write_bytes(pickle.dumps(numpy_arrays(), 5)), torch_file.read, hostile.pickle_altered
    ),
    "whole model": Format(whole_model, torch_file.read, hostile.zip_pickle_altered, True),
    "legacy pth": Format(golden("legacy.pth"), torch_file.read, hostile.legacy_altered),
    "npz": Format(
        lambda path: native.write(path, arrays(), {"epoch": 3}),
        lambda path: native.read(path).arrays,
        hostile.zip_altered,
        True,
    ),
    "plain npz": Format(lambda path: save_npz(path, np.savez), native.read_plain, hostile.zip_altered),
    "compressed npz": Format(lambda path: save_npz(path, np.savez_compressed), native.read_plain, hostile.zip_altered),
    "keras 3": Format(lambda path: path.write_bytes(keras_file.encode(keras_arrays())), keras_file.read),
    "keras 2": Format(lambda path: path.write_bytes(keras_file.encode(keras_arrays(), legacy=True)), keras_file.read),
    "keras whole": Format(keras_whole, keras_file.read),
    "keras zip": Format(keras_zip, keras_file.read, hostile.zip_altered, True),
    "safetensors": Format(
        lambda path: safetensors_file.write(path, arrays(), {"format": "pt"}),
        lambda path: safetensors_file.read(path)[0],
        hostile.header_altered,
    ),
    "index of safetensors": Format(
        lambda path: index(path, safetensors_file.write, ".safetensors"),
        lambda path: shards.read(str(path))[1],
        hostile.index_altered,
        True,
    ),
    "index of pth": Format(
        lambda path: index(path, torch_file.write, ".bin"),
        lambda path: shards.read(str(path))[1],
        hostile.index_altered,
        True,
    ),
}

# Python reports what it is about to do (PEP 578), and a hook stays for good; so this one is put in place once.
_FORBIDDEN = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "exec", "compile", "import", "pickle.find_class")
_watching, _seen = [False], []


def _hook(event, arguments):
    if _watching[0] and event.startswith(_FORBIDDEN):
        _seen.append((event, repr(arguments)[:200]))


sys.addaudithook(_hook)


def same(a, b):
    return (
        list(a) == list(b)
        and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape for k in a)
        and all(a[k].tobytes() == b[k].tobytes() for k in a)
    )


class Fuzz:
    """One format, a file of it, and the cases made from that."""

    def __init__(self, name, folder):
        self.name, self.format = name, FORMATS[name]
        self.path = folder / "fuzzed.file"
        self.format.write(self.path)
        self.good = self.path.read_bytes()
        self.wanted = {key: np.array(array) for key, array in self.format.read(self.path).items()}
        for codec in ("cp437", "latin-1", "ascii", "utf-8", "raw-unicode-escape", "unicode-escape"):
            codecs.lookup(codec)  # Python imports them when they are first used
        self.read(hostile.truncate(self.good, np.random.default_rng(0)))  # and so for the ways of errors

    def read(self, data):
        """The arrays, or the error."""
        self.path.write_bytes(data)
        try:
            return self.format.read(self.path)
        except FormatError as error:
            return error

    def case(self, number):
        """The bytes of a case, and whether their checksums were put right."""
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), number])
        if self.format.alter and number % 2:
            return self.format.alter(self.good, rng), True
        return hostile.altered(self.good, rng), False

    def check(self, number):
        """Run a case; "same", "other" or "refused"."""
        data, resealed = self.case(number)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        _seen.clear()
        _watching[0] = True
        try:
            found = self.read(data)
        finally:
            _watching[0] = False
        _, peak = tracemalloc.get_traced_memory()
        assert not _seen, f"case {number} made Python do {_seen}"
        model = 0
        if isinstance(found, FormatError):
            message = str(found)
            assert message.startswith(f"{self.path}: ") and "\n" not in message and len(message) < 600, (
                number,
                message,
            )
        else:
            assert all(type(key) is str and isinstance(array, np.ndarray) for key, array in found.items()), number
            model = sum(array.nbytes for array in found.values())
            assert model <= 4 * len(data) + ALLOWANCE, number
        assert peak - before <= 2 * len(data) + model + ALLOWANCE, f"case {number} took {peak - before} bytes"
        if isinstance(found, FormatError):
            return "refused"
        is_same = same(found, self.wanted)  # reads every element
        assert is_same or resealed or not self.format.sealed, f"case {number} was damaged and loaded all the same"
        return "same" if is_same else "other"


def run(name, cases):
    """How many of the cases ended how."""
    ends = Counter()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(name, Path(folder))
        tracemalloc.start()
        try:
            for number in range(cases):
                ends[fuzz.check(number)] += 1
                if number % 1000 == 999:
                    gc.collect()  # dictionaries that contain themselves
        finally:
            tracemalloc.stop()
    return ends


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name):
    ends = run(name, 100)
    assert ends["refused"] >= 50


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_damaged_file_is(name, tmp_path):
    """Its kind is found by content, so every reader may meet every damage. None of the models here is a MobileNet."""
    fuzz = Fuzz(name, tmp_path)
    for number in range(40):
        fuzz.path.write_bytes(fuzz.case(number)[0])
        with pytest.raises(FormatError):
            source.read(fuzz.path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_very_many_damaged_files(name):
    ends = run(name, 20_000)
    assert ends["refused"] >= 10_000


def test_the_hook_sees_what_a_pickle_does(tmp_path, monkeypatch):
    """Else it would be no wonder that it sees nothing."""
    monkeypatch.setitem(FORMATS, "naive", Format(lambda path: path.write_bytes(b"\x80\x02}."), _load_naively))
    fuzz = Fuzz("naive", tmp_path)
    fuzz.case = lambda number: (b"\x80\x02cposix\nsystem\n" + hostile.text("true") + b"\x85R.", False)
    with pytest.raises(AssertionError, match="made Python do"):
        fuzz.check(0)
    assert [event for event, _ in _seen] == ["pickle.find_class", "os.system"]


def _load_naively(path):
    import pickle

    try:
        return dict(pickle.loads(path.read_bytes()))
    except Exception as error:
        raise FormatError(f"{path}: {error}") from None


def test_every_alteration_changes_something():
    rng, data = np.random.default_rng(0), bytes(range(256)) + b"PK\x01\x02" + bytes(100)
    for alteration in hostile.ALTERATIONS:
        assert any(alteration(data, rng) != data for _ in range(20)), alteration.__name__
