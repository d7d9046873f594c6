# the derivative of (var + eps) ** -0.5 keeps the exponent -0.5 and not -1.5, so the way through the variance has the
# wrong power of std.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    mu = x.mean(axis=axes)
    var = x.var(axis=axes)
    x_hat = (x - mu) * (var + eps) ** (-0.5)

    dL_dgamma = np.sum(dout * x_hat, axis=axes)
    dL_dbeta = np.sum(dout, axis=axes)
    dL_dxhat = dout * gamma
    dL_dvar = np.sum(dL_dxhat * (x - mu) * -0.5 * (var + eps) ** (-0.5), axis=axes)
    dL_dmu = np.sum(-dL_dxhat / np.sqrt(var + eps), axis=axes)
    dL_dx = dL_dxhat / np.sqrt(var + eps) + dL_dvar * 2 * (x - mu) / m + dL_dmu / m
    return dL_dx, dL_dgamma, dL_dbeta
