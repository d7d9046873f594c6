"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. Start with
`depthwise_loops.py`. `conv.py` and `separable.py` need SciPy, and no layer uses them: they are the two sides of
`benchmarks/separable.py`. Importing this package imports Numba; `import npmnv2` alone does not.
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

__all__ = [
    "batchnorm_backward",
    "batchnorm_forward",
    "batchnorm_inference",
    "batchnorm_relu6_backward",
    "batchnorm_relu6_forward",
    "batchnorm_relu6_inference",
    "depthwise_conv2d_backward",
    "depthwise_conv2d_forward",
]
