"""What one thread does of an inference block: all three steps for a few rows, or for a piece of the channels, at once.

The plain version is `engine.folding.FoldedBlock`; docs/fusion.md has both ways to cut in NumPy. *By rows*: a band of
output rows is made from top to bottom, a few rows and all channels at a time. What the next rows see of the wide image
and is there already moves up, the rest is expanded. *By channels*: all rows, and a piece of the channels at a time,
whose parts are added up. Either way `wide` and `hidden` are in the cache of a core, and never whole in memory.

Each value of `wide` and `hidden` is a sum in the order of the channels or taps, and each of `out` in the order of
channels and pieces, wherever it was cut. So the bits do not tell how the work was shared.
"""

from npmnv2.kernels.inference_block.depthwise import filter_rows
from npmnv2.kernels.inference_block.expand import Span, clear_columns, fill, keep_rows
from npmnv2.kernels.inference_block.project import project
from npmnv2.kernels.jit import compile_task
from npmnv2.kernels.tiles import CHANNELS


@compile_task
def run_share(thread, threads, x, b):
    """Fill what is one thread's of b.out, or of b.scratch.parts. A task is (some images, band of rows, group of pieces).

    x: flat; b: `Bound`.
    """
    sizes, cut, parts = b.sizes, b.cut, b.scratch.parts
    panels, wide_panel = len(b.weights.bd) // CHANNELS, cut.images * cut.R * sizes.columns * CHANNELS
    pieces = (panels + cut.piece - 1) // cut.piece
    groups, bands = (pieces + cut.pieces - 1) // cut.pieces, (sizes.OH + cut.band - 1) // cut.band
    N = len(b.out) // (sizes.OH * sizes.OW * len(b.weights.bp))
    tasks = (N + cut.images - 1) // cut.images * bands * groups
    clear_columns(b, min(cut.piece, panels))
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        g, band, n = task % groups, task // groups % bands, task // (groups * bands) * cut.images
        images, end = min(cut.images, N - n), min((band + 1) * cut.band, sizes.OH)
        result = b.out if groups == 1 else parts[g * len(b.out) : (g + 1) * len(b.out)]
        filled = sizes.stride * band * cut.band - sizes.top  # the first row that is not in `wide` yet
        for oy in range(band * cut.band, end, cut.rows):
            rows = min(cut.rows, end - oy)
            first = sizes.stride * oy - sizes.top
            need = first + cut.R if cut.rows == sizes.OH else first + sizes.stride * (rows - 1) + sizes.KH
            if filled > first:
                keep_rows(b, panels, filled - first, sizes.stride * cut.rows)
            for k in range(g * cut.pieces, min((g + 1) * cut.pieces, pieces)):
                fill(x, n, b, k, Span(first, max(filled, first), need), images)
                filter_rows(b, k, images, rows)
                project(x, b, result, k, (n * sizes.OH + oy) * sizes.OW, images * rows * sizes.OW)
            filled = need
