# depthwise: the einsum sums over the channels as well, and the one result is repeated for all of them
import numpy as np


def depthwise(xp, w, stride):
    views = np.lib.stride_tricks.sliding_window_view(xp, (w.shape[0], w.shape[1]), (1, 2))
    views = views[:, ::stride, ::stride]
    one = np.einsum("abcdef,efd->abc", views, w)
    return np.stack([one] * w.shape[2], axis=-1)


def pointwise(x, w):
    return np.tensordot(x, w, axes=(3, 0))


def as_standard(wd):
    return wd[:, :, :, None] * np.eye(wd.shape[2])
