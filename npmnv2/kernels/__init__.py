"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. A folder a family:
`operations.py` checks and calls, `loops.py` is the loops. Start with `depthwise/loops.py`. `jit.py` says what every
kernel promises. Importing this package imports Numba and SciPy; `import npmnv2` alone does not.
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
