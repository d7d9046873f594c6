"""Compiled twins of the hot operations: the names, signatures and caches of `ops`, the loops by Numba.

What a kernel computes is written in `ops`; what is here is how to do it in one pass over memory. A folder a family:
`operations.py` checks and calls, `loops.py` is the loops; the two blocks have a file a step. Start with
`depthwise/loops.py`. `jit.py` says what every kernel promises. Importing this package imports Numba; `import npmnv2`
alone does not.

Words, each for one thing:

thread     One of those that run a kernel at the same time; `threads` of them.
task       A unit of work, which owns what it writes. An iteration of a parallel loop does one; where a thread has
           scratch, all of that thread's.
image      One of the N of a batch.
tile       Some pixels and channels of an output while their sums are added up: in registers, 7 or 6 pixels by 16
           channels (`tiles.py`, `tuning.py`); in training also the pixels of one product, in cache.
panel      The 16 channels of a tile, in inference. What lies "in panels" lies one panel after the other.
piece      Some of the wide channels of a block; in inference whole panels. Its weights are contiguous. (Of the last 1x1
           convolution, `head.py`: of its output channels.)
chunk      What a task takes at a time: in training some rows or values, in inference some images.
share      What one thread does of all tasks; in training also some pieces, whose products a task adds up.
group      What one task adds up: in inference pieces, in training pixels of the batch.
part       What a tile or a group adds to a result, while it lies apart from it.
band       Rows of the output in a task.
window     The values of the input that a pixel of the output sees.
tap        A weight of a filter, at place (i, j) of the window, with what it sees.
place      The index of a value in a flat array, in inference.
apart      Of pixels: values from the place of one to that of the next, or a table of their places.
room       Values from a pixel to the next, where there are more than it has channels, in inference.
ring       A few rows of an image: row y lies in row q = y modulo their number, in training.
scratch    Memory that one thread works in.
wide       Between expansion and depthwise convolution: that image, and the number of its channels.
hidden     What follows a wide convolution, normalised and clipped: in inference the output of the depthwise one; in
           training whatever the loop at hand makes again, said where it is made.
narrow     At the ends of a block.
recompute  To compute again rather than to store, in training.

Letters: N images; H W and OH OW pixels of an image before and after the depthwise convolution; KH KW taps; P pixels of
the batch; C M channels of the input and of the output; E channels of the middle in inference, of a piece of it in
training; R rows of `wide` at a time; s stride. n an image, t a thread, k a piece, g a group, p a pixel, r a row of a
tile or of rows at a time, q a panel of a piece in inference and a row of a ring in training; y and xx row and column of
the input of a window, oy and ox those of its output; c e m channels, i j row and column of a tap; b a block (`Bound`).
"""

from npmnv2.kernels.batchnorm.operations import (
    batchnorm_backward,
    batchnorm_forward,
    batchnorm_inference,
    batchnorm_relu6_backward,
    batchnorm_relu6_forward,
    batchnorm_relu6_inference,
)
from npmnv2.kernels.conv.operations import conv2d_backward as conv2d_im2col_backward
from npmnv2.kernels.conv.operations import conv2d_forward as conv2d_im2col_forward
from npmnv2.kernels.depthwise.operations import depthwise_conv2d_backward, depthwise_conv2d_forward

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
