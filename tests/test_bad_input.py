"""Bad input: refused with an error that names the argument, by the NumPy operations and by their compiled twins alike.

What is odd but good is in test_odd_input.py, layers and models are in test_bad_models.py.
"""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest

from npmnv2 import kernels, ops
from npmnv2.validate import check_array, check_dout, check_length

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)


def F(*shape, dtype=np.float64):
    """A random array."""
    return RNG.normal(size=shape).astype(dtype)


X, W = F(2, 5, 6, 3), F(3, 3, 3)


class Bad(NamedTuple):
    """One kind of bad input: what to call, with what, and the error that must come."""

    what: str
    name: str
    arguments: tuple[Any, ...]
    error: type[Exception]
    match: str


def depthwise(what, error, match, x=X, w=W, **options):
    stride, padding, dilation = options.get("stride", 1), options.get("padding", 0), options.get("dilation", 1)
    return Bad(what, "depthwise_conv2d_forward", (x, w, stride, padding, dilation), error, match)


def batchnorm(what, error, match, x=X, gamma=F(3), beta=F(3), eps=1e-5, name="batchnorm_forward"):  # noqa: B008
    return Bad(what, name, (x, gamma, beta, eps), error, match)


class Odd(np.ndarray):
    pass


masked = np.ma.masked_array(X, X > 0)

# -- arrays: every question of validate.check_array, asked of the depthwise convolution (ops and kernels)

ARRAYS = [
    depthwise("3 axes", ValueError, r"x must have 4 axes \(N H W C\); its shape was \(5, 6, 3\)", x=X[0]),
    depthwise("5 axes", ValueError, r"x must have 4 axes", x=X[None]),
    depthwise("no axes", ValueError, r"x must have 4 axes", x=np.array(1.0)),
    depthwise("w of another rank", ValueError, r"w must have 3 axes \(KH KW C\)", w=F(3, 3, 3, 1)),
    depthwise("channels", ValueError, r"w must have length 3 along axis 2 \(the channels of x\)", w=F(3, 3, 4)),
    depthwise("one channel is not broadcast", ValueError, r"w must have length 3 along axis 2", w=F(3, 3, 1)),
    depthwise("H is 0", ValueError, r"x must not be empty along H; its shape was \(2, 0, 6, 3\)", x=F(2, 0, 6, 3)),
    depthwise("W is 0", ValueError, r"x must not be empty along W", x=F(2, 5, 0, 3)),
    depthwise("C is 0", ValueError, r"x must not be empty along C", x=F(2, 5, 6, 0), w=F(3, 3, 0)),
    depthwise("an empty batch without pixels", ValueError, r"x must not be empty along H", x=F(0, 0, 6, 3)),
    depthwise("KH is 0", ValueError, r"w must not be empty along KH", w=F(0, 3, 3)),
    depthwise("list", TypeError, r"x must be a NumPy array; was list", x=X.tolist()),
    depthwise("None", TypeError, r"x must be a NumPy array; was NoneType", x=None),
    depthwise("number", TypeError, r"w must be a NumPy array; was float", w=1.0),
    depthwise("masked", TypeError, r"x must be a plain NumPy array; was a MaskedArray", x=masked),
    batchnorm("matrix", TypeError, r"x must be a plain NumPy array; was a matrix", x=F(4, 3).view(np.matrix)),
    depthwise("masked w", TypeError, r"w must be a plain NumPy array", w=np.ma.masked_array(W)),
    *(
        depthwise(str(dtype), TypeError, rf"x must be float32 or float64; was {dtype}", x=np.ones((2, 5, 6, 3), dtype))
        for dtype in ("int64", "int8", "uint8", "bool", "float16", "complex64", ">f4", ">f8", "object")
    ),
    depthwise("strings", TypeError, r"x must be float32 or float64; was <U1", x=np.full((2, 5, 6, 3), "a")),
    depthwise("long double", TypeError, r"x must be float32 or float64; was", x=X.astype(np.longdouble)),
    depthwise("datetime", TypeError, r"x must be float32 or float64", x=np.zeros((2, 5, 6, 3), "M8[s]")),
    depthwise("mixed", TypeError, r"w must have the dtype of the input, float64; was float32", w=W.astype(np.float32)),
    depthwise(
        "mixed, the other way", TypeError, r"w must have the dtype of the input, float32", x=F(2, 5, 6, 3, dtype="f")
    ),
    depthwise("w integer", TypeError, r"w must be float32 or float64; was int64", w=np.ones((3, 3, 3), int)),
]

# -- stride, padding, dilation

GEOMETRY = [
    depthwise("kernel too tall", ValueError, r"kernel must fit the padded image: it reaches over 6", w=F(6, 3, 3)),
    depthwise("kernel too wide", ValueError, r"kernel must fit.*padded axis has 6", w=F(3, 7, 3)),
    depthwise("dilation too large", ValueError, r"kernel must fit.*dilation 3", dilation=3),
    depthwise("stride 0", ValueError, r"stride must be at least 1; was 0", stride=0),
    depthwise("stride negative", ValueError, r"stride must be at least 1; was -1", stride=-1),
    depthwise("stride huge", ValueError, r"stride must be at most 2147483647; was 11805", stride=2**70),
    depthwise("dilation huge", ValueError, r"dilation must be at most 2147483647; was", w=W[:1, :1], dilation=2**63),
    depthwise("stride float", TypeError, r"stride must be an integer; was 2.0", stride=2.0),
    depthwise("stride bool", TypeError, r"stride must be an integer; was True", stride=True),
    depthwise("stride pair", TypeError, r"stride must be an integer; was \(1, 1\)", stride=(1, 1)),
    depthwise("stride None", TypeError, r"stride must be an integer; was None", stride=None),
    depthwise("dilation 0", ValueError, r"dilation must be at least 1; was 0", dilation=0),
    depthwise("dilation float", TypeError, r"dilation must be an integer; was 1.5", dilation=1.5),
    depthwise("dilation string", TypeError, r"dilation must be an integer; was '1'", dilation="1"),
    depthwise("padding negative", ValueError, r"padding must not be negative; was", padding=-1),
    depthwise("one side negative", ValueError, r"padding must not be negative", padding=((1, 1), (1, -1))),
    depthwise("padding float", ValueError, r"padding must be an int, .* was 1.0", padding=1.0),
    depthwise("padding bool", ValueError, r"padding must be an int, .* was True", padding=True),
    depthwise("padding None", ValueError, r"padding must be an int, .* was None", padding=None),
    depthwise("a pair", ValueError, r"padding must be an int, .* was \(1, 1\)", padding=(1, 1)),
    depthwise("a triple", ValueError, r"padding must be an int", padding=((1, 1, 1), (1, 1))),
    depthwise("four in a row", ValueError, r"padding must be an int", padding=(1, 1, 1, 1)),
    depthwise("a side float", TypeError, r"padding must be made of integers", padding=((1, 1), (1, 0.5))),
    depthwise("a side bool", TypeError, r"padding must be made of integers", padding=((1, 1), (1, True))),
    depthwise("SAME", ValueError, r"padding must be .* was 'SAME'", padding="SAME"),
    depthwise("valid", ValueError, r"padding must be .* was 'valid'", padding="valid"),
    depthwise("a two-letter word", ValueError, r"padding must be .* was '11'", padding="11"),
]

# -- batch norm

BATCHNORM = [
    batchnorm("gamma too short", ValueError, r"gamma must have length 3 along axis 0", gamma=F(2)),
    batchnorm("gamma of one", ValueError, r"gamma must have length 3 along axis 0", gamma=F(1)),
    batchnorm("beta too long", ValueError, r"beta must have length 3 along axis 0", beta=F(4)),
    batchnorm("gamma with two axes", ValueError, r"gamma must have 1 axes", gamma=F(1, 3)),
    batchnorm("gamma float32", TypeError, r"gamma must have the dtype of the input, float64", gamma=F(3, dtype="f")),
    batchnorm("beta integer", TypeError, r"beta must be float32 or float64", beta=np.zeros(3, int)),
    batchnorm("beta list", TypeError, r"beta must be a NumPy array; was list", beta=[0.0, 0.0, 0.0]),
    batchnorm("x integer", TypeError, r"x must be float32 or float64", x=np.ones((2, 3), int)),
    batchnorm("x without rows to average", ValueError, r"x must have at least 2 axes", x=F(3)),
    batchnorm("x a number", ValueError, r"x must have at least", x=np.array(1.0)),
    batchnorm("empty batch", ValueError, r"x must hold at least one value a channel", x=F(0, 5, 6, 3)),
    batchnorm("no pixels", ValueError, r"x must not be empty along axis", x=F(2, 0, 6, 3)),
    batchnorm("eps negative", ValueError, r"eps must not be negative; was -1e-05", eps=-1e-5),
    batchnorm("eps NaN", ValueError, r"eps must not be negative; was nan", eps=float("nan")),
    *(
        batchnorm(f"eps {eps!r}", TypeError, r"eps must be a number; was", eps=eps)
        for eps in (True, "x", None, 1j, np.array([1e-3]), np.array([1.0, 2.0]))
    ),
    batchnorm("eps infinite", ValueError, r"eps must be finite; was inf", eps=float("inf")),
    batchnorm("eps huge", ValueError, r"eps must be finite; was an integer beyond the largest float", eps=10**400),
    batchnorm("fused: gamma", ValueError, r"gamma must have length 3", gamma=F(2), name="batchnorm_relu6_forward"),
    batchnorm("fused: empty", ValueError, r"x must hold", x=F(0, 5, 6, 3), name="batchnorm_relu6_forward"),
]


def inference(what, error, match, mean=F(3), var=np.ones(3), name="batchnorm_inference"):  # noqa: B008
    return Bad(what, name, (X, F(3), F(3), mean, var), error, match)


INFERENCE = [
    inference("mean too short", ValueError, r"mean must have length 3", mean=F(2)),
    inference("mean float32", TypeError, r"mean must have the dtype of the input", mean=F(3, dtype="f")),
    inference("var too long", ValueError, r"var must have length 3", var=np.ones(4)),
    inference(
        "var negative", ValueError, r"var must not be negative; its smallest value was -0.5", var=np.array([1, -0.5, 1])
    ),
    inference("var list", TypeError, r"var must be a NumPy array", var=[1.0, 1.0, 1.0]),
    inference("fused: var negative", ValueError, r"var must not", var=-np.ones(3), name="batchnorm_relu6_inference"),
]

TWINS = ARRAYS + GEOMETRY + BATCHNORM + INFERENCE


def both(cases):
    """Every case under ops, and under kernels where the operation exists there."""
    pairs = [(module, case) for case in cases for module in (ops, kernels) if case.name in module.__all__]
    return pytest.mark.parametrize(
        "module, case", pairs, ids=[f"{case.name}-{case.what}-{m.__name__[7:]}" for m, case in pairs]
    )


@both(TWINS)
def test_refused(module, case):
    with pytest.raises(case.error, match=case.match):
        getattr(module, case.name)(*case.arguments)


def test_the_kernels_refuse_complex_numbers():
    """The NumPy operations take them, for the complex step; a kernel would be compiled for them, silently."""
    z, w, v = X.astype(complex), W.astype(complex), F(3).astype(complex)
    assert ops.depthwise_conv2d_forward(z, w)[0].dtype == complex
    for call, arguments in (
        (kernels.depthwise_conv2d_forward, (z, w)),
        (kernels.batchnorm_forward, (z, v, v)),
        (kernels.batchnorm_relu6_forward, (z, v, v)),
        (kernels.batchnorm_inference, (z, v, v, v, abs(v).astype(complex))),
    ):
        with pytest.raises(TypeError, match="x must be float32 or float64; was complex128"):
            call(*arguments)


# -- the upstream gradient, of every backward

FORWARDS = {
    "conv2d": (X, F(3, 3, 3, 4)),
    "conv2d_im2col": (X, F(3, 3, 3, 4)),
    "grouped_conv2d": (X, F(3, 3, 1, 3), 3),
    "depthwise_conv2d": (X, W),
    "pointwise_conv2d": (X, F(3, 4)),
    "batchnorm": (X, F(3), F(3)),
    "batchnorm_relu6": (X, F(3), F(3)),
    "relu": (X,),
    "relu6": (X,),
    "linear": (F(4, 3), F(3, 2), F(2)),
    "global_avg_pool": (X,),
    "avg_pool2d": (X, 2),
    "dropout": (X, 0.5, np.random.default_rng(0)),
    "pad": (X, 1),
}
PAIRS = [
    (module, name) for name in FORWARDS for module in (ops, kernels) if f"{name}_forward" in module.__all__
]  # every forward and backward
pairs = pytest.mark.parametrize("module, name", PAIRS, ids=[f"{name}-{m.__name__[7:]}" for m, name in PAIRS])
pairs_and_dtypes = pytest.mark.parametrize(
    "module, name, dtype",
    [
        pytest.param(
            *(module, name, dtype),
            id=f"{name}-{module.__name__[7:]}-{dtype.__name__}",
            marks=[pytest.mark.compiled] if module is kernels and dtype is np.float32 else [],
        )
        for module, name in PAIRS
        for dtype in (np.float64, np.float32)
    ],
)


def test_every_forward_is_here():
    assert {f"{name}_forward" for name in FORWARDS} == {name for name in ops.__all__ if name.endswith("_forward")}


@pairs
def test_bad_dout(module, name):
    out, cache = getattr(module, f"{name}_forward")(*FORWARDS[name])
    backwards = [getattr(module, f"{name}_backward")]
    if name == "batchnorm" and module is ops:
        backwards.append(ops.batchnorm_backward_steps)
    for backward in backwards:
        for dout, error, match in (
            (out[1:], ValueError, f"dout must have the shape of the forward's output, {re.escape(str(out.shape))}"),
            (out[..., :1], ValueError, "dout must have the shape"),  # would broadcast
            (out[None], ValueError, "dout must have the shape"),
            (np.array(1.0), ValueError, "dout must have the shape"),
            (
                out.astype(np.float32),
                TypeError,
                "dout must have the dtype of the forward's input, float64; was float32",
            ),
            (np.ones(out.shape, int), TypeError, "dout must have the dtype .* was int64"),
            (out.astype(">f8"), TypeError, "dout must have the dtype"),
            (out.tolist(), TypeError, "dout must be a NumPy array; was list"),
            (None, TypeError, "dout must be a NumPy array; was NoneType"),
            (np.ma.masked_array(out), TypeError, "dout must be a plain NumPy array"),
            (np.ones((2, 2)).view(np.matrix), TypeError, "dout must be a plain NumPy array; was a matrix"),
        ):
            with pytest.raises(error, match=match):
                backward(dout, cache)


# -- what only ops has

LOGITS, LABELS = F(4, 5), np.array([0, 4, 2, 2])
OTHERS = [
    Bad("x rank", "conv2d_forward", (X[0], F(3, 3, 3, 4)), ValueError, "x must have 4 axes"),
    Bad("w rank", "conv2d_forward", (X, W), ValueError, r"w must have 4 axes \(KH KW C M\)"),
    Bad("w channels", "conv2d_forward", (X, F(3, 3, 2, 4)), ValueError, "w must have length 3 along axis 2"),
    Bad("M is 0", "conv2d_forward", (X, F(3, 3, 3, 0)), ValueError, "w must not be empty along M"),
    Bad("w dtype", "conv2d_forward", (X, F(3, 3, 3, 4, dtype="f")), TypeError, "w must have the dtype"),
    Bad("stride", "conv2d_forward", (X, F(3, 3, 3, 4), 0), ValueError, "stride must be at least 1"),
    Bad("w channels", "conv2d_im2col_forward", (X, F(3, 3, 2, 4)), ValueError, "w must have length 3 along axis 2"),
    Bad("padding", "conv2d_im2col_forward", (X, F(3, 3, 3, 4), 1, "full"), ValueError, "padding must be"),
    Bad("C", "grouped_conv2d_forward", (X, F(3, 3, 1, 4), 2), ValueError, "groups must divide the 3 channels"),
    Bad("M", "grouped_conv2d_forward", (X, F(3, 3, 1, 4), 3), ValueError, "groups must divide .* 4 filters"),
    Bad("0", "grouped_conv2d_forward", (X, F(3, 3, 3, 4), 0), ValueError, "groups must divide"),
    Bad("negative", "grouped_conv2d_forward", (X, F(3, 3, 3, 3), -3), ValueError, "groups must divide"),
    Bad("float", "grouped_conv2d_forward", (X, F(3, 3, 3, 3), 1.0), TypeError, "groups must be an integer; was 1.0"),
    Bad("bool", "grouped_conv2d_forward", (X, F(3, 3, 3, 3), True), TypeError, "groups must be an integer"),
    Bad("w", "grouped_conv2d_forward", (X, F(3, 3, 3, 3), 3), ValueError, "w must have length 1 along axis 2"),
    Bad("w rank", "pointwise_conv2d_forward", (X, F(1, 1, 3, 4)), ValueError, r"w must have 2 axes \(C M\)"),
    Bad("w rows", "pointwise_conv2d_forward", (X, F(4, 3)), ValueError, "w must have length 3 along axis 0"),
    Bad("x rank", "pointwise_conv2d_forward", (F(4, 3), F(3, 2)), ValueError, "x must have 4 axes"),
    Bad("x rank", "linear_forward", (X, F(3, 2), F(2)), ValueError, r"x must have 2 axes \(N C\)"),
    Bad("w rows", "linear_forward", (F(4, 3), F(2, 2), F(2)), ValueError, "w must have length 3 along axis 0"),
    Bad("b", "linear_forward", (F(4, 3), F(3, 2), F(1)), ValueError, "b must have length 2 along axis 0"),
    Bad("b rank", "linear_forward", (F(4, 3), F(3, 2), F(1, 2)), ValueError, "b must have 1 axes"),
    Bad("b dtype", "linear_forward", (F(4, 3), F(3, 2), F(2, dtype="f")), TypeError, "b must have the dtype"),
    Bad("x rank", "global_avg_pool_forward", (F(4, 3),), ValueError, "x must have 4 axes"),
    Bad("no pixels", "global_avg_pool_forward", (F(4, 0, 2, 3),), ValueError, "x must not be empty along H"),
    Bad("size 0", "avg_pool2d_forward", (X, 0), ValueError, "size must be at least 1"),
    Bad("size float", "avg_pool2d_forward", (X, 2.0), TypeError, "size must be an integer"),
    Bad("size bool", "avg_pool2d_forward", (X, True), TypeError, "size must be an integer"),
    Bad("stride 0", "avg_pool2d_forward", (X, 2, 0), ValueError, "stride must be at least 1"),
    Bad("only padding", "avg_pool2d_forward", (X, 2, 1, 2), ValueError, "padding must be less than size, 2; was 2"),
    Bad("too large", "avg_pool2d_forward", (X, 9), ValueError, "kernel must fit the padded image"),
    Bad("same", "pad_forward", (X, "same"), ValueError, r"padding must be an int or .* here; was 'same'"),
    Bad("negative", "pad_forward", (X, -1), ValueError, "padding must not be negative"),
    Bad("x", "pad_forward", (X[0], 1), ValueError, "x must have 4 axes"),
    Bad("x integer", "relu_forward", (np.arange(3),), TypeError, "x must be float32 or float64"),
    Bad("x a number", "relu6_forward", (1.0,), TypeError, "x must be a NumPy array; was float"),
    Bad("no axes", "relu6_forward", (np.array(1.0),), ValueError, "x must have at least 1 axes"),
    *(
        Bad(
            f"rate {rate}",
            "dropout_forward",
            (X, rate, np.random.default_rng(0)),
            ValueError,
            "rate must be at least 0",
        )
        for rate in (1.0, -0.1, 1.5, float("nan"))
    ),
    Bad("no rng", "dropout_forward", (X, 0.5, None), TypeError, "rng must be a numpy.random.Generator; was NoneType"),
    Bad("a seed", "dropout_forward", (X, 0.5, 3), TypeError, "rng must be a numpy.random.Generator; was int"),
    Bad("the module", "dropout_forward", (X, 0.5, np.random), TypeError, "rng must be a numpy.random.Generator"),
    Bad("x", "dropout_forward", ([1.0], 0.5, np.random.default_rng(0)), TypeError, "x must be a NumPy array"),
    Bad("logits rank", "softmax", (F(5),), ValueError, r"logits must have 2 axes \(N K\)"),
    Bad("logits integer", "softmax", (np.ones((2, 3), int),), TypeError, "logits must be float32 or float64"),
    Bad("no classes", "softmax", (F(2, 0),), ValueError, "logits must not be empty along K"),
]


def loss(what, error, match, logits=LOGITS, labels=LABELS, smoothing=0.0):
    return Bad(what, "softmax_cross_entropy", (logits, labels, smoothing), error, match)


LOSS = [
    loss("label too large", ValueError, "labels must lie between 0 and 4; they went from 1 to 5", labels=LABELS + 1),
    loss("label negative", ValueError, "labels must lie between 0 and 4; they went from -1", labels=LABELS - 1),
    loss("float labels", TypeError, "labels must be a plain NumPy array of integers; was float64", labels=LABELS * 1.0),
    loss("bool labels", TypeError, "labels must be .* was bool", labels=LABELS > 1),
    loss("list of labels", TypeError, "labels must be .* was list", labels=LABELS.tolist()),
    loss("string labels", TypeError, "labels must be .* was <U1", labels=np.array(list("abcd"))),
    loss("masked labels", TypeError, "labels must be a plain NumPy array", labels=np.ma.masked_array(LABELS)),
    loss("too few labels", ValueError, r"labels must have shape \(4,\).*was \(3,\)", labels=LABELS[:3]),
    loss("a column of labels", ValueError, r"labels must have shape \(4,\).*was \(4, 1\)", labels=LABELS[:, None]),
    loss("one-hot labels", ValueError, r"labels must have shape \(4,\)", labels=np.eye(5, dtype=int)[LABELS]),
    loss("empty batch", ValueError, "logits must hold at least one image", F(0, 5), np.zeros(0, int)),
    loss("logits rank", ValueError, "logits must have 2 axes", F(4, 5, 1)),
    loss("logits integer", TypeError, "logits must be float32 or float64", np.ones((4, 5), int)),
    *(
        loss(f"smoothing {s}", ValueError, "label_smoothing must lie between 0 and 1", smoothing=s)
        for s in (-0.1, 1.1, float("nan"), float("inf"))
    ),
]


@both(OTHERS + LOSS)
def test_refused_by_ops(module, case):
    with pytest.raises(case.error, match=case.match):
        getattr(module, case.name)(*case.arguments)


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"x": F(2, 5, 6, 4)}, ValueError, "gamma must have length 4"),
        ({"gamma": F(2)}, ValueError, "gamma must have length 3"),
        ({"mean": F(2)}, ValueError, "mean must have length 3"),
        ({"var": -np.ones(3)}, ValueError, "var must not be negative"),
        ({"eps": -1.0}, ValueError, "eps must not be negative"),
        ({"dout": X[:1]}, ValueError, "dout must have the shape"),
        ({"dout": X.astype("f")}, TypeError, "dout must have the dtype"),
    ],
)
def test_inference_backward(change, error, match):
    arguments = {"dout": X, "x": X, "gamma": F(3), "mean": F(3), "var": np.ones(3), "eps": 1e-5, **change}
    with pytest.raises(error, match=match):
        ops.batchnorm_inference_backward(**arguments)
    with pytest.raises(error, match=match):
        ops.batchnorm_relu6_inference_backward(**arguments, beta=F(3))


def test_there_are_more_than_forty_kinds():
    kinds = {(case.name, case.what) for case in TWINS + OTHERS + LOSS}
    assert len(kinds) == len(TWINS + OTHERS + LOSS) >= 120


# -- validate itself


def test_check_array_axes():
    assert check_array(X, "x", "N H W C") is X
    assert check_array(F(7), "x", "...").shape == (7,) and check_array(F(7, 2), "x", "... C").shape == (7, 2)
    with pytest.raises(ValueError, match=r"x must have at least 2 axes \(\.\.\. C\); its shape was \(7,\)"):
        check_array(F(7), "x", "... C")
    assert check_array(F(0, 3), "x", "N C").shape == (0, 3)
    assert check_array(F(3).view(Odd), "x", "C") is not None  # a harmless subclass
    with pytest.raises(TypeError, match="x must be float32 or float64; was complex128"):
        check_array(X.astype(complex), "x", "N H W C", compiled=True)


def test_check_length_and_dout():
    check_length(X, "x", 3, 3, "why")
    with pytest.raises(ValueError, match=r"x must have length 4 along axis 3 \(why\); its shape was \(2, 5, 6, 3\)"):
        check_length(X, "x", 3, 4, "why")
    assert check_dout(X, X.shape, X) is X
    with pytest.raises(TypeError, match="dout must have the dtype"):
        check_dout(X.astype(complex), X.shape, X, compiled=True)
