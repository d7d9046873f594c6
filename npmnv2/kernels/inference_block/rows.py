"""An inference block by rows: its wide middle is a few rows in the cache of a core, never in memory.

The plain version is `engine.folding.FoldedBlock`; docs/fusion.md has this one in fifteen lines of NumPy. A band of
output rows is made from top to bottom. Each row of x is expanded once in a band, into `wide`, a ring of a few rows that
begins again at its first when it is full. What the 3x3 windows of the next `step` rows of the output see is in there;
those are filtered into `hidden` and projected at once.

`wide` has zeros around the image, so no loop asks where the border is. A product of the expansion is one row of the
image, and one of the projection is `step` rows that lie in the same place in any band: so the bits do not tell where
the bands were cut.
"""

from npmnv2.kernels.inference_block.depthwise import filter_rows
from npmnv2.kernels.inference_block.expand import clear_border, fill
from npmnv2.kernels.inference_block.project import add_piece, project
from npmnv2.kernels.inference_block.records import of_piece
from npmnv2.kernels.jit import compile_task


@compile_task
def by_rows(thread, threads, x, weights, sizes, cut, scratch, out):
    """What one thread does of out = the block of x. A task is (image, band). cut: `Rows`; others as in `Bound`."""
    s, OW, pieces = sizes.stride, sizes.OW, len(weights.wp)
    bands = (sizes.OH + cut.band - 1) // cut.band
    tasks = len(x) * bands
    clear_border(scratch.wide, 0, scratch.wide.shape[1], sizes.left, sizes.W)
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        n, begin = task // bands, task % bands * cut.band
        end = min(begin + cut.band, sizes.OH)
        image, result = x[n], out[n]
        for k in range(pieces):
            piece = of_piece(weights, k)
            filled = s * begin - sizes.top  # the first row that is not in `wide` yet
            for oy in range(begin, end, cut.step):
                rows = min(cut.step, end - oy)
                first = s * oy - sizes.top
                need = first + s * (rows - 1) + 3
                fill(image, k, piece, sizes, scratch, filled, need)
                filled = max(filled, need)
                filter_rows(scratch.wide, 0, first, rows, piece, sizes, scratch.hidden, 0)
                project(scratch.hidden, 0, rows * OW, piece.wp, scratch.narrow)
                add_piece(
                    image[oy : oy + rows], piece, sizes, scratch.narrow, result[oy : oy + rows], k > 0, k == pieces - 1
                )
