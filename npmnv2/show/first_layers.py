"""The picture of one classification: what the network was shown, what its first layers saw, what it said."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npmnv2.backends import backend
from npmnv2.data.images import prepare
from npmnv2.engine.folding import FoldedConv, FoldedNetwork, folded
from npmnv2.models.network import Network
from npmnv2.show.classify import Guess, about, printable
from npmnv2.show.plots import BLUE, save
from npmnv2.validate import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8  # channels shown of each layer
SIGNS = "orange: negative, purple: positive"


def first_layers(
    model: Network, image: Array, top: Sequence[Guess], path: str | PathLike[str] | None = None
) -> "Figure":
    """Draw one picture's way through the first layers of a network, and what came out at the other end.

    Above: the picture, what is left of it when it is prepared, the places that speak for the likeliest class, and the
    likeliest classes. Below, a column a channel: a filter of the stem, what it gives, the depthwise filter that this
    channel alone goes through, what that gives; and, last, channels in which a pointwise convolution has mixed all.

    All weights are shown with batch norm folded into them, since that is what the picture really meets.

    Parameters
    ----------
    model : Network
        With `preprocessing` set.
    image : ndarray of shape (H, W, C), uint8
        As `data.images.open_image` gives it.
    top : sequence of Guess
        The likeliest classes, the likeliest first; at most five are drawn.
    path : path, optional
        Where to save the picture; the ending decides the format.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    OSError
        If `path` cannot be written.
    """
    from npmnv2.show.picture import Picture

    network = folded(model)
    x = prepare(image, model.preprocessing)[None].astype(model.config["dtype"], copy=False)  # (1, H, W, C)
    with backend("numpy"):
        layers = _follow(network, x)
        evidence = _evidence(network, x, top[0].number)
    shown = _displayed(x[0], model.preprocessing)
    figure: Any = Picture(figsize=(12, 11.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)  # inches
    above, below = figure.subfigures(2, 1, height_ratios=[3.6, 7.8])
    above.suptitle(f"{about(model)}: “{_name(top[0], 60)}”", fontweight="bold", parse_math=False)
    _summary(above, image, shown, evidence, top)
    _columns(below, layers)
    if path is not None:
        save(figure, path)
    return figure


def _follow(network: FoldedNetwork, x: Array) -> list[tuple[FoldedConv, Array]]:
    """The stem and the first block's convolutions, each with its output (OH, OW, M)."""
    layers = []
    for conv in [*network.blocks[0].convs, *network.blocks[1].convs]:
        x = conv(x)
        layers.append((conv, x[0]))
    return layers


def _evidence(network: FoldedNetwork, x: Array, number: int) -> Array:
    """What every place of the last feature map adds to the logit of a class, more than to the average class: (h, w).

    The classifier is linear and sees the average over the places. So it may as well be applied to each place first,
    and the logit is the mean of what comes out, and a bias. Only differences between logits change a probability.
    """
    for block in network.blocks:
        x = block(x)
    evidence: Array = x[0] @ (network.w[:, number] - network.w.mean(axis=1))  # (h, w)
    return evidence


def _displayed(x: Array, preprocessing: Any) -> Array:
    """Prepared pixels as colours again: (H, W, 3), 0 to 1."""
    back = x * np.array(preprocessing.std) + np.array(preprocessing.mean)
    colours: Array = np.broadcast_to(np.clip(back, 0, 1), (*x.shape[:2], 3))
    return colours


def _summary(figure: Any, image: Array, shown: Array, evidence: Array, top: Sequence[Guess]) -> None:
    picture, prepared, places, bars = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.25])
    H, W = shown.shape[:2]
    name = _name(top[0], 24)
    picture.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))
    picture.set_title(f"the picture, {image.shape[1]}x{image.shape[0]}", fontsize=10)
    prepared.imshow(shown, interpolation="nearest")
    prepared.set_title(f"what the network gets, {W}x{H}", fontsize=10)
    places.imshow(shown.mean(axis=-1), cmap="gray", vmin=-1.5, vmax=1, interpolation="nearest")
    extent = (-0.5, W - 0.5, H - 0.5, -0.5)
    places.imshow(evidence, cmap="PuOr", alpha=0.6, extent=extent, interpolation="bilinear", **_around_zero(evidence))
    places.set_title(f"where “{name}” comes from", fontsize=10, parse_math=False)
    places.set_xlabel(
        f"purple: for it, orange: against it\n({_size(evidence)} places, compared with other classes)", fontsize=8
    )
    for axes in (picture, prepared, places):
        axes.set_xticks([])
        axes.set_yticks([])
    drawn = top[:5]
    bars.barh(range(len(drawn)), [100 * guess.probability for guess in drawn], height=0.42, color=BLUE)
    for k, guess in enumerate(drawn):
        label = f"{_name(guess, 34)}  {100 * guess.probability:.1f} %"
        bars.text(0.5, k - 0.29, label, fontsize=9, va="bottom", parse_math=False)
    bars.set_title("what it says", fontsize=10)
    bars.set_xlim(0, 100)
    bars.set_ylim(4.5, -0.75)
    bars.set_yticks([])
    bars.set_xlabel("probability, %", fontsize=8)
    bars.tick_params(labelsize=8)
    bars.spines[["top", "right"]].set_visible(False)


def _name(guess: Guess, most: int) -> str:
    name = f"class {guess.number}" if guess.label is None else printable(guess.label)
    return name if len(name) <= most else name[: most - 1] + "…"


def _size(a: Array) -> str:
    return f"{a.shape[1]}x{a.shape[0]}"


def _around_zero(a: Array) -> dict[str, float]:
    limit = float(np.abs(a).max()) or 1.0
    return {"vmin": -limit, "vmax": limit}


def _columns(figure: Any, layers: list[tuple[FoldedConv, Array]]) -> None:
    """Each layer's filters and what they give; a column is one channel until a layer mixes channels."""
    rows = _rows(layers)
    ratios = [0.75 if row.is_filters else 1.0 for row in rows]
    grid = figure.subplots(
        len(rows), COLUMNS + 1, width_ratios=[1.7, *[1.0] * COLUMNS], height_ratios=ratios, squeeze=False
    )
    for row, (text, *places) in zip(rows, grid, strict=True):
        text.text(1, 0.5, row.words, ha="right", va="center", fontsize=9, transform=text.transAxes, linespacing=1.35)
        text.axis("off")
        for axes in places[len(row.tiles) :]:
            axes.axis("off")
        for axes, (pixels, options) in zip(places, row.tiles, strict=False):
            axes.imshow(pixels, interpolation="nearest", **options)
            axes.set_xticks([])
            axes.set_yticks([])
        for axes, channel in zip(places, () if row.channels is None else row.channels, strict=False):
            axes.set_title(f"channel {channel}", fontsize=9)


Tile = tuple[Array, dict[str, Any]]  # pixels, and how to colour them


class Row(NamedTuple):
    """A row of the picture: the words on its left, then a tile a channel."""

    words: str
    is_filters: bool
    tiles: list[Tile]
    channels: Array | None = None  # whose they are, if that is not the column above


def _rows(layers: list[tuple[FoldedConv, Array]]) -> list[Row]:
    stem, seen = layers[0]
    C, chosen = stem.w.shape[2], _liveliest(layers)
    colours = "grey: 0, colours: what it looks for" if C == 3 else SIGNS
    words = f"STEM (standard convolution)\n{len(chosen)} of {seen.shape[-1]} filters, {_size(stem.w)}x{C}\n{colours}"
    rows = [
        Row(words, True, [_filter(stem.w[:, :, :, c]) for c in chosen], chosen),
        Row(f"what each finds, {_size(seen)}\n{_scale(seen, chosen)}", False, _maps(seen, chosen)),
    ]
    for conv, out in layers[1:]:
        if conv.kind == "depthwise":
            words = f"DEPTHWISE\none {_size(conv.w)} filter a channel, used\non the map above it and no other\n{SIGNS}"
            rows.append(Row(words, True, [_filter(conv.w[:, :, c, None]) for c in chosen]))
            rows.append(Row(f"what that leaves, {_size(out)}\n{_scale(out, chosen)}", False, _maps(out, chosen)))
        else:
            mixed = _strongest(out)
            kind = {"pointwise": "POINTWISE", "standard": "STANDARD"}[conv.kind]
            scale = _scale(out, mixed) if conv.relu6 else f"no ReLU6 here\n{SIGNS}"
            these = f"{len(mixed)} of {out.shape[-1]} channels, {_size(out)},"
            words = f"{kind}\n{these}\neach a mixture of all {conv.w.shape[-2]} above\n{scale}"
            rows.append(Row(words, False, _maps(out, mixed) if conv.relu6 else _signed_maps(out, mixed), mixed))
    return rows


def _liveliest(layers: list[tuple[FoldedConv, Array]]) -> Array:
    """The channels in which most happens, in the stem and in the depthwise layer after it, in their own order."""
    (_, seen), (conv, out) = layers[:2]
    spread = seen.std(axis=(0, 1))  # (M,)
    if conv.kind == "depthwise":
        spread = spread * out.std(axis=(0, 1))
    return np.sort(np.argsort(-spread, kind="stable")[:COLUMNS])


def _strongest(out: Array) -> Array:
    return np.sort(np.argsort(-out.std(axis=(0, 1)), kind="stable")[:COLUMNS])


def _filter(w: Array) -> Tile:
    """(KH, KW, C) as colours around grey, if C are colours; else as one number a tap."""
    if w.shape[2] == 3:
        return 0.5 + 0.5 * w / (float(np.abs(w).max()) or 1.0), {}
    taps = w.mean(axis=2)  # (KH, KW)
    return taps, {"cmap": "PuOr", **_around_zero(taps)}


def _scale(out: Array, chosen: Array) -> str:
    return f"black: 0, white: {_white(out, chosen):.2g} and more"


def _white(out: Array, chosen: Array) -> float:
    """What is drawn white: all but the brightest half percent, or a few bright spots would leave the rest black."""
    return float(np.percentile(out[:, :, chosen], 99.5)) or 1.0


def _maps(out: Array, chosen: Array) -> list[Tile]:
    """After ReLU6, where 0 is the least."""
    return [(out[:, :, c], {"cmap": "gray", "vmin": 0.0, "vmax": _white(out, chosen)}) for c in chosen]


def _signed_maps(out: Array, chosen: Array) -> list[Tile]:
    limits = _around_zero(out[:, :, chosen])
    return [(out[:, :, c], {"cmap": "PuOr", **limits}) for c in chosen]
