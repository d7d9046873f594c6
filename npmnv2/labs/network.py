"""What a network costs if it is counted wrongly: every usual mistake as a flag, to be found in a student's totals.

The student's `network_cost` gives one number a table. The tables of the lab are small and differ in one thing each, so
six numbers stand for a way of counting. A mistake, or two at once, is named if it gives all six exactly, and if no
other one does.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from npmnv2.labs.lab import Wrong
from npmnv2.labs.product import Finding

Row = tuple[int, int, int, int]  # expansion factor, output channels, number of blocks, stride of the first
MOBILENET_V2: list[Row] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
TABLES: list[list[Row]] = [
    [],
    [(1, 16, 1, 1)],
    [(6, 24, 1, 1)],
    [(6, 24, 1, 2)],
    [(6, 24, 3, 2)],
    MOBILENET_V2,
]


class Mistake(NamedTuple):
    """A cause, and what is said of it."""

    cause: str
    says: str


_LISTED = {
    "expansion-at-1": ("expansion-at-1", "a block with t = 1 has no expansion; yours counts one."),
    "stride-repeated": ("stride-repeated", "only the first block of a row has the stride s, the others have 1."),
    "stride-ignored": ("stride-ignored", "the stride makes the image smaller; yours does not."),
    "stride-on-expand": (
        "stride-misplaced",
        "the expansion still sees the pixels of the input: the stride is in the depthwise layer.",
    ),
    "stride-after-block": (
        "stride-misplaced",
        "the depthwise layer has the stride: its output, and the projection, have fewer pixels already.",
    ),
    "last-row-stride": ("stride-misplaced", "the last row has stride 1; yours has stride 2."),
    "project-before-stride": ("stride-misplaced", "the projection sees the pixels that the depthwise layer leaves."),
    "early-strides": (
        "early-strides",
        "an early print of Table 2 has the strides of the rows with 64 and 96 channels exchanged.",
    ),
    "repeats-ignored": ("repeats-ignored", "a row stands for n blocks; yours counts one."),
    "channels-kept": ("wrong-width", "from the second block of a row on, the input has c channels."),
    "expansion-of-output": (
        "wrong-width",
        "the wide middle has t times the channels of the block's input, not output.",
    ),
    "expansion-of-output-where-it-widens": (
        "wrong-width",
        "the wide middle has t times the channels of the block's input, not output.",
    ),
    "channels-never": ("wrong-width", "the input of the next block has c channels; yours keeps its 32."),
    "depthwise-narrow": ("wrong-width", "the depthwise layer has all t * C channels; yours has C."),
    "size-kept": ("stride-ignored", "all that comes after a stride of 2 sees fewer pixels; yours does not."),
    "size-early": (
        "stride-misplaced",
        "the expansion still sees the pixels of the input; yours sees fewer, and the depthwise layer fewer again.",
    ),
    "stem-size-kept": ("stride-ignored", "after the stem there are 112 x 112 pixels; yours goes on with 224 x 224."),
    "expansion-ignored": ("wrong-width", "the wide middle has t times the channels of the input; yours has as many."),
    "stem-missing": ("layer-missing", "the stem is not counted."),
    "stem-stride": ("stride-misplaced", "the stem has stride 2."),
    "head-missing": ("layer-missing", "the head, the last convolution, is not counted."),
    "head-stride": ("stride-misplaced", "the head has stride 1; yours has stride 2."),
    "classifier-missing": ("layer-missing", "the classifier is not counted."),
    "classifier-everywhere": ("pool-forgotten", "the classifier sees one pixel: the mean over all."),
    "expand-missing": ("layer-missing", "the pointwise layer that widens is not counted."),
    "depthwise-missing": ("layer-missing", "the depthwise layer is not counted."),
    "project-missing": ("layer-missing", "the pointwise layer that narrows is not counted."),
    "depthwise-as-standard": (
        "depthwise-as-standard",
        "in a depthwise convolution an output channel sees one input channel.",
    ),
    "bias-counted": ("bias-counted", "an addition alone is no multiply-add."),
    "two-operations": ("two-operations", "a multiplication and its addition are one multiply-add, not two operations."),
    "weights": ("weights-for-madds", "these are the weights: each is used once for every pixel of the output."),
    "parameters": ("weights-for-madds", "these are the weights and all biases, gammas and betas: the parameters."),
    "variables": ("weights-for-madds", "these are the parameters and the moving statistics: all variables."),
}


MISTAKES = {flag: Mistake(*mistake) for flag, mistake in _LISTED.items()}


def network_cost(rows: Iterable[Row], mistakes: Sequence[str] = ()) -> int:
    """The multiply-adds of the network of a table, counted right or with mistakes.

    Examples
    --------
    >>> network_cost(MOBILENET_V2), network_cost(MOBILENET_V2, ["expansion-at-1"])
    (300774272, 313619328)
    """
    has = set(mistakes).__contains__
    total, size, C = 0, 224, 32

    def add(size: int, weights: int, out: int, batchnorm: bool = True) -> None:
        nonlocal total
        if has("weights"):
            total += weights
        elif has("parameters"):
            total += weights + (2 if batchnorm else 1) * out
        elif has("variables"):
            total += weights + (4 if batchnorm else 1) * out
        else:
            total += (size**2 * weights + has("bias-counted") * size**2 * out) * (2 if has("two-operations") else 1)

    size = size if has("stem-stride") else _half(size)
    if not has("stem-missing"):
        add(size, 3 * 3 * 3 * 32, 32)
    size = 224 if has("stem-size-kept") else size
    for t, c, n, s in rows:
        first = C
        s = 2 if has("last-row-stride") and c == 320 else s
        s = {64: 1, 96: 2}.get(c, s) if has("early-strides") else s
        for block in range(1 if has("repeats-ignored") else n):
            C = first if has("channels-kept") else C
            of_output = has("expansion-of-output") or (t > 1 and has("expansion-of-output-where-it-widens"))
            wide = C if has("expansion-ignored") else t * (c if of_output else C)
            halved = s == 2 and (block == 0 or has("stride-repeated")) and not has("stride-ignored")
            out = _half(size) if halved else size
            if (t > 1 or has("expansion-at-1")) and not has("expand-missing"):
                add(out if has("stride-on-expand") or has("size-early") else size, C * wide, wide)
            deep = size if has("stride-after-block") else out
            if not has("depthwise-missing"):
                deeper = _half(out) if halved and has("size-early") else deep
                filters = C if has("depthwise-narrow") else wide
                add(deeper, 9 * filters * (filters if has("depthwise-as-standard") else 1), filters)
            if not has("project-missing"):
                add(size if has("project-before-stride") or has("size-kept") else deep, wide * c, c)
            size, C = size if has("size-kept") else out, C if has("channels-never") else c
    size = _half(size) if has("head-stride") else size
    if not has("head-missing"):
        add(size, C * 1280, 1280)
    if not has("classifier-missing"):
        add(size if has("classifier-everywhere") else 1, 1280 * 1000, 1000, batchnorm=False)
    return total


def _half(size: int) -> int:
    return (size + 1) // 2


def explain(wrong: Wrong) -> Finding:
    """The mistake, or the two, that give the student's total for every table."""
    mine, right = int(wrong.results[0]), int(wrong.right[0])
    totals = [int(wrong.call((list(rows),))[0]) for rows in TABLES]
    begins = f"The total must be {right:,}; yours is {mine:,}"
    unread = Finding("unexplained", f"{begins}, {mine / right:.6g} times as much.")
    if len(set(totals)) == 1:
        return Finding(
            "rows-ignored", f"{begins}, and the same for every table: the rows take no part.{_printed(mine)}"
        )
    for many in (1, 2):
        found = [m for m in combinations(MISTAKES, many) if [network_cost(rows, m) for rows in TABLES] == totals]
        if found:
            break
    else:
        return unread
    shared = set.intersection(*map(set, found))  # two pairs may count alike: what they have in common is certain
    here = [m for m in MISTAKES if m in shared and network_cost(wrong.arguments[0], [m]) != right]
    if not here:
        return unread
    whole = f" The whole MobileNetV2 is then {totals[-1]:,}, not {network_cost(MOBILENET_V2):,}."
    return Finding(MISTAKES[here[0]].cause, f"{begins}: {MISTAKES[here[0]].says}{whole if mine != totals[-1] else ''}")


def _printed(total: int) -> str:
    """What a total is that somebody has read somewhere: MobileNetV2's, counted right or wrong."""
    for many in (0, 1, 2):
        for mistakes in combinations(MISTAKES, many):
            if network_cost(MOBILENET_V2, mistakes) == total:
                said = " And ".join(MISTAKES[m].says for m in mistakes) or "counted right."
                return f" It is that of MobileNetV2: {said}"
    return ""
