# eps is never added to the variance in the backward, std is sqrt(var) alone.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    shape = x.shape
    x2 = x.reshape(-1, shape[-1])
    d2 = dout.reshape(-1, shape[-1])
    m = len(x2)
    xc = x2 - x2.mean(axis=0)
    std = np.sqrt((xc**2).sum(axis=0) / m)
    xhat = xc / std
    dbeta = d2.sum(axis=0)
    dgamma = (d2 * xhat).sum(axis=0)
    dx = gamma / (m * std) * (m * d2 - dbeta - xhat * dgamma)
    return dx.reshape(shape), dgamma, dbeta
