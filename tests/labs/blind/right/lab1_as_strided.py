# right: a view made with as_strided, a sum by einsum, and the diagonal written through a view of itself
import numpy as np
from numpy.lib.stride_tricks import as_strided


def depthwise(xp, w, stride):
    xp = np.ascontiguousarray(xp)
    N, H, W, C = xp.shape
    KH, KW, _ = w.shape
    n, h, q, c = xp.strides
    shape = (N, (H - KH) // stride + 1, (W - KW) // stride + 1, KH, KW, C)
    return np.einsum("nyxijc,ijc->nyxc", as_strided(xp, shape, (n, h * stride, q * stride, h, q, c)), w)


def pointwise(x, w):
    return np.moveaxis(np.tensordot(w, x, axes=(0, 3)), 0, 3)


def as_standard(wd):
    out = np.zeros(wd.shape + wd.shape[-1:], wd.dtype)
    np.einsum("ijcc->ijc", out)[...] = wd
    return out
