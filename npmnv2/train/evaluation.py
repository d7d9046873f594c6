"""How good a network is: predictions in eval mode, the share that is right, which class is taken for which."""

from typing import Any

import numpy as np

from npmnv2.data.augment import normalise
from npmnv2.data.preprocessing import Preprocessing
from npmnv2.nn.base import Layer
from npmnv2.validate import Array, check_int, check_labels


def predict(model: Layer, x: Array, batch_size: int = 256, preprocessing: Preprocessing | None = None) -> Array:
    """Logits of many images in eval mode, a batch at a time; the mode of every layer is restored.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    batch_size : int
    preprocessing : Preprocessing, optional
        How images that are bytes are normalised; it is done a batch at a time.

    Returns
    -------
    ndarray of shape (N, num_classes)

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> predict(model, np.zeros((3, 8, 8, 1), np.float32)).shape
    (3, 10)
    """
    images, batch_size = count_images(x, "x"), check_int(batch_size, "batch_size")
    modes = [(layer, layer.training) for _, layer in [("", model), *model.named_layers()]]
    dtype = dtype_of(model)
    model.eval()
    try:
        parts = (normalise(x[k : k + batch_size], preprocessing, dtype) for k in range(0, images, batch_size))
        return np.concatenate([model(part) for part in parts])
    finally:
        for layer, training in modes:
            layer.training = training


def evaluate(
    model: Layer, x: Array, y: Array, batch_size: int = 256, preprocessing: Preprocessing | None = None
) -> float:
    """The share of images that the model, in eval mode, classifies right.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    y : ndarray of shape (N,), integer
    batch_size : int
    preprocessing : Preprocessing, optional
        As in `predict`.

    Raises
    ------
    ValueError, TypeError
        If `y` is not one integer an image.

    Examples
    --------
    >>> import npmnv2
    >>> model = npmnv2.mobilenet_v2(1, 0.1, strides="digits", in_channels=1)
    >>> evaluate(model, np.zeros((3, 8, 8, 1), np.float32), np.zeros(3, int))       # one class: always right
    1.0
    """
    y = check_labels(y, "y", count_images(x, "x"))
    return float((predict(model, x, batch_size, preprocessing).argmax(axis=1) == y).mean())


def confusion_matrix(y: Array, said: Array, classes: int) -> Array:
    """Count for each true class (row) how often each class was said (column).

    Parameters
    ----------
    y, said : ndarray of shape (N,), integer
    classes : int

    Returns
    -------
    ndarray of shape (classes, classes), int64

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (y, said), 1)
    return counts


def recall(y: Array, said: Array, classes: int) -> list[float | None]:
    """The share of the images of each class that were said to be of it; None for a class without images.

    Examples
    --------
    >>> recall(np.array([0, 0, 2]), np.array([0, 2, 2]), 3)
    [0.5, None, 1.0]
    """
    counts = confusion_matrix(y, said, classes)
    return [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(counts)]


def dtype_of(model: Layer) -> np.dtype[Any]:
    """The type of its numbers, which its images must have."""
    return model.parameters()[0].value.dtype


def count_images(x: Array, name: str) -> int:
    """How many there are: at least one, or a ValueError that names the argument."""
    if len(x) == 0:
        raise ValueError(f"{name} must hold at least one image; it was empty")
    return len(x)
