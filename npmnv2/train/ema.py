"""The moving average of a model's weights (EMA)."""

from collections.abc import Iterator
from contextlib import contextmanager

from npmnv2.nn.base import Layer
from npmnv2.validate import check_number


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
    >>> from npmnv2.nn.layers import Linear
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
        self._parts = model.state()
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
