"""A separable convolution in one pass, a contestant of `separable.py`: no layer of the package runs it.

Depthwise and pointwise, with nothing in memory between them.
"""

import numba
import one_pass_loops as loops

from npmnv2.kernels.arrays import contiguous, empty, geometry_of
from npmnv2.kernels.conv.operations import pointwise_conv2d_forward
from npmnv2.kernels.depthwise.operations import depthwise_conv2d_forward
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_array, check_length

WEIGHTS = 80_000  # values of a matrix that stays in the second-level cache, beside x, out, and
CACHEFUL = 1 << 17  # bytes of what lies between, for one core


def separable_conv2d(x: Array, w: Array, mix: Array, stride: int = 1, padding: Padding = 0) -> Array:
    """A depthwise convolution, then a pointwise one: what `ops` computes in two steps.

    ::

        hidden[n, y, x, c] = sum_ij  xp[n, s*y + i, s*x + j, c] * w[i, j, c]
        out[n, y, x, m]    = sum_c   hidden[n, y, x, c] * mix[c, m]

    There is no backward: it would need `hidden`, which is never whole. Errors are those of `ops` for the two steps.

    Parameters
    ----------
    x : ndarray of shape (N, H, W, C)
    w : ndarray of shape (KH, KW, C)
    mix : ndarray of shape (C, M)
        The pointwise weights.
    stride, padding
        As of `ops.depthwise_conv2d_forward`.

    Returns
    -------
    out : ndarray of shape (N, OH, OW, M)

    Notes
    -----
    N*OH*OW * (KH*KW * C + C*M) multiply-adds, as in two steps, but N*OH*OW*C values less are written and read again.
    Kernels of another size than 3x3, strides above 2, and matrices of more weights than `WEIGHTS`
    are left to the two steps.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, mix = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((3, 3, 1)), np.array([[1.0, -1.0]])
    >>> separable_conv2d(x, w, mix).tolist()
    [[[[36.0, -36.0]]]]
    """
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C", like=x, compiled=True)
    check_array(mix, "mix", "C M", like=x, compiled=True)
    N, H, W, C = x.shape
    KH, KW, _ = w.shape
    check_length(w, "w", 2, C, "the channels of x")
    check_length(mix, "mix", 0, C, "the channels of x")
    M = mix.shape[1]
    geometry = geometry_of(H, W, KH, KW, stride, padding, 1)
    if (KH, KW) != (3, 3) or geometry.stride > 2 or C * M > WEIGHTS:
        hidden, _ = depthwise_conv2d_forward(x, w, stride, padding)
        return pointwise_conv2d_forward(hidden, mix)[0]
    (top, _), (left, _) = geometry.pads
    OH, OW = geometry.OH, geometry.OW
    out = empty((N, OH, OW, M), x.dtype)  # (N, OH, OW, M)
    group = max(1, min(OH, CACHEFUL // (OW * C * x.itemsize)) // 2 * 2)  # rows, computed in pairs at stride 1
    forward = loops.forward_stride1 if geometry.stride == 1 else loops.forward_stride2
    forward(contiguous(x), contiguous(w), contiguous(mix), loops.Cut(top, left, group, numba.get_num_threads()), out)
    return out
