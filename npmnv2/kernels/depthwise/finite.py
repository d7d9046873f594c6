"""Whether the weights, or the gradients that come in, are finite: seen at C values, where each has left its trace.

Zero times what is not finite is NaN. NumPy multiplies with the zeros of the padding, the loops here leave them out. So
each kernel tells in the end what it has seen, and if something was not finite NumPy computes all again.
"""

from npmnv2.kernels.jit import compile_function
from npmnv2.kernels.scalars import all_finite


@compile_function
def finite_weights(x, w, stride, dilation, top, left, out):
    """Whether all of w is: as the first output shows whose window lies in the image wholly, if there is one."""
    N, H, W, _ = x.shape
    KH, KW, _ = w.shape
    _, OH, OW, _ = out.shape
    oy, ox = (top + stride - 1) // stride, (left + stride - 1) // stride
    y, xx = stride * oy - top + dilation * (KH - 1), stride * ox - left + dilation * (KW - 1)  # its last pixel
    if N > 0 and oy < OH and ox < OW and y < H and xx < W:
        return all_finite(out[0, oy, ox])
    return all_finite(w.reshape(-1))


@compile_function
def finite_gradients(dout, x, stride, dilation, top, left, dw):
    """Whether all of dout is: as dw of the tap in the middle shows, if that lies in the image in every window."""
    _, H, W, _ = x.shape
    KH, KW, _ = dw.shape
    _, OH, OW, _ = dout.shape
    i, j = (KH - 1) // 2, (KW - 1) // 2
    y, xx = dilation * i - top, dilation * j - left  # what it sees in the first window
    if y >= 0 and xx >= 0 and y + stride * (OH - 1) < H and xx + stride * (OW - 1) < W:
        return all_finite(dw[i, j])
    return all_finite(dout.reshape(-1))
