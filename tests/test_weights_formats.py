"""Files as NumPy and PyTorch write them of weights: the same arrays, bit for bit, in each layout and byte order.

The small files here are made without a framework; PyTorch's own are in `test_weights_formats_oracle.py`.
"""

import codecs
import collections
import io
import itertools
import pickle
import pickletools
import sys
import time
import tracemalloc
import types
import zipfile

import hostile
import numpy as np
import pytest
from golden import frameworks
from test_weights import same, theirs, write

from npmnv2 import weights
from npmnv2.weights import FormatError
from npmnv2.weights.formats import native, torch_file
from npmnv2.weights.names import schemes

RNG = np.random.default_rng(0)


def identical(found, wanted):
    """Names in order, dtypes but for the byte order, shapes, and every bit of the numbers."""
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        plain = np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)
        assert (found[name].dtype, found[name].shape) == (plain.dtype, plain.shape), name
        assert found[name].tobytes() == plain.tobytes() and not (value.size and found[name].flags.writeable), name


ARRAYS = {
    "rows first": RNG.normal(size=(2, 3, 4)).astype(np.float32),
    "columns first": np.asfortranarray(RNG.normal(size=(2, 3, 4)).astype(np.float32)),
    "transposed": RNG.normal(size=(2, 3, 4)).astype(np.float32).transpose(1, 0, 2),
    "with steps": RNG.normal(size=(4, 6)).astype(np.float32)[::2, ::3],
    "big-endian": RNG.normal(size=(3, 2)).astype(">f4"),
    "big-endian, columns first": np.asfortranarray(RNG.normal(size=(3, 2)).astype(">f8")),
    "half": RNG.normal(size=5).astype(np.float16),
    "double": RNG.normal(size=5),
    "integers": np.arange(6, dtype=np.int64).reshape(3, 2),
    "bytes": np.arange(250, 256, dtype=np.uint8),
    "booleans": np.array([True, False]),
    "a number": np.array(7, np.int64),
    "nothing": np.zeros((0, 3), np.float32),
}


@pytest.fixture(scope="module")
def plain():
    return theirs(frameworks.GOLDENS[0], np.float32)


@pytest.fixture(scope="module")
def wanted(plain, tmp_path_factory):
    return weights.read(write(str(tmp_path_factory.mktemp("plain") / "model.pth"), plain)).state


# -- .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_every_layout(save, tmp_path):
    save(tmp_path / "a.npz", **ARRAYS)
    identical(native.read_plain(tmp_path / "a.npz"), ARRAYS)


@pytest.mark.parametrize(("architecture", "names"), [s for s in schemes() if s[1] != "npmnv2"])
def test_compressed_npz_of_every_librarys_names(architecture, names, tmp_path):
    from test_weights import network

    from npmnv2.weights.names import translate

    state = network(architecture, 0.35, names).state_dict()
    arrays = translate(state, architecture, names)
    np.savez_compressed(tmp_path / "a.npz", **{name: np.asfortranarray(value) for name, value in arrays.items()})
    source = weights.read(tmp_path / "a.npz")
    assert (source.container, source.names) == ("plain npz", names) and same(source.state, state)


def test_a_pruned_network_packs_well_and_loads(tmp_path):
    value = RNG.normal(size=10**6).astype(np.float32) * (RNG.random(10**6) < 0.05)
    np.savez_compressed(tmp_path / "a.npz", w=value)
    assert (tmp_path / "a.npz").stat().st_size < value.nbytes / 7
    identical(native.read_plain(tmp_path / "a.npz"), {"w": value})


def test_what_packs_too_well_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.zeros(10**7))
    with pytest.raises(FormatError, match=r"would unpack to 80000\d+ bytes; from a file of"):
        native.read_plain(tmp_path / "a.npz")


def test_unpacking_takes_time_by_the_byte(tmp_path):
    """At most four times what the standard library takes; a copy of all that is there at every block takes twelve."""
    value, path = RNG.normal(size=8_000_000).astype(np.float32), tmp_path / "a.npz"
    npy = io.BytesIO()
    np.save(npy, value)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:  # packed, and quick to unpack
        archive.writestr("w.npy", npy.getvalue())

    def plainly():
        with zipfile.ZipFile(path) as archive:
            return archive.read("w.npy")

    def seconds(read):
        start = time.process_time()
        read()
        return time.process_time() - start

    identical(native.read_plain(path), {"w": value})
    ours, theirs = (min(seconds(read) for _ in range(3)) for read in (lambda: native.read_plain(path), plainly))
    assert ours < 4 * theirs, (ours, theirs)


def test_objects_in_an_npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", w=np.array([None, 1]))
    with pytest.raises(FormatError, match=r"has the array w of \|O, which are no numbers"):
        native.read_plain(tmp_path / "a.npz")


# -- pickles of NumPy arrays


def pickled(path, value, protocol):
    """A .pth whose pickle holds the arrays, as torch.save writes it; protocol is pickle's."""
    path.write_bytes(hostile.zip_pth(pickle.dumps(value, protocol), storages={}))
    return path


def of_numpy_1(data):
    """The same pickle as NumPy 1 names it (the names are shorter by one letter, and so are their lengths)."""
    for core in (b"multiarray", b"numeric"):
        old, new = b"numpy.core." + core, b"numpy._core." + core
        data = data.replace(b"c" + new, b"c" + old)
        data = data.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(old)]) + old)
    return b"".join(step for step in _steps(data) if step[:1] != b"\x95")  # FRAME: their lengths would differ


def _steps(data):
    starts = [position for _, _, position in pickletools.genops(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["torch.save", "pickle.dump", "NumPy 1"])
def test_pickled_arrays_of_every_layout(kind, protocol, tmp_path):
    data = pickle.dumps({"epoch": 3, "model": ARRAYS}, protocol)
    if kind == "NumPy 1":
        data = of_numpy_1(data)
        assert b"numpy.core.multiarray" in data and b"_core" not in data
    (tmp_path / "a").write_bytes(hostile.zip_pth(data, storages={}) if kind == "torch.save" else data)
    found = torch_file.read_whole(tmp_path / "a")
    identical(found.arrays, ARRAYS)
    assert (found.place, found.dropped) == ("model", ())


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_pickled_arrays_of_every_order_of_axes(axes, tmp_path):
    arrays = {"w": RNG.normal(size=(2, 3, 4)).transpose(axes)}
    (tmp_path / "a").write_bytes(pickle.dumps(arrays, 5))
    identical(torch_file.read(tmp_path / "a"), arrays)


def test_arrays_of_objects_are_dropped_and_named(tmp_path):
    about = {
        "names": np.array(["a", None]),
        "texts": np.array(["ab"]),
        "pairs": np.zeros(2, "f4,i4"),
        "c": np.ones(1, "c8"),
    }
    numbers = {"accuracy": np.float64(0.5), "step": np.int32(7)}  # of NumPy's, and as good as Python's
    for protocol in (2, 5):
        found = torch_file.read_whole(pickled(tmp_path / "a", {**about, **numbers, "w": np.ones(2)}, protocol))
        identical(found.arrays, {"w": np.ones(2)})
        assert set(found.dropped) == {f"numpy.dtype of {code}" for code in ("O8", "U2", "V8", "c8")}


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_network_of_pickled_arrays(protocol, plain, wanted, tmp_path):
    for path in (tmp_path / "a.pth", tmp_path / "a.pkl"):
        value = {"net": {f"module.{name}": np.asfortranarray(array) for name, array in plain.items()}}
        pickled(path, value, protocol)
        if path.suffix == ".pkl":
            path.write_bytes(pickle.dumps(value, protocol))
        source = weights.read(path)
        assert same(source.state, wanted) and source.found[:2] == ("under net", "behind the prefix module.")


LIES = {  # what an array says of itself, and what is said of it
    "more than there is": ((3,), "f4", bytes(8), "has 8 bytes"),
    "less than there is": ((1,), "f4", bytes(8), "has 8 bytes"),
    "a negative length": ((-1, -2), "f4", bytes(8), "no numbers"),
    "as many as no computer has": ((1 << 62, 1 << 62), "f4", bytes(8), "has 8 bytes"),
    "too many axes": ((1,) * 40, "f4", bytes(4), "40 axes"),
    "no shape": (None, "f4", bytes(4), "no shape, dtype or numbers"),
    "a length that is none": ((2.0,), "f4", bytes(8), "no shape, dtype or numbers"),
    "numbers that are none": ((2,), "f4", [1, 2], "no numbers"),
    "letters that are no bytes": ((2,), "i1", "\u20ac2", "is damaged"),
}


class Call:
    """Pickles as a call and what is set afterwards."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie(lie, tmp_path):
    shape, code, content, message = LIES[lie]
    reconstruct = np.zeros(1).__reduce__()[0]
    array = Call(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(code), False, content))
    with pytest.raises(FormatError, match=message):
        torch_file.read(pickled(tmp_path / "a", {"w": array}, 4))
    if lie != "letters that are no bytes":  # the other way of a pickle
        with pytest.raises(FormatError, match=r"is damaged|other arguments|axes"):
            array = Call(np.zeros(1).__reduce_ex__(5)[0], (content, np.dtype(code), shape, "C"))
            torch_file.read(pickled(tmp_path / "a", {"w": array}, 4))


def test_one_text_as_many_arrays(tmp_path):
    """Its bytes are there once, and every array would be a copy."""
    value = np.zeros(100_000, np.int8)
    reconstruct, arguments, state = value.__reduce__()
    text = state[4].decode("latin1")
    encode = Call(codecs.encode, (text, "latin1"))
    arrays = {str(k): Call(reconstruct, arguments, (*state[:4], encode)) for k in range(1000)}
    path = pickled(tmp_path / "a", arrays, 2)
    tracemalloc.start()
    with pytest.raises(FormatError, match="claim 100000000 bytes"):
        torch_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


# -- whole models


class Module:
    """What a pickled module has in common with PyTorch's: the attributes, and that nothing else is needed."""

    def __init__(self, parameters=(), buffers=(), left_out=(), **modules):
        self.training = True
        self._parameters = dict(parameters)
        self._buffers = collections.OrderedDict(buffers)
        self._non_persistent_buffers_set = set(left_out)
        self._forward_hooks = collections.OrderedDict()
        self._modules = modules


class Program:
    """Of TorchScript: all is an attribute."""

    def __init__(self, **parts):
        vars(self).update(parts, training=False, _is_full_backward_hook=None)


Program.__module__ = "__torch__.mine"
W, B, S = np.ones((2, 3), np.float32), np.zeros(2, np.float32), np.full(4, 2.0)


def norm():
    return Module({"weight": B, "bias": None}, {"mean": S, "pixels": W, "count": np.array(7)}, ["pixels"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_whole_models(protocol, tmp_path):
    model = Module(
        {"scale": B}, features=Module(**{"0": Module({"weight": W}), "1": norm()}), head=Module({"weight": W})
    )
    wanted = {"scale": B, "features.0.weight": W, "features.1.weight": B, "features.1.mean": S}
    wanted |= {"features.1.count": np.array(7), "head.weight": W}
    for value, place in ((model, ""), ({"model": model, "epoch": 3}, "model"), (Holder(model), "0.kept")):
        found = torch_file.read_whole(pickled(tmp_path / "a", value, protocol))
        identical(found.arrays, wanted)
        assert found.place == place and f"{__name__}.Module" in found.dropped


class Holder:
    """Somebody's trainer, that is pickled by a call."""

    def __init__(self, model):
        self.model = model

    def __reduce__(self):
        return Holder, ({"kept": self.model},)


def modules_of(plain):
    model = Module()
    for name, value in plain.items():
        *path, leaf = name.split(".")
        module = model
        for part in path:
            module = module._modules.setdefault(part, Module())
        (module._buffers if leaf.startswith(("running", "num")) else module._parameters)[leaf] = value
    return model


def at(model, path):
    for part in path.split("."):
        model = model._modules[part]
    return model


def convolutions(model, plain):
    """With the attributes that PyTorch's have."""
    for name in plain:
        if plain[name].ndim == 4:
            module, kernel = at(model, name.removesuffix(".weight")), plain[name].shape[-1]
            vars(module).update(stride=(1, 1), padding=(kernel // 2,) * 2, dilation=(1, 1), padding_mode="zeros")
    for path in ("features.0.0", *(f"features.{k}.conv.1.0" for k in (2, 4, 7, 14))):
        at(model, path).stride = (2, 2)


class SiLU(Module):
    pass


class Softmax(Module):
    pass


SiLU.__module__ = Softmax.__module__ = "torch.nn.modules.activation"


def test_a_whole_model_says_its_strides_and_its_epsilon(plain, tmp_path):
    model = modules_of(plain)
    convolutions(model, plain)
    model._modules["features"]._modules["0"]._modules["1"].eps = 0.01
    source = weights.read(pickled(tmp_path / "a.pth", model, 2))
    assert (source.config["strides"], source.config["eps"]) == ("imagenet", 0.01)
    at(model, "features.0.0").stride = at(model, "features.2.conv.1.0").stride = (1, 1)
    assert weights.read(pickled(tmp_path / "a.pth", model, 2)).config["strides"] == "cifar"
    at(model, "features.4.conv.1.0").stride = 1
    assert weights.load_model(pickled(tmp_path / "a.pth", model, 2)).config["strides"] == (1, 1, 1, 1, 2, 1, 2, 1)


@pytest.mark.parametrize(
    ("path", "attributes", "text"),
    [
        ("features.5.conv.1.0", {"dilation": (2, 2)}, r"has the dilation \(2, 2\) at features.5.conv.1.0.weight"),
        ("features.0.0", {"padding": 0}, "has the padding 0 at features.0.0.weight; the network here has 1"),
        ("features.0.0", {"padding": "valid"}, "has the padding 0 at features.0.0.weight"),
        ("features.0.0", {"padding_mode": "reflect"}, "has the padding_mode reflect at"),
        ("features.5.conv.1.0", {"stride": (2, 2)}, r"has the stride \(2, 2\) at features.5.conv.1.0"),
        ("features.0.0", {"stride": (2, 1)}, r"has the stride \(2, 1\) at features.0.0"),
        ("features.0.0", {"stride": "two"}, "which no network here has"),
        ("features.0.0", {"stride": 10**18}, "which no network here has"),
        ("features.2.conv.0.1", {"eps": 0.5}, "batch norms of epsilon 1e-05 and 0.5"),
        ("features.3", {"use_res_connect": False}, "no shortcut around features.3; the network here has one there"),
        ("features.4", {"has_skip": True}, "a shortcut around features.4; the network here has none there"),
    ],
)
def test_what_a_whole_model_says_that_no_network_here_has(path, attributes, text, plain, tmp_path):
    model = modules_of(plain)
    convolutions(model, plain)
    at(model, "features.0.1").eps = 1e-5
    vars(at(model, path)).update(attributes)
    with pytest.raises(FormatError, match=text):
        weights.read(pickled(tmp_path / "a.pth", model, 2))


def test_activations_of_a_whole_model(plain, tmp_path, monkeypatch):
    for name in ("torch", "torch.nn", "torch.nn.modules"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.SimpleNamespace(SiLU=SiLU, Softmax=Softmax)
    monkeypatch.setitem(sys.modules, "torch.nn.modules.activation", module)
    model = modules_of(plain)
    at(model, "classifier")._modules["2"] = Softmax()
    said = weights.read(pickled(tmp_path / "a.pth", model, 2)).left_out
    assert "Softmax at classifier.2: the network here answers with the logits" in said
    at(model, "features.0")._modules["2"] = SiLU()
    with pytest.raises(FormatError, match=r"has the activation SiLU at features.0.2; a mobilenet_v2 here has ReLU6"):
        weights.read(pickled(tmp_path / "a.pth", model, 2))


def test_a_network_of_modules(plain, wanted, tmp_path):
    model = modules_of(plain)
    source = weights.read(pickled(tmp_path / "a.pth", {"net": model}, 2))
    assert same(source.state, wanted)
    assert source.left_out[0] == f"objects of {__name__}.Module: none of these names was looked up or run"


@pytest.mark.parametrize("protocol", [2, 4])
def test_programs(protocol, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "__torch__", types.ModuleType("__torch__"))  # where pickle looks for the class
    monkeypatch.setitem(sys.modules, "__torch__.mine", types.SimpleNamespace(Program=Program))
    program = Program(weight=W, layers=Program(**{"0": Program(weight=S, bias=B), "1": Program()}))
    data = hostile.zip_pth(pickle.dumps(program, protocol), {}, **{"constants.pkl": b"\x80\x02)."})
    (tmp_path / "a").write_bytes(data)
    identical(torch_file.read(tmp_path / "a"), {"weight": W, "layers.0.weight": S, "layers.0.bias": B})


def circle():
    model = Module({"weight": W})
    model._modules["again"] = model
    return model


def many_ways():
    """Two ways to go on from each of sixty modules: 2^60 names."""
    model = Module({"weight": W})
    for _ in range(60):
        model = Module(a=model, b=model)
    return model


def many_large():
    """Ten thousand modules with the same ten thousand arrays."""
    large = Module({str(k): W for k in range(10_000)})
    return Module(**{str(k): large for k in range(10_000)})


HOSTILE = {
    "in itself": (circle(), "more than 255 letters in a model, or one inside of itself"),
    "many ways": (many_ways(), "more than 100000 parts, or one that is inside of itself"),
    "many large ones": (many_large(), "more than 100000 parts"),
    "many large ones in a list": (list(many_large()._modules.values()) * 3 + [many_large()], "more than 100000 parts"),
    "a long name": (Module({"w" * 300: W}), "more than 255 letters"),
    "no dictionaries": (Module.__new__(Module), "no dictionary of tensors"),
    "no arrays": (Module(a=Module(), b=Module()), r"save its state_dict\(\) instead"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models(name, tmp_path):
    value, message = HOSTILE[name]
    path = pickled(tmp_path / "a", value, 4)
    tracemalloc.start()
    with pytest.raises(FormatError, match=message):
        torch_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("part", ["_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"])
def test_attributes_of_another_kind(part, tmp_path):
    model = Module({"weight": W}, a=norm())
    for other in (None, 3, [W], "text", {3: W, None: W}, {"a": {"weight": W}}):
        setattr(model, part, other)
        found = torch_file.read_whole(pickled(tmp_path / "a", {"first": W, "model": model}, 2), lambda places: "")
        identical(found.arrays, {"first": W})


class Options(dict):
    """A dictionary of a class of one's own."""


@pytest.mark.parametrize("protocol", [2, 5])
def test_dictionaries_of_a_class_of_ones_own(protocol, tmp_path):
    path = pickled(tmp_path / "a", {"lr": 0.1, "weights": Options(w=W, b=B)}, protocol)
    found = torch_file.read_whole(path)
    identical(found.arrays, {"w": W, "b": B})
    assert (found.place, found.dropped) == ("weights", (f"{__name__}.Options",))
