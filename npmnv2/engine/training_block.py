"""The inverted residual in training mode as two compiled calls, in the place of a block that is exactly that.

`nn.blocks.InvertedResidual` layer by layer is the plain version, and what runs wherever this one may not: a part was
replaced, added or wrapped, somebody watches, a batch norm is frozen, or the kernels do not take such an x.
"""

import math
from typing import Any

from npmnv2.kernels.training_block import block as compiled
from npmnv2.kernels.training_block.records import BatchNorm, Weights
from npmnv2.nn.base import Layer, numbers
from npmnv2.nn.blocks import ConvBN, InvertedResidual
from npmnv2.nn.exact import difference, is_stand_in, operations_are_ours
from npmnv2.validate import Array

# What a block calls. Whoever replaces one of them means every call of it.
OPERATIONS = (
    "pointwise_conv2d_forward", "pointwise_conv2d_backward", "depthwise_conv2d_forward", "depthwise_conv2d_backward",
    "batchnorm_forward", "batchnorm_backward", "batchnorm_relu6_forward", "batchnorm_relu6_backward",
)  # fmt: skip


class TrainingBlock:
    """Runs in the place of one block, for one forward and its backward.

    The cache is the block's, so whatever drops the block's cache drops this one too. The backward is left in the block
    as an attribute, which hides the method of the class, until it has run or the next forward begins.
    """

    def __init__(self, block: InvertedResidual) -> None:
        self.block = block
        self.ran: list[Any] = []

    def forward(self, x: Array) -> Array:
        """The block's forward; its next backward is then the one below."""
        block = self.block
        parameters = _parameters(block)
        if not compiled.is_possible(x, parameters):
            return block.forward(x)
        for layer in _inside(block):
            layer._cache = None  # which may be there from a forward one by one
            layer._number = next(numbers)  # so that whoever shares it knows of this forward
        out, cache = compiled.forward(x, parameters)
        for part, (shape, mean, var, _) in zip(_parts(block), compiled.statistics(cache), strict=True):
            part.bn.update_statistics(math.prod(shape[:-1]), mean, var)
        block._cache, self.ran = cache, _fingerprint(block)
        block.backward = self.backward  # type: ignore[method-assign]
        return out

    def backward(self, dout: Array) -> Array:
        """The block's backward: this one, unless its layers have run one by one since."""
        block = self.block
        if block._cache is None or any(layer._cache is not None for layer in _inside(block)):
            _detach(block)
            return type(block).backward(block, dout)
        if (
            self.ran != _fingerprint(block)
            or any(map(difference, _parts(block)))
            or not operations_are_ours(OPERATIONS)
        ):
            raise RuntimeError(
                "backward needs the block as it was in its forward: a part was changed since, or has run another "
                "forward in a block that shares it"
            )
        dx, (dwe, dwd, dwp), norms = compiled.backward(dout, block._cache)
        if block.t != 1:
            block.expand.conv.w.grad = dwe
        block.dw.conv.w.grad, block.project.conv.w.grad = dwd, dwp
        for part, (dgamma, dbeta) in zip(_parts(block), norms, strict=True):
            part.bn.gamma.grad, part.bn.beta.grad = dgamma, dbeta
        block._cache = None
        _detach(block)
        return dx

    backward.stands_in = True  # type: ignore[attr-defined]  # see `nn.exact.is_stand_in`


def whole(block: InvertedResidual) -> TrainingBlock | InvertedResidual:
    """What runs the next forward: a `TrainingBlock` if the block is exactly what that computes, else the block."""
    _detach(block)  # from a forward whose backward never came
    if difference(block) is not None or type(block.project) is not ConvBN or block.wide_residual:
        return block
    inside = _inside(block)
    if not all(layer.training for layer in inside) or len(set(map(id, inside))) < len(inside):
        return block
    return TrainingBlock(block) if operations_are_ours(OPERATIONS) else block


def _detach(block: InvertedResidual) -> None:
    if is_stand_in(vars(block).get("backward")):
        block._cache = None
        del block.backward  # type: ignore[method-assign]


def _fingerprint(block: InvertedResidual) -> list[Any]:
    """What must be the same in the backward as it was in the forward: the parts, their last forwards, the shortcut."""
    return [block.residual, block.t, *((layer, layer._number) for layer in _inside(block))]


def _parts(block: InvertedResidual) -> list[ConvBN]:
    return [block.expand, block.dw, block.project] if block.t != 1 else [block.dw, block.project]


def _inside(block: InvertedResidual) -> list[Layer]:
    return [layer for part in _parts(block) for layer in (part, part.conv, part.bn)]


def _parameters(block: InvertedResidual) -> compiled.Block:
    we = block.expand.conv.w.value if block.t != 1 else None
    norms = tuple(BatchNorm(part.bn.gamma.value, part.bn.beta.value, part.bn.eps) for part in _parts(block))
    dw = block.dw.conv
    weights = Weights(we, dw.w.value, block.project.conv.w.value)
    return compiled.Block(weights, norms, dw.stride, dw.padding, block.residual)
