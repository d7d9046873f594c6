"""Optimisers: SGD with momentum, and RMSProp as MobileNetV2 was trained with it.

An optimiser reads ``p.grad`` and changes ``p.value`` in place. Its own arrays (velocity, mean square), one for each
parameter, are made when it is. `update` is the formula in the docstring of its class, line by line:
``velocity = momentum * velocity + grad`` is two lines there, which change the array in place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npmnv2.backends import whole
from npmnv2.nn.parameter import ROLES, Parameter
from npmnv2.validate import Array, check_number

# What the published recipe decays: the weights of convolutions and the linear layer. Not depthwise filters (a few
# numbers per channel, hardly able to overfit), not batch norm's gamma and beta, not the bias.
# MobileNets (arXiv:1704.04861), section 3.2: "it was important to put very little or no weight decay (l2
# regularization) on the depthwise filters since there are so few parameters in them"; slim's mobilenet.py likewise.
DECAYED = frozenset({"weight"})


class Optimizer:
    """What both optimisers share: the parameters, the learning rate, and which of them decay.

    Parameters
    ----------
    parameters : sequence of Parameter
    lr : float
        Learning rate; may be changed between steps (``optimizer.lr = ...``).
    weight_decay : float
        Adds ``weight_decay * value`` to the gradient of the parameters whose `role` is in `decayed`.
    decayed : set of str
        Roles to decay, see `nn.Parameter`; `DECAYED` by default, all five `ROLES` for PyTorch's behaviour.

    Raises
    ------
    ValueError
        For a number that is negative, infinite or NaN, an unknown role, no parameters, or one that is there twice.
    TypeError
        For anything but a number, anything but a `Parameter`.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: float,
        weight_decay: float = 0.0,
        decayed: frozenset[str] | set[str] = DECAYED,
    ) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("parameters must hold at least one Parameter; was empty")
        for p in self.parameters:
            if not isinstance(p, Parameter):
                raise TypeError(f"parameters must hold Parameter objects only; one was {type(p).__name__}")
            if not isinstance(p.value, np.ndarray) or p.value.dtype.kind != "f":
                raise TypeError(f"parameters must have values that are arrays of floats; one was {p.value!r:.60}")
        if len(set(map(id, self.parameters))) < len(self.parameters):
            raise ValueError("parameters must hold each Parameter once; one was there twice, and would step twice")
        if not isinstance(decayed, set | frozenset) or not ROLES.issuperset(decayed):
            raise ValueError(f"decayed must be a set of roles ({', '.join(sorted(ROLES))}); was {decayed!r}")
        self.lr, self.decayed = lr, frozenset(decayed)
        self.weight_decay = check_number(weight_decay, "weight_decay", 0)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_number(value, "lr", 0)

    def step(self) -> None:
        """Change every parameter by its gradient: all of them, or none and an error."""
        self._check()
        update = whole(self).update
        for p, *own in zip(self.parameters, *self.state().values(), strict=True):
            update(p, *own)

    def update(self, p: Parameter, *own: Array) -> None:
        """The formula, for one parameter and the optimiser's own arrays for it, in the order of `state`."""
        raise NotImplementedError

    def _check(self) -> None:
        """Before the first parameter is changed: that all of them can be."""
        for k, p in enumerate(self.parameters):
            if p.grad is None:
                raise RuntimeError("step needs the gradient of every parameter: run a forward and a backward first")
            if p.grad.shape != p.value.shape:
                raise ValueError(
                    f"parameters[{k}].grad must have the shape of its value, {p.value.shape}; was {p.grad.shape}"
                )
            for name, arrays in self.state().items():
                if arrays[k].shape != p.value.shape:
                    raise ValueError(
                        f"parameters[{k}] must keep the shape it had when the optimiser was made, {arrays[k].shape}, "
                        f"for its {name} has it; was {p.value.shape}"
                    )
            if not p.value.flags.writeable:
                raise ValueError(f"parameters[{k}].value must be writable, for a step changes it; was read-only")

    def _gradient(self, p: Parameter) -> Array:
        """The gradient of the loss plus, for some, of ``weight_decay / 2 * sum(value^2)``."""
        assert p.grad is not None  # `_check` has looked
        if p.role not in self.decayed or self.weight_decay == 0:
            return p.grad
        return p.grad + _cast(p, self.weight_decay) * p.value

    def state(self) -> dict[str, list[Array]]:
        """The optimiser's own arrays, one for each parameter, by what they are: to be saved, or copied into."""
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    ::

        velocity = momentum * velocity + grad
        value   -= lr * velocity

    Parameters
    ----------
    parameters, lr, weight_decay, decayed
        As in `Optimizer`.
    momentum : float

    Raises
    ------
    ValueError
        For a negative number or no parameters.

    References
    ----------
    .. [1] Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013; with the
           learning rate outside the velocity, as PyTorch has it.

    Examples
    --------
    >>> p = Parameter(np.array([1.0]), "weight")
    >>> optimizer = SGD([p], lr=0.1, momentum=0.5)
    >>> for p.grad in (np.array([1.0]), np.array([1.0])):
    ...     optimizer.step()
    >>> p.value.round(9).item()                       # 1 - 0.1 * 1 - 0.1 * 1.5
    0.75
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decayed: frozenset[str] | set[str] = DECAYED,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decayed)
        self.momentum = check_number(momentum, "momentum", 0)
        self.velocity = [np.zeros_like(p.value) for p in self.parameters]

    def update(self, p: Parameter, velocity: Array) -> None:  # type: ignore[override]
        """The formula, for one parameter."""
        velocity *= self.momentum
        velocity += self._gradient(p)
        p.value -= _cast(p, self.lr) * velocity

    def state(self) -> dict[str, list[Array]]:
        """The velocities."""
        return {"velocity": self.velocity}


class RMSProp(Optimizer):
    """RMSProp with momentum, in the two forms that are called by that name.

    ``form="tensorflow"``, with which MobileNetV2 was trained; the mean square starts at 1::

        square   = decay * square + (1 - decay) * grad^2
        velocity = momentum * velocity + lr * grad / sqrt(square + eps)
        value   -= velocity

    ``form="pytorch"``, the mean square starts at 0 and eps stands outside the root::

        square   = decay * square + (1 - decay) * grad^2
        velocity = momentum * velocity + grad / (sqrt(square) + eps)
        value   -= lr * velocity

    With eps = 1, as in TF-slim's recipe, the two differ by a lot: small gradients make sqrt(square + 1) about 1.

    Parameters
    ----------
    parameters, lr, weight_decay, decayed
        As in `Optimizer`.
    decay, momentum : float
        0.9 and 0.9 in the paper.
    eps : float
        1.0 in TF-slim's training script (``opt_epsilon``); PyTorch's default is 1e-8.
    form : "tensorflow" or "pytorch"

    Raises
    ------
    ValueError
        For a negative number, an unknown form or no parameters.

    References
    ----------
    .. [1] Sandler et al., arXiv:1801.04381, section 6.1: "standard RMSPropOptimizer with both decay and momentum set
           to 0.9".
    .. [2] tensorflow/models, research/slim/train_image_classifier.py (``opt_epsilon`` 1.0).

    Examples
    --------
    >>> p = Parameter(np.array([1.0]), "weight")
    >>> p.grad = np.array([3.0])
    >>> RMSProp([p], lr=0.5, decay=0.0, eps=0.0).step()
    >>> p.value.item()                                # 1 - 0.5 * 3 / sqrt(9)
    0.5
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
        decayed: frozenset[str] | set[str] = DECAYED,
        form: str = "tensorflow",
    ) -> None:
        super().__init__(parameters, lr, weight_decay, decayed)
        if form not in ("tensorflow", "pytorch"):
            raise ValueError(f'form must be "tensorflow" or "pytorch"; was {form!r}')
        self.form = form
        self.decay, self.eps = check_number(decay, "decay", 0, 1), check_number(eps, "eps", 0)
        self.momentum = check_number(momentum, "momentum", 0)
        start = np.ones_like if form == "tensorflow" else np.zeros_like
        self.square = [start(p.value) for p in self.parameters]
        self.velocity = [np.zeros_like(p.value) for p in self.parameters]

    def update(self, p: Parameter, square: Array, velocity: Array) -> None:  # type: ignore[override]
        """The formula, for one parameter."""
        grad = self._gradient(p)
        square *= self.decay
        square += (1 - self.decay) * grad * grad
        velocity *= self.momentum
        if self.form == "tensorflow":
            velocity += _cast(p, self.lr) * grad / np.sqrt(square + _cast(p, self.eps))
            p.value -= velocity
        else:
            velocity += grad / (np.sqrt(square) + _cast(p, self.eps))
            p.value -= _cast(p, self.lr) * velocity

    def state(self) -> dict[str, list[Array]]:
        """The mean squares and the velocities."""
        return {"square": self.square, "velocity": self.velocity}


def _cast(p: Parameter, number: float) -> Any:
    """`number` in the dtype of the parameter, so that no rule of promotion can make float64 of float32."""
    return p.value.dtype.type(number)
