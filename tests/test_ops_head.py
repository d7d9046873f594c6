"""What stands behind the last convolution: pooling, dropout, the linear layer, the loss."""

import math
import weakref

import numpy as np
import pytest

from npmnv2 import gradcheck, ops
from npmnv2.ops.padding import pad_forward
from npmnv2.shapes import taps

RNG = np.random.default_rng(0)

# -- pooling


def test_pools_and_padding_do_not_keep_the_image_in_memory():
    for forward in (
        ops.global_avg_pool_forward,
        lambda x: ops.avg_pool2d_forward(x, 2),
        lambda x: ops.pad_forward(x, 1),
    ):
        x = np.ones((2, 4, 4, 3))
        gone = weakref.ref(x)
        out, cache = forward(x)
        del x
        assert gone() is None  # not even a view of it, in the cache or elsewhere
        assert cache.like.size == 0 and cache.like.dtype == out.dtype


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (1, 7, 2, 2), (2, 1, 1, 4), (1, 1, 5, 2), (2, 4, 1, 1)])
def test_global_avg_pool(shape):
    x = RNG.normal(size=shape)
    gradcheck.check(ops.global_avg_pool_forward, ops.global_avg_pool_backward, x, tolerance=1e-11)
    out, _ = ops.global_avg_pool_forward(x)
    for n, c in np.ndindex(out.shape):
        assert out[n, c] == pytest.approx(sum(x[n, :, :, c].ravel().tolist()) / (shape[1] * shape[2]), rel=1e-12)


def test_long_sums_are_taken_in_float64():
    """A float32 sum of 2,250,000 times 0.1, one after the other, is 2 % off."""
    x = np.full((1, 1500, 1500, 2), 0.1, np.float32)
    one, rows = np.ones(2, np.float32), x.reshape(-1, 2)
    out, _ = ops.global_avg_pool_forward(x)
    _, _, db = ops.linear_backward(rows, ops.linear_forward(rows[:, :1], one[None], one)[1])
    _, dgamma, dbeta = ops.batchnorm_inference_backward(rows, rows + 1, one, one, one, eps=0.0)
    for found, expected in ((out, 0.1), (db, 225000), (dbeta, 225000), (dgamma, 22500)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


POOLS = [  # N, H, W, C; size, stride, padding
    *(
        ((2, 5, 8, 2), *pool)
        for pool in (
            *((2, None, 0), (3, 2, 1), (2, 3, 0), (3, 1, ((0, 2), (1, 0)))),
            *((2, 1, "same"), (3, 2, "same"), (1, 2, 0)),
        )
    ),
    # one window wide, one high, or the only one, and part of it padding
    ((2, 5, 2, 2), 3, 2, 1),
    ((2, 2, 5, 2), 3, 2, 1),
    ((1, 2, 2, 3), 3, 2, 1),
    ((1, 1, 1, 2), 3, 1, 1),
    ((2, 4, 1, 2), 2, 1, ((0, 0), (1, 0))),
    ((2, 1, 4, 2), 2, 1, ((0, 1), (0, 0))),
    ((1, 3, 2, 1), 4, 5, "same"),
    ((3, 2, 3, 1), 3, 7, ((1, 0), (0, 0))),
]


def check_avg_pool(backward, image, size, stride, padding):
    """Both directions, each against a definition: sums over windows, and differences of the forward."""
    x = np.random.default_rng([size, *image]).normal(size=image)
    forward = lambda x: ops.avg_pool2d_forward(x, size, stride, padding)  # noqa: E731
    gradcheck.check(forward, backward, x, tolerance=1e-11)
    out, cache = forward(x)
    (top, _), (left, _) = cache.geometry.pads
    step, (_, H, W, _) = size if stride is None else stride, image
    for n, y, xx, c in np.ndindex(out.shape):
        rows = [r for r in range(step * y - top, step * y - top + size) if 0 <= r < H]
        cols = [q for q in range(step * xx - left, step * xx - left + size) if 0 <= q < W]
        real = [x[n, r, q, c] for r in rows for q in cols]  # the padding is not counted
        assert out[n, y, xx, c] == pytest.approx(sum(real) / len(real), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("image, size, stride, padding", POOLS)
def test_avg_pool(image, size, stride, padding):
    check_avg_pool(ops.avg_pool2d_backward, image, size, stride, padding)


def pool_backward(count):
    """The right backward with another count: ``count(right, geometry)``, both of shape (1, OH, OW, 1)."""

    def backward(dout, cache):
        g = cache.geometry
        right = np.zeros((1, g.OH, g.OW, 1))
        ones, _ = pad_forward(np.ones((1, g.H, g.W, 1)), g.pads)
        for _, _, seen in taps(g):
            right += ones[seen]
        return ops.avg_pool2d_backward(dout * right / count(right, g), cache)

    return backward


POOL_MUTANTS = {
    "the whole window": lambda right, g: g.KH * g.KW,
    "the whole window where there is one column": lambda right, g: g.KH * g.KW if g.OW == 1 else right,
    "the whole window where there is one row": lambda right, g: g.KH * g.KW if g.OH == 1 else right,
    "the whole window where there is one": lambda right, g: g.KH * g.KW if g.OH == g.OW == 1 else right,
    "the first window's": lambda right, g: right[:, :1, :1],
    "the first row's": lambda right, g: right[:, :1],
    "the first column's": lambda right, g: right[:, :, :1],
    "the middle window's": lambda right, g: right[:, g.OH // 2 : g.OH // 2 + 1, g.OW // 2 : g.OW // 2 + 1],
    "the largest": lambda right, g: right.max(),
    "the windows that see a pixel": lambda right, g: np.full_like(right, g.OH * g.OW),
    "the image": lambda right, g: np.full_like(right, min(g.H, g.KH) * min(g.W, g.KW)),
}


def pool_verdict(backward):
    """Whether every pool of the table is content with a backward."""
    for pool in POOLS:
        try:
            check_avg_pool(backward, *pool)
        except AssertionError:
            return False
    return True


def test_the_right_count_is_not_rejected():
    assert pool_verdict(pool_backward(lambda right, g: right))


@pytest.mark.parametrize("mutant", POOL_MUTANTS)
def test_a_pool_that_divides_by_another_count_is_rejected(mutant):
    assert not pool_verdict(pool_backward(POOL_MUTANTS[mutant]))


# -- linear


@pytest.mark.parametrize("N, C, M", [(3, 4, 2), (1, 5, 1), (4, 1, 3)])
def test_linear(N, C, M):
    x, w, b = RNG.normal(size=(N, C)), RNG.normal(size=(C, M)), RNG.normal(size=M)
    gradcheck.check(ops.linear_forward, ops.linear_backward, x, w, b, tolerance=1e-11, names="xwb")
    out, _ = ops.linear_forward(x, w, b)
    for n, m in np.ndindex(out.shape):
        assert out[n, m] == pytest.approx(sum(x[n, c] * w[c, m] for c in range(C)) + b[m], rel=1e-12)


# -- dropout


def test_dropout_gradient_goes_through_the_same_mask():
    x = RNG.normal(size=(5, 7))
    gradcheck.check(
        lambda x: ops.dropout_forward(x, 0.4, np.random.default_rng(3)), ops.dropout_backward, x, tolerance=1e-11
    )


def test_dropout_drops_its_share_and_keeps_the_mean():
    x = np.full((400, 500), 3.0)
    out, _ = ops.dropout_forward(x, 0.2, np.random.default_rng(0))
    assert set(np.unique(out)) == {0.0, 3.0 / 0.8}
    assert np.mean(out == 0) == pytest.approx(0.2, abs=0.005)  # five standard deviations
    assert out.mean() == pytest.approx(3.0, abs=0.02)
    np.testing.assert_array_equal(ops.dropout_forward(x, 0.0, np.random.default_rng(0))[0], x)


def test_dropout_mask_belongs_to_the_generator():
    x = RNG.normal(size=(6, 7))
    first, again, other = (ops.dropout_forward(x, 0.5, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    single, _ = ops.dropout_forward(x.astype(np.float32), 0.5, np.random.default_rng(1))
    np.testing.assert_array_equal(single == 0, first == 0)  # the same mask in either precision


# -- softmax and cross-entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("N, K", [(1, 2), (4, 5), (3, 1)])
def test_cross_entropy_gradient_by_complex_step(N, K, smoothing):
    logits, labels = RNG.normal(size=(N, K)) * 3, RNG.integers(0, K, N)
    gradcheck.check(
        lambda z: ops.softmax_cross_entropy(z, labels, smoothing),
        lambda dloss, dlogits: dloss * dlogits,
        logits,
        method="complex",
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_by_the_definition(smoothing):
    N, K = 4, 5
    logits, labels = RNG.normal(size=(N, K)), RNG.integers(0, K, N)
    p = ops.softmax(logits)
    total = 0.0
    for n in range(N):
        exponentials = [math.exp(z) for z in logits[n]]
        for k in range(K):
            probability = exponentials[k] / sum(exponentials)
            assert p[n, k] == pytest.approx(probability, rel=1e-13)
            total -= ((1 - smoothing) * (k == labels[n]) + smoothing / K) * math.log(probability)
    loss, dlogits = ops.softmax_cross_entropy(logits, labels, smoothing)
    assert loss == pytest.approx(total / N, rel=1e-13)
    np.testing.assert_allclose(dlogits.sum(axis=1), 0, atol=1e-15)  # a shift of all logits changes nothing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_huge_logits_is_finite(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [-1e30, 1e30, 0.0]], dtype)
    loss, dlogits = ops.softmax_cross_entropy(logits, np.array([0, 1]))
    assert loss == 0 and np.isfinite(dlogits).all()
    wrong, dlogits = ops.softmax_cross_entropy(logits[:1], np.array([1]))
    assert wrong == 2e4 and dlogits.tolist() == [[1, -1, 0]]
    assert wrong.dtype == dlogits.dtype == dtype
    np.testing.assert_array_equal(ops.softmax(logits), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("row", [[0.0, -np.inf], [3e38, -3e38]])
def test_a_class_that_is_not_the_target_adds_nothing_however_unlikely(row):
    """Its log p is -inf, and 0 * -inf would be NaN."""
    with np.errstate(over="ignore"):  # 3e38 + 3e38
        loss, dlogits = ops.softmax_cross_entropy(np.array([row], np.float32), np.array([0]))
        worst, _ = ops.softmax_cross_entropy(np.array([row], np.float32), np.array([1]))
    assert loss == 0 and dlogits.tolist() == [[0, 0]] and loss.dtype == np.float32
    assert worst == np.inf
    assert np.isnan(ops.softmax_cross_entropy(np.array([[0.0, np.nan]]), np.array([0]))[0])


def test_labels_may_have_any_integer_type():
    logits = RNG.normal(size=(3, 4))
    expected = ops.softmax_cross_entropy(logits, np.array([0, 3, 1]))
    for dtype in (np.uint8, np.int16, np.int32, np.uint64):
        loss, dlogits = ops.softmax_cross_entropy(logits, np.array([0, 3, 1], dtype))
        assert loss == expected[0] and (dlogits == expected[1]).all()
