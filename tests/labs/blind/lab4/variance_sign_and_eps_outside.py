# two mistakes: the minus of the derivative of 1 / std is lost, and eps is added to the root and not to the variance
# under it.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.mean(axis=axes)
    centered = x - mean
    std = np.sqrt((centered**2).mean(axis=axes)) + eps
    xhat = centered / std

    dgamma = (dout * xhat).sum(axis=axes)
    dbeta = dout.sum(axis=axes)
    dxhat = dout * gamma

    dinv_std = (dxhat * centered).sum(axis=axes)
    dstd = dinv_std / std**2
    dvar = dstd / (2 * std)
    dcentered = dxhat / std + 2 * centered * dvar / m
    dx = dcentered - dcentered.mean(axis=axes)
    return dx, dgamma, dbeta
