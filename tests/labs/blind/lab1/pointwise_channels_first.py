# pointwise: the image is flattened as if the channels came first, which mixes pixels and channels
import numpy as np


def depthwise(xp, w, stride):
    v = np.lib.stride_tricks.sliding_window_view(xp, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nyxcij,ijc->nyxc", v, w)


def pointwise(x, w):
    N, H, W, C = x.shape
    M = w.shape[1]
    out = np.zeros((N, H, W, M), x.dtype)
    for n in range(N):
        flat = x[n].reshape(C, H * W)
        out[n] = np.dot(w.T, flat).T.reshape(H, W, M)
    return out


def as_standard(wd):
    return np.einsum("ijc,cm->ijcm", wd, np.eye(wd.shape[2]))
