"""Keras models of one's own around a MobileNet: Keras's answers, and what is refused rather than answered otherwise."""

import copy
import io
import json
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest
from golden import frameworks, keras_heads
from PIL import Image

import npmnv2
from npmnv2 import weights
from npmnv2.__main__ import main
from npmnv2.data.preprocessing import PREPROCESSING
from npmnv2.files import format_errors
from npmnv2.gradcheck import relative_error
from npmnv2.ops import softmax
from npmnv2.weights import FormatError
from npmnv2.weights.formats import keras_file, keras_graph
from npmnv2.weights.keras_head import adapt
from npmnv2.weights.names import schemes
from npmnv2.weights.recognise import recognise

KERAS = [scheme for scheme in schemes() if scheme[1].startswith("keras")]
SOFTMAX = {"plain", "sequential", "flat"}  # the others end in logits
DROPOUT = {"plain": 0.3, "prepared": 0.6, "sequential": 0, "flat": 0, "v1": 0.25}
NETWORK = "mobilenetv2_0.10_96"


def written(tmp_path, case="plain", ending=".h5", **changed):
    path = tmp_path / f"model{ending}"
    path.write_bytes(keras_heads.content(case, ending, **changed))
    return path


def load(path, **settings):
    """Without the warning, which has tests of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return weights.load_model(path, **settings)


def normalise(x, preprocessing):
    return (x / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)


def layers_of(config, name=None):
    """The layers of a description, or of the model of that name in it."""
    layers = config["config"]["layers"]
    return layers if name is None else layers_of(layer(config, name))


def layer(config, name):
    for found in layers_of(config):
        if found["config"].get("name") == name:
            return found
        if "layers" in found["config"] and (inside := layer(found, name)) is not None:
            return inside
    return None


def classes(config):
    return {found["class_name"]: found["config"].get("name") for found in layers_of(config)}


# -- Keras's answers


@pytest.mark.parametrize("ending", keras_heads.ENDINGS)
@pytest.mark.parametrize("case", keras_heads.CASES)
def test_answers_as_keras_does(case, ending, tmp_path):
    path = written(tmp_path, case, ending, dtype="float64")
    x = keras_heads.images(case)
    model = load(path, dtype=np.float64)
    assert not model.training
    assert model.config["dropout"] == (DROPOUT[case] if ending != ".weights.h5" else {"v1": 0.001}.get(case, 0))
    if case in ("prepared", "sequential"):
        preprocessing = model.preprocessing if ending != ".weights.h5" else PREPROCESSING["keras"]
        x = normalise(x, preprocessing)
    expected, logits = keras_heads.expected(case), model(x)
    assert relative_error(softmax(logits) if case in SOFTMAX else logits, expected) < 1e-11
    single = load(path)(x.astype(np.float32))
    assert relative_error(softmax(single) if case in SOFTMAX else single, expected) < 1e-5


@pytest.mark.parametrize("case", keras_heads.CASES)
def test_what_is_said_of_a_file(case, tmp_path):
    source = weights.read(written(tmp_path, case))
    side = 64 if case == "v1" else 96
    assert source.config["num_classes"] == 5 and source.config["width_mult"] == (0.25 if case == "v1" else 0.1)
    assert source.info["preprocessing"]["resize"] == [side, side]
    (assumed,) = source.assumed or ("",)
    assert ("scaled to -1 to 1" in assumed) == (case in ("plain", "flat", "v1"))
    assert (f"stretched to {side}x{side} (nearest)" in assumed) or case == "sequential"
    left_out = "\n".join(source.left_out)
    assert "the state of the optimiser" in left_out
    assert ("frozen" in left_out) == (case == "plain")
    assert ("the softmax behind" in left_out) == (case in SOFTMAX)
    assert ("random_rotation" in left_out) == (case == "prepared")
    assert ("true_divide and subtract: that is in the preprocessing" in left_out) == (case == "prepared")


def test_what_was_assumed_is_a_warning(tmp_path):
    path = written(tmp_path)
    text = "assumed, since the file does not say it: pictures are stretched to 96x96"
    with pytest.warns(UserWarning, match=text) as caught:
        weights.load_model(path)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=text) as caught:
        weights.load_into(npmnv2.mobilenet_v2(5, 0.1, padding="same", eps=1e-3), path)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="global average pooling stands before dense; pictures are stretched to 224x2"):
        weights.load_model(written(tmp_path, ending=".weights.h5"))
    arrays = {name.replace("dense/", "predictions/"): value for name, value in keras_heads.arrays("plain").items()}
    keras_file.write(tmp_path / "stock.weights.h5", arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights.load_model(tmp_path / "stock.weights.h5")


def test_a_network_of_keras_with_its_own_classifier_keeps_its_size(tmp_path):
    """Nothing is assumed that was not before, but the file says 96."""
    config = keras_heads.config("flat")
    text = json.dumps(config).replace('"dense"', '"predictions"')
    path = tmp_path / "model.h5"
    content = keras_heads.content("flat", ".h5", json.loads(text))
    with h5py.File(io.BytesIO(content), "r+") as file:
        file.move("model_weights/dense/dense", "model_weights/dense/predictions")
        file.flush()
        path.write_bytes(file.id.get_file_image())
    with pytest.warns(UserWarning) as caught:
        model = weights.load_model(path)
    assert [str(warning.message) for warning in caught] == [f"{path}: left out: the state of the optimiser"]
    assert model.preprocessing == PREPROCESSING["keras"]._replace(resize=(96, 96))


def test_what_is_loaded_goes_back_to_keras_and_into_every_format(tmp_path):
    model = load(written(tmp_path))
    weights.save(model, tmp_path / "back.weights.h5", names="keras")
    found = keras_file.read(tmp_path / "back.weights.h5")
    for name, value in keras_heads.arrays("plain").items():
        there = name.replace("dense/", "predictions/")
        assert np.array_equal(found.pop(there), value.astype(np.float32)), name
    assert not found
    weights.save(model, tmp_path / "model.npz")
    again = weights.load_model(tmp_path / "model.npz")
    assert again.preprocessing == model.preprocessing and again.config["dropout"] == 0.3


def test_layers_that_keras_only_counted(tmp_path):
    """Before 3.6 a .weights.h5 had no names: the order tells which is which, in a model in a model too."""
    named = weights.read(written(tmp_path, ending=".weights.h5"))
    for ending in (".weights.h5", ".keras"):
        content = keras_heads.content("plain", ".weights.h5")
        with h5py.File(io.BytesIO(content), "r+") as file:
            file.visititems(lambda _, item: item.attrs.clear())
            file.flush()
            nameless = file.id.get_file_image()
        path = tmp_path / f"nameless{ending}"
        path.write_bytes(nameless)
        found = weights.read(path)
        assert found.state.keys() == named.state.keys()
        assert all(np.array_equal(found.state[name], value) for name, value in named.state.items())


# -- as Keras 2 wrote it


def as_keras_2(config):
    """The same description with the references and the operations of Keras 2; put together by hand."""
    operations = {"TrueDivide": "math.truediv", "Subtract": "math.subtract"}
    for found in layers_of(config):
        inner, kind = found["config"], found["class_name"]
        if "layers" in inner:
            as_keras_2(found)
        if "batch_shape" in inner:
            inner["batch_input_shape"] = inner.pop("batch_shape")
        for call in found.get("inbound_nodes", ()):
            (tensor, *numbers), given = call["args"], call["kwargs"]
            if kind in operations:
                found["class_name"], inner["function"], given = "TFOpLambda", operations[kind], {"y": numbers[0]}
            found["inbound_nodes"] = (
                [[[*tensor["config"]["keras_history"], given]]]
                if isinstance(tensor, dict)
                else [[[*part["config"]["keras_history"], {}] for part in tensor]]
            )
    for ends in ("input_layers", "output_layers"):
        if ends in config["config"]:
            config["config"][ends] = [config["config"][ends]]
    return config


@pytest.mark.parametrize("case", keras_heads.CASES)
def test_the_descriptions_of_keras_2(case, tmp_path):
    now = weights.read(written(tmp_path, case))
    then = weights.read(written(tmp_path, case, description=as_keras_2(keras_heads.config(case))))
    assert (then.config, then.info, then.assumed, then.left_out) == (now.config, now.info, now.assumed, now.left_out)


def test_augmentation_in_training_mode_is_left_out_where_keras_3_says_so_by_itself(tmp_path):
    config = keras_heads.config("plain")
    (now,) = layer(config, NETWORK)["inbound_nodes"]
    before_the_network("RandomFlip")(config)
    layer(config, "extra")["inbound_nodes"] = [{**now, "kwargs": {"training": True}}]
    source = weights.read(written(tmp_path, description=config))
    assert "the layer extra (RandomFlip), which does nothing when a trained network answers" in source.left_out
    layer(config, "extra")["inbound_nodes"] = [[["input_layer_1", 0, 0, {"training": True}]]]  # of Keras 2
    with pytest.raises(FormatError, match="extra called in training mode"):
        weights.read(written(tmp_path, description=config))


# -- how pictures are prepared


def rescaling(scale, offset):
    def change(config):
        layer(config, "rescaling")["config"].update(scale=scale, offset=offset)

    return change


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(1 / 255, 0), (1 / 127.5, -1), (2.0, 3.5), ([1 / 58.395, 1 / 57.12, 1 / 57.375], [-2.1, -2.0, -1.8])],
)
def test_rescaling_is_the_preprocessing(scale, offset, tmp_path):
    config = keras_heads.config("sequential")
    rescaling(scale, offset)(config)
    model = load(written(tmp_path, "sequential", description=config))
    x = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3)).astype(np.float64)
    np.testing.assert_allclose(normalise(x, model.preprocessing), np.multiply(x, scale) + offset, rtol=1e-9, atol=1e-9)
    assert model.preprocessing.resize == (96, 96)


def test_arithmetic_goes_one_after_the_other(tmp_path):
    """(x / 51 - 2): the 2 is not divided by 51."""
    config = keras_heads.config("prepared")
    layer(config, "true_divide")["inbound_nodes"][0]["args"][1] = 51.0
    layer(config, "subtract")["inbound_nodes"][0]["args"][1] = 2
    model = load(written(tmp_path, "prepared", description=config))
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.4,), (0.2,))


def test_arithmetic_in_another_order(tmp_path):
    """((x - 51) / 102)."""
    config = keras_heads.config("prepared")
    for name, kind, number in (("true_divide", "Subtract", 51.0), ("subtract", "TrueDivide", 102.0)):
        layer(config, name)["class_name"] = kind
        layer(config, name)["inbound_nodes"][0]["args"][1] = number
    model = load(written(tmp_path, "prepared", description=config))
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.2,), (0.4,))


def by_name(config, **sides):
    found = layer(config, "true_divide")["inbound_nodes"][0]
    tensor, _ = found["args"]
    found["args"], found["kwargs"] = [], {name: tensor if side == "x" else side for name, side in sides.items()}


def test_the_sides_of_a_division_have_names(tmp_path):
    config = keras_heads.config("prepared")
    by_name(config, x1="x", x2=127.5)
    assert load(written(tmp_path, "prepared", description=config)).preprocessing.std == (0.5,)
    config = keras_heads.config("prepared")
    by_name(config, x2="x", x1=127.5)
    with pytest.raises(FormatError, match=r"true_divide \(TrueDivide\) before the network"):
        load(written(tmp_path, "prepared", description=config))


def test_pictures_of_any_size(tmp_path):
    config = keras_heads.config("plain")
    layer(config, "input_layer_1")["config"]["batch_shape"][1:3] = [None, None]
    layer(config, "input_layer")["config"]["batch_shape"][1:3] = [None, None]
    assert load(written(tmp_path, description=config)).preprocessing.resize == (224, 224)


def test_the_image_is_not_square(tmp_path):
    config = keras_heads.config("plain")
    for name in ("input_layer", "input_layer_1"):
        layer(config, name)["config"]["batch_shape"][1:3] = [96, 160]
    assert load(written(tmp_path, description=config)).preprocessing.resize == (96, 160)


# -- what is refused


def set_in(name, **settings):
    return lambda config: layer(config, name)["config"].update(settings)


def of_class(name, kind, **settings):
    def change(config):
        found = layer(config, name)
        found["class_name"] = kind
        found["config"] = {"name": name, **settings}

    return change


def fed(config, name, sources):
    """Let a layer be fed by others, as Keras 2 says it."""
    layer(config, name)["inbound_nodes"] = [[[source, 0, 0, {}] for source in sources]]


def without(name, source):
    """A layer left out, and what it fed is fed by `source`."""

    def change(config):
        inner = next(c for c in (config, layer(config, NETWORK)) if c and layer(c, name) in layers_of(c))
        layers_of(inner).remove(layer(inner, name))
        text = json.dumps(inner["config"]).replace(f'["{name}", 0, 0]', f'["{source}", 0, 0]')
        inner["config"] = json.loads(text)

    return change


def before_the_network(kind, **settings):
    def change(config):
        added = {"class_name": kind, "config": {"name": "extra", **settings}, "name": "extra"}
        layers_of(config).insert(1, added)
        fed(config, "extra", ["input_layer_1"])
        fed(config, NETWORK, ["extra"])

    return change


def behind_pooling(kind, **settings):
    def change(config):
        added = {"class_name": kind, "config": {"name": "extra", **settings}, "name": "extra"}
        layers_of(config).insert(-1, added)
        fed(config, "extra", ["dropout"])
        fed(config, "dense", ["extra"])

    return change


def call(name, **given):
    def change(config):
        layer(config, name)["inbound_nodes"][0]["kwargs"].update(given)

    return change


def not_in(name, setting):
    return lambda config: layer(config, name)["config"].pop(setting)


def by_position(name, number):
    return lambda config: layer(config, name)["inbound_nodes"][0]["args"].append(number)


def pads_of_odd_maps(config):
    for found in layers_of(config, NETWORK):
        if found["class_name"] == "ZeroPadding2D":
            found["config"]["padding"] = [[1, 1], [1, 1]]


def pictures_of(config, side):
    for name in ("input_layer", "input_layer_1"):
        layer(config, name)["config"]["batch_shape"][1:3] = [side, side]


def pads_of_any_size(config):
    pictures_of(config, None)
    pads_of_odd_maps(config)


def an_odd_picture(config):
    """Of 100: maps of 50, and 25."""
    pictures_of(config, 100)


def pads_at_stride_1(config):
    """As they are at stride 2."""
    layers = layers_of(config, NETWORK)
    at = next(k for k, found in enumerate(layers) if found["name"] == "block_2_depthwise")
    layers.insert(at, {"class_name": "ZeroPadding2D", "config": {"name": "extra", "padding": [[0, 1], [0, 1]]}})
    fed(config, "extra", ["block_2_expand_relu"])
    fed(config, "block_2_depthwise", ["extra"])
    layer(config, "block_2_depthwise")["config"]["padding"] = "valid"


def twice(config):
    layer(config, NETWORK)["inbound_nodes"] *= 2


def two_outputs(config):
    config["config"]["output_layers"] = [["dense", 0, 0], ["dropout", 0, 0]]


def other_way(config):
    arguments = layer(config, "true_divide")["inbound_nodes"][0]["args"]
    arguments.reverse()


def other_skip(config):
    fed(config, "block_2_add", ["expanded_conv_project_BN", "block_2_project_BN"])


def shortcut_where_none_is(config):
    layers = layers_of(config, NETWORK)
    at = next(k for k, found in enumerate(layers) if found["name"] == "block_1_project_BN")
    layers.insert(at + 1, {"class_name": "Add", "config": {"name": "extra"}, "name": "extra"})
    fed(config, "extra", ["expanded_conv_project_BN", "block_1_project_BN"])
    fed(config, "block_2_expand", ["extra"])


def another_end(config):
    """The network's own activation leads nowhere; another one behind the same batch norm leads on."""
    layers = layers_of(config, NETWORK)
    layers.append({"class_name": "Activation", "config": {"name": "extra", "activation": "swish"}, "name": "extra"})
    fed(config, "extra", ["Conv_1_bn"])
    layer(config, NETWORK)["config"]["output_layers"] = [["extra", 0, 0]]


def other_order(config):
    """Blocks 14 and 15 change places, of the same shapes."""
    text = json.dumps(config["config"]).replace("block_14_", "block_x_").replace("block_15_", "block_14_")
    config["config"] = json.loads(text.replace("block_x_", "block_15_"))


def a_second_stem(config):
    layers_of(config).insert(1, {"class_name": "Conv2D", "config": {"name": "Conv1"}, "name": "Conv1"})
    fed(config, "Conv1", ["input_layer_1"])


def two_branches(config):
    fed(config, "dense", ["dropout", "global_average_pooling2d"])
    layer(config, "dense")["class_name"] = "Add"


HEAD = "a classifier must be global average pooling, dropout if any, and one dense layer"
CHANGES = {
    # the network is not that of keras.applications
    "epsilon": (set_in("block_3_expand_BN", epsilon=1e-5), r"block_3_expand_BN \(Batch.* with the epsilon"),
    "axis": (set_in("bn_Conv1", axis=1), r"bn_Conv1 \(BatchNormalization\) with the axis 1"),
    "no scale": (set_in("bn_Conv1", scale=False), "with scale False"),
    "stride": (set_in("block_13_depthwise", strides=[1, 1]), r"block_13_depthwise \(DepthwiseConv2D\) with strides"),
    "dilation": (set_in("block_14_depthwise", dilation_rate=[2, 2]), r"with dilation_rate \[2, 2\]"),
    "an activation": (set_in("block_2_project", activation="relu"), "block_2_project .* with activation 'relu'"),
    "a bias": (set_in("Conv_1", use_bias=True), "with use_bias True"),
    "relu": (set_in("block_5_expand_relu", max_value=None), "with max_value None"),
    "leaky relu": (set_in("block_5_expand_relu", negative_slope=0.1), "with negative_slope 0.1"),
    "swish": (of_class("Conv1_relu", "Activation", activation="swish"), "with activation 'swish'"),
    "no relu": (without("block_4_expand_relu", "block_4_expand_BN"), r"block_4_depthwise .* behind block_4_expand_BN"),
    "no last relu": (without("out_relu", "Conv_1_bn"), "no ReLU6 behind Conv_1_bn|behind Conv_1_bn"),
    "another order": (other_order, "describes the layers of the network in another order"),
    "a second stem": (a_second_stem, "describes 2 layers called Conv1"),
    "another end": (another_end, r"extra \(Activation\) behind Conv_1_bn, not behind .*out_relu"),
    "no shortcut": (without("block_2_add", "block_2_project_BN"), "without a shortcut behind block_2_project_BN"),
    "another shortcut": (other_skip, r"block_2_add \(Add\) fed by"),
    "one shortcut more": (shortcut_where_none_is, r"extra \(Add\) behind block_1_project_BN"),
    "concatenation": (of_class("block_2_add", "Concatenate"), r"block_2_add \(Concatenate\)"),
    "padding": (set_in("block_2_depthwise", padding="valid"), "with padding 'valid' behind block_2_expand_relu"),
    "other padding": (set_in("block_1_pad", padding=[[1, 0], [1, 0]]), r"block_1_pad \(ZeroPadding2D\) with"),
    "channels first": (set_in("block_1_expand", data_format="channels_first"), "with data_format 'channels_first'"),
    "kernel size": (set_in("block_1_depthwise", kernel_size=[5, 5]), r"block_1_depthwise .* with kernel_size \[5, 5\]"),
    "multiplier": (set_in("block_1_depthwise", depth_multiplier=2), "block_1_depthwise .* with depth_multiplier 2"),
    "filters": (set_in("Conv1", filters=99), r"Conv1 \(Conv2D\) with filters 99"),
    "a convolution's class": (of_class("block_1_expand", "Conv2DTranspose"), r"block_1_expand .*Transpose\) in it"),
    "a norm's class": (of_class("bn_Conv1", "LayerNormalization"), r"bn_Conv1 \(LayerNormalization\) in it"),
    "no max_value": (not_in("block_5_expand_relu", "max_value"), "block_5_expand_relu .* with max_value None"),
    "no activation": (of_class("Conv1_relu", "Activation"), "Conv1_relu .* with activation 'linear'"),
    "no strides": (not_in("block_1_depthwise", "strides"), r"block_1_depthwise .* with strides \[1, 1\]"),
    "no use_bias": (not_in("Conv_1", "use_bias"), "Conv_1 .* with use_bias True"),
    "no kernel size": (not_in("block_1_depthwise", "kernel_size"), "block_1_depthwise .* with kernel_size None"),
    "no filters": (not_in("Conv1", "filters"), "Conv1 .* with filters None"),
    "no padding": (not_in("block_2_depthwise", "padding"), "block_2_depthwise .* with padding 'valid'"),
    "the first padding": (set_in("Conv1", padding="valid"), r"Conv1 \(Conv2D\) with padding 'valid'"),
    "pads of odd maps": (pads_of_odd_maps, r"block_1_pad .* with \[\[1, 1\], .* around maps of 48x48"),
    "pads, any size": (pads_of_any_size, r"block_1_pad \(ZeroPadding2D\) with \[\[1, 1\], \[1, 1\]\]"),
    "pads of even maps": (an_odd_picture, r"block_3_pad \(ZeroPadding2D\) with \[\[0, 1\], .* around maps of 25x25"),
    "pads at stride 1": (pads_at_stride_1, r"extra \(ZeroPadding2D\) with \[\[0, 1\], \[0, 1\]\] around maps of 24x24"),
    "training 1": (call("bn_Conv1", training=1), "bn_Conv1 called in training mode"),
    "training by position": (by_position("bn_Conv1", 1), "bn_Conv1 called in training mode"),
    "in training mode": (call(NETWORK, training=True), f"{NETWORK} called in training mode"),
    "called twice": (twice, f"{NETWORK} called 2 times"),
    # the classifier is not ours
    "maximum": (of_class("global_average_pooling2d", "GlobalMaxPooling2D"), f"GlobalMaxPooling2D.* behind.*{HEAD}"),
    "no pooling": (of_class("global_average_pooling2d", "Flatten"), f"Flatten.* behind the network; {HEAD}"),
    "no pooling at all": (
        of_class("global_average_pooling2d", "Activation", activation="linear"),
        r"dense \(Dense\) without pooling before it, behind the network",
    ),
    "pooling by rows": (set_in("global_average_pooling2d", data_format="channels_first"), "behind the network"),
    "two layers": (behind_pooling("Dense", units=128, activation="relu"), r"extra \(Dense\) with the activation relu"),
    "two linear ones": (behind_pooling("Dense", units=5), r"dense \(Dense\) after the layer extra \(Dense\)"),
    "batch norm": (behind_pooling("BatchNormalization"), r"extra \(BatchNormalization\) behind the network"),
    "relu before it": (behind_pooling("ReLU"), r"extra \(ReLU\) behind the network"),
    "sigmoid": (set_in("dense", activation="sigmoid"), "with the activation sigmoid"),
    "softmax of classes": (set_in("dense", activation={"class_name": "f"}), "with the activation {"),
    "a bias too many": (set_in("dense", use_bias=False), r"dense \(Dense\) with use_bias False and a bias for it"),
    "no units": (not_in("dense", "units"), "dense .* of None units"),
    "units": (set_in("dense", units=7), r"of 7 units with a kernel of \(1280, 5\)"),
    "dropout": (set_in("dropout", rate=1.5), "with the rate 1.5"),
    "dropout in training": (call("dropout", training=True), "dropout called in training mode"),
    "code": (behind_pooling("Lambda", function="os.system"), r"extra \(Lambda\) behind the network"),
    "no dense": (of_class("dense", "Activation", activation="linear"), "has no dense layer behind the network"),
    "two branches": (two_branches, r"dense \(Add\) behind the network, fed by 2 layers"),
    "two outputs": (two_outputs, "has a model of 2 outputs, the whole"),
    # nor how its pictures are prepared
    "normalisation": (before_the_network("Normalization", mean=[0.5]), r"extra \(Normalization\) before the network"),
    "resizing": (before_the_network("Resizing", height=96, width=96), r"extra \(Resizing\) before the network"),
    "code before it": (before_the_network("Lambda"), r"extra \(Lambda\) before the network"),
    "a convolution": (before_the_network("Conv2D", filters=3), r"extra \(Conv2D\) before the network"),
    "a negative": (before_the_network("Rescaling", scale=-1 / 255, offset=1), "pixels are times"),
    "black": (before_the_network("Rescaling", scale=0, offset=1), "pixels are times"),
    "two scales": (before_the_network("Rescaling", scale=[1, 2], offset=0), r"extra \(Rescaling\) before"),
    "nothing": (before_the_network("Rescaling", scale=None, offset=0), "pixels are times|extra"),
    "a bool": (before_the_network("Rescaling", scale=True, offset=0), r"extra \(Rescaling\) before the network"),
    "a string": (before_the_network("Rescaling", scale="0.5", offset=0), r"extra \(Rescaling\) before the network"),
    "an offset": (before_the_network("Rescaling", scale=[1], offset=[False]), r"extra \(Rescaling\) before"),
    "another relu6": (before_the_network("ReLU", max_value=6), r"extra \(ReLU\) before the network"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_refused(name, tmp_path):
    change, message = CHANGES[name]
    config = keras_heads.config("plain")
    change(config)
    path = written(tmp_path, description=config)
    with pytest.raises(FormatError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_what_keras_takes_by_itself(tmp_path):
    """Keys that a description may leave out, since Keras's default is what the network has."""
    config = keras_heads.config("plain")
    for found in layers_of(config, NETWORK):
        for name in ("data_format", "dilation_rate", "activation", "groups", "depth_multiplier", "epsilon", "axis"):
            found["config"].pop(name, None)
    before_the_network("Rescaling", scale=1 / 255)(config)
    assert load(written(tmp_path, description=config)).preprocessing.mean == (0,)
    config = keras_heads.config("plain")
    pictures_of(config, 100)
    for k in (3, 6):  # at 25 and 13; 50 and, for block_13, 7
        layer(config, f"block_{k}_pad")["config"]["padding"] = [[1, 1], [1, 1]]
    set_in("block_13_pad", padding=[[1, 1], [1, 1]])(config)
    load(written(tmp_path, description=config))


def test_odd_maps_of_v1(tmp_path):
    """Keras pads them as even ones there, and so does the network that is loaded."""
    config = keras_heads.config("v1")
    pictures_of(config, 100)
    path = written(tmp_path, "v1", description=config)
    model = load(path)
    source = weights.read(path)
    assert model.config["padding"] == "keras_v1" and "padding keras_v1" in " ".join(weights.explain(source))
    assert not [text for text in source.left_out if "padding" in text]
    pads = layer(config, "conv_pad_2")["config"]
    pads["padding"] = [[1, 1], [1, 1]]
    with pytest.raises(FormatError, match=r"conv_pad_2 .* around maps of 50x50"):
        load(written(tmp_path, "v1", description=config))


def test_a_number_that_is_divided_by_the_picture(tmp_path):
    config = keras_heads.config("prepared")
    other_way(config)
    with pytest.raises(FormatError, match=r"true_divide \(TrueDivide\) before the network"):
        load(written(tmp_path, "prepared", description=config))


def test_a_convolution_is_the_classifier(tmp_path):
    """As in MobileNetV1 with its top."""
    path, name = tmp_path / "model.h5", "conv_preds"
    right = {"name": name, "filters": 5, "kernel_size": [1, 1]}
    wrong = {"use_bias": False}, {"filters": 7}, {"kernel_size": [3, 3]}, {"groups": 2}
    for change in ({}, *wrong):
        config = keras_heads.config("v1")
        text = json.dumps(config).replace('"dense"', f'"{name}"')
        config = json.loads(text)
        layer(config, name).update(class_name="Conv2D", config=right | change)
        layer(config, "reshape")["config"]["target_shape"] = [layer(config, name)["config"]["filters"]]
        with h5py.File(io.BytesIO(keras_heads.content("v1", ".h5", config)), "r+") as file:
            file.move("model_weights/dense/dense", f"model_weights/dense/{name}")
            kernel = file[f"model_weights/dense/{name}/kernel"][()]
            del file[f"model_weights/dense/{name}/kernel"]
            file[f"model_weights/dense/{name}/kernel"] = kernel[None, None]
            file.flush()
            path.write_bytes(file.id.get_file_image())
        if change:
            with pytest.raises(FormatError, match=r"conv_preds \(Conv2D\) (of|with)"):
                load(path)
        else:
            assert np.array_equal(load(path).state_dict()["fc.w"], np.squeeze(kernel))


@pytest.mark.parametrize("ending", keras_heads.ENDINGS)
def test_one_output_is_a_sigmoid_and_never_a_softmax(ending, tmp_path):
    config = keras_heads.config("plain")
    set_in("dense", units=1)(config)
    one = {"dense__kernel": np.ones((1280, 1)), "dense__bias": np.ones(1)}
    if ending != ".weights.h5":
        with pytest.raises(FormatError, match="softmax of one output, which is 1 for every picture"):
            load(written(tmp_path, ending=ending, description=config, **one))
    set_in("dense", activation="sigmoid")(config)
    path = written(tmp_path, ending=ending, description=config, **one)
    assert load(path).config["num_classes"] == 1
    source = weights.read(path)
    assert "dense/kernel has one output, a yes or no: its sigmoid is" in "; ".join(source.found)
    assert ("the sigmoid behind dense: a network" in "; ".join(source.left_out)) == (ending != ".weights.h5")


def test_arrays_that_the_description_has_not(tmp_path):
    with pytest.raises(FormatError, match="has no bias for the layer dense"):
        load(written(tmp_path, dense__bias=None))
    with pytest.raises(FormatError, match="has no kernel for the layer dense"):
        load(written(tmp_path, dense__kernel=None))
    with pytest.raises(FormatError, match=r"no matrix that takes .* 1280 channels .* dense/kernel \(1281, 5\)"):
        load(written(tmp_path, dense__kernel=np.ones((1281, 5))))
    with pytest.raises(FormatError, match="missing: block_2_project_BN/gamma"):
        load(written(tmp_path, block_2_project_BN__gamma=None))


def test_weights_alone_with_two_layers_more(tmp_path):
    arrays = keras_heads.arrays("plain") | {"hidden/kernel": np.ones((1280, 64)), "hidden/bias": np.ones(64)}
    path = tmp_path / "model.weights.h5"
    keras_file.write(path, arrays)
    with pytest.raises(
        FormatError, match=r"has 2 classifiers behind the network: dense/kernel .*, hidden/kernel .* has one; weights"
    ):
        load(path)
    keras_file.write(path, {k: v for k, v in arrays.items() if "dense" not in k} | {"hidden/kernel": np.ones((9, 5))})
    with pytest.raises(FormatError, match="has no matrix that takes the network's 1280 channels"):
        load(path)


def test_what_to_do_about_it_works(tmp_path):
    """`load_into(..., partial=True)`, as the errors say."""
    config = keras_heads.config("plain")
    behind_pooling("Dense", units=128, activation="relu")(config)
    hidden = tmp_path / "hidden.weights.h5"
    keras_file.write(hidden, keras_heads.arrays("plain") | {"hidden/kernel": np.ones((1280, 64))})
    wanted = load(written(tmp_path)).state_dict()
    for path in (written(tmp_path, description=config), hidden):
        with pytest.raises(
            FormatError, match=r"weights\.load_into\(model, path, partial=True\) loads the network below"
        ):
            load(path)
        model = npmnv2.mobilenet_v2(3, 0.1, padding="same", eps=1e-3)
        before = model.state_dict()
        why = "has the layer extra" if path != hidden else "has 2 classifiers"
        with pytest.warns(UserWarning, match=rf"the classifier, for the file {why}[^;]*; (?!.*load_into)"):
            assert weights.load_into(model, path, partial=True) == ["fc.w", "fc.b"]
        for name, value in model.state_dict().items():
            assert np.array_equal(value, before[name] if name.startswith("fc.") else wanted[name]), name
    config = keras_heads.config("plain")
    CHANGES["epsilon"][0](config)
    with pytest.raises(FormatError, match="epsilon"):  # of the network itself nothing is let pass
        weights.load_into(model, written(tmp_path, description=config), partial=True)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"class_name": "Mine", "config": {"layers": [1]}}', ""])
def test_a_description_that_describes_nothing(text, tmp_path):
    """As that of a class of one's own: the file is one of weights alone."""
    path = written(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = text
    with pytest.warns(UserWarning, match="global average pooling stands before dense"):
        weights.load_model(path)


# -- descriptions that lie


def damaged(value, rng):
    """With one of its parts exchanged, doubled or taken out."""
    place = value
    while len(place):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = keys[rng.integers(len(keys))]
        inside = place[key]
        if isinstance(inside, dict | list) and len(inside) and rng.random() < 0.9:
            place = inside
            continue
        kind = rng.integers(4)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, list):
            place.append(copy.deepcopy(inside))
        else:
            others = [
                None,
                [],
                {},
                -1,
                10**400,
                1e308,
                float("nan"),
                "dense",
                [[]],
                {"a": 1},
                True,
                "",
                [["dense", 0, 0]],
            ]
            place[key] = others[rng.integers(len(others))]
        break


def test_damaged_descriptions():
    """Each is refused with one error, or taken with the shapes checked."""
    rng, ends = np.random.default_rng(0), []
    state = {case: keras_heads.arrays(case) for case in keras_heads.CASES}
    for number in range(300):
        case = keras_heads.CASES[number % 5]
        width = 0.25 if case == "v1" else 0.1
        config = keras_heads.config(case)
        for _ in range(rng.integers(1, 4)):
            damaged(config, rng)
        arrays = state[case]
        network = recognise(arrays, KERAS)
        file = keras_file.KerasFile(arrays, json.dumps(config).encode(), False)
        try:
            with format_errors("file"):
                found = adapt(file, arrays, network, width)
        except FormatError as error:
            assert "\n" not in str(error) and len(str(error)) < 900, number
            ends.append(False)
        else:
            assert not found.unread
            ends.append(True)
    assert 60 < sum(ends) < 290


def nested(levels):
    inside = {"class_name": "Dense", "config": {"name": "d"}}
    for k in range(levels):
        inside = {"class_name": "Sequential", "config": {"name": f"m{k}", "layers": [inside]}}
    return inside


def sequential(layers):
    return {"class_name": "Sequential", "config": {"layers": layers}}


def named(names):
    return [{"config": {"name": name}} for name in names]


def functional(calls):
    layers = '[{"config": {"name": "a"}, "inbound_nodes": ' + calls + "}]"
    return '{"class_name": "Model", "config": {"layers": ' + layers + "}}"


ENDLESS = {
    "lists": "[" * 200_000,
    "lists in a model": '{"class_name": "Sequential", "config": {"layers": ' + "[" * 100_000,
    "models": json.dumps(nested(12)),
    "a long name": json.dumps(sequential(named(["n" * 300]))),
    "many layers": json.dumps(sequential(named(map(str, range(11_000))))),
    "a name twice": json.dumps(sequential(named(["same", "same"]))),
    "a model twice": json.dumps(sequential([nested(1), nested(1)])),
    "a layer fed by itself": functional('[[["a", 0, 0]]]'),
    "a call of lists": functional("[" * 99 + "]" * 99),
    "a model without layers": json.dumps(sequential([sequential([])])),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_descriptions_without_end(name):
    text = ENDLESS[name]
    tracemalloc.start()
    try:
        with pytest.raises(FormatError), format_errors("file"):
            keras_graph.read(text.encode())
        assert tracemalloc.get_traced_memory()[1] < 30 * len(text) + (2 << 20)
    finally:
        tracemalloc.stop()


def test_a_description_of_a_megabyte_is_too_much(tmp_path):
    path = written(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "x" * (keras_file.CONFIG_BYTES + 1)
    with pytest.raises(FormatError, match="has a text of more than 1048576 bytes"):
        load(path)


# -- on the command line


def test_classify_says_what_was_assumed(tmp_path, capsys):
    path, labels, image = written(tmp_path), tmp_path / "breeds.txt", tmp_path / "dog.png"
    labels.write_text("".join(f"breed {k}\n" for k in range(5)))
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(image)
    assert main(["classify", str(image), "--weights", str(path), "--labels", str(labels), "--json"]) == 0
    out, err = capsys.readouterr()
    how = "pictures are stretched to 96x96 (nearest) and scaled to -1 to 1, as Keras does for its own networks"
    said = ("found: the classifier is dense/kernel", f"assumed, since the file does not say it: {how}")
    assert all(f"npmnv2 classify: {path}: {line}\n" in err for line in said)
    assert "left out: the state of the optimiser; which layers were frozen" in err and err.count("\n") == 3
    x = (pixels / 127.5 - 1)[None].astype(np.float32)
    p = softmax(load(path)(x).astype(np.float64))[0]
    top = json.loads(out)["images"][0]["top"]
    assert [guess["number"] for guess in top] == np.argsort(-p).tolist()
    assert [guess["probability"] for guess in top] == pytest.approx(np.sort(p)[::-1], rel=1e-4)
    assert top[0]["label"] == f"breed {p.argmax()}"


def test_convert_says_it_too(tmp_path, capsys):
    path = written(tmp_path)
    assert main(["convert", str(path), str(tmp_path / "model.npz")]) == 0
    out, err = capsys.readouterr()
    assert f"npmnv2 convert: {path}: assumed, " in err and "keras -> npmnv2" in out


def test_frameworks_draws_what_keras_was_given():
    """Else the golden answers would be of other weights."""
    assert (
        frameworks.state({"dense/bias": (5,)})["dense/bias"].tolist()
        == keras_heads.arrays("plain")["dense/bias"].tolist()
    )
