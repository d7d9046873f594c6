"""How the work of a block in training is cut. The bits of a result depend on it, so it depends on the shapes alone."""

from functools import lru_cache

from npmnv2.kernels.batchnorm.loops import chunk_rows
from npmnv2.kernels.training_block.records import Cut, Cuts, Sizes
from npmnv2.kernels.tuning import TRAINING, Training
from npmnv2.shapes import Geometry

TUNING = TRAINING


@lru_cache(maxsize=256)  # a network asks the same few questions at every step
def cut(
    image: tuple[int, ...],
    widths: tuple[int, int, int],
    geometry: Geometry,
    expands: bool,
    shortcut: bool,
    tuning: Training,
) -> tuple[Sizes, Cuts]:
    """The sizes of a block, and how its work is cut.

    image: (N, H, W, C); widths: channels in the middle and behind, and columns of the kernel.
    """
    (N, H, W, C), (wide, M, K), g = image, widths, geometry
    pieces = pieces_of(wide, tuning.piece) if expands else 1
    E, P_in, P_out = wide // pieces, N * H * W, N * g.OH * g.OW

    def groups(pixels: int, tasks: int) -> int:
        """Of pixels, for so many tasks, but none too small."""
        return max(1, min(tasks, pixels // tuning.few))

    def by_share(pixels: int) -> Cut:
        found = groups(pixels, tuning.tasks)
        return Cut(found, max(1, min(pieces, pieces * found // tuning.tasks)))

    recompute = expands and P_in >= tuning.recompute * C and E >= C
    (top, _), (left, right) = g.pads
    sizes = Sizes(N, H, W, C, pieces, E, g.OH, g.OW, M, K, g.stride, top, left, right, expands, recompute, shortcut)
    of_a_piece = -(-tuning.tasks // pieces)  # tasks, where each owns a group of one piece
    return sizes, Cuts(
        tuning.tile, groups(P_in, of_a_piece), by_share(P_in), by_share(P_out), groups(P_out, of_a_piece),
        groups(P_in, tuning.tasks), chunk_rows(C), chunk_rows(M),
    )  # fmt: skip


def pieces_of(channels: int, most: int) -> int:
    """Into how many equal pieces: the fewest of at most `most` channels, of a multiple of 16 if one divides them.

    An even number is preferred while a piece keeps 64 channels: pieces are tasks, and threads mostly come in twos.

    >>> [channels // pieces_of(channels, 128) for channels in (8, 96, 144, 384, 576, 960)]
    [8, 96, 48, 96, 96, 96]
    """
    fitting = [n for n in range(1, channels + 1) if channels % n == 0 and channels // n <= most]
    whole = [n for n in fitting if channels // n % 16 == 0] or fitting
    return min((n for n in whole if n % 2 == 0 and channels // n >= 64 and whole[0] > 1), default=whole[0])
