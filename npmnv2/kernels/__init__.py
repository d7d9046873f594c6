"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. A folder a family:
`operations.py` checks and calls, `loops.py` is the loops. Start with `depthwise/loops.py`. `jit.py` says what every
kernel promises. Importing this package imports Numba and SciPy; `import npmnv2` alone does not.

Words: a *piece* is some of the wide channels of a block, a *group* some of the pixels, a *tile* the pixels in one
product; a *task* is what one iteration owns; a *tap* is a weight of a filter, with what it sees; *scratch* is memory
that one thread works in; *wide* are the channels between expansion and projection, *narrow* those at the ends; to
*recompute* is to compute again rather than to store. The *coefficients* of a batch norm are what stands for it in a
loop: mean, scale, shift.

Letters, of blocks: N images; H, W and OH, OW pixels of an image before and after the depthwise convolution; P pixels of
the batch; C, E, M channels of the input, of a piece, of the output; s the stride. t a thread, k a piece, g a group, n
an image, p a pixel, r a row of a tile, q a row of a ring; c, e, m channels; i, j the row and column of a tap; x, y, xx,
ox as in `ops`.
"""

from npmnv2.kernels.batchnorm.operations import (
    batchnorm_backward,
    batchnorm_forward,
    batchnorm_inference,
    batchnorm_relu6_backward,
    batchnorm_relu6_forward,
    batchnorm_relu6_inference,
)
from npmnv2.kernels.conv.im2col import conv2d_im2col_backward, conv2d_im2col_forward
from npmnv2.kernels.depthwise.operations import depthwise_conv2d_backward, depthwise_conv2d_forward
from npmnv2.runtime.blas import load_scipy_blas

# Here, not when Numba first wants it, which is after BLAS was limited: so that SciPy's copy is limited too.
load_scipy_blas()

__all__ = [
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "batchnorm_relu6_backward",
    "batchnorm_relu6_forward",
    "batchnorm_relu6_inference",
    "conv2d_im2col_backward",
    "conv2d_im2col_forward",
    "depthwise_conv2d_backward",
    "depthwise_conv2d_forward",
]
