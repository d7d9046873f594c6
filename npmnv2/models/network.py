"""What the networks share: checks of arguments and inputs, the classifier at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npmnv2.nn.base import Layer
from npmnv2.nn.layers import Dropout, GlobalAvgPool, Linear, Sequential
from npmnv2.nn.printing import describe
from npmnv2.shapes import is_int
from npmnv2.validate import Array, check_int, check_number, check_plain


class Network(Sequential):
    """A classifier of images as a sequence of named layers; made by the builders of `models`, never by hand.

    Parameters
    ----------
    layers : dict of str -> Layer
        In the order they run.
    config : dict
        The builder's arguments; `in_channels` and `dtype` are what an input is checked against.

    Attributes
    ----------
    config : dict
        The arguments it was built with.
    preprocessing : data.Preprocessing or None
        How a picture is made into its input; None until somebody knows (`weights.load_model`, `train`).
    labels : list of str or None
        What its classes are called.
    """

    def __init__(self, layers: dict[str, Layer], config: dict[str, Any]) -> None:
        super().__init__(layers)
        self.config = config
        if isinstance(config.get("strides"), np.ndarray):  # which no file keeps
            self.config = config | {"strides": tuple(map(int, config["strides"]))}
        self.preprocessing: Any = None
        self.labels: list[str] | None = None

    def forward(self, x: Array) -> Array:
        """Classify images.

        Parameters
        ----------
        x : ndarray of shape (N, H, W, in_channels)
            In the model's dtype, about zero mean and unit scale; any H and W.

        Returns
        -------
        logits : ndarray of shape (N, num_classes)

        Raises
        ------
        ValueError, TypeError
            If `x` has another rank, number of channels or dtype; in training, if the last batch norm would see a
            single value per channel, which has no variance.
        """
        channels, dtype = self.config["in_channels"], np.dtype(self.config["dtype"])
        x = check_plain(x, "x")
        if x.ndim != 4 or x.shape[3] != channels:
            raise ValueError(f"x must have shape (N, H, W, {channels}); was {x.shape}")
        if x.dtype != dtype:
            raise TypeError(f"x must have the model's dtype, {dtype}; was {x.dtype}")
        return super().forward(x)

    def __repr__(self) -> str:
        """The layers by name, a line each, and how many parameters they have."""
        numbers, mode = sum(p.value.size for p in self.parameters()), "training" if self.training else "eval"
        return f"{super().__repr__()}\n{numbers:,} parameters, {self.config['dtype']}, in {mode} mode"


@describe.register
def _(network: Network) -> str:
    """The builder's arguments that say which network it is, and whose conventions it has."""
    shown = ("num_classes", "width_mult", "depth_mult", "strides", "padding", "eps")
    return ", ".join(f"{name}={network.config[name]!r}" for name in shown if name in network.config)


def check_arguments(num_classes: object, in_channels: object, padding: object, seed: object) -> None:
    """Raise the error that names the argument, if one of these makes no network.

    Examples
    --------
    >>> check_arguments(0, 3, 1, 0)
    Traceback (most recent call last):
        ...
    ValueError: num_classes must be an integer of at least 1; was 0
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if not is_int(value) or value < 1:  # type: ignore[operator]
            raise ValueError(f"{name} must be an integer of at least 1; was {value!r}")
    check_padding(padding)
    check_int(seed, "seed", 0)


def check_padding(padding: object, *more: str) -> None:
    """Raise ValueError unless it is 1, "same" or one of `more`, the paddings that a network can have.

    Examples
    --------
    >>> check_padding(0)
    Traceback (most recent call last):
        ...
    ValueError: padding must be 1 or "same", which keep the size at stride 1; was 0
    """
    words = "same", *more
    if not (is_int(padding) and padding == 1) and not (isinstance(padding, str) and padding in words):
        *first, last = "1", *(f'"{word}"' for word in words)
        raise ValueError(
            f"padding must be {', '.join(first)} or {last}, which keep the size at stride 1; was {padding!r}"
        )


def choose_strides(strides: str | Sequence[int], named: Mapping[str, tuple[int, ...]], number: int) -> tuple[int, ...]:
    """The stride of the stem and of every row of a table, from a name or from the caller.

    Parameters
    ----------
    strides : str or sequence of int
        A key of `named`, or the strides themselves.
    named : mapping of str -> tuple of int
        The sets of strides that have a name.
    number : int
        How many there must be: the stem and the rows.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If it is none of the names, or not `number` integers of at least 1.

    Examples
    --------
    >>> choose_strides([2, 1, 2], {"small": (1, 1, 1)}, 3), choose_strides("small", {"small": (1, 1, 1)}, 3)
    ((2, 1, 2), (1, 1, 1))
    """
    must = f"strides must be one of {', '.join(named)} or {number} integers"
    if isinstance(strides, str):
        if strides not in named:
            raise ValueError(f"{must}; was {strides!r}")
        return named[strides]
    try:
        values: tuple[Any, ...] = () if isinstance(strides, set | frozenset) else tuple(strides)  # a set has no order
    except TypeError:
        values = ()
    if len(values) != number or not all(is_int(s) and s >= 1 for s in values):
        raise ValueError(f"{must} of at least 1; was {strides!r}")
    return tuple(int(s) for s in values)


def classifier(
    channels: int, num_classes: int, dropout: float, seed: int, rng: np.random.Generator, dtype: Any
) -> dict[str, Layer]:
    """The end of a network: average over the image, dropout (masks from a stream of their own), linear layer.

    Examples
    --------
    >>> list(classifier(4, 2, 0.2, 0, np.random.default_rng(0), np.float32))
    ['pool', 'dropout', 'fc']
    """
    check_number(dropout, "dropout", 0, 1, "[)", "the share dropped")  # by the builder's name for the layer's `rate`
    return {
        "pool": GlobalAvgPool(),
        "dropout": Dropout(dropout, np.random.default_rng([seed, 1])),
        "fc": Linear(channels, num_classes, rng=rng, dtype=dtype),
    }
