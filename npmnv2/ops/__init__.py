"""The mathematics: pure functions on NumPy arrays, each backward directly under its forward. One file an operation.

Every ``xxx_forward(x, w, ...)`` returns ``(out, cache)`` and every ``xxx_backward(dout, cache)`` returns the gradients
in the order of the forward's arguments. Start with `conv.py` and `depthwise.py`, side by side.

What is not such a pair: `softmax_cross_entropy` returns the loss and its gradient at once; `batchnorm_inference` and
`batchnorm_relu6_inference` keep no cache, so their backwards take the forward's arguments; `softmax` and `im2col` have
no backward; `batchnorm_backward_steps` is a second backward of `batchnorm_forward`, to be read; `fold_batchnorm` works
on weights, not on images.
"""

from npmnv2.ops.activation import relu6_backward, relu6_forward, relu_backward, relu_forward
from npmnv2.ops.batchnorm import (
    batchnorm_backward,
    batchnorm_backward_steps,
    batchnorm_forward,
    batchnorm_inference,
    batchnorm_inference_backward,
)
from npmnv2.ops.batchnorm_relu6 import (
    batchnorm_relu6_backward,
    batchnorm_relu6_forward,
    batchnorm_relu6_inference,
    batchnorm_relu6_inference_backward,
)
from npmnv2.ops.conv import conv2d_backward, conv2d_forward
from npmnv2.ops.depthwise import depthwise_conv2d_backward, depthwise_conv2d_forward
from npmnv2.ops.dropout import dropout_backward, dropout_forward
from npmnv2.ops.fold import fold_batchnorm
from npmnv2.ops.grouped import grouped_conv2d_backward, grouped_conv2d_forward
from npmnv2.ops.im2col import conv2d_im2col_backward, conv2d_im2col_forward, im2col
from npmnv2.ops.linear import linear_backward, linear_forward
from npmnv2.ops.loss import softmax, softmax_cross_entropy
from npmnv2.ops.padding import pad_backward, pad_forward
from npmnv2.ops.pointwise import pointwise_conv2d_backward, pointwise_conv2d_forward
from npmnv2.ops.pool import avg_pool2d_backward, avg_pool2d_forward, global_avg_pool_backward, global_avg_pool_forward

__all__ = [
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batchnorm_backward",
    "batchnorm_backward_steps",
    "batchnorm_forward",
    "batchnorm_inference",
    "batchnorm_inference_backward",
    "batchnorm_relu6_backward",
    "batchnorm_relu6_forward",
    "batchnorm_relu6_inference",
    "batchnorm_relu6_inference_backward",
    "conv2d_backward",
    "conv2d_forward",
    "conv2d_im2col_backward",
    "conv2d_im2col_forward",
    "depthwise_conv2d_backward",
    "depthwise_conv2d_forward",
    "dropout_backward",
    "dropout_forward",
    "fold_batchnorm",
    "global_avg_pool_backward",
    "global_avg_pool_forward",
    "grouped_conv2d_backward",
    "grouped_conv2d_forward",
    "im2col",
    "linear_backward",
    "linear_forward",
    "pad_backward",
    "pad_forward",
    "pointwise_conv2d_backward",
    "pointwise_conv2d_forward",
    "relu6_backward",
    "relu6_forward",
    "relu_backward",
    "relu_forward",
    "softmax",
    "softmax_cross_entropy",
]
