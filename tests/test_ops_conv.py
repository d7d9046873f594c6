"""The convolutions and padding: gradients against differences, and what is equal to what."""

import ast
import importlib
import inspect
import textwrap

import numpy as np
import pytest
from cases import CONVS, check_conv, check_depthwise, convs, implementations

from npmnv2 import gradcheck, ops
from npmnv2.gradcheck import relative_error
from npmnv2.ops import conv, depthwise

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)

# -- gradients: linear in x and in w, so differences with a large step are exact to rounding


@pytest.mark.parametrize("case", **convs)
def test_conv2d_gradients(case):
    check_conv(ops.conv2d_forward, ops.conv2d_backward, case, (*case.kernel, case.image[3], 2))


@pytest.mark.parametrize("case", **convs)
def test_im2col_gradients(case):
    check_conv(ops.conv2d_im2col_forward, ops.conv2d_im2col_backward, case, (*case.kernel, case.image[3], 2))


@pytest.mark.parametrize("case", **convs)
@pytest.mark.parametrize("backend", ["ops", "kernels"])
def test_depthwise_gradients(case, backend):
    forward, backward = (
        implementations(f"depthwise_conv2d_{direction}")[backend == "kernels"] for direction in ("forward", "backward")
    )
    check_depthwise(forward, backward, case)


@pytest.mark.parametrize("groups, C, M", [(1, 2, 3), (2, 4, 6), (3, 3, 3), (3, 3, 6), (2, 6, 2)])
@pytest.mark.parametrize("case", [CONVS[2], CONVS[4], CONVS[6], CONVS[9]], ids=lambda case: case.name)
def test_grouped_gradients(case, groups, C, M):
    case = case._replace(image=(1, *case.image[1:3], C))
    w_shape = (*case.kernel, C // groups, M)
    check_conv(ops.grouped_conv2d_forward, ops.grouped_conv2d_backward, case, w_shape, groups=groups)


@pytest.mark.parametrize("N, H, W, C, M", [(2, 3, 4, 3, 5), (1, 1, 6, 4, 1), (3, 2, 1, 1, 2)])
def test_pointwise_gradients(N, H, W, C, M):
    x, w = RNG.normal(size=(N, H, W, C)), RNG.normal(size=(C, M))
    gradcheck.check(ops.pointwise_conv2d_forward, ops.pointwise_conv2d_backward, x, w, tolerance=1e-11)


@pytest.mark.parametrize("padding", [0, 2, ((1, 0), (0, 2)), ((0, 3), (1, 2))])
def test_pad_gradients(padding):
    x = RNG.normal(size=(2, 3, 4, 2))
    gradcheck.check(lambda x: ops.pad_forward(x, padding), ops.pad_backward, x, tolerance=1e-11)


def test_padding_puts_the_zeros_where_it_says():
    x = RNG.normal(size=(2, 3, 4, 2))
    for padding in (2, ((1, 0), (0, 2)), ((0, 3), (1, 2))):
        pads = ((padding, padding), (padding, padding)) if isinstance(padding, int) else padding
        np.testing.assert_array_equal(ops.pad_forward(x, padding)[0], np.pad(x, ((0, 0), *pads, (0, 0))))
    assert ops.pad_forward(x, 0)[0] is x  # nothing to add, nothing copied: as its docstring says


# -- forwards, by the definition: one sum for one output value, Python loops, no slices


@pytest.mark.parametrize("case", **convs)
def test_forwards_by_the_definition(case):
    (_, H, W, C), (KH, KW), M = case.image, case.kernel, 2
    x, w = RNG.normal(size=case.image), RNG.normal(size=(KH, KW, C, M))
    out, cache = ops.conv2d_forward(x, w, **case.options)
    (top, _), (left, _) = cache.geometry.pads
    s, d = case.stride, case.dilation
    expected = np.zeros(out.shape)
    for n, y, xx, m in np.ndindex(out.shape):
        for i, j in np.ndindex(KH, KW):
            row, col = s * y + d * i - top, s * xx + d * j - left
            if 0 <= row < H and 0 <= col < W:
                expected[n, y, xx, m] += sum(x[n, row, col, c] * w[i, j, c, m] for c in range(C))
    assert relative_error(out, expected) < 1e-14


# -- equalities

EQUAL_TO_ROUNDING = 1e-14


@pytest.mark.parametrize("case", **convs)
def test_im2col_is_the_tap_loop(case):
    x, w = RNG.normal(size=case.image), RNG.normal(size=(*case.kernel, case.image[3], 4))
    out, cache = ops.conv2d_forward(x, w, **case.options)
    fast, fast_cache = ops.conv2d_im2col_forward(x, w, **case.options)
    dout = RNG.normal(size=out.shape)
    assert fast_cache.geometry == cache.geometry
    assert relative_error(out, fast) < EQUAL_TO_ROUNDING
    slow = ops.conv2d_backward(dout, cache)
    for backward, its in ((ops.conv2d_im2col_backward, fast_cache), (ops.conv2d_im2col_backward, cache)):
        for a, b in zip(slow, backward(dout, its), strict=True):
            assert relative_error(a, b) < EQUAL_TO_ROUNDING


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", **convs)
def test_depthwise_is_a_convolution_with_diagonal_taps(case, dtype):
    """To the bit in the forward and in dx: the other products are zeros, and adding zeros does not round.

    dw sums over pixels in another order than a matrix product does, so there the diagonal is equal to rounding.
    """
    C = case.image[3]
    x, w = RNG.normal(size=case.image).astype(dtype), RNG.normal(size=(*case.kernel, C)).astype(dtype)
    diagonal = np.zeros((*case.kernel, C, C), dtype)
    diagonal[..., np.arange(C), np.arange(C)] = w
    out, cache = ops.depthwise_conv2d_forward(x, w, **case.options)
    standard, standard_cache = ops.conv2d_forward(x, diagonal, **case.options)
    np.testing.assert_array_max_ulp(out, standard, 1)
    dout = RNG.normal(size=out.shape).astype(dtype)
    dx, dw = ops.depthwise_conv2d_backward(dout, cache)
    standard_dx, standard_dw = ops.conv2d_backward(dout, standard_cache)
    np.testing.assert_array_max_ulp(dx, standard_dx, 1)
    assert relative_error(dw, standard_dw[..., np.arange(C), np.arange(C)]) < 50 * np.finfo(dtype).eps


@pytest.mark.parametrize("case", **convs)
def test_grouped_contains_standard_and_depthwise(case):
    C = case.image[3]
    x, w = RNG.normal(size=case.image), RNG.normal(size=(*case.kernel, C, 5))
    depth = RNG.normal(size=(*case.kernel, C))
    pairs = (
        (ops.conv2d_forward(x, w, **case.options), ops.conv2d_backward, w, 1),
        (ops.depthwise_conv2d_forward(x, depth, **case.options), ops.depthwise_conv2d_backward, depth[:, :, None], C),
    )
    for (out, cache), backward, grouped_w, groups in pairs:
        grouped, grouped_cache = ops.grouped_conv2d_forward(x, grouped_w, groups, **case.options)
        assert relative_error(grouped, out) < EQUAL_TO_ROUNDING
        dout = RNG.normal(size=out.shape)
        dx, dw = backward(dout, cache)
        grouped_dx, grouped_dw = ops.grouped_conv2d_backward(dout, grouped_cache)
        assert relative_error(grouped_dx, dx) < EQUAL_TO_ROUNDING
        assert relative_error(grouped_dw.reshape(dw.shape), dw) < EQUAL_TO_ROUNDING


def test_pointwise_is_a_convolution_with_one_tap():
    x, w = RNG.normal(size=(2, 3, 5, 4)), RNG.normal(size=(4, 6))
    out, cache = ops.pointwise_conv2d_forward(x, w)
    standard, standard_cache = ops.conv2d_forward(x, w[None, None])
    assert relative_error(out, standard) < EQUAL_TO_ROUNDING
    dout = RNG.normal(size=out.shape)
    (dx, dw), (standard_dx, standard_dw) = (
        ops.pointwise_conv2d_backward(dout, cache),
        ops.conv2d_backward(dout, standard_cache),
    )
    assert relative_error(dx, standard_dx) < EQUAL_TO_ROUNDING
    assert relative_error(dw, standard_dw[0, 0]) < EQUAL_TO_ROUNDING


def test_a_separable_pair_is_a_standard_convolution_of_rank_one():
    """Depthwise, then pointwise: w[i, j, c, m] = depth[i, j, c] * point[c, m]. What V1 factorises."""
    x, depth, point = RNG.normal(size=(2, 6, 7, 3)), RNG.normal(size=(3, 3, 3)), RNG.normal(size=(3, 5))
    pair = ops.pointwise_conv2d_forward(ops.depthwise_conv2d_forward(x, depth, 2, 1)[0], point)[0]
    assert relative_error(pair, ops.conv2d_forward(x, depth[..., None] * point, 2, 1)[0]) < EQUAL_TO_ROUNDING


# -- the two files read as one loop with one operator changed


def _lines(function):
    """The statements of a function without its docstring, its name made neutral."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert ast.get_docstring(tree)
    tree.body = tree.body[1:]
    return ast.unparse(tree).replace("depthwise_conv2d", "conv2d").replace("DepthwiseCache", "Conv2dCache").split("\n")


def test_one_loop_one_operator():
    pairs = []
    for name in ("forward", "backward"):
        standard = _lines(getattr(conv, f"conv2d_{name}"))
        depth = _lines(getattr(depthwise, f"depthwise_conv2d_{name}"))
        assert len(standard) == len(depth)
        pairs += [(a.strip(), b.strip()) for a, b in zip(standard, depth, strict=True) if a != b]
    axes = [
        ("w = check_array(w, 'w', 'KH KW C M', like=x)", "w = check_array(w, 'w', 'KH KW C', like=x)"),
        ("KH, KW, C, M = w.shape", "KH, KW, C = w.shape"),
        (
            "out = np.zeros((N, geometry.OH, geometry.OW, M), x.dtype)",
            "out = np.zeros((N, geometry.OH, geometry.OW, C), x.dtype)",
        ),
        (
            "dout = check_dout(dout, (N, geometry.OH, geometry.OW, M), x)",
            "dout = check_dout(dout, (N, geometry.OH, geometry.OW, C), x)",
        ),
    ]
    assert [pair for pair in pairs if pair not in axes] == [
        ("out += tap @ w[i, j]", "out += tap * w[i, j]"),
        (
            "dw[i, j] = np.einsum('nyxc,nyxm->cm', tap, dout, optimize=True)",
            "dw[i, j] = np.einsum('nyxc,nyxc->c', tap, dout)",
        ),
        ("dxp[seen] += dout @ w[i, j].T", "dxp[seen] += dout * w[i, j]"),
    ]
    assert len(pairs) == 8  # the three above, and five lines that name the axes of w


@pytest.mark.parametrize("backward", [ops.conv2d_im2col_backward, ops.avg_pool2d_backward])
def test_no_image_is_padded_to_learn_a_shape(backward, monkeypatch):
    """A backward pads what it multiplies by, and the ones of a count; the shape of dxp is known without an image."""
    padded = []

    def note(x, pads):
        padded.append(x.shape)
        return ops.pad_forward(x, pads)

    for module in ("im2col", "pool"):  # by import_module: the function `ops.im2col` hides its module
        monkeypatch.setattr(importlib.import_module(f"npmnv2.ops.{module}"), "pad_forward", note)
    x, w = np.random.default_rng(0).normal(size=(2, 5, 6, 3)), np.random.default_rng(1).normal(size=(3, 3, 3, 2))
    conv = backward is ops.conv2d_im2col_backward
    out, cache = ops.conv2d_im2col_forward(x, w, padding=1) if conv else ops.avg_pool2d_forward(x, 3, padding=1)
    padded.clear()
    backward(out, cache)
    assert padded == [x.shape if conv else (1, 5, 6, 1)]
