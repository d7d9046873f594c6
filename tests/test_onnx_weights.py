"""ONNX files given as weights: small files made here. The exporters' own files are in test_oracle_onnx_weights.py."""

import json

import numpy as np
import onnx_writer
import pytest
import test_weights_fuzz as fuzz
from cases import randomise
from onnx_writer import node, tensor, write

import npmnv2
from npmnv2 import weights
from npmnv2.gradcheck import relative_error
from npmnv2.weights import FormatError, source
from npmnv2.weights.formats import onnx_file

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


@pytest.mark.parametrize("name", MODELS)
def test_our_own_export_comes_back(name, tmp_path):
    model = build(name)
    path = write(
        tmp_path / "model.onnx", *onnx_writer.exported(model), shape=("N", model.config["in_channels"], "H", "W")
    )
    dtype = model.config["dtype"]
    loaded = weights.load_model(path, dtype=dtype)
    for key in CHANGES:
        assert loaded.config.get(key) == model.config.get(key), key
    for size in (32, 33):
        x = np.random.default_rng(0).normal(size=(2, size, size, model.config["in_channels"])).astype(dtype)
        assert relative_error(loaded(x), model(x)) < (1e-5 if dtype == "float32" else 1e-12)


def test_what_is_said(tmp_path):
    path = write(tmp_path / "model.onnx", *onnx_writer.exported(build()))
    found = weights.read(path)
    assert (found.container, found.names, found.architecture) == ("onnx", "onnx", "mobilenet_v1")
    assert "27 of 27 batch norms are folded" in found.assumed[0]
    assert weights.explain(found)[1] == "  container: onnx, names: onnx; the file says padding 1 and epsilon 1e-05"
    with pytest.warns(UserWarning, match="batch norms are folded"):
        assert weights.load_model(path).preprocessing is None


def test_pictures_and_labels(tmp_path):
    model = build()
    model.preprocessing = npmnv2.data.PREPROCESSING["torchvision"]
    said = {"preprocessing": model.preprocessing.to_dict(), "labels": list("abcde")}
    entries = [{"key": key, "value": json.dumps(value)} for key, value in said.items()]
    path = write(tmp_path / "model.onnx", *onnx_writer.exported(model), metadata_props=entries)
    loaded = weights.load_model(path)
    assert loaded.preprocessing == model.preprocessing and loaded.labels == list("abcde")
    write(path, *onnx_writer.exported(model), metadata_props=[{"key": "labels", "value": "["}])
    with pytest.raises(FormatError, match="is damaged"):
        weights.load_model(path)


# -- the same network in other operators


def changed(nodes, arrays, change, *at):
    """A node replaced by others."""
    k = next(k for k, n in enumerate(nodes) if n["op_type"] == change)
    return nodes[:k] + list(at) + nodes[k + 1 :]


def as_batchnorm(nodes, arrays, eps=0.25):
    """Every bias as a batch norm."""
    out = []
    for n in nodes:
        if n["op_type"] == "Conv":
            x, w, b = n["input"]
            inner = {**n, "input": [x, w], "output": n["output"] + "/"}
            M = len(arrays[b])
            mean, gamma = np.full(M, 0.5, np.float32), np.full(M, 2, np.float32)
            arrays |= {b + "m": mean, b + "g": gamma, b + "v": np.full(M, 4 - eps, np.float32), b: arrays[b] + mean}
            out += [
                inner,
                node("BatchNormalization", [inner["output"], b + "g", b, b + "m", b + "v"], n["output"], epsilon=eps),
            ]
        else:
            out.append(n)
    return out


def as_arithmetic(nodes, arrays):
    """As Keras's are written: a subtraction, a product and a sum, where the channels are last."""
    out = []
    for n in nodes:
        if n["op_type"] != "Conv":
            out.append(n)
            continue
        (x, w, b), y = n["input"], n["output"]
        arrays |= {b + "2": np.full((1, 1, 1, 1), 0.5, np.float32), b: (arrays[b] + 1).reshape(1, 1, 1, -1)}
        arrays[b + "1"] = np.full((1, 1, 1, arrays[b].size), 2, np.float32)
        out += [{**n, "input": [x, w], "output": y + "a"}, node("Transpose", [y + "a"], y + "b", perm=[0, 2, 3, 1])]
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
        x, *_ = n["input"]
        pair = [node("Relu", [x], n["output"] + "/"), node("Min", [n["output"] + "/", "six"], n["output"])]
        out += pair if n["op_type"] == "Clip" else [n]
    return out


def as_old_clip(nodes, arrays):
    return [node("Clip", n["input"][:1], n["output"], min=0.0, max=6.0) if n["op_type"] == "Clip" else n for n in nodes]


def as_pad(nodes, arrays):
    """The zeros as an operator of their own, the numbers of it in the graph."""
    out = []
    for n in nodes:
        pads = next((a["ints"] for a in n["attribute"] if a["name"] == "pads"), [0])
        if any(pads):
            name = n["output"] + "/pads"
            arrays[name] = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
            rest = [a for a in n["attribute"] if a["name"] != "pads"]
            out.append(node("Pad", [n["input"][0], name], name + "d"))
            n = {**n, "input": [name + "d", *n["input"][1:]], "attribute": rest}
        out.append(n)
    return out


def as_matmul(nodes, arrays):
    arrays["axes"] = np.array([-1, -2])
    end = [
        node("ReduceMean", [nodes[-3]["input"][0], "axes"], "pool", keepdims=0),
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


REWRITTEN = [as_batchnorm, as_arithmetic, as_relu_and_min, as_old_clip, as_pad, as_matmul, as_convolution, as_constants]


@pytest.mark.parametrize("rewrite", REWRITTEN, ids=lambda f: f.__name__)
def test_the_same_network_in_other_operators(rewrite, tmp_path):
    for name in ("V1", "V2"):
        model = build(name)
        nodes, arrays = onnx_writer.exported(model)
        arrays = {key: np.array(value) for key, value in arrays.items()}
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


def test_zeros_on_one_side_are_those_of_keras_where_the_sizes_are_even(tmp_path):
    """At a fixed size all is known; at a free one the file is of neither padding at odd sizes."""
    nodes, arrays = onnx_writer.exported(build("V2 same"))
    for n in nodes:
        for a in n["attribute"]:
            if a.get("s") == "SAME_UPPER":
                two = {"name": "strides", "ints": [2, 2], "type": 7} in n["attribute"]
                a.clear()
                a.update({"name": "pads", "ints": [0, 0, 1, 1] if two else [1, 1, 1, 1], "type": 7})
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
    return [node("Relu", n["input"][:1], n["output"]) if n["op_type"] == "Clip" else n for n in nodes]


def another_padding(nodes, arrays):
    nodes[0]["attribute"] = [a if a["name"] != "pads" else {**a, "ints": [0, 0, 0, 0]} for a in nodes[0]["attribute"]]
    return nodes


def no_shortcut_once(nodes, arrays):
    k = next(k for k, n in enumerate(nodes) if n["op_type"] == "Add")
    add = nodes.pop(k)
    nodes[k]["input"][0] = add["input"][1]
    for n in nodes:
        n["input"] = [add["input"][1] if i == add["output"] else i for i in n["input"]]
    return nodes


def scaled_input(nodes, arrays):
    nodes[0]["input"][0] = "y"
    return [node("Mul", ["x", "six"], "y"), *nodes]


def two_epsilons(nodes, arrays):
    nodes = as_batchnorm(nodes, arrays)
    first = next(n for n in nodes if n["op_type"] == "BatchNormalization")
    first["attribute"][0]["f"] = 0.5
    return nodes


def one_kernel_twice(nodes, arrays):
    for n in nodes[:60]:
        n["input"] = ["b1.0.dw.w" if name == "b1.1.dw.w" else name for name in n["input"]]
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
    lambda nodes, arrays: [*nodes, node("Gemm", ["logits", "fc.w"], "more")]: "Gemm more, of logits, numbers of shape",
}


@pytest.mark.parametrize("change, message", REFUSED.items())
def test_another_network_is_told_by_what_it_has(change, message, tmp_path):
    nodes, arrays = onnx_writer.exported(build("V2", 0.35))
    nodes = change(nodes, arrays)
    with pytest.raises(FormatError) as error:
        weights.load_model(write(tmp_path / "model.onnx", nodes, arrays))
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path))


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
    nodes, arrays = onnx_writer.exported(model)
    data, tensors = b"", {}
    for key, array in arrays.items():
        entries = {"location": name, "offset": str(len(data)), "length": str(array.nbytes), **more}
        tensors[key] = tensor(
            key, array, data_location=1, external_data=[{"key": k, "value": v} for k, v in entries.items()]
        )
        data += array.tobytes()
    return write(path, nodes, tensors), data


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


@pytest.mark.parametrize("name", ["../model.data", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "C:x", "a\0b", "\n"])
def test_only_in_the_same_folder(name, tmp_path):
    (tmp_path / "model.data").write_bytes(bytes(10**6))
    (tmp_path / "in").mkdir()
    path, _ = outside(tmp_path / "in" / "model.onnx", build(), name)
    with pytest.raises(FormatError, match="same folder"):
        weights.read(path)


@pytest.mark.parametrize(
    "more", [{"offset": "0"}, {"offset": "-4"}, {"length": "4"}, {"offset": "1" * 99}, {"offset": "x"}]
)
def test_no_byte_is_read_twice_and_none_beyond_the_end(more, tmp_path):
    path, data = outside(tmp_path / "model.onnx", build(), "model.data", **more)
    (tmp_path / "model.data").write_bytes(data[:10_000])
    with pytest.raises(FormatError, match=r"not so many for it|must be numbers"):
        weights.read(path)


# -- damaged files


def network(path):
    write(path, *onnx_writer.exported(build("V1", 0.01)))


@pytest.mark.parametrize("cases", [100, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_networks(cases, monkeypatch):
    """Beside the files of `test_weights_fuzz`, whose graphs are none: here the graph is read too."""
    monkeypatch.setitem(
        fuzz.FORMATS, "onnx network", fuzz.Format(network, lambda path: source._read_onnx(str(path)).state)
    )
    ends = fuzz.run("onnx network", cases)
    assert ends["refused"] >= cases // 4


def test_numbers_of_every_kind(tmp_path):
    values = {name: np.arange(6).reshape(2, 3).astype(name) for name in onnx_writer.NUMBERS if name != "bfloat16"}
    path = write(tmp_path / "model.onnx", [node("Identity", ["x"], "y")], values)
    found = onnx_file.read(path)
    assert found.inputs == {"x": (None, 3, None, None)} and found.outputs == ["y"]
    for name, array in values.items():
        assert found.arrays[name].dtype == array.dtype and (found.arrays[name] == array).all()
    lists = {
        "float32": ("float_data", np.float32([1, 2]).tobytes()),
        "int64": ("int64_data", [1, 2]),
        "int32": ("int32_data", [1, 2]),
    }
    for name, (field, data) in lists.items():
        written = {"name": name, "dims": [2], "data_type": onnx_writer.NUMBERS[name], field: data}
        found = onnx_file.read(write(path, [node("Identity", ["x"], "y")], {name: written}))
        assert found.arrays[name].tolist() == [1, 2]
