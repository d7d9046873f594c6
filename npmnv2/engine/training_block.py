"""The inverted residual in training mode as two compiled calls, in the place of a block that is exactly that.

`nn.blocks.InvertedResidual` layer by layer is the plain version, and what runs wherever this one may not: a part was
replaced, added or wrapped, somebody watches, a batch norm is frozen, or the kernels do not take such an x.
"""

from typing import Any

from npmnv2.kernels.training_block import block as kernels
from npmnv2.nn.base import Layer
from npmnv2.nn.blocks import ConvBN, InvertedResidual
from npmnv2.nn.exact import difference
from npmnv2.validate import Array


class TrainingBlock:
    """Runs in the place of one block, for one forward and its backward.

    The cache is the block's, so whatever drops the block's cache drops this one too.
    """

    def __init__(self, block: InvertedResidual) -> None:
        self.block = block

    def forward(self, x: Array) -> Array:
        """The block's forward; its next backward is then the one below."""
        block = self.block
        weights, dw = _weights(block), block.dw.conv
        if not kernels.is_possible(x, weights, dw.stride, dw.padding, block.residual):
            return block.forward(x)
        for layer in _inside(block):
            layer._cache = None  # which may be there from a forward one by one
        out, cache = kernels.forward(x, weights, dw.stride, dw.padding, block.residual)
        for part, (shape, mean, var, _) in zip(_parts(block), cache.statistics, strict=True):
            part.bn.update_statistics(shape, mean, var)
        block._cache = cache
        block.backward = self.backward  # type: ignore[method-assign]  # it hides the method, until it has run once
        return out

    def backward(self, dout: Array) -> Array:
        """The block's backward: this one, unless its layers have run one by one since."""
        block = self.block
        if block._cache is None or any(layer._cache is not None for layer in _inside(block)):
            _detach(block)
            return block.backward(dout)
        dx, gradients = kernels.backward(dout, block._cache)
        if block.t != 1:
            block.expand.conv.w.grad = gradients.we
        block.dw.conv.w.grad, block.project.conv.w.grad = gradients.wd, gradients.wp
        for part, dgamma, dbeta in zip(_parts(block), gradients.gammas, gradients.betas, strict=True):
            part.bn.gamma.grad, part.bn.beta.grad = dgamma, dbeta
        block._cache = None
        _detach(block)
        return dx


def whole(block: InvertedResidual) -> TrainingBlock | InvertedResidual:
    """What runs the next forward: a `TrainingBlock` if the block is exactly what that computes, else the block."""
    _detach(block)  # from a forward whose backward never came
    if difference(block) is not None or type(block.project) is not ConvBN or block.wide_residual:
        return block
    if not all(layer.training for layer in _inside(block)):
        return block
    return TrainingBlock(block)


def _detach(block: InvertedResidual) -> None:
    own = vars(block).get("backward")
    if isinstance(getattr(own, "__self__", None), TrainingBlock):
        block._cache = None
        del block.backward  # type: ignore[method-assign]


def _parts(block: InvertedResidual) -> list[ConvBN]:
    return [block.expand, block.dw, block.project] if block.t != 1 else [block.dw, block.project]


def _inside(block: InvertedResidual) -> list[Layer]:
    return [layer for part in _parts(block) for layer in (part, part.conv, part.bn)]


def _weights(block: InvertedResidual) -> Any:
    we = block.expand.conv.w.value if block.t != 1 else None
    norms = tuple(kernels.Norm(part.bn.gamma.value, part.bn.beta.value, part.bn.eps) for part in _parts(block))
    return kernels.Weights(we, block.dw.conv.w.value, block.project.conv.w.value, norms)
