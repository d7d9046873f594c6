"""What is odd but good: empty batches, NaN, any memory layout, read-only arrays; by NumPy and by the kernels alike."""

import numpy as np
import pytest
from test_bad_input import FORWARDS, LABELS, LOGITS, F, W, X, pairs, pairs_and_dtypes

from npmnv2 import kernels, ops

pytestmark = pytest.mark.usefixtures("one_thread")

EMPTY = {
    "conv2d": (F(0, 5, 6, 3), F(3, 3, 3, 4)),
    "conv2d_im2col": (F(0, 5, 6, 3), F(3, 3, 3, 4)),
    "grouped_conv2d": (F(0, 5, 6, 3), F(3, 3, 1, 3), 3),
    "depthwise_conv2d": (F(0, 5, 6, 3), W),
    "pointwise_conv2d": (F(0, 5, 6, 3), F(3, 4)),
    "relu": (F(0, 5, 6, 3),),
    "relu6": (F(0, 5, 6, 3),),
    "linear": (F(0, 3), F(3, 2), F(2)),
    "global_avg_pool": (F(0, 5, 6, 3),),
    "avg_pool2d": (F(0, 5, 6, 3), 2),
    "dropout": (F(0, 5), 0.5, np.random.default_rng(0)),
    "pad": (F(0, 5, 6, 3), 1),
}


def _tuple(value):
    return value if type(value) is tuple else (value,)


def _gradients(module, name, dout, cache):
    return _tuple(getattr(module, f"{name}_backward")(dout, cache))


@pairs_and_dtypes
def test_empty_batch(module, name, dtype):
    if name not in EMPTY:  # batch norm: a mean needs data
        with pytest.raises(ValueError, match="x must hold at least one value"):
            getattr(module, f"{name}_forward")(F(0, 5, 6, 3), F(3), F(3))
        return
    arguments = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in EMPTY[name]]
    full = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in FORWARDS[name]]
    out, cache = getattr(module, f"{name}_forward")(*arguments)
    expected, _ = getattr(module, f"{name}_forward")(*full)
    if name != "dropout":
        assert out.shape == (0, *expected.shape[1:])
    assert out.dtype == dtype
    inputs = [a for a in arguments if isinstance(a, np.ndarray)]
    for value, gradient in zip(inputs, _gradients(module, name, np.zeros_like(out), cache), strict=True):
        assert gradient.shape == value.shape and gradient.dtype == dtype
        assert not gradient.any()  # a sum of nothing


def test_empty_batch_through_fixed_statistics():
    x = F(0, 5, 6, 3)
    for module in (ops, kernels):
        assert module.batchnorm_inference(x, F(3), F(3), F(3), np.ones(3)).shape == x.shape
        assert module.batchnorm_relu6_inference(x, F(3), F(3), F(3), np.ones(3)).shape == x.shape
    assert ops.softmax(F(0, 4)).shape == (0, 4)
    dx, dgamma, dbeta = ops.batchnorm_inference_backward(x, x, F(3), F(3), np.ones(3))
    assert dx.shape == x.shape and not dgamma.any() and not dbeta.any()


@pairs_and_dtypes
def test_the_dtype_stays(module, name, dtype):
    arguments = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in FORWARDS[name]]
    out, cache = getattr(module, f"{name}_forward")(*arguments)
    assert out.dtype == dtype
    assert {g.dtype for g in _gradients(module, name, F(*out.shape, dtype=dtype), cache)} == {np.dtype(dtype)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("module", [ops, kernels], ids=["ops", "kernels"])
def test_nan_and_infinity_propagate(module, value):
    x = X.copy()
    x[0, 2, 3, 1] = value
    seen = module.depthwise_conv2d_forward(x, W, padding=1)[0]
    touched = ~np.isfinite(seen)
    expected = np.zeros(seen.shape, bool)
    expected[0, 1:4, 2:5, 1] = True  # every window that sees the pixel, no other channel, no other image
    np.testing.assert_array_equal(touched, expected)
    with np.errstate(invalid="ignore"):
        out, cache = module.batchnorm_forward(x, F(3), F(3))
        fused, fused_cache = module.batchnorm_relu6_forward(x, F(3), F(3))
        dx = module.batchnorm_backward(X, cache)[0]
    assert np.isnan(out[..., 1]).any() and np.isfinite(out[..., [0, 2]]).all()
    assert np.isnan(fused[..., 1]).any() and np.isfinite(fused[..., [0, 2]]).all()
    assert np.isnan(dx[..., 1]).any() and np.isfinite(dx[..., [0, 2]]).all()
    fixed = module.batchnorm_relu6_inference(x, np.ones(3), F(3), F(3), np.ones(3))
    assert np.array_equal(fixed[0, 2, 3, 1], {np.inf: 6.0, -np.inf: 0.0}.get(value, np.nan), equal_nan=True)


def _f_ordered(a):
    return np.asfortranarray(a)


def _strided(a):
    big = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(0, 2 * n, 2) for n in a.shape)]
    view[...] = a
    return view


def _backwards(a):
    return np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim]


def _transposed(a):
    return np.ascontiguousarray(a.T).T


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


LAYOUTS = {f.__name__[1:]: f for f in (_f_ordered, _strided, _backwards, _transposed, _read_only, _unaligned)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pairs
def test_any_memory_layout_gives_the_same(module, name, layout):
    def arguments(change):
        made = [change(a) if isinstance(a, np.ndarray) else a for a in FORWARDS[name]]
        return made if name != "dropout" else [*made[:2], np.random.default_rng(0)]

    forward = getattr(module, f"{name}_forward")
    out, cache = forward(*arguments(np.array))
    dout = F(*out.shape)
    expected = (out, *_gradients(module, name, dout, cache))
    given = arguments(LAYOUTS[layout])
    assert any(not a.flags.c_contiguous or not a.flags.writeable or not a.flags.aligned for a in given[:1])
    out, cache = forward(*given)
    found = (out, *_gradients(module, name, LAYOUTS[layout](dout), cache))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pairs
def test_inputs_are_left_alone_and_outputs_are_new(module, name):
    arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in FORWARDS[name]]
    inputs = [a for a in arguments if isinstance(a, np.ndarray)]
    before = [a.copy() for a in inputs]
    out, cache = getattr(module, f"{name}_forward")(*arguments)
    dout = F(*out.shape)
    dout_before = dout.copy()
    gradients = _gradients(module, name, dout, cache)
    for value, kept in zip([*inputs, dout], [*before, dout_before], strict=True):
        np.testing.assert_array_equal(value, kept)
    for result in (out, *gradients):
        assert not any(np.shares_memory(result, value) for value in (*inputs, dout)), "writing to it would harm"
    again = _gradients(module, name, dout, cache)  # the operations' caches are not used up: layers see to that
    for a, b in zip(gradients, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_functions_leave_their_inputs_alone():
    gamma, beta, mean, var, logits = F(3), F(3), F(3), np.ones(3), LOGITS.copy()
    kept = [a.copy() for a in (X, gamma, beta, mean, var, logits)]
    for module in (ops, kernels):
        assert not np.shares_memory(module.batchnorm_inference(X, gamma, beta, mean, var), X)
        assert not np.shares_memory(module.batchnorm_relu6_inference(X, gamma, beta, mean, var), X)
    ops.batchnorm_inference_backward(X, X, gamma, mean, var)
    assert not np.shares_memory(ops.softmax(logits), logits)
    assert not np.shares_memory(ops.softmax_cross_entropy(logits, LABELS, 0.1)[1], logits)
    for a, b in zip((X, gamma, beta, mean, var, logits), kept, strict=True):
        np.testing.assert_array_equal(a, b)
