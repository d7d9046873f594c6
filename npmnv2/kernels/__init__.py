"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. Start with
`depthwise_loops.py`. `conv.py`, `separable.py`, `fused.py` and `deferred.py` need SciPy. Importing this package imports
Numba; `import npmnv2` alone does not.
"""

from npmnv2.kernels.batchnorm import (
    batchnorm_backward,
    batchnorm_forward,
    batchnorm_inference,
    batchnorm_relu6_backward,
    batchnorm_relu6_forward,
    batchnorm_relu6_inference,
)
from npmnv2.kernels.depthwise import depthwise_conv2d_backward, depthwise_conv2d_forward
from npmnv2.kernels.im2col import (
    conv2d_im2col_backward,
    conv2d_im2col_backward_weights,
    conv2d_im2col_forward,
)

__all__ = [
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "batchnorm_relu6_backward",
    "batchnorm_relu6_forward",
    "batchnorm_relu6_inference",
    "conv2d_im2col_backward",
    "conv2d_im2col_backward_weights",
    "conv2d_im2col_forward",
    "depthwise_conv2d_backward",
    "depthwise_conv2d_forward",
]
