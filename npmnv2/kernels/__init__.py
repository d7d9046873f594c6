"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. A folder a family:
`operations.py` checks and calls, `loops.py` is the loops. Start with `depthwise/loops.py`. `jit.py` says what every
kernel promises. Importing this package imports Numba and SciPy; `import npmnv2` alone does not.

Words, each for one thing:

thread    One of those that run a kernel at the same time; `threads` of them.
task      What a thread does in one go. A task owns what it writes.
image     One of the N of a batch; number n.
piece     A part of the channels of a block's middle, E of them; number k. Its weights are contiguous.
group     Some pieces, or some rows or pixels that go through one product.
part      What a group of pieces adds to the output, kept until all are there.
band      Rows of the output in a task.
tap       A place (i, j) in the window of a convolution.
ring      A few rows of an image: row y lies in row q = y modulo R of it.
scratch   Memory that a kernel works in; a plane for each thread, so that no two write the same.
wide      The expanded image; `hidden` what the depthwise convolution makes of it; `narrow` a product of the projection.

Letters: N H W C in, N OH OW M out, E channels of the middle; n image, y and xx row and column of the input of a window,
oy and ox those of its output, c column (or input channel where there is no E), e channel of the middle, m output
channel, p pixel, q row of a ring, k piece, i j tap, s stride.
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
