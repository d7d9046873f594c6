"""Training: a loop short enough to read aloud. What goes on around it is in `progress.py`."""

from typing import Any

from npmnv2.data import Dataset
from npmnv2.nn.base import Layer
from npmnv2.nn.optim import Optimizer
from npmnv2.ops import softmax_cross_entropy
from npmnv2.train.progress import Epoch, Options, Progress


def train(
    model: Layer,
    optimizer: Optimizer,
    data: Dataset,
    epochs: int,
    *,
    batch_size: int = 32,
    label_smoothing: float = 0.0,
    **options: Any,
) -> list[Epoch]:
    """Train a classifier.

    Parameters
    ----------
    model : Layer
        Put into training mode if it is not. If it is, single layers in eval mode (frozen batch norms) stay there.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    data : Dataset
        Images that are bytes are normalised a batch at a time, as `data.preprocessing` says.
    epochs : int
        Passes over the training images.
    batch_size : int
        The last batch of an epoch may be smaller.
    label_smoothing : float
    **options
        `schedule`, `augment`, `ema`, `seed`, `report`, `position`, `after_step`: see `progress.Options`.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If `epochs` or `batch_size` is less than 1, `seed` negative, `data` without images or with another number of
        labels, or `optimizer` of another model.
    TypeError
        If one of the numbers is no integer, or labels are none; for an option that there is none of.

    Examples
    --------
    >>> import npmnv2
    >>> from npmnv2.data import load_digits
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> optimizer = npmnv2.optim.SGD(model.parameters(), lr=0.05)
    >>> [e.epoch for e in train(model, optimizer, load_digits(held_out=1733), epochs=2)]    # 64 images to train on
    [1, 2]
    """
    run = Progress(model, optimizer, data, epochs, batch_size, Options(**options))
    for _ in run.remaining_epochs():
        for x, y in run.batches():
            logits = model(x)
            loss, dlogits = softmax_cross_entropy(logits, y, label_smoothing)
            model.backward(dlogits)
            optimizer.step()
            run.step_done(loss, logits, y)
        run.epoch_done()
    return run.position.history
