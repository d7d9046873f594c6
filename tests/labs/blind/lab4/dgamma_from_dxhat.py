# dgamma is summed from dxhat = dout * gamma and not from dout, so it has a factor gamma too much.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mean = x.sum(axis=axes) / m
    centered = x - mean
    inv_std = ((centered**2).sum(axis=axes) / m + eps) ** -0.5
    xhat = centered * inv_std

    dbeta = dout.sum(axis=axes)
    dout = dout * gamma
    dgamma = (dout * xhat).sum(axis=axes)

    a = dout.sum(axis=axes)
    b = (dout * centered).sum(axis=axes)
    dx = inv_std * (dout - a / m) - centered * inv_std**3 * b / m
    return dx, dgamma, dbeta
