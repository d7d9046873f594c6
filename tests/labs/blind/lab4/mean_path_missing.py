# the way through the mean is missing, so dx is what arrives at centered, without subtracting its average.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.sum(axis=axes) / m
    centered = x - mean
    squared = centered * centered
    var = squared.sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std

    # out = xhat * gamma + beta
    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dxhat = dout * gamma
    # xhat = centered * inv_std
    dcentered = dxhat * inv_std
    dinv_std = (dxhat * centered).sum(axis=axes)
    # inv_std = 1 / std
    dstd = -dinv_std / std**2
    # std = sqrt(var + eps)
    dvar = 0.5 * dstd / std
    # var = sum(squared) / m
    dsquared = np.ones_like(x) * dvar / m
    # squared = centered ** 2
    dcentered = dcentered + 2 * centered * dsquared
    # centered = x - mean, the derivative is 1
    dx = dcentered
    return dx, dgamma, dbeta
