"""SGD with momentum, compiled: one pass over memory, on all threads. The plain version is `optim.SGD`.

NumPy makes a pass of each operation of the formula, on one thread.
"""

from numba import prange

from npmnv2.kernels.arrays import contiguous
from npmnv2.kernels.jit import compile_kernel
from npmnv2.kernels.scalars import NATURAL
from npmnv2.kernels.tuning import TRAINING
from npmnv2.validate import Array


def step(value: Array, velocity: Array, grad: Array, lr: float, momentum: float, decay: float) -> None:
    """Change `value` and `velocity`, both contiguous, in place; all three arrays have one shape and dtype.

    The operations and their order are those of `optim.SGD.update`, and so are the bits of the result.

    >>> import numpy as np
    >>> value, velocity = np.ones(1), np.ones(1)
    >>> step(value, velocity, np.ones(1), lr=0.125, momentum=0.5, decay=1.0)
    >>> velocity.item(), value.item()                 # 0.5 * 1 + (1 + 1 * 1); 1 - 0.125 * 2.5
    (2.5, 0.6875)
    """
    number = value.dtype.type
    arrays = [v.reshape(-1) for v in (value, velocity, contiguous(grad))]
    loops(*arrays, number(lr), number(momentum), decay != 0, number(decay), TRAINING.update)


def _step(value, velocity, grad, lr, momentum, decays, decay, chunk):
    """A task is `chunk` values."""
    size = value.shape[0]
    for task in prange((size + chunk - 1) // chunk):
        first = (task * chunk) & NATURAL
        if not decays:
            for i in range(min(chunk, size - first)):
                velocity[first + i] = velocity[first + i] * momentum + grad[first + i]
        else:
            for i in range(min(chunk, size - first)):
                g = grad[first + i] + decay * value[first + i]
                velocity[first + i] = velocity[first + i] * momentum + g
        for i in range(min(chunk, size - first)):
            value[first + i] -= lr * velocity[first + i]


loops = compile_kernel(_step)
