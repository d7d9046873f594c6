# dgamma multiplies dout by x - mean, not by xhat, so it is too large by the factor std.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size / x.shape[-1]
    mu = x.sum(axis=axes) / m
    xmu = x - mu
    var = (xmu**2).sum(axis=axes) / m

    dbeta = dout.sum(axis=axes)
    dgamma = (xmu * dout).sum(axis=axes)

    dxhat = gamma * dout
    dvar = (dxhat * xmu).sum(axis=axes) * -0.5 * (var + eps) ** -1.5
    dmu = (dxhat * -1 / np.sqrt(var + eps)).sum(axis=axes) + dvar * (-2 * xmu).sum(axis=axes) / m
    dx = dxhat / np.sqrt(var + eps) + dvar * 2 * xmu / m + dmu / m
    return dx.astype(x.dtype), dgamma.astype(x.dtype), dbeta
