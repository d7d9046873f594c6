"""Files as people make them of Keras's networks: Keras's own answers. Runs with -m oracle."""

import os
import re
import warnings

import numpy as np
import pytest

import npmnv2
from npmnv2 import weights
from npmnv2.gradcheck import relative_error
from npmnv2.ops import softmax
from npmnv2.weights import FormatError

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore:.*assumed, since the file:UserWarning")]

ENDINGS = [".keras", ".h5", ".weights.h5"]
X = np.random.default_rng(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


def filled(net):
    """Numbers that tell arrays apart, and statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)
    values = []
    for variable in net.weights:
        if len(variable.shape) == 1:
            low = 0.5 if re.search("gamma|variance", variable.path) else -0.2
            values.append(rng.uniform(low, low + 1, variable.shape))
        else:
            values.append(rng.normal(0, (2 / np.prod(variable.shape[:-1])) ** 0.5, variable.shape))
    net.set_weights(values)
    return net


def base_of(keras, **settings):
    return keras.applications.MobileNetV2(
        **{"include_top": False, "weights": None, "alpha": 0.35, "input_shape": (96, 96, 3), **settings}
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["MobileNetV2", "MobileNet"])
def test_nothing_is_said_of_what_keras_builds(keras, kind, ending, tmp_path):
    path = save(getattr(keras.applications, kind)(weights=None, alpha=0.5), tmp_path / f"model{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights.load_model(path)


def save(net, path):
    (net.save_weights if path.name.endswith(".weights.h5") else net.save)(path)
    return path


def sequential(keras, dense, pooling=None):
    base = base_of(keras, pooling=pooling)
    pool = [] if pooling else [keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([base, *pool, keras.layers.Dropout(0.2), dense])


def functional(keras, dense, pooling=None):
    base = base_of(keras, pooling=pooling)
    pooled = base.output if pooling else keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, dense(keras.layers.Dropout(0.2)(pooled)))


def nested(keras, dense, pooling=None):
    image = keras.Input((96, 96, 3))
    x = base_of(keras, pooling=pooling)(image, training=False)
    return keras.Model(image, dense(x if pooling else keras.layers.GlobalAveragePooling2D()(x)))


BUILDERS = {"sequential": sequential, "functional": functional, "nested": nested}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("pooling", [None, "avg"])
def test_a_head_of_ones_own(builder, pooling, ending, keras, tmp_path):
    net = filled(BUILDERS[builder](keras, keras.layers.Dense(3, activation="softmax"), pooling))
    path = save(net, tmp_path / f"model{ending}")
    assert relative_error(softmax(weights.load_model(path)(X)), net.predict(X, verbose=0)) < 1e-5
    model = npmnv2.mobilenet_v2(3, 0.35, padding="same", eps=1e-3)
    assert weights.load_into(model, path, partial=True) == []  # a head of equal size is kept
    assert relative_error(softmax(model.eval()(X)), net.predict(X, verbose=0)) < 1e-5


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_logit_is_a_sigmoid(activation, ending, keras, tmp_path):
    net = filled(sequential(keras, keras.layers.Dense(1, activation=activation)))
    path = save(net, tmp_path / f"model{ending}")
    logits = weights.load_model(path)(X)
    ours = 1 / (1 + np.exp(-logits)) if activation else logits
    assert logits.shape == (2, 1) and relative_error(ours, net.predict(X, verbose=0)) < 1e-5
    assert any("one output, a yes or no" in said for said in weights.read(path).found)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("pooling", [None, "avg"])
def test_a_network_without_its_top(pooling, ending, keras, tmp_path):
    net = filled(base_of(keras, pooling=pooling))
    path = save(net, tmp_path / f"model{ending}")
    with pytest.raises(FormatError, match=r"has no (classifier|dense layer)"):
        weights.load_model(path)
    model = npmnv2.mobilenet_v2(3, 0.35, padding="same", eps=1e-3)
    assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
    theirs = net.predict(X, verbose=0)
    theirs = theirs if pooling else theirs.mean((1, 2))
    state = model.state_dict()
    assert relative_error(model.eval()(X), theirs @ state["fc.w"] + state["fc.b"]) < 1e-5


def renamed(keras, net, rename):
    """The same network with layers of other names."""

    def clone(layer):
        config = layer.get_config()
        return layer.__class__.from_config({**config, "name": rename(config["name"])})

    other = keras.models.clone_model(net, clone_function=clone)
    other.set_weights(net.get_weights())
    return other


def name_of_2018(name):
    if block := re.fullmatch(r"(?:block_(\d+)|expanded_conv)_(expand|depthwise|project)(_BN)?", name):
        k, part, is_bn = block[1] or 0, block[2], block[3]
        return f"bn{k}_conv_{k}_bn_{part}" if is_bn else f"mobl{k}_conv_{k}_{part}"
    return {"predictions": "Logits"}.get(name, name)


RENAMED = {
    "of 2018": name_of_2018,
    "behind a prefix": lambda name: f"student_{name}",
    "of nobody": lambda name: f"l{sum(map(ord, name)) % 97}_{name[::-1]}",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("names", RENAMED)
def test_layers_of_other_names(names, ending, keras, tmp_path):
    whole = base_of(keras, include_top=True, classes=5, classifier_activation=None)
    net = renamed(keras, filled(whole), RENAMED[names])
    path = save(net, tmp_path / f"model{ending}")
    assert relative_error(weights.load_model(path)(X), net.predict(X, verbose=0)) < 1e-5
    if names == "of 2018":
        assert weights.read(path).names == "keras_2018"


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_a_class_of_ones_own(ending, keras, tmp_path):
    """Its layers are attributes, and the optimiser lies beside them."""

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.backbone, self.pool = base_of(keras), keras.layers.GlobalAveragePooling2D()
            self.out = keras.layers.Dense(3)

        def call(self, x):
            return self.out(self.pool(self.backbone(x)))

    net = Mine()
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(X, np.array([0, 1]), verbose=0)
    path = save(filled(net), tmp_path / f"model{ending}")
    assert relative_error(weights.load_model(path)(X), net.predict(X, verbose=0)) < 1e-5
    said = weights.read(path)
    assert "the state of the optimiser" in said.left_out and said.assumed
