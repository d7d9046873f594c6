"""The conformance cases of ONNX, run through our operations. Runs with -m oracle; needs onnx.

ONNX publishes, for each of its operators, small models with inputs and the outputs they must have. The interpreter here
knows ten operators and turns each into calls of `ops`; arrays are NCHW in the models, NHWC in ours, and are transposed
in this file only. What our operations cannot express raises `Unsupported`, and the complete list of that is `LEFT_OUT`:
a case neither passes nor stands there is a failure.
"""

import contextvars
import functools
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import pytest
from cases import operation
from golden.recipe import expressions

from npmnv2 import backend
from npmnv2.gradcheck import relative_error
from npmnv2.nn.layers import BatchNorm
from npmnv2.shapes import resolve_padding, same_padding

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # from onnx's generators of other operators' cases
]

TIGHT = 1e-6  # the cases ask for 1e-3 of each value; float32 allows this, of the largest value

FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}  # whose outputs ONNX has printed and copied

LEFT_OUT = {
    **dict.fromkeys(
        [
            "test_Conv3d",
            "test_Conv3d_dilated",
            "test_Conv3d_dilated_strided",
            "test_Conv3d_groups",
            "test_Conv3d_no_bias",
            "test_Conv3d_stride",
            "test_Conv3d_stride_padding",
            "test_AvgPool3d",
            "test_AvgPool3d_stride",
            "test_AvgPool3d_stride1_pad0_gpu_input",
            "test_averagepool_3d_default",
            "test_averagepool_3d_dilations_small",
            "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False",
            "test_averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True",
            "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False",
            "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True",
        ],
        "three spatial axes",
    ),
    "test_averagepool_2d_dilations": "a pooling window with holes",
    **dict.fromkeys(
        ["test_clip_default_int8_min", "test_clip_default_int8_max", "test_clip_default_int8_inbounds"], "integers"
    ),
    "test_clip_default_inbounds": "no bound, so no operation",
    **dict.fromkeys(["test_edge_pad", "test_ReplicationPad2d"], "edge padding"),
    **dict.fromkeys(["test_reflect_pad", "test_ReflectionPad2d"], "reflect padding"),
    "test_wrap_pad": "wrap padding",
}


class Unsupported(Exception):
    """Our operations cannot express this; the text is the reason in `LEFT_OUT`."""


# -- the interpreter: one function an operator, named and called as ONNX has it: (attributes, *inputs) -> outputs


def Conv(a, x, w, b=None):
    if x.ndim == 5:
        raise Unsupported("three spatial axes")
    line = x.ndim == 3
    if line:  # is an image one pixel high, under a kernel one tap high
        x, w = x[:, :, None], w[:, :, None]
    stride, dilation = same(a.get("strides", [1]), "strides"), same(a.get("dilations", [1]), "dilations")
    x, w = channels_last(x), np.ascontiguousarray(w.transpose(2, 3, 1, 0))  # (M, C / groups, KH, KW) -> ours
    padding = padding_of(a, x, w.shape[:2], stride, dilation)
    outs = []
    for name, arguments in expressions(x, w, a.get("group", 1), stride, padding, dilation).items():
        out, _ = operation(f"{name}_forward")(x, *arguments)
        outs.append(out)
        assert relative_error(out, outs[0]) < TIGHT, f"{name} differs"
    out = channels_first(outs[0] if b is None else outs[0] + b)
    return (out[:, :, 0] if line else out,)


def AveragePool(a, x):
    if x.ndim == 5:
        raise Unsupported("three spatial axes")
    if set(a.get("dilations", [1])) != {1}:
        raise Unsupported("a pooling window with holes")
    line, kernel, strides = x.ndim == 3, list(a["kernel_shape"]), list(a.get("strides", [1] * (x.ndim - 2)))
    if line:
        x, kernel, strides = x[:, :, None], [1, *kernel], [1, *strides]
    for axis in (0, 1):
        if (
            x.shape[2 + axis] == kernel[axis] == 1
        ):  # the mean of k pixels is the mean of k x k, if each is there k times
            size = kernel[1 - axis]
            x, kernel, strides = np.repeat(x, size, axis=2 + axis), [size, size], [strides[1 - axis]] * 2
    x, size, stride = channels_last(x), same(kernel, "window sizes"), same(strides, "strides")
    pads = resolve_padding(padding_of(a, x, (size, size), stride, 1), *x.shape[1:3], size, size, stride)
    extra = ((0, 0), (0, 0))
    if a.get("ceil_mode"):
        extra = tuple((0, left_over(n, size, stride, *p)) for n, p in zip(x.shape[1:3], pads, strict=True))
    if a.get("count_include_pad"):
        x, _ = operation("pad_forward")(x, pads)
        pads = ((0, 0), (0, 0))
    pads = tuple((before, after + more) for (before, after), (_, more) in zip(pads, extra, strict=True))
    out = channels_first(operation("avg_pool2d_forward")(x, size, stride, pads)[0])
    return (out[:, :, 0] if line else out,)


def left_over(n, size, stride, before, after):
    """Zeros that ceil_mode adds at the end of an axis, for one window more, unless that would hold padding only."""
    windows = -(-(before + n + after - size) // stride) + 1
    if (windows - 1) * stride >= before + n:
        windows -= 1
    return max(0, (windows - 1) * stride + size - (before + n + after))


def GlobalAveragePool(a, x):
    return (operation("global_avg_pool_forward")(channels_last(x))[0][:, :, None, None],)


def BatchNormalization(a, x, gamma, beta, mean, var):
    share = 1 - a.get("momentum", 0.9)  # of the new; ONNX says the share of the old
    layer = BatchNorm(x.shape[1], eps=a.get("epsilon", 1e-5), momentum=share, running_var="biased", dtype=x.dtype)
    layer.load_state_dict({"gamma": gamma, "beta": beta, "mean": mean, "var": var})
    layer.train(bool(a.get("training_mode")))
    return channels_first(layer(channels_last(x))), layer.mean.value, layer.var.value


def Relu(a, x):
    return (operation("relu_forward")(x)[0],)


def Clip(a, x, low=None, high=None):
    if x.dtype.kind != "f":
        raise Unsupported("integers")
    if low is None and high is None:
        raise Unsupported("no bound, so no operation")
    exact = x.astype(np.float64)  # so that shifting and scaling, which are not ours, cost nothing
    if low is not None and high is not None and low < high:  # a ReLU6 of another height
        unit = (np.float64(high) - low) / 6
        exact = low + unit * operation("relu6_forward")((exact - low) / unit)[0]
    else:  # one bound at a time
        exact = exact if low is None else low + operation("relu_forward")(exact - low)[0]
        exact = exact if high is None else high - operation("relu_forward")(high - exact)[0]
    return (exact.astype(x.dtype),)


def Gemm(a, x, w, c=None):
    x, w = x.T if a.get("transA") else x, w.T if a.get("transB") else w
    x = np.float32(a.get("alpha", 1)) * x
    c = np.zeros(w.shape[1], x.dtype) if c is None else np.float32(a.get("beta", 1)) * c
    row = c.size in (1, w.shape[1])  # a bias as ours is; a whole matrix is added after
    b = np.broadcast_to(c.ravel(), w.shape[1:]) if row else np.zeros(w.shape[1], x.dtype)
    out, _ = operation("linear_forward")(x, w, b)
    return (out if row else out + c,)


def Pad(a, x, pads=None, value=None, axes=None):
    mode = a.get("mode", b"constant").decode()
    if mode != "constant":
        raise Unsupported(f"{mode} padding")
    pads, value = a["pads"] if pads is None else pads.tolist(), a.get("value", 0.0) if value is None else value
    axes = range(x.ndim) if axes is None else axes.tolist()
    around = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True):
        around[axis] = (before, after)
    if x.ndim != 4 or around[:2] != [(0, 0), (0, 0)] or min(map(min, around)) < 0:
        raise Unsupported("padding of batch or channels, or cropping")
    exact = x.astype(np.float64)  # our zeros become `value` by a shift
    xp, _ = operation("pad_forward")(channels_last(exact - value), tuple(around[2:]))
    return (channels_first(xp + value).astype(x.dtype),)


def Softmax(a, x):
    if OPSET.get() < 13:  # everything from `axis` on was one axis
        axis = a.get("axis", 1)
        return (operation("softmax")(x.reshape(int(np.prod(x.shape[:axis])), -1)).reshape(x.shape),)
    last = np.moveaxis(x, a.get("axis", -1), -1)
    p = operation("softmax")(np.ascontiguousarray(last).reshape(-1, last.shape[-1]))
    return (np.moveaxis(p.reshape(last.shape), -1, a.get("axis", -1)),)


def SoftmaxCrossEntropyLoss(a, x, labels, weights=None):
    rows = channels_last(x).reshape(-1, x.shape[1])  # every pixel is a row
    log_p = channels_first(np.log(operation("softmax")(rows)).reshape(channels_last(x).shape))
    y = labels.ravel()
    kept = y != a["ignore_index"] if "ignore_index" in a else np.ones(len(y), bool)
    rows, y = rows[kept], y[kept]
    reduction = a.get("reduction", b"mean").decode()
    if reduction == "mean" and weights is None:
        return operation("softmax_cross_entropy")(rows, y)[0], log_p
    # a weighted loss is a sum of our losses of single rows
    w = np.ones(len(y), x.dtype) if weights is None else weights[y]
    losses = w * [operation("softmax_cross_entropy")(rows[n : n + 1], y[n : n + 1])[0] for n in range(len(y))]
    if reduction == "none":
        every = np.zeros(labels.size, x.dtype)
        every[kept] = losses
        return every.reshape(labels.shape), log_p
    return (losses.sum() if reduction == "sum" else losses.sum() / w.sum()).astype(x.dtype), log_p


# Three that shape arrays and compute nothing of ours, for models of two or three nodes.


def Unsqueeze(a, x):
    return (np.expand_dims(x, tuple(a["axes"])),)


def Squeeze(a, x):
    return (np.squeeze(x, tuple(a["axes"])),)


def Neg(a, x):
    return (-x,)


OPERATORS = (
    AveragePool,
    BatchNormalization,
    Clip,
    Conv,
    Gemm,
    GlobalAveragePool,
    Pad,
    Relu,
    Softmax,
    SoftmaxCrossEntropyLoss,
)
HANDLERS = {function.__name__: function for function in (*OPERATORS, Unsqueeze, Squeeze, Neg)}
OPSET = contextvars.ContextVar("opset of the model that runs")


def channels_last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_first(x):
    return np.moveaxis(x, -1, 1)


def same(values, what):
    """Ours have one number for both axes. A line has one only."""
    if len(set(values)) != 1:
        raise Unsupported(f"different {what} on the two axes")
    return values[0]


def padding_of(a, x, kernel, stride, dilation):
    """ONNX's pads and auto_pad as our padding: an image (N, H, W, C) whose H is 1 may have been a line."""
    auto = a.get("auto_pad", b"NOTSET").decode()
    if auto == "SAME_UPPER":
        return "same"
    if auto == "SAME_LOWER":  # the odd zero goes before
        sizes = zip(x.shape[1:3], kernel, strict=True)
        return tuple(same_padding(n, k, stride, dilation)[::-1] for n, k in sizes)
    pads = a.get("pads", [0, 0, 0, 0])
    top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
    return (top, bottom), (left, right)


def run(model, inputs):
    """The outputs of a model whose nodes are all in HANDLERS."""
    from onnx import helper, numpy_helper

    OPSET.set(model.opset_import[0].version)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    values[""] = None  # an optional input that is left out
    missing = [value.name for value in model.graph.input if value.name not in values]
    values |= dict(zip(missing, inputs, strict=True))
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        outputs = HANDLERS[node.op_type](attributes, *(values[name] for name in node.input))
        values |= dict(zip(node.output, outputs, strict=False))
    return [values[value.name] for value in model.graph.output]


# -- the cases


class Case(NamedTuple):
    name: str
    operator: str
    model: object
    data: list  # of (inputs, outputs)
    rtol: float
    atol: float


@functools.cache
def cases():
    """Every case of the ten operators: all models of at most three nodes in which one of them occurs.

    Longer models spell out other operators (attention, mostly) in terms of simple ones.
    """
    import onnx
    from onnx.backend.test.loader import load_model_tests

    found = []
    for case in [*load_model_tests(kind="node"), *load_model_tests(kind="pytorch-converted")]:
        model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
        ours = {node.op_type for node in model.graph.node} & {operator.__name__ for operator in OPERATORS}
        if ours and len(model.graph.node) <= 3:
            data = case.data_sets or [read(folder) for folder in sorted(Path(case.model_dir).glob("test_data_set_*"))]
            found.append(Case(case.name, ours.pop(), model, data, case.rtol, case.atol))
    return found


def read(folder):
    """The inputs and outputs of one test_data_set folder."""
    from onnx import load_tensor, numpy_helper

    sides = []
    for side in ("input", "output"):
        paths = [folder / f"{side}_{k}.pb" for k in range(len(list(folder.glob(f"{side}_*.pb"))))]
        sides.append([numpy_helper.to_array(load_tensor(path)) for path in paths])
    return sides


def check(case):
    """Run a case and compare every output, by its own tolerance and by ours."""
    for inputs, expected in case.data:
        outputs = run(case.model, inputs)
        assert len(outputs) == len(expected)
        for k, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
            ours = np.asarray(ours)
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), f"output {k}"
            np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)
            assert case.name in FOUR_DIGITS or relative_error(ours, theirs) < TIGHT, f"output {k}"


@pytest.fixture(params=["numpy", "numba"])
def implementation(request):
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    with backend(request.param):
        yield request.param
    numba.set_num_threads(threads)


@pytest.mark.parametrize("operator", [operator.__name__ for operator in OPERATORS])
def test_every_case_of_an_operator_passes_or_is_left_out(operator, implementation):
    of_operator = [case for case in cases() if case.operator == operator]
    assert of_operator
    failures, refused = {}, {}
    for case in of_operator:
        try:
            check(case)
        except Unsupported as reason:
            refused[case.name] = str(reason)
        except Exception as error:
            failures[case.name] = f"{type(error).__name__}: {error}"
    assert not failures, "\n".join(f"{name}: {error}" for name, error in failures.items())
    # exactly those of the table, each for the reason given there: nothing is left out silently, nothing for no reason
    assert refused == {case.name: LEFT_OUT[case.name] for case in of_operator if case.name in LEFT_OUT}


def test_names_are_unique_and_the_table_names_real_cases():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
    assert set(LEFT_OUT) <= set(names)
