"""Which implementation the layers call: the plain NumPy of `ops/`, or its compiled twins in `kernels/`.

The choice is the caller's, and explicit::

    with npmnv2.backend("numpy"):
        logits = model(x)                # every line of it can be stepped through in a debugger

`"numba"` is the default. It means: the kernel where one exists (`kernels.__all__` lists them), and `ops/` for
operations that are a single BLAS call anyway. There is no fallback: if Numba cannot be imported, that is an error.
"""

import contextvars
import importlib
from types import TracebackType
from typing import Any

_NAMES = ("numpy", "numba")
# The choices of the `with` blocks around the caller, innermost last. A context variable, not a global: each thread, and
# each async task, has its own value of it.
_chosen: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("npmnv2_backend", default=("numba",))


class backend:
    """Use one implementation inside a ``with`` block, in this thread (or async task) only.

    Parameters
    ----------
    name : "numpy" or "numba"

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> with backend("numpy"):
    ...     current_backend()
    'numpy'
    >>> current_backend()
    'numba'
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
    name : "numpy" or "numba"

    Raises
    ------
    ValueError
        For any other name.

    Examples
    --------
    >>> set_backend("numba")
    """
    _chosen.set((*_chosen.get()[:-1], _check(name)))


def current_backend() -> str:
    """The implementation in use here: ``"numpy"`` or ``"numba"``.

    Examples
    --------
    >>> current_backend()
    'numba'
    """
    return _chosen.get()[-1]


def operation(name: str) -> Any:
    """The function that a layer should call for an operation of `ops/`, under the current backend.

    Parameters
    ----------
    name : str
        A public name of `ops/`, for example ``"depthwise_conv2d_forward"``.

    Returns
    -------
    callable
        ``kernels.<name>`` if the backend is numba and there is one, else ``ops.<name>``.

    Raises
    ------
    ValueError
        If there is no such operation.

    Examples
    --------
    >>> with backend("numpy"):
    ...     operation("depthwise_conv2d_forward").__module__
    'npmnv2.ops.depthwise'
    """
    if current_backend() == "numba":
        kernels = importlib.import_module("npmnv2.kernels")  # here, not above: it imports Numba, which takes a while
        if name in kernels.__all__:
            return getattr(kernels, name)
    ops = importlib.import_module("npmnv2.ops")
    if name not in ops.__all__:
        raise ValueError(f"name must be an operation of npmnv2.ops; was {name!r}")
    return getattr(ops, name)


def _check(name: str) -> str:
    if name not in _NAMES:
        raise ValueError(f'name must be "numpy" or "numba"; was {name!r}')
    return name
