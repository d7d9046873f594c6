"""Every picture the package draws. Matplotlib loads when the first one is drawn, and no window is opened.

Each function returns its figure, which a notebook shows by itself (`picture.py`), and saves it if there is a `path`.
"""

import os
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from npmnv2.atomic import writing
from npmnv2.cost import LayerCost
from npmnv2.data import Dataset
from npmnv2.models.network import Network
from npmnv2.nn.layers import DepthwiseConv2d
from npmnv2.ops import softmax
from npmnv2.train.evaluation import predict
from npmnv2.train.progress import Epoch
from npmnv2.validate import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people who see colours differently can tell apart.
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"


# Each kind of layer by a colour and a hatch, so that neither is needed alone.
KINDS = {
    "standard": (ORANGE, "//"),
    "grouped": (PINK, "--"),
    "depthwise": (GREEN, ".."),
    "pointwise": (BLUE, ""),
    "linear": (RED, "xx"),
}


def training(
    history: Sequence[Epoch], model: Network, data: Dataset, path: str | PathLike[str] | None = None
) -> "Figure":
    """Draw how a training run went, what it learned and where it is still wrong.

    Left: loss and accuracy by epoch. Middle: depthwise filters of the first, a middle and the last block. Right:
    held-out images, those the model gets wrong first, with what it says and how sure it is.

    Parameters
    ----------
    history : sequence of Epoch
    model : Network
        Trained.
    data : Dataset
    path : path, optional
        Where to save the picture; the ending decides the format.

    Returns
    -------
    matplotlib Figure
        A notebook shows it if it is the last expression of a cell.

    Raises
    ------
    OSError
        If `path` cannot be written.
    ValueError
        If there is nothing to draw: an empty `history`, no depthwise layer in `model`, a class without a name.

    Examples
    --------
    >>> import npmnv2
    >>> from npmnv2.data import load_digits
    >>> model = npmnv2.mobilenet_v2(10, 0.1, strides="digits", in_channels=1)
    >>> history = [Epoch(1, 0.1, 2.0, 0.3, 0.2, 1.0), Epoch(2, 0.1, 1.0, 0.6, 0.5, 1.0)]
    >>> len(training(history, model, load_digits(held_out=30)).axes) > 30
    True
    """
    from npmnv2.show.picture import Picture

    if not history:
        raise ValueError("history must hold at least one Epoch; was empty")
    figure: Any = Picture(figsize=(13, 5.2), layout="constrained")
    curves, filters, images = figure.subfigures(1, 3, width_ratios=[1.25, 1, 1.1])
    _curves(curves, history)
    _depthwise_filters(filters, model)
    _predictions(images, model, data)
    if path is not None:
        save(figure, path)
    return figure


def save(figure: "Figure", path: str | PathLike[str]) -> None:
    """Write a picture, whole or not at all (`atomic`), in the format that its name ends in; without one .png.

    The same drawing gives the same bytes, as .png and as .svg.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        For an ending that Matplotlib does not know.
    """
    import matplotlib

    ending = os.path.splitext(path)[1]
    dated: dict[str, Any] = {"metadata": {"Date": None}} if ending.lower() == ".svg" else {}
    settings: dict[Any, Any] = {"svg.hashsalt": "npmnv2"}  # else the names of clips are random
    with matplotlib.rc_context(settings), writing(path if ending else f"{os.fspath(path)}.png") as file:
        figure.savefig(file, dpi=120, format=ending[1:] or "png", **dated)


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
    averaged = [(e.epoch, 100 * e.ema_accuracy) for e in history if e.ema_accuracy is not None]
    if averaged:
        label = f"averaged weights, {averaged[-1][1]:.1f} %"
        bottom.plot(*zip(*averaged, strict=True), "--^", color=PINK, markersize=4, label=label)
    bottom.set_ylabel("images classified right, %")
    bottom.set_xlabel("epoch")
    bottom.set_ylim(top=103)
    bottom.legend(loc="lower right", fontsize=9)
    bottom.xaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def _depthwise_filters(figure: Any, model: Network) -> None:
    """A few 3x3 filters of the first, a middle and the last depthwise layer: one filter per channel, no more."""
    figure.suptitle("Learned depthwise filters", fontweight="bold")
    named = [(name, layer) for name, layer in model.named_layers() if isinstance(layer, DepthwiseConv2d)]
    if not named:
        raise ValueError("model must have depthwise layers, whose filters are drawn; there were none")
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


def _predictions(figure: Any, model: Network, data: Dataset) -> None:
    logits = predict(model, data.test_x, preprocessing=data.preprocessing)
    p = softmax(logits.astype(np.float64))
    if p.shape[1] > len(data.classes):
        raise ValueError(f"data.classes must name all {p.shape[1]} classes of the model; was {len(data.classes)} names")
    said = p.argmax(axis=1)
    wrong = said != data.test_y
    figure.suptitle(f"Held-out images: {int(wrong.sum())} of {len(wrong)} wrong", fontweight="bold")
    # mistakes first, then the least sure
    order = np.lexsort((p.max(axis=1), ~wrong))
    for axes, k in zip(figure.subplots(4, 5).flat, order, strict=False):
        _show(axes, data.test_x[k])
        mark = f"not {_drawable(data.classes[data.test_y[k]])}" if wrong[k] else ""
        axes.set_title(
            f"{_drawable(data.classes[said[k]])} ({100 * p[k, said[k]]:.0f} %)\n{mark}",
            fontsize=8,
            color=RED if wrong[k] else "black",
            parse_math=False,  # a name may hold a $
        )
    for axes in figure.axes:
        axes.set_xticks([])
        axes.set_yticks([])


def _drawable(name: object) -> str:
    """A name of a class as fonts can have it: that of a folder may hold bytes that are no letters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))


def _show(axes: Any, image: Array) -> None:
    """A photograph in its colours, anything else as ink on paper."""
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        axes.imshow(image)
    else:
        axes.imshow(image.mean(axis=-1), cmap="gray_r")


def confusion(matrix: Array, classes: Sequence[str], path: str | PathLike[str] | None = None) -> "Figure":
    """Draw which classes are taken for which: a row a true class, a column an answer.

    The colour is the share of the row, so that rare classes are seen too. The diagonal is right and stays white; up to
    20 classes, the counts are written into the cells.

    Parameters
    ----------
    matrix : ndarray of shape (K, K), integer
        As `train.confusion_matrix` counts.
    classes : sequence of str
    path : path, optional
        Where to save the picture; the ending decides the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    OSError
        If `path` cannot be written.
    ValueError
        If there is not one name for each row and column.

    Examples
    --------
    >>> confusion(np.array([[3, 1], [0, 4]]), ["cat", "dog"]).axes[0].get_title()
    '1 of 8 wrong'
    """
    from npmnv2.show.picture import Picture

    K = len(classes)
    if matrix.shape != (K, K):
        raise ValueError(f"matrix must have a row and a column for each of {K} classes; its shape was {matrix.shape}")
    wrong = matrix * (1 - np.eye(K, dtype=matrix.dtype))  # (K, K)
    share = 100 * wrong / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (K, K), % of the class
    side = min(max(4.5, 0.45 * K + 1.5), 14)
    figure: Any = Picture(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    most = max(share.max(), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=most)
    figure.colorbar(image, ax=axes, shrink=0.8, label="taken for another, % of the class")
    axes.set_title(f"{wrong.sum()} of {matrix.sum()} wrong", fontweight="bold")
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    every = -(-K // 50)  # names that can be read
    named = [name if len(name) <= 16 else f"{name[:15]}…" for name in map(_drawable, classes[::every])]
    size = 9 if K <= 30 else 6
    axes.set_xticks(range(0, K, every), named, rotation=90 if max(map(len, named)) > 2 else 0, fontsize=size)
    axes.set_yticks(range(0, K, every), named, fontsize=size)
    for text in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        text.set_parse_math(False)  # a name may hold a $
    if K <= 20:
        for i, j in np.argwhere(matrix):
            color = "white" if share[i, j] > 0.6 * most else "black"
            axes.text(j, i, str(matrix[i, j]), ha="center", va="center", color=color, fontsize=9)
    if path is not None:
        save(figure, path)
    return figure


def costs(layers: Sequence[LayerCost], title: str, path: str | PathLike[str] | None = None) -> "Figure":
    """Draw where a network's parameters, multiply-adds and bytes sit along its depth.

    Three rows of bars, one bar a layer, first to last from left to right; the colour and the hatch are the kind of
    layer. Each legend says what share the kind has of the row. The background changes where the image gets smaller.

    Parameters
    ----------
    layers : sequence of LayerCost
        A network, as the functions of `cost` give it.
    title : str
    path : path, optional
        Where to save the picture; the ending decides the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    OSError
        If `path` cannot be written.
    ValueError
        If a layer costs more than Matplotlib can draw.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v1
    >>> [axes.get_ylabel() for axes in costs(mobilenet_v1(), "V1").axes]
    ['parameters, thousands', 'multiply-adds, millions', 'bytes moved, millions']
    """
    from npmnv2.show.picture import Picture

    for layer in layers:
        if layer.madds + layer.bytes > 10**30:  # far below the largest float, which its transformations would reach
            raise ValueError(f"layers must cost less than 10**30 multiply-adds to be drawn; {layer.name} costs more")
    figure: Any = Picture(figsize=(11, 8.5), layout="constrained")
    figure.suptitle(title, fontweight="bold")
    rows = figure.subplots(3, 1, sharex=True)
    heights = (
        ("parameters, thousands", [layer.parameters / 1e3 for layer in layers]),
        ("multiply-adds, millions", [layer.madds / 1e6 for layer in layers]),
        ("bytes moved, millions", [layer.bytes / 1e6 for layer in layers]),
    )
    for axes, (label, values) in zip(rows, heights, strict=True):
        _bars(axes, layers, values)
        axes.set_ylabel(label)
    _stages(rows, layers)
    rows[-1].set_xlabel("layer, in the order they run; the bands are the sizes of the output, in pixels")
    rows[-1].set_xticks(range(len(layers)), [layer.name for layer in layers], rotation=90, fontsize=7)
    rows[-1].set_xlim(-0.7, len(layers) - 0.3)
    if path is not None:
        save(figure, path)
    return figure


def _bars(axes: Any, layers: Sequence[LayerCost], values: Sequence[float]) -> None:
    """One bar a layer, a legend a kind."""
    for kind, (color, hatch) in KINDS.items():
        which = [k for k, layer in enumerate(layers) if layer.kind == kind]
        if which:
            share = 100 * sum(values[k] for k in which) / sum(values)
            label = f"{kind}, {share:.1f} %"
            axes.bar(which, [values[k] for k in which], color=color, hatch=hatch, edgecolor="white", lw=0, label=label)
    axes.set_ylim(0, 1.12 * max(values))  # room for the sizes of the image
    axes.legend(loc="lower right", fontsize=8, ncols=5, frameon=False, bbox_to_anchor=(1, 0.99), borderaxespad=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _stages(rows: Sequence[Any], layers: Sequence[LayerCost]) -> None:
    """A band behind the layers that write images of one size, and the size above it in the first row."""
    sizes = [layer.out_shape[:2] for layer in layers]
    starts = [k for k in range(len(sizes)) if k == 0 or sizes[k] != sizes[k - 1]]
    for number, (first, end) in enumerate(zip(starts, [*starts[1:], len(sizes)], strict=True)):
        for axes in rows:
            if number % 2 == 0:
                axes.axvspan(first - 0.5, end - 0.5, color="0.93", zorder=0, lw=0)
        H, W = sizes[first]
        label = f"{H}x{W}"
        rows[0].annotate(
            label, ((first + end - 1) / 2, 0.985), xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=8
        )
