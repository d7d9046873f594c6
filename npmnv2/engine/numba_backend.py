"""What the backend ``"numba"`` answers to the two questions of `backends.py`: the one place that attaches the kernels.

Where an operation has a compiled twin in `kernels`, it has the same name there. A single product of matrices is BLAS's
business; all else runs as it stands in `ops`.
The threads of a pool wait for work by spinning, so BLAS runs on one thread while ours are the pool (`runtime/blas.py`).
As a whole there are the inverted residual in training mode (`training_block`) and SGD (`optimisers`).
"""

import functools
from collections.abc import Callable
from typing import Any

from npmnv2 import kernels, ops
from npmnv2.engine import optimisers, training_block
from npmnv2.nn.blocks import InvertedResidual
from npmnv2.nn.optim import SGD
from npmnv2.runtime.blas import limit_blas
from npmnv2.runtime.threads import follow

Operation = Callable[..., Any]


def _on_one_thread(operation: Operation) -> Operation:
    """The operation itself, BLAS on one thread."""

    @functools.wraps(operation)
    def limited(*arguments: Any, **options: Any) -> Any:
        with limit_blas(1):
            return operation(*arguments, **options)

    return limited


PRODUCTS = (
    ops.pointwise_conv2d_forward,
    ops.pointwise_conv2d_backward,
    ops.linear_forward,
    ops.linear_backward,
)
TWINS: dict[Operation, Operation] = {getattr(ops, name): getattr(kernels, name) for name in kernels.__all__} | {
    operation: _on_one_thread(operation) for operation in PRODUCTS
}
WHOLES: dict[type, Callable[[Any], Any]] = {InvertedResidual: training_block.whole, SGD: optimisers.whole}


def implementation(operation: Operation) -> Operation:
    """The compiled twin of an operation, or the operation; this Python thread has the number of threads chosen last.

    Examples
    --------
    >>> implementation(ops.depthwise_conv2d_forward).__module__
    'npmnv2.kernels.depthwise.operations'
    >>> implementation(ops.relu6_forward).__module__
    'npmnv2.ops.activation'
    """
    follow()
    return TWINS.get(operation, operation)


def whole(thing: Any) -> Any:
    """What computes exactly this layer, or updates exactly as this optimiser does; else the thing itself."""
    make = WHOLES.get(type(thing))
    if make is None:
        return thing
    follow()
    return make(thing)
