"""What one thread does of an inference block: three steps for a few rows, or for a piece of the channels, at a time.

The plain version is `engine.folding.FoldedBlock`; docs/fusion.md has both ways to cut in NumPy. *By rows*: a band of
output rows from top to bottom, a few rows of all channels at a time. Rows of `wide` that the next ones see too move up,
the others are expanded. *By channels*: all rows of a piece of the channels at a time; what the pieces give is added up.
Either way `wide` and `hidden` fit the cache of a core, and never are whole in memory.

A value of `wide` or `hidden` is summed in the order of channels or taps, one of `out` in that of channels and pieces,
however the work is cut. So the bits depend on `Cut.piece` alone.
"""

from npmnv2.kernels.inference_block.depthwise import filter_rows
from npmnv2.kernels.inference_block.expand import Span, clear_columns, fill, keep_rows
from npmnv2.kernels.inference_block.project import project
from npmnv2.kernels.jit import compile_task
from npmnv2.kernels.tiles import CHANNELS


@compile_task
def run_share(thread, threads, x, b):
    """Fill one thread's share of b.out, or of b.scratch.parts. A task: (some images, a band, a group of pieces).

    x: flat; b: `Bound`.
    """
    sizes, cut, parts = b.sizes, b.cut, b.scratch.parts
    panels = len(b.weights.bd) // CHANNELS
    pieces = (panels + cut.piece - 1) // cut.piece
    groups, bands = (pieces + cut.pieces - 1) // cut.pieces, (sizes.OH + cut.band - 1) // cut.band
    is_part = groups > 1  # of the output: what a group adds to it
    N = len(b.out) // (sizes.OH * sizes.OW * len(b.weights.bp))
    tasks = (N + cut.images - 1) // cut.images * bands * groups
    clear_columns(b, min(cut.piece, panels))
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        g, band, n = task % groups, task // groups % bands, task // (groups * bands) * cut.images
        images, end = min(cut.images, N - n), min((band + 1) * cut.band, sizes.OH)
        result = parts[g * len(b.out) : (g + 1) * len(b.out)] if is_part else b.out
        # The first row of the image that is not in `wide` yet. Where the next rows overlap with those that are, from
        # `first` to `filled`, these are moved to the top of `wide`.
        filled = sizes.stride * band * cut.band - sizes.top
        for oy in range(band * cut.band, end, cut.rows):
            rows = min(cut.rows, end - oy)
            first = sizes.stride * oy - sizes.top
            # With all rows at once also those that no window sees: `wide` is filled as one image after the other.
            need = first + cut.R if cut.rows == sizes.OH else first + sizes.stride * (rows - 1) + sizes.KH
            if filled > first:
                keep_rows(b, panels, filled - first, sizes.stride * cut.rows)
            for k in range(g * cut.pieces, min((g + 1) * cut.pieces, pieces)):
                fill(x, n, b, k, Span(first, max(filled, first), need), images)
                filter_rows(b, k, images, rows)
                project(x, b, result, is_part, k, (n * sizes.OH + oy) * sizes.OW, images * rows * sizes.OW)
            filled = need
