"""What every layer is: parameters, statistics, a forward, a backward, and layers inside it.

The layers themselves are in `layers.py`. The rules that all of them keep:

- ``layer(x)`` runs the forward and keeps the cache; ``layer.backward(dout)`` uses the cache up and returns dx.
  A second backward without a forward between raises: the cache is gone, and so is the memory it held.
- The backward *sets* ``p.grad`` of every parameter. Nothing accumulates, so nothing needs to be zeroed.
- `train()` and `eval()` change what batch norm and dropout do, and nothing else.
"""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from npmnv2.validate import Array, check_plain

ROLES = frozenset({"weight", "depthwise", "bias", "gamma", "beta"})


class Parameter:
    """An array that training changes, its gradient, and what it is for.

    Parameters
    ----------
    value : ndarray
    role : "weight", "depthwise", "bias", "gamma" or "beta"
        Optimisers decide by it what to decay: the published recipe leaves out depthwise kernels and batch norm.

    Raises
    ------
    ValueError
        For any other role.

    Examples
    --------
    >>> p = Parameter(np.zeros((3, 3, 8)), "depthwise")
    >>> p.value.shape, p.grad is None
    ((3, 3, 8), True)
    """

    def __init__(self, value: Array, role: str) -> None:
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(sorted(ROLES))}; was {role!r}")
        self.value = value
        self.grad: Array | None = None  # the shape of value, after a backward
        self.role = role


class Statistic:
    """An array that belongs to the state but has no gradient: a running mean or variance.

    Parameters
    ----------
    value : ndarray
    least : float
        The least that a value may be: 0 for a variance.

    Examples
    --------
    >>> Statistic(np.ones(4)).value.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, value: Array, least: float = -math.inf) -> None:
        self.value, self.least = value, least


class Layer:
    """What every layer can do. A subclass writes `forward` and `backward`; its parts are found among its attributes.

    Examples
    --------
    >>> from npmnv2.layers import Linear
    >>> layer = Linear(3, 2, rng=np.random.default_rng(0))
    >>> sorted(layer.state_dict()), layer(np.zeros((5, 3), np.float32)).shape
    (['b', 'w'], (5, 2))
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "backward" in vars(cls) and "backward_parameters" not in vars(cls):
            # an inherited one would pass by the new `backward`
            cls.backward_parameters = Layer.backward_parameters  # type: ignore[method-assign]

    def __init__(self) -> None:
        self.training = True
        self._cache: Any = None
        self._record: list[Array] | None = None

    def forward(self, x: Array) -> Array:
        """Compute the output and keep in `self._cache` what the backward needs."""
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        """Set the gradient of every parameter, return dL/dx."""
        raise NotImplementedError

    def backward_parameters(self, dout: Array) -> None:
        """Set the gradient of every parameter, as `backward` does, where nobody wants dL/dx: in front lie the images.

        What comes first in a network leaves it out: `Conv2d` and what holds it. To others this is `backward`.
        """
        self.backward(dout)

    def __call__(self, x: Array) -> Array:
        """Run `forward`; a copy of the output is kept for `activations` if it was asked for."""
        try:
            out = self.forward(x)
        except BaseException:
            self._forget()  # else a backward would use what an earlier forward left in layers that this one missed
            raise
        if self._record is not None:
            self._record.append(out.copy())
        return out

    def _forget(self) -> None:
        self._cache = None
        for child in self.children().values():
            child._forget()

    def _last_cache(self) -> Any:
        """The cache of the last forward. A backward sets it to None at its end, not before: dout may be refused."""
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it: one backward uses up the forward's cache"
            )
        return self._cache

    # -- the tree of parts

    def children(self) -> dict[str, "Layer"]:
        """The layers directly inside this one, by name, in the order they run."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Layer)}

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, "Layer"]]:
        """Every layer below this one with its dotted name, parents before children."""
        for name, child in self.children().items():
            yield prefix + name, child
            yield from child.named_layers(f"{prefix}{name}.")

    def _named(self, kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, part in vars(self).items():
            if isinstance(part, kind):
                yield prefix + name, part
        for name, child in self.children().items():
            yield from child._named(kind, f"{prefix}{name}.")

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter by its dotted name, in the order of the network."""
        return dict(self._named(Parameter))

    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of the network."""
        return list(self.named_parameters().values())

    # -- modes

    def train(self, training: bool = True) -> "Layer":
        """Enter training mode, for this layer and all inside it: batch statistics, running averages, dropout.

        Nothing is trained by this call. ``train(False)`` is `eval`.

        Parameters
        ----------
        training : bool
            True for training mode, False for eval mode.

        Returns
        -------
        Layer
            The layer itself, so that ``logits = model.train()(x)`` can be written.
        """
        self.training = training
        for child in self.children().values():
            child.train(training)
        return self

    def eval(self) -> "Layer":
        """Leave training mode: running statistics, no dropout, from now on. Returns the layer."""
        return self.train(False)

    # -- state

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and running statistic, by its dotted name."""
        return {name: part.value.copy() for name, part in self._state().items()}

    def _state(self) -> dict[str, Any]:
        return {**dict(self._named(Parameter)), **dict(self._named(Statistic))}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy every array in. All or nothing: an array that does not fit changes nothing and is one error.

        Parameters
        ----------
        state : mapping of name -> ndarray
            Exactly the names of `state_dict`, with the same shapes, in any float dtype (converted to the layer's).

        Raises
        ------
        ValueError
            Lists all that is missing, unknown (with the nearest name), misshapen, too large for the layer's dtype or
            negative where it is a variance, and the layer's own arrays that are read-only.
        TypeError
            If `state` is not a mapping, a name not a string or a value not a plain float array.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping of names to arrays; was {type(state).__name__}")
        own = self._state()
        problems = [f"missing: {name}" for name in own if name not in state]
        new = {}
        for name, value in state.items():
            if not isinstance(name, str):
                raise TypeError(f"state must have names that are strings; one was {name!r}")
            if isinstance(value, np.ndarray):
                check_plain(value, f"state[{name!r}]")
            if name not in own:
                near = difflib.get_close_matches(name, own, n=1)
                problems.append(f"unknown: {name}" + (f" (did you mean {near[0]}?)" if near else ""))
            elif not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                was = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
                raise TypeError(f"state[{name!r}] must be an array of floats; was {was}")
            elif value.shape != own[name].value.shape:
                problems.append(f"misshapen: {name} must be {own[name].value.shape}, was {value.shape}")
            else:
                new[name], problem = _converted(value, own[name])
                problems += [f"{problem}: {name}"] if problem else []
        if problems:
            shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
            raise ValueError(f"state does not fit this {type(self).__name__}:\n  " + "\n  ".join(shown))
        for name, value in new.items():
            own[name].value[...] = value

    # -- looking inside

    def activations(self, x: Array, names: Iterable[str]) -> dict[str, Array]:
        """Run a forward and return the outputs of the layers asked for.

        Parameters
        ----------
        x : ndarray
            As for the layer itself; the forward runs in the current mode.
        names : iterable of str
            Dotted names from `named_layers`, for example ``["b1.0.dw", "b1.0"]``.

        Returns
        -------
        dict of name -> ndarray
            Copies: what is done to them changes no gradient.

        Raises
        ------
        ValueError
            If there is no layer of that name (with the nearest one).
        """
        layers, names = dict(self.named_layers()), list(names)
        for name in names:
            if name not in layers:
                near = difflib.get_close_matches(str(name), layers, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"names must be names of layers; was {name!r}{hint}")
        try:
            for name in names:
                layers[name]._record = []
            self(x)
            return {name: layers[name]._record[-1] for name in names}  # type: ignore[index]
        finally:
            for name in names:
                layers[name]._record = None


def _converted(value: Array, part: Parameter | Statistic) -> tuple[Array, str]:
    """A copy of `value` in the dtype of `part`, and why it cannot be loaded there, if it cannot."""
    with np.errstate(over="ignore"):  # it is reported below
        new = value.astype(part.value.dtype)
    if (np.isfinite(value) & ~np.isfinite(new)).any():
        return new, f"too large for {new.dtype}"
    if isinstance(part, Statistic) and (new < part.least).any():
        return new, f"less than {part.least:g}"
    return new, "" if part.value.flags.writeable else "read-only here"


class Sequential(Layer):
    """Layers one after the other, by name.

    Parameters
    ----------
    layers : dict of str -> Layer
        In the order they run.

    Examples
    --------
    >>> from npmnv2.layers import ReLU6
    >>> net = Sequential({"a": ReLU6(), "b": ReLU6()})
    >>> net(np.array([[7.0, -1.0]])).tolist(), net.backward(np.array([[1.0, 1.0]])).tolist()
    ([[6.0, 0.0]], [[0.0, 0.0]])
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__()
        self.layers = dict(layers)

    def children(self) -> dict[str, Layer]:
        """The layers, by name, in the order they run."""
        return self.layers

    def forward(self, x: Array) -> Array:
        """Run every layer on the output of the one before."""
        for layer in self.layers.values():
            x = layer(x)
        return x

    def backward(self, dout: Array) -> Array:
        """Run every layer's backward, last first."""
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        return dout

    def backward_parameters(self, dout: Array) -> None:
        """The same, but what the first layer would return nobody wants."""
        layers = list(self.layers.values())
        for layer in reversed(layers[1:]):
            dout = layer.backward(dout)
        if layers:
            layers[0].backward_parameters(dout)
