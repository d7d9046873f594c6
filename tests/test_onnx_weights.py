"""ONNX files given as weights: small files, written with the library onnx. Runs with -m oracle, but for one test.

The exporters' own files are in test_oracle_onnx_weights.py.
"""

import json
import sys
import warnings

import numpy as np
import pytest
import test_weights_fuzz as fuzz
from cases import randomise

import npmnv2
from npmnv2 import weights
from npmnv2.engine import onnx_export
from npmnv2.engine.folding import folded
from npmnv2.engine.onnx_export import Node
from npmnv2.gradcheck import relative_error
from npmnv2.show.classify import load_explained
from npmnv2.weights import FormatError, source
from npmnv2.weights.formats import onnx_file

oracle = pytest.mark.oracle
pytestmark = pytest.mark.filterwarnings("ignore:.*batch norms are folded:UserWarning")

MODELS = {
    "V2": (npmnv2.mobilenet_v2, {}),
    "V2 same": (npmnv2.mobilenet_v2, {"padding": "same", "eps": 1e-3}),
    "V2 digits": (npmnv2.mobilenet_v2, {"strides": "digits", "in_channels": 1}),
    "V2 of strides of one's own": (npmnv2.mobilenet_v2, {"strides": (1, 2, 1, 2, 3, 1, 2, 1)}),
    "V2 not linear": (npmnv2.mobilenet_v2, {"linear": False}),
    "V2 without shortcuts": (npmnv2.mobilenet_v2, {"shortcut": False}),
    "V1": (npmnv2.mobilenet_v1, {}),
    "V1 same": (npmnv2.mobilenet_v1, {"padding": "same", "eps": 1e-3}),
    "V1 of Keras": (npmnv2.mobilenet_v1, {"padding": "keras_v1", "eps": 1e-3}),
    "twin": (npmnv2.mobilenet_v1_conv, {}),
    "Lite": (npmnv2.efficientnet_lite, {"depth_mult": 1.1}),
    "float64": (npmnv2.mobilenet_v1, {"dtype": np.float64}),
}
CHANGES = ("strides", "padding", "eps", "width_mult", "depth_mult", "num_classes", "in_channels", "linear", "shortcut")


def build(name="V1", width=0.1):
    make, options = MODELS[name]
    return randomise(make(5, width, **options)).eval()


def exported(model):
    """The graph of `onnx_export`: nodes and arrays, to be changed."""
    nodes, arrays = onnx_export.graph(folded(model))
    return nodes, {name: np.array(array) for name, array in arrays.items()}


def node(operator, inputs, output, **attributes):
    return Node(operator, list(inputs), output, attributes)


def write(path, nodes, arrays, shape=("N", 3, "H", "W"), output=None, **metadata):
    """A file of these; `arrays` by name, or tensors of ONNX."""
    from onnx import helper, numpy_helper

    def encoded(array, name=""):
        return numpy_helper.from_array(array, name) if isinstance(array, np.ndarray) else array

    made = []
    for n in nodes:
        attributes = {name: encoded(value) for name, value in n.attributes.items()}
        made.append(helper.make_node(n.operator, n.inputs, [n.output], **attributes))
    graph = helper.make_graph(
        made,
        "tests",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_empty_tensor_value_info(output or nodes[-1].output)],
        [encoded(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def test_without_the_library(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x05tests")
    monkeypatch.setitem(sys.modules, "onnx", None)  # what import finds there when a module cannot be imported
    with pytest.raises(ImportError, match=r"^reading ONNX files needs the library onnx: pip install 'npmnv2\[onnx\]'$"):
        weights.load_model(tmp_path / "model.onnx")


@oracle
@pytest.mark.parametrize("name", MODELS)
def test_our_own_export_comes_back(name, tmp_path):
    model = build(name)
    path = write(tmp_path / "model.onnx", *exported(model), shape=("N", model.config["in_channels"], "H", "W"))
    dtype = model.config["dtype"]
    loaded = weights.load_model(path, dtype=dtype)
    for key in CHANGES:
        assert loaded.config.get(key) == model.config.get(key), key
    for size in (32, 33):
        x = np.random.default_rng(0).normal(size=(2, size, size, model.config["in_channels"])).astype(dtype)
        assert relative_error(loaded(x), model(x)) < (1e-5 if dtype == "float32" else 1e-12)


@oracle
def test_what_is_said(tmp_path):
    path = write(tmp_path / "model.onnx", *exported(build()))
    found = weights.read(path)
    assert (found.container, found.names, found.architecture) == ("onnx", "onnx", "mobilenet_v1")
    assert "27 of 27 batch norms are folded" in found.assumed[0]
    assert weights.explain(found)[1] == "  container: onnx, names: onnx; the file says padding 1 and epsilon 1e-05"
    with pytest.warns(UserWarning, match="batch norms are folded"):
        assert weights.load_model(path).preprocessing is None


@oracle
def test_pictures_and_labels(tmp_path):
    model = build()
    model.preprocessing = npmnv2.data.PREPROCESSING["torchvision"]
    said = {"preprocessing": model.preprocessing.to_dict(), "labels": list("abcde")}
    metadata = {key: json.dumps(value) for key, value in said.items()}
    path = write(tmp_path / "model.onnx", *exported(model), **metadata)
    loaded = weights.load_model(path)
    assert loaded.preprocessing == model.preprocessing and loaded.labels == list("abcde")
    write(path, *exported(model), labels="[")
    with pytest.raises(FormatError, match="is damaged"):
        weights.load_model(path)


@oracle
def test_pictures_of_another_size_than_the_graphs_are_told(tmp_path):
    path = write(tmp_path / "model.onnx", *exported(build("V2")), shape=("N", 3, 96, 96))
    assert weights.read(path).found == (
        "padding, strides, activations and shortcuts as in the graph, whose pictures are 96 x 96",
    )
    with pytest.warns(UserWarning, match="for pictures of 96 x 96; here they become 224 x 224: --size 96 for those"):
        load_explained(path, "timm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*batch norms are folded")
        load_explained(path, "timm", changes={"size": 96})


# -- the same network in other operators


def changed(nodes, arrays, change, *at):
    """A node replaced by others."""
    k = next(k for k, n in enumerate(nodes) if n.operator == change)
    return nodes[:k] + list(at) + nodes[k + 1 :]


def as_batchnorm(nodes, arrays, eps=0.25):
    """Every bias as a batch norm."""
    out = []
    for n in nodes:
        if n.operator == "Conv":
            x, w, b = n.inputs
            inner = n._replace(inputs=[x, w], output=n.output + "/")
            M = len(arrays[b])
            mean, gamma = np.full(M, 0.5, np.float32), np.full(M, 2, np.float32)
            arrays |= {b + "m": mean, b + "g": gamma, b + "v": np.full(M, 4 - eps, np.float32), b: arrays[b] + mean}
            out += [
                inner,
                node("BatchNormalization", [inner.output, b + "g", b, b + "m", b + "v"], n.output, epsilon=eps),
            ]
        else:
            out.append(n)
    return out


def as_arithmetic(nodes, arrays):
    """As Keras's are written: a subtraction, a product and a sum, where the channels are last."""
    out = []
    for n in nodes:
        if n.operator != "Conv":
            out.append(n)
            continue
        (x, w, b), y = n.inputs, n.output
        arrays |= {b + "2": np.full((1, 1, 1, 1), 0.5, np.float32), b: (arrays[b] + 1).reshape(1, 1, 1, -1)}
        arrays[b + "1"] = np.full((1, 1, 1, arrays[b].size), 2, np.float32)
        out += [n._replace(inputs=[x, w], output=y + "a"), node("Transpose", [y + "a"], y + "b", perm=[0, 2, 3, 1])]
        out += [
            node("Add", [y + "b", b + "1"], y + "c"),
            node("Mul", [y + "c", b + "2"], y + "d"),
            node("Add", [b, y + "d"], y + "f"),
        ]
        out += [node("Sub", [y + "f", b + "1"], y + "g"), node("Cast", [y + "g"], y + "h", to=1)]
        out += [node("Transpose", [y + "h"], y + "i", perm=[0, 3, 1, 2]), node("Div", [y + "i", b + "2"], y)]
    return out


def as_relu_and_min(nodes, arrays):
    out = []
    for n in nodes:
        x, *_ = n.inputs
        pair = [node("Relu", [x], n.output + "/"), node("Min", [n.output + "/", "six"], n.output)]
        out += pair if n.operator == "Clip" else [n]
    return out


def as_old_clip(nodes, arrays):
    return [node("Clip", n.inputs[:1], n.output, min=0.0, max=6.0) if n.operator == "Clip" else n for n in nodes]


def as_pad(nodes, arrays):
    """The zeros as an operator of their own, the numbers of it in the graph."""
    out = []
    for n in nodes:
        pads = n.attributes.get("pads", [0])
        if any(pads):
            name = n.output + "/pads"
            arrays[name] = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
            rest = {key: value for key, value in n.attributes.items() if key != "pads"}
            out.append(node("Pad", [n.inputs[0], name], name + "d"))
            n = n._replace(inputs=[name + "d", *n.inputs[1:]], attributes=rest)
        out.append(n)
    return out


def as_computed_pads(nodes, arrays):
    """The same, of numbers that are worked out as Keras's exporter does."""
    nodes = as_pad(nodes, arrays)
    arrays |= {"1": np.array([1]), "0": np.array([0]), "8": np.array([8]), "-1": np.array([-1])}
    for name in [name for name in arrays if name.endswith("/pads")]:
        given, y = f"{name}/given", name
        arrays[given] = arrays.pop(name)
        nodes = [
            node("Shape", [given], y + "a"),  # 8
            node("Sub", [y + "a", "8"], y + "b"),  # 0
            node("ConstantOfShape", [y + "b"], y + "c", value=np.array([7])),  # none
            node("Concat", [y + "c", given], y + "d", axis=0),
            node("Slice", [y + "d", "-1", y + "f", "0", "-1"], y + "g"),  # reversed, and again
            node("Slice", [y + "g", "-1", y + "f", "0", "-1"], y + "h"),
            node("Cast", [y + "h"], y + "i", to=1),
            node("Unsqueeze", [y + "i", "0"], y + "j"),
            node("Transpose", [y + "j"], y + "k", perm=[1, 0]),
            node("Reshape", [y + "k", "-1"], y + "l"),
            node("Cast", [y + "l"], name, to=7),
            *nodes,
        ]
        nodes.insert(0, node("Constant", [], y + "f", value=np.array([-(2**62)])))
    return nodes


def as_matmul(nodes, arrays):
    arrays["axes"] = np.array([-1, -2])
    end = [
        node("ReduceMean", [nodes[-3].inputs[0], "axes"], "pool", keepdims=0),
        node("MatMul", ["pool", "fc.w"], "m"),
    ]
    return [*nodes[:-3], *end, node("Add", ["m", "fc.b"], "a"), node("Softmax", ["a"], "logits", axis=-1)]


def as_convolution(nodes, arrays):
    """The classifier."""
    arrays["fc.w"] = arrays["fc.w"].T[:, :, None, None]
    arrays["target"] = np.array([-1, 5])
    return [*nodes[:-2], node("Conv", ["pool", "fc.w", "fc.b"], "c"), node("Reshape", ["c", "target"], "logits")]


def as_constants(nodes, arrays):
    names = [n for n in arrays if n.endswith(".b")]
    made = [node("Constant", [], name + "/", value=arrays.pop(name)) for name in names]
    return [*made, *(node("Identity", [name + "/"], name) for name in names), *nodes]


REWRITTEN = [
    as_batchnorm,
    as_arithmetic,
    as_relu_and_min,
    as_old_clip,
    as_pad,
    as_computed_pads,
    as_matmul,
    as_convolution,
    as_constants,
]


@oracle
@pytest.mark.parametrize("rewrite", REWRITTEN, ids=lambda f: f.__name__)
def test_the_same_network_in_other_operators(rewrite, tmp_path):
    for name in ("V1", "V2"):
        model = build(name)
        nodes, arrays = exported(model)
        if rewrite is as_arithmetic:  # (x + 2) / 2 + b + 1 - 2, divided by 1/2, is x + 2 b
            for key in arrays:
                if key.endswith(".b") and key != "fc.b":
                    arrays[key] = arrays[key] / 2
        path = write(tmp_path / "model.onnx", rewrite(nodes, arrays), arrays, output="logits")
        loaded = weights.load_model(path)
        x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
        assert relative_error(loaded(x), model(x)) < 1e-5
        found = weights.read(path)
        assert found.config["eps"] == (0.25 if rewrite is as_batchnorm else 1e-5)
        assert bool(found.left_out) == (rewrite is as_matmul)


@oracle
def test_zeros_on_one_side_are_those_of_keras_where_the_sizes_are_even(tmp_path):
    """At a fixed size all is known; at a free one the file is of neither padding at odd sizes."""
    nodes, arrays = exported(build("V2 same"))
    for n in nodes:
        if n.attributes.pop("auto_pad", None):
            n.attributes["pads"] = [0, 0, 1, 1] if n.attributes["strides"] == [2, 2] else [1, 1, 1, 1]
    for shape, said in (
        ((1, 3, 64, 64), "folded"),
        (("N", 3, "H", "W"), "only where every strided layer sees an even"),
    ):
        found = weights.read(write(tmp_path / "model.onnx", nodes, arrays, shape=shape))
        assert found.config["padding"] == "same" and said in found.assumed[0]
    with pytest.raises(FormatError, match=r"padding 'same' b1.0.dw has \(\(0, 1\), \(0, 1\)\), not \(\(1, 1\)"):
        weights.read(write(tmp_path / "model.onnx", nodes, arrays, shape=(1, 3, 66, 66)))


# -- what is no such network


def no_relu6(nodes, arrays):
    return [node("Relu", n.inputs[:1], n.output) if n.operator == "Clip" else n for n in nodes]


def another_padding(nodes, arrays):
    nodes[0].attributes["pads"] = [0, 0, 0, 0]
    return nodes


def no_shortcut_once(nodes, arrays):
    k = next(k for k, n in enumerate(nodes) if n.operator == "Add")
    add = nodes.pop(k)
    return [n._replace(inputs=[add.inputs[1] if i == add.output else i for i in n.inputs]) for n in nodes]


def scaled_input(nodes, arrays):
    nodes[0].inputs[0] = "y"
    return [node("Mul", ["x", "six"], "y"), *nodes]


def two_epsilons(nodes, arrays):
    nodes = as_batchnorm(nodes, arrays)
    first = next(n for n in nodes if n.operator == "BatchNormalization")
    first.attributes["epsilon"] = 0.5
    return nodes


def one_kernel_twice(nodes, arrays):
    for n in nodes[:60]:
        n.inputs[:] = ["b1.0.dw.w" if name == "b1.1.dw.w" else name for name in n.inputs]
    arrays["b1.0.dw.w"] = arrays.pop("b1.1.dw.w")
    return nodes


REFUSED = {
    no_relu6: "has stem clipped to 0 and inf; the network here has ReLU6 there",
    another_padding: "has the padding of no mobilenet_v2 here; of those with padding 1 stem has ((0, 0), (0, 0)), not",
    no_shortcut_once: "has another shortcut at b",
    scaled_input: "Mul y, of an image, numbers of shape (), is none that a network here has",
    two_epsilons: "has batch norms of epsilon 0.25 and 0.5; a network here has one",
    one_kernel_twice: "one array as the kernel of several convolutions",
    lambda nodes, arrays: nodes[:-1]: "its output is a pooled image",
    lambda nodes, arrays: [
        *nodes[:-1],
        node("HardSwish", ["flat"], "logits"),
    ]: "HardSwish logits is an operator that no",
    lambda nodes, arrays: nodes[:1]: "its output is an image",
    lambda nodes, arrays: [
        *nodes[:1],
        node("ReduceMean", [nodes[0].output] * 2, "logits"),
    ]: "of an image, an image, is",
    lambda nodes, arrays: [
        *(*nodes[:-1], node("Concat", ["two"] * 4, "eight", axis=0)),
        node("Pad", ["x", "eight", "flat"], "logits"),
    ]: "a pooled image, is none",
    lambda nodes, arrays: [
        *nodes[:1],
        node("Max", ["six", nodes[0].output, "six"], "logits"),
    ]: "numbers of shape (), an image, numbers of shape (), is none",
    lambda nodes, arrays: [*nodes[:1], node("Clip", ["six", nodes[0].output], "logits")]: "an image, is none",
    lambda nodes, arrays: [*nodes, node("Gemm", ["logits", "fc.w"], "more")]: "Gemm more, of logits, numbers of shape",
}


@oracle
@pytest.mark.parametrize("change, message", REFUSED.items())
def test_another_network_is_told_by_what_it_has(change, message, tmp_path):
    nodes, arrays = exported(build("V2", 0.35))
    arrays["two"] = np.zeros(2, np.int64)
    nodes = change(nodes, arrays)
    with pytest.raises(FormatError) as error:
        weights.load_model(write(tmp_path / "model.onnx", nodes, arrays))
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path))


@oracle
def test_a_small_network_of_convolutions(tmp_path):
    w = np.ones((4, 3, 3, 3), np.float32)
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("Clip", ["a"], "b", min=0.0, max=6.0),
        node("GlobalAveragePool", ["b"], "c"),
    ]
    nodes += [node("Flatten", ["c"], "d"), node("MatMul", ["d", "v"], "e")]
    path = write(tmp_path / "model.onnx", nodes, {"w": w, "v": np.ones((4, 2), np.float32)})
    with pytest.raises(
        FormatError, match=r"is a graph of 1 convolutions that is no network here .*: 3x3 to 4|standard 3x3 to 4"
    ):
        weights.load_model(path)


# -- files beside it


def outside(path, model, name, **more):
    from onnx import TensorProto

    nodes, arrays = exported(model)
    data, tensors = b"", {}
    for key, array in arrays.items():
        said = {"location": name, "offset": str(len(data)), "length": str(array.nbytes), **more}
        entries = [{"key": k, "value": v} for k, v in said.items()]
        tensors[key] = TensorProto(
            name=key, dims=array.shape, data_type=1, data_location=TensorProto.EXTERNAL, external_data=entries
        )
        data += array.tobytes()
    return write(path, nodes, tensors), data


@oracle
def test_arrays_in_a_file_beside_it(tmp_path):
    model = build()
    path, data = outside(tmp_path / "model.onnx", model, "model.onnx.data")
    with pytest.raises(FormatError, match=r"lies in model.onnx.data, which must be in the same folder and is not"):
        weights.read(path)
    (tmp_path / "model.onnx.data").write_bytes(data)
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    assert relative_error(weights.load_model(path)(x), model(x)) < 1e-5
    (tmp_path / "model.onnx.data").write_bytes(data[:-1])
    with pytest.raises(FormatError, match="not so many for it"):
        weights.read(path)


@oracle
@pytest.mark.parametrize("name", ["../model.data", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "C:x", "a\0b", "\n"])
def test_only_in_the_same_folder(name, tmp_path):
    (tmp_path / "model.data").write_bytes(bytes(10**6))
    (tmp_path / "in").mkdir()
    path, _ = outside(tmp_path / "in" / "model.onnx", build(), name)
    with pytest.raises(FormatError, match="same folder"):
        weights.read(path)


@oracle
@pytest.mark.parametrize(
    "more", [{"offset": "0"}, {"offset": "-4"}, {"length": "4"}, {"offset": "1" * 99}, {"offset": "x"}]
)
def test_no_byte_is_read_twice_and_none_beyond_the_end(more, tmp_path):
    path, data = outside(tmp_path / "model.onnx", build(), "model.data", **more)
    (tmp_path / "model.data").write_bytes(data[:10_000])
    with pytest.raises(FormatError, match=r"not so many for it|must be numbers"):
        weights.read(path)


# -- damaged files


def computed(path):
    nodes, arrays = exported(build("V1", 0.01))
    return write(path, as_computed_pads(nodes, arrays), arrays, output="logits")


FORMATS = {  # one that is no network, and two whose graph is read too
    "onnx": fuzz.Format(
        lambda path: write(path, [], fuzz.arrays(), output="y"), lambda path: onnx_file.read(path).arrays
    ),
    "onnx network": fuzz.Format(
        lambda path: write(path, *exported(build("V1", 0.01))), lambda path: source._read_onnx(str(path)).state
    ),
    "onnx numbers": fuzz.Format(computed, lambda path: source._read_onnx(str(path)).state),
}


@oracle
@pytest.mark.parametrize("cases", [100, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name, cases, monkeypatch, tmp_path):
    """As in `test_weights_fuzz`. What the library imports when it first computes numbers is there before."""
    computed(tmp_path / "model.onnx")
    source._read_onnx(str(tmp_path / "model.onnx"))
    monkeypatch.setitem(fuzz.FORMATS, name, FORMATS[name])
    ends = fuzz.run(name, cases)
    assert ends["refused"] >= cases // 4


@oracle
def test_numbers_of_every_kind(tmp_path):
    from onnx import TensorProto, helper

    names = [name for name in onnx_file.DTYPES.values() if name != "bfloat16"]
    values = {name: np.arange(6).reshape(2, 3).astype(name) for name in names}
    path = write(tmp_path / "model.onnx", [node("Identity", ["x"], "y")], values)
    found = onnx_file.read(path)
    assert found.inputs == {"x": (None, 3, None, None)} and found.outputs == ["y"]
    for name, array in values.items():
        assert found.arrays[name].dtype == array.dtype and (found.arrays[name] == array).all()
    for kind in onnx_file.DTYPES:  # as a list of numbers
        written = helper.make_tensor("w", kind, [2], [1, 2])
        found = onnx_file.read(write(path, [node("Identity", ["x"], "y")], {"w": written}))
        assert found.arrays["w"].tolist() == [1, 1 if kind == TensorProto.BOOL else 2]
