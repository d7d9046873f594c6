"""Keras reads what we write and we read what it writes, to the bit, whole networks in every kind of file. -m oracle.

Needs Keras and PyTorch, on which it runs.
"""

import io
import os

import numpy as np
import pytest
from golden import keras_files

from npmnv2.weights import source
from npmnv2.weights.formats import hdf5, keras_file
from npmnv2.weights.formats.keras_layers import rename_counted

pytestmark = pytest.mark.oracle

NETWORKS = {
    "v2": ("MobileNetV2", {}),
    "v2 0.35": ("MobileNetV2", {"alpha": 0.35, "classes": 7, "input_shape": (96, 160, 3)}),
    "v2 1.4": ("MobileNetV2", {"alpha": 1.4}),
    "v2 without top": ("MobileNetV2", {"include_top": False, "input_shape": (96, 96, 3)}),
    "v1": ("MobileNet", {}),
    "v1 0.25": ("MobileNet", {"alpha": 0.25, "classes": 7}),
}
WIDE = ["v2 1.4", "v1"]  # one of each is enough for what does not depend on the width


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def build(keras, network):
    name, arguments = NETWORKS[network]
    return getattr(keras.applications, name)(weights=None, **arguments)


def filled(keras, network, seed=0):
    """A network with random weights, statistics included, and the same by name."""
    model, rng = build(keras, network), np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model, by_name(model)


def by_name(model):
    return {
        f"{layer.name}/{w.name}": w.numpy() for layer in model.layers for w in layer.weights if "seed" not in w.name
    }


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in b)


@pytest.mark.parametrize("network", NETWORKS)
def test_keras_writes_and_we_read(keras, network, tmp_path):
    model, weights = filled(keras, network)
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")
    for ending in (".weights.h5", ".h5", ".keras"):
        assert same(keras_file.read(tmp_path / f"model{ending}"), weights), ending


@pytest.mark.parametrize("ending", [".weights.h5", ".h5"])
@pytest.mark.parametrize("network", NETWORKS)
def test_we_write_and_keras_reads(keras, network, ending, tmp_path):
    path = tmp_path / f"model{ending}"
    _, weights = filled(keras, network)
    keras_file.write(path, weights)
    model = build(keras, network)
    model.load_weights(path)
    assert same(by_name(model), weights)
    if ending == ".h5":
        model = build(keras, network)
        model.load_weights(path, by_name=True)
        assert same(by_name(model), weights)


@pytest.mark.parametrize("network", WIDE)
def test_from_keras_and_back(keras, network, tmp_path):
    """What was read, in the order of the network, is written as Keras would write it."""
    model, weights = filled(keras, network)
    model.save_weights(tmp_path / "theirs.weights.h5")
    found = keras_file.read(tmp_path / "theirs.weights.h5")
    keras_file.write(tmp_path / "ours.weights.h5", {name: found[name] for name in weights})

    def arrays(path):
        file, found = hdf5.File(path.read_bytes()), {}
        layers = file.links(file.links(file.root)["layers"])
        for group, address in layers.items():
            inside = file.links(address)["vars"]
            for number, target in file.links(inside).items():
                found[f"{file.text(inside, 'name')}: {group}/{number}"] = np.array(file.array(target, number))
        return found

    assert same(arrays(tmp_path / "ours.weights.h5"), arrays(tmp_path / "theirs.weights.h5"))


@pytest.mark.parametrize("network", WIDE)
def test_networks_in_files_without_names(keras, network, tmp_path):
    """As Keras wrote them before 3.6: the order of the layers tells which is which."""
    import h5py

    model, weights = filled(keras, network)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, item: item.attrs.clear())
    found = keras_file.read(path)
    assert not found.keys() & weights.keys()
    assert same(rename_counted(found, {name: value.shape for name, value in weights.items()}), weights)
    model.save_weights(tmp_path / "named.weights.h5")
    assert same(source.read(path).state, source.read(tmp_path / "named.weights.h5").state)


def test_trained_networks(keras, tmp_path):
    """The optimiser's state is beside the weights and not among them; dropout has a seed."""
    model, weights = filled(keras, "v1 0.25")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(np.zeros((2, 224, 224, 3)), np.zeros(2), verbose=0)
    assert not same(by_name(model), weights)
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")
    for ending in (".weights.h5", ".h5", ".keras"):
        assert same(keras_file.read(tmp_path / f"model{ending}"), by_name(model)), ending


def test_a_network_in_a_network(keras, tmp_path):
    base, weights = filled(keras, "v2 without top")
    layers = keras.layers
    model = keras.Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(3, name="top")])
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.h5")
    for ending in (".weights.h5", ".h5"):
        found = keras_file.read(tmp_path / f"model{ending}")
        assert found.pop("top/kernel").shape == (1280, 3) and found.pop("top/bias").shape == (3,)
        assert same(found, weights)


def test_the_golden_files_are_what_this_keras_writes(keras, tmp_path):
    """The same arrays and the same groups; a new layout of Keras's or h5py's would show here first."""
    import h5py
    from golden import make_keras_files

    model = make_keras_files.tiny()
    model.save_weights(tmp_path / "tiny.weights.h5")

    def names(file):
        found = []
        file.visititems(lambda name, item: found.append((name, item.attrs.get("name"))))
        return found

    with (
        h5py.File(tmp_path / "tiny.weights.h5") as now,
        h5py.File(io.BytesIO(keras_files.content("tiny.weights.h5"))) as then,
    ):
        assert names(now) == names(then)
    assert same(keras_file.read(tmp_path / "tiny.weights.h5"), keras_files.expected())
