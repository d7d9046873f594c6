"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. A folder a family:
`operations.py` checks and calls, `loops.py` is the loops. Start with `depthwise/loops.py`. `jit.py` says what every
kernel promises. Importing this package imports Numba and SciPy; `import npmnv2` alone does not.

Words, each for one thing:

thread        One of those that run a kernel at the same time; `threads` of them.
task          What one iteration of a parallel loop does. A task owns what it writes.
image         One of the N of a batch.
piece         Some of the wide channels of a block. Its weights are contiguous.
group         Some pieces, rows or pixels that go through one product; a `tile` the pixels in one.
part          What a group of pieces adds to the output, kept until all are there.
band          Rows of the output in a task.
tap           A weight of a filter, at place (i, j), with what it sees.
ring          A few rows of an image: row y lies in row q = y modulo R of it.
scratch       Memory that one thread works in.
wide          The channels between expansion and projection; `hidden` what the depthwise convolution makes of them.
narrow        The channels at the ends of a block.
recompute     To compute again rather than to store.
coefficients  What stands for a batch norm in a loop: mean, scale, shift.

Letters: N images; H W and OH OW pixels of an image before and after the depthwise convolution; P pixels of the batch;
C M channels of the input and of the output; E channels of the middle in inference, of a piece of it in training; s
stride. n an image, t a thread, k a piece, g a group, p a pixel, r a row of a tile, q a row of a ring; y and xx row and
column of the input of a window, oy and ox those of its output; c e m channels, i j row and column of a tap.
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
