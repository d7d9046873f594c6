"""What an exported file says, without the library that writes it; the rest is in test_oracle_onnx_export.py."""

import sys

import numpy as np
import pytest
from cases import randomise

import npmnv2
from npmnv2 import ops
from npmnv2.engine import onnx_export
from npmnv2.engine.folding import folded
from npmnv2.gradcheck import relative_error


def run(nodes, weights, x):
    """The graph by ONNX's rules, NCHW, on the operations of this package."""
    nhwc, nchw = (lambda a: a.transpose(0, 2, 3, 1)), (lambda a: a.transpose(0, 3, 1, 2))

    def conv(x, w, b, strides, group, pads=None, auto_pad=None):
        assert strides[0] == strides[1] and (pads is None or len(set(pads)) == 1)
        padding = "same" if auto_pad == "SAME_UPPER" else pads[0]
        out, _ = ops.grouped_conv2d_forward(nhwc(x), w.transpose(2, 3, 1, 0).copy(), group, strides[0], padding)
        return nchw(out) + b[:, None, None]

    operators = {
        "Conv": conv,
        "Clip": np.clip,
        "Add": np.add,
        "GlobalAveragePool": lambda x: x.mean(axis=(2, 3), keepdims=True),
        "Flatten": lambda x: x.reshape(len(x), -1),
        "Gemm": lambda x, w, b: x @ w + b,
    }
    values = {**weights, "x": nchw(x)}
    for node in nodes:
        assert node.output not in values, f"{node.output} is written twice"
        values[node.output] = operators[node.operator](*(values[name] for name in node.inputs), **node.attributes)
    return values["logits"]


@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("make", [npmnv2.mobilenet_v1, npmnv2.mobilenet_v1_conv, npmnv2.mobilenet_v2])
def test_the_graph_is_the_network(make, padding):
    model = make(7, 0.35, strides="digits", in_channels=1, padding=padding, dtype=np.float64)
    randomise(model).eval()
    nodes, weights = onnx_export.graph(folded(model))
    for shape in ((2, 8, 8, 1), (1, 9, 7, 1)):
        x = np.random.default_rng(0).normal(size=shape)
        assert relative_error(model(x), run(nodes, weights, x)) < 1e-13
    read = {name for node in nodes for name in node.inputs}
    assert set(weights) <= read, "an array that nothing reads"
    assert all(w.dtype == np.float64 and w.flags.c_contiguous for w in weights.values())


def test_the_graph_of_the_published_network():
    nodes, weights = onnx_export.graph(folded(npmnv2.mobilenet_v2(width_mult=0.35)))
    count = {name: sum(node.operator == name for node in nodes) for name in {node.operator for node in nodes}}
    assert count == {"Conv": 52, "Clip": 35, "Add": 10, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert weights["stem.w"].shape == (16, 3, 3, 3) and weights["b1.0.dw.w"].shape == (48, 1, 3, 3)


def test_values_have_the_names_of_layers():
    model = npmnv2.mobilenet_v2(width_mult=0.35)
    nodes, _ = onnx_export.graph(folded(model))
    names = {name for name, _ in model.named_layers()}
    assert {n.output.removesuffix(".conv") for n in nodes} - names == {"flat", "logits"}


def test_without_the_library(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)  # what import finds there when a module cannot be imported
    with pytest.raises(ImportError) as error:
        onnx_export.export(npmnv2.mobilenet_v1(3, 0.25), tmp_path / "model.onnx")
    assert str(error.value) == "onnx_export.export needs the library onnx: pip install 'npmnv2[onnx]'"
    assert list(tmp_path.iterdir()) == []


def test_a_stride_beyond_the_kernel_has_no_same_padding_in_onnx():
    strides = (4, *(1 for _ in range(7)))
    message = '"same" padding needs a stride of at most 3 in ONNX; that of stem is 4'
    for padding, refused in (("same", True), (1, False)):
        net = folded(npmnv2.mobilenet_v2(3, 0.35, strides=strides, padding=padding))
        if refused:
            with pytest.raises(ValueError, match=message):
                onnx_export.graph(net)
        else:
            onnx_export.graph(net)


def test_metadata():
    model = npmnv2.mobilenet_v1(3, 0.25)
    assert onnx_export._metadata(model) == {}
    model.labels = ["cat", "Löwe", 'a "b"']
    assert onnx_export._metadata(model) == {"labels": '["cat", "Löwe", "a \\"b\\""]'}
