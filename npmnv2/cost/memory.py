"""How much a network holds at once: the activations alive while each layer runs, under a schedule that is written down.

Layer by layer, a tensor is alive from the layer that writes it to the last one that reads it. The input of a block with
a shortcut is therefore alive until the block's end. Batch norm, ReLU6 and the addition of the shortcut work in place
and hold nothing more. Weights are not counted: they can be read from where they are stored.

An inverted residual can do better, because its wide middle is a sum of independent parts: each part is computed,
projected, added to the output and forgotten before the next one begins (V2, section 5.1).
"""

from collections.abc import Sequence
from typing import NamedTuple

from npmnv2.cost.layer import FLOAT32, LayerCost
from npmnv2.validate import check_int


class Step(NamedTuple):
    """What is alive while one operation runs, in bytes, for one image."""

    name: str
    input: int
    output: int
    shortcut: int  # a block's input, kept for its end; 0 where it is the input itself
    inside: int  # a part of a block's wide middle; 0 layer by layer

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.input + self.output + self.shortcut + self.inside


def schedule(layers: Sequence[LayerCost], element_size: int = FLOAT32) -> list[Step]:
    """What is alive at every step, one layer after the other.

    ::

        bytes = element_size * (input + output + the input of the block, if a shortcut still needs it)

    It is what equation (1) of [1]_ adds up: inputs and outputs of an operation, and what else a later one needs.

    Parameters
    ----------
    layers : sequence of LayerCost
        A network, in the order it runs. A global pool stands before its linear layer.
    element_size : int
        Bytes a number: 4 for float32, 2 for float16.

    Returns
    -------
    list of Step

    Raises
    ------
    ValueError, TypeError
        If `element_size` is not an integer of at least 1.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2", arXiv:1801.04381, section 5.1, equation (1), for the one order there is.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> peak(schedule(mobilenet_v2()))
    Step(name='b1.0.dw', input=4816896, output=1204224, shortcut=0, inside=0)
    """
    size = check_int(element_size, "element_size")
    ends = {layer.shortcut: layer.name for layer in layers if layer.shortcut}
    steps: list[Step] = []
    held, until = 0, ""
    for k, layer in enumerate(layers):
        if layer.kind == "linear" and k and layers[k - 1].kind != "linear":
            steps.append(Step("pool", size * layers[k - 1].outputs, size * layer.inputs, 0, 0))
        shortcut = held
        if layer.name in ends:  # from here on the input is needed twice
            held, until = size * layer.inputs, ends[layer.name]
        steps.append(Step(layer.name, size * layer.inputs, size * layer.outputs, shortcut, 0))
        if layer.name == until:
            held, until = 0, ""
    return steps


def split_schedule(layers: Sequence[LayerCost], splits: int, element_size: int = FLOAT32) -> list[Step]:
    """What is alive at every step, if every block of a network is one operation whose middle is computed in parts.

    A block is what `inverted_residual` describes; its layers share the part of their name before the last dot.

    Parameters
    ----------
    layers : sequence of LayerCost
    splits : int
        Parts, each of about ``t*C / splits`` channels.
    element_size : int

    Returns
    -------
    list of Step
        One a block, and one a layer outside blocks.

    Raises
    ------
    ValueError, TypeError
        If a number is not an integer of at least 1, or layers with a dot in their names make no such block.

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> [peak(split_schedule(mobilenet_v2(), splits)).bytes for splits in (1, 2, 6)]
    [7124992, 4114432, 2709504]
    """
    splits, size = check_int(splits, "splits"), check_int(element_size, "element_size")
    blocks: dict[str, list[LayerCost]] = {}
    for layer in layers:
        block = layer.name.rpartition(".")[0]
        if block:
            blocks.setdefault(block, []).append(layer)
    steps: list[Step] = []
    for step in schedule(layers, size):
        block = step.name.rpartition(".")[0]
        if not block:
            steps.append(step)
        elif step.name == blocks[block][0].name:
            wide = blocks[block][-1].in_shape[2]
            steps.append(inverted_residual(blocks[block], min(splits, wide), size))
    return steps


def inverted_residual(block: Sequence[LayerCost], splits: int = 1, element_size: int = FLOAT32) -> Step:
    """What an inverted residual holds while its middle is computed in `splits` parts.

    ::

        x  H*W*C          the block's input, alive to the end: every part reads it
        y  OH*OW*M        its output, alive from the start: every part is added to it
        e  H*W*n          the part's expanded channels, n = ceil(t*C / splits); none if t = 1
        d  OH*OW*n        the part after the depthwise convolution
        bytes = element_size * (x + y + e + d)

    It is a term of equation (2) of [1]_: inputs and outputs of an operation, and what it needs inside.

    The middle is per channel, so ``F(x) = sum over parts of project(relu6(dw(relu6(expand(x)))))`` is exact, and the
    multiply-adds do not depend on the number of parts. The paper's bound, with parts of one channel, is
    ``H*W*C + OH*OW*M + O(max(H*W, OH*OW))``.

    Parameters
    ----------
    block : sequence of LayerCost
        expand (unless t = 1), dw, project. The last two alone, dw and pw, are V1's block.
    splits : int
        Parts, from 1 to t*C.
    element_size : int

    Returns
    -------
    Step

    Raises
    ------
    ValueError, TypeError
        If a number is not an integer of at least 1, there are more parts than channels, or the block has other layers.

    References
    ----------
    .. [1] Sandler et al., "MobileNetV2", arXiv:1801.04381, section 5.1, equation (2) and "Bottleneck residual block".

    Examples
    --------
    >>> from npmnv2.cost import mobilenet_v2
    >>> block = [layer for layer in mobilenet_v2() if layer.name.startswith("b1.0.")]
    >>> [inverted_residual(block, splits).bytes for splits in (1, 2, 3, 6)]
    [7124992, 4114432, 3110912, 2107392]
    """
    splits, size = check_int(splits, "splits"), check_int(element_size, "element_size")
    kinds = [layer.kind for layer in block]
    if kinds not in (["depthwise", "pointwise"], ["pointwise", "depthwise", "pointwise"]):
        was = ", ".join(kinds) or "empty"
        raise ValueError(f"block must be [pointwise,] depthwise, pointwise, so that its middle has parts; was {was}")
    wide = block[-1].in_shape[2]
    if splits > wide:
        raise ValueError(f"splits must be at most {wide}, the channels in the middle of the block; was {splits}")
    name = block[-1].name.rpartition(".")[0]
    inside = size * _middle(block, splits)
    return Step(name, size * block[0].inputs, size * block[-1].outputs, 0, inside)


def peak(steps: Sequence[Step]) -> Step:
    """The step that holds most; the first of several.

    Raises
    ------
    ValueError
        If there is no step.

    Examples
    --------
    >>> peak([Step("a", 4, 4, 0, 0), Step("b", 4, 8, 4, 0)]).bytes
    16
    """
    if not steps:
        raise ValueError("steps must not be empty")
    return max(steps, key=lambda step: step.bytes)


def _middle(block: Sequence[LayerCost], splits: int) -> int:
    """Numbers in one part of the tensors inside a block: all outputs but the last layer's."""
    parts = 0
    for layer in block[:-1]:
        OH, OW, channels = layer.out_shape
        parts += OH * OW * -(-channels // splits)
    return parts
