"""What every layer is: a forward, a backward, parameters and statistics, and layers inside it.

The layers themselves are in `layers.py`. The rules that all of them keep:

- ``layer(x)`` runs the forward and keeps the cache; ``layer.backward(dout)`` uses the cache up and returns dx.
  A second backward without a forward between raises: the cache is gone, and so is the memory it held.
- The backward *sets* ``p.grad`` of every parameter. Nothing accumulates, so nothing needs to be zeroed.
- `train()` and `eval()` change what batch norm and dropout do, and nothing else.
- A forward that fails leaves everything as it was: no cache, no statistic that has moved, no mask that was drawn.
"""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import singledispatch
from typing import Any

from npmnv2.backends import whole
from npmnv2.nn.parameter import Parameter, Statistic
from npmnv2.nn.recording import record
from npmnv2.nn.state_dict import load
from npmnv2.validate import Array

numbers = itertools.count(1)  # of the forwards, in the order in which they begin


class _Running(threading.local):
    """What this thread's running forwards have moved: how to put it back, while the outermost of them runs."""

    undo: list[Callable[[], None]] | None = None


_running = _Running()


def on_failure(put_back: Callable[[], None]) -> None:
    """Called by a forward that moves something that lasts: if it fails later, or one around it does, it is put back."""
    if _running.undo is not None:
        _running.undo.append(put_back)


@singledispatch
def printed(layer: "Layer") -> str:
    """A layer as text. How it is written stands in `printing.py`."""
    return object.__repr__(layer)


class Layer:
    """What every layer can do. A subclass writes `forward` and `backward`; its parts are found among its attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from npmnv2.nn.layers import Linear
    >>> layer = Linear(3, 2, rng=np.random.default_rng(0))
    >>> sorted(layer.state_dict()), layer(np.zeros((5, 3), np.float32)).shape
    (['b', 'w'], (5, 2))
    """

    def __init__(self) -> None:
        self.training = True
        self._cache: Any = None
        self._number = 0  # of its last forward

    def forward(self, x: Array) -> Array:
        """Compute the output and keep in `self._cache` what the backward needs."""
        raise NotImplementedError

    def backward(self, dout: Array) -> Array:
        """Set the gradient of every parameter, return dL/dx."""
        raise NotImplementedError

    def __call__(self, x: Array) -> Array:
        """Run `forward`, or what the backend has in place of exactly this layer (`backends.whole`)."""
        self._number = next(numbers)
        outermost = _running.undo is None
        undo = _running.undo = [] if _running.undo is None else _running.undo
        begun = len(undo)
        try:
            return whole(self).forward(x)
        except BaseException:
            self._forget()
            while len(undo) > begun:
                undo.pop()()
            raise
        finally:
            if outermost:
                _running.undo = None

    def _last_cache(self) -> Any:
        """The cache of the last forward. A backward sets it to None at its end, not before: dout may be refused."""
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it: one backward uses up the forward's cache"
            )
        return self._cache

    def _forget(self) -> None:
        """Drop the caches, here and inside."""
        self._cache = None
        for child in self.children().values():
            child._forget()

    # -- the tree of parts

    def __repr__(self) -> str:
        """One line, and below it the parts of a layer that is not exactly what its class says."""
        return printed(self)

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

    def state(self) -> dict[str, Parameter | Statistic]:
        """Every parameter, then every running statistic, by its dotted name: themselves, not copies."""
        return {**dict(self._named(Parameter)), **dict(self._named(Statistic))}

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

    # -- arrays in and out

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and running statistic, by its dotted name."""
        return {name: part.value.copy() for name, part in self.state().items()}

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
        load(self.state(), state, type(self).__name__)

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
        return record(self, x, names)
