"""Which implementation runs: the plain NumPy of `ops/` and `nn/`, or what somebody has put in its place.

The choice is the caller's, and explicit::

    with npmnv2.backend("numpy"):
        logits = model(x)                # every line of it can be stepped through in a debugger

A backend answers two questions. A layer asks the first: "what is your version of this operation?" `Layer.__call__`
(and `Optimizer.step`) asks the second: "do you have exactly this one as a whole?" ``"numpy"`` answers no to both.
Others are attached from outside (`attach`), and nothing here or below knows what they are. There is no fallback: a
backend that cannot be imported is an error.
"""

import contextvars
import functools
import importlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

_attached: dict[str, str] = {}  # the module that answers for a backend, by the backend's name
# The choices of the `with` blocks around the caller, innermost last; empty: the default. A context variable, not a
# global: each thread, and each async task, has its own value of it.
_chosen: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("npmnv2_backend", default=())
_default = ["numpy"]

Operation = TypeVar("Operation", bound=Callable[..., Any])


def attach(name: str, module: str) -> None:
    """Make another backend known, and the default; its module is imported when it is first asked.

    Parameters
    ----------
    name : str
    module : str
        The dotted name of a module with ``implementation(operation)`` and ``whole(thing)``, as here, that answers the
        operation or the thing itself where it has nothing better.

    Raises
    ------
    ValueError
        If there is a backend of that name.
    """
    if name in names():
        raise ValueError(f"name must be that of no backend yet; was {name!r}")
    _attached[name] = module
    _default[0] = name


def set_default(name: str) -> None:
    """Use one implementation wherever nobody has chosen another, in every thread.

    Parameters
    ----------
    name : str
        ``"numpy"``, or one that is attached.

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> set_default("torch")
    Traceback (most recent call last):
        ...
    ValueError: name must be "numpy" or "numba"; was 'torch'
    """
    _default[0] = _check(name)


def names() -> list[str]:
    """What `backend` takes.

    Examples
    --------
    >>> names()
    ['numpy', 'numba']
    """
    return ["numpy", *_attached]


class backend:
    """Use one implementation inside a ``with`` block, in this thread (or async task) only.

    A backward goes with its forward: what ran as a whole runs back as a whole, whatever is chosen in between.

    Parameters
    ----------
    name : str
        ``"numpy"``, or one that is attached.

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> with backend("numpy"):
    ...     current_backend()
    'numpy'
    """

    def __init__(self, name: str) -> None:
        self.name = _check(name)

    def __enter__(self) -> "backend":
        _chosen.set((*_chosen.get(), self.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _chosen.set(_chosen.get()[:-1])


def set_backend(name: str) -> None:
    """Use one implementation from here on, in this thread.

    Parameters
    ----------
    name : str
        ``"numpy"``, or one that is attached.

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> set_backend(current_backend())
    """
    _chosen.set((*_chosen.get()[:-1], _check(name)))


def current_backend() -> str:
    """The name of the implementation in use here.

    Examples
    --------
    >>> with backend("numpy"):
    ...     current_backend()
    'numpy'
    """
    return _stack()[-1]


def implementation(operation: Operation) -> Operation:
    """The function to call for an operation of `ops/`, under the current backend: its own version, or the operation.

    Parameters
    ----------
    operation : callable
        For example `ops.depthwise_conv2d_forward`.

    Returns
    -------
    callable
        Of the same signature; equal in its results, up to rounding.

    Examples
    --------
    >>> from npmnv2 import ops
    >>> with backend("numpy"):
    ...     implementation(ops.relu6_forward) is ops.relu6_forward
    True
    """
    name = _stack()[-1]
    return operation if name == "numpy" else _module(name).implementation(operation)  # type: ignore[no-any-return]


def whole(thing: Any) -> Any:
    """What runs in place of a layer, or of an optimiser's update, under the current backend; the thing itself if none.

    Parameters
    ----------
    thing : Layer or Optimizer

    Returns
    -------
    object with ``forward(x)``, or ``update(p, ...)``
        After the forward ``layer.backward(dout)`` works as ever.

    Examples
    --------
    >>> from npmnv2.nn.layers import ReLU6
    >>> layer = ReLU6()
    >>> with backend("numpy"):
    ...     whole(layer) is layer
    True
    """
    name = _stack()[-1]
    return thing if name == "numpy" else _module(name).whole(thing)


def _stack() -> tuple[str, ...]:
    return _chosen.get() or (_default[0],)


@functools.cache
def _module(name: str) -> Any:
    return importlib.import_module(_attached[name])


def _check(name: str) -> str:
    if not isinstance(name, str) or name not in names():
        known = " or ".join(f'"{one}"' for one in names())
        raise ValueError(f"name must be {known}; was {name!r}")
    return name
