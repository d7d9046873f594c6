"""Keras's files: those that Keras wrote (golden/keras_files.zip), what h5py makes of the same, and what is refused."""

import io
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from golden import keras_files

from npmnv2.weights import FormatError
from npmnv2.weights.formats import hdf5, keras_file
from npmnv2.weights.formats.keras_layers import rename_counted

EXPECTED = keras_files.expected()
COUNTED = {
    "conv2d": "Conv1",
    "conv2d_1": "expanded_conv_project",
    "depthwise_conv2d": "expanded_conv_depthwise",
    "batch_normalization": "bn_Conv1",
    "batch_normalization_1": "expanded_conv_depthwise_BN",
    "dense": "predictions",
}


def read(tmp_path, content):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    return keras_file.read(path)


def made(fill, **settings):
    """The bytes of a file that h5py makes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **settings) as file:
        fill(file)
    return buffer.getvalue()


def layer(group="layers/dense/vars", value=None, **settings):
    """The bytes of a file with one layer."""

    def fill(file):
        file.create_dataset(f"{group}/0", data=np.ones((2, 3), np.float32) if value is None else value, **settings)

    return made(fill)


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in b
    )


# -- what Keras wrote


@pytest.mark.parametrize("name", [n for n in keras_files.names() if n != "nameless.weights.h5"])
def test_files_that_keras_wrote(name, tmp_path):
    found = read(tmp_path, keras_files.content(name))
    if "nested" in name:
        assert found.pop("top/kernel").tolist() == np.ones((5, 2)).tolist() and found.pop("top/bias").shape == (2,)
    kind = name.split(".")[0]
    if kind == "bfloat16":  # half of the bits are left
        assert found.keys() == EXPECTED.keys()
        for key, value in found.items():
            assert value.dtype == np.float32 and not (value.view(np.uint32) & 0xFFFF).any()
            np.testing.assert_allclose(value, EXPECTED[key], rtol=2**-8)
    elif kind in ("float16", "float64"):
        assert same(found, {key: value.astype(kind) for key, value in EXPECTED.items()})
    else:
        assert same(found, EXPECTED)


@pytest.mark.parametrize("name", ["trained.h5", "tiny.keras", "tiny.weights.h5"])
def test_what_lies_beside_the_weights(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(keras_files.content(name))
    found = keras_file.read_whole(path)
    assert same(found.arrays, EXPECTED) and found.trained == (name == "trained.h5")
    assert (b'"name": "predictions"' in found.config) == (not name.endswith(".weights.h5"))


def test_layers_without_a_name_are_counted(tmp_path):
    """And get their names from a network that has as many of each class."""
    found = read(tmp_path, keras_files.content("nameless.weights.h5"))
    assert {name.split("/")[0] for name in found} == COUNTED.keys()
    assert same({f"{COUNTED[name.split('/')[0]]}/{name.split('/')[1]}": v for name, v in found.items()}, EXPECTED)
    like = {name: value.shape for name, value in EXPECTED.items()}
    assert same(rename_counted(found, like), EXPECTED)
    del like["Conv1/kernel"]
    assert same(rename_counted(found, like), found)


def test_eleven_layers_are_counted_as_numbers():
    """Sorted as text, conv2d_10 would come before conv2d_2."""
    arrays = {f"conv2d{f'_{k}' if k else ''}/kernel": np.full((1, 1, 2, 2), k) for k in range(12)}
    like = {f"layer {k}/kernel": (1, 1, 4, 4) for k in range(12)}
    found = rename_counted(dict(sorted(arrays.items())), like)
    assert [found[f"layer {k}/kernel"][0, 0, 0, 0] for k in range(12)] == list(range(12))


def test_names_in_a_config_are_counted_as_numbers(tmp_path):
    layers = [{"class_name": "Conv2D", "config": {"name": f"layer {k}"}} for k in range(12)]
    config = str({"config": {"layers": layers}}).replace("'", '"')
    weights = keras_file.encode({f"x{k}/kernel": np.full((1, 1, 1, 2), float(k)) for k in range(12)})
    buffer = io.BytesIO(weights)
    with h5py.File(buffer, "r+") as file:
        file.visititems(lambda _, item: item.attrs.clear())
    found = read(tmp_path, zipped({"model.weights.h5": buffer.getvalue(), "config.json": config}))
    assert {name: value.flat[0] for name, value in found.items()} == {f"layer {k}/kernel": k for k in range(12)}


@pytest.mark.parametrize("config", ["[]", "{}", '{"config": {"layers": {}}}', '{"config": {"layers": [1, {}]}}'])
def test_a_config_that_says_nothing_is_passed_over(config, tmp_path):
    weights = keras_files.content("nameless.weights.h5")
    found = read(tmp_path, zipped({"model.weights.h5": weights, "config.json": config}))
    assert {name.split("/")[0] for name in found} == COUNTED.keys()


@pytest.mark.parametrize("name", [n for n in keras_files.names() if n.endswith(".h5")])
def test_the_same_as_h5py(name):
    """Every group, every array of floats and every name, also where no weights are."""
    content = keras_files.content(name)
    ours, count = hdf5.File(content), 0

    def compare(address, group):
        nonlocal count
        links = ours.links(address)
        assert list(links) == list(group)
        for key, target in links.items():
            assert ours.is_group(target) == isinstance(group[key], h5py.Group)
            if ours.is_group(target):
                assert ours.text(target, "name") == group[key].attrs.get("name")
                compare(target, group[key])
            elif group[key].dtype.kind == "f":
                value = ours.array(target, key)
                assert value.dtype == group[key].dtype and np.array_equal(value, group[key][()])
                count += 1

    with h5py.File(io.BytesIO(content)) as theirs:
        compare(ours.root, theirs)
        description = theirs.attrs.get("model_config")
        assert ours.text(ours.root, "model_config", keras_file.CONFIG_BYTES) == description
        if description is not None:
            with pytest.raises(FormatError, match="has a name of more than 255 bytes"):
                ours.text(ours.root, "model_config")
    assert count >= 13 or name.startswith("bfloat16")


# -- writing


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".hdf5"])
def test_what_is_written_is_read(ending, dtype, tmp_path):
    arrays = {name: np.asfortranarray(value.astype(dtype)) for name, value in EXPECTED.items()}
    arrays["bn_Conv1/gamma"] = arrays["bn_Conv1/gamma"][::-1]
    keras_file.write(tmp_path / f"model{ending}", arrays)
    assert same(keras_file.read(tmp_path / f"model{ending}"), arrays)


def test_the_layout_that_keras_3_looks_for(tmp_path):
    with h5py.File(io.BytesIO(keras_file.encode(EXPECTED))) as file:
        assert {group: file[f"layers/{group}/vars"].attrs["name"] for group in file["layers"]} == COUNTED
        for name, value in EXPECTED.items():
            layer, variable = name.split("/")
            group = next(group for group in COUNTED if COUNTED[group] == layer)
            number = keras_file.VARIABLES[group.removesuffix("_1")].index(variable)
            assert np.array_equal(file[f"layers/{group}/vars/{number}"], value)


def test_the_order_of_variables_is_that_of_keras():
    backwards = dict(reversed(EXPECTED.items()))
    with h5py.File(io.BytesIO(keras_file.encode(backwards))) as file:
        assert np.array_equal(file["layers/dense/vars/1"], EXPECTED["predictions/bias"])
        assert file["layers/conv2d/vars"].attrs["name"] == "expanded_conv_project"  # of layers it is the caller's


def test_the_lists_that_keras_2_looks_for():
    with h5py.File(io.BytesIO(keras_file.encode(EXPECTED, legacy=True))) as file:
        names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
        assert names == list(dict.fromkeys(name.split("/")[0] for name in EXPECTED))
        listed = [w for layer in names for w in file[layer].attrs["weight_names"]]
        assert [w.decode() if isinstance(w, bytes) else w for w in listed] == list(EXPECTED)
        for name, value in EXPECTED.items():
            assert np.array_equal(file[name.split("/")[0]][name], value)


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({}, ValueError, "arrays must not be empty"),
        ({"kernel": np.ones((2, 2))}, ValueError, "arrays must have names like 'Conv1/kernel'"),
        ({"a/b/kernel": np.ones((2, 2))}, ValueError, "arrays must have names like 'Conv1/kernel'"),
        ({"a/weight": np.ones((2, 2))}, ValueError, "arrays must have names like 'Conv1/kernel'"),
        ({"a/kernel": np.ones((2, 2, 2))}, ValueError, r"arrays of 'a' must be of a convolution.*kernel \(2, 2, 2\)"),
        ({"a/kernel": np.ones((2, 2)), "a/gamma": np.ones(2)}, ValueError, "arrays of 'a' must be of a convolution"),
        ({"a/bias": np.ones(2)}, ValueError, "arrays of 'a' must be of a convolution"),
        ({"a/kernel": np.ones((0, 2))}, ValueError, "must not be empty"),
        ({"a/kernel": np.ones((2, 2), int)}, TypeError, "was int64"),
        ({"a/kernel": [[1.0]]}, TypeError, "must be a NumPy array; was list"),
    ],
)
def test_arrays_that_are_no_weights(arrays, error, message, tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(b"the old one")
    with pytest.raises(error, match=message):
        keras_file.write(path, arrays)
    assert path.read_bytes() == b"the old one"


def test_only_writing_needs_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert same(read(tmp_path, keras_files.content("tiny.keras")), EXPECTED)
    with pytest.raises(ImportError, match=r"writing files of Keras needs h5py: pip install 'npmnv2\[weights\]'"):
        keras_file.write(tmp_path / "model.weights.h5", EXPECTED)


# -- reading what others may write


def test_the_byte_order_of_another_machine(tmp_path):
    value = np.arange(6, dtype=">f4").reshape(2, 3)
    found = read(tmp_path, layer(value=value))["dense/kernel"]
    assert found.dtype == np.dtype("f4") and found.dtype.isnative and np.array_equal(found, value)


def test_a_name_of_fixed_length(tmp_path):
    def fill(file):
        file["layers/dense/vars/0"] = np.ones((2, 3))
        file["layers/dense/vars"].attrs["other"] = np.ones(3)
        file["layers/dense/vars"].attrs["name"] = np.bytes_("top")

    assert list(read(tmp_path, made(fill))) == ["top/kernel"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Conv1/Conv1/kernel:0", "Conv1/kernel"),
        ("Conv1/Conv1_2/kernel:0", "Conv1/kernel"),  # TensorFlow 1, when the model was built for the third time
        ("Conv1/kernel", "Conv1/kernel"),
        ("net/Conv1/kernel:0", "Conv1/kernel"),  # a model in the model
        ("top/outer/top/kernel", "top/kernel"),
        ("dw/dw/depthwise_kernel:0", "dw/kernel"),
        ("model_weights/Conv1/Conv1/kernel:0", "Conv1/kernel"),
    ],
)
def test_names_in_older_files(path, name, tmp_path):
    assert list(read(tmp_path, made(lambda file: file.create_dataset(path, data=np.ones((2, 2)))))) == [name]


@pytest.mark.parametrize(
    ("group", "count", "names"),
    [
        ("batch_normalization", 2, ["moving_mean", "moving_variance"]),
        ("batch_normalization", 3, ["0", "1", "2"]),  # without scale or without center: it cannot be told
        ("normalization_1", 2, ["0", "1"]),
        ("dense_12", 2, ["kernel", "bias"]),
    ],
)
def test_variables_of_other_layers(group, count, names, tmp_path):
    def fill(file):
        for k in range(count):
            file[f"layers/{group}/vars/{k}"] = np.ones(2)

    assert list(read(tmp_path, made(fill))) == [f"{group}/{name}" for name in names]


# -- what is refused


def _linked(link):
    def fill(file):
        file["elsewhere"] = np.ones((2, 3))
        file.create_group("layers/dense/vars")["0"] = link

    return made(fill)


def _external(file):
    file.create_dataset("layers/dense/vars/0", (2, 3), "f4", external=[("/etc/passwd", 0, 24)])


def _virtual(file):
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (2, 3))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def _unwritten(file):
    file.create_dataset("layers/dense/vars/0", (2, 3), "f4")


def _twice(file):
    file["layers/dense/vars/0"] = np.ones((40, 40))
    for k in range(1, 9):
        file[f"layers/dense_{k}/vars/0"] = file["layers/dense/vars/0"]


def _circle(file):
    file["layers/model/layers/dense/vars/0"] = np.ones((2, 3))
    file["layers/model/layers/model"] = file["layers/model"]


def _circle_of_groups(file):
    file["a/kernel"] = np.ones((2, 3))
    file["a/a"] = file["a"]


def _same_name(file):
    for group in ("dense", "dense_1"):
        file[f"layers/{group}/vars/0"] = np.ones((2, 3))
        file[f"layers/{group}/vars"].attrs["name"] = "top"


def _deeply(file):
    file["layers/dense" + "/layers/dense" * 30 + "/vars/0"] = np.ones((2, 3))


WEIGHTS = keras_files.content("nameless.weights.h5")
FLOATS = "must have floats of 16, 32 or 64 bits in dense/0; has something else, as a quantised network has"
REFUSED = {
    "nothing": (b"", "is empty"),
    "text": (b"weights", "is no Keras file: neither HDF5 nor a zip archive"),
    "no weights": (made(lambda file: None), "holds no weights of a Keras model"),
    "no layers": (made(lambda file: file.create_group("layers/dense/vars")), "holds no weights of a Keras model"),
    "cut short": (WEIGHTS[:-1], "is cut short: 33543 of 33544 bytes"),
    "cut shorter": (WEIGHTS[:50], "is damaged: it points to byte 64|is cut short"),
    "a soft link": (
        _linked(h5py.SoftLink("/elsewhere")),
        "a link instead of an object, '0'; links are not followed",
    ),
    "an external link": (_linked(h5py.ExternalLink("/etc/passwd", "x")), "newer layout"),
    "another file's bytes": (made(_external), "dense/0 compressed or in another file"),
    "a virtual dataset": (made(_virtual), r"dense/0 in pieces \(layout 4.3\)"),
    "chunks": (layer(chunks=(1, 3)), r"dense/0 in pieces \(layout 3.2\)"),
    "gzip": (layer(compression="gzip"), "dense/0 compressed"),
    "never written": (made(_unwritten), "has not the 24 bytes for dense/0 of shape"),
    "an empty array": (layer(value=np.ones((0, 3))), "has not the 0 bytes for dense/0 of shape"),
    "integers": (layer(value=np.ones((2, 3), int)), FLOATS),
    "text as an array": (layer(value=np.array([b"a", b"b"])), FLOATS),
    "texts of any length": (layer(value=["a", "bc"], dtype=h5py.string_dtype()), FLOATS),
    "records": (layer(value=np.zeros(2, [("a", "f4"), ("b", "f4")])), FLOATS),
    "complex numbers": (layer(value=np.zeros(2, complex)), FLOATS),
    "long doubles": (layer(value=np.zeros(2, np.longdouble)), FLOATS),
    "the newer layout": (made(lambda file: file.create_group("layers"), libver="latest"), "newer layout of HDF5"),
    "ordered groups": (
        made(lambda file: file.create_group("layers", track_order=True)),
        "newer HDF5 than Keras",
    ),
    "one array many times": (made(_twice), "has not the 12800 bytes"),
    "a model in itself": (made(_circle), "has models in models, more than 16 deep|has two layers"),
    "a group in itself": (made(_circle_of_groups), "has groups in groups, more than 16 deep"),
    "two layers of a name": (made(_same_name), "has two layers called top"),
    "very deep": (made(_deeply), "has models in models, more than 16 deep"),
    "a zip of something": (zipped({"a": "b"}), "is no Keras file: a zip archive without model.weights.h5"),
    "a zip compressed otherwise": (zipped({"model.weights.h5": WEIGHTS}, zipfile.ZIP_LZMA), "is compressed"),
    "a zip cut short": (zipped({"model.weights.h5": WEIGHTS})[:-30], "is damaged"),
    "half a zip": (b"PK\x03\x04", "is damaged"),
    "no HDF5 in a zip": (zipped({"model.weights.h5": b"weights"}), "is no HDF5 file"),
    "a config that is no JSON": (zipped({"model.weights.h5": WEIGHTS, "config.json": "{"}), "is damaged"),
    "a deep config": (zipped({"model.weights.h5": WEIGHTS, "config.json": "[" * 100_000}), "is damaged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, tmp_path):
    content, message = REFUSED[name]
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'model.h5'}: ") and "\n" not in str(caught.value)


def replaced(content, signature, offset, number, size, which=0):
    """The content with a number of `size` bytes changed, `offset` bytes behind a signature."""
    at = -1
    for _ in range(which + 1):
        at = content.index(signature, at + 1)
    changed = bytearray(content)
    changed[at + offset : at + offset + size] = number.to_bytes(size, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    ("signature", "offset", "number", "size", "message"),
    [
        (b"GCOL", 24, 2**64 - 16, 8, "a text is not in the heap"),  # here libhdf5 2.0 runs in circles for ever
        (b"GCOL", 16, 0, 2, "a text is not in the heap"),
        (b"GCOL", 0, 0, 1, "no GCOL at byte"),
        (b"TREE", 5, 255, 1, "no TREE at byte|no node of a group"),
        (b"TREE", 6, 65535, 2, "no node of a group"),
        (b"TREE", 32, 2**64 - 1, 8, "it points to byte"),
        (b"SNOD", 6, 65535, 2, "is damaged|two objects|points to byte|a link instead"),
        (b"SNOD", 16, 2**63, 8, "it points to byte 9223372036854775808"),
        (b"HEAP", 24, 2**40, 8, "two objects are called ''"),
    ],
)
def test_numbers_that_lie(signature, offset, number, size, message, tmp_path):
    content = keras_files.content("tiny.weights.h5")
    with pytest.raises(FormatError, match=message):
        read(tmp_path, replaced(content, signature, offset, number, size))


def test_a_shape_that_lies(tmp_path):
    """A dataspace of (2, 3): the 3 becomes 2^40."""
    content = layer()
    at = content.index((2).to_bytes(8, "little") + (3).to_bytes(8, "little"))
    content = content[: at + 8] + (2**40).to_bytes(8, "little") + content[at + 16 :]
    with pytest.raises(FormatError, match="has not the 8796093022208 bytes for dense/0 of shape"):
        read(tmp_path, content)


@pytest.mark.parametrize(("limit", "message"), [("MOST_STEPS", "points in circles"), ("MOST_LINKS", "100 objects")])
def test_there_is_an_end(limit, message, tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, limit, 100)
    arrays = {f"layer {k}/kernel": np.ones((2, 2)) for k in range(40)}
    with pytest.raises(FormatError, match=message):
        read(tmp_path, keras_file.encode(arrays))


@pytest.mark.parametrize("file", ["h5", "keras"])
def test_no_more_memory_than_the_file(file, tmp_path):
    """The arrays are views of it."""
    content = keras_file.encode({"predictions/kernel": np.ones((1000, 1000))})
    path = tmp_path / f"model.{file}"
    path.write_bytes(content if file == "h5" else zipped({"model.weights.h5": content}))
    size = path.stat().st_size
    del content
    tracemalloc.start()
    try:
        arrays = keras_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * size
    finally:
        tracemalloc.stop()
    assert arrays["predictions/kernel"].sum() == 1e6


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        keras_file.read(tmp_path / "model.h5")


def test_a_class_of_ones_own(tmp_path):
    """The layers of a subclassed model are groups by themselves, its own variables lie beside them."""
    names = {"body": "stem", "layers/any": "dense"}
    arrays = {name: np.arange(k + 3, dtype=np.float32) for k, name in enumerate(names)}
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.create_group("vars")
        file.create_dataset("optimizer/vars/0", data=np.ones(2, np.float32))
        for group, name in names.items():
            file.create_dataset(f"{group}/vars/0", data=arrays[group])
            file[f"{group}/vars"].attrs["name"] = name
    found = keras_file.read_whole(tmp_path / "a.weights.h5")
    assert found.arrays.keys() == {"stem/0", "dense/0"} and found.trained
    assert all(np.array_equal(found.arrays[f"{name}/0"], arrays[group]) for group, name in names.items())
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:  # which may change the answer
        file.create_dataset("vars/0", data=np.ones(1, np.float32))
    assert keras_file.read(tmp_path / "a.weights.h5")["vars/0"] == 1
