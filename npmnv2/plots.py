"""Every picture the package draws. Matplotlib loads when the first one is drawn, and no window is opened."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from npmnv2.data import Dataset
from npmnv2.layers import DepthwiseConv2d
from npmnv2.models import MobileNetV2
from npmnv2.ops import softmax
from npmnv2.train import Epoch, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people who see colours differently can tell apart.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"


def training(
    history: Sequence[Epoch], model: MobileNetV2, data: Dataset, path: str | PathLike[str] | None = None
) -> "Figure":
    """Draw how a training run went, what it learned and where it is still wrong.

    Left: loss and accuracy by epoch. Middle: depthwise filters of the first, a middle and the last block. Right:
    held-out images, those the model gets wrong first, with what it says and how sure it is.

    Parameters
    ----------
    history : sequence of Epoch
    model : MobileNetV2
        Trained.
    data : Dataset
    path : path, optional
        Where to save the picture; the ending decides the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    OSError
        If `path` cannot be written.

    Examples
    --------
    >>> import npmnv2
    >>> from npmnv2.data import load_digits
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> history = [Epoch(1, 0.1, 2.0, 0.3, 0.2, 1.0), Epoch(2, 0.1, 1.0, 0.6, 0.5, 1.0)]
    >>> len(training(history, model, load_digits(held_out=30)).axes) > 30
    True
    """
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(13, 5.2), layout="constrained")
    curves, filters, images = figure.subfigures(1, 3, width_ratios=[1.25, 1, 1.1])
    _curves(curves, history)
    _depthwise_filters(filters, model)
    _predictions(images, model, data)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def _curves(figure: Any, history: Sequence[Epoch]) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True)
    figure.suptitle("Training", fontweight="bold")
    epochs = [e.epoch for e in history]
    top.plot(epochs, [e.loss for e in history], "-o", color=BLUE, markersize=4)
    top.set_ylabel("cross-entropy loss")
    top.set_ylim(bottom=0)
    reached = f"held-out images, {100 * history[-1].test_accuracy:.1f} % at the end"
    bottom.plot(epochs, [100 * e.accuracy for e in history], "-s", color=ORANGE, markersize=4, label="training images")
    bottom.plot(epochs, [100 * e.test_accuracy for e in history], "-o", color=GREEN, markersize=4, label=reached)
    bottom.set_ylabel("images classified right, %")
    bottom.set_xlabel("epoch")
    bottom.set_ylim(top=103)
    bottom.legend(loc="lower right")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def _depthwise_filters(figure: Any, model: MobileNetV2) -> None:
    """A few 3x3 filters of the first, a middle and the last depthwise layer: one filter per channel, no more."""
    figure.suptitle("Learned depthwise filters", fontweight="bold")
    named = [(name, layer) for name, layer in model.named_layers() if isinstance(layer, DepthwiseConv2d)]
    chosen = [named[0], named[len(named) // 2], named[-1]]
    rows = figure.subfigures(len(chosen), 1)
    for row, (name, layer) in zip(rows, chosen, strict=True):
        w = layer.w.value  # (3, 3, C)
        row.supylabel(name.removesuffix(".conv"), fontsize=9)
        limit = float(np.abs(w).max())
        strongest = np.argsort(-np.abs(w).sum(axis=(0, 1)))[:12]
        for axes, c in zip(row.subplots(2, 6).flat, strongest, strict=False):
            axes.imshow(w[:, :, c], cmap="PuOr", vmin=-limit, vmax=limit)
        for axes in row.axes:
            axes.set_xticks([])
            axes.set_yticks([])
    rows[-1].supxlabel("orange: negative, purple: positive", fontsize=9)


def _predictions(figure: Any, model: MobileNetV2, data: Dataset) -> None:
    logits = predict(model, data.test_x)
    p = softmax(logits.astype(np.float64))
    said = p.argmax(axis=1)
    wrong = said != data.test_y
    figure.suptitle(f"Held-out images: {int(wrong.sum())} of {len(wrong)} wrong", fontweight="bold")
    # mistakes first, then the least sure
    order = np.lexsort((p.max(axis=1), ~wrong))
    for axes, k in zip(figure.subplots(4, 5).flat, order, strict=False):
        axes.imshow(data.test_x[k].mean(axis=-1), cmap="gray_r")
        mark = f"not {data.classes[data.test_y[k]]}" if wrong[k] else ""
        axes.set_title(
            f"{data.classes[said[k]]} ({100 * p[k, said[k]]:.0f} %)\n{mark}",
            fontsize=8,
            color=RED if wrong[k] else "black",
        )
    for axes in figure.axes:
        axes.set_xticks([])
        axes.set_yticks([])
