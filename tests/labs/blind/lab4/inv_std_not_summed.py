# inv_std is one number for the whole channel, but the gradient that comes back to it is not summed over k; each value
# only gets its own product.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.sum(axis=axes) / m
    centered = x - mean
    var = (centered * centered).sum(axis=axes) / m
    std = np.sqrt(var + eps)
    inv_std = 1 / std
    xhat = centered * inv_std

    dbeta = dout.sum(axis=axes)
    dgamma = (dout * xhat).sum(axis=axes)
    dxhat = dout * gamma

    # product rule: xhat = centered * inv_std
    dcentered = dxhat * inv_std
    dinv_std = dxhat * centered
    dstd = dinv_std * (-1 / std**2)
    dvar = dstd * 0.5 / std
    dsquared = dvar / m
    dcentered = dcentered + dsquared * 2 * centered

    dmean = -dcentered.sum(axis=axes)
    dx = dcentered + dmean / m
    return dx, dgamma, dbeta
