"""Beginning with the weights of a trained network instead of random ones."""

from collections.abc import Iterable
from typing import Any

from npmnv2.data import Dataset
from npmnv2.files import listed, shown
from npmnv2.models.network import Network
from npmnv2.nn.base import Layer
from npmnv2.nn.layers import BatchNorm
from npmnv2.validate import Array
from npmnv2.weights.load import BUILDERS, load_state, said_of, warn
from npmnv2.weights.source import read

CLASSIFIER = "fc"


class ClassifierOnly(Layer):
    """A network of which only the classifier learns: its backward ends there, for nothing before it needs a gradient.

    Parameters
    ----------
    model : Network

    Examples
    --------
    >>> import numpy as np
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> learner = ClassifierOnly(model)
    >>> logits = learner(np.ones((2, 8, 8, 1), np.float32))
    >>> learner.backward(logits).shape, model.layers["stem"].conv.w.grad is None
    ((2, 1280), True)
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Array) -> Array:
        """The whole network."""
        return self.model(x)

    def backward(self, dout: Array) -> Array:
        """The classifier's backward; the caches of the layers before it are dropped."""
        dx = self.model.layers[CLASSIFIER].backward(dout)
        self.model._forget()
        return dx


def keep_statistics(model: Layer) -> None:
    """Put every batch norm into eval mode, where its running statistics are used and stay what they are.

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> keep_statistics(model.train())
    >>> model.training, model.layers["stem"].bn.training
    (True, False)
    """
    for _, layer in model.named_layers():
        if isinstance(layer, BatchNorm):
            layer.eval()


def network_from(
    path: str, data: Dataset, width: float | None, *, keep_head: bool = False, **config: Any
) -> tuple[Network, bool]:
    """A network for `data` with the weights in a file.

    What the network is (its width, its padding, its epsilon, the normalisation of its pixels) is as in the file. Its
    classifier is new, unless the file names the classes of `data`; in another order, its outputs are put in that of
    `data`. So the file may have any classifier, or none.

    Parameters
    ----------
    path : str
        Any file that `weights.read` reads.
    data : Dataset
    width : float or None
        The width multiplier that the network must have; None takes any.
    keep_head : bool
        Whether the file's classifier, of as many classes as `data` has, is kept, though the file names no classes or
        others: its outputs are taken for those of `data` in their order.
    **config
        Arguments of the builder that are not to be as in the file.

    Returns
    -------
    model : Network
    is_new : bool
        Whether the classifier is new.

    Warns
    -----
    UserWarning
        As `weights.load_model` does, and of the classes that a kept classifier was taken for, or put in the order of.

    Raises
    ------
    ValueError
        If the network has another width, or is for images with other channels; or its classifier cannot be kept.
    """
    source = read(path, partial=True)
    own, channels, many = source.config, data.train_x.shape[3], len(data.classes)
    if width is not None and width != own["width_mult"]:
        raise ValueError(f"width must be that of the weights in {path}, {own['width_mult']:g}; was {width:g}")
    if channels != own["in_channels"]:
        raise ValueError(f"{path} must be for images of {channels} channels, as in data; was for {own['in_channels']}")
    has = source.state[f"{CLASSIFIER}.w"].shape[1] if f"{CLASSIFIER}.w" in source.state else 0
    if keep_head and has != many:
        held = f"a classifier of {has} classes" if has else "no classifier that can be read"
        raise ValueError(
            f"keep_head must be left out for {path}, which has {held}: data has {many} classes and gets a new one"
        )
    preprocessing, labels = said_of(source)
    state, classes = source.state, list(data.classes)
    is_same = labels is not None and has == many == len(set(labels)) and set(labels) == set(classes)
    is_new = not keep_head and not is_same
    if labels is not None and is_same and labels != classes:
        order = [labels.index(name) for name in classes]
        state = {name: a[..., order] if name.startswith(f"{CLASSIFIER}.") else a for name, a in state.items()}
        put = f"the outputs of its classifier, {_listed(labels)}, are put in the order of data: {_listed(classes)}"
        source = source._replace(found=(*source.found, put))
    elif keep_head and not is_same:
        theirs = f", which the file calls {_listed(labels)}" if labels else ""
        taken = f"the outputs of its classifier{theirs} are {_listed(classes)}, in this order"
        source = source._replace(assumed=(*source.assumed, taken))
    if preprocessing is None and data.preprocessing is not None:
        numbers = " and ".join(
            f"{what} {_listed(map(str, getattr(data.preprocessing, what)))}" for what in ("mean", "std")
        )
        source = source._replace(assumed=(*source.assumed, f"pixels are normalised with {numbers}, as those of data"))
    model = BUILDERS[source.architecture](**{**own, "dtype": "float32", **config, "num_classes": many})
    below = {name: value for name, value in state.items() if not name.startswith(f"{CLASSIFIER}.")}
    load_state(model, {**model.state_dict(), **(below if is_new else state)}, path)
    model.preprocessing = preprocessing
    warn(source)
    return model, is_new


def _listed(classes: Iterable[str]) -> str:
    """The first of them; names may be any text."""
    return listed(shown(name, 30) for name in classes)
