"""Training: a loop short enough to read aloud."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from npmnv2.data import Dataset
from npmnv2.layers import Layer
from npmnv2.ops import softmax_cross_entropy
from npmnv2.optim import Optimizer
from npmnv2.validate import Array, check_array, check_int, check_labels, check_number


class Epoch(NamedTuple):
    """What one pass over the training images gave."""

    epoch: int  # from 1
    lr: float  # of its last step
    loss: float  # mean over the images, as they were trained on
    accuracy: float  # share right, as they were trained on
    test_accuracy: float  # share of the held-out images right, after the epoch, in eval mode
    seconds: float


def train(
    model: Layer,
    optimizer: Optimizer,
    data: Dataset,
    epochs: int,
    *,
    batch_size: int = 32,
    schedule: Callable[[int, int], float] | None = None,
    label_smoothing: float = 0.0,
    augment: Callable[[Array, np.random.Generator], Array] | None = None,
    seed: int = 0,
    report: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train a classifier; shows a progress bar on stderr if that is a terminal.

    Parameters
    ----------
    model : Layer
        Put into training mode if it is not. If it is, single layers in eval mode (frozen batch norms) stay there.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    data : Dataset
    epochs : int
        Passes over the training images.
    batch_size : int
        The last batch of an epoch may be smaller.
    schedule : callable, optional
        ``schedule(step, steps) -> lr``, asked before every step, for example a `optim.cosine_schedule` with its
        other arguments filled in; without it the optimiser keeps its own.
    label_smoothing : float
    augment : callable, optional
        ``augment(images, rng) -> images``, for example `random_shift`.
    seed : int
        Of the shuffling and the augmentation: the same seed gives the same run.
    report : callable, optional
        Called with each `Epoch` as it ends.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If `epochs` or `batch_size` is less than 1, `seed` negative, `data` without images or with another number of
        labels, or `optimizer` of another model.
    TypeError
        If one of the numbers is no integer, or labels are none.

    Examples
    --------
    >>> import npmnv2
    >>> from npmnv2.data import load_digits
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> optimizer = npmnv2.optim.SGD(model.parameters(), lr=0.05)
    >>> [e.epoch for e in train(model, optimizer, load_digits(held_out=1733), epochs=2)]    # 64 images to train on
    [1, 2]
    """
    epochs, batch_size = check_int(epochs, "epochs"), check_int(batch_size, "batch_size")
    check_labels(data.train_y, "data.train_y", _count(data.train_x, "data.train_x"))
    check_labels(data.test_y, "data.test_y", _count(data.test_x, "data.test_x"))
    own = set(map(id, model.parameters()))
    if not all(id(p) in own for p in optimizer.parameters):
        raise ValueError("optimizer must hold parameters of this model; it holds others, and the model would not learn")
    rng = np.random.default_rng(check_int(seed, "seed", 0))
    images = len(data.train_x)
    per_epoch = -(-images // batch_size)
    history = []
    for epoch in range(epochs):
        started = time.perf_counter()
        if not model.training:
            model.train()
        loss_sum, right = 0.0, 0
        bar = tqdm(total=per_epoch, desc=f"epoch {epoch + 1}/{epochs}", unit="step", leave=False, disable=None)
        for k, chosen in enumerate(batches(images, batch_size, rng)):
            x, y = data.train_x[chosen], data.train_y[chosen]
            if augment is not None:
                x = augment(x, rng)
            if schedule is not None:
                optimizer.lr = schedule(epoch * per_epoch + k, epochs * per_epoch)

            logits = model(x)
            loss, dlogits = softmax_cross_entropy(logits, y, label_smoothing)
            model.backward(dlogits)
            optimizer.step()

            loss_sum += float(loss) * len(y)
            right += int((logits.argmax(axis=1) == y).sum())
            bar.update()
        bar.close()
        test_accuracy = evaluate(model, data.test_x, data.test_y)
        seconds = time.perf_counter() - started
        done = Epoch(epoch + 1, optimizer.lr, loss_sum / images, right / images, test_accuracy, seconds)
        history.append(done)
        if report is not None:
            report(done)
    return history


def batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Deal out all indices below `count` in a random order, `batch_size` at a time.

    Examples
    --------
    >>> [len(b) for b in batches(10, 4, np.random.default_rng(0))]
    [4, 4, 2]
    """
    batch_size = check_int(batch_size, "batch_size")
    order = rng.permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def predict(model: Layer, x: Array, batch_size: int = 256) -> Array:
    """Logits of many images in eval mode, a batch at a time; the mode of every layer is restored.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    batch_size : int

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
    images, batch_size = _count(x, "x"), check_int(batch_size, "batch_size")
    modes = [(layer, layer.training) for _, layer in [("", model), *model.named_layers()]]
    model.eval()
    try:
        return np.concatenate([model(x[k : k + batch_size]) for k in range(0, images, batch_size)])
    finally:
        for layer, training in modes:
            layer.training = training


def evaluate(model: Layer, x: Array, y: Array, batch_size: int = 256) -> float:
    """The share of images that the model, in eval mode, classifies right.

    Parameters
    ----------
    model : Layer
    x : ndarray of shape (N, H, W, C)
        N at least 1.
    y : ndarray of shape (N,), integer
    batch_size : int

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
    y = check_labels(y, "y", _count(x, "x"))
    return float((predict(model, x, batch_size).argmax(axis=1) == y).mean())


def random_shift(x: Array, rng: np.random.Generator, most: int = 1, share: float = 0.5) -> Array:
    """Move some of the images by up to `most` pixels in each direction; what comes in repeats the border.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    rng : numpy.random.Generator
    most : int
    share : float
        The probability that an image is moved. Digits fill their 8x8 pixels, where one pixel is far: with all of them
        moved a small network learns slowly.

    Returns
    -------
    ndarray, the shape and dtype of x

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> random_shift(x, np.random.default_rng(1), share=1.0)[0, :, :, 0].tolist()      # one up, one left
    [[4.0, 5.0, 5.0], [7.0, 8.0, 8.0], [7.0, 8.0, 8.0]]
    """
    N, H, W, C = check_array(x, "x", "N H W C").shape
    most, share = check_int(most, "most", 0), check_number(share, "share", 0, 1)
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    moved = rng.random(N) < share  # (N,)
    down, right = np.where(moved, rng.integers(-most, most + 1, size=(2, N)), 0)  # (N,) each; pixels the view moves
    out = np.empty_like(x)  # (N, H, W, C)
    for n in range(N):
        top, left = most + down[n], most + right[n]
        out[n] = padded[n, top : top + H, left : left + W]
    return out


def _count(x: Array, name: str) -> int:
    if len(x) == 0:
        raise ValueError(f"{name} must hold at least one image; it was empty")
    return len(x)
