"""The tools that judge gradients, judged: right ones accepted, wrong ones named, and nothing left changed."""

import numpy as np
import pytest

from npmnv2 import gradcheck, ops
from npmnv2.nn.layers import Linear

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=2)


def test_relative_error():
    error = gradcheck.relative_error
    assert error(np.array([3.0, 4.0]), np.array([3.0, 5.0])) == 0.2
    assert error(np.zeros(3), np.zeros(3)) == 0 and error(np.zeros(0), np.zeros(0)) == 0
    assert error(np.zeros(3), np.full(3, 1e-300)) == 1  # relative, however small
    assert error(np.ones(3), np.ones((3, 1))) == np.inf  # no broadcasting
    with np.errstate(invalid="ignore"):  # inf - inf
        for bad in (np.nan, np.inf):
            assert error(np.array([1.0, bad]), np.array([1.0, 2.0])) == np.inf
            assert error(np.array([1.0, bad]), np.array([1.0, bad])) == np.inf


def test_numerical_gradient_is_exact_for_linear_functions_and_large_steps():
    dout = RNG.normal(size=(3, 2))
    errors = {
        step: gradcheck.relative_error(
            gradcheck.numerical_gradient(lambda x: x @ W, X, dout, step),
            dout @ W.T,
        )
        for step in (1e-2, 1e-6)
    }
    assert errors[1e-2] < 1e-12 < errors[1e-6] < 1e-8


def test_an_input_from_the_same_seed_is_not_the_upstream_gradient():
    """Through a batch norm, ``dout = x`` has the gradient 0, of which a difference can find no digit."""
    x = np.random.default_rng(0).normal(size=(5, 3, 2, 2))
    errors = gradcheck.check(
        ops.batchnorm_forward, ops.batchnorm_backward, x, np.ones(2), np.zeros(2), step=1e-5, tolerance=1e-7
    )
    assert len(errors) == 3


def test_numerical_gradient_restores_its_input():
    x = X.copy()
    kept = []
    gradcheck.numerical_gradient(lambda z: kept.append(z) or z**2, x, np.ones_like(x) * 0.3)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(kept[-1], X)  # also the copy that f saw


def test_numerical_gradient_of_a_function_that_returns_its_input():
    """f may hand back the array that is nudged next: it must be copied before the next nudge."""
    dout = RNG.normal(size=X.shape)
    assert gradcheck.relative_error(gradcheck.numerical_gradient(lambda x: x, X, dout), dout) < 1e-12


def test_complex_step_is_exact():
    dout = RNG.normal(size=X.shape)
    exact = dout * (np.cos(X) * np.exp(np.sin(X)))
    assert (
        gradcheck.relative_error(gradcheck.complex_step_gradient(lambda z: np.exp(np.sin(z)), X, dout), exact) < 1e-15
    )


def test_adjoint_error():
    dout, v = RNG.normal(size=(3, 2)), RNG.normal(size=X.shape)
    right = dout @ W.T
    assert gradcheck.adjoint_error(dout, v @ W, [right], [v]) < 1e-15
    assert gradcheck.adjoint_error(dout, v @ W, [right * 1.001], [v]) > 1e-4
    assert gradcheck.adjoint_error(dout, v @ W, [right * np.nan], [v]) == np.inf
    assert gradcheck.adjoint_error(dout * 0, v @ W, [right * 0], [v]) == 0


def test_away_from_kinks():
    x = np.linspace(-1, 7, 1601)
    moved = gradcheck.away_from_kinks(x, margin=0.1)
    assert min(np.abs(moved).min(), np.abs(moved - 6).min()) >= 0.1 - 1e-12
    assert np.abs(moved - x).max() <= 0.1 + 1e-12
    np.testing.assert_array_equal(np.sign(moved[x != 0]), np.sign(x[x != 0]))  # nobody changes sides
    assert x[800] == 3.0 == moved[800]


@pytest.mark.parametrize("method", ["differences", "complex"])
def test_check_accepts_what_is_right(method):
    errors = gradcheck.check(ops.linear_forward, ops.linear_backward, X, W, B, method=method, names="xwb")
    assert [name for name, _ in errors] == ["dx", "dw", "db"]
    assert all(0 <= error < 1e-11 for _, error in errors)


@pytest.mark.parametrize("method", ["differences", "complex"])
def test_check_names_what_is_wrong(method):
    def backward(dout, cache):
        dx, dw, db = ops.linear_backward(dout, cache)
        return dx, dw * 1.01, db

    with pytest.raises(AssertionError, match=r"dw is wrong: relative error 9.9e-03") as complaint:
        gradcheck.check(ops.linear_forward, backward, X, W, B, method=method, names="xwb")
    assert method in str(complaint.value)


def test_a_direction_sees_every_gradient():
    """One error for all of them: each that is wrong shows in it, in the sign, the size, or as NaN."""
    forward, backward = ops.linear_forward, ops.linear_backward
    (error,) = gradcheck.check(forward, backward, X, W, B, method="direction")
    assert error[0] == "all" and 0 <= error[1] < 1e-8
    for k in range(3):
        for factor in (1.001, -1.0, 0.0, 1e6, np.nan, np.inf):

            def wrong(dout, cache, k=k, factor=factor):
                gradients = list(backward(dout, cache))
                gradients[k] = gradients[k] * factor
                return tuple(gradients)

            with (
                np.errstate(invalid="ignore"),
                pytest.raises(AssertionError, match=r"^all is wrong: .*allowed 1e-06 \(direction\)$"),
            ):
                gradcheck.check(forward, wrong, X, W, B, method="direction")


def test_a_direction_costs_two_forwards_and_moves_all_at_once():
    calls = []

    def forward(x, w):
        calls.append((x, w))
        return x @ w, (x, w)

    gradcheck.check(forward, lambda dout, c: (dout @ c[1].T, c[0].T @ dout), X, W, method="direction", step=0.5)
    (x, w), up, down = calls
    assert x is X and w is W
    for value, above, below in zip((X, W), up, down, strict=True):
        assert (above != value).all()
        np.testing.assert_allclose(above - value, value - below, rtol=1e-12)


def test_a_direction_leaves_alone_what_has_no_gradient():
    seen = []
    backward = lambda dout, cache: (dout @ W.T, None)  # noqa: E731
    gradcheck.check(lambda x, w: (seen.append(w) or x @ w, None), backward, X, W, method="direction")
    assert all(np.array_equal(w, W) for w in seen)
    assert gradcheck.check(lambda x: 0 * x, lambda dout: 0 * dout, X, method="direction") == (("all", 0.0),)
    with pytest.raises(AssertionError, match=r"^all is wrong: relative error 1.0e\+00"):
        gradcheck.check(lambda x: 3 * x, lambda dout: 0 * dout, X, method="direction")


def test_directional_derivative():
    """Of sum(sin(x) * w) it is cos(x) * w * v, summed, up to the square of the step."""
    w, v = RNG.normal(size=X.shape), RNG.normal(size=X.shape)
    found = gradcheck.directional_derivative(np.sin, [X], [v], w)
    assert found == pytest.approx(float(np.sum(np.cos(X) * w * v)), rel=1e-8)


def _layer():
    return Linear(4, 2, rng=np.random.default_rng(0), dtype=np.float64)


@pytest.mark.parametrize("method", ["differences", "direction"])
def test_check_layer(method):
    layer = _layer()
    before = {name: p.value for name, p in layer.named_parameters().items()}
    errors = gradcheck.check_layer(layer, X, method=method)
    assert [name for name, _ in errors] == (["all"] if method == "direction" else ["dx", "dw", "db"])
    assert all(p.value is before[name] for name, p in layer.named_parameters().items())  # they have their values back
    for name in ("w", "b"):
        layer = _layer()
        real = layer.backward

        def wrong(dout, layer=layer, real=real, name=name):
            dx = real(dout)
            part = getattr(layer, name)
            part.grad = part.grad * 1.01
            return dx

        layer.backward = wrong
        match = "^all is wrong" if method == "direction" else f"^d{name} is wrong"
        with pytest.raises(AssertionError, match=match):
            gradcheck.check_layer(layer, X, method=method)
        assert (layer.w.value == before["w"]).all()


def test_check_layer_wants_every_parameter_to_get_its_gradient_from_this_backward():
    layer = _layer()
    layer(X)
    layer.backward(RNG.normal(size=(3, 2)))  # which leaves gradients behind
    layer.backward = lambda dout: dout @ layer.w.value.T
    with pytest.raises(AssertionError, match=r"^backward must set the gradient of w; it is None$"):
        gradcheck.check_layer(layer, X)


def _returning(*gradients):
    return lambda dout, cache: gradients


def test_check_refuses_other_shapes_and_counts():
    right = ops.linear_backward(RNG.normal(size=(3, 2)), ops.linear_forward(X, W, B)[1])
    with pytest.raises(AssertionError, match=r"dw must have the shape of w, \(4, 2\); was \(2, 4\)"):
        gradcheck.check(ops.linear_forward, lambda d, c: (d @ W.T, (X.T @ d).T, d.sum(0)), X, W, B, names="xwb")
    with pytest.raises(AssertionError, match="backward returned 2 gradients for 3 inputs"):
        gradcheck.check(ops.linear_forward, _returning(*right[:2]), X, W, B)
    with pytest.raises(AssertionError, match=r"dx is wrong: relative error inf"):
        gradcheck.check(ops.linear_forward, lambda d, c: (d @ W.T * np.nan, X.T @ d, d.sum(0)), X, W, B, names="xwb")


def test_check_skips_inputs_without_a_gradient():
    errors = gradcheck.check(ops.linear_forward, lambda d, c: (d @ W.T, None, None), X, W, B, names="xwb")
    assert [name for name, _ in errors] == ["dx"]


def test_check_takes_a_forward_without_a_cache():
    gradcheck.check(lambda x: 3 * x, lambda dout: 3 * dout, X, tolerance=1e-11)


def test_check_draws_its_own_dout_and_it_is_not_ones():
    seen = []
    gradcheck.check(lambda x: 3 * x, lambda dout: seen.append(dout) or 3 * dout, X, seed=1)
    gradcheck.check(lambda x: 3 * x, lambda dout: seen.append(dout) or 3 * dout, X, seed=2)
    assert len(np.unique(seen)) == 2 * X.size


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"method": "backwards"}, ValueError, 'method must be "differences", "complex" or "direction"; was'),
        ({"names": "ab"}, ValueError, "names must name all 1 inputs"),
        ({"x": X.astype(np.float32)}, TypeError, "input0 must be a float64 array.*was float32 array"),
        ({"x": X.tolist()}, TypeError, "input0 must be a float64 array.*was list"),
        ({"x": X[:0]}, ValueError, r"input0 must not be empty: nothing would be checked; its shape was \(0, 4\)"),
    ],
)
def test_check_bad_arguments(change, error, match):
    options = {"x": X, **change}
    with pytest.raises(error, match=match):
        gradcheck.check(lambda x: 3 * x, lambda dout: 3 * dout, options.pop("x"), **options)


def test_check_needs_something_to_check():
    with pytest.raises(ValueError, match="inputs must hold at least one array"):
        gradcheck.check(lambda: np.ones(3), lambda dout: ())
    with pytest.raises(AssertionError, match="backward must return at least one gradient; all were None"):
        gradcheck.check(lambda x: 3 * x, lambda dout: None, X)


def _doubles_dout(dout, x):
    dout *= 2
    return 3 * dout  # wrong by a factor of 2, and so is the dout it would be compared with


def _zeroes_x(dout, x):
    x[...] = 0
    return dout * 0  # wrong, but right at 0, where the differences would then be taken


def test_check_refuses_a_backward_that_writes_to_its_arguments():
    with pytest.raises(AssertionError, match=r"^backward must not write to its arguments; it changed dout$"):
        gradcheck.check(lambda x: (3 * x, x), _doubles_dout, X.copy())
    with pytest.raises(AssertionError, match=r"^backward must not write to its arguments; it changed x$"):
        gradcheck.check(lambda x: (x**2, x), _zeroes_x, X.copy(), step=1e-5, names="x")


def test_check_refuses_a_forward_that_writes_to_its_arguments():
    def forward(x):
        x *= 2
        return x, None

    with pytest.raises(AssertionError, match=r"^forward must not write to its arguments; it changed input0$"):
        gradcheck.check(forward, lambda dout, cache: 2 * dout, X.copy())


def test_relative_error_of_integers_does_not_wrap_around():
    for dtype, a, b, error in ((np.uint8, 0, 255, 1.0), (np.int8, -128, 127, 255 / 128), (bool, True, False, 1.0)):
        assert gradcheck.relative_error(np.array([a], dtype), np.array([b], dtype)) == error


def test_adjoint_error_broadcasts_nothing():
    dout, v = np.ones((2, 3)), np.ones((2, 3))
    assert gradcheck.adjoint_error(dout, v, [dout], [v]) == 0
    assert gradcheck.adjoint_error(dout, v, [np.ones(3)], [v]) == np.inf  # a gradient of another shape
    assert gradcheck.adjoint_error(dout, np.ones(3), [dout], [v]) == np.inf


@pytest.mark.parametrize(
    "x, options, error, match",
    [
        (np.array([0, 6, 3]), {}, TypeError, "x must be an array of floats; was int64 array"),
        ([0.0], {}, TypeError, "x must be an array of floats; was list"),
        (X, {"margin": float("nan")}, ValueError, "margin must be positive; was nan"),
        (X, {"margin": 0.0}, ValueError, "margin must be positive"),
        (X, {"kinks": (0, 0.06)}, ValueError, r"kinks must lie at least 2 \* margin, 0.1, apart; was \(0, 0.06\)"),
    ],
)
def test_away_from_kinks_bad_arguments(x, options, error, match):
    with pytest.raises(error, match=match):
        gradcheck.away_from_kinks(x, **options)
