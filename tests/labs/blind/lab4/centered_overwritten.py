# centered is used twice, but the gradient from squared overwrites the one from xhat, it is not added to it.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    # forward again
    mean = x.sum(axis=axes) / m
    centered = x - mean
    squared = centered * centered
    var = squared.sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std
    # backward
    dxhat = dout * gamma
    dgamma = (dout * xhat).sum(axis=axes)
    dbeta = dout.sum(axis=axes)
    dcentered = dxhat * inv_std
    dinv_std = (dxhat * centered).sum(axis=axes)
    dstd = dinv_std * -1 / (std * std)
    dvar = dstd * 1 / (2 * std)
    dsquared = np.broadcast_to(dvar / m, x.shape)
    dcentered = dsquared * 2 * centered
    dx = dcentered.copy()
    dmean = -dcentered.sum(axis=axes)
    dx += dmean / m
    return dx, dgamma, dbeta
