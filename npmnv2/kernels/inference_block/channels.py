"""An inference block by channels: a piece of the wide channels at a time, of whole images, the paper's way.

The plain version is `engine.folding.FoldedBlock`; docs/fusion.md has this one in five lines of NumPy. Each piece goes
through all three steps, and what the pieces give is added up: by one thread that has them all, or, if the images cannot
be shared evenly, from a part of the output for each group of pieces (`project.add_parts`). The order is the same, so
the bits do not tell.

The rows of all images lie below one another, (N*H, W, C): a product may take rows of several images.
"""

from npmnv2.kernels.inference_block.depthwise import filter_rows
from npmnv2.kernels.inference_block.expand import clear_border, expand_rows
from npmnv2.kernels.inference_block.project import add_piece, project
from npmnv2.kernels.inference_block.records import of_piece
from npmnv2.kernels.jit import compile_task


@compile_task
def by_channels(thread, threads, x, weights, sizes, cut, scratch, out):
    """What one thread does of out = the block of x; or, if there are parts, of scratch.parts[g] = group g's part of it.

    A task is (`images` images, group of pieces); cut: `Channels`; others as in `Bound`.
    """
    N, H, W, C = x.shape
    _, OH, OW, M = out.shape
    rows_in, rows_out = x.reshape(N * H, W, C), out.reshape(N * OH, OW, M)
    groups, pieces = len(scratch.parts), len(weights.wp)
    tasks = (N + cut.images - 1) // cut.images * groups
    clear_border(scratch.wide, sizes.top, H, sizes.left, sizes.W)
    for task in range(thread * tasks // threads, (thread + 1) * tasks // threads):
        g, n = task % groups, task // groups * cut.images
        count = min(cut.images, N - n)
        begin = g * cut.pieces
        result = rows_out if groups == 1 else scratch.parts[g]
        for k in range(begin, min(begin + cut.pieces, pieces)):
            piece = of_piece(weights, k)
            for first in range(0, count * H, cut.expand):
                y = n * H + first
                expand_rows(rows_in[y : y + min(cut.expand, count * H - first)], k, piece, sizes, scratch, first)
            for i in range(count):
                filter_rows(scratch.wide, i, 0, OH, piece, sizes, scratch.hidden, i * OH * OW)
            for first in range(0, count * OH, cut.project):
                y, rows = n * OH + first, min(cut.project, count * OH - first)
                project(scratch.hidden, first * OW, rows * OW, piece.wp, scratch.narrow)
                last = groups == 1 and k == pieces - 1
                add_piece(rows_in[y : y + rows], piece, sizes, scratch.narrow, result[y : y + rows], k > begin, last)
