"""<dout, J v> = <J^T dout, v> at the real sizes: every distinct convolution of MobileNetV2 1.0/224, in x and in w.

The convolutions are linear in each argument, so J v is the forward of v itself and one backward gives both products.
"""

import numpy as np
import pytest
from cases import table

from npmnv2 import kernels, ops
from npmnv2.gradcheck import adjoint_error

pytestmark = pytest.mark.usefixtures("one_thread")


def _shapes():
    """(kind, C, M, kernel, stride, size) of the 52 convolutions and the classifier, each once."""
    rows = table("v2_layers_1.0_224.csv")
    keys = ("cin", "cout", "k", "stride", "hin")
    return list(dict.fromkeys((row["kind"], *(int(row[key]) for key in keys)) for row in rows))


SHAPES = _shapes()
OPERATIONS = {
    "conv": [(ops.conv2d_forward, ops.conv2d_backward), (ops.conv2d_im2col_forward, ops.conv2d_im2col_backward)],
    "dw": [(ops.depthwise_conv2d_forward, ops.depthwise_conv2d_backward)],
    "pw": [(ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward)],
    "fc": [(ops.linear_forward, ops.linear_backward)],
}


def test_the_table_is_the_network():
    rows = table("v2_layers_1.0_224.csv")
    assert [sum(row["kind"] == kind for row in rows) for kind in ("conv", "dw", "pw", "fc")] == [1, 17, 34, 1]
    assert sum(int(row["macs"]) for row in rows) == 300_774_272


def check(shape, operations):
    kind, C, M, k, stride, size = shape
    rng = np.random.default_rng(shape[1:])
    x_shape = (1, C) if kind == "fc" else (1, size, size, C)
    w_shape = {"conv": (k, k, C, M), "dw": (k, k, C), "pw": (C, M), "fc": (C, M)}[kind]
    options = {"stride": stride, "padding": k // 2} if kind in ("conv", "dw") else {}
    x, v, w, u = (rng.standard_normal(s) for s in (x_shape, x_shape, w_shape, w_shape))
    bias = [rng.standard_normal(M)] if kind == "fc" else []
    for forward, backward in operations:
        out, cache = forward(x, w, *bias, **options)
        dout = rng.standard_normal(out.shape)
        dx, dw, *_ = backward(dout, cache)
        no_bias = [np.zeros(M)] if kind == "fc" else []
        assert adjoint_error(dout, forward(v, w, *no_bias, **options)[0], [dx], [v]) < 1e-12
        assert adjoint_error(dout, forward(x, u, *no_bias, **options)[0], [dw], [u]) < 1e-12


def name_of(shape):
    return "{}-{}-{}-k{}-s{}-{}".format(*shape)


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_adjoint_identity(shape):
    check(shape, OPERATIONS[shape[0]])


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] == "dw"], ids=name_of)
def test_adjoint_identity_of_the_kernels(shape):
    check(shape, [(kernels.depthwise_conv2d_forward, kernels.depthwise_conv2d_backward)])
