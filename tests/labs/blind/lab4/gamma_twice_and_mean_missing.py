# two mistakes: gamma is multiplied twice into dx (in dxhat, and again in the closed form), and the term with the sum
# of dout is missing.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    std = np.sqrt(x.var(axis=axes) + eps)
    xhat = (x - mean) / std
    dgamma = (dout * xhat).sum(axis=axes)
    dbeta = dout.sum(axis=axes)
    dxhat = dout * gamma
    dx = gamma / std * (dxhat - xhat * (dxhat * xhat).mean(axis=axes))
    return dx, dgamma, dbeta
