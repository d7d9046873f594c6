"""Exported models against onnxruntime, and the checks of the onnx library itself. Runs with -m oracle."""

import json

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2 import ops
from npmnv2.engine import onnx_export
from npmnv2.gradcheck import relative_error
from npmnv2.weights.names import TO_PYTORCH

pytestmark = pytest.mark.oracle

SIZES = [(1, 96, 128), (3, 96, 128), (1, 225, 225), (3, 225, 225)]

MODELS = {
    **{
        f"V2 {width} {padding}": (npmnv2.mobilenet_v2, {"width_mult": width, "padding": padding})
        for width in (0.35, 1.0, 1.4)
        for padding in (1, "same")
    },
    "V2 as Keras": (npmnv2.mobilenet_v2, {"padding": "same", "eps": 1e-3}),
    "V1": (npmnv2.mobilenet_v1, {}),
    "V1 0.25 same": (npmnv2.mobilenet_v1, {"width_mult": 0.25, "padding": "same"}),
    "twin 0.5": (npmnv2.mobilenet_v1_conv, {"width_mult": 0.5}),
    "twin 0.25 same": (npmnv2.mobilenet_v1_conv, {"width_mult": 0.25, "padding": "same"}),
}
DIGITS = {
    "V2 digits": npmnv2.mobilenet_v2,
    "V1 digits": npmnv2.mobilenet_v1,
    "twin digits": npmnv2.mobilenet_v1_conv,
}


@pytest.fixture(scope="module")
def onnx():
    import onnx
    import onnx.reference

    return onnx


@pytest.fixture
def exported(onnx, tmp_path):
    """Write a model, check the file, return its path."""

    def export(model):
        path = tmp_path / "model.onnx"
        onnx_export.export(model, path)
        onnx.checker.check_model(str(path), full_check=True)
        return path

    return export


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def theirs(run, x):
    """Their logits of our images."""
    return run.run(["logits"], {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]


def images(shape, dtype=np.float32):
    return np.random.default_rng(list(shape)).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_agrees(name, exported):
    build, options = MODELS[name]
    model = randomise(build(num_classes=37, **options)).eval()
    run = session(exported(model))
    for size in SIZES:
        x = images((*size, 3))
        logits = model(x)
        assert abs(logits).max() > 1  # else a small difference says little
        assert relative_error(logits, theirs(run, x)) < 1e-5, size


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize("padding", [1, "same"])
def test_onnxruntime_agrees_on_digits(name, padding, exported):
    model = DIGITS[name](10, 0.35, strides="digits", in_channels=1, padding=padding)
    randomise(model).eval()
    run = session(exported(model))
    for size in [(1, 8, 8), (5, 8, 8), (2, 9, 7), (1, 1, 1)]:
        x = images((*size, 1))
        assert relative_error(model(x), theirs(run, x)) < 1e-5, size


@pytest.mark.parametrize("name", MODELS)
def test_float64_agrees_to_rounding(onnx, name, exported):
    """onnxruntime has no float64 convolution; the library's reference evaluator has.

    (Not every one: that of onnx 1.16 disagrees with onnxruntime, and with us, about SAME_UPPER.)
    """
    build, options = MODELS[name]
    model = randomise(build(num_classes=37, dtype=np.float64, **options)).eval()
    reference = onnx.reference.ReferenceEvaluator(str(exported(model)))
    for size in SIZES:
        x = images((*size, 3), np.float64)
        assert relative_error(model(x), theirs(reference, x)) < 1e-13, size


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize("padding", [1, "same"])
def test_float64_agrees_on_digits(onnx, name, padding, exported):
    model = DIGITS[name](10, 0.35, strides="digits", in_channels=1, padding=padding, dtype=np.float64)
    reference = onnx.reference.ReferenceEvaluator(str(exported(randomise(model).eval())))
    for size in [(2, 8, 8), (1, 9, 7)]:
        x = images((*size, 1), np.float64)
        assert relative_error(model(x), theirs(reference, x)) < 1e-13, size


@pytest.mark.parametrize("kernel, stride", [(k, s) for k in (1, 2, 3, 4, 5) for s in range(1, k + 1)])
def test_same_upper_is_our_same(onnx, kernel, stride):
    """On odd and even sizes: where the odd pixel of padding goes, and how large the output is."""
    make = onnx.helper
    w = np.random.default_rng(0).normal(size=(kernel, kernel, 2, 3)).astype(np.float32)
    node = make.make_node("Conv", ["x", "w"], ["logits"], strides=[stride] * 2, auto_pad="SAME_UPPER")
    x_info, out_info = (
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", channels, None, None])
        for name, channels in (("x", 2), ("logits", 3))
    )
    weights = [onnx.numpy_helper.from_array(np.ascontiguousarray(TO_PYTORCH["standard"](w)), "w")]
    opset = [make.make_opsetid("", onnx_export.OPSET)]
    graph = make.make_graph([node], "same", [x_info], [out_info], weights)
    run = session(make.make_model(graph, opset_imports=opset, ir_version=onnx_export.IR).SerializeToString())
    for H in range(1, 12):
        for W in (H, 12 - H):
            x = images((1, H, W, 2))
            ours, _ = ops.conv2d_forward(x, w, stride, "same")
            assert relative_error(ours, theirs(run, x).transpose(0, 2, 3, 1)) < 1e-6, (H, W)


def test_the_file_says_what_it_is(onnx, exported):
    model = npmnv2.mobilenet_v2(3, 0.35)
    model.labels = ["cat", "dog", "Löwe"]
    model.preprocessing = _Preprocessing()
    file = onnx.load(exported(model))
    assert file.ir_version == onnx_export.IR
    assert [(o.domain, o.version) for o in file.opset_import] == [("", onnx_export.OPSET)]
    assert (file.producer_name, file.producer_version) == ("npmnv2", npmnv2.__version__)
    known = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert known == {"labels": model.labels, "preprocessing": {"resize": 256}}
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*file.graph.input, *file.graph.output)
    }
    assert shapes == {"x": ["N", 3, "H", "W"], "logits": ["N", 3]}
    assert {node.op_type for node in file.graph.node} == {
        *("Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm")
    }
    assert not onnx.load(exported(npmnv2.mobilenet_v2(3, 0.35))).metadata_props


class _Preprocessing:
    def to_dict(self):
        return {"resize": 256}


def test_same_model_same_bytes(exported):
    first = exported(npmnv2.mobilenet_v1(3, 0.25)).read_bytes()
    assert exported(npmnv2.mobilenet_v1(3, 0.25)).read_bytes() == first


def test_training_mode_does_not_matter(exported):
    """A model in training is exported as it would be in eval, and is still in training afterwards."""
    model = randomise(npmnv2.mobilenet_v2(3, 0.35, strides="digits", in_channels=1)).train()
    before = model.state_dict()
    run = session(exported(model))
    assert model.training and all((before[name] == value).all() for name, value in model.state_dict().items())
    x = images((2, 8, 8, 1))
    assert relative_error(model.eval()(x), theirs(run, x)) < 1e-5


def test_a_failed_export_leaves_the_old_file(exported, tmp_path, monkeypatch):
    path = exported(npmnv2.mobilenet_v1(3, 0.25))
    before = path.read_bytes()

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        onnx_export.export(npmnv2.mobilenet_v1(5, 0.25), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
