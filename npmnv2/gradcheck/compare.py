"""Compare the gradients that a backward returns with numerical ones, for your own functions and layers too.

Three lines check an operation written in the style of this package (``forward(...) -> out, cache`` and
``backward(dout, cache) -> gradients``)::

    from npmnv2 import gradcheck
    errors = gradcheck.check(my_forward, my_backward, x, w, names="xw")
    print(errors)               # (('dx', 3e-14), ('dw', 8e-14)), or an AssertionError that says which is wrong

How the numerical ones are found is in `methods.py`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npmnv2.gradcheck.methods import (
    Array,
    Function,
    complex_step_gradient,
    directional_derivative,
    kind,
    numerical_gradient,
    relative_error,
)


def check(
    forward: Function,
    backward: Function,
    *inputs: Array,
    method: str = "differences",
    step: float | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> tuple[tuple[str, float], ...]:
    """Compare every gradient that `backward` returns with a numerical one.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> (out, cache)``, or just ``out`` if there is no cache.
    backward : callable
        ``backward(dout, cache) -> gradients``, one for each input, in order; None for an input without a gradient.
        Without a cache it is called as ``backward(dout)``.
    *inputs : ndarray of float64
        Small ones, unless the method is "direction": every element is nudged.
    method : "differences", "complex" or "direction"
        Central differences suit everything; the complex step is exact, for smooth functions. "direction" moves all
        inputs at once, along one random direction (`directional_derivative`): two forwards at any size, and one error
        for all gradients together.
    step : float, optional
        Default 1e-2 for differences, which is right for linear functions; use about 1e-5 for curved ones. Default 1e-6
        for a direction; use 1e-8 or less for a network, where some of thousands of ReLU6 would change sides: an error
        that falls with the step is theirs, and not the gradient's.
    tolerance : float, optional
        Default 1e-7 for differences, 1e-12 for the complex step, 1e-6 for a direction. Linear functions reach 1e-11.
    seed : int
        For the random upstream gradient, and the direction.
    names : sequence of str, optional
        How to call the inputs in the result.

    Returns
    -------
    tuple of (name, error)
        The `relative_error` of each gradient. Of a direction one error, called "all": the difference of the two sides
        relative to ``sqrt(sum of all gradients squared)``, which is as large as ``<gradients, v>`` is for a random v.
        A mistake that is small beside all gradients together does not show in it, nor which of them is wrong.

    Raises
    ------
    AssertionError
        If a gradient has the wrong shape or is off by more than `tolerance`; the message says which and by how much.
        Also if every gradient is None, or if `forward` or `backward` writes to its arguments: what was compared would
        not be what was asked for.
    ValueError, TypeError
        For an unknown method, or inputs that are not float64 arrays with something in them.

    Examples
    --------
    >>> from npmnv2.ops import linear_backward, linear_forward
    >>> rng = np.random.default_rng(0)
    >>> x, w, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)
    >>> [name for name, error in check(linear_forward, linear_backward, x, w, b, tolerance=1e-11, names="xwb")]
    ['dx', 'dw', 'db']
    >>> [name for name, error in check(linear_forward, linear_backward, x, w, b, method="direction")]
    ['all']
    """
    defaults = {"differences": (1e-2, 1e-7), "complex": (1e-30, 1e-12), "direction": (1e-6, 1e-6)}
    if method not in defaults:
        raise ValueError(f'method must be "differences", "complex" or "direction"; was {method!r}')
    step = defaults[method][0] if step is None else step
    tolerance = defaults[method][1] if tolerance is None else tolerance
    names = [f"input{k}" for k in range(len(inputs))] if names is None else list(names)
    _check_inputs(names, inputs)

    rng = np.random.default_rng([seed, 1])  # the caller may have drawn x from [seed], and dout would be x
    kept = [value.copy() for value in inputs]
    out, *cache = _as_tuple(forward(*inputs))
    _check_unchanged("forward", names, inputs, kept)
    dout = rng.normal(size=np.shape(out))
    kept_dout = np.copy(dout)
    gradients = _as_tuple(backward(dout, *cache))
    _check_unchanged("backward", [*names, "dout"], [*inputs, dout], [*kept, kept_dout])
    _check_gradients(names, inputs, gradients)

    def f(*arguments: Array) -> Any:
        return _as_tuple(forward(*arguments))[0]

    if method == "direction":
        errors = [("all", _direction_error(f, inputs, gradients, dout, step, rng))]
    else:
        errors = []
        # the complex step changes one input, but the operations ask for one dtype throughout
        others = [value.astype(np.complex128) for value in inputs] if method == "complex" else inputs
        numerical = complex_step_gradient if method == "complex" else numerical_gradient
        for k, gradient in enumerate(gradients):
            if gradient is not None:

                def of_one(changed: Array, k: int = k) -> Any:
                    return f(*others[:k], changed, *others[k + 1 :])

                error = relative_error(gradient, numerical(of_one, inputs[k], dout, step))
                errors.append((f"d{names[k]}", error))
    for name, error in errors:
        if not error <= tolerance:
            raise AssertionError(f"{name} is wrong: relative error {error:.1e}, allowed {tolerance:.0e} ({method})")
    return tuple(errors)


def check_layer(layer: Any, x: Array, **options: Any) -> tuple[tuple[str, float], ...]:
    """`check` for a layer, a block or a network: its gradient with respect to x and to each of its parameters.

    Parameters
    ----------
    layer : Layer
        In float64. Anything serves that is called with x, has a ``backward(dout)``, and ``named_parameters()`` with a
        `value` and a `grad` each. It must compute the same each time: no dropout while training.
    x : ndarray of float64
    **options
        `method`, `step`, `tolerance` and `seed` of `check`.

    Returns
    -------
    tuple of (name, error)
        As `check`; the names are those of the parameters.

    Raises
    ------
    AssertionError, ValueError, TypeError
        As `check`; also if a backward leaves a parameter without a gradient.

    Notes
    -----
    The parameters have their values back afterwards. Running statistics have moved, as by any forward.

    Examples
    --------
    >>> from npmnv2.nn.layers import Linear
    >>> layer = Linear(3, 2, rng=np.random.default_rng(0), dtype=np.float64)
    >>> [name for name, error in check_layer(layer, np.array([[1.0, 2.0, 3.0]]))]
    ['dx', 'dw', 'db']
    """
    parameters = layer.named_parameters()
    values = [p.value for p in parameters.values()]

    def forward(x: Array, *values: Array) -> Any:
        for p, value in zip(parameters.values(), values, strict=True):
            p.value = value
        return layer(x)

    def backward(dout: Array) -> Any:
        for p in parameters.values():
            p.grad = None  # what an earlier backward has left
        dx = layer.backward(dout)
        for name, p in parameters.items():
            if p.grad is None:
                raise AssertionError(f"backward must set the gradient of {name}; it is None")
        return (dx, *(p.grad for p in parameters.values()))

    try:
        return check(forward, backward, x, *values, names=["x", *parameters], **options)
    finally:
        for p, value in zip(parameters.values(), values, strict=True):
            p.value = value


def _direction_error(
    f: Function,
    inputs: Sequence[Array],
    gradients: Sequence[Array | None],
    dout: Array,
    step: float,
    rng: np.random.Generator,
) -> float:
    pairs = list(zip(inputs, gradients, strict=True))  # an input without a gradient is not moved
    g = [np.zeros(x.shape) if gradient is None else gradient for x, gradient in pairs]
    v = [np.zeros(x.shape) if gradient is None else np.asarray(rng.normal(size=x.shape)) for x, gradient in pairs]
    measured = directional_derivative(f, inputs, v, dout, step)
    predicted = sum(float(np.sum(a * b)) for a, b in zip(g, v, strict=True))
    largest = max(float(np.abs(a).max(initial=0.0)) for a in g) or 1.0  # a square of it may be beyond all numbers
    size = largest * float(np.sqrt(sum(float(np.sum((a / largest) ** 2)) for a in g)))
    scale = max(abs(measured), size)
    error = abs(measured - predicted) / scale if scale else 0.0
    return error if np.isfinite(error) and np.isfinite(scale) else float("inf")


def _check_inputs(names: Sequence[str], inputs: Sequence[Array]) -> None:
    if len(names) != len(inputs):
        raise ValueError(f"names must name all {len(inputs)} inputs; was {names!r}")
    if not inputs:
        raise ValueError("inputs must hold at least one array to check; there was none")
    for name, value in zip(names, inputs, strict=True):
        if not isinstance(value, np.ndarray) or value.dtype != np.float64:
            raise TypeError(f"{name} must be a float64 array, for differences to mean something; was {kind(value)}")
        if value.size == 0:
            raise ValueError(f"{name} must not be empty: nothing would be checked; its shape was {value.shape}")


def _check_gradients(names: Sequence[str], inputs: Sequence[Array], gradients: Sequence[Array | None]) -> None:
    if len(gradients) != len(inputs):
        raise AssertionError(f"backward returned {len(gradients)} gradients for {len(inputs)} inputs")
    if all(gradient is None for gradient in gradients):
        raise AssertionError("backward must return at least one gradient; all were None")
    for name, value, gradient in zip(names, inputs, gradients, strict=True):
        if gradient is not None and np.shape(gradient) != value.shape:
            raise AssertionError(f"d{name} must have the shape of {name}, {value.shape}; was {np.shape(gradient)}")
        if gradient is not None and np.asarray(gradient).dtype.kind not in "fiu":
            raise AssertionError(f"d{name} must hold real numbers; was {np.asarray(gradient).dtype}")


def _check_unchanged(who: str, names: Sequence[str], values: Sequence[Array], kept: Sequence[Array]) -> None:
    for name, value, before in zip(names, values, kept, strict=True):
        if not np.array_equal(value, before, equal_nan=True):
            raise AssertionError(f"{who} must not write to its arguments; it changed {name}")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """`value` if it is a plain tuple, else a tuple of it alone (a cache is a NamedTuple, but never comes alone)."""
    return value if type(value) is tuple else (value,)
