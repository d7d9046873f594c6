"""Optimisers: SGD with momentum, RMSProp as MobileNetV2 was trained with it, and the moving average of weights (EMA).

An optimiser reads ``p.grad`` and changes ``p.value`` in place. Its own arrays (velocity, mean square), one for each
parameter, are made when it is. `step()` is short enough to be compared line by line with the formula in the docstring
of its class: ``velocity = momentum * velocity + grad`` is two lines there, which change the array in place.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from npmnv2.backends import current_backend
from npmnv2.layer import ROLES, Layer, Parameter
from npmnv2.validate import Array, check_int, check_number

# What the published recipe decays: convolution and linear kernels. Not depthwise kernels (a few numbers per channel,
# hardly able to overfit), not batch norm's gamma and beta, not the bias.
# MobileNets (arXiv:1704.04861), section 3.2: "it was important to put very little or no weight decay (l2
# regularization) on the depthwise filters since there are so few parameters in them"; slim's mobilenet.py likewise.
DECAYED = frozenset({"weight"})

LARGE = 1024  # values: smaller arrays NumPy has changed before a kernel has begun


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
        Roles to decay, see `layers.Parameter`; `DECAYED` by default, all five `ROLES` for PyTorch's behaviour.

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

    def _check(self) -> None:
        """Before the first parameter is changed: that all of them can be."""
        for k, p in enumerate(self.parameters):
            if p.grad is None:
                raise RuntimeError("step needs the gradient of every parameter: run a forward and a backward first")
            if p.grad.shape != p.value.shape:
                raise ValueError(
                    f"parameters[{k}].grad must have the shape of its value, {p.value.shape}; was {p.grad.shape}"
                )
            if not p.value.flags.writeable:
                raise ValueError(f"parameters[{k}].value must be writable, for a step changes it; was read-only")

    def _gradient(self, p: Parameter) -> Array:
        """The gradient of the loss plus, for some, of ``weight_decay / 2 * sum(value^2)``."""
        assert p.grad is not None  # `_check` has looked
        decay = self._decay(p)
        return p.grad + p.value.dtype.type(decay) * p.value if decay else p.grad

    def _decay(self, p: Parameter) -> float:
        return self.weight_decay if p.role in self.decayed else 0.0

    def step(self) -> None:
        """Change every parameter by its gradient: all of them, or none and an error."""
        raise NotImplementedError

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

    def step(self) -> None:
        """Change every parameter by its gradient: all of them, or none and an error."""
        self._check()
        for p, velocity in zip(self.parameters, self.velocity, strict=True):
            if _is_large(p, velocity):
                kernel = importlib.import_module("npmnv2.kernels.sgd")  # here, not above: it imports Numba
                kernel.step(p.value, velocity, p.grad, self.lr, self.momentum, self._decay(p))
                continue
            grad = self._gradient(p)
            velocity *= self.momentum
            velocity += grad
            p.value -= _cast(p, self.lr) * velocity

    def state(self) -> dict[str, list[Array]]:
        """The velocities."""
        return {"velocity": self.velocity}


def _is_large(p: Parameter, velocity: Array) -> bool:
    """Whether the compiled step is worth its call, and takes these arrays; its result is the same to the bit."""
    assert p.grad is not None  # `Optimizer._check` has looked
    if p.value.size < LARGE or current_backend() != "numba" or p.value.dtype not in (np.float32, np.float64):
        return False
    return p.grad.dtype == velocity.dtype == p.value.dtype and p.value.flags.carray and velocity.flags.carray


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

    def step(self) -> None:
        """Change every parameter by its gradient: all of them, or none and an error."""
        self._check()
        for p, square, velocity in zip(self.parameters, self.square, self.velocity, strict=True):
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


class EMA:
    """An exponential moving average of all that a model has learned: parameters and running statistics.

    ::

        share  = 1 - min(decay, (1 + updates) / (10 + updates))
        shadow = shadow + share * (value - shadow)

    The average is less noisy than the weights it follows, and usually a better network. With a decay of 0.9999 it
    looks back 10,000 steps. In a run shorter than that it would still be made of the first, random weights; so the
    decay begins at 0.1 and grows with the number of updates, as TensorFlow does it when it is told that number.

    Parameters
    ----------
    model : Layer
    decay : float
        0.9999 as published.

    Attributes
    ----------
    shadow : dict of name -> ndarray
        The average, under the names of `Layer.state_dict`.
    updates : int

    Raises
    ------
    ValueError, TypeError
        If `decay` is not a number from 0 to 1.

    References
    ----------
    .. [1] tf.train.ExponentialMovingAverage, ``num_updates``.
    .. [2] tensorflow/models, research/slim/train_image_classifier.py (``moving_average_decay``).

    Examples
    --------
    >>> from npmnv2.layers import Linear
    >>> layer = Linear(1, 1, rng=np.random.default_rng(0))
    >>> layer.b.value[:], ema = 0.0, EMA(layer, decay=0.1)
    >>> for layer.b.value[:] in (1.0, 1.0):
    ...     ema.update()
    >>> with ema.applied():
    ...     round(layer.b.value.item(), 2)            # 0, then 0.9, then 0.99
    0.99
    >>> layer.b.value.item()
    1.0
    """

    def __init__(self, model: Layer, decay: float = 0.9999) -> None:
        self.decay = check_number(decay, "decay", 0, 1)
        self.updates = 0
        self._parts = model._state()
        self.shadow = {name: part.value.copy() for name, part in self._parts.items()}

    def update(self) -> None:
        """Take the model's values of now into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, part in self._parts.items():
            shadow = self.shadow[name]
            shadow += shadow.dtype.type(1 - decay) * (part.value - shadow)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averages for its values; its own come back after."""
        own = {name: part.value for name, part in self._parts.items()}
        try:
            for name, part in self._parts.items():
                part.value = self.shadow[name]
            yield
        finally:
            for name, part in self._parts.items():
                part.value = own[name]


def cosine_schedule(lr: float, step: int, steps: int, warmup: int = 0) -> float:
    """The learning rate at one step: a linear warm-up, then half a cosine down to 0.

    ::

        lr * (step + 1) / warmup                                        while step < warmup
        lr * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2     after

    Parameters
    ----------
    lr : float
        The highest.
    step, steps, warmup : int
        The step it is for (from 0), how many there are, how many of them warm up.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        For a number that is none, a step before the first or a warm-up longer than the run.

    References
    ----------
    .. [1] Loshchilov and Hutter, "SGDR", arXiv:1608.03983, equation (5), without restarts.

    Examples
    --------
    >>> [round(cosine_schedule(1.0, step, steps=6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    lr, steps = check_number(lr, "lr", 0), check_int(steps, "steps")
    step, warmup = check_int(step, "step", 0, steps), check_int(warmup, "warmup", 0, steps)
    if step < warmup:
        return lr * (step + 1) / warmup
    return lr * 0.5 * (1 + float(np.cos(np.pi * (step - warmup) / max(steps - warmup, 1))))


def exponential_schedule(lr: float, epoch: int, rate: float = 0.98) -> float:
    """The learning rate in one epoch of the published recipe: ``lr * rate ** epoch``, from 0.045 by 0.98.

    Parameters
    ----------
    lr : float
    epoch : int
        From 0.
    rate : float

    Returns
    -------
    float

    Notes
    -----
    `train.train` asks ``schedule(step, steps)``, so this one, which counts epochs, needs a line in between; with
    `per_epoch` steps in an epoch: ``lambda step, steps: exponential_schedule(0.045, step // per_epoch)``.

    References
    ----------
    .. [1] Sandler et al., arXiv:1801.04381, section 6.1.

    Examples
    --------
    >>> round(exponential_schedule(0.045, 1), 6)
    0.0441
    """
    return check_number(lr, "lr", 0) * check_number(rate, "rate", 0) ** check_int(epoch, "epoch", 0)


def _cast(p: Parameter, number: float) -> Any:
    """`number` in the dtype of the parameter, so that no rule of promotion can make float64 of float32."""
    return p.value.dtype.type(number)
