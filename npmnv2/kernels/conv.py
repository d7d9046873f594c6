"""Standard convolution, compiled: the signature of `ops.conv2d_forward`; the opponent of the separable convolution."""

import numba

from npmnv2.kernels import conv_loops as loops
from npmnv2.kernels.wrapping import empty, geometry_of, plain
from npmnv2.ops.conv import Conv2dCache
from npmnv2.shapes import Padding
from npmnv2.validate import Array, check_array, check_length


def conv2d_forward(
    x: Array, w: Array, stride: int = 1, padding: Padding = 0, dilation: int = 1
) -> tuple[Array, Conv2dCache]:
    """Slide M filters over the image: the compiled twin of `ops.conv2d_forward`.

    The formula, the parameters and the errors are there. This one takes float32 and float64 only. Its cache serves
    `ops.conv2d_backward` and `ops.conv2d_im2col_backward`. No layer of MobileNet needs it; it is here so that the
    separable convolution is compared with a standard one that is as fast as we can write it.

    Raises
    ------
    ImportError
        Without SciPy (the extra ``fast``), whose BLAS compiled code calls.

    Notes
    -----
    N*OH*OW * KH*KW * C*M multiply-adds, N*OH*OW * KH*KW*C values copied (at stride 1 none, unless the image is narrow).
    `conv_loops` says how they are arranged, and what that is worth.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((2, 2, 1, 1))
    >>> out, cache = conv2d_forward(x, w)
    >>> out[0, :, :, 0].tolist()                  # 0 + 1 + 3 + 4 = 8, ...
    [[8.0, 12.0], [20.0, 24.0]]
    """
    try:
        import scipy.linalg.cython_blas  # noqa: F401 (Numba looks for it when it compiles np.dot)
    except ImportError as missing:
        raise ImportError("kernels.conv2d_forward needs SciPy: pip install 'npmnv2[fast]'") from missing
    check_array(x, "x", "N H W C", compiled=True)
    check_array(w, "w", "KH KW C M", like=x, compiled=True)
    N, H, W, C = x.shape
    KH, KW, _, M = w.shape
    check_length(w, "w", 2, C, "the channels of x")
    geometry = geometry_of(H, W, KH, KW, stride, padding, dilation)
    OH, OW, stride, dilation = geometry.OH, geometry.OW, geometry.stride, geometry.dilation
    (top, _), (left, _) = geometry.pads
    out = empty((N, OH, OW, M), x.dtype)  # (N, OH, OW, M)
    if out.size == 0 or C == 0:
        out[...] = 0
        return out, Conv2dCache(x, w, geometry)

    threads = numba.get_num_threads()
    pixels = min(OW, loops.SMALL // (C * M))
    if stride == 1 and C >= 96 and pixels >= 12:
        loops.forward_rows(plain(x), plain(w), dilation, top, left, pixels, threads, out)
    else:
        K = KH * KW * C
        tiles = -(-N * OH * OW // min(112, max(32, loops.SMALL // (K * M))))
        pixels = -(-N * OH * OW // tiles)
        depth = -(-K // -(-K * pixels * M // loops.SMALL))  # K in equal pieces, none above SMALL multiply-adds
        loops.forward_tiles(plain(x), plain(w), stride, dilation, top, left, pixels, depth, threads, out)
    return out, Conv2dCache(x, w, geometry)
