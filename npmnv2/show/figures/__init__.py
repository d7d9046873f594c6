"""The figures of the documentation and of lectures, each a slide with one message: `python -m npmnv2 figures DIR`.

Every number in them is computed, by `cost`, by the plan of the network, by `shapes`; or it was measured, on a trained
network (`trained`) or on a machine that the figure names (`costs`). The same version of Matplotlib writes the same
bytes; another writes the same words. The pictures of experiments are drawn by `npmnv2.experiments`.

- `page`: the slide and its shapes.
- `convolutions`: a tap and a window; the gradients of two taps; the windows of one pixel; which inputs an output sees.
- `blocks`: the inverted residual against the classic one; the shapes through a block; a block
  in parts; the 17 blocks.
- `batchnorm`: the graph of its gradient.
- `costs`: where multiply-adds and bytes sit; a roofline; what a block in parts holds.
- `kernels`: a tile and a panel of weights.
- `trained`: a trained network: filters, what ReLU6 does, what it is without a shortcut.
- `labs`: the labs' example by hand: what each pixel and weight receives; what a gradient of ones hides.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from npmnv2.atomic import writing
from npmnv2.show.figures.batchnorm import batchnorm_graph, batchnorm_ways
from npmnv2.show.figures.blocks import block_shapes, in_parts, inverted_residual, network
from npmnv2.show.figures.convolutions import backward_of_a_tap, connectivity, pixel_12, tap_and_window
from npmnv2.show.figures.costs import memory_in_parts, roofline, where_cost_sits
from npmnv2.show.figures.kernels import tile_and_panel
from npmnv2.show.figures.labs import four_products, ones_hide
from npmnv2.show.figures.page import TITLE
from npmnv2.show.figures.trained import trained_filters, trained_relu6, trained_shortcuts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[], "Figure"]] = {
    "tap_and_window": tap_and_window,
    "backward_of_a_tap": backward_of_a_tap,
    "pixel_12": pixel_12,
    "connectivity": connectivity,
    "inverted_residual": inverted_residual,
    "block_shapes": block_shapes,
    "in_parts": in_parts,
    "network": network,
    "batchnorm_graph": batchnorm_graph,
    "batchnorm_ways": batchnorm_ways,
    "where_cost_sits": where_cost_sits,
    "roofline": roofline,
    "memory_in_parts": memory_in_parts,
    "tile_and_panel": tile_and_panel,
    "trained_filters": trained_filters,
    "trained_relu6": trained_relu6,
    "trained_shortcuts": trained_shortcuts,
    "four_products": four_products,
    "ones_hide": ones_hide,
}

# Neither the date nor Matplotlib's version: the bytes depend on the drawing alone.
METADATA: dict[str, dict[str, None]] = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}


def draw(name: str) -> "Figure":
    """Draw one figure.

    Parameters
    ----------
    name : str
        A key of `FIGURES`.

    Returns
    -------
    matplotlib Figure
        A slide of 960x540 points.

    Raises
    ------
    ValueError
        For a name that is none.

    Examples
    --------
    >>> draw("tap_and_window").get_size_inches().tolist()[1]
    7.5
    """
    if name not in FIGURES:
        raise ValueError(f"name must be one of {', '.join(FIGURES)}; was {name}")
    with _settings():
        return FIGURES[name]()


def message(drawing: Callable[[], "Figure"]) -> str:
    """The title of a figure, in one line.

    Examples
    --------
    >>> message(FIGURES["pixel_12"])
    'At stride 2 pixel 12 lies in 4 windows'
    """
    with _settings():
        texts = drawing().axes[0].texts
    return " ".join(text.get_text() for text in texts if text.get_fontsize() == TITLE)


def write(drawing: Callable[[], "Figure"], path: str | os.PathLike[str]) -> None:
    """Draw a figure and write it, whole or not at all (`atomic`).

    Parameters
    ----------
    drawing : callable
        A value of `FIGURES`, or another that returns a figure of 960x540 points.
    path : path
        Its ending is .svg, or .png for 1920x1080 pixels. A file that is there is replaced.

    Raises
    ------
    OSError
        If it cannot be written.
    ValueError
        For another ending.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "picture.svg")
    ...     write(FIGURES["inverted_residual"], path)
    ...     len(open(path).read()) > 1000
    True
    """
    ending = os.path.splitext(path)[1]
    if ending not in METADATA:
        raise ValueError(f"path must end in {' or '.join(METADATA)}; was {os.fspath(path)}")
    with _settings(), writing(path) as file:
        drawing().savefig(file, format=ending[1:], dpi=144, metadata=METADATA[ending])


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Matplotlib's own defaults, whatever the reader's are, and an SVG that does not change from run to run."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",  # text stays text: it is small, can be searched, read aloud and tested
                "svg.hashsalt": "npmnv2",  # else the names of hatches and clips are random
                "hatch.linewidth": 1.2,
            }
        )
        yield
