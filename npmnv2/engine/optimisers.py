"""SGD on Numba's threads, in the place of an optimiser that is exactly `nn.optim.SGD`."""

import numpy as np

from npmnv2.kernels import sgd
from npmnv2.nn.exact import is_plain_sgd
from npmnv2.nn.optim import SGD
from npmnv2.nn.parameter import Parameter
from npmnv2.validate import Array

LARGE = 1024  # values: smaller arrays NumPy has changed before a kernel has begun


class CompiledSGD:
    """`SGD.update`, to the bit: large parameters in one pass over memory, the others as there."""

    def __init__(self, optimizer: SGD) -> None:
        self.optimizer = optimizer

    def update(self, p: Parameter, velocity: Array) -> None:
        """The formula, for one parameter."""
        o = self.optimizer
        if _is_large(p, velocity):
            decay = o.weight_decay if p.role in o.decayed else 0.0
            assert p.grad is not None  # `Optimizer.step` has looked
            sgd.step(p.value, velocity, p.grad, o.lr, o.momentum, decay)
        else:
            o.update(p, velocity)


def whole(optimizer: SGD) -> CompiledSGD | SGD:
    """What runs the next update: the compiled one if the optimiser is exactly that, else the optimiser."""
    numbers = optimizer.lr, optimizer.momentum, optimizer.weight_decay
    plain = is_plain_sgd(optimizer) and all(type(number) in (int, float) for number in numbers)
    return CompiledSGD(optimizer) if plain else optimizer


def _is_large(p: Parameter, velocity: Array) -> bool:
    """Whether the compiled step is worth its call, and takes these arrays: plain, and no two of them one."""
    if p.value.size < LARGE or p.value.dtype not in (np.float32, np.float64):  # most are: asked first
        return False
    arrays = [p.value, velocity, p.grad]
    if any(type(array) is not np.ndarray for array in arrays) or len(set(map(id, arrays))) < 3:
        return False
    same = all(array.dtype == p.value.dtype for array in arrays if array is not None)
    return same and p.value.flags.carray and velocity.flags.carray
